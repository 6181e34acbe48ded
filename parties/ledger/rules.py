"""What the ledger accepts: one judgement per kind of entry, in a documented order, pure.

Reject in order; then "from here it must succeed"; then assert that debits still equal credits.
A :class:`Book` is anything that can answer the few questions the rules ask: the model in core.py,
the database in store.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from parties.errors import LedgerError
from parties.ledger.entries import (
    LARGEST_AMOUNT,
    LARGEST_TOTAL,
    MOST_POSTINGS,
    Account,
    Balance,
    Entry,
    Head,
    Lock,
    Opening,
    Posting,
    Receipt,
    State,
    Transaction,
    Unit,
    canonical,
    chain,
    instant,
)

__all__ = ["Admission", "Book", "Reason", "Refused", "admit", "admit_account", "admit_lock", "check_shape"]

_ACCOUNT = re.compile(
    r"(?:Assets|Liabilities|Equity|Income|Expenses)"
    r"(?::(?:Party:[a-z][a-z0-9_-]{0,31}|(?!Party(?::|\Z))[A-Z][A-Za-z0-9]{0,31})){1,6}"
)
_UNIT = re.compile(r"[A-Z][A-Z0-9]{1,11}")
_TOKEN = re.compile(r"[\x21-\x7e]{1,200}")
_NARRATION = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]{1,500}")


class Reason(StrEnum):
    """Why an entry is refused. A transaction is checked in this order; the first that applies is raised."""

    ID_MALFORMED = "id malformed"
    TIMESTAMP_MALFORMED = "timestamp malformed"
    TEXT_MALFORMED = "text malformed"
    STATE_MALFORMED = "state malformed"
    POSTINGS_MISSING = "postings missing"
    AMOUNT_MALFORMED = "amount malformed"
    ACCOUNT_REPEATED = "account repeated"
    ID_REUSED = "id reused"
    ACCOUNT_UNKNOWN = "account unknown"
    UNBALANCED = "unbalanced"
    PERIOD_LOCKED = "period locked"
    PENDING_UNKNOWN = "pending unknown"
    NOT_PENDING = "not pending"
    ALREADY_RESOLVED = "already resolved"
    TOTAL_TOO_LARGE = "total too large"
    BELOW_LEAST = "below least"
    ABOVE_MOST = "above most"

    ACCOUNT_MALFORMED = "account malformed"
    UNIT_MALFORMED = "unit malformed"
    LIMITS_MALFORMED = "limits malformed"
    UNIT_CHANGED = "unit changed"
    ACCOUNT_CHANGED = "account changed"
    LOCK_AHEAD = "lock ahead"
    LOCK_FALLS = "lock falls"


class Refused(LedgerError):
    """The ledger does not accept an entry; nothing was written. ``reason`` is the named cause."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Admission:
    """An accepted entry and the balances it leads to; not yet recorded."""

    receipt: Receipt
    balances: Mapping[str, Balance]


class Book(Protocol):
    """What the rules need to know of a ledger, wherever it is kept."""

    def head(self) -> Head: ...
    def unit(self, code: str) -> Unit | None: ...
    def account(self, name: str) -> Account | None: ...
    def balance(self, account: Account) -> Balance: ...
    def entry(self, transaction_id: str) -> Entry | None: ...
    def locked_through(self) -> datetime | None: ...


def admit(book: Book, transaction: Transaction) -> Admission:
    """Judge ``transaction`` against ``book`` in the order of :class:`Reason`; raise :class:`Refused` or accept.

    Pure: whoever keeps the book records the admission, or nothing. An accepted repetition
    (``receipt.repeated``) has no balances and must not be recorded.
    """
    check_shape(transaction)
    known = book.entry(transaction.id)
    if known is not None:
        if canonical(known.transaction) != canonical(transaction):
            raise Refused(
                Reason.ID_REUSED,
                f"transaction {transaction.id!r} exists with other content; choose a new id, or repeat it unchanged",
            )
        return Admission(Receipt(known.sequence, known.digest, repeated=True), {})
    accounts = _known_accounts(book, transaction)
    locked = book.locked_through()
    if locked is not None and transaction.timestamp <= locked:
        raise Refused(
            Reason.PERIOD_LOCKED,
            f"transaction {transaction.id!r}: the books are closed through {instant(locked)}; date it later",
        )
    pending = _pending(book, transaction)
    balances = _moved(book, transaction, accounts, pending)
    _check_limits(transaction, [(accounts[name], balance) for name, balance in balances.items()])
    # From here it must succeed.
    before = {name: book.balance(accounts[name]) for name in balances}
    _assert_conserved(accounts, before, balances)
    return Admission(chain(book.head(), transaction), balances)


def admit_account(book: Book, opening: Opening) -> Receipt:
    """Judge the opening of an account; the same terms again are a repetition, whatever the time."""
    account, unit = opening.account, opening.account.unit
    if not (_is_text(account.name, _ACCOUNT) and len(account.name) <= 128):
        raise Refused(
            Reason.ACCOUNT_MALFORMED,
            f"account {account.name!r}: write Type:Name, with Type one of Assets, Liabilities, Equity, Income, "
            "Expenses, names of letters and digits that start with a capital, and Party:name spelt as agreed",
        )
    if not (_is_text(unit.code, _UNIT) and _is_integer(unit.scale) and 0 <= unit.scale <= 18):
        raise Refused(
            Reason.UNIT_MALFORMED,
            f"unit {unit.code!r}: a code of 2 to 12 capitals and digits and a scale of 0 to 18 are needed",
        )
    for bound, name, sign in ((account.least, "least", -1), (account.most, "most", 1)):
        if bound is not None and not (_is_integer(bound) and 0 <= sign * bound <= LARGEST_AMOUNT):
            raise Refused(
                Reason.LIMITS_MALFORMED,
                f"account {account.name!r}: {name} = {bound!r} must be an integer that allows a balance of zero",
            )
    _check_timestamp(f"account {account.name!r}", opening.timestamp)
    known_unit = book.unit(unit.code)
    if known_unit is not None and known_unit != unit:
        raise Refused(
            Reason.UNIT_CHANGED,
            f"unit {unit.code!r} has scale {known_unit.scale} in this ledger, not {unit.scale}; use that scale",
        )
    known = book.account(account.name)
    if known is not None:
        if known != account:
            raise Refused(
                Reason.ACCOUNT_CHANGED,
                f"account {account.name!r} is open with other terms; an account's unit and limits never change",
            )
        return _repeated(book)
    return chain(book.head(), opening)


def admit_lock(book: Book, lock: Lock) -> Receipt:
    """Judge a period lock; the same lock again is a repetition, an earlier one is refused."""
    _check_timestamp("period lock", lock.timestamp)
    _check_timestamp("period lock", lock.through)
    if lock.through >= lock.timestamp:
        raise Refused(
            Reason.LOCK_AHEAD,
            f"the books cannot be closed through {instant(lock.through)}, which is not over; lock it afterwards",
        )
    locked = book.locked_through()
    if locked is not None and lock.through < locked:
        raise Refused(
            Reason.LOCK_FALLS,
            f"the books are closed through {instant(locked)} and cannot be opened again; date corrections later",
        )
    if lock.through == locked:
        return _repeated(book)
    return chain(book.head(), lock)


def _repeated(book: Book) -> Receipt:
    head = book.head()
    return Receipt(head.sequence, head.digest, repeated=True)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_text(value: object, pattern: re.Pattern[str]) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _check_timestamp(what: str, timestamp: object) -> None:
    if (
        not isinstance(timestamp, datetime)
        or timestamp.utcoffset() != timedelta(0)
        or not 1970 <= timestamp.year < 2200
    ):
        raise Refused(
            Reason.TIMESTAMP_MALFORMED, f"{what}: timestamp {timestamp!r} must be a datetime in UTC, from 1970 to 2199"
        )


def check_shape(transaction: Transaction) -> None:
    """What can be judged without a ledger. Raises :class:`Refused`."""
    what = f"transaction {transaction.id!r}"
    if not _is_text(transaction.id, _TOKEN):
        raise Refused(Reason.ID_MALFORMED, f"{what}: an id is 1 to 200 printable ASCII characters without spaces")
    _check_timestamp(what, transaction.timestamp)
    if not _is_text(transaction.narration, _NARRATION):
        raise Refused(Reason.TEXT_MALFORMED, f"{what}: a narration of 1 to 500 characters on one line is needed")
    for name, text in (("run_id", transaction.run_id), ("evidence", transaction.evidence)):
        if text != "" and not _is_text(text, _TOKEN):
            raise Refused(
                Reason.TEXT_MALFORMED, f"{what}: {name} is at most 200 printable ASCII characters without spaces"
            )
    if not isinstance(transaction.state, State):
        raise Refused(Reason.STATE_MALFORMED, f"{what}: state {transaction.state!r} is not one of State")
    if transaction.resolves is not None and not _is_text(transaction.resolves, _TOKEN):
        raise Refused(Reason.STATE_MALFORMED, f"{what}: resolves {transaction.resolves!r} is not a transaction id")
    if transaction.state is State.PENDING and transaction.resolves is not None:
        raise Refused(
            Reason.STATE_MALFORMED, f"{what}: a pending transaction resolves nothing; make it posted or voided"
        )
    if transaction.state is State.VOIDED and (transaction.resolves is None or transaction.postings):
        raise Refused(Reason.STATE_MALFORMED, f"{what}: a voided transaction names the pending one and has no postings")
    count = len(transaction.postings)
    if (count == 0 and transaction.resolves is None) or count > MOST_POSTINGS:
        raise Refused(Reason.POSTINGS_MISSING, f"{what}: it has {count} postings; 2 to {MOST_POSTINGS} are needed")
    for posting in transaction.postings:
        if not _is_integer(posting.amount) or not 0 < abs(posting.amount) <= LARGEST_AMOUNT:
            raise Refused(
                Reason.AMOUNT_MALFORMED,
                f"{what}: amount {posting.amount!r} of {posting.account!r} must be a whole number of minor units, "
                f"not zero and at most {LARGEST_AMOUNT}",
            )
    names = [posting.account for posting in transaction.postings]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise Refused(Reason.ACCOUNT_REPEATED, f"{what}: account {repeated[0]!r} occurs twice; post the sum once")


def _known_accounts(book: Book, transaction: Transaction) -> dict[str, Account]:
    accounts: dict[str, Account] = {}
    sums: dict[Unit, int] = {}
    for posting in transaction.postings:
        account = book.account(posting.account)
        if account is None:
            raise Refused(
                Reason.ACCOUNT_UNKNOWN,
                f"transaction {transaction.id!r}: account {posting.account!r} is not open; open it first",
            )
        accounts[account.name] = account
        sums[account.unit] = sums.get(account.unit, 0) + posting.amount
    for unit, total in sums.items():
        if total != 0:
            raise Refused(
                Reason.UNBALANCED,
                f"transaction {transaction.id!r}: debits and credits differ by {unit.format(total)} {unit.code}; "
                "postings must sum to zero",
            )
    return accounts


def _pending(book: Book, transaction: Transaction) -> Transaction | None:
    if transaction.resolves is None:
        return None
    entry = book.entry(transaction.resolves)
    what = f"transaction {transaction.id!r}: {transaction.resolves!r}"
    if entry is None:
        raise Refused(Reason.PENDING_UNKNOWN, f"{what} is not in this ledger; name the pending transaction's id")
    if entry.transaction.state is not State.PENDING:
        raise Refused(Reason.NOT_PENDING, f"{what} is not pending; a correction is a new transaction")
    if entry.resolved_by is not None:
        raise Refused(
            Reason.ALREADY_RESOLVED,
            f"{what} is already resolved by {entry.resolved_by!r}; a correction is a new transaction",
        )
    return entry.transaction


def _moved(
    book: Book, transaction: Transaction, accounts: dict[str, Account], pending: Transaction | None
) -> dict[str, Balance]:
    """New balances of every account touched; adds the pending transaction's accounts to ``accounts``."""
    balances: dict[str, Balance] = {}

    def move(posting: Posting, *, posted: int = 0, pending: int = 0) -> None:
        account = accounts.get(posting.account) or book.account(posting.account)
        assert account is not None, "a recorded posting names an open account"
        accounts[account.name] = account
        balance = balances[account.name] if account.name in balances else book.balance(account)
        balances[account.name] = balance.move(posting.amount, posted=posted, pending=pending)

    if pending is not None:
        for posting in pending.postings:
            move(posting, posted=int(transaction.state is State.POSTED), pending=-1)
    for posting in transaction.postings:
        waits = transaction.state is State.PENDING
        move(posting, posted=int(not waits), pending=int(waits))
    return balances


def _check_limits(transaction: Transaction, balances: list[tuple[Account, Balance]]) -> None:
    what = f"transaction {transaction.id!r}:"
    for account, balance in balances:
        debits, credits = (
            balance.debits_posted + balance.debits_pending,
            balance.credits_posted + balance.credits_pending,
        )
        if max(debits, credits) > LARGEST_TOTAL:
            raise Refused(
                Reason.TOTAL_TOO_LARGE,
                f"{what} {account.name!r} would turn over more than {LARGEST_TOTAL} minor units in all; open another",
            )
    for account, balance in balances:
        unit = account.unit
        if account.least is not None and balance.lowest < account.least:
            raise Refused(
                Reason.BELOW_LEAST,
                f"{what} {account.name!r} could fall to {unit.format(balance.lowest)} {unit.code}, below its least of "
                f"{unit.format(account.least)}; fund it first or post less",
            )
    for account, balance in balances:
        unit = account.unit
        if account.most is not None and balance.highest > account.most:
            raise Refused(
                Reason.ABOVE_MOST,
                f"{what} {account.name!r} could rise to {unit.format(balance.highest)} {unit.code}, above its most of "
                f"{unit.format(account.most)}; post less",
            )


def _assert_conserved(
    accounts: Mapping[str, Account], before: Mapping[str, Balance], after: Mapping[str, Balance]
) -> None:
    sums: dict[tuple[str, str], int] = {}
    for name, balance in after.items():
        old, code = before[name], accounts[name].unit.code
        posted = (balance.debits_posted - balance.credits_posted) - (old.debits_posted - old.credits_posted)
        pending = (balance.debits_pending - balance.credits_pending) - (old.debits_pending - old.credits_pending)
        sums[code, "posted"] = sums.get((code, "posted"), 0) + posted
        sums[code, "pending"] = sums.get((code, "pending"), 0) + pending
        assert min(balance.debits_pending, balance.credits_pending) >= 0, "a pending total fell below zero"
    assert not any(sums.values()), "debits and credits must stay equal"
