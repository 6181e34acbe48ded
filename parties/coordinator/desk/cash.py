"""Money's doors besides a run's settlement: receipts, payouts, stake that leaves, corrections, disputes. Nothing signs.

An admin asks for what concerns the consortium's money. A dispute and stake asked back are a party's own: its operator
asks, and its node alone signs.
"""

from __future__ import annotations

from datetime import datetime

from parties.calls.asking import Role
from parties.calls.settlement import CashQuestion, CashStep, DossierView, PlanView
from parties.coordinator.approvals import Approvals
from parties.coordinator.closed_runs import closed_run
from parties.coordinator.desk.doors import Caller, Door, Doors
from parties.coordinator.desk.dossier_views import DossierViews, amounts_of
from parties.coordinator.engine import Engine
from parties.errors import AgreementError, LedgerError
from parties.ledger.entries import Unit
from parties.ledger.settlement import CASH
from parties.ledger.store import LedgerStore
from parties.members.roster import Roster
from parties.names import ADMIN
from parties.settlement.cash import propose_exit, propose_payouts, propose_receipt, propose_release
from parties.settlement.closed_run import ClosedRun
from parties.settlement.dossier import Dossier
from parties.settlement.dossier_store import requirement
from parties.settlement.proposals import propose_correction, propose_dispute, settlement_rules

__all__ = ["CashDesk", "doors"]

_ASKING: frozenset[Role] = frozenset(("admin", "operator"))
_OWN = ("dispute", "exit")
_OF_RUNS = ("correction", "dispute")


class CashDesk:
    """Plans and asks for the steps of one coordinator."""

    def __init__(self, ledger: LedgerStore, engine: Engine, approvals: Approvals, roster: Roster) -> None:
        self._ledger = ledger
        self._engine = engine
        self._approvals = approvals
        self._roster = roster
        self._views = DossierViews(ledger, engine, approvals)

    def plan(self, asked: CashQuestion, caller: Caller) -> PlanView:
        _check_caller(asked, caller)
        run, unit = self._run(asked), self._unit()
        try:
            dossier = self._propose(asked, run, unit, self._approvals.clock())
            self._check_accounts(dossier)
        except LedgerError as error:
            return PlanView(
                kind=asked.kind, run_id=asked.run_id, unit=unit.code, scale=unit.scale, blocked=(str(error),)
            )
        need = requirement(dossier, run.agreement if run else None, self._roster)
        return PlanView(
            kind=asked.kind,
            run_id=asked.run_id,
            unit=unit.code,
            scale=unit.scale,
            reasons=dossier.reasons,
            steps=self._views.lines(dossier.transactions),
            effects=tuple(self._views.effects(dossier.transactions)),
            needed=need.needed,
            approvers=self._views.people(need.people),
        )

    def ask(self, asked: CashStep, caller: Caller) -> DossierView:
        _check_caller(asked, caller)
        run = self._run(asked)
        dossier = self._propose(asked, run, self._unit(), self._approvals.clock())
        shown = self._views.lines(dossier.transactions)
        # what is asked back at another second is another entry of the same amounts
        if asked.shown and [amounts_of(one)[1:] for one in asked.shown] != [amounts_of(one)[1:] for one in shown]:
            raise LedgerError("the books have moved since the dry run: look at it again, and ask then")
        return self._views.dossier(self._approvals.ask(dossier, run, caller.signature))

    # -- inside

    def _unit(self) -> Unit:
        account = self._ledger.accounts().get(CASH)
        if account is None:
            raise LedgerError("the ledger has no accounts yet: entente ledger open makes them")
        return account.unit

    def _run(self, asked: CashQuestion) -> ClosedRun | None:
        if asked.kind not in _OF_RUNS:
            return None
        if not asked.run_id:
            raise LedgerError("name the run that this is about")
        known = self._engine.known(asked.run_id)
        run = closed_run(known.state, known.agreement)
        if run is None:
            raise LedgerError(f"run {asked.run_id[:12]} has no settlement yet: wait until it is valued")
        return run

    def _check_accounts(self, dossier: Dossier) -> None:
        known = self._ledger.accounts()
        closed = [name for one in dossier.transactions for name, _ in one.postings if name not in known]
        if closed:
            raise LedgerError(f"account {closed[0]!r} is not open: entente ledger open makes the party's accounts")

    def _propose(self, asked: CashQuestion, run: ClosedRun | None, unit: Unit, now: datetime) -> Dossier:
        if not asked.parties:
            raise LedgerError("name the party that this is about")
        first, *others = asked.parties
        if others and asked.kind != "pay":
            raise LedgerError("one party at a time")
        if asked.kind in ("receipt", "pay") and not asked.reference:
            raise LedgerError("give a reference of its own: the bank's, or the batch's such as 2026-06")
        if asked.kind in _OF_RUNS and not asked.why.strip():
            raise LedgerError("say why: everybody who is asked reads it")
        match asked.kind:
            case "receipt":
                return propose_receipt(first, asked.amount, asked.reference, ADMIN, now, stake=asked.stake, unit=unit)
            case "pay":
                return propose_payouts(self._ledger, asked.parties, asked.reference, ADMIN, now)
            case "release":
                return propose_release(self._ledger, first, self._cooling_days(), ADMIN, now)
            case "exit":
                return propose_exit(first, asked.amount, now, unit)
            case "correction":
                assert run is not None
                return propose_correction(self._ledger, run, {first: asked.amount}, asked.why, ADMIN, now)
            case "dispute":
                assert run is not None
                return propose_dispute(run, first, asked.why, now)

    def _cooling_days(self) -> int:
        """As the latest agreement with a settlement has it."""
        for known in self._engine.all_runs():
            run = closed_run(known.state, known.agreement)
            if run is not None:
                return settlement_rules(run.agreement).cooling_days
        raise LedgerError("no run has been valued yet, so no agreement says how long stake cools")


def doors(ledger: LedgerStore, engine: Engine, approvals: Approvals, roster: Roster) -> Doors:
    """The doors about money that moves."""
    desk = CashDesk(ledger, engine, approvals, roster)
    return {
        "settlement/cash-plan": Door(desk.plan, _ASKING, CashQuestion),
        "settlement/cash-ask": Door(desk.ask, _ASKING, CashStep, acts=True),
    }


def _check_caller(asked: CashQuestion, caller: Caller) -> None:
    if asked.kind in _OWN:
        if caller.role != "operator" or asked.parties != (caller.party,):
            raise AgreementError(f"only an operator of the party may ask for its own {asked.kind}")
    elif caller.role != "admin":
        raise AgreementError(f"an admin asks for a {asked.kind}; the parties it concerns approve at their nodes")
