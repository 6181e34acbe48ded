"""A folder of published signals, laid on a factor's grid as they were known at each of its dates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from parties.errors import ConfigError, DataError
from parties.files.columns import Wanted
from parties.files.table import Table, read_table
from psi.identifiers import IdentifierError, normalise

__all__ = ["KnownSignals", "read_links", "read_signals"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_MONTH = "yyyymm"
_DAYS = ("datetime", "date", "day", "asof_date", "time_avail_m")
_IDS = ("permno", "instrument", "ticker", "id", "asset", "symbol", "entity", "isin", "cusip", "gvkey", "sid")
_ENDS = (".csv", ".parquet", ".pq")
_HINT = "a file of signals needs a date (yyyymm, datetime or date), an id (permno, instrument or ticker) and numbers"


@dataclass(frozen=True)
class KnownSignals:
    """Signals by name, each float64 (T, n) on the factor's grid. said: a line for each file."""

    signals: Mapping[str, Floats]
    said: tuple[str, ...]


def read_links(path: Path) -> dict[str, str]:
    """From a table of ``instrument`` and ``id``: the instrument of each id, both in normal form."""
    table = read_table(path, (Wanted("instrument", "id"), Wanted("id", "id", ("permno",))))
    names, ids = (_normal(table, column) for column in ("instrument", "id"))
    found: dict[str, str] = {}
    pairs = zip(table.texts["instrument"].codes, table.texts["id"].codes, strict=True)
    for row, (name, known) in enumerate(pairs):
        if found.setdefault(ids[known], names[name]) != names[name]:
            raise table.fault(row, f"id {ids[known]} is of {found[ids[known]]} in an earlier row; keep one")
    return found


def read_signals(
    folder: Path,
    dates: pd.DatetimeIndex,
    instruments: Sequence[str],
    *,
    links: Mapping[str, str] | None = None,
    lag_days: int = 0,
    oldest_days: int = 45,
) -> KnownSignals:
    """Every signal of every CSV or Parquet file in ``folder``.

    A date of the factor gets the latest values that were known then: ``lag_days`` after their own date (of a yyyymm,
    its month's last day), and no more than ``oldest_days`` ago. links: the instrument of each id of the files.
    Raises :class:`ConfigError` or :class:`DataError`, naming file, column and row.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; name the one with the files of published signals")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in _ENDS)
    if not files:
        raise ConfigError(f"{folder}: holds no .csv or .parquet file; put the files of published signals there")
    place = {normalise(name): k for k, name in enumerate(instruments)}
    found: dict[str, Floats] = {}
    origin: dict[str, Path] = {}
    said = []
    for path in files:
        table, key, names = _read(path)
        days, day = _days(table)
        column = np.array([place.get((links or {}).get(name, name), -1) for name in names], dtype=np.int64)
        row = _known_rows(days, dates, lag_days, oldest_days)
        met, used = int((column >= 0).sum()), int((row >= 0).sum())
        if not met or not used:
            told = f"{names[0]}, ..., {days[0]} to {days[-1]}" if len(names) else "nothing"
            raise DataError(
                f"{path}: no row is of an instrument of the factor ({instruments[0]}, ...) and known at one of its "
                f"dates ({dates[0]:%Y-%m-%d} to {dates[-1]:%Y-%m-%d}); the file has {told}: link ids with --ids FILE"
            )
        held = column[table.texts[key].codes]
        _refuse_twice(table, day, held, instruments, days)
        for name, numbers in table.numbers.items():
            if name == _MONTH:
                continue
            if name in found:
                raise DataError(f"{path}: signal {name!r} is in {origin[name]} already; keep one of them")
            whole = np.full((len(days), len(instruments)), np.nan)
            whole[day[held >= 0], held[held >= 0]] = numbers.values[held >= 0]
            found[name] = np.where((row >= 0)[:, None], whole[np.maximum(row, 0)], np.nan)
            origin[name] = path
        said.append(
            f"{path.name}: {len(table.numbers) - (_MONTH in table.numbers)} signals, {met:,} of the factor's "
            f"{len(instruments):,} instruments, known at {used:,} of its {len(dates):,} dates"
        )
    return KnownSignals(found, tuple(said))


def _read(path: Path) -> tuple[Table, str, tuple[str, ...]]:
    """The table, its column of ids, and the ids in normal form by their codes."""
    key = ""

    def choose(names: tuple[str, ...]) -> Sequence[Wanted]:
        nonlocal key
        forms = {name.casefold().replace(" ", "_"): name for name in names}
        day = _MONTH if _MONTH in forms else next((one for one in _DAYS if one in forms), "")
        key = next((one for one in _IDS if one in forms), "")
        if not day or not key:
            raise DataError(f"{path}: has {', '.join(names) or 'no column'}; {_HINT}")
        rest = [name for form, name in forms.items() if form not in (day, key)]
        if not rest:
            raise DataError(f"{path}: has no signal beside {day} and {key}; {_HINT}")
        when = Wanted(day, "number") if day == _MONTH else Wanted(day, "day")
        return (when, Wanted(key, "id"), *(Wanted(name, "number") for name in rest))

    table = read_table(path, choose, hint=_HINT)
    return table, key, _normal(table, key)


def _normal(table: Table, column: str) -> tuple[str, ...]:
    codes, texts = table.texts[column].codes, table.texts[column].texts
    names: list[str] = []
    for code, text in enumerate(texts):
        try:
            names.append(normalise(text))
        except IdentifierError as error:
            raise table.fault(int(np.argmax(codes == code)), f"column {column}: {error}") from None
    return tuple(names)


def _days(table: Table) -> tuple[NDArray[np.datetime64], Ints]:
    """Different days, rising, and which is each row's; a month is its last day."""
    if table.days:
        (column,) = table.days.values()
        return column.days, column.codes.astype(np.int64)
    values = table.numbers[_MONTH].values
    whole = np.where(np.isnan(values), 0, values).astype(np.int64)
    years, months = np.divmod(whole, 100)
    wrong = (whole != values) | (years < 1900) | (years > 2199) | (months < 1) | (months > 12)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise table.fault(row, f"column {_MONTH}: {values[row]:g} is no month; write 202001 for January 2020")
    first = (years - 1970) * 12 + months - 1
    days: NDArray[np.datetime64] = (first + 1).astype("datetime64[M]").astype("datetime64[D]")
    days = days - np.timedelta64(1, "D")
    found, codes = np.unique(days, return_inverse=True)
    return found, codes.astype(np.int64)


def _known_rows(days: NDArray[np.datetime64], dates: pd.DatetimeIndex, lag_days: int, oldest_days: int) -> Ints:
    """For each date of the factor the latest day whose values were known then, -1 where none was fresh enough."""
    known = days + np.timedelta64(lag_days, "D")
    wanted = dates.to_numpy().astype("datetime64[D]")
    row = np.searchsorted(known, wanted, side="right").astype(np.int64) - 1
    age = wanted - known[np.maximum(row, 0)]
    return np.where((row >= 0) & (age <= np.timedelta64(oldest_days, "D")), row, -1)


def _refuse_twice(
    table: Table, day: Ints, held: Ints, instruments: Sequence[str], days: NDArray[np.datetime64]
) -> None:
    """Each instrument of the factor once a day, whatever its id was written like or linked from."""
    inside = np.flatnonzero(held >= 0)
    twice = pd.Series(day[inside] * len(instruments) + held[inside]).duplicated().to_numpy()
    if twice.any():
        row = int(inside[int(np.argmax(twice))])
        raise table.fault(row, f"{instruments[held[row]]} has two rows on {days[day[row]]}; keep one")
