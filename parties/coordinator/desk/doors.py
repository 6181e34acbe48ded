"""Doors of the desk: a name, what may be said through it, who may pass, and the answer. Pure.

Arguments are validated against the door's shape before anything happens, and the role is checked before that. A door
that *acts* changes something, so its passing is logged with the caller's name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from parties.calls.asking import Nothing, Role
from parties.errors import AgreementError, ConfigError

__all__ = ["ADMINS", "EVERYONE", "Answer", "Caller", "Door", "Doors", "pass_through"]

Answer = BaseModel | Sequence[BaseModel] | bytes | None

EVERYONE: frozenset[Role] = frozenset(("admin", "operator", "auditor", "reader"))
ADMINS: frozenset[Role] = frozenset(("admin",))


@dataclass(frozen=True)
class Caller:
    """Who asks: a signed-in person, or the admin's own certificate. ``party`` is whom an operator works for."""

    name: str
    role: Role
    party: str = ""


@dataclass(frozen=True)
class Door:
    """``answer(arguments, caller)`` gets an instance of ``shape``. ``acts`` is true where something changes."""

    answer: Callable[[Any, Caller], Answer]
    roles: frozenset[Role] = EVERYONE
    shape: type[BaseModel] = Nothing
    acts: bool = False


Doors = Mapping[str, Door]


def pass_through(doors: Doors, what: str, arguments: Any, caller: Caller) -> bytes:
    """The answer as bytes: JSON, or a file as it is.

    Raises :class:`ConfigError` for a door that does not exist or arguments that do not fit, and
    :class:`AgreementError` where the role is not admitted.
    """
    door = doors.get(what)
    if door is None:
        raise ConfigError("there is no such door: use one version on both sides")
    if caller.role not in door.roles:
        admitted = " or ".join(sorted(door.roles))
        raise AgreementError(f"{caller.name} is signed in as {caller.role}, and this takes {admitted}")
    try:
        said = door.shape.model_validate(arguments)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the request"
        raise ConfigError(f"{where}: {first['msg']}") from None
    found = door.answer(said, caller)
    if isinstance(found, bytes):
        return found
    if found is None:
        return b"null"
    if isinstance(found, BaseModel):
        return found.model_dump_json().encode()
    return json.dumps([item.model_dump(mode="json") for item in found]).encode()
