"""Does a feature know what had not happened yet? Dates decide where there are any; else its profile over time tells.

The label of each period is first freed of what other, non-overlapping label windows say, before it and after it, since
a label that persists, or that has a level of its own for each entity, can be foreseen honestly: a volatility over the
last year knows the level better than a few windows of labels do. What remains is news of this window alone. A feature
made of history resembles the news of the window that had just ended; one that was shifted into the future, or revised
with hindsight, resembles the news of the coming window as well. It is flagged, by name, where that resemblance is
large, clear, and at least three quarters of that with the past.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from vfl.factors.evaluate import ic_by_period
from vfl.factors.exposures import neutralised
from vfl.factors.findings import Findings, Number, Series, Warn
from vfl.factors.hac import hac_mean
from vfl.factors.panel import Calendar

__all__ = ["EXCESS", "lookahead_findings", "refuse_future"]

Floats = NDArray[np.float64]
Times = NDArray[np.datetime64]

EXCESS = 0.15
"""Rank IC with the news of a window that was not over: more is too much to be foresight. Real signals stay below."""
_CLEAR = 3.0
_SHARE = 0.75
_WINDOWS = 3


def refuse_future(name: str, available_at: Times, calendar: Calendar, instruments: tuple[str, ...]) -> None:
    """Raise ValueError, naming feature, period and instrument, where a value was available only after its cutoff.

    available_at: datetime64 (T, n), NaT where there is no value.
    """
    late = available_at > calendar.cutoffs[:, None]
    if late.any():
        period, entity = (int(i) for i in np.argwhere(late)[0])
        raise ValueError(
            f"{name}: the value of {instruments[entity]} in {calendar.periods[period]} became available at "
            f"{np.datetime_as_string(available_at[period, entity], unit='s')}, after the cutoff: it looks ahead "
            f"({int(late.sum())} such values); join as of the cutoff"
        )


def lookahead_findings(features: Mapping[str, Floats], labels: Floats, *, horizon: float) -> Findings:
    """Rank IC of each feature (T, n) with the news of the coming label window and of the last one that was over.

    labels: float64 (T, n), over a window of ``horizon`` periods (at least 1) that starts at the cutoff. News is the
    label's residual on the labels of the three windows before, the mean of up to three after, and the entity's mean
    over all windows that do not overlap. Warns ``look-ahead``, naming the feature.
    """
    step = max(math.ceil(horizon), 1)
    news = neutralised(labels, [*_windows(labels, -step), _mean(_windows(labels, step)), _elsewhere(labels, step)])
    last = _shifted(news, -step)
    numbers: dict[str, Number] = {}
    series: dict[str, Series] = {}
    warnings: list[Warn] = []
    left_out: dict[str, str] = {}
    lags = (-2 * step, -step, 0, step)
    for name, values in features.items():
        future, past = (hac_mean(ic_by_period(values, part), horizon=step) for part in (news, last))
        if past.n_periods < 2 or future.n_periods < 2:
            left_out[f"look_ahead_{name}"] = f"needs {(_WINDOWS + 1) * step + 2} periods with labels, one after another"
            continue
        numbers[name] = Number(
            future.mean,
            f"rank IC with the news of the coming label window: {future.told}; with that of the last window it is "
            f"{past.mean:+.3f}",
            "correlation",
            future.n_periods,
        )
        profile = [hac_mean(ic_by_period(values, _shifted(labels, k)), horizon=step).mean for k in lags]
        told = f"mean rank IC of {name} with labels k periods away"
        series[f"profile_{name}"] = Series.of([f"{k:+d}" for k in lags], profile, told, "correlation")
        large = abs(future.mean) > EXCESS and abs(future.mean) >= _SHARE * abs(past.mean)
        if large and abs(future.t) > _CLEAR:
            warnings.append(
                Warn(
                    "look-ahead",
                    f"{name} has a rank IC of {future.mean:+.3f} with the news of the label window that was not over "
                    f"at the cutoff, and of {past.mean:+.3f} with that of the last one: check when its values really "
                    "became available; a shift into the future looks like this",
                )
            )
    return Findings({"look_ahead": numbers} if numbers else {}, series, left_out, tuple(warnings))


def _windows(labels: Floats, step: int) -> list[Floats]:
    """Labels (T, n) of the next :data:`_WINDOWS` windows, ``step`` periods apart; of those before if it is below 0."""
    return [_shifted(labels, step * k) for k in range(1, _WINDOWS + 1)]


def _mean(parts: Sequence[Floats]) -> Floats:
    """Mean of what is there of arrays of one shape, NaN where nothing is."""
    there = np.sum([~np.isnan(part) for part in parts], axis=0)
    total = np.sum([np.nan_to_num(part) for part in parts], axis=0)
    return np.where(there > 0, total / np.maximum(there, 1), np.nan)


def _elsewhere(labels: Floats, step: int) -> Floats:
    """Each entity's mean label over all periods that lie ``step`` or more away from each, (T, n)."""
    near = range(1 - step, step)
    total, there = (
        part.sum(axis=0) - np.sum([np.nan_to_num(_shifted(part, k)) for k in near], axis=0)
        for part in (np.nan_to_num(labels), (~np.isnan(labels)).astype(np.float64))
    )
    return np.where(there > 0, total / np.maximum(there, 1), np.nan)


def _shifted(labels: Floats, lag: int) -> Floats:
    """Row t holds the labels of row t + lag, NaN beyond the ends."""
    found = np.full(labels.shape, np.nan)
    if abs(lag) < len(labels):
        if lag >= 0:
            found[: len(labels) - lag] = labels[lag:]
        else:
            found[-lag:] = labels[:lag]
    return found
