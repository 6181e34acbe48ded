"""What a person marks with a star, to find it again. Nobody else sees it."""

from __future__ import annotations

from typing import Annotated, Literal, Protocol

from pydantic import StringConstraints

from parties.calls.asking import Asking, Nothing, Question
from parties.calls.views import View

__all__ = ["FavouriteCalls", "FavouriteKind", "FavouriteQuestion", "FavouriteView"]

FavouriteKind = Literal["run", "factor", "search"]


class FavouriteView(View):
    """One favourite. ``what``: a run's id, for a factor that of the run that made it, or the words of a search."""

    kind: FavouriteKind
    what: str


class FavouriteQuestion(Question):
    """Keep it among the caller's favourites, or take it from there."""

    kind: FavouriteKind
    what: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    kept: bool


class FavouriteCalls(Asking, Protocol):
    """Calls about the caller's own favourites."""

    def favourites(self) -> list[FavouriteView]:
        """The caller's favourites, the latest first."""
        return self.ask("desk/favourites", Nothing(), list[FavouriteView])

    def favour(self, kind: FavouriteKind, what: str, *, kept: bool) -> None:
        """Keep a favourite, or take it away; raises :class:`ConfigError` for more than the coordinator keeps."""
        self.fetch("desk/favour", FavouriteQuestion(kind=kind, what=what, kept=kept))
