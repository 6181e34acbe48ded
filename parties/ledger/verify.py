"""The chain verified from its beginning, a page at a time, so that a long journal needs little memory.

What is kept between pages is what the rules ask for: the accounts, their balances, and what is still pending. So a
verification can go on from where it stopped when entries have been added since.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, select

from parties.ledger import schema
from parties.ledger.entries import GENESIS, Account, Balance, Entry, Head, Lock, Opening, Transaction, Unit
from parties.ledger.records import Recorded, RecordedBook, read_page
from parties.ledger.rules import Refused, admit, admit_account, admit_lock

__all__ = ["Verifier"]


class Verifier:
    """Judges every entry again, against the entries before it. ``fault`` is the first thing found wrong, or ""."""

    def __init__(self) -> None:
        self.fault = ""
        self.transactions = 0
        self.postings = 0
        self._head = Head(0, GENESIS)
        self._units: dict[str, Unit] = {}
        self._accounts: dict[str, Account] = {}
        self._balances: dict[str, Balance] = {}
        self._waiting: dict[str, Entry] = {}
        self._locked: datetime | None = None
        self._known: set[str] = set()
        self._connection: Connection | None = None

    def advance(self, connection: Connection) -> bool:
        """Verify the next page; false at the end of the journal or after a fault."""
        if self.fault:
            return False
        page = read_page(connection, self._head.sequence)
        self._connection, self._known = connection, _earlier(connection, page)
        try:
            for recorded in page:
                self.fault = self._follow(recorded)
                if self.fault:
                    return False
        finally:
            self._connection, self._known = None, set()
        return bool(page)

    @property
    def unresolved(self) -> int:
        """How many pending transactions wait."""
        return len(self._waiting)

    def accounts(self) -> Mapping[str, Account]:
        """Every account so far, in opening order."""
        return self._accounts

    def balances(self) -> Mapping[str, Balance]:
        """Every account's balance as the entries so far give it."""
        return self._balances

    def is_balanced(self) -> bool:
        """Whether debits equal credits in every unit, posted and pending."""
        for unit in self._units.values():
            chosen = [self._balances[name] for name, account in self._accounts.items() if account.unit == unit]
            if sum(b.debits_posted for b in chosen) != sum(b.credits_posted for b in chosen):
                return False
            if sum(b.debits_pending for b in chosen) != sum(b.credits_pending for b in chosen):
                return False
        return True

    # -- what the rules ask (rules.Book)

    def head(self) -> Head:
        return self._head

    def unit(self, code: str) -> Unit | None:
        return self._units.get(code)

    def account(self, name: str) -> Account | None:
        return self._accounts.get(name)

    def balance(self, account: Account) -> Balance:
        return self._balances[account.name]

    def entry(self, transaction_id: str) -> Entry | None:
        waiting = self._waiting.get(transaction_id)
        if waiting is not None or transaction_id not in self._known:
            return waiting
        assert self._connection is not None
        return RecordedBook(self._connection).entry(transaction_id)

    def locked_through(self) -> datetime | None:
        return self._locked

    # -- following

    def _follow(self, recorded: Recorded) -> str:
        where = f"entry {recorded.sequence}"
        if recorded.content is None:
            return f"{where} has lost its content"
        try:
            self._take(recorded)
        except Refused as refusal:
            return f"{where} breaks a rule ({refusal})"
        if self._head != Head(recorded.sequence, recorded.digest):
            return f"{where} does not carry the hash of its content and of all before it"
        for name, balance in recorded.balances.items():
            if self._balances.get(name) != balance:
                return f"{where} does not lead to the balance recorded for {name}"
        return ""

    def _take(self, recorded: Recorded) -> None:
        content = recorded.content
        if isinstance(content, Transaction):
            admission = admit(self, content)
            receipt = admission.receipt
            if not receipt.repeated:
                self._balances.update(admission.balances)
                self._moved(content, recorded)
        elif isinstance(content, Opening):
            receipt = admit_account(self, content)
            if not receipt.repeated:
                account = content.account
                self._units[account.unit.code] = account.unit
                self._accounts[account.name] = account
                self._balances[account.name] = Balance(account.normal)
        else:
            assert isinstance(content, Lock)
            receipt = admit_lock(self, content)
            self._locked = content.through
        if not receipt.repeated:
            self._head = Head(receipt.sequence, receipt.digest)

    def _moved(self, transaction: Transaction, recorded: Recorded) -> None:
        self.transactions += 1
        self.postings += len(transaction.postings)
        self._known.add(transaction.id)
        entry = Entry(recorded.sequence, recorded.digest, transaction)
        if entry.waiting:
            self._waiting[transaction.id] = entry
        if transaction.resolves is not None:
            del self._waiting[transaction.resolves]


def _earlier(connection: Connection, page: Sequence[Recorded]) -> set[str]:
    """The ids that the page's transactions carry or resolve, and that entries before it carry already."""
    made = [one.content for one in page if isinstance(one.content, Transaction)]
    ids = {one.id for one in made} | {one.resolves for one in made if one.resolves is not None}
    if not ids:
        return set()
    known = schema.transactions.c
    query = select(known.id).where(known.id.in_(ids), known.seq < page[0].sequence)
    return set(connection.execute(query).scalars())
