"""Which formulas of a screen are named: chosen on the first half of the periods, confirmed on the second.

Every formula is a trial. Chosen is what passes all three on the first half: a false discovery rate over all trials by
Benjamini, Hochberg and Yekutieli, the hurdle on \\|t\\|, and a deflated Sharpe ratio of 95 % with as many trials.
Confirmed is what has the same sign on the second half, with a one-sided p that passes Holm among the chosen.
Source: Harvey, Liu and Zhu (2016); Bailey and Lopez de Prado (2014); Newey and West (1987).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import purgedcv
from numpy.typing import NDArray
from scipy import stats

from vfl.factors.hac import hac_lags, hac_mean
from vfl.factors.significance import adjusted
from vfl.models.screen.formulas import Formula, Trials
from vfl.screen_terms import FEWEST_PERIODS, ScreenModel

__all__ = ["SURE", "Judged", "Passed", "Tests", "hac_columns", "judged"]

F64 = NDArray[np.float64]
Bools = NDArray[np.bool_]

SURE = 0.95
"""Deflated Sharpe ratio of a formula that is chosen."""


@dataclass(frozen=True)
class Tests:
    """By trial, float64 (trials,), NaN where undefined: mean, HAC t and periods."""

    mean: F64
    t: F64
    count: F64


@dataclass(frozen=True, slots=True)
class Passed:
    """How many formulas stand a hurdle and all before it: terminals alone, and products of two."""

    alone: int
    products: int


@dataclass(frozen=True)
class Judged:
    """halves: the periods' places of each half. deflated: NaN where a formula fell before it was asked."""

    trials: Trials
    terms: ScreenModel
    halves: tuple[range, range]
    first: Tests
    second: Tests
    p: F64
    p_bhy: F64
    deflated: F64
    p_second: F64
    chosen: Bools
    named: Bools

    @property
    def order(self) -> list[int]:
        """Trials by the absolute t of the first half, the largest first."""
        return [int(i) for i in np.argsort(-np.nan_to_num(np.abs(self.first.t)), kind="stable")]

    @property
    def winners(self) -> list[int]:
        """Named trials, the best first."""
        return [i for i in self.order if self.named[i]]

    def formula(self, trial: int) -> Formula:
        return self.trials.formulas[trial]

    def passed(self) -> dict[str, Passed]:
        """How many are left after each hurdle, in order: what a label party may tell of a screen, and no more."""
        product = np.array([bool(formula.other) for formula in self.trials.formulas], dtype=bool)
        discovered = _discovered(self.p_bhy, self.terms)
        left = {
            "tried": np.ones(len(product), dtype=bool),
            "discovered": discovered,
            "above_hurdle": discovered & _above_hurdle(self.first, self.terms),
            "chosen": self.chosen,
            "named": self.named,
        }
        return {name: Passed(int((one & ~product).sum()), int((one & product).sum())) for name, one in left.items()}


def hac_columns(series: F64, *, horizon: int) -> Tests:
    """Of each column of (T, trials) what :func:`vfl.factors.hac.hac_mean` says, those without gaps all at once."""
    count, trials = series.shape
    gaps = np.isnan(series).any(axis=0)
    mean, t = series.mean(axis=0) if count else np.full(trials, np.nan), np.full(trials, np.nan)
    periods = np.full(trials, float(count))
    if count > 1:
        rest, lags = series - mean, hac_lags(count, horizon)
        total = np.square(rest).sum(axis=0)
        for lag in range(1, lags + 1):
            total += 2 * (1 - lag / (lags + 1)) * (rest[lag:] * rest[:-lag]).sum(axis=0)
        error = np.sqrt(np.maximum(total, 0.0) / (count * (count - 1)))
        varies = error > 1e-14 * np.abs(series).max(axis=0, initial=0.0)
        t[varies] = mean[varies] / error[varies]
    for trial in np.flatnonzero(gaps):
        one = hac_mean(series[:, trial], horizon=horizon)
        mean[trial], t[trial], periods[trial] = one.mean, one.t, one.n_periods
    return Tests(mean, t, periods)


def judged(trials: Trials, terms: ScreenModel, *, horizon: int, embargo: int = 0) -> Judged:
    """Raises ValueError where a half has fewer than :data:`~vfl.screen_terms.FEWEST_PERIODS` periods with labels."""
    known = np.flatnonzero(np.isfinite(trials.series).any(axis=1))
    gap = max(horizon, 1) - 1 + embargo
    half = (len(known) - gap) // 2
    if half < FEWEST_PERIODS:
        raise ValueError(
            f"{len(known)} periods have labels, and a screen chooses on one half and confirms on the other, "
            f"{FEWEST_PERIODS} periods each and {gap} between them: take a longer calendar"
        )
    places = range(half), range(half + gap, len(known))
    early, late = (trials.series[known[list(place)]] for place in places)
    first, second = (hac_columns(part, horizon=horizon) for part in (early, late))
    p = _two_sided(first)
    _, bhy = adjusted(p.tolist())
    p_bhy = np.asarray(bhy, dtype=np.float64)
    chosen = _discovered(p_bhy, terms) & _above_hurdle(first, terms)
    deflated = np.full(len(p), np.nan)
    for trial in np.flatnonzero(chosen):
        deflated[trial] = _deflated(early, int(trial), float(np.sign(first.t[trial])), horizon)
    chosen &= np.nan_to_num(deflated) >= SURE
    p_second = np.full(len(p), np.nan)
    if chosen.any():
        towards = second.t[chosen] * np.sign(first.t[chosen])
        p_second[chosen] = adjusted(stats.t.sf(towards, second.count[chosen] - 1).tolist())[0]
    named = np.nan_to_num(p_second, nan=1.0) <= terms.level
    halves = range(int(known[0]), int(known[half - 1]) + 1), range(int(known[half + gap]), int(known[-1]) + 1)
    return Judged(trials, terms, halves, first, second, p, p_bhy, deflated, p_second, chosen, named)


def _discovered(p_bhy: F64, terms: ScreenModel) -> Bools:
    found: Bools = np.nan_to_num(p_bhy, nan=1.0) <= terms.level
    return found


def _above_hurdle(tests: Tests, terms: ScreenModel) -> Bools:
    found: Bools = np.nan_to_num(np.abs(tests.t)) > terms.hurdle
    return found


def _two_sided(tests: Tests) -> F64:
    enough = tests.count > 1
    found = 2 * stats.t.sf(np.abs(tests.t), np.where(enough, tests.count - 1, 1))
    return np.where(enough, found, np.nan)


def _deflated(series: F64, trial: int, sign: float, horizon: int) -> float:
    """Of one trial among all, on every ``horizon``-th period, as :mod:`vfl.factors.significance` does."""
    thin = series[:: max(horizon, 1)]
    spread = np.nanstd(thin, axis=0)
    ratios = np.nanmean(thin, axis=0)[spread > 0] / spread[spread > 0]
    values = thin[np.isfinite(thin[:, trial]), trial] * sign
    if len(values) < 3 or spread[trial] <= 0:
        return math.nan
    variance = float(np.var(ratios, ddof=1)) if len(ratios) > 1 else 1 / len(values)
    try:
        return float(purgedcv.deflated_sharpe_ratio(values, series.shape[1], variance))
    except ValueError:
        return math.nan
