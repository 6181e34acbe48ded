"""The words of the ledger as plain records, and the bytes that are hashed.

A *posting* adds an amount to an account: integers in minor units, debit positive, credit negative.
A *transaction* is a set of postings that sums to zero in every unit. Nothing here judges; see rules.py.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

import rfc8785

__all__ = [
    "GENESIS",
    "LARGEST_AMOUNT",
    "LARGEST_TOTAL",
    "MOST_POSTINGS",
    "Account",
    "Balance",
    "Content",
    "Entry",
    "Head",
    "Lock",
    "Opening",
    "Posting",
    "Receipt",
    "Side",
    "State",
    "Transaction",
    "Unit",
    "canonical",
    "chain",
    "instant",
    "linked",
]

LARGEST_AMOUNT = 2**53 - 1  # the largest integer RFC 8785 can write
LARGEST_TOTAL = 2**63 - 1  # the largest integer a database column holds
MOST_POSTINGS = 512

_DOMAIN = b"entente/ledger/1\x00"
GENESIS = hashlib.sha256(_DOMAIN).hexdigest()


class State(StrEnum):
    """POSTED counts at once; PENDING waits; VOIDED cancels the pending transaction it resolves."""

    POSTED = "posted"
    PENDING = "pending"
    VOIDED = "voided"


class Side(StrEnum):
    """The side on which an account grows."""

    DEBIT = "debit"
    CREDIT = "credit"


@dataclass(frozen=True, slots=True)
class Unit:
    """A currency or commodity; ``scale`` is how many decimal digits a minor unit has (USD: 2)."""

    code: str
    scale: int

    def format(self, amount: int) -> str:
        """The exact decimal of ``amount`` minor units."""
        digits = str(abs(amount)).rjust(self.scale + 1, "0")
        whole = digits[: len(digits) - self.scale]
        fraction = "." + digits[len(digits) - self.scale :] if self.scale else ""
        return ("-" if amount < 0 else "") + whole + fraction


@dataclass(frozen=True, slots=True)
class Account:
    """A named account of one unit. ``least`` and ``most`` bound its balance on its normal side (minor units).

    Pending amounts count against both bounds: what could still leave, and what could still arrive.
    """

    name: str
    unit: Unit
    least: int | None = None
    most: int | None = None

    @property
    def normal(self) -> Side:
        """Assets and expenses grow by debits; liabilities, equity and income by credits."""
        return Side.DEBIT if self.name.partition(":")[0] in ("Assets", "Expenses") else Side.CREDIT


@dataclass(frozen=True, slots=True)
class Posting:
    """``amount`` in minor units of the account's unit; debit above zero, credit below."""

    account: str
    amount: int


@dataclass(frozen=True, slots=True)
class Transaction:
    """One journal entry. ``timestamp`` (UTC) is part of the content: a retry repeats it unchanged.

    With ``resolves`` and POSTED, the pending transaction's amounts become posted and then this
    transaction's own postings (if any) apply. With VOIDED, its amounts vanish.
    ``run_id`` and ``evidence`` are opaque to the ledger.
    """

    id: str
    timestamp: datetime
    narration: str
    postings: tuple[Posting, ...] = ()
    state: State = State.POSTED
    resolves: str | None = None
    run_id: str = ""
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Opening:
    """An account begins."""

    account: Account
    timestamp: datetime


@dataclass(frozen=True, slots=True)
class Lock:
    """No transaction with a timestamp up to ``through`` is accepted any more."""

    through: datetime
    timestamp: datetime


Content = Opening | Transaction | Lock


@dataclass(frozen=True, slots=True)
class Balance:
    """Running totals of one account, in minor units; none is ever negative."""

    normal: Side
    debits_posted: int = 0
    credits_posted: int = 0
    debits_pending: int = 0
    credits_pending: int = 0

    @property
    def posted(self) -> int:
        """Posted balance on the normal side: a payable of 5.00 is 500."""
        return self._normal(self.debits_posted - self.credits_posted)

    @property
    def pending(self) -> int:
        """What unresolved transactions would add to it."""
        return self._normal(self.debits_pending - self.credits_pending)

    @property
    def lowest(self) -> int:
        """The balance if everything pending leaves and nothing pending arrives."""
        return self.posted - (self.credits_pending if self.normal is Side.DEBIT else self.debits_pending)

    @property
    def highest(self) -> int:
        """The balance if everything pending arrives and nothing pending leaves."""
        return self.posted + (self.debits_pending if self.normal is Side.DEBIT else self.credits_pending)

    def _normal(self, signed: int) -> int:
        return signed if self.normal is Side.DEBIT else -signed

    def move(self, amount: int, *, posted: int = 0, pending: int = 0) -> Balance:
        """This balance after ``amount`` is added ``posted`` and ``pending`` times (1, 0 or -1)."""
        debit, credit = max(amount, 0), max(-amount, 0)
        return Balance(
            self.normal,
            self.debits_posted + posted * debit,
            self.credits_posted + posted * credit,
            self.debits_pending + pending * debit,
            self.credits_pending + pending * credit,
        )


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the journal: number of entries, and the hash over all of them (hex)."""

    sequence: int
    digest: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where an entry stands. ``repeated``: it stood there before, and this call changed nothing."""

    sequence: int
    digest: str
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """A transaction in the journal; a pending one that was resolved says by which id and as what (POSTED, VOIDED)."""

    sequence: int
    digest: str
    transaction: Transaction
    resolved_by: str | None = None
    resolved_as: State | None = None

    @property
    def waiting(self) -> bool:
        """Pending and not resolved yet."""
        return self.transaction.state is State.PENDING and self.resolved_by is None


def instant(timestamp: datetime) -> str:
    """UTC with microseconds, fixed width, so that text order is time order."""
    return timestamp.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"


def canonical(content: Content) -> bytes:
    """RFC 8785 bytes of an entry: what is hashed."""
    if isinstance(content, Transaction):
        return rfc8785.dumps(
            {
                "kind": "transaction",
                "id": content.id,
                "timestamp": instant(content.timestamp),
                "narration": content.narration,
                "postings": [[p.account, p.amount] for p in content.postings],
                "state": content.state.value,
                "resolves": content.resolves,
                "run_id": content.run_id,
                "evidence": content.evidence,
            }
        )
    if isinstance(content, Opening):
        account = content.account
        return rfc8785.dumps(
            {
                "kind": "account",
                "name": account.name,
                "unit": account.unit.code,
                "scale": account.unit.scale,
                "least": account.least,
                "most": account.most,
                "timestamp": instant(content.timestamp),
            }
        )
    return rfc8785.dumps({"kind": "lock", "through": instant(content.through), "timestamp": instant(content.timestamp)})


def chain(head: Head, content: Content) -> Receipt:
    """The next link: SHA-256 over the domain tag, the previous digest and the entry's canonical bytes."""
    return Receipt(head.sequence + 1, linked(head.digest, canonical(content)))


def linked(before: str, content: bytes) -> str:
    """The digest of the entry whose canonical bytes these are, after the one with the digest ``before`` (hex)."""
    return hashlib.sha256(_DOMAIN + bytes.fromhex(before) + content).hexdigest()
