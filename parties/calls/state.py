"""How the coordinator itself is, and what each person prefers on the page."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Protocol

from pydantic import StringConstraints

from parties.calls.asking import Asking, Nothing, Question
from parties.calls.views import View

__all__ = ["HouseView", "Preference", "PreferenceQuestion", "SettingView", "StateCalls"]

Preference = Literal["zone", "tour", "theme", "thousands", "shortcuts"]


class HouseView(View):
    """The coordinator and its machine. ``warnings`` are sentences; ``disk_*`` are bytes where its home is."""

    name: str
    version: str
    started_at: datetime
    database: Literal["SQLite", "PostgreSQL"]
    disk_free: int
    disk_total: int
    log_entries: int
    warnings: tuple[str, ...] = ()


class SettingView(View):
    """One setting as it is in force. ``given``: it is written down, and not the default."""

    table: str
    key: str
    value: str
    default: str
    meaning: str
    given: bool


class PreferenceQuestion(Question):
    """What the caller prefers from now on; empty: the page's own default."""

    key: Preference
    value: Annotated[str, StringConstraints(max_length=80)]


class StateCalls(Asking, Protocol):
    """Calls about the coordinator, and the page's preferences."""

    def house(self) -> HouseView:
        """How the coordinator is."""
        return self.ask("desk/house", Nothing(), HouseView)

    def settings(self) -> list[SettingView]:
        """Every setting of the coordinator; admins and auditors only."""
        return self.ask("desk/settings", Nothing(), list[SettingView])

    def preferences(self) -> dict[Preference, str]:
        """What the caller prefers."""
        return self.ask("desk/preferences", Nothing(), dict[Preference, str])

    def prefer(self, key: Preference, value: str) -> None:
        """Remember a preference of the caller."""
        self.fetch("desk/prefer", PreferenceQuestion(key=key, value=value))
