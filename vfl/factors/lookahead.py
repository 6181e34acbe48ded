"""Does a feature know what had not happened yet? Dates decide where there are any; else its profile over time tells.

The label of each period is first freed of what earlier, non-overlapping label windows say, since a label that persists
can be foreseen honestly. What remains is news. A feature made of history resembles the news of the window that had just
ended; one that was shifted into the future, or revised with hindsight, resembles the news of the coming window as
well. It is flagged, by name, where that resemblance is large, clear, and at least three quarters of that with the past.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

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
_PAST_WINDOWS = 3


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
    label's residual on the labels of the three windows before. Warns ``look-ahead``, naming the feature.
    """
    step = max(math.ceil(horizon), 1)
    news = neutralised(labels, [_shifted(labels, -step * k) for k in range(1, _PAST_WINDOWS + 1)])
    last = _shifted(news, -step)
    numbers: dict[str, Number] = {}
    series: dict[str, Series] = {}
    warnings: list[Warn] = []
    left_out: dict[str, str] = {}
    lags = (-2 * step, -step, 0, step)
    for name, values in features.items():
        future, past = (hac_mean(ic_by_period(values, part), horizon=step) for part in (news, last))
        if past.n_periods < 2:
            left_out[f"look_ahead_{name}"] = (
                f"needs {(_PAST_WINDOWS + 1) * step + 2} periods with labels, one after another"
            )
            continue
        numbers[name] = Number(
            future.mean,
            f"rank IC with the news of the coming label window, t {future.t:.1f}; with that of the last window it is "
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


def _shifted(labels: Floats, lag: int) -> Floats:
    """Row t holds the labels of row t + lag, NaN beyond the ends."""
    found = np.full(labels.shape, np.nan)
    if abs(lag) < len(labels):
        if lag >= 0:
            found[: len(labels) - lag] = labels[lag:]
        else:
            found[-lag:] = labels[:lag]
    return found
