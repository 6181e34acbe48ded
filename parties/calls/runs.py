"""Runs: pages of the list, what may be proposed and what it would mean, and stopping a run."""

from __future__ import annotations

from typing import Annotated, Literal, Protocol

from pydantic import AwareDatetime, Field, StringConstraints

from parties.calls.asking import Asking, Question
from parties.calls.views import RunSummary, View

__all__ = ["RunCalls", "RunGroup", "RunOrder", "RunPage", "RunsQuestion"]

RunGroup = Literal["waiting", "running", "paused", "settled", "aborted"]
RunOrder = Literal["proposed", "ended", "took", "status", "purpose", "ic", "uplift", "common"]

Text = Annotated[str, StringConstraints(max_length=200)]

MOST_ROWS = 200


class RunsQuestion(Question):
    """Which runs, in which order, and which page of them.

    ``groups`` empty: all. ``text`` is looked for in purpose, consortium, parties and run id, whatever its case;
    several words must all be there. ``since`` and ``until`` bound the proposal's time, ``until`` left out.
    ``favourites``: the caller's own alone.
    """

    groups: tuple[RunGroup, ...] = ()
    party: Text = ""
    favourites: bool = False
    text: Text = ""
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    order: RunOrder = "proposed"
    descending: bool = True
    limit: int = Field(default=25, ge=1, le=MOST_ROWS)
    offset: int = Field(default=0, ge=0)


class RunPage(View):
    """One page of runs. ``total`` counts what was asked for; ``counts`` (by group) and ``best_ic`` are of all runs that
    concern the caller.
    """

    runs: tuple[RunSummary, ...] = ()
    total: int = 0
    offset: int = 0
    counts: dict[RunGroup, int] = Field(default_factory=dict)
    best_ic: float | None = None


class RunCalls(Asking, Protocol):
    """Calls about runs."""

    def runs_page(self, question: RunsQuestion) -> RunPage:
        """A page of the runs that were asked for."""
        return self.ask("runs/page", question, RunPage)

    def runs_export(self, question: RunsQuestion) -> bytes:
        """All runs that were asked for, whatever the page, as CSV in UTF-8."""
        return self.fetch("runs/export", question)
