"""Tables of a party's PostgreSQL as relations in its DuckDB query.

DuckDB's own PostgreSQL extension is a download, which a fund's machine may not allow; so each declared query is run by
the PostgreSQL driver in a read-only transaction and its result is handed to DuckDB as a table under the declared name.
"""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from parties.errors import ConfigError, DataError
from parties.settings.stores import PostgresSettings

__all__ = ["read_tables"]

_INTEGERS, _FLOATS, _TEXTS = (20, 21, 23), (700, 701, 1700), (18, 19, 25, 1042, 1043, 2950)
_BOOLEAN, _DATE, _TIMESTAMP, _TIMESTAMP_ZONE = 16, 1082, 1114, 1184
"""Type numbers of pg_type.oid, fixed in PostgreSQL's catalogue."""


def read_tables(settings: PostgresSettings) -> dict[str, pa.Table]:
    """Run every declared query, read only, and return its rows as an Arrow table, by name.

    Raises :class:`ConfigError` for a URL or driver that does not serve, :class:`DataError` naming a query that fails.
    """
    try:
        url = make_url(settings.url)
        if url.get_backend_name() != "postgresql":
            raise ConfigError("party.postgres.url: must begin with postgresql://")
        engine = create_engine(url.set(drivername="postgresql+psycopg"), connect_args={"connect_timeout": 10})
    except ArgumentError:
        raise ConfigError("party.postgres.url: not a URL; use postgresql://USER@HOST/DATABASE") from None
    except ImportError:
        raise ConfigError("party.postgres needs the PostgreSQL driver: pip install 'entente[postgresql]'") from None
    tables = {}
    try:
        for name, query in settings.tables.items():
            try:
                with engine.connect() as connection:
                    connection.execute(text("SET TRANSACTION READ ONLY"))
                    result = connection.exec_driver_sql(query)
                    cursor: Any = result.cursor
                    described = cursor.description
                    rows = [tuple(row) for row in result]
            except SQLAlchemyError as error:
                said = str(getattr(error, "orig", None) or error).splitlines()[0]
                raise DataError(
                    f"party.postgres.tables.{name}: PostgreSQL refuses ({said}); mend the query or the access"
                ) from None
            tables[name] = _table(name, [(column[0], int(column[1])) for column in described], rows)
    finally:
        engine.dispose()
    return tables


def _table(name: str, described: Sequence[tuple[str, int]], rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    columns = {}
    for position, (column, kind) in enumerate(described):
        values = [row[position] for row in rows]
        columns[column] = pa.array(*_typed(name, column, kind, values))
    return pa.table(columns)


def _typed(name: str, column: str, kind: int, values: list[Any]) -> tuple[list[Any], pa.DataType]:
    """The values and the Arrow type that a PostgreSQL type becomes."""
    if kind in _INTEGERS:
        return values, pa.int64()
    if kind in _FLOATS:
        return [float(v) if isinstance(v, decimal.Decimal) else v for v in values], pa.float64()
    if kind in _TEXTS:
        return [None if v is None else str(v) for v in values], pa.string()
    if kind == _BOOLEAN:
        return values, pa.bool_()
    if kind == _DATE:
        return values, pa.date32()
    if kind == _TIMESTAMP:
        return values, pa.timestamp("us")
    if kind == _TIMESTAMP_ZONE:
        naive = [None if v is None else v.astimezone(datetime.UTC).replace(tzinfo=None) for v in values]
        return naive, pa.timestamp("us")
    raise DataError(
        f"party.postgres.tables.{name}: column {column!r} has a type that is not taken over; cast it to text, a "
        "number, a date or a timestamp"
    )
