"""What a search is worth: against purgedcv and statsmodels called directly, and on searches of known skill."""

from __future__ import annotations

import math

import numpy as np
import purgedcv
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from vfl.factors.significance import adjusted, disjoint, search_evidence, track_record, two_sided_p
from vfl.factors.trials import FILE, Trial, all_trials, read_trials, series_of, write_trials

RNG = np.random.default_rng(0)
SKILLED = 0.1 + 0.1 * RNG.normal(size=80)


def test_psr_and_track_record_are_those_of_purgedcv():
    found = track_record(SKILLED, horizon=1, what="rank IC")
    assert found.value("significance", "psr") == purgedcv.probabilistic_sharpe_ratio(SKILLED, 0.0)
    sharpe = SKILLED.mean() / SKILLED.std()
    skew, kurtosis = stats.skew(SKILLED, bias=False), stats.kurtosis(SKILLED, bias=False, fisher=False)
    assert found.value("significance", "minimum_track_record") == pytest.approx(
        purgedcv.min_track_record_length(sharpe, 0.0, 0.05, skew, kurtosis), abs=1
    )
    assert found.value("significance", "hurdle") == 1


def test_overlapping_periods_count_once():
    assert disjoint(np.arange(10.0), 4).tolist() == [0, 4, 8]
    assert disjoint(np.array([np.nan, 1, 2]), 2).tolist() == [2]
    found = track_record(SKILLED, horizon=5, what="rank IC")
    assert found.numbers["significance"]["psr"].n == 16
    assert found.value("significance", "psr") == purgedcv.probabilistic_sharpe_ratio(SKILLED[::5], 0.0)


def test_too_short_or_flat_a_record_is_left_out():
    for series in (np.full(30, 0.1), SKILLED[:5], np.full(30, np.nan)):
        found = track_record(series, horizon=1, what="rank IC")
        assert set(found.left_out) == {"psr", "minimum_track_record"}
        assert search_evidence([series], 0, horizon=1, n_trials=3, what="x").left_out["deflated_sharpe"]


def test_adjusted_p_values_are_those_of_statsmodels():
    p = [0.001, 0.01, 0.03, 0.04, 0.5]
    holm, bhy = adjusted(p)
    np.testing.assert_allclose(holm, multipletests(p, method="holm")[1])
    np.testing.assert_allclose(bhy, multipletests(p, method="fdr_by")[1])
    assert adjusted([0.01, math.nan, math.nan])[0][0] == pytest.approx(0.03)
    assert np.isnan(adjusted([0.01, math.nan])[1][1])
    assert two_sided_p(2.0, 11) == pytest.approx(2 * stats.t.sf(2.0, 10))
    assert math.isnan(two_sided_p(math.nan, 11))


def test_an_overfit_search_of_200_noise_trials_is_caught_by_name():
    trials = list(np.random.default_rng(3).normal(0, 0.1, size=(200, 64)))
    best = int(np.argmax([t.mean() for t in trials]))
    found = search_evidence(trials, best, horizon=1, n_trials=200, what="rank IC")
    assert found.warned("overfit")
    assert found.value("search", "p") < 0.05, "alone it would look significant"
    assert found.value("search", "p_holm") > 0.05
    assert found.value("search", "deflated_sharpe") < 0.95
    alone = purgedcv.probabilistic_sharpe_ratio(trials[best], 0.0)
    assert alone > 0.99
    spread = np.var([t.mean() / t.std() for t in trials], ddof=1)
    assert found.value("search", "deflated_sharpe") == pytest.approx(
        purgedcv.deflated_sharpe_ratio(trials[best], 200, spread)
    )
    pbo = purgedcv.probability_of_backtest_overfitting(np.stack(trials), n_splits=8)
    assert found.value("search", "pbo") == pbo.pbo
    assert pbo.pbo > 0.25


def test_real_skill_among_noise_is_not_called_overfit():
    trials = [*np.random.default_rng(4).normal(0, 0.1, size=(20, 64)), 0.1 + 0.1 * RNG.normal(size=64)]
    found = search_evidence(trials, 20, horizon=1, n_trials=21, what="rank IC")
    assert not found.warnings
    assert found.value("search", "deflated_sharpe") > 0.95
    assert found.value("search", "pbo") < 0.1


def test_trials_without_a_record_still_count():
    few = search_evidence([SKILLED[:30]], 0, horizon=1, n_trials=1, what="x")
    many = search_evidence([SKILLED[:30]], 0, horizon=1, n_trials=1000, what="x")
    assert many.value("search", "deflated_sharpe") < few.value("search", "deflated_sharpe")
    assert many.value("search", "p_holm") == pytest.approx(min(1, 1000 * few.value("search", "p")))
    assert many.value("search", "n_trials") == 1000


def test_failed_and_stopped_trials_count_and_do_not_end_the_comparison():
    rng = np.random.default_rng(5)
    whole = [rng.normal(0, 0.1, 64) for _ in range(9)]
    best = int(np.argmax([w.mean() for w in whole]))
    early, failed = np.where(np.arange(64) < 10, 0.1, np.nan), np.full(64, np.nan)
    clean = search_evidence(whole, best, horizon=1, n_trials=9, what="rank IC")
    found = search_evidence([*whole, early, failed], best, horizon=1, n_trials=11, what="rank IC")
    assert found.value("search", "n_trials") == 11
    assert found.value("search", "pbo") == clean.value("search", "pbo")
    assert found.value("search", "deflated_sharpe") < clean.value("search", "deflated_sharpe")


def trial(seed: int, **changes: object) -> Trial:
    values: dict[str, object] = {
        "run_id": "ab" * 32, "kind": "ridge", "terms": {"alpha": 300.0, "seed": seed}, "seed": seed,
        "periods": ("2020Q1", "2020Q2"), "rank_ic": (0.1, math.nan), "selected": seed == 0,
    }  # fmt: skip
    return Trial(**(values | changes))  # type: ignore[arg-type]


def test_trials_travel_as_parquet_and_predecessors_come_once():
    trials = (trial(0), trial(1), trial(2, periods=("2020Q2", "2020Q3"), rank_ic=(0.2, 0.3)))
    content = write_trials(trials)
    assert write_trials(trials) == content
    again = read_trials(content)
    assert [t.identity for t in again] == [t.identity for t in trials]
    assert again[2] == trials[2]
    assert len(all_trials([again, trials[:2], (trial(5),)])) == 4
    periods, table = series_of(again)
    assert periods == ("2020Q1", "2020Q2", "2020Q3")
    np.testing.assert_array_equal(table, [[0.1, np.nan, np.nan], [0.1, np.nan, np.nan], [np.nan, 0.2, 0.3]])


def test_bad_trials_are_refused():
    with pytest.raises(ValueError, match="2 trials are marked as selected"):
        write_trials([trial(0), trial(1, selected=True)])
    with pytest.raises(ValueError, match="has 1 rank ICs"):
        trial(0, rank_ic=(0.1,))
    with pytest.raises(ValueError, match="not a Parquet file"):
        read_trials(b"PAR1 no")
    import io

    import pandas as pd

    other = io.BytesIO()
    pd.DataFrame({"trial": ["x"]}).to_parquet(other)
    with pytest.raises(ValueError, match=f"{FILE} has other columns"):
        read_trials(other.getvalue())
