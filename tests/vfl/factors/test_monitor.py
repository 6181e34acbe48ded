"""Monitoring: quiet while nothing changes, loud with a reason when something does."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from vfl.factors.evaluate import ic_by_period
from vfl.factors.half_life import HalfLife
from vfl.factors.monitor import Expectation, monitor, population_stability, watched_for_decay

RNG = np.random.default_rng(0)
T, N = 36, 150
PERIODS = tuple(f"{i:02d}" for i in range(T))
OLD = RNG.normal(size=(60, N))
ICS = ic_by_period(OLD, 0.15 * OLD + RNG.normal(size=OLD.shape))
EXPECTED = Expectation(float(ICS.mean()), float(ICS.std(ddof=1)), 60, 1, OLD)


def live(skill: float, scale: float = 1.0, known: int = T):
    scores = RNG.normal(size=(T, N))
    labels = skill * scores + RNG.normal(size=scores.shape)
    labels[known:] = np.nan
    return monitor(scale * scores, labels, PERIODS, EXPECTED)


def test_nothing_changed_is_kept():
    found = live(0.15)
    assert found.advice.action == "keep"
    assert not found.findings.warnings
    assert found.findings.value("live", "psi") < 0.05
    assert "is within the expected" in found.advice.reasons[0]


def test_a_lost_relation_is_retrained_with_its_reason():
    found = live(0.0)
    assert found.advice.action == "retrain"
    assert found.findings.warned("retrain")
    assert "is below the expected" in found.advice.reasons[0]


def test_moved_scores_are_watched_before_any_label_arrives():
    found = live(0.15, scale=3.0, known=0)
    assert found.advice.action == "watch"
    assert found.findings.value("live", "psi") > 0.25
    assert "look at the inputs" in found.advice.reasons[0]
    assert found.findings.numbers["live"]["rank_ic"].n == 0


def test_too_few_labels_wait():
    assert live(0.15, known=3).advice.action == "wait"


def test_missing_instruments_are_watched():
    scores = RNG.normal(size=(T, N))
    labels = 0.2 * scores + RNG.normal(size=scores.shape)
    scores[:, 60:] = np.nan
    found = monitor(scores, labels, PERIODS, EXPECTED)
    assert found.advice.action == "watch"
    assert "Only 40% of the instruments" in found.advice.reasons[0]


def test_the_band_holds_what_it_promises():
    """In about 95 of 100 unchanged worlds the live mean lies inside; overlap widens the band."""
    inside = 0
    for _ in range(400):
        past, now = RNG.normal(0.1, 0.1, 60), RNG.normal(0.1, 0.1, 12)
        low, high = Expectation(past.mean(), past.std(ddof=1), 60, 1, OLD).band(12)
        inside += low <= now.mean() <= high
    assert stats.binomtest(inside, 400, 0.95).pvalue > 1e-4
    one, four = (Expectation(0.1, 0.1, 60, h, OLD).band(12) for h in (1, 4))
    assert four[1] - four[0] == pytest.approx(2 * (one[1] - one[0]))


def test_the_rolling_mean_skips_periods_without_labels():
    scores = RNG.normal(size=(T, N))
    labels = scores + RNG.normal(size=scores.shape)
    labels[5] = np.nan
    found = monitor(scores, labels, PERIODS, EXPECTED, window=3).findings
    ics = np.array(found.series["live_rank_ic"].y)
    rolled = np.array(found.series["rolling_rank_ic"].y)
    assert np.isnan(rolled[[0, 1, 5]]).all()
    assert rolled[6] == pytest.approx(np.mean([ics[3], ics[4], ics[6]]))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=10, max_size=60), st.lists(st.floats(-5, 5), min_size=1, max_size=60))
def test_stability_is_zero_for_the_same_and_never_negative(one, other):
    one, other = np.array(one), np.array(other)
    assert population_stability(one, one) == 0
    assert population_stability(one, other) >= 0


def test_what_cannot_be_monitored_is_refused():
    with pytest.raises(ValueError, match="do not fit"):
        monitor(OLD, OLD[:5], PERIODS, EXPECTED)
    with pytest.raises(ValueError, match="too short"):
        monitor(OLD, OLD, tuple(map(str, range(60))), EXPECTED, window=1)
    assert math.isnan(population_stability(np.array([]), OLD.ravel()))


def fading(persistence: float, periods: int, seed: int):
    """Scores that follow a state with this persistence, and labels that the state of their own period moves."""
    rng = np.random.default_rng(seed)
    state = np.zeros((periods, N))
    for t in range(periods):
        state[t] = persistence * state[t - 1] + math.sqrt(1 - persistence**2) * rng.normal(size=N)
    return state, 0.4 * state + rng.normal(size=state.shape)


def watched(persistence: float, *, periods: int = 120, seed: int = 3, **given):
    scores, labels = fading(persistence, periods, seed)
    names = tuple(f"{i:03d}" for i in range(len(scores)))
    expected = Expectation(0.36, 0.08, 60, 1, scores)
    return watched_for_decay(monitor(scores, labels, names, expected), scores, labels, horizon=1, **given)


def test_a_half_life_below_the_one_asked_for_is_watched_and_a_longer_one_is_not():
    found = watched(0.5, shortest=3.0)  # IC(lag) goes with 0.5^lag: half is gone after one period
    assert found.findings.value("decay", "half_life") == pytest.approx(1.0, abs=0.2)
    assert found.advice.action == "watch"
    assert found.findings.warned("watch")
    assert "3 were asked for" in found.advice.reasons[-1]
    assert watched(0.5, shortest=0.7).advice.action == "keep"


def test_a_half_life_that_fell_below_the_published_interval_is_watched_and_one_within_it_is_not():
    found = watched(0.5, published=HalfLife(6.0, 4.5, math.nan, 100))
    assert found.advice.action == "watch"
    assert "as published" in found.advice.reasons[-1]
    for same in (HalfLife(1.1, 0.9, 1.4, 100), HalfLife(math.nan, math.nan, math.nan, 5), None):
        assert watched(0.5, published=same).advice.action == "keep"


def test_too_few_live_periods_have_no_half_life_and_alert_nobody():
    before = watched(0.5, periods=8)
    assert math.isnan(before.findings.value("decay", "half_life"))
    found = watched(0.5, periods=8, shortest=50.0)
    assert found.advice.action == before.advice.action
    *same, untold = found.advice.reasons
    assert tuple(same) == before.advice.reasons
    assert untold.startswith("Whether it lasts the 50 periods that were asked for stays open")


def test_an_interval_without_an_end_is_told_as_open():
    found = watched(0.97, periods=60, seed=4, shortest=100.0)
    assert math.isnan(found.findings.value("decay", "half_life_high"))
    assert "after 25.1 periods (12.6 or more), and 100 were asked for" in found.advice.reasons[-1]
    published = watched(0.5, published=HalfLife(math.nan, 4.5, math.nan, 100))
    assert "and after 4.5 or more as published" in published.advice.reasons[-1]


def test_a_relation_that_is_lost_stays_a_reason_to_retrain():
    scores, labels = fading(0.5, 120, 3)
    lost = monitor(scores, labels, tuple(map(str, range(len(scores)))), Expectation(0.9, 0.02, 60, 1, scores))
    assert lost.advice.action == "retrain"
    found = watched_for_decay(lost, scores, labels, horizon=1, shortest=3.0)
    assert found.advice.action == "retrain"
    assert len(found.advice.reasons) == len(lost.advice.reasons) + 1
