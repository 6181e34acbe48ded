"""Numbers of a CSV whose point marks thousands, which DuckDB reads as decimals: 1.500 as one and a half."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from parties.errors import DataError

__all__ = ["READ_AS_THOUSANDS", "maybe_thousands", "refuse_thousands"]

READ_AS_THOUSANDS = "thousands = '.', decimal_separator = ','"
_SETTLED = frozenset(("thousands", "decimal_separator", "all_varchar", "columns"))
_TYPES = frozenset(("types", "dtypes", "column_types"))
_FEWEST = 20
_GROUPED = r"^[+-]?[1-9]\d{0,2}\.\d{3}$"
_WHOLE = r"^[+-]?[1-9]\d{0,2}$"


def refuse_thousands(
    connection: duckdb.DuckDBPyConnection,
    where: str,
    read_by: tuple[str, Sequence[str]],
    options: Collection[str],
    columns: Sequence[dict[str, Any]],
) -> None:
    """Raise :class:`DataError` for a column in which every point can only mark thousands.

    Each number with a point has exactly three digits after it and none begins with 0; one ends in 0, which no program
    that drops zeros would write; and a whole number below 1,000 has no point, which one of fixed decimals would have.
    A type that the query gives says nothing of the mark. read_by: the file, and the options it is read with.
    """
    names = [str(column["name"]) for column in columns if column["type"] == "DOUBLE"]
    if not names or _SETTLED & set(options):
        return
    path, written = read_by
    kept = (one for one in written if one.partition("=")[0].strip().lower() not in _TYPES)
    arguments = ", ".join(("'" + path.replace("'", "''") + "'", *kept))
    told = ", ".join(_told(name) for name in names)
    try:
        (found,) = connection.execute(f"SELECT {told} FROM read_csv({arguments}, all_varchar = true)").fetchall()  # noqa: S608 the operator's own file
    except duckdb.Error:
        return  # other options of the query forbid it
    told_of = (found[place::4] for place in range(4))
    for name, grouped, zero, whole, example in zip(names, *told_of, strict=True):
        if grouped and zero and whole:
            raise DataError(
                f"{where}: column {name}: {example} and every other number with a point has three digits after it, so "
                f"the point marks thousands, and would be read as decimals: read_csv(..., {READ_AS_THOUSANDS}); where "
                "it does mark decimals, read_csv(..., decimal_separator = '.')"
            )


def _told(name: str) -> str:
    """Of a column read as text: all with a point are grouped, one ends in 0, one is whole and small; an example."""
    quoted = '"' + name.replace('"', '""') + '"'
    text = f"trim({quoted})"
    pointed = f"contains({text}, '.')"
    return (
        f"bool_and(regexp_matches({text}, '{_GROUPED}')) FILTER ({pointed}), "
        f"bool_or({pointed} AND ends_with({text}, '0')), bool_or(regexp_matches({text}, '{_WHOLE}')), "
        f"min({text}) FILTER ({pointed})"
    )


def maybe_thousands(values: NDArray[np.float64]) -> bool:
    """Whether numbers look as thousands do that were read as decimals: all from 1 to 999, most with three decimals."""
    known = np.abs(values[np.isfinite(values) & (values != 0)])
    if len(known) < _FEWEST or known.min() < 1 or known.max() >= 1000:
        return False
    thousandths = known * 1000
    if np.abs(thousandths - np.rint(thousandths)).max() > 1e-6:
        return False
    broken = known[known != np.rint(known)]
    return len(broken) >= _FEWEST and bool(np.mean(np.rint(broken * 1000) % 10 != 0) > 0.8)
