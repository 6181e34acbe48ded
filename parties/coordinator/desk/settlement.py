"""Settlement's doors: where runs stand, dry runs, and asking for approval. Nothing here signs.

An operator sees the runs its party has part in, with every amount of them: it is whom the party's node asks. Only an
admin asks for a step, and what it asks for must be what the dry run showed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from parties.calls.asking import Role
from parties.calls.settlement import (
    DossierView,
    OutcomeView,
    PlanView,
    SettlementPage,
    SettlementQuestion,
    SettlementState,
    SettlementStep,
    SettlementView,
    StepQuestion,
    WithdrawQuestion,
)
from parties.coordinator.approvals import Approvals, Waiting
from parties.coordinator.closed_runs import closed_run, is_valued
from parties.coordinator.desk.csv_sheet import sheet
from parties.coordinator.desk.doors import ADMINS, Caller, Door, Doors
from parties.coordinator.desk.dossier_views import DossierViews, amounts_of
from parties.coordinator.engine import Engine
from parties.coordinator.known_run import KnownRun
from parties.errors import AgreementError, ConfigError, LedgerError
from parties.ledger.entries import Entry, Transaction
from parties.ledger.lifecycle import pending_parts
from parties.ledger.settlement import party_account, pending_id
from parties.ledger.store import LedgerStore
from parties.members.roster import Roster
from parties.names import ADMIN
from parties.settlement.closed_run import ClosedRun
from parties.settlement.closing import plan_close
from parties.settlement.dossier import Dossier, Intended
from parties.settlement.dossier_store import requirement
from parties.settlement.live_record import LiveRecord
from parties.settlement.proposals import (
    final_blocked,
    open_disputes,
    outcomes,
    propose_close,
    propose_final,
    propose_judgement,
    propose_void,
    settlement_rules,
)

__all__ = ["SettlementDesk", "doors"]

_CONCERNED: frozenset[Role] = frozenset(("admin", "operator", "auditor"))
_COLUMNS = (
    "run_id", "consortium", "purpose", "label_party", "parties", "state", "closed_at", "amount_minor", "pot_minor",
    "unit", "scale", "live_periods", "live_needed", "waits", "disputes", "disputable_until", "dossier",
    "payable_minor", "lost_minor",
)  # fmt: skip


class SettlementDesk:
    """Answers about the settlements of one coordinator. ``now`` is UTC."""

    def __init__(self, ledger: LedgerStore, engine: Engine, approvals: Approvals, roster: Roster) -> None:
        self._ledger = ledger
        self._engine = engine
        self._approvals = approvals
        self._roster = roster
        self._views = DossierViews(ledger, engine, approvals)

    def page(self, asked: SettlementQuestion, caller: Caller) -> SettlementPage:
        runs, waits = self._concerning(asked, caller)
        valued = [known for known in runs if is_valued(known.state)]
        return SettlementPage(
            runs=self._standings(valued[asked.offset : asked.offset + asked.limit], waits),
            total=len(valued),
            dossiers=tuple(map(self._views.dossier, waits[:50])),
        )

    def export(self, asked: SettlementQuestion, caller: Caller) -> bytes:
        """Every run that the caller may see as CSV, one row each: amounts in minor units, times in UTC."""
        runs, waits = self._concerning(asked, caller)
        rows: list[Sequence[object]] = []
        for run in self._standings([known for known in runs if is_valued(known.state)], waits):
            facts = (run.run_id, run.consortium, run.purpose, run.label_party, " ".join(run.parties), run.state)
            money = (_instant(run.closed_at), run.amount, run.pot, run.unit, run.scale)
            waiting = (run.live_periods, run.live_needed, "; ".join(run.waits), " ".join(run.disputes))
            became = (sum(one.payable for one in run.outcomes), sum(one.lost for one in run.outcomes))
            asked_for = (_instant(run.disputable_until), run.dossier)
            rows.append((*facts, *money, *waiting, *asked_for, *(became if run.outcomes else ("", ""))))
        return sheet(_COLUMNS, rows)

    def _concerning(self, asked: SettlementQuestion, caller: Caller) -> tuple[list[KnownRun], list[Waiting]]:
        """The runs with a reward that the caller may see, and what was asked for about them."""
        runs = [known for known in self._engine.all_runs() if known.facts.pot > 0 and _concerns(known, caller)]
        runs = [known for known in runs if known.state.run.startswith(asked.run_id)]
        mine = {known.state.run for known in runs}
        everyone = caller.role != "operator"
        waits = [
            one
            for one in self._approvals.latest()
            if everyone or one.dossier.run_id in mine or (not one.dossier.run_id and caller.party in one.request.asked)
        ]
        if asked.run_id:
            waits = [one for one in waits if one.dossier.run_id.startswith(asked.run_id)]
        return runs, waits

    def _standings(self, runs: Iterable[KnownRun], waits: Iterable[Waiting]) -> tuple[SettlementView, ...]:
        open_now = {one.dossier.run_id: one.request.digest for one in waits if one.open}
        now = self._approvals.clock()
        chosen = [(known, run) for known in runs if (run := closed_run(known.state, known.agreement)) is not None]
        return tuple(self._standing(known, run, open_now, now) for known, run in chosen)

    def plan(self, asked: StepQuestion, caller: Caller) -> PlanView:
        run = self._run(asked.run_id, caller)
        live, now = self._approvals.live(run.run_id), self._approvals.clock()
        blocked: list[str] = []
        try:
            dossier = self._propose(asked, run, live, now)
        except LedgerError as error:
            dossier, blocked = None, [str(error)]
        terms = run.agreement.reward
        if dossier is None and asked.kind == "final":
            blocked = final_blocked(self._ledger, run, live, now) or blocked
        need = requirement(dossier, run.agreement, self._roster) if dossier else None
        intended = dossier.transactions if dossier else self._preview(asked, run, live, now)
        return PlanView(
            kind=asked.kind,
            run_id=run.run_id,
            unit=terms.unit,
            scale=terms.scale,
            outcomes=tuple(self._outcomes(asked, run, live, now)),
            reasons=dossier.reasons if dossier else (),
            steps=self._views.lines(intended),
            effects=tuple(self._views.effects(intended)),
            blocked=tuple(blocked),
            needed=need.needed if need else settlement_rules(run.agreement).approvals,
            approvers=self._views.people(need.people) if need else (),
        )

    def ask(self, asked: SettlementStep, caller: Caller) -> DossierView:
        run = self._run(asked.run_id, caller)
        dossier = self._propose(asked, run, self._approvals.live(run.run_id), self._approvals.clock())
        if asked.shown and tuple(map(amounts_of, asked.shown)) != tuple(
            map(amounts_of, self._views.lines(dossier.transactions))
        ):
            raise LedgerError("the books have moved since the dry run: look at it again, and ask then")
        return self._views.dossier(self._approvals.ask(dossier, run, caller.signature))

    def withdraw(self, asked: WithdrawQuestion, caller: Caller) -> DossierView:
        return self._views.dossier(self._approvals.withdraw(asked.digest, caller.signature, asked.why))

    # -- inside

    def _run(self, run_id: str, caller: Caller) -> ClosedRun:
        known = self._engine.known(run_id)
        if not _concerns(known, caller):
            raise AgreementError(f"{caller.party or caller.name} has no part in run {run_id[:12]}")
        run = closed_run(known.state, known.agreement)
        if run is None:
            raise ConfigError(f"run {run_id[:12]} has no contributions to settle: wait until it is valued")
        return run

    def _propose(self, asked: StepQuestion, run: ClosedRun, live: LiveRecord | None, now: datetime) -> Dossier:
        if asked.kind == "close":
            return propose_close(self._ledger, run, ADMIN, now)
        if asked.kind == "final":
            return propose_final(self._ledger, run, live, ADMIN, now)
        if not asked.why.strip():
            raise LedgerError("say why: everybody who is asked reads it")
        if asked.kind == "void":
            return propose_void(self._ledger, run, asked.why, ADMIN, now)
        return propose_judgement(self._ledger, run, asked.party, asked.why, ADMIN, now, upheld=asked.upheld)

    def _preview(
        self, asked: StepQuestion, run: ClosedRun, live: LiveRecord | None, now: datetime
    ) -> tuple[Intended, ...]:
        """What a final settlement that must still wait would post on what is known today."""
        if asked.kind != "final":
            return ()
        try:
            return (Intended.of(outcomes(self._ledger, run, live, now).final),)
        except LedgerError:
            return ()

    def _outcomes(
        self, asked: StepQuestion, run: ClosedRun, live: LiveRecord | None, now: datetime
    ) -> Iterable[OutcomeView]:
        try:
            if asked.kind == "close":
                close = plan_close(self._ledger, run.agreement, run.contribution, now, run_id=run.run_id).close
                for party, award in close.awards.items():
                    yield OutcomeView(party=party, score=award.score, pending=award.amount, why=award.why)
            elif asked.kind == "final":
                found = outcomes(self._ledger, run, live, now)
                for party, outcome in found.outcomes.items():
                    yield OutcomeView(
                        party=party, score=outcome.score, pending=found.prices[party].pending,
                        payable=outcome.payable, lost=outcome.loss, why=outcome.why,
                    )  # fmt: skip
        except LedgerError:
            return

    def _standing(self, known: KnownRun, run: ClosedRun, open_now: Mapping[str, str], now: datetime) -> SettlementView:
        rules, booked = settlement_rules(run.agreement), pending_id(run.run_id)
        entries = self._ledger.entries((booked, f"{booked}/final", f"{booked}/void"))
        live = self._approvals.live(run.run_id)
        state, waits, amount = self._state(run, entries, live, now)
        until = None if run.closed_at is None else run.closed_at + timedelta(days=rules.dispute_days)
        disputable = state in ("pending", "due") and bool(rules.dispute_deposit) and until is not None and now <= until
        return SettlementView(
            run_id=run.run_id,
            purpose=known.facts.purpose,
            consortium=known.facts.consortium,
            label_party=known.state.plan.label,
            parties=known.state.plan.parties,
            state=state,
            closed_at=run.closed_at,
            amount=amount,
            pot=known.facts.pot,
            unit=known.facts.unit,
            scale=known.facts.scale,
            waits=tuple(waits),
            disputable_until=until if disputable else None,
            disputes=tuple(one.id.rsplit("/", 1)[-1] for one in open_disputes(self._ledger, run.run_id)),
            live_periods=len(live.periods) if live else 0,
            live_needed=rules.live_periods,
            dossier=open_now.get(run.run_id, ""),
            outcomes=_became(entries[booked].transaction, entries[f"{booked}/final"].transaction)
            if state == "final"
            else (),
        )

    def _state(
        self, run: ClosedRun, entries: Mapping[str, Entry], live: LiveRecord | None, now: datetime
    ) -> tuple[SettlementState, list[str], int]:
        """Where it stands, what it waits for, and how much it is about."""
        booked = pending_id(run.run_id)
        if booked not in entries:
            approved = settlement_rules(run.agreement).at_close == "approved"
            if run.closed_at is None:
                return "nothing", ["the run has not come to its settlement yet"], 0
            return ("to close", [], 0) if approved else ("nothing", [], 0)
        shares, _ = pending_parts(entries[booked].transaction)
        total = sum(shares.values())
        if f"{booked}/void" in entries:
            return "voided", [], total
        if f"{booked}/final" in entries:
            return "final", [], total
        waits = final_blocked(self._ledger, run, live, now)
        return ("pending" if waits else "due"), waits, total


def doors(ledger: LedgerStore, engine: Engine, approvals: Approvals, roster: Roster) -> Doors:
    """The doors about settlements."""
    desk = SettlementDesk(ledger, engine, approvals, roster)
    return {
        "settlement/page": Door(desk.page, _CONCERNED, SettlementQuestion),
        "settlement/export": Door(desk.export, _CONCERNED, SettlementQuestion),
        "settlement/plan": Door(desk.plan, _CONCERNED, StepQuestion),
        "settlement/ask": Door(desk.ask, ADMINS, SettlementStep, acts=True),
        "settlement/withdraw": Door(desk.withdraw, ADMINS, WithdrawQuestion, acts=True),
    }


def _concerns(known: KnownRun, caller: Caller) -> bool:
    return caller.role != "operator" or caller.party in known.state.plan.parties


def _instant(at: datetime | None) -> str:
    return "" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _became(pending: Transaction, final: Transaction) -> tuple[OutcomeView, ...]:
    """What the final entry made of each party's part, corrections apart."""
    shares, pledges = pending_parts(pending)
    moved = {posting.account: posting.amount for posting in final.postings}
    return tuple(
        OutcomeView(
            party=party,
            pending=shares.get(party, 0),
            payable=-moved.get(party_account(party, "Payable"), 0),
            lost=pledges.get(party, 0) + moved.get(party_account(party, "Stake"), 0),
        )
        for party in sorted({*shares, *pledges})
    )
