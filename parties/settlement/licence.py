"""A licence per period: the factor that was mined once is paid for as long as it is used, as agreed.

Each period of use costs what the agreement says. It is shared in proportion to what the final settlement made payable,
corrections included, so that whoever live data took the reward from has none of the licence either. What nobody has a
share of rolls over.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from parties.agreement.document import Agreement
from parties.agreement.terms import LicenceTerms
from parties.errors import LedgerError
from parties.ledger.entries import State, Transaction
from parties.ledger.lifecycle import licence_id, licence_transaction
from parties.ledger.settlement import party_account, pending_id
from parties.ledger.split import split_reward
from parties.ledger.store import LedgerStore
from parties.settlement.closed_run import ClosedRun
from parties.settlement.dossier import Dossier
from parties.settlement.dossier_parts import in_words, new_dossier, read_in
from parties.settlement.proposals import open_disputes
from parties.settlement.roll_over import BookedEntry, booked

__all__ = ["booked_earnings", "earning_entries", "licence_due", "licence_entries", "propose_licence"]


def _terms(agreement: Agreement) -> LicenceTerms:
    if agreement.reward.licence is None:
        raise LedgerError("the agreement has no licence: agree on reward.licence before the run")
    return agreement.reward.licence


def licence_due(agreement: Agreement, number: int) -> datetime:
    """When the ``number``-th period of use after the calendar is over; periods are as long as the calendar's last one.

    Raises :class:`LedgerError` for a period that is not agreed.
    """
    terms, cutoffs = _terms(agreement), agreement.dated.cutoffs
    if not 1 <= number <= terms.periods:
        raise LedgerError(f"period {number} of use is not agreed: the licence is of {terms.periods} periods")
    return cutoffs[-1] + number * (cutoffs[-1] - cutoffs[-2])


def earning_entries(ledger: LedgerStore, run_id: str) -> tuple[Transaction, ...]:
    """The run's final settlement and its corrections, as they stand in the books."""
    settled = pending_id(run_id)
    found = (entry.transaction for entry in ledger.journal(run_id=run_id))
    return tuple(one for one in found if _earns(one, settled))


def booked_earnings(ledger: LedgerStore, run_id: str) -> tuple[BookedEntry, ...]:
    """The same with their places in the chain, as a node is told them."""
    return booked(ledger, [one.id for one in earning_entries(ledger, run_id)])


def _earns(one: Transaction, settled: str) -> bool:
    return one.id == f"{settled}/final" or one.id.startswith(f"{settled}/correction/")


def _earned(agreement: Agreement, run_id: str, entries: Iterable[Transaction]) -> dict[str, int]:
    """What each feature party was made payable, in minor units. Raises :class:`LedgerError` before it is final."""
    earning = [one for one in entries if _earns(one, pending_id(run_id)) and one.state is State.POSTED]
    if not any(one.id.endswith("/final") for one in earning):
        raise LedgerError(
            f"run {run_id[:12]} is not final, so nobody can say who earned it: finalise it before its licence is paid"
        )
    accounts = {party_account(party.name, "Payable"): party.name for party in agreement.features}
    earned = dict.fromkeys(accounts.values(), 0)
    for one in earning:
        for posting in one.postings:
            if posting.account in accounts:
                earned[accounts[posting.account]] -= posting.amount
    return {party: max(0, amount) for party, amount in earned.items()}


def licence_entries(
    agreement: Agreement, run_id: str, entries: Iterable[Transaction], numbers: Iterable[int], at: datetime
) -> tuple[Transaction, ...]:
    """What these periods of use cost, one transaction each, on the run's final settlement and corrections. Pure.

    Raises :class:`LedgerError` for a period that is not agreed or not over at ``at``, and for a run that is not final.
    """
    amount, earned = _terms(agreement).per_period, _earned(agreement, run_id, entries)
    shares = split_reward(amount, earned).shares
    made = []
    for number in numbers:
        due = licence_due(agreement, number)
        if at < due:
            raise LedgerError(f"period {number} of use is over on {due:%Y-%m-%d}: wait")
        made.append(licence_transaction(run_id, number, shares, at, amount=amount))
    return tuple(made)


def propose_licence(ledger: LedgerStore, run: ClosedRun, by: str, at: datetime) -> Dossier:
    """Every period of use that is over and not yet in the books.

    Raises :class:`LedgerError` saying what it waits for.
    """
    terms, agreement = _terms(run.agreement), run.agreement
    accused = open_disputes(ledger, run.run_id)
    if accused:
        raise LedgerError(f"{accused[0].id!r} is not judged yet: judge it before the licence is paid")
    unpaid = [n for n in range(1, terms.periods + 1) if ledger.entry(licence_id(run.run_id, n)) is None]
    if not unpaid:
        raise LedgerError(f"all {terms.periods} periods of use of run {run.run_id[:12]} are in the books")
    due = [number for number in unpaid if licence_due(agreement, number) <= at] or unpaid[:1]
    made = licence_entries(agreement, run.run_id, earning_entries(ledger, run.run_id), due, at)
    earned = split_reward(terms.per_period, _earned(agreement, run.run_id, earning_entries(ledger, run.run_id)))
    periods = f"period {due[0]}" if len(due) == 1 else f"periods {due[0]} to {due[-1]}"
    reasons = [f"use of the factor in {periods} of {terms.periods}, {in_words(agreement, terms.per_period)} each"]
    reasons += [f"{party}: {in_words(agreement, share)} a period" for party, share in earned.shares.items()]
    if earned.rolled_over:
        reasons.append(
            f"{in_words(agreement, earned.rolled_over)} a period rolls over: the final settlement paid nobody"
        )
    return new_dossier(
        "licence",
        run.run_id,
        by,
        at,
        reasons,
        made,
        {"periods": due} | read_in(agreement.reward.unit, agreement.reward.scale),
    )
