"""Drafts of runs: terms in, and out comes what they would mean and cost, or the first thing that is wrong."""

from __future__ import annotations

from typing import Annotated, Any, Protocol

from pydantic import Field, StringConstraints

from parties.agreement.document import Agreement
from parties.agreement.group_terms import GroupTerms
from parties.calls.asking import Asking, Nothing, Question
from parties.calls.views import TextSection, View
from parties.names import PartyName

__all__ = [
    "CostView",
    "DraftCalls",
    "DraftQuestion",
    "DraftView",
    "LearnsView",
    "LikeQuestion",
    "OpeningUseView",
    "PartyCostView",
    "ProposeQuestion",
    "ProposedView",
    "ScreenPlanView",
    "TemplateView",
    "group_schema",
]

RunId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


def group_schema() -> dict[str, Any]:
    """The JSON schema of one ``[[group]]`` of terms, from which a form can be made."""
    return GroupTerms.model_json_schema()


class DraftQuestion(Question):
    """Terms in the shape of a consortium.toml without queries, ``parties`` being names.

    ``coalition``: a retrain run of these feature parties alone. ``entities``: how many the parties are thought to have
    in common, for the cost.
    """

    terms: dict[str, Any]
    valid_hours: int = Field(default=24, ge=1, le=720)
    entities: int = Field(default=500, ge=1, le=1_000_000)
    coalition: tuple[PartyName, ...] = ()


class LikeQuestion(Question):
    """Terms like those of this run."""

    run_id: RunId


class ProposeQuestion(Question):
    """The agreement of a draft, as it was shown."""

    agreement: Agreement


class LearnsView(View):
    """What one party, or the coordinator, learns from the run."""

    who: str
    role: str = ""
    what: tuple[str, ...] = ()


class OpeningUseView(View):
    """How often a predicted row is opened for one purpose, at most."""

    what: str
    most: int


class PartyCostView(View):
    """Upper bounds for one party. ``memory_mb`` is in 2**20 bytes."""

    party: str
    bytes_sent: int
    bytes_received: int
    memory_mb: float


class CostView(View):
    """Upper bounds for the run: ``seconds`` on one core of the machine in docs/performance.md, all parties' parts."""

    rows: int
    steps: int
    seconds: float
    predicted_periods: int
    parties: tuple[PartyCostView, ...] = ()


class ScreenPlanView(View):
    """What a screen would try, at most, and what opens: ``bits`` of each formula and period, and nothing of a row.

    ``halves``: periods with labels to choose on and to confirm on. ``lone_t``: the absolute t of a formula that passes
    although no other does.
    """

    alone: int
    products: int
    periods: int
    bits: int
    halves: int
    level: float
    hurdle: float
    lone_t: float

    @property
    def trials(self) -> int:
        return self.alone + self.products

    @property
    def opened_bits(self) -> int:
        return self.trials * self.periods * self.bits


class DraftView(View):
    """What the terms come to. With a ``fault`` there is no agreement: ``field`` says where it is, or is "".

    ``score_bits``: of a sealed network, whose rows open a score alone; 0 where sums open, of which ``exposed`` linear
    forms of a row at most. ``screen``: of a screen of formulas alone, which has neither. ``refusals``: why nodes will
    not sign these terms, as far as a coordinator can tell. ``openings`` are this run's; ``opened_before``: the most
    that earlier runs may have opened of one of its rows, as far as a coordinator is told; ``row_limit`` is over all.
    """

    fault: str = ""
    field: str = ""
    refusals: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    run_id: str = ""
    agreement: dict[str, Any] = Field(default_factory=dict)
    text: tuple[TextSection, ...] = ()
    cautions: tuple[str, ...] = ()
    learns: tuple[LearnsView, ...] = ()
    openings: tuple[OpeningUseView, ...] = ()
    row_limit: int = 0
    opened_before: int = 0
    exposed: int = 0
    score_bits: int = 0
    opened_rows: int = 0
    features: int = 0
    screen: ScreenPlanView | None = None
    cost: CostView | None = None


class TemplateView(View):
    """Terms to begin with. ``entities``: how many are likely to be common."""

    key: str
    title: str
    words: str
    entities: int = 500
    terms: dict[str, Any] = Field(default_factory=dict)


class ProposedView(View):
    """The run that was put before its parties."""

    run_id: str


class DraftCalls(Asking, Protocol):
    """Calls about runs that are still to be proposed."""

    def run_templates(self) -> list[TemplateView]:
        """Terms to begin with, made for the members as they are."""
        return self.ask("runs/templates", Nothing(), list[TemplateView])

    def run_like(self, run_id: str) -> TemplateView:
        """The terms of a run, to propose another like it."""
        return self.ask("runs/like", LikeQuestion(run_id=run_id), TemplateView)

    def run_draft(self, question: DraftQuestion) -> DraftView:
        """What the terms would mean and cost. Nothing is proposed."""
        return self.ask("runs/draft", question, DraftView)

    def propose_draft(self, draft: DraftView) -> str:
        """Put a draft before its parties; returns the run id. Nothing begins before each party's node has signed."""
        agreement = Agreement.model_validate(draft.agreement)
        return self.ask("runs/propose", ProposeQuestion(agreement=agreement), ProposedView).run_id
