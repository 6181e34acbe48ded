"""Values of a form's fields: what their inputs take, and where they stand in nested tables. Nothing here draws."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ui.form_averages import choice_of
from ui.form_fields import Field, Value

__all__ = ["drop_at", "set_at", "typed", "value_at"]


def typed(field: Field, shape: str, said: Value, unset: Value) -> Value:
    """As the field's input takes it, which is of this ``shape``; what it cannot take becomes the field's own."""
    value = unset if said is None else said
    if field.path == "model.weights" and not isinstance(said, str):
        return choice_of(said) if unset == "" else unset
    if shape == "whole":
        return value if isinstance(value, int) else unset
    if shape in ("number", "rate"):
        number = float(value) if isinstance(value, int | float) else float(unset)
        return str(number) if shape == "rate" else number
    if shape == "switch":
        return bool(value)
    if shape == "names":
        return [str(name) for name in value] if isinstance(value, list | tuple) else []
    return str(value) if shape in ("text", "choice") else value


def value_at(terms: Mapping[str, Any], path: str, unset: Value) -> Value:
    found: Any = terms
    for part in path.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return unset
        found = found[part]
    return found


def set_at(terms: dict[str, Any], path: str, value: Value) -> None:
    *tables, last = path.split(".")
    for part in tables:
        terms = terms.setdefault(part, {})
    terms[last] = value


def drop_at(terms: dict[str, Any], path: str) -> None:
    *tables, last = path.split(".")
    found: Any = terms
    for part in tables:
        found = found.get(part) if isinstance(found, dict) else None
    if isinstance(found, dict):
        found.pop(last, None)
