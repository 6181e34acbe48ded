"""Favourites at the desk: each person's own. No log and no other person hears of them."""

from __future__ import annotations

from parties.calls.favourites import FavouriteQuestion, FavouriteView
from parties.coordinator.desk.doors import Caller, Door, Doors
from parties.coordinator.desk.sessions import Sessions

__all__ = ["doors"]


def doors(sessions: Sessions) -> Doors:
    """The doors about the caller's favourites."""

    def favourites(_: object, caller: Caller) -> list[FavouriteView]:
        return [FavouriteView(kind=kind, what=what) for kind, what in sessions.favourites(caller.signature)]

    def favour(said: FavouriteQuestion, caller: Caller) -> None:
        sessions.favour(caller.signature, said.kind, said.what, kept=said.kept)

    return {"desk/favourites": Door(favourites), "desk/favour": Door(favour, shape=FavouriteQuestion)}
