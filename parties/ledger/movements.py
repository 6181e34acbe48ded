"""What each journal entry does to each account, in order: the basis of statements and exports. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from parties.ledger.entries import Entry, State, Transaction

__all__ = ["Movement", "movements"]


@dataclass(frozen=True, slots=True)
class Movement:
    """``posted`` and ``pending``: changes in minor units, debit above zero."""

    account: str
    posted: int
    pending: int


def movements(journal: Iterable[Entry]) -> Iterator[tuple[Entry, tuple[Movement, ...]]]:
    """Entries with what they move. ``journal`` must begin at its beginning, for resolutions look back."""
    waiting: dict[str, Transaction] = {}
    for entry in journal:
        transaction = entry.transaction
        posted: dict[str, int] = {}
        pending: dict[str, int] = {}
        if transaction.resolves is not None:
            for posting in waiting.pop(transaction.resolves).postings:
                pending[posting.account] = -posting.amount
                if transaction.state is State.POSTED:
                    posted[posting.account] = posting.amount
        elif transaction.state is State.PENDING:
            waiting[transaction.id] = transaction
        moved = pending if transaction.state is State.PENDING else posted
        for posting in transaction.postings:
            moved[posting.account] = moved.get(posting.account, 0) + posting.amount
        names = dict.fromkeys([*pending, *posted])
        yield entry, tuple(Movement(name, posted.get(name, 0), pending.get(name, 0)) for name in names)
