"""The coordinator as a participant: real alignment, real delivery of a factor, settlement."""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from parties.agreement.document import Agreement
from parties.control.commands import Command
from parties.control.phases import session_name, session_roles
from parties.coordinator.bundles import BundleStore
from parties.drive import drive
from parties.errors import ConfigError, LedgerError, StorageError
from parties.factor.delivery import sealer
from parties.factor.sealing import node_reading_key
from parties.ledger.store import LedgerStore
from parties.members.roster import Roster
from parties.names import COORDINATOR
from parties.settlement.closing import reward_split, settle_run
from parties.settlement.contribution import ContributionRecord
from parties.transport.grpc import ExchangeServer
from psi.commitment import AlignmentLimits
from psi.flow import Flow, Role
from psi.ring import Alignment, align_party
from tests.parties.coordinator_rig import (
    FEATURES,
    LABEL,
    PARTIES,
    UNTESTED,
    Consortium,
    FakeNode,
    answer_to,
    contribution,
    free_port,
    wait_for_status,
)
from vfl.factors.export import Signer, sign_bundle
from vfl.factors.verify import METADATA, manifest_of
from vfl.protocols.delivery import deliver_bundle

IDS = {"bank": range(60), "sat": range(10, 70), "card": range(20, 80)}


class ProtocolNode(FakeNode):
    """Aligns for real; the label party delivers ``files`` for real."""

    def __init__(self, consortium: Consortium, name: str, files: dict[str, bytes], minimum: int = 30) -> None:
        super().__init__(consortium, name, ProtocolNode.take)
        self._files = files
        self._consortium = consortium
        self._agreements: dict[str, Agreement] = {}
        self.alignment: Alignment | None = None
        roster = Roster.load(consortium.home(name) / "roster.json")
        self.server = ExchangeServer(self.identity, roster, consortium.addresses[name])

    def __exit__(self, *_: object) -> None:
        super().__exit__(*_)
        self.server.close()

    @staticmethod
    def take(node: FakeNode, command: Command) -> bool:
        assert isinstance(node, ProtocolNode)
        if command.kind == "approve":
            node._agreements[command.run_id] = Agreement.model_validate(command.body.agreement)
        elif command.kind == "start" and command.body.phase in ("align", "export"):
            node.play(node._agreements[command.run_id], command)
            return True
        return False

    def play(self, agreement: Agreement, command: Command) -> None:
        phase = command.body.phase
        flow: Flow[Any] = self._align(agreement) if phase == "align" else self._export(agreement)
        roles = session_roles(agreement, phase)
        try:
            with self.server.open(agreement.run_id, session_name(phase, 1), roles, agreement.payloads) as channel:
                result = drive(flow, channel, silence=20)
        except Exception as error:
            self.line.failed(agreement.run_id, phase, 1, str(error), getattr(error, "peer", ""))
            return
        report = answer_to(phase, self.identity, agreement.run_id)
        if phase == "align":
            self.alignment = result
            report = {"n_common": len(result.ids), "set_size": len(IDS[self.name])}
        self.line.done(agreement.run_id, phase, 1, report)

    def _align(self, agreement: Agreement) -> Flow[Alignment]:
        def verify(party: str, data: bytes, signature: bytes) -> bool:
            try:
                Ed25519PublicKey.from_public_bytes(bytes.fromhex(agreement.party(party).identity_key)).verify(
                    signature, data
                )
            except InvalidSignature:
                return False
            return True

        terms = agreement.alignment
        return align_party(
            self.name,
            PARTIES,
            COORDINATOR,
            [f"E{number:03}" for number in IDS[self.name]],
            run=bytes.fromhex(agreement.run_id),
            limits=AlignmentLimits(terms.minimum_common, terms.maximum_set_size, terms.largest_change),
            randomness=secrets,  # type: ignore[arg-type]
            sign=self.identity.key.sign,
            verify=verify,
        )

    def _export(self, agreement: Agreement) -> Flow[None]:
        takers = {n: r for n, r in session_roles(agreement, "export").items() if r is not Role.LABEL}
        keys = {COORDINATOR: node_reading_key(self._consortium.identities[COORDINATOR].public_key)}
        return deliver_bundle(takers, self._files, sealer(agreement, self.identity, keys, self._files))


def signed_files(key: Ed25519PrivateKey, signer: str = LABEL, **changes: bytes) -> dict[str, bytes]:
    table = hashlib.shake_256(b"scores that do not compress").digest(1_500_000)
    told = {"factor_id": "joint-1", "version": "1"}
    files = {METADATA: json.dumps(told).encode(), "data/factor.csv": table, **changes}
    files["SHA256SUMS"] = manifest_of(files)
    return sign_bundle(files, Signer(signer, key.public_key().public_bytes_raw(), key.sign))


@contextmanager
def world(folder: Path, files: Callable[[Ed25519PrivateKey], dict[str, bytes]]) -> Iterator[tuple[Any, Any, Any]]:
    consortium = Consortium(folder)
    consortium.addresses |= {name: f"127.0.0.1:{free_port()}" for name in PARTIES}
    address = f"127.0.0.1:{free_port()}"
    consortium.write_rosters(address)
    with ExitStack() as stack:
        stack.enter_context(consortium.coordinator(listen=address))
        client = stack.enter_context(consortium.client())
        sent = files(consortium.identities[LABEL].key)
        nodes = {name: stack.enter_context(ProtocolNode(consortium, name, sent)) for name in PARTIES}
        yield consortium, client, nodes


def psi_terms(minimum: int = 30) -> dict[str, Any]:
    return {"alignment": {"policy": "psi", "minimum_common": minimum}, "recipients": (COORDINATOR,)}


def test_the_coordinator_matches_tokens_and_keeps_the_factor(tmp_path: Path) -> None:
    with world(tmp_path, signed_files) as (consortium, client, nodes):
        run_id = client.propose(consortium.agreement(**psi_terms()))
        run = wait_for_status(client, run_id, "settled", "aborted")
        assert run.reason == ""
        assert run.n_common == 40
        assert {node.alignment.ids for node in nodes.values()} == {tuple(nodes["bank"].alignment.ids)}
        sent = {b.message: b.payload for b in run.bytes_by_message if b.party == COORDINATOR}
        assert sent == {"psi.common": "blinded id", "factor.received.coordinator": "public metadata"}

        assert run.factor is not None
        assert run.factor.available
        assert run.factor.metadata == {"factor_id": "joint-1", "version": "1"}
        archive = zipfile.ZipFile(io.BytesIO(client.download_factor(run_id)))
        files = signed_files(consortium.identities[LABEL].key)
        assert {name: archive.read(name) for name in archive.namelist()} == files
        sums = {file.path: file.sha256 for file in run.factor.files}
        assert sums["data/factor.csv"] == hashlib.sha256(files["data/factor.csv"]).hexdigest()
        assert client.download_factor(run_id) == client.download_factor(run_id)


def test_too_few_common_entities_end_the_run_without_rows(tmp_path: Path) -> None:
    with world(tmp_path, signed_files) as (consortium, client, nodes):
        run_id = client.propose(consortium.agreement(**psi_terms(minimum=41)))
        run = wait_for_status(client, run_id, "settled", "aborted")
        assert run.status == "aborted"
        assert "minimum" in run.reason
        assert run.n_common is None
        assert all(node.alignment is None for node in nodes.values())


def test_a_factor_that_is_not_as_signed_is_not_kept(tmp_path: Path) -> None:
    def forged(key: Ed25519PrivateKey) -> dict[str, bytes]:
        return {**signed_files(key), "data/factor.csv": b"datetime,score\n2020-01-01,1\n"}

    with world(tmp_path, forged) as (consortium, client, _):
        run_id = client.propose(consortium.agreement(**psi_terms()))
        run = wait_for_status(client, run_id, "settled", "aborted")
        assert run.status == "aborted"
        assert "coordinator stopped in export" in run.reason
        assert "is not as signed" in run.reason
        assert not any((consortium.home(COORDINATOR) / "factors").glob("*"))


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    return BundleStore(tmp_path / "factors")


def test_bundles_are_verified_before_they_are_kept(store: BundleStore) -> None:
    key, thief = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    trusted = key.public_key().public_bytes_raw()
    good = signed_files(key)
    digest = store.save("a" * 64, good, LABEL, trusted)
    assert digest == hashlib.sha256(good["SHA256SUMS"]).hexdigest()
    assert store.save("a" * 64, good, LABEL, trusted) == digest
    assert {file.path for file in store.files("a" * 64)} == set(good)
    with pytest.raises(StorageError, match="no version is overwritten"):
        store.save("a" * 64, signed_files(key, **{"more.csv": b"x"}), LABEL, trusted)
    assert {file.path for file in store.files("a" * 64)} == set(good)

    unsigned = {name: content for name, content in good.items() if not name.startswith("signatures/")}
    for files in (signed_files(thief), unsigned, {**good, "extra.txt": b""}, {}):
        with pytest.raises(StorageError, match="not as signed"):
            store.save("b" * 64, files, LABEL, trusted)
    for name in ("../evil", "/etc/passwd", "a//b", "a/./b", "", "a\\b", "a\nb"):
        with pytest.raises(StorageError, match="unusable file name"):
            store.save("b" * 64, {**good, name: b""}, LABEL, trusted)
    assert not store.has("b" * 64)
    assert (store.files("b" * 64), store.metadata("b" * 64)) == ((), {})
    with pytest.raises(ConfigError, match="not kept here"):
        store.archive("b" * 64)


def test_a_disk_that_refuses_is_named(tmp_path: Path) -> None:
    (tmp_path / "factors").write_text("in the way")
    key = Ed25519PrivateKey.generate()
    with pytest.raises(StorageError, match=r"factors.*free space or mend"):
        BundleStore(tmp_path / "factors").save("a" * 64, signed_files(key), LABEL, key.public_key().public_bytes_raw())


@pytest.fixture(scope="module")
def terms(tmp_path_factory: pytest.TempPathFactory) -> Agreement:
    return Consortium(tmp_path_factory.mktemp("homes")).agreement(
        reward={"pot": 10_001, "unit": "USD", "scale": 2, **UNTESTED, "risk_aversion": 1.0}
    )


def test_settling_twice_posts_once_and_balances(terms: Agreement, tmp_path: Path) -> None:
    record = ContributionRecord.model_validate(contribution(sat=0.05, card=0.02))
    at = datetime(2026, 1, 31, tzinfo=UTC)
    with LedgerStore(tmp_path / "ledger.db") as ledger:
        report = settle_run(ledger, terms, record, at)
        head = ledger.head()
        assert settle_run(ledger, terms, record, at) == report
        assert ledger.head() == head
        assert (report.rewards, report.rolled_over) == ({"sat": 8001, "card": 2000}, 0)
        assert ledger.check().ok
        assert ledger.balances()["Liabilities:Party:sat:Pending"].pending == 8001
        entry = ledger.entry(report.transactions[0])
        assert entry is not None
        assert entry.transaction.run_id == terms.run_id


def test_nobody_earns_without_evidence(terms: Agreement, tmp_path: Path) -> None:
    at = datetime(2026, 1, 31, tzinfo=UTC)
    nothing = ContributionRecord.model_validate(contribution(sat=0.005, card=-0.1))
    unknown = ContributionRecord.model_validate(
        {"method": "masked", "parties": {"sat": {"phi": 0.1}, "card": {"phi": 0.2}}}
    )
    with LedgerStore(tmp_path / "ledger.db") as ledger:
        for record in (None, nothing, unknown):
            report = settle_run(ledger, terms, record, at)
            assert (report.transactions, report.rolled_over) == ((), 10_001)
        assert ledger.journal() == []


@pytest.mark.parametrize("parties", [{"sat": 0.1}, {"sat": 0.1, "card": 0.1, "thief": 9.0}, {"thief": 1.0}])
def test_contributions_must_be_of_the_runs_parties(terms: Agreement, parties: dict[str, float]) -> None:
    with pytest.raises(LedgerError, match="the run's feature parties are card, sat"):
        reward_split(terms, ContributionRecord.model_validate(contribution(**parties)))


@settings(max_examples=60, deadline=None)
@given(phi=st.tuples(*(st.floats(-1, 1) for _ in FEATURES)))
def test_a_split_hands_out_the_pot_or_rolls_it_over(terms: Agreement, phi: tuple[float, float]) -> None:
    split = reward_split(
        terms, ContributionRecord.model_validate(contribution(**dict(zip(FEATURES, phi, strict=True))))
    )
    assert sum(split.shares.values()) + split.rolled_over == terms.reward.pot
    for party, value in zip(FEATURES, phi, strict=True):
        assert (split.shares[party] > 0) <= (value > 0.01)
