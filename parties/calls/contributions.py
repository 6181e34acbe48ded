"""Who contributed what: across runs, within one run over its periods, and as a table to take away."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Protocol

from pydantic import AwareDatetime, Field, StringConstraints

from parties.calls.asking import Asking, Question
from parties.calls.views import View

__all__ = [
    "BandPoint",
    "ContributionCalls",
    "ContributionDetail",
    "ContributionPage",
    "ContributionQuestion",
    "ContributionsQuestion",
    "PartyShare",
    "RunShares",
]

_Text = Annotated[str, StringConstraints(max_length=200)]


class ContributionsQuestion(Question):
    """Runs that were valued, newest first. ``since`` and ``until`` bound the valuation's time, ``until`` left out."""

    party: _Text = ""
    consortium: _Text = ""
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 100
    offset: Annotated[int, Field(ge=0)] = 0


class ContributionQuestion(Question):
    """One run's contributions."""

    run_id: str


class PartyShare(View):
    """One feature party in one run. ``phi`` is conditioned on the label party's own features and decides pay.

    Values are rank ICs; ``attribution`` explains the output and decides nothing. ``share`` is of the pot, 0 to 1;
    ``reward`` is in minor units.
    """

    party: str
    phi: float
    standard_error: float | None = None
    t: float | None = None
    low: float | None = None
    high: float | None = None
    leave_one_out: float | None = None
    standalone: float | None = None
    plain: float | None = None
    plain_standard_error: float | None = None
    attribution: float | None = None
    share: float = 0.0
    reward: int = 0


class RunShares(View):
    """One valued run. ``v_everyone`` and ``v_nobody``: rank IC of all together, and of the label party alone."""

    run_id: str
    consortium: str
    purpose: str
    label_party: str
    at: datetime
    method: str = ""
    n_periods: int = 0
    v_everyone: float | None = None
    v_nobody: float | None = None
    pot: int = 0
    rolled_over: int = 0
    unit: str = ""
    scale: int = 0
    parties: tuple[PartyShare, ...] = ()


class ContributionPage(View):
    """Runs of one page. ``parties`` and ``consortia`` are what can be asked for."""

    total: int
    offset: int = 0
    runs: tuple[RunShares, ...] = ()
    parties: tuple[str, ...] = ()
    consortia: tuple[str, ...] = ()


class BandPoint(View):
    """The mean contribution up to and including a period, with its 95 % interval where one is known."""

    period: str
    mean: float
    low: float | None = None
    high: float | None = None


class ContributionDetail(View):
    """One run's contributions with their definitions, and how each party's mean settled over the run's periods."""

    shares: RunShares
    definition: str = ""
    plain_definition: str = ""
    attribution_definition: str = ""
    over_time: dict[str, tuple[BandPoint, ...]] = Field(default_factory=dict)


class ContributionCalls(Asking, Protocol):
    """Calls about contributions."""

    def contributions(self, question: ContributionsQuestion) -> ContributionPage:
        """A page of valued runs."""
        return self.ask("contributions/page", question, ContributionPage)

    def contribution(self, run_id: str) -> ContributionDetail:
        """One run's contributions."""
        return self.ask("contributions/one", ContributionQuestion(run_id=run_id), ContributionDetail)

    def contributions_export(self, question: ContributionsQuestion) -> bytes:
        """Every contribution that was asked for, whatever the page, as CSV in UTF-8: one row per run and party."""
        return self.fetch("contributions/export", question)
