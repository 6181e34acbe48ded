"""How the coordinator is: its machine, its certificates' ends, its settings, and what people prefer on the page."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, RootModel
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from parties import __version__
from parties.audit.log import AuditLog
from parties.calls.state import HouseView, PreferenceQuestion, SettingView
from parties.coordinator.desk.doors import AUDITORS, Caller, Door, Doors
from parties.coordinator.desk.sessions import Sessions
from parties.coordinator.settings import CoordinatorSettings
from parties.members.roster import Roster, expiry_warnings

__all__ = ["doors"]

_LEAST_FREE = 0.05
_LEAST_BYTES = 2 << 30


class _Preferences(RootModel[dict[str, str]]):
    """What somebody prefers, by key."""


class _State:
    def __init__(
        self, home: Path, settings: CoordinatorSettings, roster: Roster, audit: AuditLog, started: datetime
    ) -> None:
        self._home = home
        self._settings = settings
        self._roster = roster
        self._audit = audit
        self._started = started

    def house(self, now: datetime) -> HouseView:
        disk = shutil.disk_usage(self._home)
        warnings = expiry_warnings(self._roster, now)
        if disk.free < min(_LEAST_BYTES, _LEAST_FREE * disk.total):
            warnings += (f"the coordinator's disk has {disk.free / 1e9:.1f} GB left: make room before it is full",)
        postgres = self._settings.database.startswith("postgresql")
        return HouseView(
            name=self._settings.name,
            version=__version__,
            started_at=self._started,
            database="PostgreSQL" if postgres else "SQLite",
            disk_free=disk.free,
            disk_total=disk.total,
            log_entries=len(self._audit),
            warnings=warnings,
        )

    def settings(self, *_: object) -> list[SettingView]:
        return list(_flat("", self._settings))


def doors(
    home: Path, settings: CoordinatorSettings, roster: Roster, audit: AuditLog, sessions: Sessions, started: datetime
) -> Doors:
    """The doors about the coordinator itself. ``started``: when it began to serve."""
    state = _State(home, settings, roster, audit, started)

    def preferences(_: object, caller: Caller) -> _Preferences:
        return _Preferences(sessions.preferences(_who(caller)))

    def prefer(said: PreferenceQuestion, caller: Caller) -> None:
        sessions.prefer(_who(caller), said.key, said.value)

    return {
        "desk/house": Door(lambda *_: state.house(sessions.now())),
        "desk/settings": Door(state.settings, roles=AUDITORS),
        "desk/preferences": Door(preferences),
        "desk/prefer": Door(prefer, shape=PreferenceQuestion),
    }


def _who(caller: Caller) -> str:
    return caller.signature


def _flat(table: str, settings: BaseModel) -> Iterator[SettingView]:
    """Every setting of a model and of the models in it, with its default and meaning."""
    for key, info in type(settings).model_fields.items():
        value = getattr(settings, key)
        if isinstance(value, BaseModel):
            yield from _flat(f"{table}.{key}".lstrip("."), value)
            continue
        default = "" if info.is_required() else _shown(key, info.get_default(call_default_factory=True))
        yield SettingView(
            table=table,
            key=key,
            value=_shown(key, value),
            default=default,
            meaning=info.description or "",
            given=key in settings.model_fields_set,
        )


def _shown(key: str, value: object) -> str:
    """A value as text; a database's password is not shown."""
    if key in ("database", "ledger") and value:
        try:
            return make_url(str(value)).render_as_string(hide_password=True)
        except ArgumentError:
            return "***"
    if isinstance(value, str):
        return value
    if isinstance(value, tuple):
        value = [item.model_dump(mode="json") if isinstance(item, BaseModel) else item for item in value]
    return json.dumps(value)
