"""Which day a text or time stamp names. One form per column; what could be two days is refused, and so is a moment.

A stamp that is midnight where it was written names that day, whatever its zone. Any other time of day is a moment,
which is another day elsewhere, so it is refused rather than cut off.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
from dateutil import parser as dateutil_parser
from numpy.typing import NDArray

__all__ = [
    "FIRST_DAY",
    "LAST_DAY",
    "WRITE",
    "DayFault",
    "Days",
    "days_of_stamps",
    "days_of_texts",
    "is_blank",
    "is_day",
]

FIRST_DAY = date(1900, 1, 1)
LAST_DAY = date(2199, 12, 31)
WRITE = "write YYYY-MM-DD"

_BLANK = frozenset(("", "nat", "nan", "none", "null", "na", "n/a", "#n/a", "<na>"))
_ZONE = r"(?P<zone>Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)"
_TIME = (
    rf"(?P<hour>\d{{1,2}}):(?P<minute>\d{{2}})(?::(?P<second>\d{{2}}(?:[.,]\d+)?))?\s*(?P<half>[AaPp][Mm])?\s*{_ZONE}?"
)
_STAMP = re.compile(rf"(?P<day>.*?)(?:(?:T|\s+|,\s*){_TIME})?", re.ASCII | re.DOTALL)
_YEAR_FIRST = re.compile(r"(\d{4})([-/.])(\d{1,2})\2(\d{1,2})", re.ASCII)
_YEAR_LAST = re.compile(r"(\d{1,2})([-/.])(\d{1,2})\2(\d{4})", re.ASCII)
_SHORT_YEAR = re.compile(r"\d{1,2}([-/. ])(\d{1,2}|[A-Za-z]{3,9})\1\d{2}", re.ASCII)
_MONTH_NAMED = re.compile(
    r"(?:[A-Za-z]{3,9},? )?(?:\d{1,2}(?:-| |\. )[A-Za-z]{3,9}(?:-| |, |\. )\d{4}|[A-Za-z]{3,9}\.? \d{1,2},? \d{4})",
    re.ASCII,
)
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_PART = re.compile(r"\d{4}-?(?:W\d{1,2}|Q\d|\d{1,2})?|Q\d[- ]\d{4}|\d{1,2}/\d{4}", re.ASCII)
_EPOCHS = ((10, 1, "seconds"), (13, 10**3, "milliseconds"), (16, 10**6, "microseconds"), (19, 10**9, "nanoseconds"))
_SPREADSHEET = date(1899, 12, 30)


class DayFault(ValueError):
    """A value that names no day, or more than one. ``place`` is its position among the values given."""

    def __init__(self, place: int, reason: str) -> None:
        super().__init__(reason)
        self.place = place


@dataclass(frozen=True)
class Days:
    """days: datetime64[D] (N,), one per value given. rule: how they were read, "" where they were plain YYYY-MM-DD."""

    days: NDArray[np.datetime64]
    rule: str = ""


def is_blank(text: str) -> bool:
    """Whether a cell of a column of days says that there is none."""
    return text.strip().casefold() in _BLANK


def days_of_texts(texts: Sequence[str]) -> Days:
    """The day of each text. Raises :class:`DayFault`, naming the first that names none.

    Read: YYYY-MM-DD (also with / or ., and digits without leading zeros), YYYYMMDD, a month by its English name, and
    day and month in an order that at least one value of the column proves. Each also at 00:00, with or without zone.
    """
    stamps = [_stamp(place, text.strip()) for place, text in enumerate(texts)]
    if not stamps:
        return Days(np.zeros(0, dtype="datetime64[D]"))
    form = stamps[0].form
    for place, one in enumerate(stamps):
        if one.form != form:
            raise DayFault(place, f"{texts[place]!r} is written otherwise than {texts[0]!r}; {WRITE} everywhere")
    rules = [] if form == "iso" else [f"dates are {form}"]
    if form == "day and month before the year":
        days, said = _in_one_order(texts, stamps)
        rules = [said]
    else:
        days = [_checked(place, texts[place], *one.parts) for place, one in enumerate(stamps)]
    zones = sorted({one.zone for one in stamps if one.zone})
    if zones:
        rules.append(f"midnight with a zone ({', '.join(zones)}) is the day it is written as")
    return Days(np.array(days, dtype="datetime64[D]"), "; ".join(rules))


def days_of_stamps(stamps: pd.DatetimeIndex) -> Days:
    """The day of each time stamp, which must be the first moment of a day in its own zone. None may be NaT."""
    zone = stamps.tz
    local = stamps.tz_localize(None)
    for place, year in enumerate(local.year):
        if not FIRST_DAY.year <= year <= LAST_DAY.year:
            raise DayFault(
                place, f"{local[place]:%Y-%m-%d} lies outside {FIRST_DAY.year} to {LAST_DAY.year}; mend the date"
            )
    days = local.normalize()
    # where summer time begins at midnight the day's first moment is 01:00, and where it ends there are two midnights
    starts = (
        stamps == days
        if zone is None
        else (local == days)
        | (stamps == days.tz_localize(zone, nonexistent="shift_forward", ambiguous=np.ones(len(days), dtype=bool)))
    )
    if not starts.all():
        place = int(np.argmin(starts))
        raise DayFault(place, _moment(str(stamps[place]), None if zone is None else str(zone)))
    rule = "" if zone is None else f"midnight with a zone ({zone}) is the day it is written as"
    return Days(days.to_numpy().astype("datetime64[D]"), rule)


@dataclass(frozen=True)
class _Stamp:
    """One text taken apart. parts: year, month, day; of a day and month before the year: first, second, year."""

    form: str
    parts: tuple[int, int, int]
    zone: str = ""


def _stamp(place: int, text: str) -> _Stamp:
    found = _STAMP.fullmatch(text)
    assert found is not None
    day, zone = found["day"].strip(), found["zone"] or ""
    if found["hour"] is not None:
        # Excel and .NET write midnight as 12:00:00 AM
        twelve = found["half"] and found["hour"] == "12"
        hour = (0 if twelve else int(found["hour"])) + 12 * ((found["half"] or "").lower() == "pm")
        if hour or int(found["minute"]) or float((found["second"] or "0").replace(",", ".")):
            _form(place, day, text)
            raise DayFault(place, _moment(text, zone or None))
    form, parts = _form(place, day, text)
    return _Stamp(form, parts, zone)


def _moment(text: str, zone: str | None) -> str:
    where = "has no zone" if zone is None else f"has a time zone ({zone})"
    return (
        f"{text} is a moment, not a day, and {where}: it is another day elsewhere; "
        "write the day it belongs to as YYYY-MM-DD"
    )


def _form(place: int, day: str, text: str) -> tuple[str, tuple[int, int, int]]:
    """How a date is written, and its three parts as they stand."""
    if found := _YEAR_FIRST.fullmatch(day):
        form = "iso" if found[2] == "-" and len(day) == 10 else "written year first"
        return form, (int(found[1]), int(found[3]), int(found[4]))
    if re.fullmatch(r"\d{8}", day, re.ASCII) and day == text:
        return "YYYYMMDD", (int(day[:4]), int(day[4:6]), int(day[6:]))
    if found := _YEAR_LAST.fullmatch(day):
        return "day and month before the year", (int(found[1]), int(found[3]), int(found[4]))
    if _MONTH_NAMED.fullmatch(day):
        try:
            made = dateutil_parser.parse(day, default=datetime(1904, 1, 1))  # noqa: DTZ001 only its day is taken
        except (ValueError, OverflowError):
            raise DayFault(place, f"{text!r} is no date; {WRITE}") from None
        return "written with the month's name", (made.year, made.month, made.day)
    if _NUMBER.fullmatch(text):
        raise DayFault(place, _numbered(text))
    if _SHORT_YEAR.fullmatch(day):
        raise DayFault(place, f"{text!r} has a year of two digits; {WRITE}")
    if _PART.fullmatch(day):
        raise DayFault(place, f"{text!r} names no single day; write the last day it covers as YYYY-MM-DD")
    raise DayFault(place, f"{text!r} is no date; {WRITE}")


def _numbered(text: str) -> str:
    """What a number in a column of days may be."""
    number = float(text)
    if 10_000 <= number < 100_000:
        on = _SPREADSHEET + timedelta(days=int(number))
        what = (
            f"{text} may be a spreadsheet's day number ({on} counted from 1900, {on + timedelta(days=1462)} from 1904)"
        )
        return f"holds numbers: {what}; format the column as YYYY-MM-DD before it is saved"
    digits = len(text.partition(".")[0].lstrip("+-"))
    for length, unit, name in _EPOCHS:
        if digits == length and number > 0:
            at = datetime.fromtimestamp(number / unit, tz=UTC)
            return f"holds numbers: {text} may be {name} since 1970 ({at:%Y-%m-%d %H:%M} UTC); {WRITE}"
    if number.is_integer() and len(str(int(number))) == 8:
        return f"holds numbers ({text}); write YYYYMMDD without decimals, or YYYY-MM-DD"
    return f"holds numbers ({text}); {WRITE}"


def _in_one_order(texts: Sequence[str], stamps: Sequence[_Stamp]) -> tuple[list[date], str]:
    """Day first or month first: whichever all values allow and at least one proves, or which makes no difference."""
    day_proved = next((k for k, one in enumerate(stamps) if one.parts[0] > 12), None)
    month_proved = next((k for k, one in enumerate(stamps) if one.parts[1] > 12), None)
    if day_proved is not None and month_proved is not None:
        one, two = sorted((day_proved, month_proved))
        raise DayFault(
            two, f"{texts[one]!r} and {texts[two]!r} put day and month in different orders; {WRITE} everywhere"
        )
    if day_proved is None and month_proved is None:
        for k, stamp in enumerate(stamps):
            first, second, year = stamp.parts
            if first != second:
                either, other = _checked(k, texts[k], year, second, first), _checked(k, texts[k], year, first, second)
                raise DayFault(k, f"{texts[k]!r} may be {either:%-d %B} or {other:%-d %B}; {WRITE}")
    day_first = month_proved is None
    days = []
    for k, stamp in enumerate(stamps):
        first, second, year = stamp.parts
        days.append(_checked(k, texts[k], year, *((second, first) if day_first else (first, second))))
    proof = day_proved if day_first else month_proved
    if proof is None:
        return days, "day and month are the same number everywhere"
    return days, f"dates are written {'day' if day_first else 'month'} first, as {texts[proof].strip()} shows"


def _checked(place: int, text: str, year: int, month: int, day: int) -> date:
    try:
        made = date(year, month, day)
    except ValueError:
        raise DayFault(place, f"{text.strip()!r} is no date of the calendar; {WRITE}") from None
    if not FIRST_DAY <= made <= LAST_DAY:
        raise DayFault(place, f"{text.strip()!r} lies outside {FIRST_DAY.year} to {LAST_DAY.year}; mend the date")
    return made


def is_day(text: str) -> bool:
    """Whether a text is a day as YYYY-MM-DD and nothing else."""
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
