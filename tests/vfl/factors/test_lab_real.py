"""The factor lab on real data: the battery end to end, beside the libraries called directly, and the planted frauds.

Scores come from pooled ridge in the clear; what is tested is the lab, not the training. Needs the public data sets.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import purgedcv
import pytest
from numerai_tools.scoring import correlation_contribution
from scipy import stats
from statsmodels.regression.linear_model import OLS

from tests.vfl.real import FUNDS, HORIZON, INDIA, SP500, india, india_ridge, sp500, stocks_ridge
from vfl.factors.evaluate import ic_by_period
from vfl.factors.findings import Findings
from vfl.factors.hac import hac_lags
from vfl.factors.lookahead import lookahead_findings
from vfl.factors.placebo import permuted_placebo, refit
from vfl.factors.portfolio import BookTerms
from vfl.factors.report import render_report
from vfl.factors.significance import search_evidence
from vfl.factors.validation import Subject, battery

needs_stocks = pytest.mark.skipif(not SP500.is_file(), reason=f"no data at {SP500.parent}; set ENTENTE_SHARED_DATA")
needs_india = pytest.mark.skipif(not INDIA.is_file(), reason=f"no data at {INDIA.parent}; set ENTENTE_SHARED_DATA")

ALL = tuple(name for names in FUNDS.values() for name in names)
WEEKLY = BookTerms(periods_per_year=365.25 / 7)


@pytest.fixture(scope="module")
def stocks() -> Findings:
    """The battery over the joint volatility factor, with the range fund's as the own one."""
    made = sp500()
    joint, own = (stocks_ridge(made, names, made.volatility) for names in (ALL, FUNDS["range"]))
    periods = tuple(f"{day:%Y-%m-%d}" for day in made.dates)
    subject = Subject(periods, joint, made.volatility, HORIZON, known_from=made.known_from, own=own)
    return battery(subject, made.market, WEEKLY)


@needs_stocks
def test_the_joint_volatility_factor_beats_the_best_single_fund(stocks):
    made = sp500()
    single = {
        fund: np.nanmean(ic_by_period(stocks_ridge(made, names, made.volatility), made.volatility))
        for fund, names in FUNDS.items()
    }
    assert max(single, key=single.__getitem__) == "range"
    assert single["range"] == pytest.approx(0.733, abs=0.005)
    assert stocks.value("ic", "rank_ic") == pytest.approx(0.742, abs=0.005)
    assert stocks.value("uplift", "rank_ic_difference_t") > 3
    assert stocks.value("uplift", "encompassing_joint_t") > 3
    assert stocks.left_out.keys() == {"neutral_size", "neutral_beta", "pbo", "permuted", "look_ahead"}


@needs_stocks
def test_the_battery_agrees_with_the_libraries_called_directly(stocks):
    made = sp500()
    joint, own = (stocks_ridge(made, names, made.volatility) for names in (ALL, FUNDS["range"]))
    ics, mmc = [], []
    for t in range(len(joint)):
        rows = np.isfinite(joint[t]) & np.isfinite(made.volatility[t])
        if rows.sum() < 10:
            continue
        ics.append(stats.spearmanr(joint[t, rows], made.volatility[t, rows]).statistic)
        index = [name for name, here in zip(made.names, rows, strict=True) if here]
        frame = pd.DataFrame({"joint": joint[t, rows], "own": own[t, rows], "y": made.volatility[t, rows]}, index=index)
        frame = frame.sort_index()
        target = (frame["y"].rank() - 0.5) / len(frame)
        mmc.append(correlation_contribution(frame[["joint"]], frame["own"], target)["joint"])
    assert stocks.value("ic", "rank_ic") == pytest.approx(np.mean(ics), abs=1e-12)
    fit = OLS(ics, np.ones(len(ics))).fit(
        cov_type="HAC", cov_kwds={"maxlags": hac_lags(len(ics), HORIZON), "use_correction": True}
    )
    assert hac_lags(len(ics), HORIZON) >= HORIZON - 1
    assert stocks.value("ic", "rank_ic_t") == pytest.approx(float(fit.tvalues[0]))
    assert stocks.value("uplift", "mmc_numerai") == pytest.approx(np.mean(mmc), abs=1e-10)
    every = np.full(len(joint), np.nan)
    every[np.flatnonzero(made.test)[: len(ics)]] = ics
    thin = every[::HORIZON][np.isfinite(every[::HORIZON])]
    assert stocks.value("significance", "psr") == pytest.approx(purgedcv.probabilistic_sharpe_ratio(thin, 0.0))


@needs_stocks
def test_alphalens_sees_the_same_quantiles_and_ic(stocks):
    alphalens = pytest.importorskip("alphalens")
    made = sp500()
    joint = stocks_ridge(made, ALL, made.volatility)
    index = pd.MultiIndex.from_product([made.dates, made.names], names=["date", "asset"])
    place = np.full(joint.shape, np.nan)
    rows = np.isfinite(joint) & np.isfinite(made.volatility)
    for t in np.flatnonzero(rows.sum(axis=1) > 10):
        place[t, rows[t]] = np.ceil(stats.rankdata(joint[t, rows[t]]) * 5 / rows[t].sum())
    data = pd.DataFrame(
        {"factor": joint.reshape(-1), "1D": made.volatility.reshape(-1), "factor_quantile": place.reshape(-1)}, index
    ).dropna()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ic = alphalens.performance.factor_information_coefficient(data)["1D"]
        means, _ = alphalens.performance.mean_return_by_quantile(data, by_date=True, demeaned=False)
    assert stocks.value("ic", "rank_ic") == pytest.approx(ic.mean(), abs=1e-10)
    by_date = means["1D"].unstack("factor_quantile")
    assert stocks.value("quantiles", "spread") == pytest.approx((by_date[5] - by_date[1]).mean(), abs=1e-10)
    assert stocks.value("quantiles", "monotonicity") == pytest.approx(1)


@needs_stocks
def test_forward_returns_are_reported_as_noise():
    made = sp500()
    scores = stocks_ridge(made, ALL, made.returns)
    found = battery(
        Subject(tuple(f"{d:%Y-%m-%d}" for d in made.dates), scores, made.returns, HORIZON), made.market, WEEKLY
    )
    assert abs(found.value("ic", "rank_ic")) < 0.04
    assert found.warned("noise")
    assert "claim nothing" in found.warnings[0].text
    assert found.value("significance", "hurdle") == 0
    assert b"<b>noise</b>" in render_report("returns", {}, found)


@needs_stocks
def test_a_planted_look_ahead_is_caught_by_name_and_the_honest_fund_is_not():
    made = sp500()
    fund = {name: made.features[name] for name in ("vol_5", "vol_21", "rng_5", "mom_21")}
    assert not lookahead_findings(fund, made.volatility, horizon=21 / 5).warnings
    week = {name: np.vstack([v[1:], np.full((1, v.shape[1]), np.nan)]) for name, v in fund.items()}
    caught = {w.text.split()[0] for w in lookahead_findings(week, made.volatility, horizon=21 / 5).warnings}
    assert caught >= {"vol_5", "rng_5"}
    far = np.full((HORIZON, len(made.names)), np.nan)
    shifted = lookahead_findings(
        {"vol_21": np.vstack([fund["vol_21"][HORIZON:], far])}, made.volatility, horizon=21 / 5
    )
    assert shifted.warned("look-ahead")


@needs_stocks
def test_a_persistent_fingerprint_is_caught_by_name():
    """Sixty random numbers per ticker, the same every week: they foresee volatility, and know nothing."""
    made = sp500()
    weeks = slice(0, 160, 4)
    label = made.volatility[weeks]
    known = np.repeat(np.minimum(np.arange(len(label)) + 2, len(label))[:, None], label.shape[1], axis=1)
    constants = np.repeat(np.random.default_rng(0).normal(size=(1, label.shape[1], 60)), len(label), axis=0)
    genuine = np.stack([made.features[name][weeks] for name in FUNDS["volatility"]], axis=2)

    def judged(columns: np.ndarray) -> Findings:
        def fitted(order: np.ndarray | None) -> np.ndarray:
            return refit(columns if order is None else columns[:, order], label, known, alpha=300.0)

        return permuted_placebo(fitted, label, horizon=2, n_placebos=2)

    planted = judged(constants)
    assert planted.value("placebo", "truth") > 0.2
    assert planted.warned("fingerprint")
    honest = judged(genuine)
    assert honest.value("placebo", "truth") > 0.6
    assert not honest.warned("fingerprint")


@needs_stocks
def test_an_overfit_search_of_200_noise_trials_is_caught_by_name():
    made = sp500()
    rng = np.random.default_rng(5)
    label = made.returns[:-HORIZON:HORIZON]
    trials = [ic_by_period(rng.normal(size=label.shape), label) for _ in range(200)]
    best = int(np.argmax([np.nanmean(ics) for ics in trials]))
    found = search_evidence(trials, best, horizon=1, n_trials=200, what="rank IC")
    assert found.value("search", "p") < 0.05
    assert found.warned("overfit")
    assert found.value("search", "p_bhy") > 0.05


@needs_india
def test_the_districts_run_through_the_battery():
    made = india()
    first = made.periods.index("2020Q3")
    pooled = np.concatenate(list(made.columns.values()), axis=2)
    joint, own = (india_ridge(x, made.label, first) for x in (pooled, made.columns["bank"]))
    known = np.repeat(np.arange(1, len(made.periods) + 1)[:, None], len(made.names), axis=1)
    found = battery(Subject(made.periods, joint, made.label, 1, known_from=known, own=own))
    assert found.value("ic", "rank_ic") == pytest.approx(0.2943, abs=0.0005)
    assert found.value("uplift", "rank_ic_own") == pytest.approx(0.2300, abs=0.0005)
    assert found.value("uplift", "rank_ic_difference") == pytest.approx(0.064, abs=0.001)
    assert found.value("uplift", "better") == 1
    assert found.numbers["ic"]["rank_ic"].n == 10
    ics = np.array([v for v in found.series["rank_ic"].y if np.isfinite(v)])
    assert found.value("ic", "rank_ic_ir") == pytest.approx(ics.mean() / ics.std(ddof=1))
    assert not {"noise", "weak", "overfit", "fingerprint", "look-ahead"} & {w.name for w in found.warnings}

    def fitted(order: np.ndarray | None) -> np.ndarray:
        others = [x if order is None else x[:, order] for name, x in made.columns.items() if name != "bank"]
        return india_ridge(np.nan_to_num(np.concatenate([made.columns["bank"], *others], axis=2)), made.label, first)

    placebo = permuted_placebo(fitted, made.label, horizon=1, own=own, n_placebos=2)
    assert placebo.value("placebo", "truth") > 0.06
    assert placebo.value("placebo", "permuted") < 0.02
    assert not placebo.warnings
