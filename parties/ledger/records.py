"""Ledger entries as rows: written, read back, and asked by the rules.

Everything here works inside a connection's open transaction; store.py opens and ends it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select

from parties.ledger import schema
from parties.ledger.entries import (
    GENESIS,
    Account,
    Balance,
    Content,
    Entry,
    Head,
    Lock,
    Opening,
    Posting,
    Receipt,
    Side,
    State,
    Transaction,
    Unit,
    instant,
)

__all__ = [
    "Recorded",
    "RecordedBook",
    "insert_account",
    "insert_lock",
    "insert_transaction",
    "read_accounts",
    "read_balance",
    "read_balances",
    "read_digests",
    "read_entries",
    "read_journal",
    "read_page",
    "read_transactions",
]

_PAGE = 1000

_ACCOUNT = select(schema.accounts)
_TRANSACTION = select(schema.transactions, schema.entries.c.digest).join_from(
    schema.transactions, schema.entries, schema.entries.c.seq == schema.transactions.c.seq
)
_LATEST = tuple(schema.balances.c[name] for name in schema.TOTALS)
_BALANCES = select(schema.balances, schema.accounts.c.side).join_from(
    schema.balances, schema.accounts, schema.accounts.c.name == schema.balances.c.account
)


@dataclass(frozen=True)
class Recorded:
    """One sealed entry as found: ``content`` is None where its rows are missing or cannot be read."""

    sequence: int
    digest: str
    content: Content | None
    balances: Mapping[str, Balance]


class RecordedBook:
    """The ledger as the rules see it, inside one database transaction."""

    def __init__(self, connection: Connection, accounts: dict[str, Account] | None = None) -> None:
        self._connection = connection
        self._accounts = {} if accounts is None else accounts
        self._head: Head | None = None
        self._balances: dict[str, Balance] = {}
        self._locked: datetime | None = None
        self._lock_read = False

    def advance(self, receipt: Receipt, balances: Mapping[str, Balance]) -> None:
        """What was just inserted; this transaction holds the write lock, so nothing else can have moved."""
        self._head = Head(receipt.sequence, receipt.digest)
        self._balances.update(balances)

    def forget_lock(self) -> None:
        """A lock was just inserted: ask for it again."""
        self._lock_read = False

    def head(self) -> Head:
        if self._head is None:
            query = select(schema.entries.c.seq, schema.entries.c.digest).order_by(schema.entries.c.seq.desc()).limit(1)
            row = self._connection.execute(query).one_or_none()
            self._head = Head(0, GENESIS) if row is None else Head(row.seq, row.digest)
        return self._head

    def unit(self, code: str) -> Unit | None:
        query = select(schema.accounts.c.scale).where(schema.accounts.c.unit == code).limit(1)
        scale = self._connection.execute(query).scalar_one_or_none()
        return None if scale is None else Unit(code, scale)

    def account(self, name: str) -> Account | None:
        if name not in self._accounts:
            row = self._connection.execute(_ACCOUNT.where(schema.accounts.c.name == name)).one_or_none()
            if row is None:
                return None
            self._accounts[name] = _account(row)
        return self._accounts[name]

    def balance(self, account: Account) -> Balance:
        if account.name not in self._balances:
            query = select(*_LATEST).where(schema.balances.c.account == account.name)
            row = self._connection.execute(query.order_by(schema.balances.c.seq.desc()).limit(1)).one_or_none()
            self._balances[account.name] = Balance(account.normal) if row is None else Balance(account.normal, *row)
        return self._balances[account.name]

    def entry(self, transaction_id: str) -> Entry | None:
        rows = self._connection.execute(_TRANSACTION.where(schema.transactions.c.id == transaction_id)).all()
        return _journal(self._connection, rows)[0] if rows else None

    def locked_through(self) -> datetime | None:
        if not self._lock_read:
            through = self._connection.execute(select(func.max(schema.locks.c.through))).scalar_one()
            self._locked = None if through is None else _time(through)
            self._lock_read = True
        return self._locked


def _account(row: Row[Any]) -> Account:
    return Account(row.name, Unit(row.unit, row.scale), row.least, row.most)


def read_balances(connection: Connection) -> dict[str, Balance]:
    """Every account's latest balance, in opening order."""
    earlier = schema.balances.alias()
    latest = select(func.max(earlier.c.seq)).where(earlier.c.account == schema.accounts.c.name)
    query = (
        select(schema.accounts.c.name, schema.accounts.c.side, *_LATEST)
        .outerjoin_from(
            schema.accounts,
            schema.balances,
            (schema.balances.c.account == schema.accounts.c.name)
            & (schema.balances.c.seq == latest.correlate(schema.accounts).scalar_subquery()),
        )
        .order_by(schema.accounts.c.seq)
    )
    return {
        name: Balance(Side(side), *(total or 0 for total in totals))
        for name, side, *totals in connection.execute(query)
    }


def read_balance(connection: Connection, account: str, before: int | None) -> Balance | None:
    """The account's balance before the entry at ``before`` (None: now), or None for an account that is not open."""
    opened = connection.execute(_ACCOUNT.where(schema.accounts.c.name == account)).one_or_none()
    if opened is None:
        return None
    query = select(*_LATEST).where(schema.balances.c.account == account)
    if before is not None:
        query = query.where(schema.balances.c.seq < before)
    row = connection.execute(query.order_by(schema.balances.c.seq.desc()).limit(1)).one_or_none()
    side = _account(opened).normal
    return Balance(side) if row is None else Balance(side, *row)


def _journal(connection: Connection, rows: Sequence[Row[Any]]) -> list[Entry]:
    """Entries of transaction ``rows``, which rise by sequence."""
    if not rows:
        return []
    apart = rows[-1].seq - rows[0].seq >= 2 * len(rows)
    postings = _apart(connection, rows) if apart else _postings(connection, rows[0].seq, rows[-1].seq)
    pending = [row.id for row in rows if row.state == State.PENDING]
    resolved: dict[str, tuple[str | None, State | None]] = {}
    for start in range(0, len(pending), _PAGE):
        query = select(schema.transactions.c.resolves, schema.transactions.c.id, schema.transactions.c.state)
        found = connection.execute(query.where(schema.transactions.c.resolves.in_(pending[start : start + _PAGE])))
        resolved.update((row.resolves, (row.id, State(row.state))) for row in found)
    return [
        Entry(row.seq, row.digest, _transaction(row, postings.get(row.seq, [])), *resolved.get(row.id, (None, None)))
        for row in rows
    ]


def _transaction(row: Row[Any], chosen: list[Posting]) -> Transaction:
    return Transaction(
        id=row.id,
        timestamp=_time(row.timestamp),
        narration=row.narration,
        postings=tuple(chosen),
        state=State(row.state),
        resolves=row.resolves,
        run_id=row.run_id,
        evidence=row.evidence,
    )


def read_entries(connection: Connection) -> Iterator[Recorded]:
    """Every sealed entry in order, rebuilt from its rows, a page at a time."""
    last = 0
    while page := read_page(connection, last):
        yield from page
        last = page[-1].sequence


def read_page(connection: Connection, after: int) -> list[Recorded]:
    """The sealed entries that follow entry ``after``, rebuilt from their rows, up to a page of them."""
    query = select(schema.entries).where(schema.entries.c.seq > after).order_by(schema.entries.c.seq).limit(_PAGE)
    page = connection.execute(query).all()
    if not page:
        return []
    first, last = page[0].seq, page[-1].seq
    contents = _contents(connection, first, last)
    balances: dict[int, dict[str, Balance]] = {}
    for row in connection.execute(_BALANCES.where(schema.balances.c.seq.between(first, last))):
        totals = (row.debits_posted, row.credits_posted, row.debits_pending, row.credits_pending)
        balances.setdefault(row.seq, {})[row.account] = Balance(Side(row.side), *totals)
    return [Recorded(row.seq, row.digest, contents.get(row.seq), balances.get(row.seq, {})) for row in page]


def _contents(connection: Connection, first: int, last: int) -> dict[int, Content]:
    """Sequence -> content, for the entries whose rows can be read."""
    contents: dict[int, Content] = {}
    for row in connection.execute(_ACCOUNT.where(schema.accounts.c.seq.between(first, last))):
        with suppress(ValueError, TypeError):
            contents[row.seq] = Opening(_account(row), _time(row.timestamp))
    for row in connection.execute(select(schema.locks).where(schema.locks.c.seq.between(first, last))):
        with suppress(ValueError, TypeError):
            contents[row.seq] = Lock(_time(row.through), _time(row.timestamp))
    rows = connection.execute(_TRANSACTION.where(schema.transactions.c.seq.between(first, last))).all()
    postings = _postings(connection, first, last)
    for row in rows:
        with suppress(ValueError, TypeError):
            contents[row.seq] = _transaction(row, postings.get(row.seq, []))
    return contents


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if instant(time) != text:
        raise ValueError(f"{text!r} is not a timestamp as this ledger writes them")
    return time


def _apart(connection: Connection, rows: Sequence[Row[Any]]) -> dict[int, list[Posting]]:
    """Postings of rows that lie apart in the journal."""
    found: dict[int, list[Posting]] = {}
    for start in range(0, len(rows), _PAGE):
        chosen = schema.postings.c.seq.in_([row.seq for row in rows[start : start + _PAGE]])
        query = select(schema.postings).where(chosen).order_by(schema.postings.c.seq, schema.postings.c.position)
        for row in connection.execute(query):
            found.setdefault(row.seq, []).append(Posting(row.account, row.amount))
    return found


def _postings(connection: Connection, first: int, last: int) -> dict[int, list[Posting]]:
    query = select(schema.postings).where(schema.postings.c.seq.between(first, last))
    found: dict[int, list[Posting]] = {}
    for row in connection.execute(query.order_by(schema.postings.c.seq, schema.postings.c.position)):
        found.setdefault(row.seq, []).append(Posting(row.account, row.amount))
    return found


def read_accounts(connection: Connection) -> dict[str, Account]:
    """Every account, in opening order."""
    return {row.name: _account(row) for row in connection.execute(_ACCOUNT.order_by(schema.accounts.c.seq))}


def read_journal(connection: Connection, offset: int, limit: int | None, run_id: str | None) -> list[Entry]:
    """Transactions in journal order; only those that carry ``run_id`` where one is given."""
    query = _TRANSACTION.order_by(schema.transactions.c.seq).offset(offset)
    if run_id is not None:
        query = query.where(schema.transactions.c.run_id == run_id)
    return _journal(connection, connection.execute(query if limit is None else query.limit(limit)).all())


def read_transactions(connection: Connection, sequences: Sequence[int]) -> dict[int, Entry]:
    """The transactions at these places of the journal, by place."""
    found: list[Row[Any]] = []
    for start in range(0, len(sequences), _PAGE):
        chosen = schema.transactions.c.seq.in_(sequences[start : start + _PAGE])
        found += connection.execute(_TRANSACTION.where(chosen)).all()
    return {entry.sequence: entry for entry in _journal(connection, sorted(found, key=lambda row: row.seq))}


def read_digests(connection: Connection) -> dict[int, str]:
    """The chain's digest at every place of the journal, the one before the first entry at place 0."""
    rows = connection.execute(select(schema.entries.c.seq, schema.entries.c.digest))
    return {0: GENESIS} | {row.seq: row.digest for row in rows}


def _seal(connection: Connection, kind: str, receipt: Receipt) -> None:
    connection.execute(schema.entries.insert(), {"seq": receipt.sequence, "kind": kind, "digest": receipt.digest})


def insert_account(connection: Connection, opening: Opening, receipt: Receipt) -> None:
    """Write an opened account and seal it."""
    account = opening.account
    values = {
        "seq": receipt.sequence,
        "name": account.name,
        "unit": account.unit.code,
        "scale": account.unit.scale,
        "side": account.normal.value,
        "least": account.least,
        "most": account.most,
        "timestamp": instant(opening.timestamp),
    }
    connection.execute(schema.accounts.insert(), values)
    _seal(connection, "account", receipt)


def insert_lock(connection: Connection, lock: Lock, receipt: Receipt) -> None:
    """Write a period lock and seal it."""
    values = {"seq": receipt.sequence, "through": instant(lock.through), "timestamp": instant(lock.timestamp)}
    connection.execute(schema.locks.insert(), values)
    _seal(connection, "lock", receipt)


def insert_transaction(
    connection: Connection, transaction: Transaction, receipt: Receipt, after: Mapping[str, Balance]
) -> None:
    """Write an admitted transaction with the balances after it, and seal it."""
    sequence = receipt.sequence
    values = {
        "seq": sequence,
        "id": transaction.id,
        "timestamp": instant(transaction.timestamp),
        "narration": transaction.narration,
        "state": transaction.state.value,
        "resolves": transaction.resolves,
        "run_id": transaction.run_id,
        "evidence": transaction.evidence,
    }
    connection.execute(schema.transactions.insert(), values)
    if transaction.postings:
        rows = [
            {"seq": sequence, "position": i, "account": p.account, "amount": p.amount}
            for i, p in enumerate(transaction.postings)
        ]
        connection.execute(schema.postings.insert(), rows)
    rows_after = [
        {
            "seq": sequence,
            "account": name,
            "debits_posted": balance.debits_posted,
            "credits_posted": balance.credits_posted,
            "debits_pending": balance.debits_pending,
            "credits_pending": balance.credits_pending,
        }
        for name, balance in after.items()
    ]
    connection.execute(schema.balances.insert(), rows_after)
    _seal(connection, "transaction", receipt)
