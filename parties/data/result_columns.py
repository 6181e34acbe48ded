"""Columns of a query's result: which types are taken as they are, and what to write around the query for the others.

Every remedy wraps the query, SELECT * REPLACE (expression AS column) FROM (the query), so it can be pasted whatever the
SQL is. It is chosen by the values, and run against them before it is offered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import pandas as pd

from parties.errors import DataError
from parties.files.days import DayFault, days_of_texts, is_blank
from parties.files.numbers import MISSING, NumberFault, numbers_of_texts
from parties.plurals import things

__all__ = [
    "ResultColumns",
    "compute",
    "is_number",
    "number_column",
    "numbers_in_text",
    "period_as_day",
    "quoted",
    "rules_of",
    "text_column",
    "time_column",
    "wrapped",
]

_DATES = ("DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE")
_INTEGERS = re.compile(r"U?(TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT)$")
_NUMBERS = re.compile(r"(U?(TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT)|DECIMAL\(.*\)|FLOAT|DOUBLE|BOOLEAN|\"NULL\")$")
_ZONES = (
    *("America/New_York", "America/Chicago", "America/Toronto", "America/Sao_Paulo", "America/Los_Angeles"),
    *("Europe/London", "Europe/Berlin", "Europe/Zurich", "Europe/Helsinki", "Europe/Istanbul", "Asia/Dubai"),
    *("Asia/Kolkata", "Asia/Singapore", "Asia/Shanghai", "Asia/Hong_Kong", "Asia/Tokyo", "Asia/Seoul"),
    *("Australia/Sydney", "Pacific/Auckland"),
)
_ISO = re.compile(r"\d{4}-\d\d-\d\d")
_MONEY = "$€£¥₹"
_APART = re.compile(r"(?<=\d)['\u2019 \u00a0\u202f\u2009](?=\d{3})")
_POWER = r"(?:[eE][+-]?\d+)?"
_PLAIN = re.compile(rf"(?:\d+\.?\d*|\.\d+){_POWER}", re.ASCII)
# no group begins with 0, or 0,005 would be 5
_ENGLISH = re.compile(rf"(?:(?:[1-9]\d{{0,2}}(?:,\d{{2,3}})*,\d{{3}}|\d+)\.?\d*|\.\d+){_POWER}", re.ASCII)
_CONTINENTAL = re.compile(r"(?:[1-9]\d{0,2}(?:\.\d{3})+|\d+)(?:,\d*)?|,\d+", re.ASCII)


@dataclass(frozen=True)
class ResultColumns:
    """types: DuckDB's type by column, in order. sample: the first values of a column, as Python values.

    works: whether an expression over the whole result can be computed.
    """

    types: dict[str, str]
    sample: Callable[[str], list[Any]]
    works: Callable[[str], bool]


def is_number(kind: str) -> bool:
    """Whether a column of this DuckDB type is a number as it stands."""
    return _NUMBERS.match(kind) is not None


def quoted(name: str) -> str:
    """A column's name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def wrapped(name: str, *expressions: str) -> str:
    """The remedy: what to put around the query, in each way that may be meant."""
    first, *others = expressions
    more = "".join(f", or {other}" for other in others)
    return f"put around the query SELECT * REPLACE ({first} AS {quoted(name)}) FROM (...){more}"  # noqa: S608 it is shown, not run


def text_column(source: str, name: str, result: ResultColumns) -> str:
    """An id must be text: numbers lose leading zeros."""
    kind = result.types[name]
    if kind in {"VARCHAR", "UUID"} or kind.startswith("ENUM"):
        return f"CAST({quoted(name)} AS VARCHAR) AS {quoted(name)}"
    if kind in ("DOUBLE", "FLOAT") or kind.startswith("DECIMAL"):
        made = f"CAST(CAST({quoted(name)} AS BIGINT) AS VARCHAR)"
    else:
        made = f"CAST({quoted(name)} AS VARCHAR)"
    raise DataError(
        f"{source}: column {name!r} is {kind}, not text, and numbers lose leading zeros; read it as text "
        f"(of a CSV: read_csv(..., all_varchar = true)), or where no id has zeros in front, {wrapped(name, made)}"
    )


def time_column(source: str, name: str, result: ResultColumns) -> str:
    """A date or timestamp, as UTC."""
    kind = result.types[name]
    if kind == "TIMESTAMP_NS":
        return quoted(name)  # rounded to microseconds, the last nanosecond of a day would be tomorrow
    if kind in _DATES:
        return f"CAST({quoted(name)} AS TIMESTAMP) AS {quoted(name)}"
    sampled = result.sample(name)
    if not sampled:
        raise DataError(
            f"{source}: the query yields no rows; check its filters, and that its files have more than a header"
        )
    values = [value for value in sampled if value is not None]
    shown = f", such as {str(values[0])[:40]!r}" if values else ""
    ways = [way for way in _date_ways(name, kind, values) if result.works(way)]
    if not ways and kind == "VARCHAR":
        other, mixed = _mixed_dates(name, [str(value) for value in sampled])
        shown, ways = shown + other, [way for way in mixed if result.works(way)]
    remedy = wrapped(name, *ways) if ways else "write dates as YYYY-MM-DD in the data"
    raise DataError(f"{source}: column {name!r} is {kind}, not a date{shown}; {remedy}")


def number_column(source: str, name: str, result: ResultColumns) -> str:
    """A number or boolean, as DOUBLE."""
    kind = result.types[name]
    if _NUMBERS.match(kind):
        return f"CAST({quoted(name)} AS DOUBLE) AS {quoted(name)}"
    if kind != "VARCHAR":
        raise DataError(f"{source}: column {name!r} is {kind}, not a number; select a number for it", name)
    values = ["" if value is None else str(value) for value in result.sample(name)]
    row, why = _first_formatted(values)
    ways = [way for way, held in _number_ways(name, values) if result.works(held) and result.works(way)]
    remedy = wrapped(name, *ways) if ways else "mend that value, or leave its row out with WHERE"
    raise DataError(f"{source}: {row}column {name!r} is {kind}, not a number{why}; {remedy}", name)


def numbers_in_text(source: str, result: ResultColumns, names: Sequence[str]) -> None:
    """Refuse those of these columns that are text, all of it formatted numbers: they were meant as numbers."""
    found: dict[str, tuple[str, str]] = {}
    for name in names:
        if result.types[name] != "VARCHAR":
            continue
        values = ["" if value is None else str(value) for value in result.sample(name)]
        row, why = _first_formatted(values)
        ways = [way for way, held in _number_ways(name, values) if result.works(held) and result.works(way)]
        if row and ways:
            found[name] = (f"{row}column {name!r} is VARCHAR, not a number{why}", ways[0])
    if len(found) == 1:
        number_column(source, next(iter(found)), result)
    if found:
        first, *others = found
        also = ", ".join(map(repr, others))
        made = ", ".join(f"{way} AS {quoted(name)}" for name, (_, way) in found.items())
        around = f"put around the query SELECT * REPLACE ({made}) FROM (...)"  # noqa: S608 it is shown, not run
        raise DataError(f"{source}: {found[first][0]}, and so {'is' if len(others) == 1 else 'are'} {also}; {around}")


def period_as_day(source: str, frame: pd.DataFrame, kind: str) -> None:
    """Refuse a period that is a moment and no day: it is another day elsewhere, and may be tomorrow's here."""
    if kind == "DATE":
        return
    stamps = pd.DatetimeIndex(frame["period"])
    moments = np.flatnonzero(stamps.notna() & (stamps != stamps.normalize()))
    if not moments.size:
        return
    row = int(moments[0])
    zoned = kind == "TIMESTAMP WITH TIME ZONE"
    zones = [zone for zone in _ZONES if _midnights(stamps.dropna(), zone)]
    zone = zones[0] if zones else "UTC"
    at_zone = f"AT TIME ZONE '{zone}'" if zoned else f"AT TIME ZONE 'UTC' AT TIME ZONE '{zone}'"
    there = f"CAST({quoted('period')} {at_zone} AS DATE)"
    as_written = f"CAST({quoted('period')} AS DATE)"
    if zoned:
        what = "has a time zone"
        remedy = wrapped("period", there) + ("" if zones else " with your data's zone for UTC")
    else:
        what = "has a time of day"
        remedy = f"{wrapped('period', as_written)} where the day it is written as is meant"
        remedy += f", or {there} where it is UTC" if zones and zone != "UTC" else ""
    raise DataError(
        f"{source}: row {row + 1}: column 'period' {what} and is {stamps[row]:%Y-%m-%d %H:%M} UTC, "
        f"as in {moments.size} of {len(stamps)} rows; a period is a day: {remedy}"
    )


def rules_of(availability: str, kinds: dict[str, str], lag_days: int | None) -> tuple[str, ...]:
    """What was decided about days and availability, in words."""
    found = ["period has a time zone and is midnight UTC: read as that day"] if _zoned(kinds["period"]) else []
    if availability not in kinds:
        found.append(f"known {things(lag_days or 0, 'days')} after period (lag_days)")
    elif kinds[availability] == "DATE":
        found.append(f"a plain date of {availability} is the end of that day, UTC")
    elif _zoned(kinds[availability]):
        found.append(f"{availability} has a time zone and is read as UTC")
    else:
        found.append(f"{availability} has no time zone and counts as UTC")
    return tuple(found)


def _zoned(kind: str) -> bool:
    return kind == "TIMESTAMP WITH TIME ZONE"


def _midnights(stamps: pd.DatetimeIndex, zone: str) -> bool:
    local = stamps.tz_localize("UTC").tz_convert(ZoneInfo(zone)).tz_localize(None)
    return bool((local == local.normalize()).all())


def _date_ways(name: str, kind: str, values: Sequence[Any]) -> list[str]:
    """Expressions that may make a date of a column."""
    column, text = quoted(name), f"CAST({quoted(name)} AS VARCHAR)"
    texts = [str(value).strip() for value in values if not is_blank(str(value))]
    if not texts:
        return [f"CAST({column} AS DATE)"]
    if all(re.fullmatch(r"\d{8}", one) for one in texts):
        return [f"CAST(strptime({text}, '%Y%m%d') AS DATE)"]
    if _INTEGERS.match(kind) or kind in ("DOUBLE", "FLOAT") or all(one.isdecimal() for one in texts):
        return _counted_days(column, float(texts[0]))
    first = texts[0]
    if re.match(r"\d{4}-\d\d-\d\d", first):
        try:
            days_of_texts(list(dict.fromkeys(texts)))
        except DayFault:
            return [f"CAST({column} AS TIMESTAMPTZ)"]
        return [f"CAST(left({column}, 10) AS DATE)"]
    return [f"CAST(strptime({column}, '{form}') AS DATE)" for form in _forms(texts)]


def _mixed_dates(name: str, texts: Sequence[str]) -> tuple[str, list[str]]:
    """The first row that is written otherwise than YYYY-MM-DD beside rows that are; what takes both."""
    iso = [_ISO.fullmatch(text) is not None for text in texts]
    others = [text for text, found in zip(texts, iso, strict=True) if not found and not is_blank(text)]
    if not others or not any(iso):
        return "", []
    column, row = quoted(name), texts.index(others[0]) + 1
    return f", and row {row} is {others[0][:40]!r}", [
        f"CASE WHEN {column} LIKE '____-__-__' THEN CAST({column} AS DATE) "
        f"ELSE CAST(strptime({column}, '{form}') AS DATE) END"
        for form in _forms(others)
    ]


def _counted_days(column: str, number: float) -> list[str]:
    whole = f"CAST({column} AS BIGINT)"
    if 10_000 <= number < 100_000:
        return [f"DATE '1899-12-30' + CAST({column} AS INTEGER)"]
    makers = {
        10: f"make_timestamp({whole} * 1000000)",
        13: f"make_timestamp_ms({whole})",
        16: f"make_timestamp({whole})",
    }
    makers[19] = f"make_timestamp_ns({whole})"
    made = makers.get(len(str(int(number))))
    return [] if made is None else [made]


def _forms(texts: Sequence[str]) -> list[str]:
    """strptime's forms that fit; two where day and month may be in either order."""
    first = texts[0]
    if found := re.fullmatch(r"\d{4}([/.])\d{1,2}\1\d{1,2}", first):
        return [f"%Y{found[1]}%m{found[1]}%d"]
    if found := re.fullmatch(r"\d{1,2}([-/.])\d{1,2}\1\d{4}", first):
        sign = found[1]
        ways = [f"%d{sign}%m{sign}%Y", f"%m{sign}%d{sign}%Y"]
        try:
            rule = days_of_texts(list(dict.fromkeys(texts))).rule
        except DayFault:
            return ways
        return ways[:1] if "day first" in rule else ways[1:] if "month first" in rule else ways[:1]
    if re.fullmatch(r"\d{1,2}-[A-Za-z]{3}-\d{2}", first):
        return ["%d-%b-%y"]
    return ["%d-%b-%Y", "%d %b %Y", "%b %d, %Y", "%B %d, %Y", "%d %B %Y"]


def _first_formatted(values: Sequence[str]) -> tuple[str, str]:
    """The row of the first text that is no plain number, and what it is; nothing where all are plain."""
    try:
        numbers_of_texts(values)
    except NumberFault as fault:
        reason = str(fault).partition(";")[0]
        return f"row {fault.place + 1}: ", f" ({reason})"
    return "", ""


def _number_ways(name: str, values: Sequence[str]) -> list[tuple[str, str]]:
    """Expressions that make numbers of formatted text, in each way that may be meant, and what holds all rows to it."""
    texts = [value.strip() for value in values if value.strip()]
    absent = sorted({text for text in texts if text.casefold() in MISSING and text.casefold() != "nan"})
    rest = [text for text in texts if text.casefold() not in MISSING]
    made = f"trim({quoted(name)})"
    if any(sign in text for text in rest for sign in _MONEY):
        made = f"trim(translate({made}, '{_MONEY}', ''))"
    if any(text.startswith("(") for text in rest):
        made = f"regexp_replace({made}, '^\\((.*)\\)$', '-\\1')"
    if any("\N{MINUS SIGN}" in text for text in rest):
        made = f"replace({made}, '\N{MINUS SIGN}', '-')"
    share = any(text.endswith("%") for text in rest)
    if share and not all(text.endswith("%") for text in rest):
        return []
    if share:
        made = f"trim(rtrim({made}, '%'))"
    bare = [text.strip(_MONEY + "()% \N{MINUS SIGN}+-") for text in rest]
    apart = sorted({sign for text in bare for sign in _APART.findall(text)})
    if apart:
        signs = "".join("''" if sign == "'" else sign if sign == " " else f"\\x{{{ord(sign):04X}}}" for sign in apart)
        made = f"regexp_replace({made}, '(\\d)[{signs}]', '\\1', 'g')"
        bare = [_APART.sub("", text) for text in bare]
    gone = ", ".join("'" + word.replace("'", "''") + "'" for word in ["", *absent])
    empty = absent or any(not value.strip() for value in values)

    def way(plain: str, pattern: re.Pattern[str]) -> tuple[str, str]:
        emptied = f"CASE WHEN trim({quoted(name)}) IN ({gone}) THEN NULL ELSE {plain} END" if empty else plain
        absent_here = f"trim({quoted(name)}) IN ({gone}) OR lower(trim({quoted(name)})) = 'nan'"
        fits = f"{absent_here} OR regexp_full_match({made}, '[+-]?(?:{pattern.pattern})')"
        # a text that is grouped otherwise would become another number, so one such row is an error
        held = f"CASE WHEN {quoted(name)} IS NULL OR {fits} THEN 0 ELSE error('grouped otherwise') END"
        return f"CAST({emptied} AS DOUBLE)" + (" / 100" if share else ""), held

    ways = []
    if all(_ENGLISH.fullmatch(text) for text in bare):
        ways.append(way(f"replace({made}, ',', '')" if any("," in text for text in bare) else made, _ENGLISH))
    if any(not _PLAIN.fullmatch(text) for text in bare) and all(_CONTINENTAL.fullmatch(text) for text in bare):
        ways.append(way(f"replace(replace({made}, '.', ''), ',', '.')", _CONTINENTAL))
    return ways


def compute(relation: duckdb.DuckDBPyRelation, expression: str) -> bool:
    """Whether an expression over a relation has a value in every row without an error."""
    try:
        relation.project(f"{expression} AS made").aggregate("count(made)").fetchall()
    except duckdb.Error:
        return False
    return True
