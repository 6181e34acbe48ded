"""One reader for every table that a person hands us: CSV or Parquet, by the rules of docs/data.md.

A CSV is separated by commas, in UTF-8 or with a mark, and has a header. It is read in pieces, so what it takes is what
its columns take. Rows count from 1 below the header.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import pandas as pd

from parties.errors import ConfigError, DataError
from parties.files.columns import CellFault, DayColumn, NumberColumn, Reader, TextColumn, Wanted, reader_of
from parties.files.text import open_text
from vfl.factors.bounded_parquet import read_frame

__all__ = ["MOST_ROWS", "Table", "read_table", "require"]

MOST_ROWS = 60_000_000
"""Of one table: 4,000 periods of 15,000 instruments. At 16 bytes a row it takes a gigabyte."""

_PIECE = 8_192
_SEPARATORS = {";": "';'", "\t": "tabs", "|": "'|'"}
_PARQUET = frozenset((".parquet", ".pq"))
_KEYS = frozenset(("day", "id"))
_CELL_IS = ("is ", "has ", "holds ")

Choose = Callable[[tuple[str, ...]], Sequence[Wanted]]
"""From the names of a table's columns to those that are wanted, by exactly these names. May refuse."""


@dataclass(frozen=True)
class Table:
    """What was read, N rows. told: how the file is named in messages. rules: each one that was applied, a phrase."""

    told: str
    rows: int
    days: dict[str, DayColumn]
    texts: dict[str, TextColumn]
    numbers: dict[str, NumberColumn]
    rules: tuple[str, ...]
    unread: tuple[str, ...]

    def fault(self, row: int, reason: str) -> DataError:
        """An error that names a row, counted from 0 here and from 1 in its text."""
        return DataError(f"{self.told}: row {row + 1}: {reason}")


def read_table(
    path: Path, choose: Choose | Sequence[Wanted], told: str = "", *, hint: str = "", may_be_empty: bool = False
) -> Table:
    """Read the wanted columns. Raises :class:`ConfigError` for no file, :class:`DataError` naming file, column and row.

    choose: the columns, or what chooses them by the names that there are. hint: what the table is, for a header that
    lacks a column. may_be_empty: a header alone is a table too.
    """
    told = told or str(path)
    try:
        if path.suffix.lower() in _PARQUET:
            table = _of_parquet(path, choose, told, hint)
        else:
            with open_text(path, told) as (file, encoding):
                rules = [f"the text is {encoding}"] if encoding else []
                table = _of_csv(file, choose, told, hint, rules)
    except OSError as error:
        raise DataError(f"{told}: cannot be read ({error.strerror or error}); copy the file anew") from None
    if not table.rows and not may_be_empty:
        raise DataError(f"{told}: has a header and no rows; fill it, or name another file")
    return table


def require(wanted: Sequence[Wanted], names: Sequence[str], told: str, hint: str = "") -> None:
    """Raise :class:`DataError` unless all are there, offering what the table has under another usual name."""
    lacking = [one for one in wanted if one.name not in names]
    if not lacking:
        return
    by_form = {name.casefold().replace(" ", "_"): name for name in names}
    offers = []
    for one in lacking:
        found = next((by_form[other] for other in one.also if other in by_form), None)
        if found is not None:
            offers.append(f"rename {found} to {one.name}")
    has = ", ".join(name for name in names if name) or "nothing"
    remedy = ", ".join(offers) or hint or f"its header must have {', '.join(one.name for one in wanted)}"
    raise DataError(f"{told}: no column {lacking[0].name!r} (it has {has}); {remedy}")


class _Columns:
    """The wanted columns of one table, filled in pieces."""

    def __init__(self, names: Sequence[str], choose: Choose | Sequence[Wanted], told: str, hint: str) -> None:
        self.told = told
        self.rules: list[str] = []
        wanted = choose(tuple(name for name in names if name)) if callable(choose) else tuple(choose)
        # a column is known by its exact name, or else by the only one that is the same but for case and blanks
        places = {name: place for place, name in enumerate(names) if name}
        loose = {name.casefold().replace(" ", "_"): name for name in places}
        self.readers: list[tuple[int, Reader]] = []
        found: dict[str, str] = {}
        for one in wanted:
            named = one.name if one.name in places else loose.get(one.name.casefold())
            if named is not None:
                found[one.name] = named
        require(wanted, [*found, *(name for name in names if name not in found.values())], told, hint)
        for one in wanted:
            self.readers.append((places[found[one.name]], reader_of(one)))
            if found[one.name] != one.name:
                self.rules.append(f"column {found[one.name]} is read as {one.name}")
        self.unread = tuple(name for name in places if name not in found.values())
        self.rows = 0

    def add(self, cells: Callable[[int], Sequence[str] | pd.Series], count: int) -> None:
        for column, reader in self.readers:
            try:
                reader.add(cells(column))
            except CellFault as fault:
                keys = [cells(place)[fault.place] for place, other in self.readers if other.wanted.kind in _KEYS]
                raise self._said(fault, reader, self.rows + fault.place, keys) from None
        self.rows += count
        if self.rows > MOST_ROWS:
            raise DataError(f"{self.told}: has more than {MOST_ROWS:,} rows; keep the dates that the factor has")

    def _said(self, fault: CellFault, reader: Reader, row: int, keys: Sequence[object]) -> DataError:
        """The fault with its row, and with the row's keys where these are not what is wrong."""
        named = reader.wanted.kind not in _KEYS and len(keys) > 0
        whose = f" ({', '.join(str(key).strip()[:40] for key in keys)})" if named else ""
        reason = str(fault)
        joint = " " if reason.startswith(_CELL_IS) else ": "
        return DataError(f"{self.told}: row {row + 1}{whose}: column {reader.wanted.name}{joint}{reason}")

    def table(self, rules: Sequence[str]) -> Table:
        days, texts, numbers = {}, {}, {}
        for _, reader in self.readers:
            name = reader.wanted.name
            try:
                made = reader.made()
            except CellFault as fault:
                raise self._said(fault, reader, fault.place, ()) from None
            if isinstance(made, DayColumn):
                days[name] = made
            elif isinstance(made, TextColumn):
                texts[name] = made
            else:
                numbers[name] = made
        said = [*rules, *self.rules, *(column.rule for column in days.values() if column.rule)]
        return Table(self.told, self.rows, days, texts, numbers, tuple(said), self.unread)


def _of_csv(file: TextIO, choose: Choose | Sequence[Wanted], told: str, hint: str, rules: list[str]) -> Table:
    rows = _rows(file, told)
    header = [name.strip() for name in next(rows, [])]
    if header[:1] == ["sep="] or (len(header) == 1 and header[0].startswith("sep=")):
        header = [name.strip() for name in next(rows, [])]
    while header and not header[-1]:
        header.pop()
    if not header:
        raise DataError(f"{told}: is empty; it must have a header and rows")
    if len(header) == 1:
        for sign, said in _SEPARATORS.items():
            if sign in header[0]:
                raise DataError(f"{told}: is separated by {said}; save it with commas")
    _refuse_twice(header, told)
    columns = _Columns(header, choose, told, hint)
    empty: list[int] = []
    for piece in _pieces(_filled(rows, told, empty)):
        fields = list(zip(*_squared(piece, len(header), columns.rows, told), strict=True))
        columns.add(fields.__getitem__, len(piece))
    if empty:
        rules.append(f"{len(empty)} empty rows at the end are left out")
    return columns.table(rules)


def _filled(rows: Iterator[list[str]], told: str, empty: list[int]) -> Iterator[list[str]]:
    """Rows with something in them. Rows of separators alone, as spreadsheets write below a table, go to ``empty``."""
    for number, row in enumerate(rows, start=1):
        if not any(cell.strip() for cell in row):
            empty.append(number)
            continue
        if empty:
            raise DataError(f"{told}: row {empty[0]}: is empty; take the row out")
        yield row


def _rows(file: TextIO, told: str) -> Iterator[list[str]]:
    """Records with at least one field; blank lines are none."""
    reader = csv.reader(file, strict=True, skipinitialspace=True)
    count = 0
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            remedy = "close its quotes, and write a quote within quotes twice"
            raise DataError(f"{told}: row {count}: is no row of a CSV file ({error}); {remedy}") from None
        if row:
            count += 1
            yield row


def _pieces(rows: Iterator[list[str]]) -> Iterator[list[list[str]]]:
    piece: list[list[str]] = []
    for row in rows:
        piece.append(row)
        if len(piece) == _PIECE:
            yield piece
            piece = []
    if piece:
        yield piece


def _squared(rows: list[list[str]], width: int, before: int, told: str) -> list[list[str]]:
    """Rows of one width: empty fields beyond the header are dropped, and any other difference is refused."""
    for place, row in enumerate(rows):
        if len(row) == width:
            continue
        if len(row) > width and not any(cell.strip() for cell in row[width:]):
            del row[width:]
            continue
        where = f"{told}: row {before + place + 1}"
        if len(row) > width:
            raise DataError(f"{where} has {len(row)} fields, the header has {width}; quote what holds a comma")
        raise DataError(f"{where} has {len(row)} fields, the header has {width}; write the empty ones too")
    return rows


def _refuse_twice(names: Sequence[str], told: str) -> None:
    seen: dict[str, str] = {}
    for name in names:
        form = name.casefold().replace(" ", "_")
        if name and form in seen:
            raise DataError(f"{told}: column {name!r} appears twice in the header; rename one, or take one out")
        seen[form] = name


def _of_parquet(path: Path, choose: Choose | Sequence[Wanted], told: str, hint: str) -> Table:
    if not path.exists():
        raise ConfigError(f"{told}: no such file; name an existing one")
    if not path.is_file():
        raise ConfigError(f"{told}: is a folder; name a file")
    try:
        frame = read_frame(path.read_bytes(), MOST_ROWS)
    except (ValueError, OSError, MemoryError) as error:
        raise DataError(f"{told}: cannot be read as Parquet ({error}); write the file anew") from None
    frame = frame.reset_index() if any(name is not None for name in frame.index.names) else frame
    names = [str(name).strip() for name in frame.columns]
    _refuse_twice(names, told)
    columns = _Columns(names, choose, told, hint)
    if len(frame):
        columns.add(lambda place: frame.iloc[:, place], len(frame))
    return columns.table([])
