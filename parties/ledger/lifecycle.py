"""A settlement under rules with stakes and a roll-over account, as transactions. Pure.

At the close one pending transaction books the whole pot as an expense: to the parties' Pending, and what nobody may
have to the consortium's Pot; it also sets aside what each party can lose of its stake. Later one transaction makes that
final: what live data confirms becomes payable, what it takes is forfeited, the rest of a pledge is free again.

>>> from datetime import datetime, timezone
>>> at = datetime(2026, 1, 31, tzinfo=timezone.utc)
>>> close = close_transaction("r1", {"orbit": 60, "chatter": 0}, at, pot=100, pledges={"orbit": 75, "chatter": 50})
>>> for posting in close.postings:
...     print(f"{posting.account:34}{posting.amount:>5}")
Expenses:Reward                     100
Liabilities:Party:orbit:Pending     -60
Liabilities:Consortium:Pot         -165
Liabilities:Party:orbit:Stake        75
Liabilities:Party:chatter:Stake      50
>>> final = resolve_transaction(close, at, {"orbit": 45, "chatter": 0}, {"orbit": 0, "chatter": 30})
>>> for posting in final.postings:
...     print(f"{posting.account:34}{posting.amount:>5}")
Liabilities:Party:orbit:Pending      60
Liabilities:Party:orbit:Payable     -45
Liabilities:Consortium:Pot           80
Liabilities:Party:orbit:Stake       -75
Liabilities:Party:chatter:Stake     -20
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from parties.errors import LedgerError
from parties.ledger.entries import Posting, State, Transaction
from parties.ledger.settlement import POT, REWARD, party_account, pending_id

__all__ = [
    "close_transaction",
    "correction",
    "licence_id",
    "licence_transaction",
    "pending_parts",
    "resolve_transaction",
]


def close_transaction(
    run_id: str,
    shares: Mapping[str, int],
    at: datetime,
    *,
    pot: int,
    pledges: Mapping[str, int],
    forfeits: str = POT,
    evidence: str = "",
) -> Transaction:
    """The pending settlement: ``shares`` and ``pledges`` in minor units by party; ``forfeits`` is where losses go.

    ``pot`` is this run's own: paid shares above it come out of what was rolled over before.
    """
    moves = [(REWARD, pot)]
    for party, share in shares.items():
        moves += [(party_account(party, "Pending"), -share), (POT, share)]
    moves.append((POT, -pot))
    for party, pledge in pledges.items():
        moves += [(party_account(party, "Stake"), pledge), (forfeits, -pledge)]
    narration = f"Reward of run {run_id[:12]}, pending until its labels resolve"
    return Transaction(pending_id(run_id), at, narration, _net(moves), State.PENDING, None, run_id, evidence)


def licence_transaction(
    run_id: str, number: int, shares: Mapping[str, int], at: datetime, *, amount: int, evidence: str = ""
) -> Transaction:
    """What the ``number``-th period of use costs, payable at once; what nobody has a share of goes to the Pot.

    Raises :class:`LedgerError` for shares below zero or above ``amount`` together.
    """
    if amount <= 0 or min(shares.values(), default=0) < 0 or sum(shares.values()) > amount:
        raise LedgerError(f"shares of a licence must lie between 0 and the {amount} of the period: compute them again")
    moves = [(REWARD, amount)]
    moves += [(party_account(party, "Payable"), -share) for party, share in sorted(shares.items())]
    moves.append((POT, sum(shares.values()) - amount))
    narration = f"Licence of run {run_id[:12]}, period {number} of use"
    return Transaction(licence_id(run_id, number), at, narration, _net(moves), run_id=run_id, evidence=evidence)


def licence_id(run_id: str, number: int) -> str:
    """The id of what a run's ``number``-th period of use costs: posted once, whoever proposes it."""
    return f"licence/{run_id}/{number}"


def pending_parts(pending: Transaction) -> tuple[dict[str, int], dict[str, int]]:
    """Shares and pledges by party, of a pending settlement.

    Raises :class:`LedgerError` when the transaction is none.
    """
    if pending.state is not State.PENDING or pending.id != pending_id(pending.run_id):
        raise LedgerError(f"transaction {pending.id!r} is not a pending settlement; name one that is")
    shares: dict[str, int] = {}
    pledges: dict[str, int] = {}
    for posting in pending.postings:
        owner, _, kind = posting.account.removeprefix("Liabilities:Party:").partition(":")
        if kind == "Pending":
            shares[owner] = -posting.amount
        elif kind == "Stake":
            pledges[owner] = posting.amount
    return shares, pledges


def resolve_transaction(
    pending: Transaction,
    at: datetime,
    payable: Mapping[str, int],
    losses: Mapping[str, int],
    *,
    unpaid: str = POT,
    forfeits: str = POT,
    evidence: str = "",
) -> Transaction:
    """Make ``pending`` final: what each party is paid and loses. What it is not paid goes to ``unpaid``.

    Raises :class:`LedgerError` for more than was pending or pledged, and for parties the settlement does not know.
    """
    shares, pledges = pending_parts(pending)
    moves: list[tuple[str, int]] = []
    for what, asked, most in (("payable to", payable, shares), ("lost by", losses, pledges)):
        for party, amount in asked.items():
            if not 0 <= amount <= most.get(party, 0):
                raise LedgerError(
                    f"settlement {pending.id!r}: {amount} {what} {party!r} must lie between 0 and the "
                    f"{most.get(party, 0)} that was set aside"
                )
    for party, share in shares.items():
        paid = payable.get(party, 0)
        moves += [
            (party_account(party, "Pending"), share),
            (party_account(party, "Payable"), -paid),
            (unpaid, paid - share),
        ]
    for party, pledge in pledges.items():
        free = pledge - losses.get(party, 0)
        moves += [(party_account(party, "Stake"), -free), (forfeits, free)]
    return Transaction(
        id=f"{pending.id}/final",
        timestamp=at,
        narration=f"Reward of run {pending.run_id[:12]} is final",
        postings=_net(moves),
        resolves=pending.id,
        run_id=pending.run_id,
        evidence=evidence,
    )


def correction(
    run_id: str,
    number: int,
    amounts: Mapping[str, int],
    at: datetime,
    why: str,
    *,
    against: str = POT,
    evidence: str = "",
) -> Transaction:
    """A new entry that pays parties more (above zero) or less (below zero) than the final settlement did.

    What was paid out already cannot be taken back here: Payable never falls below zero.
    """
    moves = [(party_account(party, "Payable"), -amount) for party, amount in sorted(amounts.items())]
    moves.append((against, sum(amounts.values())))
    narration = f"Correction {number} of run {run_id[:12]}: {why}"
    return Transaction(
        f"{pending_id(run_id)}/correction/{number}", at, narration, _net(moves), run_id=run_id, evidence=evidence
    )


def _net(moves: Iterable[tuple[str, int]]) -> tuple[Posting, ...]:
    """One posting per account, without those that cancel out."""
    sums: dict[str, int] = {}
    for account, amount in moves:
        sums[account] = sums.get(account, 0) + amount
    return tuple(Posting(account, amount) for account, amount in sums.items() if amount)
