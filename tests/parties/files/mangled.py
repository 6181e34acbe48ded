"""Tables as people really have them, made from a truth that is known: each is right, or what is wrong with it is.

A mangling takes the plain text of a table and says what a reader must do with the result: read the same truth, or
refuse it with words that name the place. ``cells`` are [datetime, instrument, label] as text.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

NAMES = ("NA", "TRUE", "NAN", "001", "BRK.B", "平安", "MÜNCH", "A1", "0700.HK", "X", "INF", "1E5")
HEADER = ("datetime", "instrument", "label")


@dataclass
class Mangled:
    """One table as bytes. truth: rows (day, instrument, value or None). refused: words that a refusal must have."""

    header: list[str]
    cells: list[list[str]]
    truth: list[tuple[dt.date, str, float | None]]
    refused: tuple[str, ...] = ()
    separator: str = ","
    end: str = "\n"
    encoding: str = "utf-8"
    tail: str = ""
    done: list[str] = field(default_factory=list)

    def content(self) -> bytes:
        rows = [self.header, *self.cells]
        text = self.end.join(self.separator.join(map(self._quoted, row)) for row in rows) + self.end + self.tail
        return text.encode(self.encoding)

    def _quoted(self, cell: str) -> str:
        wants = any(sign in cell for sign in (self.separator, '"', "\n", "\r"))
        return '"' + cell.replace('"', '""') + '"' if wants else cell


Mangling = Callable[[Mangled, np.random.Generator], None]


def plain(rng: np.random.Generator) -> Mangled:
    """A table as the reader wants it, of 1 to 12 rows."""
    days = [
        dt.date(2024, 1, 1) + dt.timedelta(days=int(k)) for k in rng.choice(400, size=rng.integers(1, 4), replace=False)
    ]
    pairs = [(day, name) for day in days for name in rng.choice(NAMES, size=rng.integers(1, 5), replace=False)]
    truth = [
        (day, str(name), None if rng.random() < 0.1 else float(np.round(rng.normal() * 10.0 ** rng.integers(-3, 4), 4)))
        for day, name in pairs
    ]
    cells = [[day.isoformat(), name, "" if value is None else repr(value)] for day, name, value in truth]
    return Mangled(list(HEADER), cells, truth)


def dates(write: Callable[[dt.date], str]) -> Mangling:
    """Every date in another form that means the same."""

    def mangle(table: Mangled, rng: np.random.Generator) -> None:
        for row, (day, _, _) in zip(table.cells, table.truth, strict=True):
            row[0] = write(day)

    return mangle


def one_date(write: Callable[[dt.date], str], *said: str) -> Mangling:
    """One date that names no day, or no one day."""

    def mangle(table: Mangled, rng: np.random.Generator) -> None:
        k = int(rng.integers(len(table.cells)))
        table.cells[k][0] = write(table.truth[k][0])
        table.refused = ("datetime", f"row {k + 1}" if said != ("otherwise",) else "row", *said)

    return mangle


def slashed(day_first: bool) -> Mangling:
    """Day and month before the year: right where one date proves the order, refused where none does."""

    def mangle(table: Mangled, rng: np.random.Generator) -> None:
        form = "{0.day}/{0.month}/{0.year}" if day_first else "{0.month}/{0.day}/{0.year}"
        for row, (day, _, _) in zip(table.cells, table.truth, strict=True):
            row[0] = form.format(day)
        found = [day for day, _, _ in table.truth]
        if not any(day.day > 12 for day in found) and any(day.day != day.month for day in found):
            table.refused = ("datetime", "row", "may be", "YYYY-MM-DD")

    return mangle


def one_number(write: Callable[[float], str], *said: str) -> Mangling:
    """One number as no program reads it."""

    def mangle(table: Mangled, rng: np.random.Generator) -> None:
        k = int(rng.integers(len(table.cells)))
        table.cells[k][2] = write(abs(table.truth[k][2] or 3.25) + 1234)
        table.refused = (f"row {k + 1} ", "label", *said)

    return mangle


def missing(word: str) -> Mangling:
    """One value that is missing, in a word for it."""

    def mangle(table: Mangled, rng: np.random.Generator) -> None:
        k = int(rng.integers(len(table.cells)))
        table.cells[k][2] = word
        table.truth[k] = (*table.truth[k][:2], None)

    return mangle


def changed(change: Callable[[Mangled], None], *said: str) -> Mangling:
    """The whole file."""

    def mangle(table: Mangled, rng: np.random.Generator) -> None:
        change(table)
        table.refused = said

    return mangle


def _row(table: Mangled, rng: np.random.Generator, change: Callable[[list[str]], None], *said: str) -> None:
    k = int(rng.integers(len(table.cells)))
    change(table.cells[k])
    table.refused = (f"row {k + 1}", *said)


def _longer(table: Mangled, rng: np.random.Generator) -> None:
    _row(table, rng, lambda row: row.append("2021"), "4 fields", "header has 3")


def _shorter(table: Mangled, rng: np.random.Generator) -> None:
    _row(table, rng, lambda row: row.pop(), "2 fields", "header has 3")


def _no_name(table: Mangled, rng: np.random.Generator) -> None:
    _row(table, rng, lambda row: row.__setitem__(1, "  "), "instrument", "empty")


def _twice(table: Mangled, rng: np.random.Generator) -> None:
    k = int(rng.integers(len(table.cells)))
    table.cells.append(list(table.cells[k]))
    table.refused = (f"row {len(table.cells)}", f"row {k + 1}", "two rows")


def _lower(table: Mangled, rng: np.random.Generator) -> None:
    for row in table.cells:
        row[1] = row[1].lower()


def _two_spellings(table: Mangled, rng: np.random.Generator) -> None:
    day = dt.date(2026, 1, 1)
    table.cells += [[day.isoformat(), "Q.B", "1"], ["2026-01-02", "q-b", "1"]]
    table.refused = (f"row {len(table.cells)}", f"row {len(table.cells) - 1}", "one instrument")


def _each(place: int, change: Callable[[str], str]) -> Callable[[Mangled], None]:
    def mangle(table: Mangled) -> None:
        for row in table.cells:
            row[place] = change(row[place])

    return mangle


def _set(**changes: object) -> Callable[[Mangled], None]:
    return lambda table: table.__dict__.update(changes)


def _add(table: Mangled, name: str, cell: str) -> None:
    table.header.append(name)
    for row in table.cells:
        row.append(cell)


def _first(table: Mangled) -> None:
    table.header.insert(0, "")
    for k, row in enumerate(table.cells):
        row.insert(0, str(k))


def _header(*names: str) -> Callable[[Mangled], None]:
    return lambda table: table.header.__setitem__(slice(None), names)


def _latin(table: Mangled) -> None:
    table.cells[0][1], table.encoding = "Zürich", "latin-1"
    for row in table.cells[1:]:
        row[1] = row[1].replace("平安", "PA")


def _gbk(table: Mangled) -> None:
    table.cells[0][1], table.encoding = "平安银行", "gbk"
    for row in table.cells[1:]:
        row[1] = row[1].replace("Ü", "U")


RIGHT: dict[str, Mangling] = {
    "as it should be": lambda table, rng: None,
    "eight digits": dates(lambda day: f"{day:%Y%m%d}"),
    "slashes, year first": dates(lambda day: f"{day.year}/{day.month}/{day.day}"),
    "month's name": dates(lambda day: f"{day:%d-%b-%Y}"),
    "month's name first": dates(lambda day: f"{day:%B} {day.day}, {day.year}"),
    "midnight": dates(lambda day: f"{day} 00:00:00"),
    "midnight in India": dates(lambda day: f"{day}T00:00:00+05:30"),
    "midnight in New York": dates(lambda day: f"{day} 00:00:00.000-05:00"),
    "midnight UTC": dates(lambda day: f"{day}T00:00:00Z"),
    "summer time": dates(lambda day: f"{day} 00:00:00+0{1 + (4 <= day.month <= 10)}:00"),
    "spreadsheet's midnight": dates(lambda day: f"{day:%Y/%m/%d} 12:00:00 AM"),
    "day first": slashed(True),
    "month first": slashed(False),
    "blanks": changed(lambda table: [_each(k, lambda cell: f" {cell} ")(table) for k in range(3)] and None),
    "loud header": changed(_header("DateTime", " INSTRUMENT ", "Label")),
    "comma at the end": changed(lambda table: _add(table, "", "")),
    "comma at the end of rows": changed(lambda table: [row.append("") for row in table.cells] and None),
    "index in front": changed(_first),
    "another column": changed(lambda table: _add(table, "note", 'a "note", quoted')),
    "mark": changed(_set(encoding="utf-8-sig")),
    "UTF-16": changed(_set(encoding="utf-16")),
    "UTF-32": changed(_set(encoding="utf-32")),
    "CR": changed(_set(end="\r")),
    "CRLF": changed(_set(end="\r\n")),
    "empty rows below": changed(_set(tail=",,\n,,\n\n")),
    "lower case": _lower,
    "plus": changed(_each(2, lambda cell: f"+{cell}" if cell and cell[0] != "-" else cell)),
    "exponent": changed(_each(2, lambda cell: f"{cell}e0" if cell else cell)),
    **{
        f"missing, {word or 'empty'}": missing(word)
        for word in ("", "NaN", "NA", "#N/A", "N/A", "null", "None", "#N/A N/A")
    },
}

WRONG: dict[str, Mangling] = {
    "blank date": one_date(lambda day: "", "empty"),
    "moment": one_date(lambda day: f"{day} 16:00", "moment"),
    "moment in UTC": one_date(lambda day: f"{day}T18:30:00Z", "moment", "zone"),
    "year 1": one_date(lambda day: f"0001-{day:%m-%d}", "1900 to 2199"),
    "year 9999": one_date(lambda day: "9999-12-31", "1900 to 2199"),
    "30 February": one_date(lambda day: f"{day.year}-02-30", "no date"),
    "two digits": one_date(lambda day: f"{day:%d/%m/%y}", "two digits"),
    "spreadsheet's number": one_date(lambda day: str((day - dt.date(1899, 12, 30)).days), "numbers"),
    "seconds": one_date(lambda day: f"{(day - dt.date(1970, 1, 1)).days * 86400}", "seconds since 1970"),
    "milliseconds": one_date(lambda day: f"{(day - dt.date(1970, 1, 1)).days * 86400}000", "milliseconds"),
    "nanoseconds": one_date(lambda day: f"{(day - dt.date(1970, 1, 1)).days * 86400}000000000", "nanoseconds"),
    "eight digits and .0": one_date(lambda day: f"{day:%Y%m%d}.0", "numbers"),
    "quarter": one_date(lambda day: f"{day.year}Q1", "no single day"),
    "words": one_date(lambda day: "last Friday", "no date"),
    "infinite": one_number(lambda x: "inf", "not finite"),
    "minus infinite": one_number(lambda x: "-Infinity", "not finite"),
    "overflow": one_number(lambda x: "1e999", "not finite"),
    "thousands": one_number(lambda x: f"{x:,.2f}", "thousands separator"),
    "decimal comma": one_number(lambda x: f"{x:.2f}".replace(".", ","), "decimal comma"),
    "continental": one_number(lambda x: f"{x:,.2f}".translate(str.maketrans(",.", ".,")), "decimal comma"),
    "per cent": one_number(lambda x: f"{x:.2f}%", "percentage"),
    "dollars": one_number(lambda x: f"${x:.2f}", "currency"),
    "parentheses": one_number(lambda x: f"({x:.2f})", "negative"),
    "long minus": one_number(lambda x: f"\N{MINUS SIGN}{x:.2f}", "minus"),
    "#DIV/0!": one_number(lambda x: "#DIV/0!", "spreadsheet's error"),
    "word": one_number(lambda x: "high", "no number"),
    "dash": one_number(lambda x: "-", "no number"),
    "underscore": one_number(lambda x: "1_000", "no number"),
    "wide digits": one_number(lambda x: "\uff11\uff12", "no number"),
    "longer row": _longer,
    "shorter row": _shorter,
    "no name": _no_name,
    "twice": _twice,
    "two spellings": _two_spellings,
    "semicolons": changed(_set(separator=";"), "separated by ';'"),
    "tabs": changed(_set(separator="\t"), "separated by tabs"),
    "other names": changed(_header("Date", "Ticker", "Return"), "Date", "Ticker", "rename Date to datetime"),
    "no value column": changed(_header("datetime", "instrument", ""), "no column 'label'"),
    "header twice": changed(lambda table: _add(table, "Label", "1"), "'Label' appears twice"),
    "no header": changed(lambda table: table.header.__setitem__(slice(None), table.cells[0]), "no column"),
    "header alone": changed(lambda table: table.cells.clear(), "no rows"),
    "Latin-1": changed(_latin, "not UTF-8", "line 2"),
    "GBK": changed(_gbk, "not UTF-8", "line 2"),
    "UTF-16 without mark": changed(_set(encoding="utf-16-le"), "zero bytes"),
    "quote not closed": changed(_set(tail='2030-01-01,"A,1\n'), "quotes"),
}
