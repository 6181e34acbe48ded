"""The ledger's process is killed: what was acknowledged is there, nothing is there twice, nothing in halves."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import event

from parties.errors import StorageError
from parties.ledger.core import Account, Posting, State, Transaction, Unit
from parties.ledger.store import LedgerStore
from tests.places import ROOT

AT = datetime(2026, 3, 1, tzinfo=UTC)
CASH, INCOME, REWARD, OWED = "Assets:Cash", "Income:Fees", "Expenses:Reward", "Liabilities:Party:orbit:Pending"
ACCOUNTS = [Account(name, Unit("USD", 2)) for name in (CASH, INCOME, REWARD, OWED)]

COMMON = """
import os, signal, sys
from datetime import UTC, datetime
from parties.ledger.core import Posting, State, Transaction
from parties.ledger.store import LedgerStore
AT = datetime(2026, 3, 1, tzinfo=UTC)
def take(i):
    if i % 3 == 0:
        postings = (Posting("Expenses:Reward", 1 + i), Posting("Liabilities:Party:orbit:Pending", -1 - i))
        return Transaction(f"t{i}", AT, "pending", postings, State.PENDING)
    if i % 3 == 1:
        return Transaction(f"t{i}", AT, "resolved", (), State.POSTED if i % 2 else State.VOIDED, f"t{i - 1}")
    return Transaction(f"t{i}", AT, "income", (Posting("Assets:Cash", 1 + i), Posting("Income:Fees", -1 - i)))
"""

APPEND_FOREVER = (
    COMMON
    + """
store = LedgerStore(sys.argv[1])
i = int(sys.argv[2])
while True:
    receipt = store.append(take(i))
    print(i, receipt.digest, flush=True)
    i += 1
"""
)

DIE_AT_EVERY_STATEMENT = (
    COMMON
    + """
from sqlalchemy import event
number, steps = 0, 0
while number < 3:
    pid = os.fork()
    if pid == 0:
        store = LedgerStore(sys.argv[1])
        left = [steps]
        def count(*_):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        event.listen(store._engine, "before_cursor_execute", count)
        event.listen(store._engine, "after_cursor_execute", count)
        event.listen(store._engine, "commit", count)
        store.append(take(number))
        os._exit(0)
    died = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0
    with LedgerStore(sys.argv[1]) as store:
        report, entry = store.check(), store.entry(f"t{number}")
    print(number, steps, "died" if died else "lived", "there" if entry else "absent", report.faults, report.balanced)
    steps += 1
    if not died:
        number, steps = number + 1, 0
"""
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    with LedgerStore(tmp_path / "ledger.db") as store:
        store.open_accounts(ACCOUNTS, AT)
    return tmp_path / "ledger.db"


@pytest.mark.system
def test_kill_9_in_the_middle_of_appending(file: Path) -> None:
    acknowledged: dict[str, str] = {}
    start = 0
    for lines in (1, 17, 40):
        command = [sys.executable, "-c", APPEND_FOREVER, f"sqlite:///{file}", str(start)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            told = [process.stdout.readline() for _ in range(lines)]
            process.kill()
            told += process.stdout.readlines()
        for number, digest in (line.split() for line in told if line.endswith("\n")):
            acknowledged[f"t{number}"] = digest
        with LedgerStore(file) as store:
            report = store.check()
            entries = store.journal()
        assert report.ok
        assert report.balanced
        found = {entry.transaction.id: entry.digest for entry in entries}
        assert acknowledged.items() <= found.items(), "what was acknowledged is on disk"
        assert len(found) - len(acknowledged) <= 1, "at most the append that was under way is there unacknowledged"
        assert list(found) == [f"t{i}" for i in range(len(found))], "nothing twice, nothing left out"
        acknowledged = found
        start = len(found)
    assert start >= 58


@pytest.mark.system
def test_kill_9_at_every_statement(file: Path) -> None:
    command = [sys.executable, "-c", DIE_AT_EVERY_STATEMENT, f"sqlite:///{file}"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=True)
    lines = result.stdout.splitlines()
    deaths = [line for line in lines if " died " in line]
    assert len(deaths) > 40
    assert all(line.endswith("absent () True") for line in deaths), "killed before the commit: nothing is there"
    lived = [line for line in lines if " lived " in line]
    assert len(lived) == 3
    assert all(line.endswith("there () True") for line in lived)


def test_an_append_whose_answer_was_lost_is_repeated_safely(file: Path) -> None:
    income = Transaction("t", AT, "x", (Posting(CASH, 5), Posting(INCOME, -5)))
    with LedgerStore(file) as store:
        first = store.append(income)
    with LedgerStore(file) as store:
        again = store.append(income)
        assert (again.repeated, again.digest) == (True, first.digest)
        assert store.balances()[CASH].posted == 5


def test_a_full_disk_loses_nothing(file: Path) -> None:
    with LedgerStore(file) as store:
        event.listen(store._engine, "begin", lambda connection: connection.exec_driver_sql("PRAGMA max_page_count = 1"))
        count = 0
        with pytest.raises(StorageError, match=r"database or disk is full.*then repeat the call"):
            for count in range(10_000):
                narration = "x" * 500
                postings = (Posting(CASH, 1), Posting(INCOME, -1))
                store.append(Transaction(f"t{count}", AT, narration, postings, State.POSTED))
    with LedgerStore(file) as store:
        report = store.check()
        assert report.ok
        assert report.transactions == count
        assert not store.append(Transaction(f"t{count}", AT, "x", postings)).repeated
