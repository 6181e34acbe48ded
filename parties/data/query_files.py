"""The files that a party's SQL names: held to the data folder, and to what DuckDB would otherwise guess about a CSV."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import duckdb

from parties.data.csv_heads import csv_head, refuse_mixed_ends, refuse_quotes, refuse_twice
from parties.data.csv_numbers import refuse_thousands
from parties.errors import DataError

__all__ = ["refuse_guesses", "refuse_links"]

_CSV_FUNCTIONS = frozenset(("read_csv", "read_csv_auto"))
_CSV_NAMES = (".csv", ".tsv", ".txt", ".csv.gz", ".csv.zst")
_TWO_ORDERS = re.compile(r"%[-]?[dm][-/. ]%[-]?[dm][-/. ]%[Yy]")
_SHORT_YEAR = re.compile(r"%y")
_SNIFFED = "SkipRows, Delimiter, HasHeader, DateFormat, TimestampFormat, Columns, Quote"
_NO_QUOTE = "(empty)"
_MOST_FILES = 50


@dataclass(frozen=True)
class _Named:
    """One file or pattern. csv: the arguments of its read_csv as they are written; None for another format.

    every: all its columns are selected, without their names.
    """

    path: str
    csv: tuple[str, ...] | None
    options: frozenset[str] = frozenset()
    every: bool = False


def refuse_links(connection: duckdb.DuckDBPyConnection, sql: str, source: str, data: Path) -> None:
    """Raise :class:`DataError` where a named file lies in the data folder only as a link to one outside it."""
    folder = data.resolve()
    for named in _named(connection, sql):
        for path in _expanded(named.path, folder):
            real = path.resolve()
            if (
                ".." not in path.parts
                and real != path
                and not real.is_relative_to(folder)
                and path.is_relative_to(folder)
            ):
                shown = path.relative_to(folder)
                raise DataError(
                    f"{source}: {data.name}/{shown} is a link to {real}, outside the data folder; copy the file there, "
                    "or let data name the folder of both"
                )


def refuse_guesses(connection: duckdb.DuckDBPyConnection, sql: str, source: str) -> None:
    """Raise :class:`DataError` where reading a CSV rests on a guess: lines skipped, quotes, marks in numbers, dates."""
    for named in _named(connection, sql):
        if named.csv is None:
            continue
        _refuse_omissions(named, source)
        for path in _found(connection, named.path):
            arguments = ", ".join((_text(path), *named.csv))
            where = f"{source}: {PurePath(path).name}"
            head = csv_head(path, where, named.options)
            try:
                found = connection.execute(f"SELECT {_SNIFFED} FROM sniff_csv({arguments})").fetchall()  # noqa: S608 the operator's own SQL
            except duckdb.Error:
                refuse_mixed_ends(head, where)
                continue  # the query itself will say what is wrong
            ((skipped, separator, header, dates, times, columns, quote),) = found
            if header and not named.options & {"names", "columns"}:
                refuse_twice(head, where, int(skipped), str(separator), sql)
            if skipped and "skip" not in named.options:
                raise DataError(
                    f"{where}: its first {skipped} lines do not have the fields of the others "
                    f"and would be skipped; mend the rows, or say that it is meant: read_csv(..., skip = {skipped})"
                )
            if quote == _NO_QUOTE and head and "quote" not in named.options:
                refuse_quotes(path, where, str(separator))
            read = [one for one in columns if named.every or str(one["name"]).casefold() in sql.casefold()]
            refuse_thousands(connection, where, (path, named.csv), named.options, read)
            if not named.options & {"dateformat", "date_format", "all_varchar", "columns"}:
                _refuse_order(connection, where, arguments, (dates, times), read)


def _refuse_omissions(named: _Named, source: str) -> None:
    """Raise :class:`DataError` where DuckDB is told to leave out what it cannot read."""
    for option in named.csv or ():
        name, _, value = (part.strip().lower() for part in option.partition("="))
        if name in ("ignore_errors", "store_rejects") and value not in ("false", "0"):
            raise DataError(
                f"{source}: {PurePath(named.path).name}: read_csv(..., {option}) leaves rows out without a word; take "
                "that option out, and mend the rows that are then named"
            )


def _refuse_order(
    connection: duckdb.DuckDBPyConnection, where: str, arguments: str, forms: tuple[Any, Any], columns: Any
) -> None:
    for form, kinds in zip(map(str, forms), ({"DATE"}, {"TIMESTAMP", "TIMESTAMP WITH TIME ZONE"}), strict=True):
        if not _TWO_ORDERS.search(form) and not _SHORT_YEAR.search(form):
            continue
        for column in columns:
            name = str(column["name"])
            if column["type"] not in kinds:
                continue
            quoted = '"' + name.replace('"', '""') + '"'
            proof = connection.execute(
                f"SELECT max(day({quoted})) > 12, bool_and(day({quoted}) = month({quoted})) FROM read_csv({arguments})"  # noqa: S608
            ).fetchall()
            ((proved, same),) = proof
            if _SHORT_YEAR.search(form):
                ways = " or ".join(f"'{way}'" for way in _short_years(connection, form, quoted, arguments))
                raise DataError(
                    f"{where}: column {name}: has years of two digits, and which part is the year could be guessed "
                    f"wrong; say where day, month and year are: read_csv(..., dateformat = {ways})"
                )
            if not (proved or same):
                other = form.replace("%d", "%?").replace("%m", "%d").replace("%?", "%m")
                raise DataError(
                    f"{where}: column {name}: day and month could be in either order; say which: "
                    f"read_csv(..., dateformat = '{form}') or '{other}'"
                )


def _short_years(connection: duckdb.DuckDBPyConnection, form: str, column: str, arguments: str) -> list[str]:
    """Orders of day, month and year of two digits under which all of a column can be read."""
    sign = next((one for one in form if one in "-/. "), "-")
    orders = [sign.join(parts) for parts in (("%d", "%m", "%y"), ("%m", "%d", "%y"), ("%y", "%m", "%d"))]
    tests = ", ".join(f"bool_and(try_strptime({column}, '{order}') IS NOT NULL)" for order in orders)
    try:
        (fits,) = connection.execute(
            f"SELECT {tests} FROM read_csv({arguments}, all_varchar = true) WHERE {column} IS NOT NULL"  # noqa: S608
        ).fetchall()
    except duckdb.Error:
        return orders  # other options of the query forbid it
    return [order for order, fit in zip(orders, fits, strict=True) if fit] or orders


def _named(connection: duckdb.DuckDBPyConnection, sql: str) -> list[_Named]:
    """Every file that the statement names as a constant, with what it is read by."""
    try:
        ((text,),) = connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()
    except duckdb.Error:
        return []
    return list(_walk(json.loads(text), sql))


def _walk(node: Any, sql: str, every: bool = False) -> Iterator[_Named]:
    if isinstance(node, list):
        for item in node:
            yield from _walk(item, sql, every)
    if not isinstance(node, dict):
        return
    if node.get("type") == "SELECT_NODE":
        every = '"class": "STAR"' in json.dumps(node.get("select_list"))
    if node.get("type") == "PIVOT":
        every = True  # both ways, columns come in that the statement need not name
    if node.get("type") == "BASE_TABLE":
        name = str(node.get("table_name", ""))
        if "/" in name:
            yield _Named(name, () if name.lower().endswith(_CSV_NAMES) else None, every=every)
    if node.get("type") == "TABLE_FUNCTION":
        yield from _function(node.get("function") or {}, sql, every)
    for value in node.values():
        if isinstance(value, dict | list):
            yield from _walk(value, sql, every)


def _function(function: dict[str, Any], sql: str, every: bool) -> Iterator[_Named]:
    arguments = [argument.get("expression") or {} for argument in function.get("arguments") or []]
    options = [one for one in arguments[1:] if one.get("type") == "COMPARE_EQUAL"]
    names = frozenset(
        str(one["left"]["column_names"][-1]).lower() for one in options if one["left"].get("column_names")
    )
    content = sql.encode()
    written = tuple(
        content[one["query_location"] : one["query_location"] + one["query_location_length"]].decode()
        for one in options
    )
    csv = written if function.get("function_name") in _CSV_FUNCTIONS else None
    for path in _constants(arguments[:1]):
        yield _Named(path, csv, names, every)


def _constants(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for item in node:
            yield from _constants(item)
    elif isinstance(node, dict):
        literal = node.get("literal")
        if isinstance(literal, dict) and literal.get("kind") == "STRING":
            yield str(literal["text"])
        else:
            yield from _constants([value for value in node.values() if isinstance(value, dict | list)])


def _expanded(path: str, folder: Path) -> list[Path]:
    """The local files of a path or pattern below the data folder."""
    if "://" in path:
        return []
    if not set("*?[") & set(path):
        return [Path(path)]
    try:
        inside = Path(path).relative_to(folder)
        return sorted(folder.glob(str(inside)))[:_MOST_FILES]
    except ValueError:
        return []


def _found(connection: duckdb.DuckDBPyConnection, path: str) -> list[str]:
    """The files of a path or pattern, in an S3 store too, as the connection may read them."""
    if not set("*?[") & set(path):
        return [path]
    try:
        return [
            file for (file,) in connection.execute("SELECT file FROM glob(?) LIMIT ?", [path, _MOST_FILES]).fetchall()
        ]
    except duckdb.Error:
        return []


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
