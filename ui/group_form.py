"""The fields of a group in a new run's form, made from the schema of its terms. Nothing here draws.

A term that this page has no words for is a field all the same, with the words of the schema. Values are flat, by dotted
path in the group's table.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from parties.client import group_schema
from ui.form_fields import FEATURES, FIELDS, Field, Value, Values
from ui.form_values import drop_at, set_at, typed, value_at

__all__ = [
    "FREE", "GROUPS", "GROUP_FIELDS", "MORE", "can_group", "common_columns", "fault_at_group", "group_from",
    "group_label", "group_values", "new_group",
]  # fmt: skip

GROUPS = "groups"
"""Where the form's values carry each group: its table in the terms to begin with, and its own values."""

FREE = "columns of its members"
"""Where the values carry the names of the columns that all members have."""

_WORDS: Mapping[str, tuple[str, str]] = {
    "name": ("Name of the group", "As its members' nodes name it under [party.encoder]."),
    "members": ("Members", "Feature parties with the same columns, three or more; each with entities of its own."),
    "absent": ("An entity that a member lacks", "A drawn row is noise in the score of others' entities. Zeros add the "
               "members' columns up as one party's would be, and can tell which entities no member has."),
    "head": ("Weights in the model", "On the members' columns: each member its own, or one set for the group, which "
             "tells the label party and a member together more of the others."),
    "overlap": ("An entity that several serve", "It stands in the columns of each, or in those of the first that has "
                "it, in the order of the members."),
    "personal_head": ("Decoder stays at home", "What restores values is each member's own, and never sent: for members "
                      "whose data differ."),
    "trimmed": ("Left out at either end", "Members, weight by weight."),
    "batch_rows": ("Rows a batch", "Of one step at home."),
    "weight_decay": ("Weight decay", "Of the steps at home."),
    "most_rows": ("Rows that count, at most", "A member's weight in the average goes no further."),
    "fraction_bits": ("Fraction bits", "Of a number in the sum."),
    "seed": ("Seed of the group", "With the run's id it makes the first weights."),
    "encoder.kind": ("Encoder", "What reads a window of decision periods. Members' nodes refuse another shape than "
                     "their own."),
    "encoder.task": ("It learns to restore", "Without labels: hidden periods of a window, or the one after it."),
    "encoder.columns": ("Columns it reads", "None: all that every member has."),
    "encoder.window": ("Window, periods", "Decision periods it looks back over."),
    "encoder.outputs": ("Columns it makes", "enc_0, enc_1 and so on, of each member's own entities."),
    "encoder.hidden": ("Hidden units of the encoder", "An even number."),
    "encoder.fit_periods": ("Fitted on the first periods", "Of the calendar; it makes no codes for these."),
    "encoder.masked_share": ("Share of a window that is hidden", "Where it restores hidden periods."),
    "expand": ("Shared expansion", "Fixed functions of the members' columns, exp_0 and so on, that mean "
               "the same at each. Counts and moments over all members' rows open for it. Members' nodes refuse another "
               "shape than their own."),
    "expand.fourier": ("Random Fourier features", "Of all columns together. 0: none."),
    "expand.bins": ("Bins of a column", "Of equal counts, two or more. 0: none."),
    "expand.hinges": ("Signs and hinges", "Two columns of each column's score; nothing is fitted for them."),
    "expand.outputs": ("Columns it is reduced to", "Whitened, of the Fourier features and bins, which are more."),
    "expand.columns": ("Columns it is made of", "None: all that every member has."),
    "expand.fit_periods": ("Expansion's first periods", "Of the calendar; it is fitted on these, and empty there."),
    "expand.seed": ("Seed of the expansion", "With the run's id it draws the frequencies."),
}  # fmt: skip
_CHOICES: Mapping[str, Mapping[str, str]] = {
    "absent": {"drawn": "a row drawn from its others", "zeros": "zeros (sealed models alone)"},
    "head": {"own": "each member's own", "tied": "one set for the group"},
    "overlap": {"both": "in the columns of each", "precedence": "in those of the first member that has it"},
    "encoder.kind": {"lstm": "LSTM with attention", "transformer": "Transformer"},
    "encoder.task": {"masked": "hidden periods of a window", "next": "the period after a window"},
}
MORE = frozenset((
    "batch_rows", "learning_rate", "weight_decay", "proximal", "weights", "most_rows", "rule", "trimmed", "clip",
    "noise", "delta", "fraction_bits", "seed", "encoder.task", "encoder.columns", "encoder.masked_share",
    "expand.columns", "expand.seed",
))  # fmt: skip
"""What most groups leave as it is, and the page folds away."""

_LAST = (
    "encoder.kind", "encoder.outputs", "encoder.window", "encoder.hidden", "encoder.fit_periods",
    "expand", "expand.hinges", "expand.fourier", "expand.bins", "expand.outputs", "expand.fit_periods",
)  # fmt: skip
_FIRST = ("name", "members", "rounds", "local_epochs", "sampled", "threshold", "absent")
_OFFERED = {"model.kind": "federated", FEATURES: ()}
_FEDERATED = {one.path: one for one in FIELDS if one.path.startswith("model.") and one.when(_OFFERED)}
_OPTIONAL = "expand"
"""The table that a group may do without: a switch says whether it has it."""

_BEGINS: Mapping[str, Value] = {"expand.fourier": 32, "expand.outputs": 8}
"""Of an expansion that is switched on; by the schema's own values it would make nothing."""

_REFUSED = frozenset(("expand.trees", "expand.depth"))
"""No sum of members gives a random tree, so that a group never has any."""
_APPLIES: Mapping[str, Callable[[Values], bool]] = {
    "trimmed": lambda values: values.get("rule") == "trimmed",
    "delta": lambda values: bool(values.get("noise")),
}


def _fields() -> Iterator[Field]:
    schema = group_schema()
    found = {path: _field(path, told) for path, told in _leaves(schema, schema.get("$defs", {}))}
    order = [*_FIRST, *(path for path in found if path not in _FIRST and path not in _LAST), *_LAST]
    return (found[path] for path in order if path in found)


def _leaves(schema: Mapping[str, Any], shared: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Every term below a table of the schema that is no table itself, by its path; of a table that a group may do
    without, whether it has it as well.
    """
    for name, told in schema["properties"].items():
        path = f"{above}{name}"
        optional = next((one["$ref"] for one in told.get("anyOf", ()) if "$ref" in one), "")
        table = told.get("$ref", optional).rpartition("/")[2]
        if optional:
            yield path, {"type": "boolean", "default": False, "description": told.get("description", "")}
        if table:
            yield from _leaves(shared[table], shared, f"{path}.")
        elif path not in _REFUSED:
            yield path, told


def _field(path: str, told: Mapping[str, Any]) -> Field:
    known = _FEDERATED.get(f"model.{path}") if path not in _WORDS else None
    label, about = _WORDS.get(path) or (known.words(_OFFERED) if known else (_named(path), _sentence(told)))
    kind: Any = {"integer": "whole", "number": "number", "boolean": "switch", "array": "names"}.get(
        told["type"], "text"
    )
    choices: Any = None
    if "enum" in told:
        kind = "choice"
        titles = {**(known.offered(_OFFERED) if known else {}), **_CHOICES.get(path, {})}
        choices = {value: titles.get(value, str(value)) for value in told["enum"]}
    elif kind == "names":
        offered = FEATURES if path == "members" else FREE
        choices = partial(_names, offered)
    return Field(
        path, label, kind, "who", about, told.get("default", [] if kind == "names" else ""), choices,
        low=_bound(told, kind, "inimum"), high=_bound(told, kind, "aximum"),
        step=known.step if known else float(told.get("multipleOf") or _step(told.get("default"))),
        when=_APPLIES.get(path, _expands if path.startswith(f"{_OPTIONAL}.") else lambda _: True),
    )  # fmt: skip


def _expands(values: Values) -> bool:
    return bool(values.get(_OPTIONAL))


def _bound(told: Mapping[str, Any], kind: str, which: str) -> float | None:
    """The least or the largest that the input takes; where that is excluded, the terms say so in a sentence."""
    found = told.get(f"m{which}", told.get(f"exclusiveM{which}"))
    return float(found) if found is not None and kind == "number" else found


def _names(offered: str, values: Values) -> Mapping[str, str]:
    return {name: name for name in values.get(offered, ())}


def _named(path: str) -> str:
    words = path.rpartition(".")[2].replace("_", " ")
    return words[:1].upper() + words[1:]


def _sentence(told: Mapping[str, Any]) -> str:
    words = str(told.get("description", ""))
    return f"{words[:1].upper()}{words[1:]}." if words else ""


def _step(unset: Value) -> float:
    return 10.0 ** math.floor(math.log10(unset)) if isinstance(unset, float) and 0 < unset < 1 else 1.0


GROUP_FIELDS: tuple[Field, ...] = tuple(_fields())


def can_group(values: Values) -> bool:
    """Whether members of such a run can train an encoder together."""
    return values.get("model.kind") not in ("screen", "federated")


def group_values(table: Mapping[str, Any]) -> dict[str, Value]:
    """What the fields show for this ``[[group]]``."""
    begins = {} if table.get(_OPTIONAL) else _BEGINS
    return {
        field.path: typed(
            field, field.kind, value_at(table, field.path, None), begins.get(field.path, field.standing({}))
        )
        for field in GROUP_FIELDS
    }


def group_from(base: Mapping[str, Any], values: Values) -> dict[str, Any]:
    """The ``[[group]]`` that the form says, upon what ``base`` says of things that have no field."""
    table = copy.deepcopy(dict(base))
    for field in GROUP_FIELDS:
        if field.path == _OPTIONAL:
            if not values.get(_OPTIONAL):
                table.pop(_OPTIONAL, None)
        elif not field.when(values):
            drop_at(table, field.path)
        elif field.path in values:
            value = values[field.path]
            set_at(table, field.path, value.strip() if isinstance(value, str) else value)
    return table


def new_group(offers: Mapping[str, Sequence[str]], taken: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A group to begin with: most of the feature parties that offer the same columns, and are in no other."""
    inside = {name for table in taken for name in table.get("members", ())}
    alike: dict[tuple[str, ...], list[str]] = {}
    for name, columns in offers.items():
        if name not in inside:
            alike.setdefault(tuple(columns), []).append(name)
    named = {table.get("name") for table in taken}
    name = next(name for n in range(len(named) + 1) if (name := f"group-{n + 1}" if n else "group") not in named)
    return {"name": name, "members": max(alike.values(), key=len, default=[])}


def common_columns(columns: Sequence[Sequence[str]]) -> list[str]:
    """Columns that all members offer and none makes of others, in the first one's order."""
    first = columns[0] if columns else ()
    return [
        name
        for name in first
        if not re.fullmatch(r"(enc|exp|term)_\d+", name)
        and not (name.endswith("_missing") and name.removesuffix("_missing") in first)
        and all(name in others for others in columns)
    ]


def group_label(field: str) -> str:
    """What the form calls the input where this term of a group is, such as groups.threshold or group.0.noise."""
    path = re.sub(r"^groups?(\.\d+)?\.?", "", field)
    return next((one.label for one in GROUP_FIELDS if one.path == path), "Groups" if field.startswith("group") else "")


def fault_at_group(field: str, said: str, place: int, name: str, path: str = "") -> bool:
    """Whether a draft's fault is shown at the group at ``place`` of this name: at its input ``path``, or at its top.

    ``field`` names the group by its place, or its sentence ``said`` does by its name; else it is shown at every one.
    """
    found = re.fullmatch(r"groups?(?:\.(\d+))?(?:\.([a-z_.]+?))?(?:\.\d+)?", field)
    if found is None:
        return False
    named = re.match(r"group ([a-z0-9_-]+):", said)
    here = int(found[1]) == place if found[1] else not named or named[1] == name
    term = found[2] or next(iter(re.findall(r"\bgroup\.([a-z_]+(?:\.[a-z_]+)?)", said)), "")
    return here and (term if any(one.path == term for one in GROUP_FIELDS) else "") == path
