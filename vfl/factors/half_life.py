"""How long a factor's information lasts: a half-life fitted to its rank IC by delay, with an interval from blocks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vfl.factors.evaluate import ic_by_period
from vfl.factors.findings import Number
from vfl.factors.hac import hac_lags

__all__ = ["DECAY_WINDOWS", "HalfLife", "half_life", "half_life_numbers", "ics_by_delay"]

Floats = NDArray[np.float64]

DECAY_WINDOWS = 6
"""Disjoint label windows that a decay is looked at over, the first included."""

_DRAWS = 400
_GRID = 2000
_LONGEST = 20.0
"""A half-life of more than this many times the longest delay is no decay that these delays can show."""


@dataclass(frozen=True)
class HalfLife:
    """In periods, with the ends of a 95 % interval. NaN: nothing to fit, or no decay within the delays."""

    periods: float
    low: float
    high: float
    n_periods: int


def ics_by_delay(scores: Floats, labels: Floats, horizon: int) -> tuple[list[Floats], list[int]]:
    """Rank ICs by period with the label windows that start 0, 1, 2, ... horizons later, and those delays in periods.

    Delays end where fewer than two periods have an IC.
    """
    series: list[Floats] = []
    delays: list[int] = []
    for window in range(DECAY_WINDOWS):
        lag = window * horizon
        if lag >= len(labels):
            break
        ahead = np.full(labels.shape, np.nan)
        ahead[: len(labels) - lag] = labels[lag:]
        ics = ic_by_period(scores, ahead)
        if np.isfinite(ics).sum() < 2:
            break
        series.append(ics)
        delays.append(lag)
    return series, delays


def half_life(ics: Floats, lags: Floats, *, horizon: int, seed: int = 0) -> HalfLife:
    """Fit IC(lag) = a 2^(-lag/h), a above 0, to the mean of ``ics`` float64 (K, T) at ``lags`` (K,) periods.

    The interval redraws blocks of periods, the same for all lags, so that overlap and the lags' common noise stay in.
    Raises ValueError where the shapes do not fit.
    """
    if ics.ndim != 2 or lags.shape != (len(ics),):
        raise ValueError(f"rank ICs {ics.shape} and delays {lags.shape} do not fit")
    usable = np.flatnonzero(np.isfinite(ics).any(axis=0))
    count = len(usable)
    if len(lags) < 3 or count < 10:
        return HalfLife(math.nan, math.nan, math.nan, count)
    rng = np.random.default_rng(seed)
    length = hac_lags(count, horizon) + 1
    starts = rng.integers(0, count - length + 1, (_DRAWS, math.ceil(count / length), 1))
    places = usable[(starts + np.arange(length)).reshape(_DRAWS, -1)[:, :count]]
    found, *drawn = _fit(np.vstack([_means(ics[:, usable]), *(_means(ics[:, one]) for one in places)]), lags)
    ends = np.where(np.isnan(drawn), math.inf, drawn)
    low, high = (float(np.quantile(ends, share, method="nearest")) for share in (0.025, 0.975))
    return HalfLife(
        float(found), low if math.isfinite(low) else math.nan, high if math.isfinite(high) else math.nan, count
    )


def half_life_numbers(found: HalfLife) -> dict[str, Number]:
    """The half-life and its interval as numbers of a report."""
    told = (
        "half-life h of IC(delay) = a 2^(-delay/h), least squares on the mean rank ICs by delay; none where the IC is "
        f"not above zero or halves in more than {_LONGEST:g} times the longest delay"
    )
    ends = "end of the 95 % interval, from redrawn blocks of periods; none where draws show no decay"
    n = found.n_periods
    return {
        "half_life": Number(found.periods, told, "periods", n),
        "half_life_low": Number(found.low, f"lower {ends}", "periods", n),
        "half_life_high": Number(found.high, f"upper {ends}", "periods", n),
    }


def _means(ics: Floats) -> Floats:
    """Mean rank IC of each lag, float64 (K,); NaN where no period has one."""
    counts = np.isfinite(ics).sum(axis=1)
    return np.where(counts > 0, np.nansum(ics, axis=1) / np.maximum(counts, 1), np.nan)


def _fit(means: Floats, lags: Floats) -> Floats:
    """The best half-life of each row of mean rank ICs (D, K), on a grid; NaN where the fit is no decay from above zero.

    For one half-life the best a is (shape . IC) / (shape . shape), so least squares is the largest explained part.
    """
    step = float(np.diff(lags).min())
    grid = np.geomspace(step / 20, _LONGEST * float(lags.max()), _GRID)
    shapes = np.exp2(-lags[None, :] / grid[:, None])
    along = np.maximum(np.nan_to_num(means) @ shapes.T, 0.0)
    explained = along**2 / (shapes**2).sum(axis=1)
    best = explained.argmax(axis=1)
    decays = (explained.max(axis=1) > 0) & (best < _GRID - 1) & np.isfinite(means).all(axis=1)
    return np.where(decays, grid[best], np.nan)
