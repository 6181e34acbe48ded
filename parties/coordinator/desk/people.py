"""Who is at the desk."""

from __future__ import annotations

from parties.calls.people import ViewerView
from parties.coordinator.desk.doors import Caller, Door, Doors

__all__ = ["doors"]


def doors() -> Doors:
    """The doors about people."""
    return {"viewer": Door(_viewer)}


def _viewer(_: object, caller: Caller) -> ViewerView:
    return ViewerView(name=caller.name, role=caller.role, party=caller.party)
