r"""The ledger's rules, pure: what a transaction is, when it is refused, what it changes.

A *posting* adds an amount to an account: integers in minor units, debit positive, credit negative.
A *transaction* is a set of postings that sums to zero in every unit. It is *posted* at once, or
*pending* until a later transaction posts or voids it, once. Entries are only ever appended; each
carries the hash of everything before it. A correction is a new entry.

>>> from datetime import datetime, timezone
>>> at = datetime(2026, 1, 31, tzinfo=timezone.utc)
>>> usd = Unit("USD", 2)
>>> book = Ledger()
>>> book.open_accounts([Account("Expenses:Reward", usd), Account("Liabilities:Party:orbit:Pending", usd, least=0),
...                     Account("Liabilities:Party:orbit:Payable", usd, least=0)], at)
>>> reward = Transaction("settle/r1", at, "January reward", state=State.PENDING, postings=(
...     Posting("Expenses:Reward", 1250), Posting("Liabilities:Party:orbit:Pending", -1250)))
>>> book.append(reward).sequence
4
>>> book.append(reward).repeated  # the same id and content: accepted again, and nothing happens
True
>>> balance = book.balances()["Liabilities:Party:orbit:Pending"]
>>> balance.posted, balance.pending  # on the account's normal side
(0, 1250)
>>> final = Transaction("settle/r1/final", at, "January reward is final", resolves="settle/r1", postings=(
...     Posting("Liabilities:Party:orbit:Pending", 1250), Posting("Liabilities:Party:orbit:Payable", -1250)))
>>> _ = book.append(final)
>>> for name, balance in book.balances().items():
...     print(f"{name:32}{usd.format(balance.posted):>6} {usd.format(balance.pending):>5}")
Expenses:Reward                  12.50  0.00
Liabilities:Party:orbit:Pending   0.00  0.00
Liabilities:Party:orbit:Payable  12.50  0.00
>>> book.append(Transaction("r1/void", at, "late", (), State.VOIDED, "settle/r1"))  # doctest: +ELLIPSIS
Traceback (most recent call last):
    ...
parties.ledger.rules.Refused: transaction 'r1/void': 'settle/r1' is already resolved by 'settle/r1/final'; ...
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from parties.ledger.entries import (
    GENESIS,
    Account,
    Balance,
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
)
from parties.ledger.rules import Reason, Refused, admit, admit_account, admit_lock

__all__ = [
    "Account",
    "Balance",
    "Entry",
    "Head",
    "Ledger",
    "Posting",
    "Reason",
    "Receipt",
    "Refused",
    "Side",
    "State",
    "Transaction",
    "Unit",
]


class Ledger:
    """A ledger in memory: the model the stores must agree with, and what a replay builds."""

    def __init__(self) -> None:
        self._head = Head(0, GENESIS)
        self._units: dict[str, Unit] = {}
        self._accounts: dict[str, Account] = {}
        self._balances: dict[str, Balance] = {}
        self._entries: dict[str, Entry] = {}
        self._locked: datetime | None = None

    def head(self) -> Head:
        return self._head

    def unit(self, code: str) -> Unit | None:
        return self._units.get(code)

    def account(self, name: str) -> Account | None:
        return self._accounts.get(name)

    def balance(self, account: Account) -> Balance:
        return self._balances[account.name]

    def entry(self, transaction_id: str) -> Entry | None:
        return self._entries.get(transaction_id)

    def locked_through(self) -> datetime | None:
        return self._locked

    def accounts(self) -> dict[str, Account]:
        """Every account, in opening order."""
        return dict(self._accounts)

    def balances(self) -> dict[str, Balance]:
        """Every account's balance, in opening order."""
        return dict(self._balances)

    def journal(self, offset: int = 0, limit: int | None = None, *, run_id: str | None = None) -> list[Entry]:
        """Transactions in journal order; only those that carry ``run_id`` where one is given."""
        entries = [e for e in self._entries.values() if run_id is None or e.transaction.run_id == run_id]
        return entries[offset:] if limit is None else entries[offset : offset + limit]

    def open_accounts(self, accounts: Iterable[Account], at: datetime) -> None:
        """Open ``accounts``, all or none; those open with the same terms are left as they are."""
        saved = (self._head, dict(self._units), dict(self._accounts), dict(self._balances))
        try:
            for account in accounts:
                self._open(Opening(account, at))
        except Refused:
            self._head, self._units, self._accounts, self._balances = saved
            raise

    def append(self, transaction: Transaction) -> Receipt:
        """Record ``transaction``, or raise :class:`Refused` and change nothing."""
        admission = admit(self, transaction)
        if not admission.receipt.repeated:
            receipt = admission.receipt
            self._balances.update(admission.balances)
            self._entries[transaction.id] = Entry(receipt.sequence, receipt.digest, transaction)
            if transaction.resolves is not None:
                pending = self._entries[transaction.resolves]
                self._entries[transaction.resolves] = replace(
                    pending, resolved_by=transaction.id, resolved_as=transaction.state
                )
            self._head = Head(receipt.sequence, receipt.digest)
        return admission.receipt

    def append_all(self, transactions: Iterable[Transaction]) -> list[Receipt]:
        """Record all of them in order, or none."""
        saved = (self._head, dict(self._balances), dict(self._entries))
        try:
            return [self.append(transaction) for transaction in transactions]
        except Refused:
            self._head, self._balances, self._entries = saved
            raise

    def lock(self, through: datetime, at: datetime) -> Receipt:
        """Close the books through ``through`` (UTC, inclusive), for good."""
        lock = Lock(through, at)
        receipt = admit_lock(self, lock)
        if not receipt.repeated:
            self._locked = lock.through
            self._head = Head(receipt.sequence, receipt.digest)
        return receipt

    def _open(self, opening: Opening) -> None:
        receipt = admit_account(self, opening)
        if not receipt.repeated:
            account = opening.account
            self._units[account.unit.code] = account.unit
            self._accounts[account.name] = account
            self._balances[account.name] = Balance(account.normal)
            self._head = Head(receipt.sequence, receipt.digest)

    def is_balanced(self) -> bool:
        """Whether debits equal credits in every unit, posted and pending."""
        for unit in self._units.values():
            chosen = [self._balances[a.name] for a in self._accounts.values() if a.unit == unit]
            if sum(b.debits_posted for b in chosen) != sum(b.credits_posted for b in chosen):
                return False
            if sum(b.debits_pending for b in chosen) != sum(b.credits_pending for b in chosen):
                return False
        return True
