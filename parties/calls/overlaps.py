"""Calls about overlap estimates: what members proposed, who answered, and what came of it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Protocol

from pydantic import Field

from parties.calls.asking import Asking, Nothing, Question
from parties.calls.views import View
from parties.names import PartyName

__all__ = ["OverlapCalls", "OverlapLine", "OverlapQuestion", "OverlapView"]


class OverlapQuestion(Question):
    """An estimate that an admin puts before members: each answers at its own node, the first one too, which counts.

    largest_set: most entities of a member; every list is filled to it. days: how long it may be answered.
    """

    members: Annotated[tuple[PartyName, ...], Field(max_length=8)]
    epsilon: float = 1.0
    by: Literal["all", "year", "sector"] = "all"
    parts: Annotated[tuple[Annotated[str, Field(max_length=80)], ...], Field(max_length=24)] = ()
    largest_set: int = 4096
    purpose: Annotated[str, Field(max_length=2000)] = ""
    days: int = Field(default=7, ge=1, le=30)


class OverlapLine(View):
    """One number: of a part ("" for all), of what all of a group hold, and its standard deviation."""

    part: str
    group: tuple[str, ...]
    estimate: float
    deviation: float


class OverlapView(View):
    """One proposal. ``answers``: by member, what it said."""

    overlap_id: str
    members: tuple[str, ...]
    purpose: str
    epsilon: float
    status: Literal["waiting", "signed", "refused", "failed", "done", "expired"]
    proposed_at: datetime
    expires_at: datetime
    answers: dict[str, str]
    lines: tuple[OverlapLine, ...] = ()


class OverlapCalls(Asking, Protocol):
    """Calls about overlap estimates."""

    def overlaps(self) -> list[OverlapView]:
        """Every proposal that the caller may see, newest first."""
        return self.ask("overlaps/list", Nothing(), list[OverlapView])

    def propose_overlap(self, question: OverlapQuestion) -> list[OverlapView]:
        """Put an estimate before its members; every proposal, the new one first. Nothing moves before all have signed.

        Raises :class:`ConfigError` for one that cannot be.
        """
        return self.ask("overlaps/propose", question, list[OverlapView])
