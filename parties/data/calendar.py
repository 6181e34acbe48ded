"""The decision calendar: from ``[calendar]`` in consortium.toml to signed terms and numpy arrays.

A period is named by its pandas period (2020Q3, 2020-07, 2020) or, where a period is a week or a
day, by its last day (2020-07-03). It ends with the last microsecond of its last day, UTC, and its
cutoff is ``decision_lag_days`` later. Where periods are business days (B) or the sessions of an exchange, a day
between two of them belongs to the one that follows.
"""

from __future__ import annotations

import re
import warnings
from datetime import UTC, datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from parties.agreement.terms import CalendarTerms
from parties.errors import ConfigError
from parties.settings.consortium import CalendarSettings
from vfl.factors.panel import Calendar

__all__ = ["END_OF_DAY", "calendar_of", "calendar_terms", "period_index", "period_starts"]

END_OF_DAY = np.timedelta64(86_399_999_999_000, "ns")
"""From a day's midnight to its last microsecond."""

_REMEDY = "use Q, M, W-FRI, D, B for Monday to Friday, or an exchange's code such as XNYS or XLON"
_EXCHANGE = re.compile(r"[A-Z][A-Z0-9]{2,5}")


def calendar_terms(settings: CalendarSettings) -> CalendarTerms:
    """Decision periods from the one that contains ``first`` to the one that contains ``last``.

    Of business days and sessions, those from ``first`` to ``last``. Raises :class:`ConfigError` for an unknown
    frequency, one finer than a day, ``last`` before ``first``, or sessions that the exchange's calendar does not know.
    """
    if settings.last < settings.first:
        raise ConfigError(
            f"calendar: last ({settings.last}) is before first ({settings.first}); swap them or mend the later one"
        )
    last_days, names = _days_and_names(settings)
    lag = pd.Timedelta(days=settings.decision_lag_days)
    return CalendarTerms(
        frequency=settings.frequency,
        periods=names,
        period_ends=tuple(_end_of(day) for day in last_days),
        cutoffs=tuple(_end_of(day + lag) for day in last_days),
    )


def _days_and_names(settings: CalendarSettings) -> tuple[pd.DatetimeIndex, tuple[str, ...]]:
    """The last day of each period, and the periods' names."""
    frequency = settings.frequency.strip()
    if frequency == "B":
        return _by_day(pd.bdate_range(settings.first, settings.last), settings)
    try:
        index = pd.period_range(
            pd.Period(settings.first, freq=frequency), pd.Period(settings.last, freq=frequency), freq=frequency
        )
    except (ValueError, TypeError):
        if _EXCHANGE.fullmatch(frequency):
            return _by_day(_sessions(settings), settings)
        raise ConfigError(f"calendar: unknown frequency {settings.frequency!r}; {_REMEDY}") from None
    last_days = index.end_time.normalize()
    if len(index) > 1 and (last_days[1:] <= last_days[:-1]).any():
        raise ConfigError(f"calendar: frequency {settings.frequency!r} is finer than a day; {_REMEDY}")
    if isinstance(index.freq, pd.offsets.Week | pd.offsets.Day):
        return _by_day(last_days, settings)
    return last_days, tuple(str(period) for period in index)


def _by_day(days: pd.DatetimeIndex, settings: CalendarSettings) -> tuple[pd.DatetimeIndex, tuple[str, ...]]:
    if not len(days):
        raise ConfigError(
            f"calendar: {settings.frequency} has no day from {settings.first} to {settings.last}; move last, or first"
        )
    return days, tuple(f"{day:%Y-%m-%d}" for day in days)


def _sessions(settings: CalendarSettings) -> pd.DatetimeIndex:
    """The exchange's sessions from first to last, by the calendars of the package exchange_calendars."""
    # a second of import, for proposals over sessions only
    import exchange_calendars

    code, first, last = settings.frequency.strip(), pd.Timestamp(settings.first), pd.Timestamp(settings.last)
    if code not in exchange_calendars.get_calendar_names():
        raise ConfigError(f"calendar: unknown frequency {settings.frequency!r}; {_REMEDY}")
    try:
        with warnings.catch_warnings():
            # the package speaks to pandas 2
            warnings.simplefilter("ignore")
            found = exchange_calendars.get_calendar(code, start=first, end=max(last, first + pd.Timedelta(days=10)))
    except (ValueError, NotImplementedError, exchange_calendars.errors.CalendarError) as error:
        why = str(error).splitlines()[0].rstrip(".")
        raise ConfigError(
            f"calendar: {code}'s sessions from {settings.first} to {settings.last} are not known ({why}); move first "
            "or last, or use B"
        ) from None
    sessions: pd.DatetimeIndex = found.sessions
    return sessions[sessions <= last]


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
