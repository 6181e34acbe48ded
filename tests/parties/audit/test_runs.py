"""Logs in runs: what is logged, how heads travel, what an auditor reads, and that a fork ends the run by name."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from parties.audit.bundles import log_export, logged_exports
from parties.audit.heads import Head
from parties.audit.log import AuditLog, Entry
from parties.audit.record import minimisation, opening_entry, openings_of, session_entry
from parties.client import Client
from parties.control.commands import Command, StartBody, parse_command
from parties.errors import AgreementError, PeerError, StorageError
from parties.members.roster import Roster
from parties.names import COORDINATOR
from parties.node.audit_heads import take_heads
from parties.transport.memory import MemoryNetwork
from psi.flow import LocalProtocolError, Payload, Recv, Role
from tests.parties.coordinator_rig import PARTIES, Consortium, FakeNode, answer_to, wait_for_status
from vfl.factors.verify import METADATA, manifest_of, verify_bundle
from vfl.protocols.opening_budget import Charge
from vfl.protocols.session import Batch, Done

RUN = "cd" * 32


class LoggingNode(FakeNode):
    """Answers by rote, keeps a log, reports its head, and takes in the heads it is shown."""

    def __init__(self, consortium: Consortium, name: str) -> None:
        super().__init__(consortium, name, LoggingNode.take)
        self.consortium = consortium
        self.log = AuditLog(name, f"sqlite:///{consortium.home(name) / 'state.db'}", self.identity.key.sign)
        self.trouble: list[Exception] = []

    def __exit__(self, *_: object) -> None:
        super().__exit__(*_)
        self.log.close()

    @staticmethod
    def take(node: FakeNode, command: Command) -> bool:
        assert isinstance(node, LoggingNode)
        roster = Roster.load(node.consortium.home(node.name) / "roster.json")
        known = 0
        try:
            known = take_heads(node.log, roster, getattr(command.body, "heads", ()))
        except (PeerError, StorageError) as error:
            node.trouble.append(error)
        if not isinstance(command.body, StartBody):
            return False
        phase, attempt = command.body.phase, command.body.attempt
        node.log.append("phase", command.run_id, {"phase": phase})
        head = node.log.head(since=known).model_dump(mode="json")
        try:
            node.line.done(
                command.run_id, phase, attempt, {**answer_to(phase, node.identity, command.run_id), "head": head}
            )
        except AgreementError as error:
            node.trouble.append(error)
        return True


@contextmanager
def logging_consortium(folder: Path) -> Iterator[tuple[Consortium, Client, dict[str, LoggingNode]]]:
    consortium = Consortium(folder)
    with ExitStack() as stack:
        stack.enter_context(consortium.coordinator())
        client = stack.enter_context(consortium.client())
        yield consortium, client, {n: stack.enter_context(LoggingNode(consortium, n)) for n in PARTIES}


def test_after_a_run_everyone_holds_everyones_head(tmp_path: Path) -> None:
    with logging_consortium(tmp_path) as (consortium, client, nodes):
        run_id = client.propose(consortium.agreement(openings={"contribution": "none"}))
        wait_for_status(client, run_id, "settled")
        keys = {name: bytes.fromhex(identity.public_key) for name, identity in consortium.identities.items()}
        for name, node in nodes.items():
            assert node.trouble == []
            seen = {head.log for head in node.log.heads()}
            assert seen == {*PARTIES, COORDINATOR}, name
            assert node.log.verify(keys).faults == ()
    with AuditLog(COORDINATOR, f"sqlite:///{tmp_path / COORDINATOR / 'coordinator.db'}") as log:
        kinds = [entry.kind for entry in log.entries(run_id)]
        assert kinds[0] == "proposed"
        assert kinds.count("signed") == len(PARTIES)
        [settled] = [entry for entry in log.entries(run_id) if entry.body.get("phase") == "settle"]
        assert settled.body["rewards"]
        exported = [entry for entry in log.entries(run_id) if entry.body.get("phase") == "export"]
        assert {entry.body["sha256"] for entry in exported} == {"ab" * 32}
        assert '"phi"' not in "".join(entry.text for entry in log.entries()), "reports are logged as hashes"
        found = log.verify(keys)
        assert found.faults == ()
        assert found.unlinked == 0
        assert set(found.others) == set(PARTIES)


def test_a_party_that_rewrites_its_log_between_two_phases_ends_the_run(tmp_path: Path) -> None:
    with logging_consortium(tmp_path) as (consortium, client, nodes):
        run_id = client.propose(consortium.agreement("1", openings={"contribution": "none"}))
        wait_for_status(client, run_id, "settled")
        sat = nodes["sat"]
        sat.log.close()
        forged = AuditLog("sat", f"sqlite:///{tmp_path / 'forged.db'}", sat.identity.key.sign)
        for number in range(3 + len(sat.log)):
            forged.append("phase", run_id, {"phase": f"invented {number}"})
        sat.log = forged
        second = client.propose(consortium.agreement("2", openings={"contribution": "none"}))
        view = wait_for_status(client, second, "aborted")
        assert "sat" in view.reason
        assert "its log was cut or forked" in view.reason
        assert any("no longer has" in str(error) for error in sat.trouble), "its own node notices too"


def test_a_head_of_a_stranger_or_a_bad_one_is_the_coordinators_fault(tmp_path: Path) -> None:
    consortium = Consortium(tmp_path)
    roster = Roster.load(consortium.home("sat") / "roster.json")
    with AuditLog("sat", f"sqlite:///{tmp_path / 'a.db'}") as log:
        for raw in ({"log": "x"}, {}):
            body = json.dumps({"settlement_sha256": "00" * 32, "heads": [raw]}).encode()
            with pytest.raises(PeerError, match=r"not understood \(heads\.0\.\w+: Field required") as refused:
                parse_command("finished", RUN, body)
            assert refused.value.peer == "coordinator"
        key = Ed25519PrivateKey.generate()
        with AuditLog("nobody", f"sqlite:///{tmp_path / 'b.db'}", key.sign) as other:
            head = other.head()
        with pytest.raises(PeerError, match=r"'nobody'.s audit log, who is not in the roster") as caught:
            take_heads(log, roster, [head])
        assert caught.value.peer == "coordinator"
        assert log.heads() == []


def session() -> dict[str, Any]:
    """A session of two messages; its entry at the label party."""
    network = MemoryNetwork()
    roles = {"fund": Role.LABEL, "sat": Role.FEATURE}
    fund = network.node("fund").open(RUN, "train-1", roles, {Payload.PUBLIC})
    sat = network.node("sat").open(RUN, "train-1", roles, {Payload.PUBLIC})
    fund.send("sat", Batch(0, True, np.arange(5, dtype="<u4").tobytes()))
    fund.send("sat", Done(1))
    for kind in (Batch, Done):
        sat.receive((Recv("fund", kind),), 5.0)
    mine, theirs = session_entry(fund, "train-1", "done"), session_entry(sat, "train-1", "done")
    assert mine["transcripts"][0] == theirs["transcripts"][0], "both ends log the same chain"
    for channel in (fund, sat):
        channel.close()
    return mine


def test_the_report_is_what_the_channel_counted(tmp_path: Path) -> None:
    with AuditLog("fund", f"sqlite:///{tmp_path / 'fund.db'}") as log:
        log.append("session", RUN, session())
        log.append("session", RUN, session())
        [batch, done] = minimisation(log.entries(RUN))
    assert (batch.message, batch.way, batch.peer, batch.messages) == ("source.batch", "sent", "sat", 2)
    assert batch.bytes > 2 * 20
    assert "which aligned rows are opened" in batch.reveals
    assert (done.message, done.payload) == ("source.done", "public metadata")


def test_a_message_of_a_class_that_was_not_agreed_never_leaves() -> None:
    network = MemoryNetwork()
    roles = {"fund": Role.LABEL, "sat": Role.FEATURE}
    allowed = {Payload.CIPHERTEXT}
    with (
        network.node("fund").open(RUN, "s", roles, allowed) as fund,
        network.node("sat").open(RUN, "s", roles, allowed),
    ):
        with pytest.raises(
            LocalProtocolError, match=r"not sent: source\.done carries a public metadata, which the run"
        ):
            fund.send("sat", Done(1))
        assert fund.meter.tallies() == {}
        assert all(head.count == 0 for head in fund.transcripts().values())


def test_an_openings_entry_shows_no_row_and_tells_the_same_rows_apart() -> None:
    rows = np.arange(7)
    entry = opening_entry(Charge("train-1/3", rows, 4), bytes(32))
    assert (entry["label"], entry["rows"], entry["width"]) == ("train-1/3", 7, 4)
    assert entry != opening_entry(Charge("train-1/3", rows, 4), b"1" * 32), "another node's key"
    assert entry != opening_entry(Charge("train-1/3", rows[::-1], 4), bytes(32))
    assert entry == opening_entry(Charge("train-1/3", rows.copy(), 4), bytes(32)), (
        "an auditor with the key can check it"
    )
    text = json.dumps(entry)
    made = [Entry(i, "", "opening", RUN, {**entry, "label": f"train-{1 + i // 2}/{i}"}, text) for i in range(3)]
    assert [(line.session, line.openings, line.rows) for line in openings_of(made)] == [
        ("train-1", 2, 14),
        ("train-2", 1, 7),
    ]


def test_a_bundles_proof_is_checked_offline(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    keys = {"fund": key.public_key().public_bytes_raw()}
    files = {METADATA: b"{}", "factor.parquet": b"scores"}
    files["SHA256SUMS"] = manifest_of(files)
    with AuditLog("fund", f"sqlite:///{tmp_path / 'fund.db'}", key.sign) as log:
        log.append("phase", RUN, {})
        proved = log_export(log, RUN, files, "joint", "1")
    [found] = logged_exports(proved, keys)
    assert (found.signer, found.index, found.size, found.fault) == ("fund", 1, 2, "")
    assert "signatures/fund.log" not in str(verify_bundle(proved).faults), "the proof is no stray file"
    changed = {**proved, "SHA256SUMS": manifest_of({METADATA: b"{ }"})}
    assert logged_exports(changed, keys)[0].fault == "proves an entry of another bundle"
    stranger = {"fund": Ed25519PrivateKey.generate().public_key().public_bytes_raw()}
    assert "does not prove" in logged_exports(proved, stranger)[0].fault
    assert "does not prove" in logged_exports(proved, {})[0].fault
    for junk in (b"", b"[]", b"{}", b"[" * 5000):
        assert logged_exports({**proved, "signatures/fund.log": junk}, keys)[0].fault == "is not a proof of inclusion"


def test_what_a_run_leaves_is_read_by_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from parties.cli import run

    with logging_consortium(tmp_path) as (consortium, client, _):
        run_id = client.propose(consortium.agreement(openings={"contribution": "none"}))
        wait_for_status(client, run_id, "settled")
    home = str(tmp_path / COORDINATOR)
    assert run(["audit", "verify", "--home", home]) == 0
    assert "all in order" in capsys.readouterr().out
    assert run(["audit", "show", "--home", home, "--run", run_id[:8]]) == 0
    assert "proposed" in capsys.readouterr().out
    assert run(["audit", "prove", "1", "--home", home]) == 0
    assert json.loads(capsys.readouterr().out)["head"]["log"] == COORDINATOR
    assert run(["audit", "prove", "9999", "--home", home]) == 2
    assert run(["audit", "report", run_id[:8], "--home", home]) == 0
    assert "No session of this run has ended here" in capsys.readouterr().out
    assert run(["audit", "verify", "--home", str(tmp_path / "nowhere")]) == 2
    with sqlite3.connect(tmp_path / COORDINATOR / "coordinator.db") as connection:
        connection.execute("DROP TRIGGER audit_entries_no_delete")
        connection.execute("DELETE FROM audit_entries WHERE number = (SELECT max(number) FROM audit_entries)")
    connection.close()
    capsys.readouterr()
    assert run(["audit", "verify", "--home", home]) == 7
    assert "it was cut" in capsys.readouterr().err


def test_heads_have_one_form() -> None:
    assert set(Head.model_fields) == {"log", "size", "root", "at", "signature", "since", "proof"}
