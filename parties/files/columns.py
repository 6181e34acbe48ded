"""Columns of a table as they are read, piece by piece: coded texts and days, and numbers. Bounded by rows, not by text.

A text that repeats is kept once, so what a column of ids or dates takes is four bytes a row.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from parties.files.days import DayFault, days_of_stamps, days_of_texts, is_blank
from parties.files.numbers import LARGEST, NumberFault, numbers_of_texts

__all__ = ["CellFault", "DayColumn", "NumberColumn", "Reader", "TextColumn", "Wanted", "reader_of"]

Codes = NDArray[np.int32]
Cells = Sequence[str] | pd.Series

_FILL = "is empty; fill it or leave the row out"
_LONGEST_ID = 4096


class CellFault(ValueError):
    """A cell that cannot be used. ``place``: its row, from 0, in the piece that was added or, at the end, in all."""

    def __init__(self, place: int, reason: str) -> None:
        super().__init__(reason)
        self.place = place


@dataclass(frozen=True)
class Wanted:
    """A column that a table must have, and what its cells must be.

    kind: day, id (text, never empty), text, or number. above, least: numbers must lie above, or not below.
    also: usual names for the same, which are offered and never taken.
    """

    name: str
    kind: Literal["day", "id", "text", "number"]
    also: tuple[str, ...] = ()
    above: float | None = None
    least: float | None = None


@dataclass(frozen=True)
class DayColumn:
    """codes: int32 (N,) into ``days``, datetime64[D] (D,), rising. rule: how they were read; "" as YYYY-MM-DD."""

    codes: Codes
    days: NDArray[np.datetime64]
    rule: str


@dataclass(frozen=True)
class TextColumn:
    """codes: int32 (N,) into ``texts``, each different and stripped of blanks at its ends."""

    codes: Codes
    texts: tuple[str, ...]


@dataclass(frozen=True)
class NumberColumn:
    """values: float64 (N,), finite or NaN where missing. missing: how often each way to say so was met."""

    values: NDArray[np.float64]
    missing: Counter[str]


class Reader(ABC):
    """Takes a column's cells in pieces; :meth:`made` gives the column. Both raise :class:`CellFault`."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted

    @abstractmethod
    def add(self, cells: Cells) -> None:
        """The cells of the next rows, texts of a CSV or a column of Parquet."""

    @abstractmethod
    def made(self) -> DayColumn | TextColumn | NumberColumn:
        """The whole column."""


def reader_of(wanted: Wanted) -> Reader:
    """What reads a column of this kind."""
    kinds: dict[str, Callable[[Wanted], Reader]] = {
        "day": _DayReader,
        "id": _TextReader,
        "text": _TextReader,
        "number": _NumberReader,
    }
    return kinds[wanted.kind](wanted)


class _Coded:
    """Different values with the row of each one's first cell, and a code per row."""

    def __init__(self) -> None:
        self._code: dict[Any, int] = {}
        self.first: list[int] = []
        self._pieces: list[Codes] = []
        self._rows = 0

    @property
    def values(self) -> list[Any]:
        return list(self._code)

    def add(self, cells: Any) -> None:
        codes, distinct = pd.factorize(np.asarray(cells, dtype=object) if isinstance(cells, list) else cells)
        assert (codes >= 0).all()
        first = np.full(len(distinct), len(codes))
        np.minimum.at(first, codes, np.arange(len(codes)))
        place = np.empty(len(distinct), dtype=np.int32)
        for k, value in enumerate(distinct):
            if value not in self._code:
                self._code[value] = len(self._code)
                self.first.append(self._rows + int(first[k]))
            place[k] = self._code[value]
        self._pieces.append(place[codes])
        self._rows += len(codes)

    @property
    def codes(self) -> Codes:
        return np.concatenate(self._pieces) if self._pieces else np.zeros(0, dtype=np.int32)


class _DayReader(Reader):
    def __init__(self, wanted: Wanted) -> None:
        super().__init__(wanted)
        self._texts, self._stamps = _Coded(), _Coded()
        self._zone: Any = None

    def add(self, cells: Cells) -> None:
        if (
            isinstance(cells, pd.Series)
            and isinstance(cells.dtype, pd.DatetimeTZDtype | np.dtype)
            and cells.dtype.kind == "M"
        ):
            empty = cells.isna().to_numpy()
            if empty.any():
                raise CellFault(int(np.argmax(empty)), _FILL)
            self._zone = cells.dt.tz
            self._stamps.add(pd.DatetimeIndex(cells))
            return
        texts = _texts(cells, self.wanted)
        for place, text in enumerate(texts):
            if is_blank(text):
                raise CellFault(place, _FILL)
        self._texts.add(texts)

    def made(self) -> DayColumn:
        coded = self._stamps if self._stamps.first else self._texts
        try:
            if coded is self._stamps:
                found = days_of_stamps(pd.DatetimeIndex(coded.values))
            else:
                found = days_of_texts(coded.values)
        except DayFault as fault:
            raise CellFault(coded.first[fault.place], str(fault)) from None
        days, place = np.unique(found.days, return_inverse=True)
        return DayColumn(place.astype(np.int32)[coded.codes], days, found.rule)


class _TextReader(Reader):
    def __init__(self, wanted: Wanted) -> None:
        super().__init__(wanted)
        self._coded = _Coded()

    def add(self, cells: Cells) -> None:
        texts = [text.strip() for text in _texts(cells, self.wanted)]
        if self.wanted.kind == "id":
            for place, text in enumerate(texts):
                if not text:
                    raise CellFault(place, _FILL)
                if len(text) > _LONGEST_ID:
                    raise CellFault(place, f"has a text of {len(text):,} characters; is a quote not closed?")
        self._coded.add(texts)

    def made(self) -> TextColumn:
        return TextColumn(self._coded.codes, tuple(self._coded.values))


class _NumberReader(Reader):
    def __init__(self, wanted: Wanted) -> None:
        super().__init__(wanted)
        self._pieces: list[NDArray[np.float64]] = []
        self._missing: Counter[str] = Counter()

    def add(self, cells: Cells) -> None:
        if isinstance(cells, pd.Series) and pd.api.types.is_numeric_dtype(cells.dtype):
            values = cells.to_numpy(dtype=np.float64, na_value=np.nan)
            large = np.abs(values) > LARGEST
            if large.any():
                place = int(np.argmax(large))
                raise CellFault(place, _too_large(float(values[place])))
            self._missing[""] += int(np.isnan(values).sum())
        else:
            try:
                found = numbers_of_texts(_texts(cells, self.wanted))
            except NumberFault as fault:
                raise CellFault(fault.place, str(fault)) from None
            values = found.values
            self._missing += found.missing
        self._within(values)
        self._pieces.append(values)

    def _within(self, values: NDArray[np.float64]) -> None:
        above, least = self.wanted.above, self.wanted.least
        low = np.zeros(len(values), dtype=bool)
        if above is not None:
            low = values <= above
        elif least is not None:
            low = values < least
        if low.any():
            place = int(np.argmax(low))
            bound = f"must be above {above:g}" if above is not None else f"must not be below {least:g}"
            raise CellFault(place, f"{values[place]:g} {bound}; mend it, or leave it empty where there is none")

    def made(self) -> NumberColumn:
        values = np.concatenate(self._pieces) if self._pieces else np.zeros(0)
        return NumberColumn(values, +self._missing)


def _too_large(value: float) -> str:
    if np.isinf(value):
        return f"{value} is not finite; leave it empty where there is none"
    return f"{value:g} is too large to compute with; mend it, or leave it empty"


def _texts(cells: Cells, wanted: Wanted) -> list[str]:
    """Cells as texts, an empty one as "". A Parquet column of ids must be text already: numbers lose their zeros."""
    if not isinstance(cells, pd.Series):
        return list(cells)
    kind = str(cells.dtype)
    if pd.api.types.is_numeric_dtype(cells.dtype):
        if wanted.kind != "day":
            raise CellFault(
                0,
                f"is {kind}, not text, and numbers lose leading zeros; write it as text, for example "
                f"frame[{wanted.name!r}].astype(int).astype(str), with .str.zfill(6) where codes had zeros",
            )
        empty = cells.isna().tolist()
        return ["" if gone else str(cell) for cell, gone in zip(cells.tolist(), empty, strict=True)]
    made = []
    for place, cell in enumerate(cells.astype(object).tolist()):
        if isinstance(cell, str):
            made.append(cell)
        elif isinstance(cell, date):
            made.append(cell.isoformat())
        elif cell is None or cell is pd.NaT or (isinstance(cell, float) and cell != cell):
            made.append("")
        elif wanted.kind == "number" and not isinstance(cell, list | dict | np.ndarray | bytes):
            made.append(str(cell))
        else:
            raise CellFault(
                place, f"holds {type(cell).__name__}, not {_KINDS[wanted.kind]}; write it as {_KINDS[wanted.kind]}"
            )
    return made


_KINDS = {"day": "dates", "id": "text", "text": "text", "number": "numbers"}
