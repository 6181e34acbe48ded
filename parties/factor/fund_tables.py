"""Tables that a fund puts beside a factor: its own scores, labels, prices. Read by one set of rules, and matched aloud.

Instruments are compared in the normal form of alignment, so ``brk-b`` is the factor's ``BRK.B``. How many matched is
always said, and a table with less than an agreed share of the factor's is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from parties.errors import DataError
from parties.files.columns import Wanted
from parties.files.table import Table, read_table
from psi.identifiers import IdentifierError, normalise
from vfl.factors.market import COLUMNS, MarketData, market_data

__all__ = ["FundTable", "Match", "read_market", "read_values"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


_DAY = Wanted("datetime", "day", ("date", "day", "period", "asof_date", "time", "timestamp", "session"))
_ID = Wanted(
    "instrument",
    "id",
    ("ticker", "asset", "symbol", "entity", "id", "sid", "isin", "sedol", "cusip", "figi", "ric", "security", "code"),
)
_OTHER_NAMES = {
    "label": ("return", "ret", "target", "y", "forward_return", "fwd_return"),
    "score": ("factor", "signal", "prediction", "alpha", "value"),
    "price": ("close", "px_last", "adj_close", "prc"),
    "cap": ("market_cap", "marketcap", "cur_mkt_cap", "size"),
    "dollar_volume": ("volume", "adv", "turnover", "dollarvolume"),
    "volatility": ("vol", "sigma"),
    "sector": ("industry", "gics_sector"),
}
_ABOVE_ZERO = frozenset(("price", "cap"))
_NOT_BELOW_ZERO = frozenset(("volatility", "dollar_volume"))
_SHOWN = 3


@dataclass(frozen=True)
class Match:
    """How a table lies on a factor's grid: positions of the table's days and instruments there, -1 off it."""

    row: Ints
    column: Ints
    shape: tuple[int, int]


@dataclass(frozen=True)
class FundTable:
    """A table by (datetime, instrument), each pair once. names: the instrument of each code, in normal form.

    said: what was matched, a phrase per question asked.
    """

    table: Table
    names: tuple[str, ...]
    column: str
    said: list[str] = field(default_factory=list, compare=False)

    @property
    def days(self) -> NDArray[np.datetime64]:
        """Different days, rising."""
        return self.table.days["datetime"].days

    def reading(self) -> str:
        """What was read, in one line."""
        table = self.table
        missing = [
            f"{name} is missing in {sum(column.missing.values()):,}{_ways(column.missing)}"
            for name, column in table.numbers.items()
            if column.missing
        ]
        facts = [
            f"{table.rows:,} rows, {len(self.names):,} instruments, {self.days[0]} to {self.days[-1]}",
            *self.said,
            *(missing or ["no value is missing"]),
            *table.rules,
            *([f"not read: {_some(table.unread)}"] if table.unread else []),
        ]
        return f"{table.told}: {'; '.join(facts)}"

    def match(self, dates: pd.DatetimeIndex, instruments: Sequence[str], least: float, whose: str) -> Match:
        """Where the table lies on a grid. Raises :class:`DataError` where less than ``least`` of the grid is met.

        Counted are the grid's instruments, and those of its dates that lie between the table's first and last.
        """
        place = {normalise(name): k for k, name in enumerate(instruments)}
        column = np.array([place.get(name, -1) for name in self.names], dtype=np.int64)
        row = dates.get_indexer(pd.DatetimeIndex(self.days.astype("datetime64[ns]"))).astype(np.int64)
        met, days = int((column >= 0).sum()), int((row >= 0).sum())
        within = dates[(dates >= pd.Timestamp(self.days[0])) & (dates <= pd.Timestamp(self.days[-1]))]
        if not met or not days:
            lacking = "" if met else f"{self._spelling(column, place)}"
            raise DataError(
                f"{self.table.told}: no row is of a date and instrument of {whose} ({dates[0]:%Y-%m-%d}, "
                f"{dates[0]:%A}, {instruments[0]}, ...); the table has {self.days[0]}, "
                f"{pd.Timestamp(self.days[0]):%A}, {self.names[0]}{lacking}: use its decision sessions and identifiers"
            )
        self.said.append(
            f"{met:,} of the factor's {len(instruments):,} instruments, {days:,} of its {len(dates):,} dates"
        )
        for share, what in ((met / len(instruments), "instruments"), (days / max(len(within), 1), "dates")):
            if share < least:
                told = (
                    f"{met:,} of the factor's {len(instruments):,} instruments{self._spelling(column, place)}"
                    if what == "instruments"
                    else f"{days:,} of the factor's {len(within):,} dates between {self.days[0]} and {self.days[-1]}"
                )
                raise DataError(
                    f"{self.table.told}: has {told}, less than {least:.0%}: spell {what} as the factor does, or accept "
                    f"fewer with --least-matched {max(0.0, int(share * 100) / 100):g}"
                )
        return Match(row, column, (len(dates), len(instruments)))

    def grid(self, match: Match, column: str = "") -> Floats:
        """A numeric column on the grid, float64 (T, n), NaN where the table has no row."""
        table = self.table
        row = match.row[table.days["datetime"].codes]
        place = match.column[table.texts["instrument"].codes]
        inside = (row >= 0) & (place >= 0)
        made = np.full(match.shape, np.nan)
        made[row[inside], place[inside]] = table.numbers[column or self.column].values[inside]
        return made

    def series(self, instruments: Sequence[str]) -> pd.Series:
        """The column by (datetime, instrument), spelled as ``instruments`` where these have it."""
        spelled = {normalise(name): name for name in instruments}
        index = self._index([spelled.get(name, name) for name in self.names])
        return pd.Series(self.table.numbers[self.column].values, index=index, name=self.column)

    def frame(self) -> pd.DataFrame:
        """All columns by (datetime, instrument)."""
        columns: dict[str, object] = {name: column.values for name, column in self.table.numbers.items()}
        for name, text in self.table.texts.items():
            if name != "instrument":
                words = np.array([word or None for word in text.texts], dtype=object)
                columns[name] = words[text.codes]
        return pd.DataFrame(columns, index=self._index(list(self.names)))

    def _index(self, names: list[str]) -> pd.MultiIndex:
        table = self.table
        return pd.MultiIndex(
            levels=[pd.DatetimeIndex(self.days.astype("datetime64[ns]")), pd.Index(names, dtype=object)],  # type: ignore[list-item]
            codes=[table.days["datetime"].codes, table.texts["instrument"].codes],  # type: ignore[list-item]
            names=["datetime", "instrument"],
        )

    def _spelling(self, column: Ints, place: dict[str, int]) -> str:
        """Where the table's instruments seem to be the factor's, changed by a program that took them for numbers."""
        strange = [name for k, name in enumerate(self.names) if column[k] < 0]
        floats = [name for name in strange if name.removesuffix(".0") != name and name.removesuffix(".0") in place]
        if floats:
            return f" ({floats[0]} may be {floats[0].removesuffix('.0')}: ids were read as numbers; save them as text)"
        bare = {name.lstrip("0"): name for name in place if name[:1] == "0"}
        shorter = [name for name in strange if name.removesuffix(".0") in bare]
        if shorter:
            whole = bare[shorter[0].removesuffix(".0")]
            return f" ({shorter[0]} may be {whole}: ids lost their zeros; save them as text)"
        return f" (not in the factor: {_some(strange)})" if strange else ""


def read_values(path: Path, column: str) -> FundTable:
    """A table with one numeric column: ``column``, or the only one beside the keys. Raises ConfigError or DataError."""

    def choose(names: tuple[str, ...]) -> Sequence[Wanted]:
        keys = (_DAY, _ID)
        value = Wanted(column, "number", _OTHER_NAMES.get(column, ()))
        forms = {name.casefold().replace(" ", "_"): name for name in names}
        others = [name for form, name in forms.items() if form not in ("datetime", "instrument")]
        if column not in forms and len(others) == 1 and all(key.name in forms for key in keys):
            return (*keys, replace(value, name=others[0]))
        return (*keys, value)

    hint = f"a table needs datetime, instrument and {column}"
    table = read_table(path, choose, hint=hint)
    (found,) = table.numbers
    return _keyed(table, found)


def read_market(path: Path) -> tuple[FundTable, Callable[[pd.DatetimeIndex, Sequence[str]], MarketData]]:
    """Prices, sectors and the like, and what lays them on a grid. Raises ConfigError or DataError."""

    def choose(names: tuple[str, ...]) -> Sequence[Wanted]:
        wanted: list[Wanted] = [_DAY, _ID]
        for name in names:
            form = name.casefold().replace(" ", "_")
            if form in ("datetime", "instrument"):
                continue
            if form in COLUMNS:
                name = form
            elif not form.startswith(("style_", "library_")) and _names_a_key(form):
                continue
            elif not form.startswith(("style_", "library_")):
                known = next((one for one, others in _OTHER_NAMES.items() if form in others and one in COLUMNS), None)
                offer = f"rename it to {known}, or use" if known else "use"
                raise DataError(
                    f"{path}: column {name!r} is unknown; {offer} {', '.join(COLUMNS)}, style_... or library_..."
                )
            wanted.append(
                Wanted(
                    name,
                    "text" if name == "sector" else "number",
                    above=0.0 if name in _ABOVE_ZERO else None,
                    least=0.0 if name in _NOT_BELOW_ZERO else None,
                )
            )
        if len(wanted) == 2 and {"datetime", "instrument"} <= {name.casefold() for name in names}:
            raise DataError(f"{path}: has no column beside datetime and instrument; add {', '.join(COLUMNS)}")
        return wanted

    table = _keyed(
        read_table(path, choose, hint=f"a table needs datetime, instrument and any of {', '.join(COLUMNS)}"), ""
    )

    def on_grid(dates: pd.DatetimeIndex, instruments: Sequence[str]) -> MarketData:
        spelled = [normalise(name) for name in instruments]
        try:
            return market_data(table.frame(), dates, spelled)
        except ValueError as error:
            raise DataError(f"{path}: {error}") from None

    return table, on_grid


def _names_a_key(form: str) -> bool:
    """Whether a column is likely the date or the instrument under another name, which is then offered."""
    return form in _DAY.also or form in _ID.also


def _keyed(table: Table, column: str) -> FundTable:
    """Instruments in normal form, one spelling each, and one row per pair."""
    texts = table.texts["instrument"]
    names: list[str] = []
    first: dict[str, int] = {}
    for code, raw in enumerate(texts.texts):
        try:
            name = normalise(raw)
        except IdentifierError as error:
            raise table.fault(_row_of(texts.codes, code), f"column instrument: {error}") from None
        if name in first:
            other = texts.texts[first[name]]
            raise table.fault(
                _row_of(texts.codes, code),
                f"column instrument: {raw!r} and {other!r} (row {_row_of(texts.codes, first[name]) + 1}) are one "
                "instrument; spell it one way",
            )
        first[name] = code
        names.append(name)
    cells = table.days["datetime"].codes.astype(np.int64) * len(names) + texts.codes
    twice = pd.Series(cells).duplicated().to_numpy()
    if twice.any():
        again = int(np.argmax(twice))
        before = int(np.argmax(cells == cells[again]))
        when = table.days["datetime"].days[table.days["datetime"].codes[again]]
        raise table.fault(
            again, f"{names[texts.codes[again]]} has two rows on {when}, this and row {before + 1}; keep one"
        )
    return FundTable(table, tuple(names), column)


def _row_of(codes: NDArray[np.int32], code: int) -> int:
    return int(np.argmax(codes == code))


def _ways(missing: dict[str, int]) -> str:
    written = ", ".join(way for way in missing if way)
    return f" (written {written})" if written else ""


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
