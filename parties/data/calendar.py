"""The decision calendar: from ``[calendar]`` in consortium.toml to signed terms and numpy arrays.

A period is named by its pandas period (2020Q3, 2020-07, 2020) or, where a period is a week or a
day, by its last day (2020-07-03). It ends with the last microsecond of its last day, UTC, and its
cutoff is ``decision_lag_days`` later.
"""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from parties.agreement.terms import CalendarTerms
from parties.errors import ConfigError
from parties.files.days import FIRST_DAY, LAST_DAY
from parties.settings.consortium import CalendarSettings
from vfl.factors.panel import Calendar

__all__ = ["END_OF_DAY", "calendar_of", "calendar_terms", "period_index", "period_starts"]

END_OF_DAY = np.timedelta64(86_399_999_999_000, "ns")
"""From a day's midnight to its last microsecond."""

_REMEDY = "use a pandas period alias such as Q, M, W-FRI or D"


def calendar_terms(settings: CalendarSettings) -> CalendarTerms:
    """Decision periods from the one that contains ``first`` to the one that contains ``last``.

    Raises :class:`ConfigError` for an unknown frequency, one finer than a day, or ``last`` before ``first``.
    """
    if settings.last < settings.first:
        raise ConfigError(
            f"calendar: last ({settings.last}) is before first ({settings.first}); swap them or mend the later one"
        )
    for name, day in (("first", settings.first), ("last", settings.last)):
        if not FIRST_DAY <= day <= LAST_DAY:
            years = f"{FIRST_DAY.year} to {LAST_DAY.year}"
            raise ConfigError(f"calendar.{name}: {day} lies outside {years}; name the {name} period of the run")
    frequency = settings.frequency.strip()
    if frequency in {"B", "C"}:
        raise ConfigError(f"calendar: frequency {settings.frequency!r} has no fixed week; use D or W-FRI")
    try:
        index = pd.period_range(
            pd.Period(settings.first, freq=frequency), pd.Period(settings.last, freq=frequency), freq=frequency
        )
    except (ValueError, TypeError):
        raise ConfigError(f"calendar: unknown frequency {settings.frequency!r}; {_REMEDY}") from None
    last_days = index.end_time.normalize()
    if len(index) > 1 and (last_days[1:] <= last_days[:-1]).any():
        raise ConfigError(f"calendar: frequency {settings.frequency!r} is finer than a day; {_REMEDY}")
    by_last_day = isinstance(index.freq, pd.offsets.Week | pd.offsets.Day)
    names = tuple(f"{day:%Y-%m-%d}" for day in last_days) if by_last_day else tuple(str(period) for period in index)
    lag = pd.Timedelta(days=settings.decision_lag_days)
    return CalendarTerms(
        frequency=settings.frequency,
        periods=names,
        period_ends=tuple(_end_of(day) for day in last_days),
        cutoffs=tuple(_end_of(day + lag) for day in last_days),
    )


def calendar_of(terms: CalendarTerms) -> Calendar:
    """The same calendar as arrays of datetime64[ns], UTC."""
    return Calendar(terms.periods, _instants(terms.period_ends), _instants(terms.cutoffs))


def period_starts(calendar: Calendar) -> NDArray[np.datetime64]:
    """First instant of each period, datetime64[ns].

    A period starts where the one before it ended. The first has no predecessor: its name gives its
    start where it is a year, quarter or month; otherwise periods are taken to have one length.
    """
    if len(calendar) == 0:
        return calendar.ends.copy()
    starts = np.empty_like(calendar.ends)
    starts[1:] = calendar.ends[:-1] + np.timedelta64(1, "us")
    name = calendar.periods[0]
    if len(name) < len("2020-07-03"):
        months = 3 if "Q" in name else 1 if "-" in name else 12
        first_month = calendar.ends[0].astype("datetime64[M]") - (months - 1)
        starts[0] = first_month.astype("datetime64[ns]")
    else:
        length = np.diff(calendar.ends).min() if len(calendar) > 1 else np.timedelta64(1, "D")
        starts[0] = calendar.ends[0] - length + np.timedelta64(1, "us")
    return starts


def period_index(calendar: Calendar, dates: NDArray[np.datetime64]) -> NDArray[np.int64]:
    """Which period each date (N,) falls in; -1 before the first period and after the last."""
    index = np.searchsorted(calendar.ends, dates, side="left").astype(np.int64)
    inside = (index < len(calendar)) & (dates >= period_starts(calendar)[0])
    return np.where(inside, index, -1)


def _end_of(day: pd.Timestamp) -> datetime:
    return datetime(day.year, day.month, day.day, 23, 59, 59, 999_999, tzinfo=UTC)


def _instants(times: tuple[datetime, ...]) -> NDArray[np.datetime64]:
    naive = [(t.astimezone(UTC) if t.tzinfo else t).replace(tzinfo=None) for t in times]
    return np.array(naive, dtype="datetime64[us]").astype("datetime64[ns]")
