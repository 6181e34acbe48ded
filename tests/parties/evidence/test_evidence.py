"""Evidence packs: what a coordinator writes is sound, and no byte, part, key or run can be exchanged unseen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from parties.audit.bundles import log_export
from parties.audit.log import AuditLog
from parties.cli import run as entente
from parties.control.commands import Command
from parties.coordinator.bundles import BundleStore
from parties.errors import AgreementError, DataError
from parties.evidence import pack
from parties.evidence.checking import check_evidence
from parties.evidence.questions import QUESTIONS
from parties.members.keys import Identity, create_identity
from parties.members.roster import Roster
from parties.names import COORDINATOR
from tests.parties.cli.test_factors import bundle_of
from tests.parties.coordinator_rig import LABEL, PARTIES, REPORTS, Consortium, FakeNode, wait_for_status
from vfl.factors.export import Signer, export_bundle, sign_bundle
from vfl.factors.verify import MANIFEST, METADATA, SIGNATURES, manifest_of

UNIVERSE = {"policy": "universe", "universe_sha256": "ab" * 32}


@dataclass
class Packs:
    """Two runs of one consortium: the pack of each, and of the first what an auditor and a reader are told."""

    consortium: Consortium
    first: bytes
    second: bytes
    asked: bytes
    refused: str

    @property
    def identity(self) -> Identity:
        return self.consortium.identities[COORDINATOR]

    @property
    def roster(self) -> Roster:
        return Roster.load(self.consortium.home(COORDINATOR) / "roster.json")


def factor_of(consortium: Consortium, folder: Path, run_id: str) -> dict[str, bytes]:
    """A bundle of this run that its label party has signed and logged."""
    identity, made = consortium.identities[LABEL], bundle_of()
    made = replace(made, metadata=made.metadata.model_copy(update={"run_id": run_id, "version": run_id[:12]}))
    raw = identity.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    files = export_bundle(made, Signer(LABEL, raw, identity.key.sign))
    with AuditLog(LABEL, f"sqlite:///{folder / 'label.db'}", identity.key.sign) as log:
        return log_export(log, run_id, files, "demo-joint", run_id[:12])


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> Packs:
    folder = tmp_path_factory.mktemp("evidence")
    consortium, told = Consortium(folder), dict[str, str]()

    def export(node: FakeNode, command: Command) -> bool:
        if command.kind != "start" or command.body.phase != "export":
            return False
        report = REPORTS["export"](node.name) | {"sha256": told[command.run_id], "factor_id": "demo-joint"}
        node.line.done(command.run_id, "export", command.body.attempt, report)
        return True

    with ExitStack() as stack:
        stack.enter_context(consortium.coordinator())
        agreements = [consortium.agreement(nonce, alignment=UNIVERSE) for nonce in ("1", "2")]
        for agreement in agreements:
            files = factor_of(consortium, folder, agreement.run_id)
            key = bytes.fromhex(consortium.identities[LABEL].public_key)
            BundleStore(consortium.home(COORDINATOR) / "factors").save(agreement.run_id, files, LABEL, key)
            told[agreement.run_id] = hashlib.sha256(files[MANIFEST]).hexdigest()
        for name in PARTIES:
            stack.enter_context(FakeNode(consortium, name, export))
        client = stack.enter_context(consortium.client())
        runs = [client.propose(agreement) for agreement in agreements]
        for run_id in runs:
            wait_for_status(client, run_id, "settled")
        desk = stack.enter_context(consortium.desk())
        asked = desk.within(desk.sign_in(consortium.token("auditor", "Uma"))).evidence(runs[0])
        operator = desk.within(desk.sign_in(consortium.token("operator", "Otto", PARTIES[1])))
        with pytest.raises(AgreementError) as refused:
            operator.evidence(runs[0])
    home, made = consortium.home(COORDINATOR), []
    for run_id in runs:
        out = folder / f"{run_id[:8]}.zip"
        assert entente(["evidence", run_id[:12], "--home", str(home), "--out", str(out)]) == 0
        made.append(out.read_bytes())
    return Packs(consortium, made[0], made[1], asked, str(refused.value))


def signed(files: Mapping[str, bytes], identity: Identity, name: str = "") -> bytes:
    """The parts as a pack that ``identity`` signs under ``name``."""
    made = {part: content for part, content in files.items() if part != MANIFEST and not part.startswith(SIGNATURES)}
    made[MANIFEST] = manifest_of(made)
    public = bytes.fromhex(identity.public_key)
    return pack.packed(sign_bundle(made, Signer(name or identity.name, public, identity.key.sign)))


def test_a_pack_says_what_it_proves_and_answers_every_question(packs: Packs) -> None:
    check = check_evidence(packs.first, packs.roster)
    assert check.faults == ()
    proved = "\n".join(check.proved)
    assert "coordinator signed this file" in proved
    assert "bank, sat, card signed run" in proved
    assert "reports of parties on phases are those that the coordinator logged" in proved
    assert "bank signed the contributions" in proved
    assert "bank's log had the factor's hash" in proved
    assert "1 of them are the run's transactions" in proved
    assert "report.html says what the parts of this pack hold" in proved
    assert any(line.startswith("That no entry on this run was left out") for line in check.asserted)
    page = pack.unpacked(packs.first)[pack.REPORT].decode()
    assert [question.number for question in QUESTIONS] == [f"M{n}" for n in range(1, 9)] + [
        f"R{n}" for n in range(1, 9)
    ]
    assert all(f"<h3>{question.number}. " in page for question in QUESTIONS)
    assert "bank &lt;b&gt;Fund&lt;/b&gt; Ltd" in page, "texts of parties are escaped"
    assert "<b>" not in page
    assert "Deflated Sharpe" in page


def test_a_pack_holds_no_score_and_no_key_and_the_desk_hands_it_to_who_may_have_it(packs: Packs) -> None:
    files = pack.unpacked(packs.first)
    assert {"factor/factor.parquet", "factor/pit.parquet"} & set(files) == set()
    assert not any(name.startswith("factor/adapters") for name in files)
    bundle = BundleStore(packs.consortium.home(COORDINATOR) / "factors").contents(json.loads(files[METADATA])["run_id"])
    assert bundle["factor.parquet"] not in packs.first
    secret = packs.identity.key.private_bytes_raw()
    assert secret not in packs.first
    assert secret.hex().encode() not in packs.first
    assert check_evidence(packs.asked, packs.roster).sound
    assert "operator" in packs.refused
    shown = {name: content for name, content in files.items() if not name.startswith(pack.FACTOR)}
    without = check_evidence(signed(shown | {pack.REPORT: files[pack.REPORT]}, packs.identity))
    assert without.faults == (f"{pack.REPORT} does not say what the parts of this pack hold",)


def test_every_byte_of_every_part_is_covered(packs: Packs) -> None:
    files = pack.unpacked(packs.first)
    assert {pack.AGREEMENT, pack.APPROVALS, pack.LOG, pack.HEADS, pack.REPORTS, pack.CONTRIBUTION, pack.LEDGER} <= set(
        files
    )
    for name, content in files.items():
        place = packs.first.index(content)
        for at in {place, place + len(content) // 2, place + len(content) - 1}:
            changed = bytearray(packs.first)
            changed[at] ^= 1
            [fault] = check_evidence(bytes(changed)).faults
            assert name in fault or "has bytes beside" in fault, (name, fault)
        # who repairs the archive too has its hash and its signature against it
        for at in {0, len(content) // 2, len(content) - 1}:
            other = bytearray(content)
            other[at] ^= 1
            faults = check_evidence(pack.packed({**files, name: bytes(other)})).faults
            assert faults, name
            assert name in "\n".join(faults) or name.startswith(SIGNATURES) or name == MANIFEST
        if not name.startswith(SIGNATURES):
            assert not check_evidence(pack.packed({n: c for n, c in files.items() if n != name})).sound


def test_bytes_between_the_parts_are_covered_too(packs: Packs) -> None:
    covered = bytearray(len(packs.first))
    for content in pack.unpacked(packs.first).values():
        place = packs.first.index(content)
        covered[place : place + len(content)] = b"\x01" * len(content)
    between = [at for at, inside in enumerate(covered) if not inside]
    assert len(between) > 1000
    for at in between[:: len(between) // 150]:
        changed = bytearray(packs.first)
        changed[at] ^= 1
        assert not check_evidence(bytes(changed)).sound, at
    assert not check_evidence(packs.first + b"\0").sound
    assert not check_evidence(b"\0" + packs.first).sound
    for junk in (b"", b"PK", packs.first[:-1], packs.first[: len(packs.first) // 2]):
        assert not check_evidence(junk).sound


@pytest.mark.parametrize(
    ("part", "says"),
    [
        (pack.AGREEMENT, "agreement.json is of run"),
        (pack.APPROVALS, "the signature of 'bank' does not fit this agreement"),
        (pack.LOG, "is an entry of run"),
        (pack.REPORTS, "reports.jsonl: "),
        (pack.CONTRIBUTION, "the contributions are of run"),
        (pack.LEDGER, "ledger.jsonl: entry"),
        (pack.REPORT, "report.html does not say what the parts of this pack hold"),
    ],
)
def test_a_part_of_another_run_is_refused_by_name_though_the_writer_signs_it(
    packs: Packs, part: str, says: str
) -> None:
    files, other = pack.unpacked(packs.first), pack.unpacked(packs.second)
    assert files[part] != other[part]
    check = check_evidence(signed({**files, part: other[part]}, packs.identity), packs.roster)
    assert says in check.faults[0]


def test_another_runs_factor_is_refused_by_name(packs: Packs) -> None:
    files, other = pack.unpacked(packs.first), pack.unpacked(packs.second)
    swapped = files | {name: content for name, content in other.items() if name.startswith(pack.FACTOR)}
    [fault] = [f for f in check_evidence(signed(swapped, packs.identity)).faults if not f.startswith(pack.REPORT)]
    assert fault.startswith("factor/ is the factor of run")
    changed = files | {"factor/validation.json": files["factor/validation.json"].replace(b"rank_ic", b"rank_ia", 1)}
    faults = check_evidence(signed(changed, packs.identity)).faults
    assert any("factor/validation.json" in fault for fault in faults)


def test_a_forged_or_removed_key_is_named(packs: Packs, tmp_path: Path) -> None:
    files = pack.unpacked(packs.first)
    unsigned = {name: content for name, content in files.items() if not name.startswith(SIGNATURES)}
    assert "no valid signature" in check_evidence(pack.packed(unsigned)).faults[0]
    stranger = create_identity(COORDINATOR, tmp_path / "keys")
    fault, *_ = check_evidence(signed(files, stranger)).faults
    assert "is not the key that 'coordinator' is known by" in fault
    [fault] = check_evidence(signed(files, packs.consortium.identities["sat"])).faults
    assert "must hold the signature of 'coordinator'" in fault
    # with a key of its own in coordinator.json, too, only the roster tells
    member = json.dumps(stranger.member("127.0.0.1:1").model_dump()).encode()
    [fault, *_] = check_evidence(signed({**files, pack.COORDINATOR_KEY: member}, stranger), packs.roster).faults
    assert "names another key for the coordinator than the roster has" in fault
    without = {name: one for name, one in packs.roster.items() if name != COORDINATOR}
    assert check_evidence(packs.first, without).faults == (
        "the roster does not know the coordinator: name the consortium's own roster",
    )
    gone = {name: one for name, one in packs.roster.items() if name != "sat"}
    check = check_evidence(packs.first, gone)
    assert check.sound
    assert any("the roster does not know sat any more" in line for line in check.asserted)
    other = {**packs.roster, "sat": create_identity("sat", tmp_path / "sat").member("127.0.0.1:1")}
    assert "names another key for 'sat'" in check_evidence(packs.first, other).faults[0]


def test_nothing_is_smuggled_into_a_pack(packs: Packs) -> None:
    files = pack.unpacked(packs.first)
    for name in ("notes.txt", "factor/factor.parquet", "settlements/a/b.json", "signatures/../x"):
        with pytest.raises(DataError, match="is no part of an evidence pack"):
            pack.unpacked(pack.packed({**files, name: b"x"}))
    broken = {**files, pack.LOG: files[pack.LOG] + b'{"entry": "[]"}\n'}
    assert check_evidence(signed(broken, packs.identity)).faults[0].startswith("log.jsonl, line")


def test_the_commands_write_and_check(packs: Packs, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two, page = tmp_path / "one.zip", tmp_path / "two.zip", tmp_path / "report.html"
    one.write_bytes(packs.first)
    two.write_bytes(packs.second)
    roster = str(packs.consortium.home(COORDINATOR) / "roster.json")
    assert entente(["evidence", "check", str(one), "--roster", roster, "--report", str(page)]) == 0
    said = capsys.readouterr().out
    assert "Proved: coordinator signed this file" in said
    assert "Asserted: " in said
    assert page.read_bytes() == pack.unpacked(packs.first)[pack.REPORT]
    assert entente(["evidence", "check", str(one), str(two)]) == 3
    assert "check packs of one run together" in capsys.readouterr().err
    one.write_bytes(packs.first[:-1])
    assert entente(["evidence", "check", str(one)]) == 3
    assert "do not rely on it" in capsys.readouterr().err
    assert entente(["evidence", "ffffffff", "--home", str(packs.consortium.home(COORDINATOR))]) == 2
    assert "0 runs begin with" in capsys.readouterr().err
