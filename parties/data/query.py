"""A party's connector: one SQL file, run by DuckDB over the party's own folder, checked row by row.

The query yields ``entity`` (text), ``period`` (the last day the observation covers), optionally
``available_at`` (when the party could first have known it) and the declared columns. DuckDB may
read below the data folder and the places in an S3 store that node.toml names, and nowhere else; it may not write,
attach, install or reach any other network address.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from parties.data.calendar import END_OF_DAY
from parties.data.query_files import refuse_guesses, refuse_links
from parties.data.result_columns import (
    ResultColumns,
    compute,
    number_column,
    period_as_day,
    quoted,
    rules_of,
    text_column,
    time_column,
)
from parties.data.row_checks import check_frame, row_name
from parties.data.sql_faults import told
from parties.errors import ConfigError, DataError
from parties.files.text import read_text
from parties.settings.consortium import LabelSettings, PartySettings
from parties.settings.stores import PostgresSettings, S3Settings

__all__ = [
    "LabelRows",
    "Observations",
    "QueryLimits",
    "read_label_rows",
    "read_observations",
    "run_query",
    "sql_text",
]

_PLACEHOLDER = re.compile(r"\$\{([^}]*)\}")
_SAMPLE = 50_000


@dataclass(frozen=True)
class QueryLimits:
    """What one query may use of the node's machine."""

    threads: int = 2
    memory: str = "2GB"


@dataclass(frozen=True)
class Observations:
    """What a feature query yielded, in its own order. N rows, d columns.

    source: name of the SQL file. entity: object (N,), raw spellings. period: datetime64[ns] (N,).
    available_at: datetime64[ns] (N,), stated or period plus lag. values: float64 (N, d), NaN where missing.
    rules: how days and availability were read, a phrase each. windowed: a row stands until the next one, however old.
    """

    source: str
    entity: NDArray[np.object_]
    period: NDArray[np.datetime64]
    available_at: NDArray[np.datetime64]
    columns: tuple[str, ...]
    values: NDArray[np.float64]
    rules: tuple[str, ...] = ()
    windowed: bool = False

    def __len__(self) -> int:
        return len(self.entity)


@dataclass(frozen=True)
class LabelRows:
    """What a label query yielded. label is NaN and available_at NaT where the label is not known yet.

    universe: bool (N,), or None where the query has no in_universe column.
    """

    source: str
    entity: NDArray[np.object_]
    period: NDArray[np.datetime64]
    available_at: NDArray[np.datetime64]
    label: NDArray[np.float64]
    universe: NDArray[np.bool_] | None
    rules: tuple[str, ...] = ()


def sql_text(path: Path, data: Path) -> str:
    """The SQL of ``path`` with ``${data}`` replaced by the data folder, quoted for a SQL string.

    Raises :class:`ConfigError` for a missing file or folder, an unknown placeholder, or one outside quotes.
    """
    text = read_text(path)
    folder = _data_folder(data)

    def fill(match: re.Match[str]) -> str:
        if match.group(1) != "data":
            raise ConfigError(f"{path}: unknown placeholder {match.group(0)}; only ${{data}} is known")
        line = match.string[: match.start()].rpartition("\n")[2]
        if not line.endswith("'") and "--" not in line:
            raise ConfigError(f"{path}: ${{data}} must open a quoted path; write '${{data}}/file.parquet'")
        return folder.replace("'", "''")

    return _PLACEHOLDER.sub(fill, text)


def run_query(
    path: Path,
    data: Path,
    expressions: Callable[[ResultColumns], Sequence[str]],
    limits: QueryLimits = QueryLimits(),
    *,
    postgres: PostgresSettings | None = None,
    s3: S3Settings | None = None,
) -> Any:
    """Run the SQL file and return ``expressions(result)`` of its columns as an Arrow table.

    ``expressions`` gets each result column's DuckDB type, refuses what it cannot use, and returns
    SQL expressions over the result. Raises :class:`DataError` with what DuckDB says is wrong, and where.
    """
    text = sql_text(path, data)
    tables = {} if postgres is None else _attached(postgres)
    with _connection(data, limits, tables, s3) as connection, told(path):
        statements = connection.extract_statements(text)
        if len(statements) == 1 and statements[0].type == duckdb.StatementType.MULTI:
            raise ConfigError(
                f"{path}: a PIVOT that takes its columns from the data is several statements, and its columns change "
                "with the file; list the values: PIVOT ... ON kind IN ('a', 'b') USING ..."
            )
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise ConfigError(f"{path}: must hold exactly one SELECT statement; a query may only read")
        refuse_links(connection, statements[0].query, path.name, data)
        refuse_guesses(connection, statements[0].query, path.name)
        result = connection.sql(statements[0].query)
        twice = sorted({name for name in result.columns if result.columns.count(name) > 1})
        if twice:
            raise DataError(f"{path.name}: column {twice[0]!r} appears twice in the result; rename one with AS")
        types = dict(zip(result.columns, (str(kind) for kind in result.types), strict=True))
        columns = ResultColumns(
            types,
            lambda name: [row[0] for row in result.project(quoted(name)).limit(_SAMPLE).fetchall()],
            lambda expression: compute(result, expression),
        )
        table = result.project(", ".join(expressions(columns))).to_arrow_table()
    if table.num_rows == 0:
        raise DataError(f"{path.name}: the query yields no rows; check its filters and the files in {data}")
    return table


def read_observations(settings: PartySettings, folder: Path, data: Path, *, strict: bool = True) -> Observations:
    """Run the party's feature query and check every row; not ``strict`` leaves look-ahead for others to count.

    Raises :class:`ConfigError` when neither ``available_at`` nor ``lag_days`` says when a row was
    known, and :class:`DataError`, naming file, column and row, for anything the panel could not trust.
    """
    path = folder / settings.query
    source = path.name
    frame, kinds = _frame(path, data, settings.columns, "available_at", settings.lag_days, settings, ())
    check_frame(
        frame, source, dict.fromkeys(settings.columns, "feature") | {"available_at": "known"}, settings.column_schema
    )
    period_as_day(source, frame, kinds["period"])
    period = _times(frame, "period")
    available = _available(frame, "available_at", kinds, settings.lag_days)
    if strict:
        _refuse_early(source, frame, "available_at", available)
    values = np.column_stack([frame[name].to_numpy(dtype=np.float64) for name in settings.columns])
    return Observations(
        source,
        frame["entity"].to_numpy(dtype=object),
        period,
        available,
        settings.columns,
        values,
        rules_of("available_at", kinds, settings.lag_days),
    )


def read_label_rows(settings: PartySettings, label: LabelSettings, folder: Path, data: Path) -> LabelRows:
    """Run the label query: entity, period, label, label_available_at or a lag, optionally in_universe."""
    path = folder / label.query
    source = path.name
    frame, kinds = _frame(path, data, ("label",), "label_available_at", label.lag_days, settings, ("in_universe",))
    check_frame(frame, source, {"label": "feature", "in_universe": "stated"})
    period_as_day(source, frame, kinds["period"])
    values = frame["label"].to_numpy(dtype=np.float64)
    available = _available(frame, "label_available_at", kinds, label.lag_days)
    unstated = np.flatnonzero(~np.isnan(values) & np.isnat(available))
    if unstated.size:
        raise DataError(
            f"{source}: {row_name(frame, unstated[0])} has a label but no label_available_at; state when it became "
            "known"
        )
    available = np.where(np.isnan(values), np.datetime64("NaT", "ns"), available)
    _refuse_early(source, frame, "label_available_at", available)
    universe = frame["in_universe"].to_numpy(dtype=np.float64) != 0 if "in_universe" in frame else None
    return LabelRows(
        source,
        frame["entity"].to_numpy(dtype=object),
        _times(frame, "period"),
        available,
        values,
        universe,
        rules_of("label_available_at", kinds, label.lag_days),
    )


def _data_folder(data: Path) -> str:
    folder = data.resolve()
    if not folder.is_dir():
        raise ConfigError(f"{data}: no such data folder; name an existing folder")
    if set("*?[") & set(str(folder)):
        raise ConfigError(f"{data}: the data folder's path has one of *, ? and [, which DuckDB expands; rename it")
    return str(folder)


@contextmanager
def _connection(
    data: Path, limits: QueryLimits, tables: Mapping[str, Any], s3: S3Settings | None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """An in-memory DuckDB that holds ``tables``, reads below ``data`` and where ``s3`` allows, and can change none."""
    connection = duckdb.connect(":memory:", config={"threads": limits.threads, "memory_limit": limits.memory})
    try:
        connection.execute("SET TimeZone = 'UTC'")
        for name, table in tables.items():
            connection.register(name, table)
        places = [_data_folder(data)]
        if s3 is not None:
            connection.register_filesystem(_objects(s3))
            places += s3.allowed
        connection.execute("SET allowed_directories = ?", [places])
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        yield connection
    finally:
        connection.close()


def _attached(settings: PostgresSettings) -> dict[str, Any]:
    # the driver is an extra that most parties do without
    from parties.data.postgres import read_tables

    return read_tables(settings)


def _objects(settings: S3Settings) -> Any:
    # the AWS client takes a while to load, and most parties do without
    from parties.data.remote import open_store

    return open_store(settings)


def _frame(
    path: Path,
    data: Path,
    columns: Sequence[str],
    availability: str,
    lag_days: int | None,
    party: PartySettings,
    optional: Sequence[str],
) -> tuple[pd.DataFrame, dict[str, str]]:
    """The query's result as a frame, and DuckDB's types of its columns."""
    source = path.name
    kinds: dict[str, str] = {}

    def expressions(result: ResultColumns) -> list[str]:
        types = result.types
        kinds.update(types)
        missing = [name for name in ("entity", "period", *columns) if name not in types]
        if missing:
            raise DataError(
                f"{source}: column {missing[0]!r} is missing from the result; add it to the SELECT "
                f"(it has {', '.join(types)})",
                missing[0] if missing[0] in columns else "",
            )
        if availability not in types and lag_days is None:
            raise ConfigError(
                f"{source}: nothing says when a row of party {party.name!r} became known; "
                f"add a column {availability} to the query, or lag_days to its settings (--lag-days when it joins)"
            )
        times = ["period"] + [availability] * (availability in types)
        numbers = [*columns, *(name for name in optional if name in types)]
        return [
            text_column(source, "entity", result),
            *(time_column(source, name, result) for name in times),
            *(number_column(source, name, result) for name in numbers),
        ]

    table = run_query(path, data, expressions, postgres=party.postgres, s3=party.s3)
    frame = pd.DataFrame(
        {
            name: np.array(table[name].to_pylist(), dtype=object) if name == "entity" else table[name].to_numpy()
            for name in table.column_names
        }
    )
    frame["entity"] = frame["entity"].astype(object)
    return frame, kinds


def _times(frame: pd.DataFrame, name: str) -> NDArray[np.datetime64]:
    return frame[name].to_numpy().astype("datetime64[ns]")


def _available(
    frame: pd.DataFrame, name: str, kinds: Mapping[str, str], lag_days: int | None
) -> NDArray[np.datetime64]:
    """When each row was known: as stated, else its period plus the lag. A plain date means the end of that day."""
    if name in frame:
        return _times(frame, name) + (END_OF_DAY if kinds[name] == "DATE" else np.timedelta64(0, "ns"))
    assert lag_days is not None
    day_end = END_OF_DAY if kinds["period"] == "DATE" else np.timedelta64(0, "ns")
    return _times(frame, "period") + day_end + np.timedelta64(lag_days, "D")


def _refuse_early(source: str, frame: pd.DataFrame, name: str, available: NDArray[np.datetime64]) -> None:
    """A row known on a day before the period it describes would be look-ahead."""
    early = np.flatnonzero(available.astype("datetime64[D]") < _times(frame, "period").astype("datetime64[D]"))
    if early.size:
        index = int(early[0])
        raise DataError(
            f"{source}: {row_name(frame, index)} claims to be known on {available[index].astype('datetime64[D]')}, "
            f"before its own period; mend {name}, or make period the last day that the row covers"
        )
