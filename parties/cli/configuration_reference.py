"""The configuration reference, made from the settings themselves.

python -m parties.cli.configuration_reference > docs/configuration.md
"""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from parties.coordinator.settings import CoordinatorSettings
from parties.node.settings import NodeSettings
from parties.settings.consortium import ConsortiumSettings

__all__ = ["reference"]

_FILES: tuple[tuple[str, type[BaseModel], str], ...] = (
    ("node.toml", NodeSettings, "What one party's operator writes about its own node."),
    (
        "coordinator.toml",
        CoordinatorSettings,
        "In the coordinator's home; every key has a default.",
    ),
    (
        "consortium.toml",
        ConsortiumSettings,
        "A run's terms, and who brings what.",
    ),
)
_ENVIRONMENT = (
    ("ENTENTE_KEY_FILE", "file with the passphrase of this node's keys; as --key-file"),
    ("ENTENTE_LOG_FORMAT", "`json` logs one object per line; as --log-json"),
    ("ENTENTE_CREDENTIALS", "the admin's folder; as --credentials"),
    ("ENTENTE_DESK", "the web page's folder; as --credentials of entente ui"),
    ("ENTENTE_COORDINATOR", "host:port of the coordinator; as --coordinator"),
)


def reference() -> str:
    """The whole page, Markdown."""
    lines = [
        "# Configuration",
        "",
        "Made from the settings models by `python -m parties.cli.configuration_reference`; a test compares the two.",
        "Unknown keys are refused. Paths are relative to the file's folder. Keys without a default must be given.",
    ]
    for file, model, purpose in _FILES:
        lines += ["", f"## {file}", "", purpose]
        for table, kind in _tables(model):
            lines += _section(table, kind)
    lines += ["", "## Environment", "", "| variable | meaning |", "|---|---|"]
    lines += [f"| `{name}` | {meaning} |" for name, meaning in _ENVIRONMENT]
    return "\n".join(lines) + "\n"


def _tables(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """The model and every table below it, with its heading."""
    yield prefix, model
    for name, info in model.model_fields.items():
        key = _key(name, info)
        for kind, several, keyed in _models(info.annotation):
            inner = f"{prefix.strip('[]')}.{key}" if prefix else key
            inner += ".NAME" if keyed else ""
            yield from _tables(kind, f"[{inner}]" if several and not prefix else inner)


def _models(
    annotation: Any, several: bool = False, keyed: bool = False
) -> Iterator[tuple[type[BaseModel], bool, bool]]:
    """Settings models inside a type."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, several, keyed
    elif origin is dict:
        yield from _models(arguments[1], several, True)
    elif origin is tuple:
        yield from _models(arguments[0], True, keyed)
    elif origin in (typing.Union, types.UnionType, typing.Annotated):
        for argument in arguments:
            yield from _models(argument, several, keyed)


def _section(table: str, model: type[BaseModel]) -> list[str]:
    plain = [(name, info) for name, info in model.model_fields.items() if not list(_models(info.annotation))]
    lines = ["", f"### `[{table}]`"] if table else []
    if table and model.__doc__:
        lines += ["", " ".join(model.__doc__.split()).replace("|", "\\|")]
    if not plain:
        return lines
    lines += ["", "| key | type | default | meaning |", "|---|---|---|---|"]
    for name, info in plain:
        meaning = (info.description or "").replace("|", "\\|")
        lines.append(f"| `{_key(name, info)}` | {_type(info)} | {_default(info)} | {meaning} |")
    return lines


def _key(name: str, info: FieldInfo) -> str:
    choices = getattr(info.validation_alias, "choices", None)
    return str(choices[0]) if choices else name


def _type(info: FieldInfo) -> str:
    bounds = []
    for rule in info.metadata:
        for attribute, sign in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<")):
            value = getattr(rule, attribute, None)
            if value is not None:
                bounds.append(f"{sign} {value}")
    return ", ".join([_named(info.annotation), *bounds])


def _named(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin is tuple:
        return f"list of {_named(arguments[0])}"
    if origin is dict:
        return f"table of {_named(arguments[1])}"
    if origin is typing.Annotated:
        return _named(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_named(argument) for argument in arguments if argument is not type(None))
    names = {"str": "text", "int": "integer", "float": "number", "bool": "true or false"}
    found = str(getattr(annotation, "__name__", annotation))
    return names.get(found, found)


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "**required**"
    value = info.get_default(call_default_factory=True)
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(str(getattr(item, 'value', item)) for item in value)}]`" if value else "`[]`"
    return f"`{value}`"


if __name__ == "__main__":
    sys.stdout.write(reference())
