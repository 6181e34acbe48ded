"""What rolled over to a run, read from the ledger's own entries instead of a number somebody tells. Pure.

Every entry that moved the consortium's Pot is told with its place in the hash chain, so that its content is what the
books hold at that place, and a node remembers them: a later list that leaves one out or changes it is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Annotated

from pydantic import Field, StringConstraints

from parties.errors import LedgerError
from parties.ledger.entries import Head, Posting, State, Transaction, chain
from parties.ledger.settlement import POT
from parties.ledger.store import LedgerStore
from parties.settlement.dossier import Intended
from vfl.terms import Terms

__all__ = ["BookedEntry", "booked", "carried_of", "check_remembered", "pot_entries"]

_Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class BookedEntry(Terms):
    """One entry of the journal with the digest before it and its own: the link that it is in the chain."""

    sequence: int = Field(ge=1)
    previous: _Digest
    digest: _Digest
    transaction: Intended
    evidence: str = ""

    def content(self) -> Transaction:
        """The transaction as it is hashed. Raises :class:`LedgerError` unless it is what the chain holds there."""
        said = self.transaction
        postings = tuple(Posting(account, amount) for account, amount in said.postings)
        made = Transaction(
            said.id, said.timestamp, said.narration, postings, said.state, said.resolves, said.run_id, self.evidence
        )
        if chain(Head(self.sequence - 1, self.previous), made).digest != self.digest:
            raise LedgerError(f"entry {self.sequence} of the books does not have the digest that was told: refuse it")
        return made


def booked(ledger: LedgerStore, ids: Iterable[str]) -> tuple[BookedEntry, ...]:
    """The entries of these ids with their places in the chain, in order."""
    digests, wanted = ledger.digests(), set(ids)
    return tuple(
        BookedEntry(
            sequence=entry.sequence,
            previous=digests[entry.sequence - 1],
            digest=entry.digest,
            transaction=Intended.of(entry.transaction),
            evidence=entry.transaction.evidence,
        )
        for entry in ledger.journal()
        if entry.transaction.id in wanted
    )


def pot_entries(ledger: LedgerStore, before: int | None = None) -> tuple[BookedEntry, ...]:
    """Every entry that moved the Pot, or resolved one that did, before the place ``before``; all of them for None."""
    made: list[BookedEntry] = []
    touching: set[str] = set()
    digests = ledger.digests()
    for entry in ledger.journal():
        if before is not None and entry.sequence >= before:
            break
        one = entry.transaction
        if any(posting.account == POT for posting in one.postings) or one.resolves in touching:
            touching.add(one.id)
            made.append(
                BookedEntry(
                    sequence=entry.sequence,
                    previous=digests[entry.sequence - 1],
                    digest=entry.digest,
                    transaction=Intended.of(one),
                    evidence=one.evidence,
                )
            )
    return tuple(made)


def carried_of(entries: Iterable[BookedEntry]) -> int:
    """Minor units of the Pot that are free: what is posted, less what is pending and may leave.

    Raises :class:`LedgerError` for entries that are not what the chain holds, out of order or told twice.
    """
    told = list(entries)
    if any(later.sequence <= earlier.sequence for earlier, later in pairwise(told)):
        raise LedgerError("the books' entries were told out of order: ask for them again")
    contents = [entry.content() for entry in told]
    if len({one.id for one in contents}) != len(contents):
        raise LedgerError("an entry of the books was told twice: ask for them again")
    resolved = {one.resolves: one.state for one in contents if one.resolves}
    free = 0
    for one in contents:
        moved = -sum(posting.amount for posting in one.postings if posting.account == POT)
        counts = one.state is State.POSTED or resolved.get(one.id) is State.POSTED
        waits = one.state is State.PENDING and one.id not in resolved
        free += moved if counts or (waits and moved < 0) else 0
    return max(0, free)


def check_remembered(earlier: Sequence[BookedEntry], now: Sequence[BookedEntry]) -> None:
    """Raise :class:`LedgerError` where a list leaves out or changes what was told before, as far as it reaches."""
    told = {entry.sequence: entry for entry in now}
    reaches = max(told, default=0)
    for entry in earlier:
        if entry.sequence <= reaches and told.get(entry.sequence) != entry:
            raise LedgerError(
                f"the books tell entry {entry.sequence} ({entry.transaction.id}) otherwise than before: someone "
                "changed them, or leaves it out"
            )
