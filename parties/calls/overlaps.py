"""Calls about overlap estimates: what members proposed, who answered, and what came of it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, Protocol

from parties.calls.asking import Asking, Nothing
from parties.calls.views import View

__all__ = ["OverlapCalls", "OverlapLine", "OverlapView"]


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
