"""One suite for every ledger: the model in memory, SQLite, PostgreSQL; and histories against an auditor."""

from __future__ import annotations

import gzip
import os
import pwd
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from parties.errors import ConfigError, LedgerError, StorageError
from parties.ledger import schema
from parties.ledger.backup import restore_backup, write_backup
from parties.ledger.core import Account, Ledger, Posting, Reason, Refused, State, Transaction, Unit
from parties.ledger.entries import LARGEST_AMOUNT
from parties.ledger.guards import guards
from parties.ledger.heads import head_from_json, sign_head
from parties.ledger.store import LedgerStore

Book = Ledger | LedgerStore

USD = Unit("USD", 2)
EUR = Unit("EUR", 2)
DAY = [datetime(2026, 1, day, 12, tzinfo=UTC) for day in range(1, 6)]
CASH, INCOME, REWARD = "Assets:Consortium:Cash", "Income:Subscriptions", "Expenses:Reward"
PENDING, PAYABLE = "Liabilities:Party:orbit:Pending", "Liabilities:Party:orbit:Payable"
EURO_CASH, EURO_INCOME = "Assets:Consortium:Euro", "Income:Euro"
ACCOUNTS = (
    Account(CASH, USD, least=0),
    Account(INCOME, USD, most=9),
    Account(REWARD, USD),
    Account(PENDING, USD, least=0, most=12),
    Account(PAYABLE, USD, least=-2),
    Account(EURO_CASH, EUR),
    Account(EURO_INCOME, EUR),
)


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """URL of a PostgreSQL server: the one named in the environment, or one started for these tests."""
    pytest.importorskip("psycopg", reason="the PostgreSQL driver is not installed")
    given = os.environ.get("ENTENTE_TEST_POSTGRESQL")
    if given:
        yield given
        return
    candidates = [*sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")), shutil.which("initdb")]
    initdb = next((Path(c) for c in reversed(candidates) if c), None)
    if initdb is None:
        pytest.skip("no PostgreSQL server on this machine; set ENTENTE_TEST_POSTGRESQL to a URL to use another")
    folder = Path(tempfile.mkdtemp(prefix="entente-pg-"))
    as_user: dict[str, Any] = {}
    if os.geteuid() == 0:  # the server refuses to run as root
        nobody = pwd.getpwnam("nobody")
        as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    data = str(folder / "data")
    subprocess.run(
        [initdb, "-D", data, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--locale=C"],
        check=True, capture_output=True, cwd=folder, **as_user,
    )  # fmt: skip
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [initdb.with_name("postgres"), "-D", data, "-k", str(folder), "-c", "listen_addresses=", "-F"],
            cwd=folder, stdout=log, stderr=log, **as_user,
        )  # fmt: skip
    url = f"postgresql+psycopg://postgres@/postgres?host={folder}"
    try:
        _wait_until_it_answers(url)
        yield url
    finally:
        server.terminate()
        server.wait(30)
        shutil.rmtree(folder)


def _wait_until_it_answers(url: str) -> None:
    engine = create_engine(url)
    for _ in range(300):
        try:
            engine.connect().close()
        except DBAPIError:
            time.sleep(0.1)
        else:
            engine.dispose()
            return
    raise AssertionError("the PostgreSQL server did not start")


_schemas = count()


@contextmanager
def addresses(kind: str, request: pytest.FixtureRequest) -> Iterator[Callable[[], str]]:
    """Makes URLs of fresh, empty databases."""
    numbers = count()
    if kind == "sqlite":
        folder: Path = request.getfixturevalue("tmp_path_factory").mktemp("ledger")
        yield lambda: f"sqlite:///{folder / f'ledger{next(numbers)}.db'}"
        return
    server = request.getfixturevalue("postgresql")
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    made: list[str] = []

    def fresh() -> str:
        name = f"ledger_{next(_schemas)}_{os.getpid()}"
        with engine.connect() as connection:
            connection.execute(text(f"CREATE SCHEMA {name}"))
        made.append(name)
        return f"{server}{'&' if '?' in server else '?'}options=-csearch_path%3D{name}"

    yield fresh
    with engine.connect() as connection:
        for name in made:
            connection.execute(text(f"DROP SCHEMA {name} CASCADE"))
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> Iterator[Callable[[], str]]:
    with addresses(request.param, request) as fresh:
        yield fresh


@pytest.fixture
def store(url: Callable[[], str]) -> Iterator[LedgerStore]:
    with LedgerStore(url()) as made:
        made.open_accounts(ACCOUNTS, DAY[0])
        yield made


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def book(request: pytest.FixtureRequest) -> Iterator[Book]:
    if request.param == "memory":
        model = Ledger()
        model.open_accounts(ACCOUNTS, DAY[0])
        yield model
        return
    with addresses(request.param, request) as fresh, LedgerStore(fresh()) as made:
        made.open_accounts(ACCOUNTS, DAY[0])
        yield made


def transfer(name: str, debit: str, credit: str, amount: int, day: int = 1, **more: Any) -> Transaction:
    return Transaction(name, DAY[day], "test", (Posting(debit, amount), Posting(credit, -amount)), **more)


def pending(name: str, amount: int = 5) -> Transaction:
    return transfer(name, REWARD, PENDING, amount, state=State.PENDING)


def amounts(book: Book) -> dict[str, tuple[int, int]]:
    return {name: (b.posted, b.pending) for name, b in book.balances().items() if (b.posted, b.pending) != (0, 0)}


def refused(book: Book, transaction: Transaction) -> Reason:
    before, head = book.balances(), book.head()
    with pytest.raises(Refused) as caught:
        book.append(transaction)
    assert (book.balances(), book.head()) == (before, head), "a refusal changes nothing"
    return caught.value.reason


# What every ledger must do.


def test_an_append_moves_balances_and_is_read_back(book: Book) -> None:
    made = Transaction(
        "s1", DAY[1], 'Zoë paid "5.00"; \\ 100 % ✓', (Posting(CASH, 500 - 493), Posting(INCOME, -7)),
        run_id="ab" * 32, evidence="cd" * 32,
    )  # fmt: skip
    receipt = book.append(made)
    assert (receipt.sequence, receipt.repeated) == (8, False)
    assert amounts(book) == {CASH: (7, 0), INCOME: (7, 0)}
    (entry,) = book.journal()
    assert (entry.transaction, entry.sequence, entry.digest) == (made, 8, receipt.digest)
    assert book.entry("s1") == entry
    assert book.entry("s2") is None
    assert book.head().digest == receipt.digest


def test_the_same_again_is_accepted_and_does_nothing(book: Book) -> None:
    first = book.append(transfer("a", CASH, INCOME, 3))
    again = book.append(transfer("a", CASH, INCOME, 3))
    assert (again.sequence, again.digest, again.repeated) == (first.sequence, first.digest, True)
    assert len(book.journal()) == 1
    assert refused(book, transfer("a", CASH, INCOME, 4)) is Reason.ID_REUSED
    assert refused(book, transfer("a", CASH, INCOME, 3, day=2)) is Reason.ID_REUSED


def test_pending_is_posted_once(book: Book) -> None:
    book.append(pending("p"))
    assert amounts(book) == {REWARD: (0, 5), PENDING: (0, 5)}
    assert book.journal()[0].resolved_by is None
    book.append(transfer("f", PENDING, PAYABLE, 5, resolves="p"))
    assert amounts(book) == {REWARD: (5, 0), PAYABLE: (5, 0)}
    assert [(e.resolved_by, e.resolved_as, e.waiting) for e in book.journal()] == [
        ("f", State.POSTED, False),
        (None, None, False),
    ]
    assert refused(book, transfer("g", PENDING, PAYABLE, 5, resolves="p")) is Reason.ALREADY_RESOLVED
    assert refused(book, Transaction("v", DAY[1], "x", (), State.VOIDED, "p")) is Reason.ALREADY_RESOLVED
    assert book.append(transfer("f", PENDING, PAYABLE, 5, resolves="p")).repeated


def test_pending_is_voided_once(book: Book) -> None:
    book.append(pending("p"))
    assert book.journal()[0].waiting
    book.append(Transaction("v", DAY[2], "x", (), State.VOIDED, "p"))
    assert amounts(book) == {}
    assert (book.journal()[0].resolved_by, book.journal()[0].resolved_as) == ("v", State.VOIDED)
    assert refused(book, Transaction("f", DAY[2], "x", (), State.POSTED, "p")) is Reason.ALREADY_RESOLVED


def test_a_plain_post_needs_no_postings(book: Book) -> None:
    book.append(pending("p"))
    book.append(Transaction("f", DAY[2], "x", (), State.POSTED, "p"))
    assert amounts(book) == {REWARD: (5, 0), PENDING: (5, 0)}


def test_limits_count_what_is_pending(book: Book) -> None:
    book.append(transfer("in", CASH, INCOME, 9))
    book.append(transfer("out", REWARD, CASH, 6, state=State.PENDING))
    assert refused(book, transfer("more", REWARD, CASH, 4)) is Reason.BELOW_LEAST
    book.append(transfer("fits", REWARD, CASH, 3))
    book.append(pending("p", 12))
    assert refused(book, pending("q", 1)) is Reason.ABOVE_MOST
    book.append(Transaction("v", DAY[2], "x", (), State.VOIDED, "out"))
    book.append(transfer("now", REWARD, CASH, 4))
    assert book.balances()[CASH].posted == 2


def test_closed_books_stay_closed(book: Book) -> None:
    book.append(pending("p"))
    assert book.locked_through() is None
    assert not book.lock(DAY[1], DAY[4]).repeated
    assert book.lock(DAY[1], DAY[4] + timedelta(days=1)).repeated
    assert book.locked_through() == DAY[1]
    assert refused(book, transfer("late", CASH, INCOME, 1, day=1)) is Reason.PERIOD_LOCKED
    assert book.append(pending("p")).repeated, "a repetition of what is recorded is no new entry"
    book.append(transfer("f", PENDING, PAYABLE, 5, day=2, resolves="p"))
    with pytest.raises(Refused) as caught:
        book.lock(DAY[0], DAY[4])
    assert caught.value.reason is Reason.LOCK_FALLS
    with pytest.raises(Refused) as caught:
        book.lock(DAY[4], DAY[4])
    assert caught.value.reason is Reason.LOCK_AHEAD


def test_accounts_open_once_and_never_change(book: Book) -> None:
    head = book.head()
    book.open_accounts(ACCOUNTS, DAY[3])
    assert book.head() == head
    assert list(book.accounts().values()) == list(ACCOUNTS)
    fresh = Account("Assets:Bank", USD)
    for account, reason in (
        (replace(ACCOUNTS[0], least=-1), Reason.ACCOUNT_CHANGED),
        (Account("Assets:Other", Unit("USD", 3)), Reason.UNIT_CHANGED),
        (Account("Assets:other", USD), Reason.ACCOUNT_MALFORMED),
    ):
        with pytest.raises(Refused) as caught:
            book.open_accounts([fresh, account], DAY[1])
        assert caught.value.reason is reason
    assert fresh.name not in book.accounts(), "all or none"
    assert book.head() == head


def test_all_or_none(book: Book) -> None:
    head = book.head()
    with pytest.raises(Refused) as caught:
        book.append_all([transfer("a", CASH, INCOME, 3), pending("p"), transfer("b", CASH, INCOME, 7)])
    assert caught.value.reason is Reason.ABOVE_MOST
    assert (book.head(), book.journal(), amounts(book)) == (head, [], {})
    receipts = book.append_all([transfer("a", CASH, INCOME, 3), transfer("a", CASH, INCOME, 3), pending("p")])
    assert [r.repeated for r in receipts] == [False, True, False]


def test_units_balance_apart(book: Book) -> None:
    mixed = Transaction("m", DAY[1], "x", (Posting(CASH, 3), Posting(EURO_INCOME, -3)))
    assert refused(book, mixed) is Reason.UNBALANCED
    both = (Posting(CASH, 3), Posting(INCOME, -3), Posting(EURO_CASH, 4), Posting(EURO_INCOME, -4))
    book.append(Transaction("m", DAY[1], "x", both))
    assert amounts(book) == {CASH: (3, 0), INCOME: (3, 0), EURO_CASH: (4, 0), EURO_INCOME: (4, 0)}


def test_totals_never_overflow(book: Book) -> None:
    steps = 2**63 // LARGEST_AMOUNT
    book.append_all(transfer(f"t{i}", EURO_CASH, EURO_INCOME, LARGEST_AMOUNT) for i in range(steps))
    assert book.balances()[EURO_CASH].posted == steps * LARGEST_AMOUNT
    assert refused(book, transfer("last", EURO_CASH, EURO_INCOME, LARGEST_AMOUNT)) is Reason.TOTAL_TOO_LARGE
    if isinstance(book, LedgerStore):
        assert book.check().ok


def test_the_journal_is_paged(book: Book) -> None:
    for i in range(7):
        book.append(transfer(f"t{i}", EURO_CASH, EURO_INCOME, 1 + i))
    everything = book.journal()
    assert [e.transaction.id for e in everything] == [f"t{i}" for i in range(7)]
    assert book.journal(2, 3) == everything[2:5]
    assert book.journal(6, 3) == everything[6:]
    assert book.journal(7, 3) == []


def test_the_journal_of_one_run(book: Book) -> None:
    book.append(pending("p"))
    book.append(transfer("a", CASH, INCOME, 1, run_id="r1"))
    book.append(transfer("f", PENDING, PAYABLE, 5, resolves="p", run_id="r2"))
    book.append(transfer("b", CASH, INCOME, 2, run_id="r1"))
    everything = book.journal()
    assert book.journal(run_id="r1") == [everything[1], everything[3]]
    assert book.journal(1, 5, run_id="r1") == [everything[3]]
    assert book.journal(run_id="") == [everything[0]]
    assert book.journal(run_id="r3") == []


# What only a database must do.


def test_a_store_is_the_model_written_down(url: Callable[[], str]) -> None:
    address, model = url(), Ledger()
    model.open_accounts(ACCOUNTS, DAY[0])
    with LedgerStore(address) as store:
        store.open_accounts(ACCOUNTS, DAY[0])
    for transaction in (pending("p"), transfer("a", CASH, INCOME, 3), transfer("f", PENDING, PAYABLE, 5, resolves="p")):
        model.append(transaction)
        with LedgerStore(address) as store:
            store.append(transaction)
    model.lock(DAY[1], DAY[2])
    with LedgerStore(address) as store:
        store.lock(DAY[1], DAY[2])
        assert store.head() == model.head() == store.replay().head()
        assert store.journal() == model.journal() == store.replay().journal()
        assert store.balances() == model.balances() == store.replay().balances()
        assert store.accounts() == model.accounts()
        assert store.locked_through() == model.locked_through()
        report = store.check()
    assert report.ok
    assert (report.entries, report.accounts, report.transactions, report.postings) == (11, 7, 3, 6)
    assert (report.unresolved, report.balanced, report.digest) == (0, True, model.head().digest)


def test_no_guard_reads_the_whole_journal(tmp_path: Path) -> None:
    """A guard runs at every insert, so one that scans a growing table would make appending slower and slower."""
    with LedgerStore(tmp_path / "ledger.db") as store, store._engine.connect() as connection:
        plans = {}
        for name, statement in guards("sqlite").items():
            condition = statement.partition(" WHEN ")[2].rpartition(" BEGIN SELECT")[0]
            if condition:
                explained = "EXPLAIN QUERY PLAN SELECT 1 WHERE " + re.sub(r"NEW\.\w+", "1", condition)
                plans[name] = {row.detail for row in connection.exec_driver_sql(explained)}
    assert len(plans) > 15
    # "m" is what one entry moves, "a" in accounts_scale is the list of accounts
    harmless = {"SCAN CONSTANT ROW", "SCAN m"}
    scans = {name: {step for step in plan if step.startswith("SCAN")} - harmless for name, plan in plans.items()}
    assert {name: steps for name, steps in scans.items() if steps} == {"accounts_scale": {"SCAN a"}}


def settled(store: LedgerStore) -> None:
    store.append(transfer("a", CASH, INCOME, 3))
    store.append(pending("p"))
    store.append(transfer("f", PENDING, PAYABLE, 5, resolves="p"))
    store.append(pending("open"))
    store.lock(DAY[0], DAY[4])


def attempt(store: LedgerStore, *statements: str) -> str:
    """Run raw SQL as someone with a database client would; the refusal's text, or "" if it was let through."""
    try:
        with store._engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement))
    except DBAPIError as error:
        return str(error.orig)
    return ""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def guarded(request: pytest.FixtureRequest) -> Iterator[LedgerStore]:
    """One settled ledger for all attempts, since none of them gets through."""
    with addresses(request.param, request) as fresh, LedgerStore(fresh()) as made:
        made.open_accounts(ACCOUNTS, DAY[0])
        settled(made)
        yield made


@pytest.mark.parametrize("table", [t.name for t in schema.tables.sorted_tables])
def test_the_database_refuses_changes(guarded: LedgerStore, table: str) -> None:
    column = {"ledger_format": "version"}.get(table, "seq")
    assert "append-only" in attempt(guarded, f"UPDATE {table} SET {column} = {column} + 100")
    assert "append-only" in attempt(guarded, f"DELETE FROM {table}")
    assert guarded.check().ok


DIGEST = "'" + "0" * 64 + "'"
HEADER = "INSERT INTO transactions VALUES (13, 'raw', '2026-01-03T00:00:00.000000Z', 'x', 'posted', NULL, '', '')"
CASH_ROW, INCOME_ROW = f"(13, 0, '{CASH}', 5)", f"(13, 1, '{INCOME}', -5)"
SEAL = f"INSERT INTO entries VALUES (13, 'transaction', {DIGEST})"


RAW_ACCOUNT = "INSERT INTO accounts VALUES (13, 'Assets:New', 'USD', 2, 'debit', NULL, NULL, '2026-01-01')"
LATER = "2026-01-04T00:00:00.000000Z"


def raw_balance(account: str, *totals: int) -> str:
    return f"INSERT INTO balances VALUES (13, '{account}', {', '.join(map(str, totals))})"


WHOLE = (
    HEADER,
    f"INSERT INTO postings VALUES {CASH_ROW}, {INCOME_ROW}",
    raw_balance(CASH, 8, 0, 0, 0),
    raw_balance(INCOME, 0, 8, 0, 0),
    SEAL,
)


UNEVEN = (
    HEADER,
    f"INSERT INTO postings VALUES {CASH_ROW}, (13, 1, '{INCOME}', -4)",
    raw_balance(CASH, 8, 0, 0, 0),
    raw_balance(INCOME, 0, 7, 0, 0),
    SEAL,
)
VOID_WITH_POSTINGS = (
    HEADER.replace("'posted', NULL", "'voided', 'open'"),
    f"INSERT INTO postings VALUES {CASH_ROW}, {INCOME_ROW}",
    raw_balance(CASH, 3, 0, 0, 0),
    raw_balance(INCOME, 0, 3, 0, 0),
    raw_balance(REWARD, 5, 0, 0, 0),
    raw_balance(PENDING, 5, 5, 0, 0),
    SEAL,
)


def without(index: int, *instead: str) -> tuple[str, ...]:
    return (*WHOLE[:index], *instead, *WHOLE[index + 1 :])


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        (UNEVEN, "debits and credits differ"),
        ((HEADER, SEAL), "void has none"),
        (without(2), "not the balances before"),
        (without(2, raw_balance(CASH, 7, 0, 0, 0)), "not the balances before"),
        ((*WHOLE[:4], raw_balance(REWARD, 5, 0, 5, 0), SEAL), "without a posting"),
        (without(3, raw_balance(INCOME, 0, 10, 0, 0)), "above the most"),
        (without(2, raw_balance(CASH, 8, 9, 0, 0)), "below the least"),
        (without(0, HEADER.replace("'raw'", "'a'")), "transactions"),
        (without(0, HEADER.replace("'posted', NULL", "'posted', 'p'")), "resolves"),
        (without(0, HEADER.replace("'posted', NULL", "'posted', 'a'")), "only a pending"),
        (VOID_WITH_POSTINGS, "void has none"),
        (without(0, HEADER.replace("2026-01-03", "2025-12-31")), "locked"),
        (tuple(statement.replace("13", "14") for statement in WHOLE), "transactions: a row belongs to the next entry"),
        ((HEADER.replace("13,", "2,"),), "transactions: a row belongs to the next entry"),
        ((raw_balance(REWARD, 9, 0, 0, 0).replace("13,", "8,"),), "balances: a row belongs to the next entry"),
        ((f"INSERT INTO locks VALUES (8, '{LATER}', '2027')",), "locks: a row belongs to the next entry"),
        ((RAW_ACCOUNT.replace("13,", "8,"),), "accounts: a row belongs to the next entry"),
        ((RAW_ACCOUNT.replace("2,", "3,"), SEAL.replace("transaction", "account")), "a unit has one scale"),
        ((SEAL,), "disagree on transaction"),
        ((SEAL.replace("transaction", "lock"),), "disagree on lock"),
        ((SEAL.replace("transaction", "account"),), "disagree on account"),
        (without(4, SEAL.replace("'transaction'", "'lock'")), "disagree"),
        (without(4), "FOREIGN KEY|foreign key"),
        ((f"INSERT INTO postings VALUES (8, 2, '{REWARD}', 1)",), "postings: a row belongs to the next entry"),
        ((f"INSERT INTO locks VALUES (13, '{DAY[0]:%Y-%m-%d}T00:00:00.000000Z', '2026-02-01T')",), "rises"),
    ],
)
def test_the_database_refuses_what_the_rules_would(
    guarded: LedgerStore, statements: tuple[str, ...], message: str
) -> None:
    assert guarded.head().sequence == 12
    told = attempt(guarded, *statements)
    assert any(part in told for part in message.split("|")), told
    assert guarded.check().ok


def test_a_wrong_hash_is_found_even_if_the_database_lets_it_in(store: LedgerStore) -> None:
    settled(store)
    assert attempt(store, *WHOLE) == ""
    report = store.check()
    assert not report.ok
    assert report.faults == ("entry 13 does not carry the hash of its content and of all before it",)
    with pytest.raises(StorageError, match="cannot be replayed: entry 13"):
        store.replay()


def remove_guards(store: LedgerStore) -> None:
    for name, statement in guards(store._engine.dialect.name).items():
        table = re.search(r"ON (\w+) FOR EACH", statement)
        assert attempt(store, f"DROP TRIGGER {name}" + (f" ON {table[1]}" if table else "")) == ""


@pytest.mark.parametrize(
    ("tamper", "fault"),
    [
        (
            "UPDATE postings SET amount = CASE WHEN amount > 0 THEN 4 ELSE -4 END WHERE seq = 8",
            "entry 8 does not carry",
        ),
        ("UPDATE postings SET amount = amount + 1 WHERE seq = 8 AND amount > 0", "entry 8 breaks a rule"),
        ("UPDATE transactions SET narration = 'y' WHERE id = 'f'", "entry 10 does not carry"),
        ("UPDATE transactions SET timestamp = 'soon' WHERE id = 'a'", "entry 8 has lost its content"),
        ("UPDATE accounts SET least = NULL", "entry 1 does not carry"),
        ("UPDATE locks SET through = '2026-01-01T11:00:00.000000Z'", "entry 12 does not carry"),
        ("UPDATE balances SET debits_posted = debits_posted + 1", "entry 8 does not lead to the balance"),
        ("DELETE FROM balances WHERE seq = 11", "the balance of"),
        (f"UPDATE entries SET digest = {DIGEST} WHERE seq = 12", "entry 12 does not carry"),
    ],
)
def test_tampering_behind_the_guards_is_found(store: LedgerStore, tamper: str, fault: str) -> None:
    settled(store)
    assert store.check().ok
    remove_guards(store)
    assert len(store.check().faults) == len(guards(store._engine.dialect.name))
    assert attempt(store, tamper) == ""
    found = [told for told in store.check().faults if not told.startswith("the guard")]
    assert fault in found[0]


def test_concurrent_settlers_settle_once(url: Callable[[], str]) -> None:
    address = url()
    with LedgerStore(address) as first:
        first.open_accounts(ACCOUNTS, DAY[0])
    ready = threading.Barrier(4)
    receipts: list[list[bool]] = [[] for _ in range(4)]
    failures: list[BaseException] = []

    def settle(store: LedgerStore, mine: list[bool]) -> None:
        try:
            ready.wait(60)
            wanted = [transfer(f"settle{i}", EURO_CASH, EURO_INCOME, 1 + i) for i in range(12)]
            mine.extend(store.append(transaction).repeated for transaction in wanted)
        except BaseException as error:
            failures.append(error)

    with LedgerStore(address) as one, LedgerStore(address) as other:
        threads = [
            threading.Thread(target=settle, args=pair) for pair in zip([one, one, other, other], receipts, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
    assert failures == []
    for i in range(12):
        assert sorted(mine[i] for mine in receipts) == [False, True, True, True]
    with LedgerStore(address) as store:
        assert [e.transaction.id for e in store.journal()] == [f"settle{i}" for i in range(12)]
        assert store.balances()[EURO_CASH].posted == sum(range(1, 13))
        assert store.check().ok


def test_only_one_resolution_wins(url: Callable[[], str]) -> None:
    address = url()
    with LedgerStore(address) as first:
        first.open_accounts(ACCOUNTS, DAY[0])
        first.append(pending("p"))
    ready = threading.Barrier(4)
    outcomes: list[str] = []

    def resolve(number: int) -> None:
        with LedgerStore(address) as store:
            ready.wait(60)
            state = State.VOIDED if number % 2 else State.POSTED
            try:
                store.append(Transaction(f"r{number}", DAY[2], "x", (), state, "p"))
                outcomes.append("accepted")
            except Refused as refusal:
                outcomes.append(refusal.reason.value)

    threads = [threading.Thread(target=resolve, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sorted(outcomes) == ["accepted"] + ["already resolved"] * 3
    with LedgerStore(address) as store:
        assert store.check().ok


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "mysql://localhost/ledger", "sqlite://", "sqlite:///:memory:", "nosuch:///x"],
)
def test_urls_of_no_use_are_named(url: str) -> None:
    with pytest.raises(ConfigError, match=r"give sqlite:///FILE or postgresql://"):
        LedgerStore(url)


def test_an_unreachable_database_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="check that it is reachable, writable"):
        LedgerStore(tmp_path / "no" / "such" / "folder.db")
    (tmp_path / "text.db").write_text("not a database, " * 100)
    with pytest.raises(StorageError, match="not a database"):
        LedgerStore(tmp_path / "text.db")


# Random histories, judged by an auditor that shares no code with the rules.


class Auditor:
    """Keeps every accepted entry as plain tuples and recomputes everything from the first one, each time."""

    def __init__(self) -> None:
        self.limits = {a.name: (a.unit.code, a.least, a.most, a.name[0] in "AE") for a in ACCOUNTS}
        self.accepted: list[Transaction] = []
        self.locked: datetime | None = None

    def resolver(self, name: str) -> Transaction | None:
        return next((t for t in self.accepted if t.resolves == name), None)

    def sums(self, more: Transaction | None = None) -> dict[str, dict[str, int]]:
        """Account -> what is posted, what is pending in, what is pending out; debits are positive."""
        history = [*self.accepted, *([more] if more else [])]
        fates = {t.resolves: t.state.value for t in history if t.resolves}
        totals = {name: {"posted": 0, "in": 0, "out": 0} for name in self.limits}
        for t in history:
            fate = fates.get(t.id, "waiting") if t.state.value == "pending" else "posted"
            for p in t.postings:
                if fate == "posted":
                    totals[p.account]["posted"] += p.amount
                elif fate == "waiting":
                    totals[p.account]["in" if p.amount > 0 else "out"] += p.amount
        return totals

    def verdict(self, t: Transaction) -> str:
        known = {a.id: a for a in self.accepted}
        if (t.state.value == "pending" and t.resolves) or (
            t.state.value == "voided" and (t.postings or not t.resolves)
        ):
            return "state malformed"
        if not t.postings and not t.resolves:
            return "postings missing"
        if any(p.amount == 0 for p in t.postings):
            return "amount malformed"
        if len({p.account for p in t.postings}) < len(t.postings):
            return "account repeated"
        if t.id in known:
            return "repeated" if known[t.id] == t else "id reused"
        if any(p.account not in self.limits for p in t.postings):
            return "account unknown"
        for unit in ("USD", "EUR"):
            if sum(p.amount for p in t.postings if self.limits[p.account][0] == unit) != 0:
                return "unbalanced"
        if self.locked and t.timestamp <= self.locked:
            return "period locked"
        if t.resolves:
            if t.resolves not in known:
                return "pending unknown"
            if known[t.resolves].state.value != "pending":
                return "not pending"
            if self.resolver(t.resolves):
                return "already resolved"
        after = self.sums(t)
        for name, (_, least, _, debit) in self.limits.items():
            s = after[name]
            if least is not None and (s["posted"] + s["out"] if debit else -(s["posted"] + s["in"])) < least:
                return "below least"
        for name, (_, _, most, debit) in self.limits.items():
            s = after[name]
            if most is not None and (s["posted"] + s["in"] if debit else -(s["posted"] + s["out"])) > most:
                return "above most"
        return "accepted"


NAMES = [a.name for a in ACCOUNTS] + ["Assets:Missing"]
USUAL = [
    (CASH, INCOME),
    (REWARD, PENDING),
    (PENDING, PAYABLE),
    (PAYABLE, CASH),
    (EURO_CASH, EURO_INCOME),
    (REWARD, CASH),
]


def once_in(n: int) -> st.SearchStrategy[bool]:
    return st.integers(0, n - 1).map(lambda drawn: drawn == n - 1)


OUTCOMES: Counter[str] = Counter()


class Histories(RuleBasedStateMachine):
    """Transfers, pendings, resolutions, repetitions and locks, most of them sensible, some not."""

    def __init__(self, store: LedgerStore | None) -> None:
        super().__init__()
        self.store = store
        self.model = Ledger()
        self.auditor = Auditor()
        self.books: list[Book] = [self.model] if store is None else [self.model, store]
        for book in self.books:
            book.open_accounts(ACCOUNTS, DAY[0])

    def submit(self, transaction: Transaction) -> None:
        expected = self.auditor.verdict(transaction)
        OUTCOMES[expected] += 1
        for book in self.books:
            try:
                outcome = "repeated" if book.append(transaction).repeated else "accepted"
            except Refused as refusal:
                outcome = refusal.reason.value
            assert outcome == expected
        if expected == "accepted":
            self.auditor.accepted.append(transaction)

    def name(self, used: bool) -> str:
        return self.auditor.accepted[-1].id if used and self.auditor.accepted else f"t{len(self.auditor.accepted)}"

    def target(self, data: st.DataObject, sensible: bool) -> str:
        """An open pending transaction; or any entry, resolved ones first; or none that exists."""
        entries = self.auditor.accepted
        choice = [t.id for t in entries if t.state is State.PENDING and not self.auditor.resolver(t.id)]
        if not sensible:
            resolved = [t.resolves for t in entries if t.resolves]
            choice = resolved if resolved and data.draw(st.booleans()) else [t.id for t in entries]
        return data.draw(st.sampled_from(choice)) if choice else "t99"

    @rule(
        pair=st.sampled_from(USUAL),
        amount=st.integers(1, 9),
        day=st.integers(0, 3),
        waits=st.booleans(),
        used=once_in(9),
    )
    def transfer(self, pair: tuple[str, str], amount: int, day: int, waits: bool, used: bool) -> None:
        state = State.PENDING if waits else State.POSTED
        self.submit(transfer(self.name(used), *pair, amount, day, state=state))

    @rule(
        pair=st.sampled_from([None, *USUAL]),
        amount=st.integers(1, 9),
        posts=st.booleans(),
        odd=once_in(5),
        data=st.data(),
    )
    def resolve(self, pair: tuple[str, str] | None, amount: int, posts: bool, odd: bool, data: st.DataObject) -> None:
        legs = (Posting(pair[0], amount), Posting(pair[1], -amount)) if pair and posts else ()
        state, target = (State.POSTED if posts else State.VOIDED), self.target(data, sensible=not odd)
        if target == "t99" and not odd:
            return
        self.submit(Transaction(self.name(False), DAY[3], "r", legs, state, target))

    @rule(
        legs=st.lists(st.tuples(st.sampled_from(NAMES), st.integers(-3, 3)), max_size=4),
        closes=st.booleans(),
        state=st.sampled_from(State),
        resolves=once_in(4),
        used=once_in(4),
        data=st.data(),
    )
    def anything(
        self, legs: list[tuple[str, int]], closes: bool, state: State, resolves: bool, used: bool, data: st.DataObject
    ) -> None:
        if closes:
            legs = [*legs, (CASH, -sum(amount for _, amount in legs))]
        target = self.target(data, sensible=False) if resolves else None
        self.submit(Transaction(self.name(used), DAY[2], "any", tuple(Posting(*leg) for leg in legs), state, target))

    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        if self.auditor.accepted:
            self.submit(data.draw(st.sampled_from(self.auditor.accepted)))

    @rule(through=st.integers(0, 2), now=once_in(6))
    def lock(self, through: int, now: bool) -> None:
        if not now:
            return
        falls = self.auditor.locked is not None and DAY[through] < self.auditor.locked
        for book in self.books:
            try:
                book.lock(DAY[through], DAY[4])
                outcome = "accepted"
            except Refused as refusal:
                outcome = refusal.reason.value
            assert outcome == ("lock falls" if falls else "accepted")
        if not falls:
            self.auditor.locked = DAY[through]

    @invariant()
    def the_books_agree(self) -> None:
        sums = self.auditor.sums()
        for unit in ("USD", "EUR"):
            members = [sums[name] for name, limit in self.auditor.limits.items() if limit[0] == unit]
            assert sum(s["posted"] for s in members) == 0
            assert sum(s["in"] + s["out"] for s in members) == 0
        for name, balance in self.model.balances().items():
            s, sign = sums[name], 1 if self.auditor.limits[name][3] else -1
            assert balance.posted == sign * s["posted"]
            assert balance.pending == sign * (s["in"] + s["out"])
        assert self.model.is_balanced()
        assert [e.transaction for e in self.model.journal()] == self.auditor.accepted

    def teardown(self) -> None:
        if self.store is not None:
            report = self.store.check()
            assert report.faults == ()
            assert report.digest == self.model.head().digest
            assert self.store.balances() == self.model.balances()
            assert self.store.journal() == self.model.journal()
            self.store.close()


def histories(machine: Callable[[], Histories], examples: int, steps: int) -> None:
    """The same ``examples`` every time; as many new ones as ENTENTE_HISTORIES says where it is set."""
    wanted = os.environ.get("ENTENTE_HISTORIES")
    chosen = settings(
        max_examples=int(wanted or examples),
        derandomize=wanted is None,
        database=None,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=chosen)


def test_random_histories_in_memory() -> None:
    OUTCOMES.clear()
    histories(lambda: Histories(None), 300, 40)
    structural = {Reason.ID_MALFORMED, Reason.TIMESTAMP_MALFORMED, Reason.TEXT_MALFORMED, Reason.TOTAL_TOO_LARGE}
    judged = set(list(Reason)[: list(Reason).index(Reason.ABOVE_MOST) + 1]) - structural
    assert {"accepted", "repeated", *judged} == set(OUTCOMES), "the histories meet every kind of refusal"


def test_random_histories_in_a_database(url: Callable[[], str]) -> None:
    histories(lambda: Histories(LedgerStore(url())), 25, 20)


# Backups and signed heads.


def filled(store: LedgerStore) -> None:
    """Every kind of entry, a lock in the middle included."""
    store.append(transfer("in", CASH, INCOME, 7))
    store.lock(DAY[1], DAY[2])
    store.append_all(
        [transfer("p", REWARD, PENDING, 5, 2, state=State.PENDING), transfer("e", EURO_CASH, EURO_INCOME, 3, 2)]
    )
    store.append(transfer("f", PENDING, PAYABLE, 4, 3, resolves="p", run_id="ab" * 32, evidence="cd" * 32))
    store.append(transfer("q", REWARD, PENDING, 2, 3, state=State.PENDING))
    store.append(Transaction("v", DAY[4], "x", (), State.VOIDED, "q"))


def test_a_backup_restores_into_any_database(store: LedgerStore, url: Callable[[], str], tmp_path: Path) -> None:
    filled(store)
    file = tmp_path / "books.backup"
    assert write_backup(store, file) == store.head()
    for target in (url(), f"sqlite:///{tmp_path / 'restored.db'}"):
        with LedgerStore(target) as restored:
            assert restore_backup(file, restored) == store.head()
            assert restored.balances() == store.balances()
            assert restored.journal() == store.journal()
            assert restored.locked_through() == DAY[1]
            assert restored.check() == store.check()
            assert restored.append(transfer("in", CASH, INCOME, 7)).repeated
            with pytest.raises(StorageError, match="is not empty"):
                restore_backup(file, restored)
    with pytest.raises(StorageError, match="never overwritten"):
        write_backup(store, file)


def test_a_damaged_backup_restores_nothing(tmp_path: Path) -> None:
    with LedgerStore(tmp_path / "a.db") as store, LedgerStore(tmp_path / "b.db") as target:
        with pytest.raises(StorageError, match="nothing to back up"):
            write_backup(store, tmp_path / "empty")
        store.open_accounts(ACCOUNTS, DAY[0])
        filled(store)
        write_backup(store, tmp_path / "good")
        lines = gzip.decompress((tmp_path / "good").read_bytes()).decode().splitlines()
        other = [line.replace('"in"', '"out"') for line in lines]
        damaged = {
            "no end": lines[:-1], "no middle": lines[:4] + lines[5:], "another entry": other, "no beginning": lines[1:],
            "more": [*lines, "{}"], "not JSON": [*lines[:3], "{", *lines[3:]],
            "twice": [*lines[:5], lines[4], *lines[5:]],
            "a list": [lines[0], "[]"], "no kind": [lines[0], '{"digest": "", "content": {}}'], "nothing": [],
        }  # fmt: skip
        for name, text in damaged.items():
            file = tmp_path / name
            file.write_bytes(gzip.compress("\n".join(text).encode()))
            with pytest.raises(StorageError):
                restore_backup(file, target)
            assert target.head().sequence == 0, name
        whole = (tmp_path / "good").read_bytes()
        for cut in (0, 5, len(whole) // 2, len(whole) - 1):
            (tmp_path / "cut").write_bytes(whole[:cut])
            with pytest.raises(StorageError):
                restore_backup(tmp_path / "cut", target)
        assert target.head().sequence == 0
        assert restore_backup(tmp_path / "good", target) == store.head()


def test_a_signed_head_finds_a_rewritten_ledger(store: LedgerStore, url: Callable[[], str]) -> None:
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw().hex()
    store.append(transfer("in", CASH, INCOME, 7))
    head = head_from_json(sign_head(store.head(), DAY[1], "coordinator", key).to_json())
    head.verify(public)
    store.append(transfer("more", CASH, INCOME, 1))
    head.check_against(store.digest_at(head.sequence))
    with LedgerStore(url()) as rewritten:
        with pytest.raises(LedgerError, match="has lost entries"):
            head.check_against(rewritten.digest_at(head.sequence))
        rewritten.open_accounts(ACCOUNTS, DAY[0])
        rewritten.append(transfer("in", CASH, INCOME, 8))
        assert rewritten.check().ok, "a chain that was rewritten as a whole is sound in itself"
        with pytest.raises(LedgerError, match="was rewritten"):
            head.check_against(rewritten.digest_at(head.sequence))
    for forged in (
        sign_head(store.head(), DAY[1], "coordinator", other),
        replace(head, sequence=7), replace(head, digest="00" * 32),
        replace(head, signer="admin"), replace(head, timestamp="2026"), replace(head, signature="zz"),
    ):  # fmt: skip
        with pytest.raises(LedgerError, match="does not carry the signature"):
            forged.verify(public)
    for wrong in ("", "[]", "{}", head.to_json().replace("8", '"8"', 1), head.to_json().replace(head.digest, "x")):
        with pytest.raises(LedgerError, match="not a signed head"):
            head_from_json(wrong)
