"""The sample's books: balances, a journal, settlements in every state, and members; hostile names among them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from parties.client import (
    AccountView,
    ApproverView,
    BalancesView,
    CashQuestion,
    CashStep,
    DossierView,
    EffectView,
    EntryView,
    InvitationQuestion,
    InvitationView,
    InviteView,
    JournalPage,
    JournalQuestion,
    LimitsView,
    LineView,
    MemberQuestion,
    MemberView,
    OutcomeView,
    PlanView,
    SettlementPage,
    SettlementQuestion,
    SettlementStep,
    SettlementView,
    StandingView,
    StepLine,
    StepQuestion,
    WithdrawQuestion,
)
from parties.errors import LedgerError

__all__ = ["TOKEN", "Members", "Money", "doors"]

T0 = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
TOKEN = "entente1-" + "Ab3" * 55
RUNS = ("a1" * 32, "e5" * 32, "f6" * 32, "a7" * 32)
USD: dict[str, Any] = {"unit": "USD", "scale": 2}


class Money:
    """Books that a test may change: ``accounts``, ``entries``, ``standing``, ``runs``, ``dossiers``, ``scope``."""

    def __init__(self, hostile: str, parties: Sequence[str]) -> None:
        self.hostile, self.parties = hostile, tuple(parties)
        self.scope: Any = "all"
        self.standing = StandingView(
            entries=1_204,
            checked=1_204,
            complete=True,
            balanced=True,
            transactions=1_180,
            postings=4_711,
            unresolved=2,
            digest="ab" * 32,
            checked_at=T0,
            whole_at=T0,
        )
        amounts = {"orbit": (1_375_00, 812_50, 8_000_00), "chatter": (900_00, 120_00, 2_000_00), "till": (225_00, 0, 0)}
        held = [
            ("Assets:Consortium:Cash", "", "consortium", 31_250_00, 0),
            ("Expenses:Reward", "", "consortium", 0, 2_500_00),
            ("Liabilities:Consortium:Pot", "", "consortium", 20_317_50, 0),
        ]
        for party, (pending, payable, stake) in amounts.items():
            for kind, posted, waits in (("Pending", 0, pending), ("Payable", payable, 0), ("Stake", stake, 0)):
                held.append((f"Liabilities:Party:{party}:{kind}", party, kind, posted, waits))
        self.accounts = [
            AccountView(account=name, party=party, kind=kind, posted=posted, pending=pending, **USD)
            for name, party, kind, posted, pending in held
        ]
        self.entries = [self._entry(number) for number in range(120, 0, -1)]
        self.runs = [
            self._run(run, state) for run, state in zip(RUNS, ("due", "pending", "final", "to close"), strict=True)
        ]
        self.dossiers = [self._dossier("final", RUNS[2], "posted")]
        self.asked: list[Any] = []

    def _entry(self, number: int) -> EntryView:
        hostile = number % 40 == 0
        lines = (
            ("Expenses:Reward", 2_500_00),
            ("Liabilities:Party:orbit:Pending", -1_375_00),
            ("Liabilities:Party:chatter:Pending", -900_00),
            ("Liabilities:Party:till:Pending", -225_00),
        )
        state, run = ("pending", "posted", "voided")[number % 3], RUNS[number % len(RUNS)]
        told = {"pending": "pending until its labels resolve", "posted": "final", "voided": "void"}[state]
        return EntryView(
            sequence=number,
            transaction=f"settlement/{number}",
            at=T0 + timedelta(hours=number),
            narration=self.hostile if hostile else f"Reward of run {run[:12]}, {told}",
            state=state,
            run_id=run,
            evidence="cd" * 32,
            digest="ef" * 32,
            lines=tuple(LineView(account=a, minor=m, **USD) for a, m in lines) if number % 7 else (),
            hidden=0 if number % 5 else 2,
        )

    def _run(self, run_id: str, state: Any) -> SettlementView:
        waits = {
            "pending": ("the agreement wants live data of 2 or more resolved periods: the label party attests it",),
        }
        return SettlementView(
            run_id=run_id,
            purpose=self.hostile if state == "pending" else "Weekly factor, large caps",
            consortium="Harbour consortium",
            label_party=self.parties[0],
            parties=self.parties,
            state=state,
            closed_at=T0,
            amount=0 if state == "to close" else 2_500_00,
            pot=2_500_00,
            waits=waits.get(state, ()),
            disputable_until=T0 + timedelta(days=30) if state == "due" else None,
            disputes=("till",) if state == "pending" else (),
            live_periods=2 if state in ("due", "final") else 0,
            live_needed=2,
            outcomes=(
                OutcomeView(party="chatter", pending=900_00, lost=75_00),
                OutcomeView(party="orbit", pending=1_375_00, payable=1_200_00),
                OutcomeView(party="till", pending=225_00),
            )
            if state == "final"
            else (),
            **USD,
        )

    def steps(self, run_id: str) -> tuple[StepLine, ...]:
        lines = (
            ("Liabilities:Party:orbit:Pending", 1_375_00),
            ("Liabilities:Party:chatter:Pending", 900_00),
            ("Liabilities:Party:till:Pending", 225_00),
            ("Liabilities:Party:chatter:Stake", 75_00),
            ("Liabilities:Party:orbit:Payable", -1_200_00),
            ("Liabilities:Consortium:Pot", -1_375_00),
        )
        return (
            StepLine(
                transaction=f"settlement/{run_id}/final",
                state="posted",
                narration=f"Reward of run {run_id[:12]} is final",
                lines=tuple(LineView(account=a, minor=m, **USD) for a, m in lines),
            ),
        )

    def _dossier(self, kind: str, run_id: str, state: Any) -> DossierView:
        done = state == "posted"
        people = (
            ApproverView(name="admin", state="may"),
            ApproverView(name="chatter", state="refused", online=True, at=T0, why=self.hostile),
            ApproverView(name="harbor", state="approved", online=True, at=T0),
            ApproverView(name="orbit", state="approved" if done else "asked", online=done, at=T0 if done else None),
            ApproverView(name="till", state="asked"),
        )
        return DossierView(
            digest=hashlib.sha256(f"{kind}{run_id}".encode()).hexdigest(),
            kind=kind,
            run_id=run_id,
            asked_by=self.hostile,
            asked_at=T0,
            reasons=("orbit: 1200.00 USD of 1375.00 USD payable: below the close's", self.hostile),
            steps=self.steps(run_id),
            needed=2,
            approvers=people,
            state=state,
        )

    # -- the doors

    def balances(self, _: Any) -> BalancesView:
        own = [a for a in self.accounts if self.scope == "all" or (self.scope == "party" and a.party == "orbit")]
        return BalancesView(standing=self.standing, scope=self.scope, accounts=tuple(own))

    def journal(self, asked: JournalQuestion) -> JournalPage:
        self.asked.append(asked)
        words = asked.text.lower().split()
        found = [e for e in self.entries if all(w in f"{e.narration} {e.transaction}".lower() for w in words)]
        found = [e for e in found if not asked.state or e.state == asked.state]
        found = [e for e in found if not asked.after or e.sequence < int(asked.after)]
        page = found[: asked.limit]
        return JournalPage(entries=tuple(page), following=str(page[-1].sequence) if len(found) > len(page) else "")

    def file(self, asked: Any) -> bytes:
        self.asked.append(asked)
        return b"sequence,transaction\r\n"

    def page(self, asked: SettlementQuestion) -> SettlementPage:
        known = [run for run in self.runs if run.run_id.startswith(asked.run_id)]
        chosen = known[asked.offset : asked.offset + asked.limit]
        return SettlementPage(runs=tuple(chosen), total=len(known), dossiers=tuple(self.dossiers))

    def export(self, asked: SettlementQuestion) -> bytes:
        known = [run.run_id for run in self.runs if run.run_id.startswith(asked.run_id)]
        return "\r\n".join(["run_id", *known]).encode()

    def plan(self, asked: StepQuestion) -> PlanView:
        run = next(run for run in self.runs if run.run_id == asked.run_id)
        blocked = run.waits if asked.kind == "final" else ()
        if asked.kind in ("void", "judgement") and not asked.why:
            blocked = ("say why: everybody who is asked reads it",)
        outcomes = (
            OutcomeView(
                party="orbit",
                score=0.0212,
                pending=1_375_00,
                payable=1_200_00,
                why="live contribution below the close's",
            ),
            OutcomeView(party="chatter", score=-0.0031, pending=900_00, lost=75_00, why=self.hostile),
            OutcomeView(party="till", score=-0.0002, pending=225_00, why="live contribution not above zero"),
        )
        effects = (
            ("Liabilities:Party:orbit:Payable", 812_50, 0, 2_012_50, 0),
            ("Liabilities:Party:orbit:Pending", 0, 1_375_00, 0, 0),
            ("Liabilities:Party:chatter:Pending", 0, 900_00, 0, 0),
            ("Liabilities:Party:chatter:Stake", 2_000_00, 0, 1_925_00, 0),
            ("Liabilities:Party:till:Pending", 0, 225_00, 0, 0),
            ("Liabilities:Consortium:Pot", 20_317_50, 0, 21_692_50, 0),
        )
        return PlanView(
            kind=asked.kind,
            run_id=asked.run_id,
            outcomes=outcomes if asked.kind in ("final", "close") else (),
            reasons=(f"{asked.kind}: {asked.why}",),
            steps=() if blocked and asked.kind != "final" else self.steps(asked.run_id),
            effects=tuple(
                EffectView(account=a, posted=b, pending=c, posted_after=d, pending_after=e, **USD)
                for a, b, c, d, e in effects
            ),
            blocked=blocked,
            needed=2,
            approvers=tuple(ApproverView(name=name, state="may") for name in ("admin", *self.parties)),
            **USD,
        )

    def ask(self, asked: SettlementStep) -> DossierView:
        self.asked.append(asked)
        if asked.shown != self.steps(asked.run_id):
            raise LedgerError("the books have moved since the dry run: look at it again, and ask then")
        made = self._dossier(asked.kind, asked.run_id, "open")
        self.dossiers.insert(0, made)
        self.runs = [
            r.model_copy(update={"dossier": made.digest}) if r.run_id == asked.run_id else r for r in self.runs
        ]
        return made

    def cash_plan(self, asked: CashQuestion) -> PlanView:
        self.asked.append(asked)
        short = ("warning: Assets:Consortium:Cash holds 0.00 USD",) if asked.kind == "pay" else ()
        return PlanView(
            kind=asked.kind,
            run_id=asked.run_id,
            reasons=(f"{asked.kind} of {', '.join(asked.parties)}", self.hostile, *short),
            steps=self.steps("b2" * 32),
            approvers=tuple(ApproverView(name=name, state="may") for name in ("admin", *self.parties)),
            **USD,
        )

    def ask_cash(self, asked: CashStep) -> DossierView:
        self.asked.append(asked)
        made = self._dossier(asked.kind, "", "open").model_copy(update={"party": asked.parties[0]})
        self.dossiers.insert(0, made)
        return made

    def withdraw(self, asked: WithdrawQuestion) -> DossierView:
        self.asked.append(asked)
        self.dossiers = [
            d.model_copy(update={"state": "ended", "ended": f"withdrawn: {asked.why}"})
            if d.digest == asked.digest
            else d
            for d in self.dossiers
        ]
        return next(d for d in self.dossiers if d.digest == asked.digest)


class Members:
    """Members and invitations that a test may change."""

    def __init__(self, hostile: str, parties: Sequence[str]) -> None:
        self.hostile = hostile
        self.invited: list[InvitationView] = []
        days = (300, 12, 200, -3)
        self.members = [
            MemberView(
                name=name,
                role="feature" if i else "label",
                legal_entity=hostile if i == 2 else f"{name.title()} Capital LLC",
                address=f"10.0.0.{5 + i}:7400",
                health=("online", "online", "online", "offline")[i],
                last_seen=T0,
                version="0.1.0",
                certificate_expires=T0 + timedelta(days=days[i]),
                certificate_sha256="ab" * 32,
                identity_key="cd" * 32,
                columns=tuple(f"{name}_{j}" for j in range(9)),
                units={f"{name}_0": "USD"},
                label_name="" if i else "next return",
                label_definition="" if i else "next week's return, winsorised",
                certificate=("good", "soon", "good", "over")[i],
                days_left=days[i],
                limits=LimitsView(openings_per_row=8, largest_fraction=0.6, hours="18:00-06:00") if i == 1 else None,
                data_checked=T0 if i < 3 else None,
                data_usable=i != 1,
            )
            for i, name in enumerate(parties)
        ]

    def invite(self, asked: InvitationQuestion) -> InviteView:
        made = {"name": asked.name, "role": asked.role, "expires": T0 + timedelta(minutes=asked.minutes)}
        self.invited.append(InvitationView(**made))
        code = tuple("".join("10"[(x * y + x + y) % 2] for x in range(41)) for y in range(41))
        return InviteView(**made, token=TOKEN, code=code)

    def withdraw(self, asked: MemberQuestion) -> list[InvitationView]:
        self.invited = [one for one in self.invited if one.name != asked.name]
        return self.invited

    def revoke(self, asked: MemberQuestion) -> list[MemberView]:
        self.members = [one for one in self.members if one.name != asked.name]
        return self.members


def doors(money: Money, members: Members) -> dict[str, Callable[[Any], Any]]:
    """The doors about money and members."""
    return {
        "ledger/standing": lambda _: money.standing,
        "ledger/verify": lambda _: money.standing,
        "ledger/balances": money.balances,
        "ledger/journal": money.journal,
        "ledger/file": money.file,
        "ledger/statement": money.file,
        "settlement/page": money.page,
        "settlement/export": money.export,
        "settlement/plan": money.plan,
        "settlement/ask": money.ask,
        "settlement/cash-plan": money.cash_plan,
        "settlement/cash-ask": money.ask_cash,
        "settlement/withdraw": money.withdraw,
        "members/list": lambda _: members.members,
        "members/invitations": lambda _: members.invited,
        "members/invite": members.invite,
        "members/withdraw": members.withdraw,
        "members/revoke": members.revoke,
    }
