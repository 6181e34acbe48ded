"""State, logs and settings are their owner's alone, whatever the umask of who starts the program."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from parties.ledger.backup import write_backup
from parties.ledger.entries import Unit
from parties.ledger.settlement import chart_of_accounts, subscription
from parties.ledger.store import LedgerStore
from parties.private_files import open_private, write_private
from parties.process.database import open_engine
from parties.settlement.dossier_store import write_durably
from parties.transport.meter import FileRecorder
from tests.parties.coordinator_rig import Consortium

AT = datetime(2026, 1, 31, tzinfo=UTC)


@pytest.fixture(autouse=True)
def generous() -> Iterator[None]:
    """A umask that lets everybody read and write."""
    before = os.umask(0)
    yield
    os.umask(before)


def readable(folder: Path) -> list[str]:
    """The files below it that others could open."""
    return sorted(p.name for p in folder.rglob("*") if p.is_file() and p.stat().st_mode & 0o077)


def test_a_plain_write_would_be_readable_by_all(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("x")
    assert readable(tmp_path) == ["plain"]


def test_a_database_and_what_sqlite_puts_beside_it_are_private(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'state.db'}")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (x INTEGER)"))
        assert {p.name for p in tmp_path.iterdir()} >= {"state.db", "state.db-wal", "state.db-shm"}
        assert readable(tmp_path) == []
    engine.dispose()


def test_a_database_of_an_earlier_version_is_made_private(tmp_path: Path) -> None:
    (tmp_path / "state.db").touch(0o666)
    assert readable(tmp_path) == ["state.db"]
    open_engine(f"sqlite:///{tmp_path / 'state.db'}").dispose()
    assert readable(tmp_path) == []


def test_opening_a_database_again_drops_no_lock_of_another_connection(tmp_path: Path) -> None:
    """POSIX forgets all of a process's locks on a file when it closes any descriptor of it.

    Whoever closes a database last, as the locks tell, removes the write-ahead log: under a connection that lost its
    lock, that is its latest entries.
    """
    url, log = f"sqlite:///{tmp_path / 'state.db'}", tmp_path / "state.db-wal"
    other = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT * FROM t').fetchall(); c.close()"

    def somebody_else_looks() -> None:
        asked = [sys.executable, "-c", other, str(tmp_path / "state.db")]
        subprocess.run(asked, check=True, capture_output=True, timeout=60)

    first = open_engine(url)
    with first.connect() as connection:
        connection.execute(text("CREATE TABLE t (x INTEGER)"))
        connection.commit()
        somebody_else_looks()
        assert log.exists()
        open_engine(url).dispose()
        somebody_else_looks()
        assert log.exists()
    first.dispose()


def test_what_the_program_writes_itself_is_private(tmp_path: Path) -> None:
    write_private(tmp_path / "one", b"x")
    (tmp_path / "two").touch(0o666)
    with open(tmp_path / "two", "ab", opener=open_private) as file:
        file.write(b"y")
    write_durably(tmp_path / "three" / "dossier.json", "{}")
    FileRecorder(tmp_path / "record").close()
    ledger = LedgerStore(f"sqlite:///{tmp_path / 'ledger.db'}")
    ledger.open_accounts(chart_of_accounts(Unit("USD", 2), ["orbit"]), AT)
    ledger.append(subscription("2026-01", 5, AT, "cash"))
    write_backup(ledger, tmp_path / "ledger.backup")
    ledger.close()
    assert readable(tmp_path) == []


def test_a_whole_consortiums_homes_are_private(tmp_path: Path) -> None:
    with Consortium(tmp_path).coordinator():
        pass
    assert readable(tmp_path) == []


def test_the_command_line_makes_nothing_that_others_can_read(tmp_path: Path) -> None:
    made = [sys.executable, "-m", "parties.cli", "coordinator", "init", "--home", str(tmp_path / "hub")]
    made += ["--name", "Test", "--listen", "127.0.0.1:7600", "--plain-keys"]
    subprocess.run(made, check=True, capture_output=True, timeout=120)
    assert readable(tmp_path / "hub") == []
    assert len(list((tmp_path / "hub").rglob("*"))) > 8
