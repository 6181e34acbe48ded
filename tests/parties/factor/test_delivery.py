"""Sealed factors: who can open them and who cannot, versions that stay, and what whoever keeps them can try."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from parties import __version__
from parties.agreement.document import Agreement
from parties.agreement.text import agreement_lines
from parties.cli import run
from parties.data.simulate import simulate
from parties.errors import AgreementError, ConfigError
from parties.factor.delivery import opener, reading_keys, seal_for, store_bundle
from parties.factor.sealing import Cover, cover_of, node_reading_key, reading_key, reading_public_key, seal, unseal
from parties.factor.tables import open_folder, superseding
from parties.members.keys import Identity, create_identity
from parties.members.roster import Roster
from parties.names import COORDINATOR
from parties.node.home import NodeHome
from parties.node.policy import check_agreement
from parties.node.settings import load_node_settings
from parties.proposing.drafting import agreement_of as agreement_from
from parties.settings.consortium import load_consortium
from parties.settings.toml_text import to_toml
from psi.flow import RemoteProtocolError, Role, run_local
from tests.vfl.bundles import METADATA, made_up
from vfl.factors.export import Signer, export_bundle
from vfl.protocols.delivery import deliver_bundle, pack_files, receive_bundle, unpack_files

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PARTIES = ("bank", "sat", "card")


@dataclass(frozen=True)
class House:
    """Homes of a label party, two feature parties and the coordinator, one run's agreement and its bundle."""

    root: Path
    identities: dict[str, Identity]
    roster: Roster
    agreement: Agreement
    bundle: Path
    quant: Path

    def home(self, name: str) -> Path:
        return self.root / name

    @property
    def files(self) -> dict[str, bytes]:
        return {p.relative_to(self.bundle).as_posix(): p.read_bytes() for p in self.bundle.rglob("*") if p.is_file()}

    def sealed(self, reader: str) -> bytes:
        key = reading_keys(self.agreement, self.roster)[reader]
        return seal_for(self.agreement, self.identities["bank"], reader, key, self.files)


def agreement_of(identities: dict[str, Identity], readers: dict[str, str]) -> Agreement:
    parties = [
        {
            "name": name, "role": "label" if name == "bank" else "feature", "address": "h:1",
            "columns": tuple("abcdef"),
            "identity_key": identities[name].public_key, "certificate_sha256": identities[name].certificate_sha256,
        }
        for name in PARTIES
    ]  # fmt: skip
    return Agreement.model_validate(
        {
            "consortium": "c", "purpose": "p", "proposed_at": NOW, "expires_at": NOW, "nonce": "n",
            "coordinator_certificate_sha256": "00", "coordinator_address": "h:2", "parties": parties,
            "label": {"name": "y", "definition": "y", "party": "bank"},
            "calendar": {"frequency": "Q", "periods": ("p",), "period_ends": (NOW,), "cutoffs": (NOW,)},
            "openings": {"contribution": "none", "limit_per_row": 2}, "recipients": ("bank", "sat"), "readers": readers,
            "code_version": "0",
        }
    )  # fmt: skip


@pytest.fixture
def house(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> House:
    identities = {name: create_identity(name, tmp_path / name / "keys") for name in (COORDINATOR, *PARTIES)}
    roster = Roster({name: one.member("127.0.0.1:1") for name, one in identities.items()})
    quant = tmp_path / "quant" / "reading.key"
    assert run(["factors", "key", "--out", str(quant), "--name", "quant", "--plain-keys"]) == 0
    public = re.search(r'quant = "([0-9a-f]{64})"', capsys.readouterr().out)
    assert public is not None
    agreement = agreement_of(identities, {"quant": public[1]})
    for name in (COORDINATOR, *PARTIES):
        roster.save(tmp_path / name / "roster.json")
    for name in PARTIES:
        folder = tmp_path / name / "runs" / agreement.run_id
        folder.mkdir(parents=True)
        (folder / "agreement.json").write_bytes(agreement.canonical())
        party = {"name": name, "role": "feature", "query": "f.sql", "columns": ["a"]}
        node = {"listen": "127.0.0.1:1", "data": "data", "party": party}
        if name == "bank":
            party["role"], node["label"] = "label", {"name": "y", "definition": "y", "query": "y.sql"}
        (tmp_path / name / "node.toml").write_text(to_toml(node))
    (tmp_path / "agreement.json").write_bytes(agreement.canonical())
    bank = identities["bank"]
    metadata = METADATA.model_copy(update={"version": "1", "run_id": agreement.run_id})
    signer = Signer("bank", bytes.fromhex(bank.public_key), bank.key.sign)
    files = export_bundle(made_up(metadata=metadata), signer)
    return House(tmp_path, identities, roster, agreement, store_bundle(tmp_path / "bank" / "factors", files), quant)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    out = capsys.readouterr()
    return out.out + out.err


def test_every_agreed_recipient_opens_its_own_file_and_no_other(house: House, capsys) -> None:
    assert run(["factors", "seal", str(house.bundle), "--home", str(house.home("bank"))]) == 0
    sealed = {path.name.split(".")[-2]: path for path in (house.home("bank") / "sealed").iterdir()}
    assert set(sealed) == {"sat", "quant"}
    with NodeHome(house.home("bank")).audit() as log:
        noted = {entry.body["reader"]: entry.body["key"] for entry in log.entries() if entry.kind == "sealed"}
    assert noted == reading_keys(house.agreement, house.roster)
    assert b"factor.parquet" not in b"".join(path.read_bytes() for path in sealed.values())

    assert run(["factors", "open", str(sealed["sat"]), "--home", str(house.home("sat"))]) == 0
    assert open_folder(house.home("sat") / "factors" / "demo-joint" / "1").signers == ("bank",)
    for way in (
        ["--agreement", str(house.root / "agreement.json")],
        ["--roster", str(house.home("sat") / "roster.json")],
    ):
        at = house.root / f"quant-{way[0]}"
        command = ["factors", "open", str(sealed["quant"]), "--key", str(house.quant), *way, "--out", str(at)]
        assert run(command) == 0
        assert {p.name for p in (at / "demo-joint" / "1").iterdir()} >= {"factor.parquet", "SHA256SUMS"}
    said(capsys)

    # the other feature party and the coordinator hold every sealed file, and open none
    for name in ("card", COORDINATOR):
        for path in sealed.values():
            trust = ["--agreement", str(house.root / "agreement.json")]
            assert run(["factors", "open", str(path), "--home", str(house.home(name)), *trust]) == 3
            assert "not for this one" in said(capsys)
        assert not (house.home(name) / "factors").exists()


def test_a_stored_file_says_nothing_without_the_key(house: House) -> None:
    """Whoever stores it sees cover and size; a key of its own put into the cover does not open it."""
    sealed, thief = house.sealed("quant"), X25519PrivateKey.generate()
    cover = cover_of(sealed)
    assert (cover.reader, cover.version, cover.sender) == ("quant", "1", "bank")
    forged = cover.model_copy(update={"key": reading_public_key(thief)})
    swapped = sealed.replace(cover.line(), forged.line())
    with pytest.raises(ValueError, match="was not sealed by bank's identity key, or was changed"):
        unseal(swapped, thief, house.identities["bank"].public_key)
    # even had the signature been the thief's own
    own = Ed25519PrivateKey.generate()
    start = sealed.index(b"\n", sealed.index(b"\n") + 1) + 1 + 64
    resigned = seal(b"", forged, own.sign)
    at = resigned.index(b"\n", resigned.index(b"\n") + 1) + 1 + 64
    grafted = resigned[:at] + sealed[start:]
    with pytest.raises(ValueError, match="was not sealed by"):
        unseal(grafted, thief, own.public_key().public_bytes_raw().hex())


def test_what_is_sealed_by_another_is_refused(house: House, capsys) -> None:
    """A coordinator can seal a factor of its own making, but not as the label party."""
    coordinator = house.identities[COORDINATOR]
    cover = cover_of(house.sealed("quant"))
    fake = seal(pack_files(house.files), cover, coordinator.key.sign)
    path = house.root / cover.file_name
    path.write_bytes(fake)
    way = ["--agreement", str(house.root / "agreement.json")]
    assert run(["factors", "open", str(path), "--key", str(house.quant), *way]) == 3
    assert "was not sealed by bank's identity key" in said(capsys)
    path.write_bytes(seal(pack_files(house.files), cover.model_copy(update={"sender": "sat"}), coordinator.key.sign))
    assert run(["factors", "open", str(path), "--key", str(house.quant), "--roster",
                str(house.home("sat") / "roster.json")]) == 3  # fmt: skip
    assert "was not sealed by sat's identity key" in said(capsys)


def test_truncated_and_changed_files_are_refused_by_name(house: House, capsys) -> None:
    sealed = house.sealed("quant")
    path = house.root / cover_of(sealed).file_name
    way = ["--key", str(house.quant), "--agreement", str(house.root / "agreement.json")]
    for wrong in (sealed[:-1], sealed[:400], sealed[:30], b"", sealed[:-1] + bytes([sealed[-1] ^ 1]), sealed + b"x"):
        path.write_bytes(wrong)
        assert run(["factors", "open", str(path), *way, "--out", str(house.root / "kept")]) == 3
        told = said(capsys)
        assert told.startswith(f"error: {path}: ")
        assert told.count("\n") == 1
    assert not (house.root / "kept").exists()


def test_a_new_version_keeps_the_old_and_says_what_it_supersedes(house: House, capsys) -> None:
    before = house.files
    home = str(house.home("bank"))
    assert run(["factors", "reissue", str(house.bundle), "--home", home, "--why", "prices were restated"]) == 0
    assert house.files == before, "version 1 is as it was"
    second = house.bundle.parent / "1-2"
    assert open_folder(second).metadata["supersedes"] == {
        "version": "1", "why": "prices were restated", "run_id": "",
        "sha256": cover_of(house.sealed("sat")).sha256,
    }  # fmt: skip
    assert open_folder(second).factor.equals(open_folder(house.bundle).factor)
    assert superseding(house.bundle) == "1-2"
    said(capsys)
    assert run(["factors", "reissue", str(house.bundle), "--home", home, "--why", "again"]) == 2
    assert "is superseded by version 1-2; reissue that one" in said(capsys)
    assert run(["factors", "reissue", str(second), "--home", home, "--why", "again"]) == 0
    assert (house.bundle.parent / "1-3").is_dir()
    said(capsys)
    assert run(["factors", "list", str(house.bundle.parent)]) == 0
    rows = [line.split()[:3] for line in said(capsys).splitlines() if line.strip().startswith("demo-joint")]
    assert rows == [["demo-joint", "1", "1-2"], ["demo-joint", "1-2", "1-3"], ["demo-joint", "1-3", "-"]]
    assert run(["factors", "show", str(second)]) == 0
    shown = said(capsys)
    assert "Supersedes version 1: prices were restated." in shown
    assert "Superseded by version 1-3" in shown
    assert run(["factors", "verify", str(second), "--roster", str(house.home("sat") / "roster.json")]) == 0
    assert "logged by bank" in said(capsys)


def test_an_old_version_under_a_new_name_is_refused(house: House, capsys) -> None:
    home = house.home("bank")
    assert run(["factors", "seal", str(house.bundle), "--home", str(home)]) == 0
    assert run(["factors", "reissue", str(house.bundle), "--home", str(home), "--why", "restated"]) == 0
    first, second = (home / "sealed" / f"demo-joint.{version}.sat.sealed" for version in ("1", "1-2"))
    old = first.read_bytes()
    second.write_bytes(old)
    said(capsys)
    assert run(["factors", "open", str(second), "--home", str(house.home("sat"))]) == 3
    assert "is factor demo-joint, version 1, for sat, under another name" in said(capsys)
    cover = cover_of(old)
    later = cover.model_copy(update={"version": "1-2"})
    second.write_bytes(old.replace(cover.line(), later.line()))
    assert run(["factors", "open", str(second), "--home", str(house.home("sat"))]) == 3
    assert "was changed or cut short" in said(capsys)


def test_another_bundle_never_takes_a_versions_place(house: House) -> None:
    signer = Signer("bank", bytes.fromhex(house.identities["bank"].public_key), house.identities["bank"].key.sign)
    other = export_bundle(made_up(seed=5, metadata=METADATA), signer)
    with pytest.raises(Exception, match="no version is overwritten"):
        store_bundle(house.bundle.parents[1], other)
    assert store_bundle(house.bundle.parents[1], house.files) == house.bundle


def test_keys_come_from_agreement_and_roster_alone(house: House) -> None:
    assert reading_keys(house.agreement, house.roster) == {
        "sat": node_reading_key(house.identities["sat"].public_key),
        "quant": house.agreement.readers["quant"],
    }
    with pytest.raises(AgreementError, match="'card' is no agreed recipient; those are sat, quant"):
        reading_keys(house.agreement, house.roster, ["card"])
    without = Roster({name: member for name, member in house.roster.items() if name != "sat"})
    with pytest.raises(AgreementError, match="'sat' has been revoked since it was agreed as a recipient"):
        reading_keys(house.agreement, without)
    assert set(reading_keys(house.agreement, without, ["quant"])) == {"quant"}
    stranger = create_identity("sat", house.root / "stranger").member("127.0.0.1:2")
    with pytest.raises(AgreementError, match="another identity key in the roster than in the agreement"):
        reading_keys(house.agreement, {**house.roster, "sat": stranger})


def test_a_reader_with_a_new_key_is_told_what_to_do(house: House, capsys, tmp_path: Path) -> None:
    path = house.root / cover_of(house.sealed("quant")).file_name
    path.write_bytes(house.sealed("quant"))
    assert run(["factors", "key", "--out", str(tmp_path / "new.key"), "--plain-keys"]) == 0
    said(capsys)
    way = ["--agreement", str(house.root / "agreement.json")]
    assert run(["factors", "open", str(path), "--key", str(tmp_path / "new.key"), *way]) == 3
    assert "have an agreement name the new one and ask bank to seal it again" in said(capsys)


def test_a_proposal_cannot_swap_a_readers_key_unseen(house: House) -> None:
    thief = reading_public_key(X25519PrivateKey.generate())
    swapped = house.agreement.model_copy(update={"readers": {"quant": thief}})
    assert any(thief in line and "quant" in line for line in agreement_lines(swapped))
    node = load_node_settings(house.home("bank") / "node.toml")
    pinned = node.model_copy(
        update={"limits": node.limits.model_copy(update={"readers": dict(house.agreement.readers)})}
    )
    terms = swapped.model_copy(
        update={
            "code_version": __version__,
            "expires_at": datetime(2100, 1, 1, tzinfo=UTC),
            "coordinator_certificate_sha256": house.roster[COORDINATOR].certificate_sha256,
        }
    )
    with pytest.raises(AgreementError, match=r"not in limits\.readers of this node"):
        check_agreement(terms, pinned, house.identities["bank"], house.roster, NOW)
    for wrong in ({"sat": thief}, {COORDINATOR: thief}, {"q": thief, "r": thief}):
        with pytest.raises(ValidationError, match="readers need names and keys of their own"):
            Agreement.model_validate({**house.agreement.model_dump(), "readers": wrong})


def test_readers_come_from_the_file_of_terms(house: House, tmp_path: Path) -> None:
    made = simulate(tmp_path / "sim", entities=40, periods=16, parties=2, seed=1, model="split").config
    text = made.read_text()
    names = (COORDINATOR, *(party.name for party in load_consortium(made).party))
    nodes = Roster({name: create_identity(name, tmp_path / "k" / name).member("127.0.0.1:1") for name in names})
    key = house.agreement.readers["quant"]
    made.write_text(f'{text}\n[readers]\nquant = "{key}"\n')
    assert agreement_from(load_consortium(made), nodes, NOW).readers == {"quant": key}
    for wrong in ('quant = "00"', f'{names[1]} = "{key}"'):
        made.write_text(f"{text}\n[readers]\n{wrong}\n")
        with pytest.raises(ConfigError, match="terms do not hold together"):
            agreement_from(load_consortium(made), nodes, NOW)


def test_in_a_run_the_bundle_travels_sealed(house: House) -> None:
    """What passes by on the way holds nothing of it, and what is of another run or reader ends the session."""
    bank, sat = house.identities["bank"], house.identities["sat"]
    keys = reading_keys(house.agreement, house.roster)
    seen: list[bytes] = []

    def seal_and_note(reader: str, packed: bytes) -> bytes:
        assert packed == pack_files(house.files)
        seen.append(seal_for(house.agreement, bank, reader, keys[reader], house.files))
        return seen[-1]

    flows = {
        "bank": deliver_bundle({"sat": Role.FEATURE}, house.files, seal_and_note),
        "sat": receive_bundle("bank", Role.FEATURE, opener(house.agreement, "sat", reading_key(sat.key))),
    }
    assert run_local(flows)["sat"] == house.files
    assert not any(content[:64] in seen[0] for content in house.files.values())

    other = house.agreement.model_copy(update={"nonce": "another run"})
    wrong = {
        "under the agreement": seal_for(other, bank, "sat", keys["sat"], house.files),
        "key that the agreement does not name": seal_for(house.agreement, bank, "card", keys["sat"], house.files),
        "not for this one": house.sealed("quant"),
        "was not sealed by bank": seal_for(house.agreement, sat, "sat", keys["sat"], house.files).replace(
            b'"sender":"sat"', b'"sender":"bank"'
        ),
    }
    for reason, sealed in wrong.items():
        flows = {
            "bank": deliver_bundle({"sat": Role.FEATURE}, house.files, lambda reader, packed, sealed=sealed: sealed),
            "sat": receive_bundle("bank", Role.FEATURE, opener(house.agreement, "sat", reading_key(sat.key))),
        }
        with pytest.raises(RemoteProtocolError, match=reason):
            run_local(flows)


def test_terms_without_readers_or_placebo_keep_their_hash(house: House) -> None:
    plain = house.agreement.model_copy(update={"readers": {}})
    body = json.loads(plain.canonical())
    assert "readers" not in body
    assert "placebo" not in body
    assert Agreement.model_validate_json(plain.canonical()).run_id == plain.run_id
    assert Agreement.model_validate_json(house.agreement.canonical()).run_id == house.agreement.run_id != plain.run_id


IDENTITY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
READER = Ed25519PrivateKey.from_private_bytes(bytes(32))
COVER = Cover(
    run_id="ab" * 32, factor_id="f", version="1", sha256="cd" * 32, sender="bank", reader="sat",
    key=node_reading_key(READER.public_key().public_bytes_raw().hex()),
)  # fmt: skip
SEALED = seal(b"content", COVER, IDENTITY.sign)


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=32, max_size=32))
def test_a_nodes_reading_key_follows_from_what_others_know_of_it(seed: bytes) -> None:
    identity = Ed25519PrivateKey.from_private_bytes(seed)
    assert node_reading_key(identity.public_key().public_bytes_raw().hex()) == reading_public_key(reading_key(identity))


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=600), st.tuples(st.integers(0, len(SEALED) - 1), st.integers(1, 255))))
def test_whatever_is_not_as_sealed_is_refused(change: bytes | tuple[int, int]) -> None:
    if isinstance(change, bytes):
        wrong = change
    else:
        at, by = change
        wrong = SEALED[:at] + bytes([SEALED[at] ^ by]) + SEALED[at + 1 :]
    with pytest.raises(ValueError):
        unseal(wrong, reading_key(READER), IDENTITY.public_key().public_bytes_raw().hex())


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8})?", fullmatch=True), st.binary(max_size=50), max_size=6))
def test_packing_is_undone_by_unpacking(files: dict[str, bytes]) -> None:
    assert unpack_files(pack_files(files)) == files


@pytest.mark.parametrize(
    "wrong",
    [b"", b"[]", b'[["a",1]]\n', b'[["a",1],["a",0]]\nx', b'[["../a",1]]\nx', b'[["/a",1]]\nx', b'[["a\\\\b",1]]\nx',
     b'[["a",2],["b",-1]]\nx', b"[[1]]\n", b"{}x", b"[" * 5000],
)  # fmt: skip
def test_hostile_packing_is_refused(wrong: bytes) -> None:
    with pytest.raises(ValueError):
        unpack_files(wrong)
