"""The ledger in a database: SQLite in a file by default, PostgreSQL by URL.

The rules are those of rules.py, asked of the database inside one serialised write; the database
then enforces append-only, balance, limits and pending-once a second time (schema.py). An append that
returned is on disk. One that failed on the way may or may not be: repeat it, the id makes it safe.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, func, make_url, select
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from parties.errors import ConfigError, StorageError
from parties.ledger import schema
from parties.ledger.core import Ledger
from parties.ledger.entries import GENESIS, Account, Balance, Content, Entry, Head, Lock, Opening, Receipt, Transaction
from parties.ledger.guards import create, index, missing_guards
from parties.ledger.records import (
    Recorded,
    RecordedBook,
    insert_account,
    insert_lock,
    insert_transaction,
    read_accounts,
    read_balance,
    read_balances,
    read_digests,
    read_entries,
    read_journal,
)
from parties.ledger.rules import Refused, admit, admit_account, admit_lock
from parties.ledger.search import Criteria, Found, read_moving, read_named, search
from parties.ledger.verify import Verifier
from parties.private_files import make_private

__all__ = ["LedgerStore", "Report"]

_LOCK_KEY = 0x656E74656E7465  # "entente": the advisory lock of all ledgers in one PostgreSQL database
_BUSY_MS = 60_000


@dataclass(frozen=True)
class Report:
    """What :meth:`LedgerStore.check` found. ``faults`` is empty when the books are sound."""

    entries: int
    accounts: int
    transactions: int
    postings: int
    unresolved: int
    digest: str
    balanced: bool
    faults: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.faults


class LedgerStore:
    """A ledger behind ``url`` (``sqlite:///FILE``, ``postgresql://...``) or a file path.

    Safe to use from several threads and processes at once; appends are serialised.
    Raises :class:`LedgerError` (``Refused``) when an entry is refused, :class:`StorageError` when the
    database cannot be read or written, :class:`ConfigError` when the URL is of no use.
    """

    def __init__(self, url: str | Path) -> None:
        self._engine = _engine(url)
        self._accounts: dict[str, Account] = {}
        with self._writing() as connection:
            if not create(connection):
                index(connection)
            version = connection.execute(select(schema.ledger_format.c.version)).scalar_one_or_none()
        if version != schema.FORMAT:
            self.close()
            raise StorageError(
                f"the ledger has format {version}, this program reads {schema.FORMAT}: use the program that wrote it"
            )

    def close(self) -> None:
        self._engine.dispose()

    def __enter__(self) -> LedgerStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open_accounts(self, accounts: Iterable[Account], at: datetime) -> None:
        """Open ``accounts``, all or none; those open with the same terms are left as they are."""
        with self._writing() as connection:
            for account in accounts:
                opening = Opening(account, at)
                receipt = admit_account(RecordedBook(connection), opening)
                if not receipt.repeated:
                    insert_account(connection, opening, receipt)

    def append(self, transaction: Transaction) -> Receipt:
        """Record ``transaction`` durably, or raise and change nothing; the same one again is a no-op."""
        return self.append_all([transaction])[0]

    def append_all(self, transactions: Iterable[Transaction]) -> list[Receipt]:
        """Record all of them in order in one commit, or none."""
        receipts: list[Receipt] = []
        with self._writing() as connection:
            book = RecordedBook(connection, self._accounts)
            for transaction in transactions:
                admission = admit(book, transaction)
                if not admission.receipt.repeated:
                    insert_transaction(connection, transaction, admission.receipt, admission.balances)
                    book.advance(admission.receipt, admission.balances)
                receipts.append(admission.receipt)
        return receipts

    def lock(self, through: datetime, at: datetime) -> Receipt:
        """Close the books through ``through`` (UTC, inclusive), for good."""
        lock = Lock(through, at)
        with self._writing() as connection:
            receipt = admit_lock(RecordedBook(connection), lock)
            if not receipt.repeated:
                insert_lock(connection, lock, receipt)
        return receipt

    def head(self) -> Head:
        """Number of entries and the hash over all of them."""
        with self._reading() as connection:
            return RecordedBook(connection).head()

    def digest_at(self, sequence: int) -> str | None:
        """The hash over the first ``sequence`` entries, or None where there are fewer."""
        if sequence == 0:
            return GENESIS
        with self._reading() as connection:
            query = select(schema.entries.c.digest).where(schema.entries.c.seq == sequence)
            digest: str | None = connection.execute(query).scalar_one_or_none()
        return digest

    def recorded(self) -> Iterator[Recorded]:
        """Every entry in order, as it is stored, from one consistent view."""
        with self._reading() as connection:
            yield from read_entries(connection)

    def load(self, entries: Iterable[tuple[str, Content]]) -> Head:
        """Fill an empty ledger with entries and their hashes, in one commit, or raise and change nothing.

        Raises :class:`StorageError` when the ledger is not empty or an entry does not have its hash.
        """
        with self._writing() as connection:
            book = RecordedBook(connection)
            if book.head().sequence:
                raise StorageError("the ledger to restore into is not empty: name a new database")
            for digest, content in entries:
                receipt, balances = _insert(connection, book, content)
                if receipt.repeated or receipt.digest != digest:
                    raise StorageError(
                        f"entry {book.head().sequence + 1} of the backup does not have the hash written beside it"
                    )
                book.advance(receipt, balances)
            return book.head()

    def accounts(self) -> dict[str, Account]:
        """Every account, in opening order."""
        with self._reading() as connection:
            return read_accounts(connection)

    def balances(self) -> dict[str, Balance]:
        """Every account's balance, in opening order."""
        with self._reading() as connection:
            return read_balances(connection)

    def balance_before(self, account: str, sequence: int | None) -> Balance | None:
        """The account's balance before the entry at ``sequence``, or now; None for an account that is not open."""
        with self._reading() as connection:
            return read_balance(connection, account, sequence)

    def entry(self, transaction_id: str) -> Entry | None:
        """The transaction with this id, if it is recorded."""
        with self._reading() as connection:
            return RecordedBook(connection).entry(transaction_id)

    def locked_through(self) -> datetime | None:
        """The instant through which the books are closed."""
        with self._reading() as connection:
            return RecordedBook(connection).locked_through()

    def digests(self) -> dict[int, str]:
        """The hash over the journal up to each entry, hex, by the entry's place; place 0 is before the first."""
        with self._reading() as connection:
            return read_digests(connection)

    def journal(self, offset: int = 0, limit: int | None = None, *, run_id: str | None = None) -> list[Entry]:
        """Transactions in journal order; only those that carry ``run_id`` where one is given."""
        with self._reading() as connection:
            return read_journal(connection, offset, limit, run_id)

    def replay(self, *, entries: int | None = None) -> Ledger:
        """Rebuild the ledger in memory from the journal alone, or from its first ``entries``.

        Raises :class:`StorageError` where it does not fit.
        """
        with self._reading() as connection:
            ledger, faults = _replay(connection, entries)
        if faults:
            raise StorageError(f"the ledger cannot be replayed: {faults[0]}; restore it from a backup")
        return ledger

    def check(self) -> Report:
        """Replay the journal, verify every hash, and compare the balances and the database's own guards."""
        verifier = Verifier()
        with self._reading() as connection:
            while verifier.advance(connection):
                pass
            return _report(connection, verifier)

    def follow(self, verifier: Verifier) -> Report | None:
        """Verify the next page of the journal; what there is to say once it has come to its end, or to a fault."""
        with self._reading() as connection:
            return None if verifier.advance(connection) else _report(connection, verifier)

    def search(self, criteria: Criteria) -> Found:
        """A page of the transactions that fit. Raises :class:`ConfigError` for a cursor of another order."""
        with self._reading() as connection:
            return search(connection, criteria)

    def journal_of(self, accounts: Collection[str]) -> tuple[list[Entry], Head]:
        """Every transaction that moves one of these accounts, with those it resolves, and the head at that moment."""
        with self._reading() as connection:
            return read_moving(connection, accounts), RecordedBook(connection).head()

    def entries(self, ids: Collection[str]) -> dict[str, Entry]:
        """The transactions with these ids, by id, as far as they are recorded."""
        with self._reading() as connection:
            return read_named(connection, ids)

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """One serialised read-write transaction."""
        with (
            self._translated(),
            self._engine.connect().execution_options(entente_write=True) as connection,
            connection.begin(),
        ):
            if connection.dialect.name == "postgresql":
                connection.execute(select(func.pg_advisory_xact_lock(_LOCK_KEY)))
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """One consistent view of the whole ledger."""
        with self._translated(), self._engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            detail = str(error.orig).strip().partition("\n")[0]
            raise StorageError(
                f"ledger {self._engine.url.render_as_string()}: the database refused ({detail}); "
                "check that it is reachable, writable and has space, then repeat the call"
            ) from error
        except PoolTimeoutError as error:
            raise StorageError(
                f"ledger {self._engine.url.render_as_string()}: every connection is in use; repeat the call later"
            ) from error


def _engine(url: str | Path) -> Engine:
    text = f"sqlite:///{url}" if isinstance(url, Path) else url
    remedy = "give sqlite:///FILE or postgresql://USER@HOST/DATABASE"
    try:
        parsed = make_url(text)
        if parsed.get_backend_name() not in ("sqlite", "postgresql"):
            raise ConfigError(f"ledger URL {text!r}: this database is not supported; {remedy}")
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
            raise ConfigError(f"ledger URL {text!r}: nothing would be kept; {remedy}")
        engine = create_engine(parsed)
    except (ArgumentError, NoSuchModuleError):
        raise ConfigError(f"ledger URL {text!r} cannot be read; {remedy}") from None
    except ImportError:
        raise ConfigError("a ledger on PostgreSQL needs the driver: pip install 'entente[postgresql]'") from None
    if engine.dialect.name == "sqlite":
        make_private(engine.url.database)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions are begun in _begin_sqlite, not guessed by the driver
    for pragma in (f"busy_timeout = {_BUSY_MS}", "journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("entente_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _report(connection: Connection, verifier: Verifier) -> Report:
    """What is found at the end of a verification, or where it stopped, against what is recorded now."""
    faults = [verifier.fault] if verifier.fault else []
    found = {
        schema.entries: verifier.head().sequence,
        schema.accounts: len(verifier.accounts()),
        schema.transactions: verifier.transactions,
        schema.postings: verifier.postings,
    }
    faults += [f"the guard {name} is missing or altered" for name in missing_guards(connection)]
    counts = {t: connection.execute(select(func.count()).select_from(t)).scalar_one() for t in found}
    if not verifier.fault:
        stored = read_balances(connection)
        faults += [
            f"{table.name} has {counts[table]} rows where the chain accounts for {n}"
            for table, n in found.items()
            if counts[table] != n
        ]
        faults += [
            f"the balance of {name} is not what the journal gives"
            for name, balance in verifier.balances().items()
            if stored.get(name) != balance
        ]
    return Report(
        entries=counts[schema.entries],
        accounts=counts[schema.accounts],
        transactions=counts[schema.transactions],
        postings=counts[schema.postings],
        unresolved=verifier.unresolved,
        digest=verifier.head().digest,
        balanced=verifier.is_balanced(),
        faults=tuple(faults),
    )


def _apply(ledger: Ledger, content: Content) -> None:
    if isinstance(content, Transaction):
        ledger.append(content)
    elif isinstance(content, Opening):
        ledger.open_accounts([content.account], content.timestamp)
    else:
        ledger.lock(content.through, content.timestamp)


def _insert(connection: Connection, book: RecordedBook, content: Content) -> tuple[Receipt, Mapping[str, Balance]]:
    """Judge and write one entry."""
    if isinstance(content, Transaction):
        admission = admit(book, content)
        if not admission.receipt.repeated:
            insert_transaction(connection, content, admission.receipt, admission.balances)
        return admission.receipt, admission.balances
    if isinstance(content, Opening):
        receipt = admit_account(book, content)
        if not receipt.repeated:
            insert_account(connection, content, receipt)
        return receipt, {}
    receipt = admit_lock(book, content)
    if not receipt.repeated:
        insert_lock(connection, content, receipt)
        book.forget_lock()
    return receipt, {}


def _replay(connection: Connection, entries: int | None = None) -> tuple[Ledger, list[str]]:
    """The ledger up to the first fault or so many entries, and that fault."""
    ledger = Ledger()
    for recorded in read_entries(connection):
        if entries is not None and recorded.sequence > entries:
            break
        where = f"entry {recorded.sequence}"
        if recorded.content is None:
            return ledger, [f"{where} has lost its content"]
        try:
            _apply(ledger, recorded.content)
        except Refused as refusal:
            return ledger, [f"{where} breaks a rule ({refusal})"]
        if ledger.head() != Head(recorded.sequence, recorded.digest):
            return ledger, [f"{where} does not carry the hash of its content and of all before it"]
        for name, balance in recorded.balances.items():
            account = ledger.account(name)
            if account is None or ledger.balance(account) != balance:
                return ledger, [f"{where} does not lead to the balance recorded for {name}"]
    return ledger, []
