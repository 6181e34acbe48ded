"""Information coefficients against scipy and statsmodels, period by period."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from statsmodels.regression.linear_model import OLS

from tests.places import SHARED_DATA
from vfl.factors.evaluate import MINIMUM_ROWS, evaluate, evaluation_window, ic_by_period, summarise, uplift
from vfl.factors.hac import hac_lags, hac_mean, one_sided_p
from vfl.factors.paired import paired_difference

PERIODS = tuple(f"2020Q{q}" for q in range(1, 5)) + tuple(f"2021Q{q}" for q in range(1, 5))


def panel(seed: int, periods: int = 8, entities: int = 40, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(periods, entities))
    labels = scores + noise * rng.normal(size=scores.shape)
    scores[rng.random(scores.shape) < 0.1] = np.nan
    labels[rng.random(scores.shape) < 0.1] = np.nan
    return scores, labels


@pytest.mark.parametrize(("method", "oracle"), [("rank", stats.spearmanr), ("pearson", stats.pearsonr)])
def test_ic_agrees_with_scipy_on_each_period(method, oracle):
    scores, labels = panel(1)
    scores = np.round(scores, 1)  # ties
    got = ic_by_period(scores, labels, method)
    for t in range(len(scores)):
        rows = ~(np.isnan(scores[t]) | np.isnan(labels[t]))
        assert got[t] == pytest.approx(oracle(scores[t, rows], labels[t, rows])[0], abs=1e-12)


def test_too_few_rows_and_constant_sides_have_no_ic():
    scores, labels = np.random.default_rng(2).normal(size=(2, 4, MINIMUM_ROWS + 2))
    scores[0, :3] = np.nan
    scores[1] = 0.1
    labels[2] = 0.1
    got = ic_by_period(scores, labels)
    assert np.isnan(got[:3]).all()
    assert np.isfinite(got[3])
    assert ic_by_period(scores, labels, when_constant=0.0)[1] == 0.0
    assert np.isnan(ic_by_period(scores, labels, when_constant=0.0)[[0, 2]]).all()


values = st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: round(x, 3))


@settings(deadline=None, max_examples=60)
@given(hnp.arrays(np.float64, (3, 15), elements=values), hnp.arrays(np.float64, (3, 15), elements=values))
def test_rank_ic_sees_order_only(scores, labels):
    base = ic_by_period(scores, labels)
    oracle = [
        np.nan if np.ptp(s) == 0 or np.ptp(y) == 0 else stats.spearmanr(s, y)[0]
        for s, y in zip(scores, labels, strict=True)
    ]
    np.testing.assert_allclose(base, oracle, atol=1e-12)
    np.testing.assert_allclose(ic_by_period(np.cbrt(scores) * 7 + 1, labels), base, atol=1e-12)
    np.testing.assert_allclose(ic_by_period(-scores, labels), -base, atol=1e-12)
    np.testing.assert_allclose(ic_by_period(labels, scores), base, atol=1e-12)
    order = np.random.default_rng(0).permutation(15)
    np.testing.assert_allclose(ic_by_period(scores[:, order], labels[:, order]), base, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_pearson_ic_survives_extreme_scales(scale):
    scores, labels = panel(3)
    np.testing.assert_allclose(
        ic_by_period(scores * scale, labels, "pearson"), ic_by_period(scores, labels, "pearson"), rtol=1e-9
    )


def test_bad_arrays_are_named():
    scores, labels = panel(4)
    with pytest.raises(ValueError, match=r"one \(T, n\) shape"):
        ic_by_period(scores, labels[:, 1:])
    with pytest.raises(ValueError, match="'kendall' is unknown"):
        ic_by_period(scores, labels, "kendall")
    labels[2, 5] = np.inf
    with pytest.raises(ValueError, match="labels are infinite at period 2, entity 5"):
        ic_by_period(scores, labels)


@pytest.mark.parametrize(("n", "horizon"), [(2, 1), (10, 1), (40, 4), (104, 1), (104, 13), (5, 20)])
def test_newey_west_agrees_with_the_formula(n, horizon):
    series = np.random.default_rng(n).normal(0.05, 0.1, n).cumsum() * 0.1
    got = hac_mean(series, horizon=horizon)
    lags = hac_lags(n, horizon)
    assert lags >= min(horizon - 1, n - 1)
    residual = series - series.mean()
    variance = residual @ residual
    for lag in range(1, lags + 1):
        variance += 2 * (1 - lag / (lags + 1)) * (residual[lag:] @ residual[:-lag])
    error = np.sqrt(variance / n**2 * n / (n - 1))
    assert got.standard_error == pytest.approx(error, rel=1e-9)
    assert got.t == pytest.approx(series.mean() / error, rel=1e-9)
    assert (got.low + got.high) / 2 == pytest.approx(got.mean)
    assert got.n_periods == n


def test_lags_cover_the_overlap_and_stay_below_the_sample():
    assert [hac_lags(n, 1) for n in (0, 1, 2, 10, 100, 1258)] == [0, 0, 1, 2, 4, 7]
    assert hac_lags(100, 13) == 12
    assert hac_lags(5, 20) == 4


def test_series_too_short_or_flat_have_no_t():
    assert np.isnan(hac_mean(np.array([np.nan]), horizon=1).mean)
    one = hac_mean(np.array([0.2, np.nan]), horizon=1)
    assert (one.mean, one.n_periods) == (0.2, 1)
    assert np.isnan([one.standard_error, one.t, one.low]).all()
    flat = hac_mean(np.full(6, 0.1), horizon=1)
    assert np.isnan(flat.t)
    assert flat.standard_error == 0
    with pytest.raises(ValueError, match="infinite at position 1"):
        hac_mean(np.array([0.0, np.inf]), horizon=1)
    with pytest.raises(ValueError, match="one axis"):
        hac_mean(np.zeros((2, 2)), horizon=1)


def test_summary_states_what_it_is():
    ics = np.array([0.1, np.nan, 0.3, -0.1, 0.2])
    got = summarise(ics, horizon=2, method="pearson")
    assert got.n_periods == 4
    assert got.mean == pytest.approx(0.125)
    assert got.icir == pytest.approx(0.125 / np.nanstd(ics, ddof=1))
    assert got.positive == 0.75
    assert "Pearson" in got.definition["ic"]
    assert f"{got.lags} lags" in got.definition["t"]
    empty = summarise(np.full(3, np.nan), horizon=1)
    assert empty.n_periods == 0
    assert np.isnan([empty.mean, empty.std, empty.icir, empty.positive]).all()


def test_uplift_pairs_periods():
    joint = np.array([0.3, 0.2, np.nan, 0.5, 0.1])
    own = np.array([0.1, 0.3, 0.9, np.nan, 0.0])
    got = uplift(joint, own, horizon=1)
    assert got.difference.t == pytest.approx(hac_mean(np.array([0.2, -0.1, 0.1]), horizon=1).t)
    assert got.difference.n_periods == 3
    assert got.joint - got.own == pytest.approx(got.difference.mean)
    assert got.better == pytest.approx(2 / 3)
    assert np.isnan(uplift(joint[:1], np.array([np.nan]), horizon=1).joint)
    with pytest.raises(ValueError, match=r"one \(T,\) shape"):
        uplift(joint, own[1:], horizon=1)


@settings(deadline=None, max_examples=30)
@given(hnp.arrays(np.float64, 12, elements=st.floats(-1, 1)), hnp.arrays(np.float64, 12, elements=st.floats(-1, 1)))
def test_uplift_is_antisymmetric(joint, own):
    there, back = uplift(joint, own, horizon=3), uplift(own, joint, horizon=3)
    assert there.difference.mean == -back.difference.mean
    np.testing.assert_allclose(there.difference.t, -back.difference.t, equal_nan=True)
    assert uplift(joint, joint, horizon=3).difference.mean == 0


def test_window_by_names():
    assert evaluation_window(PERIODS).all()
    assert np.flatnonzero(evaluation_window(PERIODS, "2020Q3", "2021Q2")).tolist() == [2, 3, 4, 5]
    assert np.flatnonzero(evaluation_window(PERIODS, last="2020Q1")).tolist() == [0]
    with pytest.raises(ValueError, match=r"'2019Q4' is not in the calendar \(2020Q1 to 2021Q4\)"):
        evaluation_window(PERIODS, "2019Q4")
    with pytest.raises(ValueError, match="2021Q1 comes after 2020Q1"):
        evaluation_window(PERIODS, "2021Q1", "2020Q1")


def test_evaluate_gives_each_model_its_rows_and_pairs_on_shared_rows():
    joint, labels = panel(7, noise=0.5)
    own = labels + 3 * np.random.default_rng(8).normal(size=labels.shape)
    own[:, :15] = np.nan
    got = evaluate({"joint": joint, "own": own}, labels, PERIODS, horizon=2, first="2020Q2", last="2021Q3")
    assert got.periods == PERIODS[1:7]
    np.testing.assert_array_equal(got.ics["joint"]["rank"], ic_by_period(joint, labels)[1:7])
    np.testing.assert_array_equal(got.rows, (~np.isnan(joint + labels)).sum(axis=1)[1:7])
    shared = np.where(np.isnan(own), np.nan, joint)
    gap = (ic_by_period(shared, labels) - ic_by_period(np.where(np.isnan(joint), np.nan, own), labels))[1:7]
    assert got.uplifts["own"]["rank"].difference == hac_mean(gap, horizon=2)
    assert got.summaries["own"]["pearson"].method == "pearson"
    assert set(got.uplifts) == {"own"}


def test_evaluate_refuses_what_does_not_fit():
    joint, labels = panel(9)
    with pytest.raises(ValueError, match='the model "joint"'):
        evaluate({"own": joint}, labels, PERIODS, horizon=1)
    with pytest.raises(ValueError, match="calendar of 7 periods"):
        evaluate({"joint": joint}, labels, PERIODS[:7], horizon=1)
    with pytest.raises(ValueError, match="scores of 'own' have shape"):
        evaluate({"joint": joint, "own": joint[:, 1:]}, labels, PERIODS, horizon=1)


@pytest.mark.data
def test_published_scores_of_a_real_consortium_are_reproduced():
    """Pooled ridge on the district panel, walked forward by quarter, against the scores published with it."""
    folder = SHARED_DATA / "india_districts"
    if not folder.is_dir():
        pytest.skip(f"no data at {folder}; set ENTENTE_SHARED_DATA")
    rows = pd.read_parquet(folder / "reference_centralised_panel.parquet")
    published = json.loads((folder / "reference_metrics.json").read_text())["results"]["with_label_holder_features"]
    quarter, quarters = pd.factorize(rows["quarter"], sort=True)
    entity, entities = pd.factorize(rows["id"], sort=True)
    target = rows["label_credit_yoy_cs"].to_numpy()
    labels = np.full((len(quarters), len(entities)), np.nan)
    labels[quarter, entity] = target

    def ridge(*parties: str) -> np.ndarray:
        x = rows[[c for c in rows if c.split("_")[0] in parties]].to_numpy(dtype=np.float64)
        scores = np.full_like(labels, np.nan)
        for t in range(1, len(quarters)):
            past, now = quarter < t, quarter == t
            middle = x[past].mean(axis=0)
            centered = x[past] - middle
            gram = centered.T @ centered + 300 * np.eye(x.shape[1])
            weights = np.linalg.solve(gram, centered.T @ (target[past] - target[past].mean()))
            scores[t, entity[now]] = (x[now] - middle) @ weights
        return scores

    parties = ("sat", "pay", "app", "bnk")
    models = {"joint": ridge(*parties)} | {name: ridge(name) for name in parties}
    got = evaluate(models, labels, list(quarters), horizon=0, first="2020Q3", last="2022Q4")
    for name, score in published.items():
        summary = got.summaries[name.lower()]["rank"]
        assert summary.mean == pytest.approx(score["rank_ic"], abs=6e-5)
        assert summary.n_periods == score["n_quarters"]
    assert got.rows.sum() == published["JOINT"]["n_test_rows"]
    assert got.uplifts["bnk"]["rank"].better == 1.0
    assert got.uplifts["bnk"]["rank"].difference.t > 3


@given(st.integers(2, 80), st.integers(1, 13), st.integers(0, 2**32 - 1))
def test_the_mean_and_its_error_are_those_of_statsmodels(n: int, horizon: int, seed: int) -> None:
    series = np.random.default_rng(seed).normal(size=n).cumsum()
    got = hac_mean(series, horizon=horizon)
    fit = OLS(series, np.ones(n)).fit(cov_type="HAC", cov_kwds={"maxlags": got.lags, "use_correction": True})
    expected = float(np.sqrt(np.asarray(fit.cov_params())[0, 0]))
    assert got.standard_error == pytest.approx(expected, rel=1e-7, abs=1e-9)
    assert one_sided_p(got) == pytest.approx(float(stats.t.sf(got.t, n - 1)), rel=1e-9)


def test_a_difference_is_tested_over_the_periods_that_both_have():
    rng = np.random.default_rng(3)
    one = {f"p{i:02d}": float(v) for i, v in enumerate(rng.normal(size=40))}
    two = {name: value + 0.1 + 0.01 * rng.normal() for name, value in list(one.items())[10:]} | {"later": 9.0}
    found = paired_difference(one | {"p20": None}, two, horizon=2)
    both = [name for name in sorted(one) if name in two and name != "p20"]
    assert found == hac_mean(np.array([two[name] - one[name] for name in both]), horizon=2)
    assert found.n_periods == 29
    assert np.isnan(paired_difference(one, {"later": 1.0}, horizon=1).mean)
