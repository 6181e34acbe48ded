"""Handing out sign-in tokens beside a running coordinator: whoever can write its home may."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

from parties.calls.asking import Role
from parties.coordinator.desk.sessions import Person, Sessions
from parties.coordinator.settings import load_coordinator_settings
from parties.errors import ConfigError
from parties.members.roster import Roster
from parties.names import NO_PARTIES

__all__ = ["grant_token"]


def grant_token(home: Path, *, name: str, role: Role, party: str, valid: timedelta) -> str:
    """A token of one use for a person. Raises :class:`ConfigError` for a home, person or party that cannot be."""
    roster = Roster.load(home / "roster.json")
    person = Person(name, role, party)
    if party and (party not in roster or party in NO_PARTIES):
        raise ConfigError(f"{party!r} is no party of this consortium: name one of its roster with --party")
    settings = load_coordinator_settings(home)
    url = settings.database_at(home)
    hour = timedelta(hours=1)
    with contextlib.closing(Sessions(url, lambda: datetime.now(UTC), idle=hour, longest=hour)) as sessions:
        return sessions.grant(person, valid)
