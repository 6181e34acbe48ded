"""Choosing among formulas: the fast HAC is the slow one, a planted product is named, and on noise nothing is."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from vfl.factors.hac import hac_mean
from vfl.factors.significance import adjusted
from vfl.models.screen.formulas import Formula, trials_of
from vfl.models.screen.hurdles import lone_t
from vfl.models.screen.judge import hac_columns, judged
from vfl.models.screen.numbers import RANK_TOP, label_integers
from vfl.models.screen.twin import screened_in_the_clear
from vfl.screen_terms import ScreenModel

PERIODS, ENTITIES, EACH = 60, 120, 20
Ints = NDArray[np.int64]


@pytest.mark.parametrize("horizon", [1, 5])
def test_many_hac_ts_at_once_are_those_one_by_one(horizon: int) -> None:
    series = np.random.default_rng(0).normal(0.1, 1.0, size=(40, 7))
    series[3, 2] = series[17, 2] = np.nan
    series[:, 5] = 0.25
    found = hac_columns(series, horizon=horizon)
    for place in range(7):
        one = hac_mean(series[:, place], horizon=horizon)
        np.testing.assert_allclose([found.mean[place], found.t[place]], [one.mean, one.t], rtol=1e-9)
        assert found.count[place] == one.n_periods


def terminals(rng: np.random.Generator) -> dict[str, Ints]:
    return {name: rng.integers(-RANK_TOP, RANK_TOP + 1, size=(PERIODS, ENTITIES, EACH)) for name in ("a", "b")}


def screen(planted: float, seed: int) -> tuple[Formula, ...]:
    """Named formulas of 2 x 20 terminals, where the product of the fourth and the eighth moves the label."""
    rng = np.random.default_rng(seed)
    made = terminals(rng)
    product = made["a"][:, :, 3] * made["b"][:, :, 7] / RANK_TOP**2
    label = planted * product + rng.normal(size=(PERIODS, ENTITIES))
    labels = label_integers(label, np.ones_like(label, dtype=bool))
    none = np.zeros((PERIODS, ENTITIES, 0), dtype=np.int64)
    trials = trials_of(screened_in_the_clear(labels, made, none), "l", labels)
    assert len(trials.formulas) == EACH**2 + 2 * EACH
    found = judged(trials, ScreenModel(), horizon=1)
    assert not found.named[~found.chosen].any()
    left = [passed.alone + passed.products for passed in found.passed().values()]
    assert left == sorted(left, reverse=True), "each hurdle is stood after those before it"
    assert (left[0], left[-2:]) == (len(trials.formulas), [int(found.chosen.sum()), int(found.named.sum())])
    assert (found.passed()["tried"].alone, found.passed()["tried"].products) == (2 * EACH, EACH**2)
    return tuple(found.formula(trial) for trial in found.winners)


def test_a_planted_product_is_named_and_nothing_else() -> None:
    assert screen(1.0, 1) == (Formula("a", 3, "b", 7),)


@pytest.mark.parametrize("seed", range(4))
def test_on_noise_nothing_is_named(seed: int) -> None:
    assert screen(0.0, 10 + seed) == ()


@pytest.mark.parametrize("trials", [1, 7, 440, 10_200])
def test_the_t_of_a_formula_that_stands_alone_is_the_least_that_passes(trials: int) -> None:
    t = lone_t(trials, 0.05, 30)
    for factor, passes in ((1.001, True), (0.999, False)):
        p = 2 * stats.t.sf(factor * t, 29)
        _, adjusted_p = adjusted([p] + [0.9] * (trials - 1))
        assert bool(adjusted_p[0] <= 0.05) is passes
    assert lone_t(trials, 0.05, 1) == lone_t(0, 0.05, 30) == float("inf")


def test_a_mean_is_in_units_of_a_correlation() -> None:
    rng = np.random.default_rng(2)
    made = terminals(rng)
    label = made["a"][:, :, 0].astype(np.float64)
    labels = label_integers(label, np.ones_like(label, dtype=bool))
    none = np.zeros((PERIODS, ENTITIES, 0), dtype=np.int64)
    trials = trials_of(screened_in_the_clear(labels, made, none), "l", labels)
    assert trials.series[:, 0].mean() == pytest.approx(1.0, abs=0.02)


def test_too_few_periods_are_refused_with_a_remedy() -> None:
    rng = np.random.default_rng(3)
    made = {name: values[:20] for name, values in terminals(rng).items()}
    labels = label_integers(rng.normal(size=(20, ENTITIES)), np.ones((20, ENTITIES), dtype=bool))
    trials = trials_of(screened_in_the_clear(labels, made, np.zeros((20, ENTITIES, 0), dtype=np.int64)), "l", labels)
    with pytest.raises(ValueError, match="take a longer calendar"):
        judged(trials, ScreenModel(), horizon=1)
