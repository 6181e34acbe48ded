"""The log on disk survives a restart, nothing in it changes unseen, and others catch a fork or a cut."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from parties.audit.heads import Head, check_inclusion, continues
from parties.audit.log import AuditLog
from parties.errors import PeerError, StorageError

RUN = "ab" * 32
KEYS = {name: Ed25519PrivateKey.from_private_bytes(name.ljust(32).encode()) for name in ("sat", "bank", "coordinator")}
PUBLIC = {name: key.public_key().public_bytes_raw() for name, key in KEYS.items()}


def log(folder: Path, name: str = "sat", file: str = "") -> AuditLog:
    return AuditLog(name, f"sqlite:///{folder / (file or name)}.db", KEYS[name].sign)


def filled(folder: Path, count: int, name: str = "sat", file: str = "", *, first: int = 0) -> AuditLog:
    made = log(folder, name, file)
    for number in range(first, first + count):
        made.append("opening", RUN, {"label": f"train-1/{number}", "rows": 4, "width": 8})
    return made


def tamper(folder: Path, statement: str, name: str = "sat") -> None:
    """What someone with the database file can do: drop the guards, then change it."""
    with sqlite3.connect(folder / f"{name}.db") as connection:
        for (trigger,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {trigger}")
        connection.execute(statement)
    connection.close()


def test_a_log_goes_on_after_a_restart(tmp_path: Path) -> None:
    with filled(tmp_path, 3) as first:
        head = first.head()
    with log(tmp_path) as again:
        assert len(again) == 3
        assert again.head() == head, "nothing new: the same head, signed once"
        assert again.append("phase", RUN, {"phase": "train"}) == 3
        newer = again.head()
        assert (newer.since, newer.size) == (3, 4)
        assert continues(head, newer)
        assert [entry.kind for entry in again.entries(RUN)] == ["opening"] * 3 + ["phase"]
        assert again.entries("00" * 32) == []
        assert again.verify(PUBLIC).faults == ()


def test_a_command_may_write_beside_a_running_node(tmp_path: Path) -> None:
    """Two processes on one log, in turns: no entry is lost, and every head continues those before it."""
    with filled(tmp_path, 2) as node, log(tmp_path) as command:
        first = node.head()
        assert command.append("export", RUN, {"by": "command"}) == 2
        shown = command.head()
        assert node.append("phase", RUN, {"by": "node"}) == 3
        assert node.append("phase", RUN, {"by": "node"}) == 4
        assert command.append("sealed", RUN, {"by": "command"}) == 5
        node.saw(shown, PUBLIC["sat"])
        last, same = command.head(), node.head()
        assert (same.size, same.root) == (last.size, last.root) == (6, last.root)
        assert continues(first, node.head(since=2))
        assert [entry.kind for entry in node.entries()] == ["opening"] * 2 + ["export", "phase", "phase", "sealed"]
        assert node.verify(PUBLIC, [first, shown, last]).faults == ()
    with log(tmp_path) as again:
        assert len(again) == 6
        assert again.verify(PUBLIC, [first, shown, last]).faults == ()


def test_an_entry_is_proved_offline(tmp_path: Path) -> None:
    with filled(tmp_path, 7) as made:
        made.head()
        made.append("phase", RUN, {})
        for index in range(7):
            proof = made.prove(index)
            assert proof.head.size == 7
            assert check_inclusion(proof, PUBLIC["sat"])
            assert not check_inclusion(proof, PUBLIC["bank"])
            changed = proof.entry.replace("train-1", "train-2")
            assert not check_inclusion(proof.model_copy(update={"entry": changed}), PUBLIC["sat"])
        with pytest.raises(StorageError, match="no signed head covers entry 7 of 8"):
            made.prove(7)


def test_the_database_refuses_changes(tmp_path: Path) -> None:
    filled(tmp_path, 2).close()
    connection = sqlite3.connect(tmp_path / "sat.db")
    for statement in ("UPDATE audit_entries SET kind = 'x'", "DELETE FROM audit_entries", "DELETE FROM audit_heads"):
        if "heads" in statement:
            connection.execute("INSERT INTO audit_heads VALUES ('sat', 0, 'x', '{}')")
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (
            "UPDATE audit_entries SET entry = replace(entry, 'train-1/1', 'train-1/9') WHERE number = 1",
            "entry 1 was changed",
        ),
        ("DELETE FROM audit_entries WHERE number = 1", "one before it is missing"),
        ("DELETE FROM audit_entries WHERE number = 4", "signed, and the log has 4: it was cut"),
    ],
)
def test_a_changed_file_is_noticed_at_the_next_start(tmp_path: Path, statement: str, said: str) -> None:
    with filled(tmp_path, 5) as made:
        made.head()
    tamper(tmp_path, statement)
    with pytest.raises(StorageError, match=said):
        log(tmp_path)


def test_a_log_that_was_rewritten_whole_is_caught_by_whoever_saw_its_head(tmp_path: Path) -> None:
    with filled(tmp_path, 5) as made:
        head = made.head()
    with filled(tmp_path, 5, first=1, file="forged") as forged:
        forged.head()
        assert forged.verify(PUBLIC).faults == (), "in itself it is a perfect log"
        assert "they were changed" in forged.verify(PUBLIC, [head]).faults[0]
        with pytest.raises(StorageError, match="that the log no longer has"):
            forged.saw(head, PUBLIC["sat"])
    with filled(tmp_path, 4, file="short") as short, pytest.raises(StorageError, match="no longer has"):
        short.saw(head, PUBLIC["sat"])


def test_a_fork_is_caught_and_both_heads_are_kept(tmp_path: Path) -> None:
    with filled(tmp_path, 3) as one, filled(tmp_path, 3, first=1, file="other") as two, log(tmp_path, "bank") as bank:
        bank.saw(one.head(), PUBLIC["sat"])
        bank.saw(one.head(), PUBLIC["sat"])
        with pytest.raises(PeerError, match="cut or forked") as caught:
            bank.saw(two.head(), PUBLIC["sat"])
        assert caught.value.peer == "sat"
        assert len(bank.heads("sat")) == 2
        found = bank.verify(PUBLIC)
        assert found.others == {"sat": 2}
        assert found.faults == ("sat: heads at 3 and 3 entries do not fit: cut or forked",)


def test_a_log_that_grew_is_accepted_and_one_that_shrank_is_not(tmp_path: Path) -> None:
    with filled(tmp_path, 3) as sat, log(tmp_path, "bank") as bank:
        old = sat.head()
        sat.append("phase", RUN, {})
        new = sat.head()
        bank.saw(old, PUBLIC["sat"])
        bank.saw(new, PUBLIC["sat"])
        assert bank.verify(PUBLIC).unlinked == 0
    with filled(tmp_path, 2, file="cut") as cut, AuditLog("bank", f"sqlite:///{tmp_path}/bank.db") as bank:
        short = cut.head()
        assert continues(short, old) is None, "a cut alone cannot be told from a missed head"
    grown = filled(tmp_path, 3, first=5, file="cut")
    longer = grown.head()
    assert (longer.since, longer.size) == (2, 5)
    with log(tmp_path, "coordinator") as reader:
        reader.saw(short, PUBLIC["sat"])
        reader.saw(longer, PUBLIC["sat"])
        with pytest.raises(PeerError, match="cut or forked"):
            reader.saw(filled(tmp_path, 5, first=9, file="again").head(), PUBLIC["sat"])


def test_a_head_that_others_did_not_sign_is_refused(tmp_path: Path) -> None:
    with filled(tmp_path, 3) as sat, log(tmp_path, "bank") as bank:
        head = sat.head()
        forged = head.model_copy(update={"size": 2})
        with pytest.raises(PeerError, match="not signed by its key"):
            bank.saw(forged, PUBLIC["sat"])
        with pytest.raises(PeerError, match="not signed by its key"):
            bank.saw(head, PUBLIC["bank"])
        assert bank.heads() == []
        assert Head.model_validate_json(head.model_dump_json()) == head


def test_a_member_that_was_put_out_is_no_fault_of_the_log(tmp_path: Path) -> None:
    """Its key is known no more. That its heads fit together is checked on; who signs for a member stays a fault."""
    with filled(tmp_path, 3) as sat, filled(tmp_path, 3, first=1, file="fork") as fork, log(tmp_path, "bank") as bank:
        bank.append("phase", RUN, {})
        bank.head()
        bank.saw(sat.head(), PUBLIC["sat"])
        left = {name: key for name, key in PUBLIC.items() if name != "sat"}
        found = bank.verify(left)
        assert (found.faults, found.keyless, found.others) == ((), ("sat",), {"sat": 1})
        assert "cut or forked" in bank.verify(left, [fork.head()]).faults[0]
        wrong = bank.verify({**PUBLIC, "sat": PUBLIC["bank"]})
        assert (wrong.faults, wrong.keyless) == (
            ("sat: the head at 3 entries is not signed by a key in the roster",),
            (),
        )
        own = bank.verify({"sat": PUBLIC["sat"]})
        assert own.faults == ("bank: the head at 1 entries is not signed by a key in the roster",)


def test_entries_are_canonical_and_numbers_stay_numbers(tmp_path: Path) -> None:
    with log(tmp_path) as made:
        made.append("opening", RUN, {"width": 8, "label": "train-1/0", "share": 0.25})
        [entry] = made.entries()
        assert list(json.loads(entry.text)) == ["at", "body", "kind", "run"]
        assert entry.body == {"width": 8, "label": "train-1/0", "share": 0.25}


def test_an_auditors_read_only_copy_can_be_verified(tmp_path: Path) -> None:
    """A file system on which nothing can be written; what is still in the write-ahead log counts."""
    place = tmp_path / "media"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("a file system cannot be mounted here")
    try:
        writer = filled(tmp_path, 3, "bank")
        for part in tmp_path.glob("bank.db*"):
            shutil.copy(part, place / part.name)
        size = len(writer)
        writer.close()
        assert (place / "bank.db-wal").stat().st_size > 0, "the entries are not in the file itself yet"
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        with AuditLog("bank", f"sqlite:///{place / 'bank.db'}") as read:
            found = read.verify(PUBLIC)
        assert (found.size, found.faults) == (size, ())
    finally:
        subprocess.run(["umount", "-l", place], check=True)
