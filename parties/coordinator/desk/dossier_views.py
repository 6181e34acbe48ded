"""How the desk shows what would be posted, what it does to the balances, and whose approval is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from parties.calls.money import LineView
from parties.calls.settlement import ApproverView, DossierView, EffectView, StepLine
from parties.coordinator.approvals import Approvals, Waiting
from parties.coordinator.engine import Engine
from parties.ledger.entries import Account, Balance, Entry, Posting, Side, Transaction
from parties.ledger.movements import movements
from parties.ledger.store import LedgerStore
from parties.settlement.dossier import Intended

__all__ = ["DossierViews", "amounts_of"]


class DossierViews:
    """Views on the books and the approvals of one coordinator."""

    def __init__(self, ledger: LedgerStore, engine: Engine, approvals: Approvals) -> None:
        self._ledger = ledger
        self._engine = engine
        self._approvals = approvals

    def lines(self, intended: Iterable[Intended]) -> tuple[StepLine, ...]:
        accounts = self._ledger.accounts()
        return tuple(
            StepLine(
                transaction=one.id,
                state=one.state.value,
                narration=one.narration,
                lines=tuple(
                    LineView(account=name, minor=minor, unit=accounts[name].unit.code, scale=accounts[name].unit.scale)
                    for name, minor in one.postings
                    if name in accounts
                ),
            )
            for one in intended
        )

    def effects(self, intended: Iterable[Intended]) -> Iterable[EffectView]:
        """Each account touched, before and after, what is resolved included."""
        steps = [_transaction(one) for one in intended]
        before = self._ledger.entries([one.resolves for one in steps if one.resolves])
        journal = [*before.values(), *(Entry(0, "", one) for one in steps)]
        accounts, balances = self._ledger.accounts(), self._ledger.balances()
        changes: dict[str, tuple[int, int]] = {}
        for entry, moves in movements(journal):
            if entry.transaction.id in before:
                continue
            for move in moves:
                posted, pending = changes.get(move.account, (0, 0))
                changes[move.account] = posted + move.posted, pending + move.pending
        for name, (posted, pending) in sorted(changes.items()):
            if name in accounts:
                yield _effect(accounts[name], balances[name], posted, pending)

    def dossier(self, one: Waiting) -> DossierView:
        need = self._approvals.needed(one)
        return DossierView(
            digest=one.request.digest,
            kind=one.dossier.kind,
            run_id=one.dossier.run_id,
            party=one.dossier.party,
            asked_by=one.request.asked_by,
            asked_at=one.request.asked_at,
            reasons=one.dossier.reasons,
            steps=self.lines(one.dossier.transactions),
            needed=need.needed,
            approvers=self.people(need.people, one),
            state="posted" if one.posted else "open" if one.open else "ended",
            ended=one.request.ended,
        )

    def people(self, people: Mapping[str, str], one: Waiting | None = None) -> tuple[ApproverView, ...]:
        approved = {approval.name: approval for approval in one.dossier.approvals} if one else {}
        refused = {refusal.party: refusal for refusal in one.request.refusals} if one else {}
        shown = []
        for name, line in self._engine.attachments(sorted(people)).items():
            online = line.attached
            if name in approved:
                shown.append(ApproverView(name=name, state="approved", online=online, at=approved[name].at))
            elif name in refused:
                why, at = refused[name].why, refused[name].at
                shown.append(ApproverView(name=name, state="refused", online=online, at=at, why=why))
            else:
                asked = one is not None and name in one.request.asked
                shown.append(ApproverView(name=name, state="asked" if asked else "may", online=online))
        return tuple(shown)


def amounts_of(step: StepLine) -> tuple[str, str, tuple[tuple[str, int], ...]]:
    return step.transaction, step.state, tuple((line.account, line.minor) for line in step.lines)


def _transaction(one: Intended) -> Transaction:
    postings = tuple(Posting(account, amount) for account, amount in one.postings)
    return Transaction(one.id, one.timestamp, one.narration, postings, one.state, one.resolves, one.run_id)


def _effect(account: Account, balance: Balance, posted: int, pending: int) -> EffectView:
    sign = 1 if account.normal is Side.DEBIT else -1
    return EffectView(
        account=account.name,
        unit=account.unit.code,
        scale=account.unit.scale,
        posted=balance.posted,
        pending=balance.pending,
        posted_after=balance.posted + sign * posted,
        pending_after=balance.pending + sign * pending,
    )
