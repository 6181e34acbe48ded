"""The form of a new run: its fields, and the way between them and terms. Nothing here draws.

Terms are nested tables as in a consortium.toml; the form's values are flat, by dotted path. What the form has no field
for is carried through as the template had it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from ui.form_averages import set_averages
from ui.form_fields import FEATURES, FIELDS, SECTIONS, Field, Value, Values
from ui.form_values import drop_at, set_at, typed, value_at
from ui.group_form import GROUPS, can_group, group_from, group_label

__all__ = [
    "FEATURES",
    "FIELDS",
    "PRESETS",
    "SECTIONS",
    "Field",
    "Value",
    "fault_at",
    "label_at",
    "on_kind_change",
    "out_of_choice",
    "preset",
    "section_of",
    "terms_from",
    "values_of",
]

PRESETS: Mapping[str, str] = {
    "quick": "Quick look",
    "standard": "Standard",
    "strict": "Strict",
}
_FOREIGN: Mapping[str, tuple[str, ...]] = {
    "screen": ("group", "readers", "fees", "reward.settlement", "reward.licence", "walk_forward.horizons"),
    "federated": ("group", "readers", "fees", "walk_forward.horizons", "label.residual"),
}
_A_YEAR = {"D": 252, "B": 252, "W-FRI": 52, "M": 12, "Q": 4}


def preset(name: str, frequency: str) -> dict[str, int]:
    """Values of the walk-forward fields: how long to wait before the first prediction, and what to hold out."""
    year = _A_YEAR.get(frequency, 52)
    warmup, embargo = {"quick": (year // 12, 0), "standard": (year // 4, 0), "strict": (year, max(1, year // 26))}[name]
    return {"walk_forward.warmup": max(4, warmup), "walk_forward.embargo": embargo}


def values_of(terms: Mapping[str, Any]) -> dict[str, Value]:
    """What the fields show for these terms; money in whole units."""
    kind = {"model.kind": value_at(terms, "model.kind", "split")}
    values = {
        field.path: typed(field, field.shape(kind), value_at(terms, field.path, None), field.standing(kind))
        for field in FIELDS
    }
    for field in FIELDS:
        if field.kind == "date":
            values[field.path] = _day(values[field.path])
    values["reward.pot"] = float(Decimal(_whole(values["reward.pot"])).scaleb(-_whole(values["reward.scale"])))
    return values


def on_kind_change(values: Values) -> dict[str, Value]:
    """Values of the fields whose usual value is another for another kind of model."""
    return {field.path: field.standing(values) for field in FIELDS if callable(field.unset)}


def out_of_choice(values: Values) -> dict[str, Value]:
    """Choices that the other values no longer offer, each with the first that they do."""
    return {
        field.path: next(iter(field.offered(values)))
        for field in FIELDS
        if callable(field.choices) and values.get(field.path) not in field.offered(values)
    }


def terms_from(base: Mapping[str, Any], values: Values) -> dict[str, Any]:
    """The terms that the form says, upon what ``base`` says of things that have no field."""
    terms = copy.deepcopy(dict(base))
    if values.get("model.kind") != terms.get("model", {}).get("kind", "split"):
        terms["model"] = {}  # terms of the other kind would be refused
        for name in ("parameter_set", "search", "daily"):
            terms.pop(name, None)
    for field in FIELDS:
        if field.path == "model.weights" and values.get("model.kind") == "ensemble":
            set_averages(terms, str(values.get(field.path, "")))
        elif field.path in values and field.when(values):
            set_at(terms, field.path, _said(field, values))
        elif not field.when(values):
            drop_at(terms, field.path)
    if not terms.get("daily", {}).get("scores"):
        terms.pop("daily", None)  # no later period is scored, so nothing is kept
    if GROUPS in values and can_group(values):
        terms["group"] = [group_from(base, group) for base, group in values[GROUPS]]
    if not terms.get("group"):
        terms.pop("group", None)
    _drop_foreign(terms, str(values.get("model.kind")))
    return _undated(terms, base) if terms.get("static") else terms


def _drop_foreign(terms: dict[str, Any], kind: str) -> None:
    """What a kind of model has not, and the form has no field for."""
    if kind in _FOREIGN:
        terms["recipients"] = []  # nobody takes a factor: there is none, or each member keeps its own
    for path in _FOREIGN.get(kind, ()):
        drop_at(terms, path)


def _undated(terms: dict[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """Terms of data without a calendar: what the fields say of periods is as ``base`` has it."""
    for name in ("calendar", "daily"):
        terms.pop(name, None)
    told = terms.get("evaluation", {}).get("metrics_to_coordinator", True)
    terms["walk_forward"] = dict(base.get("walk_forward", {}))
    terms["evaluation"] = dict(base.get("evaluation", {})) | {"metrics_to_coordinator": told}
    return {name: value for name, value in terms.items() if value != {}}


def _said(field: Field, values: Values) -> Value:
    value = values[field.path]
    if field.kind == "date":
        return value.isoformat() if isinstance(value, date) else value
    if field.kind == "rate":
        return float(value)
    if field.kind == "money":
        # the number as it was typed, so that no binary fraction moves a minor unit
        return int(Decimal(str(value or 0)).scaleb(_whole(values.get("reward.scale", 2))).to_integral_value())
    return value.strip() if isinstance(value, str) else value


def fault_at(field: str, path: str) -> bool:
    """Whether a draft's fault at ``field`` is shown at the input ``path``: its own, or the first of its table."""
    if field == path:
        return True
    first = next((one.path for one in FIELDS if one.path.startswith(f"{field}.")), None)
    return bool(field) and first == path


def label_at(field: str) -> str:
    """What the form calls the input where this term is, or ""."""
    if field.startswith("group"):
        return group_label(field)
    return next((one.label for one in FIELDS if fault_at(field, one.path)), "")


def section_of(field: str) -> str:
    """The section where the fault at ``field`` can be mended, or ""."""
    if field in ("parties", "party", "recipients", "label", "coalition", "fees") or field.startswith("group"):
        return "who"
    return next((one.section for one in FIELDS if fault_at(field, one.path)), "")


def _day(value: Value) -> date | None:
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        return None


def _whole(value: Value) -> int:
    return value if isinstance(value, int) else 0
