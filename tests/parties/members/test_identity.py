"""Keys on disk and the roster: permissions, pins, and faults named with their file."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from parties.errors import ConfigError, PeerError
from parties.members.keys import create_identity, load_identity
from parties.members.roster import Roster


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    create_identity("cards_1", tmp_path / "keys", hosts=["node.fund.example", "10.0.0.7"])
    return tmp_path / "keys"


def test_keys_are_private_files_that_load_again(keys: Path) -> None:
    assert keys.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in keys.iterdir()} == {0o600}
    first, second = load_identity("cards_1", keys), load_identity("cards_1", keys)
    assert first.certificate_sha256 == second.certificate_sha256
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(first.public_key))
    public.verify(second.key.sign(b"text"), b"text")
    assert "PRIVATE" not in repr(first)
    assert b"PRIVATE" in first.tls_key


def test_the_certificate_names_the_node_and_certifies_nobody_else(keys: Path) -> None:
    certificate = x509.load_pem_x509_certificate(load_identity("cards_1", keys).certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["cards_1.entente", "localhost", "node.fund.example"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "10.0.0.7"]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert timedelta(days=397) <= lifetime < timedelta(days=398)


def test_keys_are_never_overwritten(keys: Path) -> None:
    before = load_identity("cards_1", keys).public_key
    with pytest.raises(ConfigError, match="never overwritten"):
        create_identity("cards_1", keys)
    assert load_identity("cards_1", keys).public_key == before


def test_faults_of_key_files_are_named(keys: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="made for another node than 'skies'"):
        load_identity("skies", keys)
    with pytest.raises(ConfigError, match=r"elsewhere/identity\.key: cannot be read"):
        load_identity("cards_1", tmp_path / "elsewhere")
    create_identity("cards_1", tmp_path / "other")
    own = (keys / "tls.crt").read_bytes()
    (keys / "tls.crt").write_bytes((tmp_path / "other" / "tls.crt").read_bytes())
    with pytest.raises(ConfigError, match=r"tls\.crt: does not belong to the key"):
        load_identity("cards_1", keys)
    (keys / "tls.crt").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match=r"tls\.crt: not a certificate"):
        load_identity("cards_1", keys)
    (keys / "tls.crt").write_bytes(own)
    (keys / "tls.key").chmod(0o640)
    with pytest.raises(ConfigError, match=r"tls\.key: other users can read this key; run chmod 600"):
        load_identity("cards_1", keys)
    (keys / "tls.key").chmod(0o600)
    (keys / "identity.key").write_bytes((keys / "tls.key").read_bytes())
    with pytest.raises(ConfigError, match="not of the expected type"):
        load_identity("cards_1", keys)
    (keys / "identity.key").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match=r"identity\.key: not a private key"):
        load_identity("cards_1", keys)


def test_a_roster_returns_from_disk(keys: Path, tmp_path: Path) -> None:
    identity = load_identity("cards_1", keys)
    other = create_identity("skies", tmp_path / "skies")
    path = tmp_path / "roster.json"
    Roster({"cards_1": identity.member("127.0.0.1:4000"), "skies": other.member("skies.example:4001")}).save(path)
    roster = Roster.load(path)
    assert list(roster) == ["cards_1", "skies"]
    assert roster.member("skies").address == "skies.example:4001"
    assert roster.name_of(identity.certificate) == "cards_1"
    assert roster.name_of(b"not a certificate") is None
    assert roster.name_of(create_identity("skies", tmp_path / "impostor").certificate) is None
    with pytest.raises(PeerError, match="'nobody' is not in the roster"):
        roster.member("nobody")


def test_a_certificate_out_of_date_is_refused(keys: Path) -> None:
    member = load_identity("cards_1", keys).member("127.0.0.1:4000")
    member.check_valid("cards_1", datetime.now(UTC))
    for days in (-1, 400):
        with pytest.raises(PeerError, match="'cards_1' is not valid today") as caught:
            member.check_valid("cards_1", datetime.now(UTC) + timedelta(days=days))
        assert caught.value.peer == "cards_1"


def test_faults_of_a_roster_are_named(keys: Path, tmp_path: Path) -> None:
    path = tmp_path / "roster.json"
    with pytest.raises(ConfigError, match=r"roster\.json: no such file"):
        Roster.load(path)
    member = load_identity("cards_1", keys).member("127.0.0.1:4000").model_dump()
    changes = {
        "address": {"address": "no port"},
        "SHA-256 written beside": {"certificate_sha256": "0" * 64},
        "cards_1": {"certificate": "nothing"},
        "identity_key": {"identity_key": "zz"},
        "Extra inputs": {"extra": 1},
    }
    for reason, change in changes.items():
        path.write_text(json.dumps({"cards_1": {**member, **change}}))
        with pytest.raises(ConfigError, match=reason):
            Roster.load(path)
    path.write_text(json.dumps({"Bad Name": member}))
    with pytest.raises(ConfigError, match="Bad Name"):
        Roster.load(path)
    path.write_text(json.dumps({"a": member, "b": member}))
    with pytest.raises(ConfigError, match="share a certificate"):
        Roster.load(path)
