"""A settlement as ledger transactions: pending at run close, then final or voided, once. Pure.

Ids are derived from the run id, so settling twice is the same transaction twice, and posting is
idempotent as long as the timestamps given are the same (take them from the event, not from a clock).

>>> from datetime import datetime, timezone
>>> at = datetime(2026, 1, 31, tzinfo=timezone.utc)
>>> [pending] = settlement_transactions("r1", {"orbit": 67, "chatter": 33}, at)
>>> for posting in pending.postings:
...     print(f"{posting.account:34}{posting.amount:>5}")
Expenses:Reward                     100
Liabilities:Party:chatter:Pending   -33
Liabilities:Party:orbit:Pending     -67
>>> for posting in final_settlement(pending, at, payable={"orbit": 60, "chatter": 33}).postings:
...     print(f"{posting.account:34}{posting.amount:>5}")
Liabilities:Party:chatter:Pending    33
Liabilities:Party:chatter:Payable   -33
Liabilities:Party:orbit:Pending      67
Liabilities:Party:orbit:Payable     -60
Expenses:Reward                      -7
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Literal

from parties.errors import LedgerError
from parties.ledger.entries import Account, Posting, State, Transaction, Unit

__all__ = [
    "CASH",
    "FORFEITS",
    "OPERATOR",
    "POT",
    "REWARD",
    "SUBSCRIPTIONS",
    "chart_of_accounts",
    "final_settlement",
    "party_account",
    "payout",
    "pending_id",
    "settlement_transactions",
    "subscription",
    "void_settlement",
]

CASH = "Assets:Consortium:Cash"
SUBSCRIPTIONS = "Income:Subscriptions"
FORFEITS = "Income:Forfeits"
REWARD = "Expenses:Reward"
OPERATOR = "Expenses:Operator"
POT = "Liabilities:Consortium:Pot"

_PREFIX, _PENDING = "Liabilities:Party:", ":Pending"


def party_account(party: str, kind: Literal["Stake", "Pending", "Payable"]) -> str:
    """``Liabilities:Party:PARTY:KIND``: what the consortium holds for, may owe, or owes the party."""
    return f"{_PREFIX}{party}:{kind}"


def chart_of_accounts(unit: Unit, parties: Iterable[str]) -> tuple[Account, ...]:
    """The accounts of a consortium. Cash and what is owed can never fall below zero."""
    common = (
        Account(CASH, unit, least=0),
        Account(SUBSCRIPTIONS, unit),
        Account(FORFEITS, unit),
        Account(REWARD, unit),
        Account(OPERATOR, unit),
        Account(POT, unit, least=0),
    )
    kinds: tuple[Literal["Stake", "Pending", "Payable"], ...] = ("Stake", "Pending", "Payable")
    return common + tuple(Account(party_account(p, kind), unit, least=0) for p in parties for kind in kinds)


def subscription(reference: str, amount: int, at: datetime, narration: str = "Subscription received") -> Transaction:
    """Cash comes in: what rewards are later paid from. ``reference`` makes the id unique."""
    return Transaction(
        f"subscription/{reference}", at, narration, (Posting(CASH, amount), Posting(SUBSCRIPTIONS, -amount))
    )


def pending_id(run_id: str) -> str:
    """The id of the run's pending settlement."""
    return f"settlement/{run_id}"


def settlement_transactions(
    run_id: str, shares: Mapping[str, int], at: datetime, *, evidence: str = ""
) -> tuple[Transaction, ...]:
    """The pending settlement of a run: one transaction for all parties, or none if every share is zero.

    ``shares``: minor units by party. ``evidence``: hash of what the shares were computed from.
    """
    earned = {party: share for party, share in sorted(shares.items()) if share != 0}
    if not earned:
        return ()
    postings = (
        Posting(REWARD, sum(earned.values())),
        *(Posting(party_account(party, "Pending"), -share) for party, share in earned.items()),
    )
    narration = f"Reward of run {run_id[:12]}, pending until its labels resolve"
    return (Transaction(pending_id(run_id), at, narration, postings, State.PENDING, None, run_id, evidence),)


def final_settlement(
    pending: Transaction, at: datetime, *, payable: Mapping[str, int] | None = None, evidence: str = ""
) -> Transaction:
    """Post ``pending`` and make it payable: all of it, or ``payable`` minor units by party, at most what was pending.

    What is not payable goes back to the pot (Expenses:Reward falls). Raises :class:`LedgerError` when
    ``payable`` names other parties or more than was pending.
    """
    due = _pending_shares(pending)
    final = due if payable is None else payable
    if set(final) != set(due):
        raise LedgerError(f"settlement {pending.id!r}: name exactly the parties {sorted(due)}, not {sorted(final)}")
    postings: list[Posting] = []
    for party, amount in due.items():
        if not 0 <= final[party] <= amount:
            raise LedgerError(
                f"settlement {pending.id!r}: {final[party]} payable to {party!r} must lie between 0 and "
                f"the {amount} pending"
            )
        postings.append(Posting(party_account(party, "Pending"), amount))
        if final[party]:
            postings.append(Posting(party_account(party, "Payable"), -final[party]))
    returned = sum(due.values()) - sum(final.values())
    if returned:
        postings.append(Posting(REWARD, -returned))
    return Transaction(
        id=f"{pending.id}/final",
        timestamp=at,
        narration=f"Reward of run {pending.run_id[:12]} is final",
        postings=tuple(postings),
        resolves=pending.id,
        run_id=pending.run_id,
        evidence=evidence,
    )


def void_settlement(pending: Transaction, at: datetime, reason: str, *, evidence: str = "") -> Transaction:
    """Cancel ``pending``: nothing is owed."""
    return Transaction(
        id=f"{pending.id}/void",
        timestamp=at,
        narration=f"Reward of run {pending.run_id[:12]} is void: {reason}",
        state=State.VOIDED,
        resolves=pending.id,
        run_id=pending.run_id,
        evidence=evidence,
    )


def payout(reference: str, party: str, amount: int, at: datetime, narration: str = "Reward paid out") -> Transaction:
    """Pay ``amount`` of what is payable to ``party``. ``reference`` makes the id unique."""
    return Transaction(
        f"payout/{reference}", at, narration, (Posting(party_account(party, "Payable"), amount), Posting(CASH, -amount))
    )


def _pending_shares(pending: Transaction) -> dict[str, int]:
    """Party -> minor units, of a transaction that settlement_transactions made."""
    shares = {
        posting.account[len(_PREFIX) : -len(_PENDING)]: -posting.amount
        for posting in pending.postings
        if posting.account.startswith(_PREFIX) and posting.account.endswith(_PENDING)
    }
    if pending.state is not State.PENDING or len(shares) != len(pending.postings) - 1:
        raise LedgerError(f"transaction {pending.id!r} is not a pending settlement; name one that is")
    return shares
