"""What every dossier of a settlement step is made of."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from parties.agreement.document import Agreement
from parties.errors import LedgerError
from parties.ledger.entries import Transaction
from parties.ledger.rules import check_shape
from parties.ledger.store import LedgerStore
from parties.settlement.dossier import Dossier, DossierKind, Intended

__all__ = ["METHOD", "in_words", "new_dossier", "read_in", "waiting_transaction"]

METHOD = "entente settlement 1"


def new_dossier(
    kind: DossierKind,
    run_id: str,
    by: str,
    at: datetime,
    reasons: Sequence[str],
    transactions: Sequence[Transaction],
    basis: dict[str, Any] | None = None,
    *,
    party: str = "",
) -> Dossier:
    """Raises :class:`LedgerError` for what the books would refuse once everybody has signed."""
    for transaction in transactions:
        check_shape(transaction)
    return Dossier(
        kind=kind,
        run_id=run_id,
        party=party,
        proposer=by,
        made_at=at,
        reasons=tuple(reasons),
        basis={"method": METHOD} | (basis or {}),
        transactions=tuple(map(Intended.of, transactions)),
    )


def read_in(unit: str, scale: int) -> dict[str, Any]:
    """What amounts are read in, for a dossier that is signed away from the books."""
    return {"unit": unit, "scale": scale}


def waiting_transaction(ledger: LedgerStore, transaction_id: str, fault: str) -> Transaction:
    entry = ledger.entry(transaction_id)
    if entry is None:
        raise LedgerError(f"{fault}: list the journal for what there is")
    if not entry.waiting:
        raise LedgerError(f"{transaction_id!r} is resolved already, by {entry.resolved_by!r}")
    return entry.transaction


def in_words(agreement: Agreement, amount: int) -> str:
    terms = agreement.reward
    sign, digits = "-" * (amount < 0), str(abs(amount)).rjust(terms.scale + 1, "0")
    whole, fraction = (digits[: -terms.scale], "." + digits[-terms.scale :]) if terms.scale else (digits, "")
    return f"{sign}{whole}{fraction} {terms.unit}"
