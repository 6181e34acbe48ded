"""The ledger's tables.

Rows are inserted and never changed. The rows of one entry (an account, a lock, or a transaction
with its postings and the balances after it) come first; the row of ``entries`` seals them. What the
database refuses beyond these constraints is in guards.py.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
)

__all__ = [
    "FORMAT",
    "TOTALS",
    "accounts",
    "balances",
    "entries",
    "ledger_format",
    "locks",
    "postings",
    "tables",
    "transactions",
]

FORMAT = 1

tables = MetaData()

ledger_format = Table("ledger_format", tables, Column("version", Integer, primary_key=True, autoincrement=False))

entries = Table(
    "entries",
    tables,
    Column("seq", BigInteger, CheckConstraint("seq >= 1"), primary_key=True, autoincrement=False),
    Column("kind", Text, CheckConstraint("kind IN ('account', 'lock', 'transaction')"), nullable=False),
    Column("digest", Text, CheckConstraint("length(digest) = 64"), nullable=False, unique=True),
)


def _sealed_by() -> Column[int]:
    """Refers to the entry that comes last, so the reference is checked at commit."""
    reference = ForeignKey("entries.seq", deferrable=True, initially="DEFERRED")
    return Column("seq", BigInteger, reference, primary_key=True, autoincrement=False)


accounts = Table(
    "accounts",
    tables,
    _sealed_by(),
    Column("name", Text, nullable=False, unique=True),
    Column("unit", Text, nullable=False),
    Column("scale", SmallInteger, CheckConstraint("scale BETWEEN 0 AND 18"), nullable=False),
    Column("side", Text, nullable=False),
    Column("least", BigInteger, CheckConstraint("least <= 0")),
    Column("most", BigInteger, CheckConstraint("most >= 0")),
    Column("timestamp", Text, nullable=False),
    CheckConstraint(
        "side = CASE WHEN substr(name, 1, 7) = 'Assets:' OR substr(name, 1, 9) = 'Expenses:' "
        "THEN 'debit' ELSE 'credit' END"
    ),
)

locks = Table(
    "locks",
    tables,
    _sealed_by(),
    Column("through", Text, nullable=False, unique=True),
    Column("timestamp", Text, nullable=False),
    CheckConstraint("through < timestamp"),
)

transactions = Table(
    "transactions",
    tables,
    _sealed_by(),
    Column("id", Text, nullable=False, unique=True),
    Column("timestamp", Text, nullable=False),
    Column("narration", Text, nullable=False),
    Column("state", Text, CheckConstraint("state IN ('posted', 'pending', 'voided')"), nullable=False),
    # unique: a pending transaction is resolved once
    Column("resolves", Text, ForeignKey("transactions.id"), unique=True),
    Column("run_id", Text, nullable=False, index=True),
    Column("evidence", Text, nullable=False),
    CheckConstraint("state <> 'pending' OR resolves IS NULL"),
    CheckConstraint("state <> 'voided' OR resolves IS NOT NULL"),
    Index("transactions_by_date", "timestamp", "seq"),
    Index("transactions_by_state", "state", "seq"),
)


def _of_transaction() -> Column[int]:
    reference = ForeignKey("transactions.seq", deferrable=True, initially="DEFERRED")
    return Column("seq", BigInteger, reference, primary_key=True, autoincrement=False)


postings = Table(
    "postings",
    tables,
    _of_transaction(),
    Column("position", SmallInteger, primary_key=True, autoincrement=False),
    Column("account", Text, ForeignKey("accounts.name"), nullable=False),
    Column(
        "amount",
        BigInteger,
        CheckConstraint("amount <> 0 AND amount BETWEEN -9007199254740991 AND 9007199254740991"),
        nullable=False,
    ),
    UniqueConstraint("seq", "account"),
    Index("postings_by_amount", "amount", "seq"),
)

TOTALS = ("debits_posted", "credits_posted", "debits_pending", "credits_pending")

balances = Table(
    "balances",
    tables,
    _of_transaction(),
    Column("account", Text, ForeignKey("accounts.name"), primary_key=True),
    *(Column(name, BigInteger, CheckConstraint(f"{name} >= 0"), nullable=False) for name in TOTALS),
    Index("balances_latest", "account", "seq"),
)
