"""The rules the database itself enforces, whoever writes to it.

Each rule is one SQL condition that must not hold after an insert; it is written once and rendered as
a trigger for SQLite and for PostgreSQL. Most run on the insert into ``entries`` that seals an entry;
no row may join an entry once it is sealed, and none is ever changed or removed.
"""

# The SQL is put together from constants of this file alone.
# ruff: noqa: S608

from __future__ import annotations

from contextlib import suppress

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError

from parties.ledger.schema import FORMAT, TOTALS, ledger_format, tables

__all__ = ["create", "guards", "index", "missing_guards"]

# What transaction NEW.seq does to each account: its own postings, and those of the pending one it resolves.
_MOVES = """
    SELECT p.account AS account,
           CASE WHEN t.state = 'posted' AND p.amount > 0 THEN p.amount ELSE 0 END AS debits_posted,
           CASE WHEN t.state = 'posted' AND p.amount < 0 THEN -p.amount ELSE 0 END AS credits_posted,
           CASE WHEN t.state = 'pending' AND p.amount > 0 THEN p.amount ELSE 0 END AS debits_pending,
           CASE WHEN t.state = 'pending' AND p.amount < 0 THEN -p.amount ELSE 0 END AS credits_pending
      FROM transactions t JOIN postings p ON p.seq = t.seq
     WHERE t.seq = NEW.seq
    UNION ALL
    SELECT p.account,
           CASE WHEN t.state = 'posted' AND p.amount > 0 THEN p.amount ELSE 0 END,
           CASE WHEN t.state = 'posted' AND p.amount < 0 THEN -p.amount ELSE 0 END,
           CASE WHEN p.amount > 0 THEN -p.amount ELSE 0 END,
           CASE WHEN p.amount < 0 THEN p.amount ELSE 0 END
      FROM transactions t JOIN transactions o ON o.id = t.resolves JOIN postings p ON p.seq = o.seq
     WHERE t.seq = NEW.seq"""


def _changed(total: str) -> str:
    before = (
        f"COALESCE((SELECT o.{total} FROM balances o WHERE o.account = m.account AND o.seq < NEW.seq "
        "ORDER BY o.seq DESC LIMIT 1), 0)"
    )
    return f"b.{total} <> SUM(m.{total}) + {before}"


_UNSEALED = "NEW.seq <> (SELECT COALESCE(MAX(e.seq), 0) + 1 FROM entries e)"
_LOWEST = """CASE a.side
    WHEN 'debit' THEN NEW.debits_posted - NEW.credits_posted - NEW.credits_pending
    ELSE NEW.credits_posted - NEW.debits_posted - NEW.debits_pending END"""
_HIGHEST = """CASE a.side
    WHEN 'debit' THEN NEW.debits_posted - NEW.credits_posted + NEW.debits_pending
    ELSE NEW.credits_posted - NEW.debits_posted + NEW.credits_pending END"""

# name, table, condition that must not hold after an insert, what is wrong
_RULES = (
    *(
        (f"{table}_open", table, _UNSEALED, f"{table}: a row belongs to the next entry, without a gap")
        for table in ("accounts", "locks", "transactions", "postings", "balances")
    ),
    *(
        (
            f"entries_{kind}",
            "entries",
            f"(NEW.kind = '{kind}') <> EXISTS (SELECT 1 FROM {kind}s x WHERE x.seq = NEW.seq)",
            f"entries: kind and content disagree on {kind}",
        )
        for kind in ("account", "lock", "transaction")
    ),
    (
        "accounts_scale",
        "accounts",
        "EXISTS (SELECT 1 FROM accounts a WHERE a.unit = NEW.unit AND a.scale <> NEW.scale)",
        "accounts: a unit has one scale",
    ),
    (
        "locks_rise",
        "locks",
        "EXISTS (SELECT 1 FROM locks l WHERE l.seq < NEW.seq AND l.through >= NEW.through)",
        "locks: a lock rises",
    ),
    (
        "transactions_locked",
        "transactions",
        "EXISTS (SELECT 1 FROM locks l WHERE l.through >= NEW.timestamp)",
        "transactions: the period is locked",
    ),
    (
        "transactions_resolve",
        "transactions",
        "NEW.resolves IS NOT NULL AND NOT EXISTS "
        "(SELECT 1 FROM transactions o WHERE o.id = NEW.resolves AND o.state = 'pending' AND o.seq < NEW.seq)",
        "transactions: only a pending transaction can be resolved",
    ),
    (
        "balances_least",
        "balances",
        f"EXISTS (SELECT 1 FROM accounts a WHERE a.name = NEW.account AND {_LOWEST} < a.least)",
        "balances: below the least of the account",
    ),
    (
        "balances_most",
        "balances",
        f"EXISTS (SELECT 1 FROM accounts a WHERE a.name = NEW.account AND {_HIGHEST} > a.most)",
        "balances: above the most of the account",
    ),
    (
        "postings_balance",
        "entries",
        "EXISTS (SELECT a.unit FROM postings p JOIN accounts a ON a.name = p.account WHERE p.seq = NEW.seq "
        "GROUP BY a.unit HAVING SUM(p.amount) <> 0)",
        "postings: debits and credits differ",
    ),
    (
        "postings_present",
        "entries",
        "EXISTS (SELECT 1 FROM transactions t WHERE t.seq = NEW.seq AND (t.state = 'voided' OR t.resolves IS NULL) "
        "AND (t.state = 'voided') = EXISTS (SELECT 1 FROM postings p WHERE p.seq = NEW.seq))",
        "postings: a void has none, any other first entry has some",
    ),
    (
        "balances_follow",
        "entries",
        f"EXISTS (SELECT m.account FROM ({_MOVES}) m LEFT JOIN balances b ON b.account = m.account AND b.seq = NEW.seq "
        f"GROUP BY m.account, {', '.join(f'b.{total}' for total in TOTALS)} "
        f"HAVING b.debits_posted IS NULL OR {' OR '.join(_changed(total) for total in TOTALS)})",
        "balances: not the balances before plus what the entry moves",
    ),
    (
        "balances_touched",
        "entries",
        "EXISTS (SELECT 1 FROM balances b WHERE b.seq = NEW.seq AND b.account NOT IN "
        f"(SELECT m.account FROM ({_MOVES}) m))",
        "balances: an account changed without a posting",
    ),
)

_FROZEN = ("ledger_format", "entries", "accounts", "locks", "transactions", "postings", "balances")


def guards(dialect: str) -> dict[str, str]:
    """Trigger name -> DDL for ``sqlite`` or ``postgresql``."""
    return _sqlite_guards() if dialect == "sqlite" else _postgresql_guards()


def _sqlite_guards() -> dict[str, str]:
    made: dict[str, str] = {}
    for table in _FROZEN:
        for event in ("UPDATE", "DELETE"):
            name = f"{table}_no_{event.lower()}"
            made[name] = (
                f"CREATE TRIGGER {name} BEFORE {event} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table}: the ledger is append-only'); END"
            )
    for name, table, condition, message in _RULES:
        made[name] = (
            f"CREATE TRIGGER {name} AFTER INSERT ON {table} WHEN {condition} "
            f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
        )
    return made


def _postgresql_guards() -> dict[str, str]:
    made: dict[str, str] = {}
    for table in _FROZEN:
        name = f"{table}_no_change"
        made[name] = _postgresql_trigger(
            name, f"BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} FOR EACH STATEMENT", "TRUE",
            f"{table}: the ledger is append-only",
        )  # fmt: skip
    for name, table, condition, message in _RULES:
        made[name] = _postgresql_trigger(name, f"AFTER INSERT ON {table} FOR EACH ROW", condition, message)
    return made


def _postgresql_trigger(name: str, event: str, condition: str, message: str) -> str:
    return (
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $guard$ "
        f"BEGIN IF {condition} THEN RAISE EXCEPTION '{message}' USING ERRCODE = 'check_violation'; END IF; "
        f"RETURN NEW; END $guard$; "
        f"CREATE TRIGGER {name} {event} EXECUTE FUNCTION {name}()"
    )


def create(connection: Connection) -> bool:
    """Create tables and guards where there are none; true if they were made. Caller holds the write lock."""
    if inspect(connection).has_table("ledger_format"):
        return False
    tables.create_all(connection)
    for statement in guards(connection.dialect.name).values():
        connection.exec_driver_sql(statement.replace("%", "%%"))
    connection.execute(ledger_format.insert().values(version=FORMAT))
    return True


def index(connection: Connection) -> None:
    """Make the indexes that a ledger of an earlier version lacks. Caller holds the write lock.

    Searches are slow without them and right all the same, so a database whose owner is another is left as it is.
    """
    present = {found["name"] for table in tables.tables for found in inspect(connection).get_indexes(table)}
    for table in tables.tables.values():
        for missing in sorted(table.indexes, key=lambda one: str(one.name)):
            if missing.name not in present:
                with suppress(DBAPIError), connection.begin_nested():
                    missing.create(connection)


def missing_guards(connection: Connection) -> list[str]:
    """Guards that someone removed, disabled or rewrote, by name."""
    if connection.dialect.name == "sqlite":
        query = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
    else:
        query = (
            "SELECT t.tgname, p.prosrc FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
            "JOIN pg_proc p ON p.oid = t.tgfoid "
            "WHERE c.relnamespace = current_schema()::regnamespace AND t.tgenabled IN ('O', 'A')"
        )
    present = {row[0]: row[1] for row in connection.execute(text(query))}
    wanted = guards(connection.dialect.name)
    return sorted(name for name, statement in wanted.items() if not present.get(name) or present[name] not in statement)
