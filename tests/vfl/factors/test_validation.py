"""The battery as a whole: what it says, what it leaves out by name, and that libraries called directly agree."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.regression.linear_model import OLS

from tests.vfl.lab import made_up_lab
from vfl.contribution.findings import contribution_findings
from vfl.factors.exposures import neutralised, r_squared
from vfl.factors.findings import Findings
from vfl.factors.hac import hac_lags, hac_mean
from vfl.factors.half_life import DECAY_WINDOWS
from vfl.factors.market import MarketData, market_data, on_grid
from vfl.factors.report import render_report
from vfl.factors.trials import Trial
from vfl.factors.validation import Subject, battery, decay

LAB = made_up_lab()
FOUND = battery(LAB.subject, LAB.market)

NEEDS_MARKET = {
    "long_short", "break_even_cost", "drawdown", "capacity", "neutral_sector", "neutral_size", "neutral_beta",
    "neutral_style", "library",
}  # fmt: skip


def test_every_number_says_what_it_is():
    sections = {"ic", "decay", "stability", "quantiles", "long_short", "capacity", "neutralised", "library", "uplift"}
    assert sections | {"significance", "search", "placebo", "look_ahead"} == set(FOUND.numbers)
    for inner in FOUND.numbers.values():
        for name, number in inner.items():
            assert len(number.definition) > 8, name
            assert number.unit
            assert number.n >= 1
            assert np.isfinite(number.value), name
    for name, series in FOUND.series.items():
        assert series.definition, name
        assert series.unit
    assert set(FOUND.left_out) == {"pbo", "permuted"}
    assert FOUND.warnings == ()


def test_findings_survive_json():
    text = json.dumps(FOUND.record(), allow_nan=False)
    assert Findings.read(json.loads(text)).record() == FOUND.record()
    for damaged in ({}, {"numbers": {"ic": {"a": 1}}}, [], FOUND.record() | {"warnings": [{"x": 1}]}):
        with pytest.raises(ValueError, match="not the findings of a validation"):
            Findings.read(damaged)


def test_without_a_market_checks_are_left_out_by_name():
    found = battery(replace(LAB.subject, own=None, known_from=None, features={}))
    assert set(found.left_out) == NEEDS_MARKET | {"uplift", "memory", "permuted", "pbo", "look_ahead"}
    assert found.left_out["long_short"] == "no prices were given"
    assert {"ic", "decay", "stability", "quantiles", "significance", "search"} == set(found.numbers)
    partly = battery(LAB.subject, MarketData(prices=LAB.market.prices, caps=LAB.market.caps))
    assert "long_short" in partly.numbers
    assert partly.left_out["capacity"] == "no dollar_volume, volatility given"
    assert set(partly.left_out) == {
        "capacity",
        "neutral_sector",
        "neutral_beta",
        "neutral_style",
        "library",
        "pbo",
        "permuted",
    }


def test_headline_numbers_agree_with_scipy_and_statsmodels():
    scores, labels = LAB.subject.scores, LAB.subject.labels
    ics = np.array([stats.spearmanr(s, y).statistic for s, y in zip(scores, labels, strict=True)])
    assert FOUND.value("ic", "rank_ic") == pytest.approx(ics.mean(), abs=1e-12)
    fit = OLS(ics, np.ones(len(ics))).fit(
        cov_type="HAC", cov_kwds={"maxlags": hac_lags(len(ics), 1), "use_correction": True}
    )
    assert FOUND.value("ic", "rank_ic_t") == pytest.approx(float(fit.tvalues[0]))
    assert FOUND.series["cumulative_rank_ic"].y[-1] == pytest.approx(ics.sum())


def test_decay_uses_disjoint_windows():
    subject = replace(LAB.subject, horizon=3)
    found = decay(subject)
    assert found.series["decay"].x == tuple(str(3 * k) for k in range(DECAY_WINDOWS))
    scores, labels = subject.scores, subject.labels
    second = np.mean([stats.spearmanr(scores[t], labels[t + 3]).statistic for t in range(len(scores) - 3)])
    assert found.value("decay", "window_1") == pytest.approx(second)
    assert all(a > b for a, b in pairwise(FOUND.series["decay"].y[:4]))


def test_neutralised_scores_are_the_residuals_of_statsmodels():
    scores, market = LAB.subject.scores, LAB.market
    exposures = [market.betas, market.styles["value"]]
    left = neutralised(scores, exposures, market.sectors)
    explained = r_squared(scores, exposures)
    for t in (0, 7):
        dummies = pd.get_dummies(market.sectors[t]).to_numpy(dtype=float)
        design = np.column_stack([dummies, *(e[t] for e in exposures)])
        np.testing.assert_allclose(left[t], OLS(scores[t], design).fit().resid, atol=1e-10)
        plain = OLS(scores[t], np.column_stack([np.ones(len(scores[t])), *(e[t] for e in exposures)])).fit()
        assert explained[t] == pytest.approx(plain.rsquared_adj)


def test_what_is_spelled_out_by_exposures_has_no_ic_left():
    scores = LAB.subject.scores
    assert (neutralised(scores, [3 * scores + 1])[0] == 0).all()
    market = MarketData(library={"itself": scores})
    found = battery(LAB.subject, market)
    assert found.numbers["library"]["rank_ic_left"].n == 0
    assert found.value("library", "r_squared") == pytest.approx(1)
    assert found.value("library", "correlation_itself") == pytest.approx(1)


def test_missing_values_are_left_out_not_filled():
    holes = np.where(np.random.default_rng(1).random(LAB.subject.scores.shape) < 0.3, np.nan, LAB.subject.scores)
    found = battery(replace(LAB.subject, scores=holes), LAB.market)
    rows = ~np.isnan(holes[0])
    assert found.series["coverage"].y[0] == rows.sum()
    one = stats.spearmanr(holes[0, rows], LAB.subject.labels[0, rows]).statistic
    assert found.series["rank_ic"].y[0] == pytest.approx(one)
    nothing = battery(replace(LAB.subject, labels=np.full(holes.shape, np.nan)), LAB.market)
    assert nothing.numbers["ic"]["rank_ic"].n == 0
    assert "decay" in nothing.left_out
    assert "quantiles" in nothing.left_out


def test_a_factor_of_noise_is_called_noise():
    scores = np.random.default_rng(5).normal(size=LAB.subject.scores.shape)
    found = battery(replace(LAB.subject, scores=scores, own=None))
    assert found.warned("noise")
    assert "claim nothing" in found.warnings[0].text
    assert found.value("significance", "hurdle") == 0
    assert not FOUND.warned("noise")
    assert FOUND.value("significance", "hurdle") == 1


def test_a_market_is_read_from_one_long_frame():
    lab = made_up_lab(periods=12, count=30)
    index = pd.MultiIndex.from_product([lab.dates, lab.names], names=["datetime", "instrument"])
    frame = pd.DataFrame(
        {
            "price": lab.market.prices.reshape(-1),
            "sector": np.where(np.arange(360) % 30 == 4, None, "tech"),
            "style_value": lab.market.styles["value"].reshape(-1),
            "library_mom": lab.market.library["momentum"].reshape(-1),
        },
        index=index,
    ).sample(frac=1, random_state=0)
    found = market_data(frame, lab.dates, lab.names)
    np.testing.assert_array_equal(found.prices, lab.market.prices)
    assert (found.sectors[:, 4] == -1).all()
    assert (np.delete(found.sectors, 4, axis=1) == 0).all()
    assert list(found.styles) == ["value"]
    assert list(found.library) == ["mom"]
    assert found.caps is None
    with pytest.raises(ValueError, match="column 'factor' is unknown; use price, sector"):
        market_data(frame.rename(columns={"price": "factor"}), lab.dates, lab.names)
    with pytest.raises(ValueError, match="zero or negative"):
        market_data(frame.assign(price=0.0), lab.dates, lab.names)


def test_a_grid_refuses_repeated_rows_and_strange_indexes():
    dates = pd.DatetimeIndex(["2020-01-31"])
    index = pd.MultiIndex.from_tuples([(dates[0], "A"), (dates[0], "A")], names=["datetime", "instrument"])
    with pytest.raises(ValueError, match="A has two rows on 2020-01-31"):
        on_grid(pd.Series([1.0, 2.0], index=index), dates, ("A",))
    with pytest.raises(ValueError, match=r"must be \(datetime, instrument\)"):
        on_grid(pd.Series([1.0]), dates, ("A",))
    assert np.isnan(on_grid(pd.Series([1.0], index=index[:1]), dates, ("B",))).all()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels": np.zeros((3, 3))}, "labels has shape"),
        ({"own": np.zeros((3, 3))}, "own has shape"),
        ({"periods": ("one",)}, "the calendar 1 periods"),
        ({"horizon": 0}, "takes at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        replace(LAB.subject, **changes)
    with pytest.raises(ValueError, match="prices has shape"):
        battery(LAB.subject, MarketData(prices=np.ones((2, 2))))
    assert isinstance(LAB.subject, Subject)


UNDEFINED = re.compile(r"[+-]?\b(nan|inf)\b", re.IGNORECASE)
KINDS = ("normal", "constant", "ties", "by entity", "by period", "tiny", "huge")


def panel(rng: np.random.Generator, shape: tuple[int, int], kind: str, holes: float) -> np.ndarray:
    """Values that real panels have on bad days, with gaps, and sometimes nothing from some period on."""
    values = {
        "normal": rng.normal(size=shape),
        "constant": np.ones(shape),
        "ties": rng.integers(0, 3, size=shape).astype(float),
        "by entity": np.repeat(rng.normal(size=(1, shape[1])), shape[0], axis=0),
        "by period": np.repeat(rng.normal(size=(shape[0], 1)), shape[1], axis=1),
        "tiny": 1e-300 * rng.normal(size=shape),
        "huge": 1e150 * rng.normal(size=shape),
    }[kind]
    values[rng.random(shape) < holes] = np.nan
    if rng.random() < 0.3:
        values[rng.integers(0, shape[0]) :] = np.nan
    return values


@settings(max_examples=12, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 24),
    st.integers(1, 40),
    st.integers(1, 5),
    st.tuples(*[st.sampled_from(KINDS)] * 4),
    st.sampled_from([0.0, 0.3, 0.9, 1.0]),
)
@example(0, 2, 11, 1, ("normal", "normal", "normal", "tiny"), 0.0)  # costs that no capital can feel
@example(0, 9, 10, 1, ("normal", "normal", "normal", "normal"), 0.0)  # a Sharpe ratio below zero
def test_no_panel_however_poor_stops_a_run(seed, periods, count, horizon, kinds, holes):
    rng, shape = np.random.default_rng(seed), (periods, count)
    scores, labels, own, style = (panel(rng, shape, kind, holes) for kind in kinds)
    names = tuple(f"{t:02d}" for t in range(periods))
    subject = Subject(
        names,
        scores,
        labels,
        horizon,
        known_from=np.minimum(np.arange(periods)[:, None] + rng.integers(1, 4, size=shape), periods),
        own=own,
        features={"style": style},
        embeddings=np.where(np.isnan(scores), np.nan, rng.normal(size=shape))[:, :, None],
        rescored=lambda sums: sums[:, :, 0],
    )
    market = MarketData(
        prices=np.exp(rng.normal(size=shape)),
        sectors=rng.integers(-1, 3, size=shape),
        caps=np.where(style == 0, np.nan, np.abs(style)),
        volatility=np.abs(style),
        dollar_volume=np.abs(panel(rng, shape, "normal", 0.2)),
        library={"itself": scores.copy(), "style": style},
    )
    trials = [Trial("r", "k", {"a": j}, 0, names, tuple(rng.normal(size=periods)), selected=j == 0) for j in range(3)]
    found = battery(subject, market, trials=trials, n_trials=5)
    text = json.dumps(found.record(), allow_nan=False)
    assert render_report("poor", {}, found) == render_report("poor", {}, Findings.read(json.loads(text)))
    assert (found.numbers["ic"]["rank_ic"].n > 0) or found.warned("noise")
    phi = {"a": panel(rng, shape, "normal", holes)[:, 0]}
    found |= contribution_findings(phi, {}, horizon=horizon, level=0.05)
    told = render_report("poor", {}, found).decode()
    assert not UNDEFINED.search(told.replace("-inf", "")), "what cannot be computed says why"
    every = [number for inner in found.numbers.values() for number in inner.values()]
    assert all(bool(number.why_undefined) == math.isnan(number.value) for number in every)
    assert told.count("Not computed: ") >= sum(math.isnan(number.value) for number in every)


def test_what_cannot_be_computed_says_why():
    nothing = battery(replace(LAB.subject, labels=np.full(LAB.subject.labels.shape, np.nan)), LAB.market)
    assert nothing.numbers["ic"]["rank_ic"].explained.startswith("Not computed: there is nothing to compute it from. ")
    assert nothing.warnings[0].text == "no rank IC can be computed, since no period has scores and labels that vary"
    one = np.full(LAB.subject.labels.shape, np.nan)
    one[5] = LAB.subject.labels[5]
    alone = battery(replace(LAB.subject, labels=one), LAB.market)
    assert alone.numbers["ic"]["rank_ic_t"].why_undefined.startswith("one alone has no standard error")
    assert any("one period cannot test it" in warning.text for warning in alone.warnings)
    assert hac_mean(np.ones(5), horizon=1).told == "its 5 periods are all alike, so it cannot be tested"
