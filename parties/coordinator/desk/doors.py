"""Doors of the desk: a name, what may be said through it, who may pass, and the answer. Pure.

Arguments are validated against the door's shape before anything happens, and the role is checked before that. A door
that *acts* changes something, so its passing is logged with the caller's name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ValidationError

from parties.calls.asking import Nothing, Role
from parties.errors import AgreementError, ConfigError

__all__ = ["ADMINS", "AUDITORS", "EVERYONE", "Answer", "Caller", "Door", "Doors", "Recorder", "admit", "pass_through"]

Answer = BaseModel | Sequence[BaseModel] | bytes | None

EVERYONE: frozenset[Role] = frozenset(("admin", "operator", "auditor", "reader"))
AUDITORS: frozenset[Role] = frozenset(("admin", "auditor"))
ADMINS: frozenset[Role] = frozenset(("admin",))


@dataclass(frozen=True)
class Caller:
    """Who asks: a signed-in person, or the admin's own certificate (``session`` 0).

    ``party`` is whom an operator works for.
    """

    name: str
    role: Role
    party: str = ""
    session: int = 0
    way: str = ""
    expires: datetime | None = None

    @property
    def signature(self) -> str:
        """How events name the caller: a person's role is said with it, so that nobody passes for a member."""
        if not self.session:
            return self.name
        return f"{self.name} ({self.role} of {self.party})" if self.party else f"{self.name} ({self.role})"


@dataclass(frozen=True)
class Door:
    """``answer(arguments, caller)`` gets an instance of ``shape``. ``acts`` is true where something changes."""

    answer: Callable[[Any, Caller], Answer]
    roles: frozenset[Role] = EVERYONE
    shape: type[BaseModel] = Nothing
    acts: bool = False


Doors = Mapping[str, Door]

Recorder = Callable[[Caller, str, str], AbstractContextManager[None]]


def pass_through(doors: Doors, what: str, arguments: Any, caller: Caller, record: Recorder | None = None) -> bytes:
    """The answer as bytes: JSON, or a file as it is.

    ``record(caller, what, about)`` is entered while a door that acts is passed, and before anybody is refused there.
    Raises :class:`ConfigError` for a door that does not exist or arguments that do not fit, and
    :class:`AgreementError` where the role is not admitted.
    """
    door = doors.get(what)
    if door is None:
        raise ConfigError("there is no such door: use one version on both sides")
    if not door.acts or record is None:
        return _passed(door, arguments, caller)
    with record(caller, what, json.dumps(arguments)):
        return _passed(door, arguments, caller)


def admit(caller: Caller, roles: frozenset[Role]) -> None:
    """Raise :class:`AgreementError` where the caller's role is none of these."""
    if caller.role not in roles:
        admitted = " or ".join(sorted(roles))
        raise AgreementError(f"{caller.name} is signed in as {caller.role}, and this takes {admitted}")


def _passed(door: Door, arguments: Any, caller: Caller) -> bytes:
    admit(caller, door.roles)
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
