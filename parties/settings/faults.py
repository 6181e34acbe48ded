"""What a settings file got wrong, in words for the person who wrote it rather than in the validator's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

__all__ = ["first_fault", "first_said", "reason"]

_KINDS = {
    "int_": "be a whole number",
    "float_": "be a number",
    "bool_": "be true or false",
    "string_type": "be text, in quotes",
    "date_": "be a day, such as 2024-01-05",
}


def first_fault(error: ValidationError, record: object) -> str:
    """The first fault as ``where: what``, with the place as it stands in ``record``, which was validated."""
    first = _first(error)
    where = _place(first["loc"], record) or "the file"
    return f"{where}: {_said(first)}"


def first_said(error: ValidationError) -> tuple[tuple[int | str, ...], str]:
    """Where validation found the first fault, variants' names included, and what it is."""
    first = _first(error)
    return tuple(first["loc"]), _said(first)


def reason(error: ValidationError) -> str:
    """The first fault alone, where its place would say nothing."""
    return _said(_first(error))


def _first(error: ValidationError) -> Mapping[str, Any]:
    """A key that is missing may stand there misspelt: then the one that nobody knows comes before it."""
    faults = error.errors()
    if faults[0]["type"] != "missing":
        return faults[0]
    table = faults[0]["loc"][:-1]
    misspelt = (one for one in faults if one["type"] == "extra_forbidden" and one["loc"][:-1] == table)
    return next(misspelt, faults[0])


def _said(fault: Mapping[str, Any]) -> str:
    if fault["type"] == "extra_forbidden":
        return "no such key: correct its name or take it out (docs/configuration.md lists every key)"
    if fault["type"] == "union_tag_invalid":  # of the kinds of model, and of nothing else
        return f"kind is {fault['ctx']['tag']!r}, which is none of {fault['ctx']['expected_tags'].replace(chr(39), '')}"
    text = str(fault["msg"]).removeprefix("Value error, ")
    if not text.startswith("Input should "):
        return text
    kind = next((said for begin, said in _KINDS.items() if fault["type"].startswith(begin)), "")
    must = kind or text.removeprefix("Input should ").split(", ")[0]
    given = fault.get("input")
    return f"must {must}" + (f", and is {given!r}" if isinstance(given, str | int | float) else "")


def _place(location: Sequence[int | str], record: object) -> str:
    """The keys that the file has, without the names of variants (a model's kind) that validation puts between."""
    parts = []
    for place, part in enumerate(location, start=1):
        try:
            record = record[part]  # type: ignore[index]  # what has no such part is caught
        except (TypeError, LookupError):
            if place < len(location):
                continue
        parts.append(str(part))
    return ".".join(parts)
