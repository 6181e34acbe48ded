"""What parties put at stake: paying in, asking it back, and deposits on disputes. Pure.

Stake that was asked back leaves after the cooling period. Until then it can still be pledged: the request is then
cancelled, and what the pledge leaves of it is asked back again from the same day.

>>> from datetime import datetime, timedelta, timezone
>>> at = datetime(2026, 1, 1, tzinfo=timezone.utc)
>>> asked = exit_request("orbit", 500, at)
>>> asked.id, exit_due(asked, 30)
('stake-exit/orbit/20260101T000000Z/1', datetime.datetime(2026, 1, 31, 0, 0, tzinfo=datetime.timezone.utc))
>>> [cancelled, rest] = reclaim([asked], 200, at + timedelta(days=3), "run r1 pledges it")
>>> cancelled.state.value, rest.id, rest.postings[0].amount
('voided', 'stake-exit/orbit/20260101T000000Z/2', 300)
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from parties.errors import LedgerError
from parties.ledger.entries import Posting, State, Transaction
from parties.ledger.settlement import CASH, POT, party_account

__all__ = [
    "dispute",
    "dispute_id",
    "exit_due",
    "exit_release",
    "exit_request",
    "exits_of",
    "judged",
    "reclaim",
    "stake_deposit",
]

_FORM = "%Y%m%dT%H%M%SZ"


def exits_of(party: str) -> str:
    """What a party's requests carry as run id, so that they can be found."""
    return f"stake-exit/{party}"


def stake_deposit(reference: str, party: str, amount: int, at: datetime) -> Transaction:
    """Cash comes in as stake. ``reference`` makes the id unique."""
    postings = (Posting(CASH, amount), Posting(party_account(party, "Stake"), -amount))
    return Transaction(f"stake/{reference}", at, f"Stake of {party} received", postings)


def exit_request(
    party: str, amount: int, at: datetime, *, asked_at: datetime | None = None, part: int = 1
) -> Transaction:
    """The party asks ``amount`` of its stake back. The cooling period runs from ``asked_at``, when it first did."""
    asked = (asked_at or at).astimezone(UTC).strftime(_FORM)
    postings = (Posting(party_account(party, "Stake"), amount), Posting(party_account(party, "Payable"), -amount))
    narration = f"{party} asks stake back"
    return Transaction(
        f"{exits_of(party)}/{asked}/{part}", at, narration, postings, State.PENDING, run_id=exits_of(party)
    )


def exit_due(request: Transaction, cooling_days: int) -> datetime:
    """When the stake may leave."""
    return _request(request)[1] + timedelta(days=cooling_days)


def exit_release(request: Transaction, at: datetime, cooling_days: int) -> Transaction:
    """The stake becomes payable. Raises :class:`LedgerError` while it cools."""
    due = exit_due(request, cooling_days)
    if at < due:
        raise LedgerError(f"{request.id!r} cools until {due:%Y-%m-%d %H:%M} UTC: release it then")
    return _end(request, "released", at, "Stake is released", State.POSTED)


def reclaim(requests: Iterable[Transaction], shortage: int, at: datetime, why: str) -> list[Transaction]:
    """Cancel the newest requests until ``shortage`` is free again; what is left of the last is asked back anew."""
    made: list[Transaction] = []
    for request in sorted(requests, key=lambda one: one.id, reverse=True):
        if shortage <= 0:
            break
        party, asked_at, part = _request(request)
        amount = request.postings[0].amount
        made.append(_end(request, "reclaimed", at, f"Stake stays: {why}", State.VOIDED))
        if amount > shortage:
            made.append(exit_request(party, amount - shortage, at, asked_at=asked_at, part=part + 1))
        shortage -= amount
    return made


def dispute_id(run_id: str, accuser: str) -> str:
    """The id of a party's dispute of a run; there is one at most."""
    return f"dispute/{run_id}/{accuser}"


def dispute(
    run_id: str, accuser: str, deposit: int, at: datetime, claim: str, *, forfeits: str = POT, evidence: str = ""
) -> Transaction:
    """The accuser's deposit, pending: it is lost to ``forfeits``, or free again, when the dispute is judged."""
    postings = (Posting(party_account(accuser, "Stake"), deposit), Posting(forfeits, -deposit))
    narration = f"{accuser} disputes run {run_id[:12]}: {claim}"
    return Transaction(dispute_id(run_id, accuser), at, narration, postings, State.PENDING, None, run_id, evidence)


def judged(pending: Transaction, at: datetime, why: str, *, upheld: bool, evidence: str = "") -> Transaction:
    """End a dispute: upheld, and the deposit is free; or rejected, and it is lost."""
    if not pending.id.startswith("dispute/"):
        raise LedgerError(f"transaction {pending.id!r} is not a dispute; name one that is")
    word, state = ("upheld", State.VOIDED) if upheld else ("rejected", State.POSTED)
    return _end(pending, word, at, f"Dispute {word}: {why}", state, evidence)


def _request(request: Transaction) -> tuple[str, datetime, int]:
    """Party, first asked at, part."""
    try:
        prefix, party, asked, part = request.id.split("/")
        if prefix != "stake-exit" or request.state is not State.PENDING:
            raise ValueError
        return party, datetime.strptime(asked, _FORM).replace(tzinfo=UTC), int(part)
    except ValueError:
        raise LedgerError(f"transaction {request.id!r} asks no stake back; name one that does") from None


def _end(
    pending: Transaction, word: str, at: datetime, narration: str, state: State, evidence: str = ""
) -> Transaction:
    return Transaction(
        f"{pending.id}/{word}", at, narration, (), state, pending.id, pending.run_id, evidence or pending.evidence
    )
