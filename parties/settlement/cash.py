"""Steps that move cash: receipts, fee income, stakes that leave, payouts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from parties.agreement.document import Agreement
from parties.errors import LedgerError
from parties.ledger.entries import Unit
from parties.ledger.settlement import CASH, party_account, payout, subscription
from parties.ledger.stakes import exit_due, exit_release, exit_request, exits_of, stake_deposit
from parties.ledger.store import LedgerStore
from parties.settlement.dossier import Dossier
from parties.settlement.dossier_parts import in_words, new_dossier, read_in
from vfl.protocols.fee_reports import FeeResult

__all__ = ["propose_exit", "propose_fee_income", "propose_payouts", "propose_receipt", "propose_release"]

_REFERENCE = re.compile(r"[\x21-\x7e]{1,80}")


def propose_receipt(
    party: str, amount: int, reference: str, by: str, at: datetime, *, stake: bool, unit: Unit | None = None
) -> Dossier:
    """Cash that came in: a subscription, or a party's stake. Raises :class:`LedgerError` for nothing or less.

    ``unit``: what whoever signs reads the amount in.
    """
    _check_reference(reference)
    if amount <= 0:
        raise LedgerError("what came in is above zero: money that leaves is paid out with entente settle pay")
    made = (
        stake_deposit(reference, party, amount, at)
        if stake
        else subscription(reference, amount, at, f"Subscription of {party} received")
    )
    told = f"{made.narration}: {unit.format(amount)} {unit.code}" if unit else made.narration
    return new_dossier("receipt", "", by, at, [told], [made], _read_in(unit), party=party)


def propose_fee_income(
    ledger: LedgerStore, agreement: Agreement, result: FeeResult, proof: str, by: str, at: datetime
) -> Dossier:
    """The checked total of a period's usage fees as cash and income, once per consortium and period.

    Everybody who reported signs that it was paid in.

    ``proof``: SHA-256 of the published result, hex. Raises :class:`LedgerError` for a period that was booked, a total
    of nothing, and books in another unit.
    """
    reference = f"fees/{_token(agreement.consortium)}/{_token(result.period)}"
    terms, cash = agreement.reward, ledger.accounts().get(CASH)
    if cash is None:
        raise LedgerError("the ledger has no accounts yet: entente ledger open makes them")
    if cash.unit != Unit(terms.unit, terms.scale):
        raise LedgerError(
            f"the fees are in {terms.unit} and the books in {cash.unit.code}: book them where they belong"
        )
    if ledger.entry(f"subscription/{reference}") is not None:
        raise LedgerError(f"the fees of {result.period!r} are in the books already, as 'subscription/{reference}'")
    if not result.total:
        raise LedgerError(f"the fees of {result.period!r} come to nothing: there is nothing to book")
    who = f"{', '.join(result.reporters)} reported; absent: {', '.join(result.absent) or 'nobody'}"
    made = subscription(reference, result.total, at, f"Usage fees of {result.period}, opened total")
    reasons = [f"usage fees of {result.period}: {in_words(agreement, result.total)}, proved; {who}"]
    basis: dict[str, Any] = {"agreement": agreement.run_id, "period": result.period, "result_sha256": proof}
    basis |= {"reporters": list(result.reporters)}
    return new_dossier("receipt", "", by, at, reasons, [made], basis)


def _check_reference(reference: str) -> None:
    if not _REFERENCE.fullmatch(reference):
        raise LedgerError(
            f"reference {reference!r}: the books take 1 to 80 letters, digits and signs without spaces or accents, "
            "such as SEPA-2026-06"
        )


def _token(name: str) -> str:
    """A name as the books' ids take one: as it is where it can be, else made printable, with a digest of it."""
    if _REFERENCE.fullmatch(name):
        return name
    printable = re.sub(r"[^\x21-\x7e]+", "-", name)[:60]
    return f"{printable}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _read_in(unit: Unit | None) -> dict[str, Any]:
    return {} if unit is None else read_in(unit.code, unit.scale)


def propose_exit(party: str, amount: int, at: datetime, unit: Unit | None = None) -> Dossier:
    """The party asks stake back; it alone signs that. Raises :class:`LedgerError` for nothing or less."""
    if amount <= 0:
        raise LedgerError("ask more than zero back: stake is paid in with entente settle receive --stake")
    told = f"{party} asks {f'{unit.format(amount)} {unit.code} of its ' if unit else ''}stake back"
    made = exit_request(party, amount, at)
    return new_dossier("exit", "", party, at, [told], [made], _read_in(unit), party=party)


def propose_release(ledger: LedgerStore, party: str, cooling_days: int, by: str, at: datetime) -> Dossier:
    """Stake whose cooling period is over becomes payable."""
    asked = [entry.transaction for entry in ledger.journal(run_id=exits_of(party)) if entry.waiting]
    if not asked:
        raise LedgerError(f"{party!r} has not asked any stake back")
    asked.sort(key=lambda request: exit_due(request, cooling_days))
    due = [request for request in asked if exit_due(request, cooling_days) <= at] or asked[:1]
    made = [exit_release(request, at, cooling_days) for request in due]
    return new_dossier(
        "release", "", by, at, [f"stake of {party} has cooled for {cooling_days} days"], made, party=party
    )


def propose_payouts(ledger: LedgerStore, parties: Sequence[str], reference: str, by: str, at: datetime) -> Dossier:
    """Everything payable to these parties leaves the bank account. Raises :class:`LedgerError`."""
    _check_reference(reference)
    balances = ledger.balances()
    due = {
        party: balances[party_account(party, "Payable")].lowest
        for party in parties
        if party_account(party, "Payable") in balances
    }
    made = [payout(f"{reference}/{party}", party, amount, at) for party, amount in due.items() if amount > 0]
    if not made:
        raise LedgerError("nothing is payable to these parties: finalise a settlement first")
    unit, held = ledger.accounts()[CASH].unit, balances[CASH].posted
    reasons = [f"{party}: {unit.format(amount)} {unit.code} is payable" for party, amount in due.items() if amount > 0]
    total = sum(due[party] for party in due if due[party] > 0)
    if held < total:
        reasons.append(
            f"warning: {CASH} holds {unit.format(held)} {unit.code}, and this pays {unit.format(total)} {unit.code}: "
            "book the receipt first, or pay once the money is there"
        )
    return new_dossier("pay", "", by, at, reasons, made, read_in(unit.code, unit.scale))
