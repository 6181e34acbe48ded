"""What every row of a query's result is held against before anything is computed: one schema, one sentence a fault."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from pandera import errors as schema_errors
from pandera import pandas as schemas

from parties.errors import DataError
from parties.files.numbers import LARGEST
from parties.settings.consortium import ColumnRules

__all__ = ["check_frame", "row_name"]

_EARLIEST, _LATEST = pd.Timestamp("1900-01-01"), pd.Timestamp("2200-01-01")

_FAULTS = {
    "not_nullable": "is empty; fill it or filter the row out",
    "blank": "is blank; fill it or filter the row out",
    "finite": "is infinite; mend the division or logarithm that made it, or use NULLIF",
    "huge": "is too large to compute with; mend it, or use NULLIF",
    "in range": "lies outside 1900 to 2199; mend the date",
}


def check_frame(
    frame: pd.DataFrame, source: str, kinds: Mapping[str, str], rules: Mapping[str, ColumnRules] = MappingProxyType({})
) -> None:
    """Hold the frame against its schema; the first fault is one :class:`DataError`.

    kinds: per optional column, "feature" (NaN allowed, inf refused), "known" (a time, never null), "stated" (a number,
    never null) or "text" (never blank). A frame of static data has no period.
    """
    in_range = schemas.Check(lambda s: s.isna() | s.between(_EARLIEST, _LATEST), name="in range")
    text = schemas.Column(object, schemas.Check(lambda s: s.str.strip() != "", name="blank"))
    columns: dict[str, Any] = {"entity": text}
    for name in frame.columns:
        if name in columns:
            continue
        kind = kinds.get(name, "unknown")
        if name == "period":
            columns[name] = schemas.Column("datetime64[us]", in_range)
        elif kind == "text":
            columns[name] = text
        elif kind in {"feature", "stated"}:
            rule = rules.get(name, ColumnRules())
            optional = kind == "feature" and not rule.required
            columns[name] = schemas.Column("float64", _numeric_checks(rule), nullable=optional)
        else:
            columns[name] = schemas.Column("datetime64[us]", in_range, nullable=kind == "unknown")
    try:
        schemas.DataFrameSchema(columns).validate(frame, lazy=True)
    except schema_errors.SchemaErrors as error:
        fault = error.failure_cases.iloc[0]
        row = row_name(frame, int(fault["index"]), show_entity=fault["column"] != "entity")
        what = _FAULTS.get(str(fault["check"]), f"{fault['check']}; mend the data, or the column's schema in node.toml")
        declared = str(fault["column"]) if fault["column"] in rules else ""
        raise DataError(f"{source}: {row}: column {fault['column']!r} {what}", declared) from None


def _numeric_checks(rule: ColumnRules) -> list[Any]:
    """Finite, and within the declared range."""
    unit = f" {rule.unit}" if rule.unit else ""
    checks = [
        schemas.Check(lambda s: ~np.isinf(s), name="finite"),
        schemas.Check(lambda s: ~(s.abs() > LARGEST), name="huge"),
    ]
    if rule.minimum is not None:
        low = rule.minimum
        checks.append(schemas.Check(lambda s: s >= low, name=f"is below its declared minimum {low:g}{unit}"))
    if rule.maximum is not None:
        high = rule.maximum
        checks.append(schemas.Check(lambda s: s <= high, name=f"is above its declared maximum {high:g}{unit}"))
    return checks


def row_name(frame: pd.DataFrame, index: int, *, show_entity: bool = True) -> str:
    """How a row is named to its owner: its place in the result, its entity and, where it has one, its period."""
    entity = frame["entity"].iloc[index]
    if "period" not in frame:
        return f"row {index + 1} (entity {entity!r})" if show_entity else f"row {index + 1}"
    period = frame["period"].iloc[index]
    if not show_entity or pd.isna(period):
        return f"row {index + 1}"
    return f"row {index + 1} (entity {entity!r}, period {str(period)[:10]})"
