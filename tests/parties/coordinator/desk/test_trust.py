"""The doors about trust at a real coordinator: the log and its proofs, heads, what a run revealed, what was signed."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from parties.agreement.document import Agreement
from parties.agreement.every_term import every_term
from parties.agreement.text import agreement_lines
from parties.agreement.who_learns import label_lines
from parties.audit.checking import check_log
from parties.audit.heads import Inclusion, check_inclusion
from parties.audit.log import AuditLog
from parties.calls.trust import AuditQuestion
from parties.cli import run as entente
from parties.coordinator.desk.agreement_views import section_views
from parties.errors import AgreementError, ConfigError, StorageError
from parties.names import COORDINATOR
from psi.flow import REGISTER
from tests.parties.coordinator_rig import REPORTS, Consortium
from tests.parties.desk_rig import Desk, opened

RECEIVERS = {"bank": 700, "card": 300}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A finished run whose parties hand over heads of real logs, and say to whom their bytes went."""
    folder = tmp_path_factory.mktemp("desk")
    align, train = REPORTS["align"], REPORTS["train"]
    with ExitStack() as stack:
        logs: dict[str, AuditLog] = {}

        def log_of(name: str) -> AuditLog:
            if name not in logs:
                logs[name] = stack.enter_context(AuditLog(name, f"sqlite:///{folder / name}.db", signing(folder, name)))
            return logs[name]

        def aligned(name: str) -> dict[str, Any]:
            log = log_of(name)
            log.append("phase", "", {"n": 1})
            return align(name) | {"head": log.head().model_dump(mode="json")}

        def trained(name: str) -> dict[str, Any]:
            said = train(name)
            if name == "sat":
                said["traffic"]["matmul.product"]["to"] = RECEIVERS
                said["traffic"]["source.sum"] = {"payload": "masked sum", "bytes": 10, "to": {"bank": 10}}
            return said

        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(REPORTS, "align", aligned)
            patch.setitem(REPORTS, "train", trained)
            made = stack.enter_context(opened(folder))
        yield made


def signing(folder: Path, name: str) -> Any:
    from parties.members.keys import load_identity

    return load_identity(name, folder / name / "keys").key.sign


def test_the_log_is_paged_newest_first_and_searched(desk: Desk) -> None:
    whole = desk.client.audit_page(AuditQuestion(limit=500))
    assert [entry.index for entry in whole.entries] == list(range(whole.total))[::-1]
    assert whole.entries[-1].kind == "proposed"
    page = desk.client.audit_page(AuditQuestion(limit=3, offset=2))
    assert page.entries == whole.entries[2:5]
    assert page.total == whole.total
    assert set(whole.kinds) == {entry.kind for entry in whole.entries}
    signed = desk.client.audit_page(AuditQuestion(kind="signed", text="SAT"))
    assert [entry.body["party"] for entry in signed.entries] == ["sat"]
    assert desk.client.audit_page(AuditQuestion(text="100%_")).total == 0
    of_run = [entry.index for entry in whole.entries if entry.run_id == desk.run_id]
    assert [e.index for e in desk.client.audit_page(AuditQuestion(run_id=desk.run_id[:9])).entries] == of_run
    assert [e["index"] for e in desk.ask("trust/log", "operator", "sat")["entries"]] == of_run
    assert desk.client.audit_page(AuditQuestion(run_id="zzz")).total == 0


def test_a_proof_shows_offline_that_the_log_held_the_entry(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = bytes.fromhex(desk.consortium.identities[COORDINATOR].public_key)
    for entry in desk.client.audit_page(AuditQuestion()).entries:
        proof = Inclusion.model_validate_json(desk.client.audit_proof(entry.index))
        assert proof.entry == entry.text
        assert check_inclusion(proof, key)
    file, roster = tmp_path / "proof.json", str(desk.consortium.home("sat") / "roster.json")
    file.write_bytes(desk.client.audit_proof(0))
    assert entente(["audit", "check", str(file), "--roster", roster]) == 0
    assert '"kind":"proposed"' in capsys.readouterr().out
    file.write_bytes(desk.client.audit_proof(0).replace(b"proposed", b"rejected"))
    assert entente(["audit", "check", str(file), "--roster", roster]) == 3
    assert "does not prove" in capsys.readouterr().err
    file.write_text("{}")
    assert entente(["audit", "check", str(file), "--roster", roster]) == 3
    assert entente(["audit", "check", str(tmp_path / "none"), "--roster", roster]) == 2
    with pytest.raises(StorageError, match="there is no 99999"):
        desk.client.audit_proof(99999)


def test_a_sound_log_is_green_here_and_at_the_command_line(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    check = desk.client.check_audit()
    assert check.sound
    assert check.size == desk.client.audit_page(AuditQuestion(limit=1)).total
    assert check.others == {"bank": 1, "card": 1, "sat": 1}
    assert entente(["audit", "verify", "--home", str(desk.consortium.home(COORDINATOR))]) == 0
    assert f"{check.size} entries" in capsys.readouterr().out


@pytest.mark.parametrize("how", ["changed", "cut"])
def test_a_log_that_was_tampered_with_is_red_while_the_coordinator_runs(
    how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with opened(tmp_path, held=False) as desk:
        assert desk.client.check_audit().sound
        desk.client.audit_proof(0)  # signs a head over everything
        home = desk.consortium.home(COORDINATOR)
        with closing(sqlite3.connect(home / "coordinator.db")) as database:
            for change in ("update", "delete"):
                database.execute(f"DROP TRIGGER audit_entries_no_{change}")
            if how == "cut":
                database.execute("DELETE FROM audit_entries WHERE number = (SELECT MAX(number) FROM audit_entries)")
            else:
                database.execute("UPDATE audit_entries SET entry = replace(entry, '20', '21') WHERE number = 1")
            database.commit()
        check = desk.client.check_audit()
        assert not check.sound
        assert ("it was cut" if how == "cut" else "entry 1 was changed") in check.faults[0]
        assert entente(["audit", "verify", "--home", str(home)]) != 0
        assert check.faults[0].split(";")[0] in capsys.readouterr().err


def test_a_head_signed_while_the_log_is_read_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    consortium = Consortium(tmp_path)
    identity = consortium.identities["sat"]
    url, keys = f"sqlite:///{tmp_path / 'log.db'}", {"sat": bytes.fromhex(identity.public_key)}
    verify, busy = AuditLog.verify, [1, 2]
    with AuditLog("sat", url, identity.key.sign) as log:
        log.append("phase", "", {"n": 0})
        log.head()

        def late(self: AuditLog, *args: Any) -> Any:
            if busy:  # its owner goes on writing between our two reads
                log.append("phase", "", {"n": busy.pop()})
                log.head()
            return verify(self, *args)

        monkeypatch.setattr(AuditLog, "verify", late)
        check = check_log("sat", url, keys)
    assert check.sound
    assert check.findings is not None
    assert check.findings.size == 3


def test_heads_say_when_and_with_what_they_were_handed_over(desk: Desk) -> None:
    heads = desk.client.audit_heads()
    members = {member.name: member for member in heads.members}
    assert set(members) == {"bank", "sat", "card", COORDINATOR}
    assert members["sat"].fits
    assert (members["sat"].phase, members["sat"].run_id, members["sat"].size) == ("align", desk.run_id, 1)
    assert members["sat"].received_at is not None
    assert {(x.party, x.phase, x.fits) for x in heads.exchanges} == {
        (p, "align", True) for p in ("bank", "sat", "card")
    }


def test_the_report_says_what_left_whom_and_what_it_reveals(desk: Desk) -> None:
    report = desk.client.minimisation(desk.run_id)
    told = {(line.sender, line.receiver, line.message): line.bytes for line in report.lines}
    assert told["sat", "bank", "matmul.product"] == 700
    assert told["sat", "card", "matmul.product"] == 300
    assert told["card", "", "matmul.product"] == 1500  # its node did not say to whom
    masked = next(line for line in report.lines if line.message == "source.sum")
    assert (masked.reveals, masked.source) == (REGISTER["source.sum"].reveals, REGISTER["source.sum"].source)
    assert told["sat", "", "matmul.product"] == 500  # in valuing, as above
    assert sum(told.values()) == sum(view.bytes for view in desk.client.run(desk.run_id).bytes_by_message)
    assert [(o.party, o.max_used) for o in report.openings] == [("card", 4), ("sat", 4)]
    assert report.n_common == 40
    assert report.factor_to == ("bank", "sat", "card")
    assert report.opens == label_lines(Agreement.model_validate(desk.client.run(desk.run_id).agreement))
    assert (report.score_bits, report.anchor) == (0, "")


def test_an_agreement_is_told_whole_and_its_signatures_are_checked(desk: Desk) -> None:
    found = desk.client.agreement(desk.run_id)
    assert found.faithful
    assert [(s.party, s.fault) for s in found.signers] == [("bank", ""), ("sat", ""), ("card", "")]
    document = desk.client.agreement_file(desk.run_id)
    assert hashlib.sha256(document).hexdigest() == desk.run_id
    told = " ".join(line for part in found.text for line in part.lines)
    assert "Label party: bank; label y: next return" in told
    assert "Reward pot: 100.01 USD" in told
    agreement = Agreement.model_validate_json(document)
    assert found.text == section_views(agreement)
    assert [(t.section, t.name, t.value) for t in found.terms] == [
        (t.section, t.name, t.value) for t in every_term(agreement)
    ]
    with pytest.raises(ConfigError, match="there is no run"):
        desk.client.agreement("<b>")


def test_a_signature_that_does_not_fit_is_named(desk: Desk) -> None:
    from parties.coordinator.desk.trust import signer_check

    agreement = Agreement.model_validate_json(desk.client.agreement_file(desk.run_id))
    at = desk.client.run(desk.run_id).proposed_at
    assert signer_check(agreement, "sat", ("00" * 64, at)).fault.startswith("the signature does not fit")
    assert signer_check(agreement, "sat", None).fault == "has not signed"


def test_no_term_is_forgotten(desk: Desk) -> None:
    """Every leaf of the canonical document is a term, under its own name."""
    document = json.loads(desk.client.agreement_file(desk.run_id))
    names = {term.name for term in every_term(Agreement.model_validate(document))}

    def leaves(value: dict[str, Any]) -> Iterator[str]:
        for name, inner in value.items():
            if isinstance(inner, dict) and inner:
                yield from leaves(inner)
            elif isinstance(inner, list) and inner and isinstance(inner[0], dict):
                for one in inner:
                    yield from leaves(one)
            else:
                yield name.replace("_", " ")

    assert set(leaves(document)) <= names
    private = Agreement.model_validate(document | {"evaluation": {"metrics_to_coordinator": False}, "recipients": []})
    told = " ".join(agreement_lines(private))
    assert "How good the factor is stays with the label party." in told
    assert "The factor goes to: nobody The label party bank makes the scores" in told


def test_roles_see_what_is_theirs(desk: Desk) -> None:
    runs = ("trust/minimisation", "trust/agreement", "trust/agreement-file")
    for role, party in (("admin", ""), ("auditor", ""), ("operator", "sat")):
        assert desk.ask("trust/log", role, party)["total"] > 0
        assert desk.ask("trust/check", role, party)["sound"]
        assert desk.ask("trust/proof", role, party, index=0)["index"] == 0
        assert len(desk.ask("trust/heads", role, party)["exchanges"]) == 3
        for door in runs:
            assert desk.ask(door, role, party, run_id=desk.run_id)
    assert desk.ask("trust/log", "operator", "outsider")["total"] == 0
    assert desk.ask("trust/log", "operator", "outsider", run_id=desk.run_id)["total"] == 0
    assert desk.ask("trust/heads", "operator", "outsider")["exchanges"] == []
    with pytest.raises(AgreementError, match="of no run that outsider takes part in"):
        desk.ask("trust/proof", "operator", "outsider", index=0)
    for door in runs:
        with pytest.raises(AgreementError, match="outsider takes no part"):
            desk.ask(door, "operator", "outsider", run_id=desk.run_id)
    for door in (*runs, "trust/log", "trust/check", "trust/proof", "trust/heads"):
        with pytest.raises(AgreementError, match="signed in as reader"):
            desk.ask(door, "reader")
