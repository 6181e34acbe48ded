"""Settlements at the desk: where each run stands, what a step would do, whose approval is asked for."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Protocol

from pydantic import Field, StringConstraints

from parties.calls.asking import Asking, Question
from parties.calls.money import LineView
from parties.calls.views import View
from parties.names import PartyName

__all__ = [
    "ApproverView",
    "CashKind",
    "CashQuestion",
    "CashStep",
    "DossierView",
    "EffectView",
    "OutcomeView",
    "PlanView",
    "SettlementCalls",
    "SettlementPage",
    "SettlementQuestion",
    "SettlementStep",
    "SettlementView",
    "StepLine",
    "StepQuestion",
    "WithdrawQuestion",
]

StepKind = Literal["close", "final", "void", "judgement"]
CashKind = Literal["receipt", "pay", "release", "exit", "correction", "dispute"]
SettlementState = Literal["to close", "pending", "due", "final", "voided", "nothing"]


class ApproverView(View):
    """One who may approve. ``asked``: over its node's line; the others sign the dossier with entente settle."""

    name: str
    state: Literal["approved", "refused", "asked", "may"]
    online: bool = False
    at: datetime | None = None
    why: str = ""


class StepLine(View):
    """A transaction of a step, as it would stand or stands in the journal."""

    transaction: str
    state: Literal["pending", "posted", "voided"]
    narration: str
    lines: tuple[LineView, ...] = ()


class DossierView(View):
    """A step that was asked for, with its reasons, its amounts, and who has answered what.

    ``state``: *open* waits for approvals; *ended* will not be posted, and ``ended`` says why.
    """

    digest: str
    kind: str
    run_id: str = ""
    party: str = ""
    asked_by: str
    asked_at: datetime
    reasons: tuple[str, ...]
    steps: tuple[StepLine, ...]
    needed: int
    approvers: tuple[ApproverView, ...]
    state: Literal["open", "posted", "ended"]
    ended: str = ""

    @property
    def approved(self) -> int:
        return sum(one.state == "approved" for one in self.approvers)


class OutcomeView(View):
    """One party's numbers in a step: minor units, rank IC, and why; both are unsaid of what is booked."""

    party: str
    score: float = 0.0
    pending: int = 0
    payable: int = 0
    lost: int = 0
    why: str = ""


class SettlementView(View):
    """Where a run's reward stands. Amounts in minor units.

    ``waits``: what the next step waits for, a sentence each. ``disputes``: parties whose dispute is not judged.
    ``live_periods`` of ``live_needed`` have been attested by the label party. ``outcomes``: what became of each party's
    part, once it is final.
    """

    run_id: str
    purpose: str
    consortium: str
    label_party: str
    parties: tuple[str, ...]
    state: SettlementState
    closed_at: datetime | None = None
    amount: int = 0
    pot: int = 0
    unit: str
    scale: int
    waits: tuple[str, ...] = ()
    disputable_until: datetime | None = None
    disputes: tuple[str, ...] = ()
    live_periods: int = 0
    live_needed: int = 0
    dossier: str = ""
    outcomes: tuple[OutcomeView, ...] = ()


class SettlementPage(View):
    """Runs with a reward, newest first, and every step that waits for approval."""

    runs: tuple[SettlementView, ...] = ()
    total: int = 0
    dossiers: tuple[DossierView, ...] = ()


class EffectView(View):
    """What a step does to one account, on its normal side, in minor units."""

    account: str
    unit: str
    scale: int
    posted: int
    pending: int
    posted_after: int
    pending_after: int


class PlanView(View):
    """A step computed on the books as they are; nothing is posted.

    ``blocked``: what stands against asking for it now. The numbers are shown all the same where they are known.
    """

    kind: StepKind | CashKind
    run_id: str
    unit: str
    scale: int
    outcomes: tuple[OutcomeView, ...] = ()
    reasons: tuple[str, ...] = ()
    steps: tuple[StepLine, ...] = ()
    effects: tuple[EffectView, ...] = ()
    blocked: tuple[str, ...] = ()
    needed: int = 2
    approvers: tuple[ApproverView, ...] = ()


class SettlementQuestion(Question):
    """A page of the runs with a reward; ``run_id`` names one."""

    run_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{0,64}$")] = ""
    limit: int = Field(default=25, ge=1, le=100)
    offset: int = Field(default=0, ge=0, le=10**9)


class StepQuestion(Question):
    """A step of a run's settlement. ``party`` and ``upheld`` are of a judgement, ``why`` of that or of a voiding."""

    run_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    kind: StepKind
    party: PartyName | Literal[""] = ""
    upheld: bool = False
    why: Annotated[str, StringConstraints(max_length=300)] = ""


class SettlementStep(StepQuestion):
    """The same, to be asked for. ``shown`` is what the dry run showed, so that nothing else is asked for."""

    shown: tuple[StepLine, ...] = ()


class CashQuestion(Question):
    """A step that moves money and follows from no run's close: what comes in, what leaves, what is set right.

    ``amount`` in minor units, of a receipt, stake asked back or a correction; ``reference`` of a receipt or a payout;
    ``run_id`` of a correction or a dispute; ``why`` of these two.
    """

    kind: CashKind
    parties: tuple[PartyName, ...] = Field(default=(), max_length=64)
    amount: int = Field(default=0, ge=-(2**53) + 1, le=2**53 - 1)
    reference: Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{0,60}$")] = ""
    stake: bool = False
    run_id: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64})?$")] = ""
    why: Annotated[str, StringConstraints(max_length=300)] = ""


class CashStep(CashQuestion):
    """The same, to be asked for, with what the dry run showed."""

    shown: tuple[StepLine, ...] = ()


class WithdrawQuestion(Question):
    """A step that nobody is to be asked for any more."""

    digest: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    why: Annotated[str, StringConstraints(max_length=300)] = ""


class SettlementCalls(Asking, Protocol):
    """Calls about settlements."""

    def settlements(self, question: SettlementQuestion) -> SettlementPage:
        """Where runs stand, and what waits for approval."""
        return self.ask("settlement/page", question, SettlementPage)

    def settlements_export(self, question: SettlementQuestion) -> bytes:
        """Where every run stands as CSV, in the order of the list; pages are ignored."""
        return self.fetch("settlement/export", question)

    def settlement_plan(self, question: StepQuestion) -> PlanView:
        """What a step would do; nothing is posted."""
        return self.ask("settlement/plan", question, PlanView)

    def ask_settlement(self, question: SettlementStep) -> DossierView:
        """Ask for the approval of a step."""
        return self.ask("settlement/ask", question, DossierView)

    def cash_plan(self, question: CashQuestion) -> PlanView:
        """What a step that moves money would do; nothing is posted."""
        return self.ask("settlement/cash-plan", question, PlanView)

    def ask_cash(self, question: CashStep) -> DossierView:
        """Ask for the approval of a step that moves money."""
        return self.ask("settlement/cash-ask", question, DossierView)

    def withdraw_settlement(self, question: WithdrawQuestion) -> DossierView:
        """Ask nobody any more."""
        return self.ask("settlement/withdraw", question, DossierView)
