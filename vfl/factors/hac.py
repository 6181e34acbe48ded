"""The mean of a series of periods with a standard error that allows for overlap and autocorrelation. Numpy alone.

Whoever judges a settlement computes this again, so it must not need the statistics that only a label party installs.
Source: Newey and West (1987, 1994).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["CONFIDENCE", "HacMean", "hac_definition", "hac_lags", "hac_mean", "one_sided_p"]

Floats = NDArray[np.float64]

CONFIDENCE = 0.95


def hac_definition(lags: int) -> str:
    """What a t and an interval of :func:`hac_mean` are."""
    return (
        f"mean over its Newey-West standard error (Bartlett kernel, {lags} lags, factor n/(n-1), "
        "skipped periods closed up); interval from Student's t with n-1 degrees of freedom"
    )


@dataclass(frozen=True)
class HacMean:
    """The mean of a series of periods with a standard error that allows for overlap and autocorrelation.

    ``standard_error``, ``t`` and the interval are NaN with fewer than two periods; ``t`` also where nothing varies.
    """

    mean: float
    standard_error: float
    t: float
    low: float
    high: float
    n_periods: int
    lags: int

    @property
    def definition(self) -> str:
        return hac_definition(self.lags)

    @property
    def told(self) -> str:
        """Its t in words, or why there is none."""
        if math.isfinite(self.t):
            return f"its Newey-West t is {self.t:.1f} over {self.n_periods} periods"
        if self.n_periods < 2:
            return "there is no period to test it on" if not self.n_periods else "one period cannot test it"
        return f"its {self.n_periods} periods are all alike, so it cannot be tested"


def hac_lags(n_periods: int, horizon: int) -> int:
    """Newey-West lags: the overlap of the labels (horizon - 1), or 4 (n/100)^(2/9) where that is more.

    Source: Newey and West (1994), the plug-in order for the Bartlett kernel.
    """
    automatic = math.floor(4 * (n_periods / 100) ** (2 / 9)) if n_periods else 0
    return max(0, min(max(horizon - 1, automatic), n_periods - 1))


def hac_mean(series: Floats, *, horizon: int) -> HacMean:
    """Mean of a float64 (T,) series of periods, NaN left out, with Newey-West standard error, t and interval.

    ``horizon`` is the label's, in periods. Raises ValueError for another shape and for an infinite value.
    """
    values = np.asarray(series, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"a series of periods must have one axis, not shape {values.shape}")
    if np.isinf(values).any():
        raise ValueError(f"the series is infinite at position {int(np.flatnonzero(np.isinf(values))[0])}")
    values = values[~np.isnan(values)]
    count = len(values)
    lags = hac_lags(count, horizon)
    if count == 0:
        return HacMean(math.nan, math.nan, math.nan, math.nan, math.nan, 0, lags)
    mean = float(values.mean())
    if count == 1:
        return HacMean(mean, math.nan, math.nan, math.nan, math.nan, 1, lags)
    rest = values - mean
    total = float(rest @ rest)
    for lag in range(1, lags + 1):
        total += 2 * (1 - lag / (lags + 1)) * float(rest[lag:] @ rest[:-lag])
    error = math.sqrt(max(total, 0.0) / (count * (count - 1)))
    if error <= 1e-14 * float(np.abs(values).max()):
        return HacMean(mean, 0.0, math.nan, mean, mean, count, lags)
    from scipy.special import stdtrit  # takes half a second to load, and most of what imports this never asks

    reach = float(stdtrit(count - 1, 0.5 + CONFIDENCE / 2)) * error
    return HacMean(mean, error, mean / error, mean - reach, mean + reach, count, lags)


def one_sided_p(mean: HacMean) -> float:
    """p value of a mean against "not above zero", Student's t with n-1 degrees of freedom; NaN where t is undefined."""
    from scipy.special import stdtr

    return math.nan if math.isnan(mean.t) else float(stdtr(mean.n_periods - 1, -mean.t))
