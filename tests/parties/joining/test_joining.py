"""Joining: a token of one use, a coordinator known by its fingerprint, a roster that grows but is not taken over."""

from __future__ import annotations

import hashlib
import io
import json
import ssl
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parties.cli import run
from parties.control.reports import IntroductionBody
from parties.coordinator.membership import revoke
from parties.coordinator.service import Coordinator
from parties.errors import AgreementError, ConfigError, EntenteError, PeerError
from parties.joining.invitations import Invitations, InvitedRoles
from parties.joining.join import join, rotate
from parties.joining.requests import JoinAnswer, JoinRequest
from parties.joining.succession import adopt_successor
from parties.joining.token import Token
from parties.members.keys import Identity, create_identity, load_identity
from parties.members.passphrase import KEY_FILE, passphrase_for, read_key_file
from parties.members.roster import Member, Roster, expiry_warnings, succeeds
from parties.names import COORDINATOR, NO_PARTIES
from parties.node.coordinator_line import CoordinatorLine
from parties.node.roster_following import followed
from parties.transport.pinned import fetch_certificate
from parties.transport.to_coordinator import Connection
from parties.wire.gen import coordinator_pb2 as wire
from tests.parties.coordinator_rig import free_port

SECRET = "a key file's long secret"
SOON = timedelta(minutes=5)


@pytest.fixture
def key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "key"
    path.write_text(SECRET + "\n")
    path.chmod(0o600)
    monkeypatch.setenv(KEY_FILE, str(path))
    passphrase_for.cache_clear()
    yield path
    passphrase_for.cache_clear()


class Hub:
    """A founded consortium and its running coordinator."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.address = f"127.0.0.1:{free_port()}"
        assert run(["coordinator", "init", "--home", str(home), "--name", "T", "--listen", self.address]) == 0
        self.running = Coordinator(home)

    def invite(self, name: str, role: str = "feature", valid: timedelta = SOON) -> Token:
        coordinator = Roster.load(self.home / "roster.json")[COORDINATOR]
        return Invitations(self.home).invite(name, role, coordinator.address, coordinator.certificate_sha256, valid)

    def members(self) -> set[str]:
        return set(Roster.load(self.home / "roster.json")) - NO_PARTIES


@pytest.fixture
def hub(tmp_path: Path, key_file: Path) -> Iterator[Hub]:
    made = Hub(tmp_path / "hub")
    with made.running:
        yield made


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def token(**changes: object) -> Token:
    terms = {
        "name": "sat",
        "role": "feature",
        "address": "127.0.0.1:7400",
        "fingerprint": "ab" * 32,
        "secret": bytes(range(20)),
        "expires": datetime(2030, 1, 1, tzinfo=UTC),
    }
    return Token(**{**terms, **changes})  # type: ignore[arg-type]


def test_a_token_survives_its_text_and_hides_its_secret() -> None:
    made = token(role="label")
    text = made.encode()
    assert Token.decode(f" {text[:40]}\n{text[40:]} ") == made
    assert repr(made) == "Token('sat')"
    assert text.replace("-", "").replace("_", "").isalnum()


@given(st.data())
def test_a_damaged_token_is_refused(data: st.DataObject) -> None:
    text = token().encode()
    place = data.draw(st.integers(len("entente1-"), len(text) - 1))
    other = data.draw(st.sampled_from("ABab01-_ $").filter(lambda sign: sign != text[place]))
    changed = data.draw(st.sampled_from([text[:place], text[:place] + other + text[place + 1 :]]))
    with pytest.raises(ConfigError, match="not a whole invitation token"):
        Token.decode(changed)


def test_both_ends_derive_the_same_certificate_and_no_other_secret_does() -> None:
    assert token().identity().certificate == token().identity().certificate
    assert token().identity().tls_key == token().identity().tls_key
    others = [token(secret=bytes(20)), token(name="card"), token(expires=datetime(2031, 1, 1, tzinfo=UTC))]
    assert len({made.identity().certificate for made in (token(), *others)}) == 4
    assert token().mac_key() != token(secret=bytes(20)).mac_key()


def test_the_invitations_file_does_not_hold_the_secret(tmp_path: Path) -> None:
    made = Invitations(tmp_path).invite("sat", "feature", "127.0.0.1:1", "ab" * 32, SOON)
    path = tmp_path / "invitations.json"
    text = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert made.secret.hex() not in text
    assert "PRIVATE" not in text
    assert [one.name for one in Invitations(tmp_path).open(datetime.now(UTC))] == ["sat"]
    assert Invitations(tmp_path).open(datetime.now(UTC) + SOON * 2) == ()


def test_a_party_joins_with_encrypted_keys_and_attaches(hub: Hub, tmp_path: Path) -> None:
    home = tmp_path / "sat"
    identity, roster = join(hub.invite("sat"), home, "127.0.0.1:1", passphrase=SECRET.encode())
    assert InvitedRoles(hub.home).all() == {"sat": "feature"}, "its role is known before its node starts"
    assert set(roster) == {COORDINATOR, "sat"}, "the admin is nobody a party deals with"
    assert b"ENCRYPTED" in (home / "keys" / "identity.key").read_bytes()
    assert (home / "keys" / "tls.key").read_bytes() != identity.tls_key
    assert home.stat().st_mode & 0o777 == 0o700
    assert hub.members() == {"sat"}
    heard = []
    with CoordinatorLine("sat", home, introduction=IntroductionBody(role="feature", columns=("a", "b"))) as line:
        assert line.wait_attached(10)
        heard.append(next(line.commands()))
        engine = hub.running.desk.engine
        until(lambda: engine.attachments(["sat"])["sat"].introduction is not None)
    assert heard[0].kind == "roster"
    assert set(heard[0].body.members) == {COORDINATOR, "sat"}


def test_a_token_is_good_once_and_only_for_its_name_role_and_time(hub: Hub, tmp_path: Path) -> None:
    used = hub.invite("sat")
    join(used, tmp_path / "sat", "127.0.0.1:1", passphrase=SECRET.encode())
    with pytest.raises(AgreementError, match="does not take this invitation"):
        join(used, tmp_path / "again", "127.0.0.1:1", passphrase=SECRET.encode())
    assert run(["invite", "sat", "--home", str(hub.home)]) == ConfigError.exit_code, "a member needs no invitation"
    first = hub.invite("card")
    hub.invite("card")
    with pytest.raises(AgreementError, match="does not take this invitation"):
        join(first, tmp_path / "card", "127.0.0.1:1", passphrase=SECRET.encode())
    with pytest.raises(ConfigError, match="this invitation ended"):
        join(hub.invite("late", valid=timedelta(seconds=-1)), tmp_path / "late", "127.0.0.1:1")
    assert hub.members() == {"sat"}


def ask(hub: Hub, invited: Token, request: JoinRequest) -> None:
    coordinator = Roster.load(hub.home / "roster.json")[COORDINATOR]
    line = Connection.between(invited.identity(), coordinator)
    try:
        line.call("Join", wire.Document(json=request.model_dump_json().encode()), wire.Document, timeout=10)
    finally:
        line.close()


def test_an_invited_party_can_be_nobody_else_and_do_nothing_else(hub: Hub, tmp_path: Path) -> None:
    invited = hub.invite("sat")
    mine, other = create_identity("sat", tmp_path / "a"), create_identity("card", tmp_path / "b")
    member = mine.member("127.0.0.1:1")
    with pytest.raises(AgreementError, match="not sealed with the invitation"):
        ask(hub, invited, JoinRequest.made(bytes(32), "sat", "feature", member))
    with pytest.raises(AgreementError, match="invitation is for 'sat' as feature"):
        ask(hub, invited, JoinRequest.made(invited.mac_key(), "sat", "label", member))
    with pytest.raises(AgreementError, match="invitation is for 'sat'"):
        ask(hub, invited, JoinRequest.made(invited.mac_key(), "card", "feature", other.member("127.0.0.1:1")))
    stolen = member.model_copy(update={"identity_key": other.public_key})
    with pytest.raises(AgreementError, match="not signed by the identity key"):
        ask(hub, invited, JoinRequest.made(invited.mac_key(), "sat", "feature", stolen))
    line = Connection.between(invited.identity(), Roster.load(hub.home / "roster.json")[COORDINATOR])
    with pytest.raises(EntenteError, match="do not accept each other"):
        list(line.stream("Read", wire.Query(view="runs"), wire.Chunk, timeout=10))
    line.close()
    assert hub.members() == set()
    ask(hub, invited, JoinRequest.made(invited.mac_key(), "sat", "feature", member))
    assert hub.members() == {"sat"}, "a refused request does not use the invitation up"


def test_a_server_with_another_certificate_gets_nothing(hub: Hub, tmp_path: Path) -> None:
    announced = hub.invite("sat")
    pem = fetch_certificate(hub.address, announced.fingerprint)
    assert hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.decode())).hexdigest() == announced.fingerprint
    wrong = Token("sat", "feature", hub.address, "00" * 32, announced.secret, announced.expires)
    with pytest.raises(PeerError, match="does not show the certificate that was announced"):
        join(wrong, tmp_path / "sat", "127.0.0.1:1", passphrase=SECRET.encode())
    assert not (tmp_path / "sat" / "keys").exists()
    with pytest.raises(PeerError, match="nobody can be reached"):
        fetch_certificate(f"127.0.0.1:{free_port()}", "00" * 32, timeout=2)


def test_an_answer_without_the_secret_is_refused(tmp_path: Path) -> None:
    members = {COORDINATOR: create_identity(COORDINATOR, tmp_path / "c").member("127.0.0.1:1")}
    JoinAnswer.made(bytes(32), members).check(bytes(32))
    with pytest.raises(PeerError, match="not sealed"):
        JoinAnswer.made(b"x" * 32, members).check(bytes(32))


def test_a_renewed_certificate_replaces_the_old_one_and_a_revoked_member_is_out(hub: Hub, tmp_path: Path) -> None:
    home = tmp_path / "sat"
    old, _ = join(hub.invite("sat"), home, "127.0.0.1:1", passphrase=SECRET.encode())
    new = rotate("sat", home, "")
    assert new.public_key == old.public_key
    assert new.certificate_sha256 != old.certificate_sha256
    assert load_identity("sat", home / "keys").certificate_sha256 == new.certificate_sha256
    assert b"ENCRYPTED" in (home / "keys" / "tls.key").read_bytes()
    coordinator = Roster.load(home / "roster.json")[COORDINATOR]
    assert attaches(new, coordinator)
    assert not attaches(old, coordinator)
    assert run(["coordinator", "revoke", "sat", "--home", str(hub.home), "--yes"]) == 0
    until(lambda: not attaches(new, coordinator))
    with pytest.raises(ConfigError, match="nothing to revoke"):
        revoke(hub.home, "sat")
    with pytest.raises(ConfigError, match="cannot revoke itself"):
        revoke(hub.home, COORDINATOR)


def attaches(identity: Identity, coordinator: Member) -> bool:
    line = Connection.between(identity, coordinator)
    try:
        stream = line.stream("Attach", wire.AttachRequest(version="0", session="s"), wire.Command, timeout=10)
        next(stream)
        stream.cancel()
        return True
    except EntenteError:
        return False
    finally:
        line.close()


def test_the_coordinators_successor_is_recognised_and_nobody_else_is(hub: Hub, tmp_path: Path) -> None:
    home = tmp_path / "sat"
    join(hub.invite("sat"), home, "127.0.0.1:1", passphrase=SECRET.encode())
    known = Roster.load(home / "roster.json")[COORDINATOR]
    assert not adopt_successor(home), "it shows the certificate that is known"
    with CoordinatorLine("sat", home) as line:
        assert line.wait_attached(10)
        assert run(["coordinator", "rotate", "--home", str(hub.home)]) == 0
        hub.running.stop()
        with Coordinator(hub.home) as again:
            engine = again.desk.engine
            until(lambda: engine.attachments(["sat"])["sat"].attached)
            credentials = str(hub.home / "admin")
            assert run(["run", "list", "--credentials", credentials]) == 0, "the admin recognises it too"
    renewed = Roster.load(home / "roster.json")[COORDINATOR]
    assert renewed.certificate_sha256 != known.certificate_sha256
    assert renewed.identity_key == known.identity_key
    new = load_identity(COORDINATOR, hub.home / "keys").certificate
    assert succeeds(COORDINATOR, known, new)
    assert not succeeds("sat", known, new), "made for another name"
    assert not succeeds(COORDINATOR, renewed, known.certificate.encode()), "an older one is no successor"
    impostor = create_identity(COORDINATOR, tmp_path / "impostor", now=datetime.now(UTC) + timedelta(hours=1))
    assert not succeeds(COORDINATOR, known, impostor.certificate)
    assert not succeeds(COORDINATOR, known, b"nothing")


def test_a_node_follows_the_roster_but_lets_nobody_take_a_place(tmp_path: Path) -> None:
    ids = {name: create_identity(name, tmp_path / name) for name in (COORDINATOR, "me", "a", "b", "c")}
    known = {name: ids[name].member("127.0.0.1:1") for name in (COORDINATOR, "me", "a")}
    assert followed("me", known, known) == known
    b, moved = ids["b"].member("127.0.0.1:2"), ids["a"].member("127.0.0.1:9")
    assert followed("me", known, {**known, "b": b})["b"] == b
    assert followed("me", known, {**known, "a": moved})["a"] == moved
    assert set(followed("me", known, {})) == {"me", COORDINATOR}
    impostor = create_identity("a", tmp_path / "impostor").member("127.0.0.1:1")
    assert followed("me", known, {**known, "a": impostor})["a"] == known["a"]
    unsigned = moved.model_copy(update={"endorsement": ""})
    assert followed("me", known, {**known, "a": unsigned})["a"] == known["a"]
    assert "b" not in followed("me", known, {**known, "b": b.model_copy(update={"address": "127.0.0.1:3"})})
    borrowed = ids["a"].member("127.0.0.1:1")
    assert "c" not in followed("me", known, {**known, "c": borrowed}), "signed for another name"


def test_certificates_near_their_end_are_told(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    members = {
        name: create_identity(name, tmp_path / name, validity=timedelta(days=days)).member("127.0.0.1:1")
        for name, days in (("fresh", 100), ("soon", 29))
    }
    [told] = expiry_warnings(members, now)
    assert "soon ends on" in told
    assert "29 days" in told or "28 days" in told
    assert told.endswith("its operator runs `entente party rotate --home soon`, and starts the node again")
    over = expiry_warnings(members, now + timedelta(days=40))[0]
    assert "ended on" in over, "and nobody lets it in to renew it"
    assert "`entente coordinator revoke soon --home COORDINATOR`, then `entente invite soon" in over
    coordinator = expiry_warnings({COORDINATOR: members["soon"]}, now + timedelta(days=40))[0]
    assert "run `entente coordinator rotate --home COORDINATOR`, and start it again" in coordinator


def test_keys_open_with_the_right_key_file_only(tmp_path: Path, key_file: Path) -> None:
    create_identity("sat", tmp_path / "keys", passphrase=read_key_file(key_file))
    assert load_identity("sat", tmp_path / "keys").name == "sat"
    passphrase_for.cache_clear()
    key_file.write_text("another long secret here")
    with pytest.raises(ConfigError, match="does not open this key"):
        load_identity("sat", tmp_path / "keys")
    key_file.write_text("short")
    with pytest.raises(ConfigError, match="fewer than 12"):
        read_key_file(key_file)
    key_file.chmod(0o644)
    with pytest.raises(ConfigError, match="other users can read"):
        read_key_file(key_file)


def test_without_a_key_file_or_terminal_keys_stay_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_FILE, raising=False)
    create_identity("sat", tmp_path / "keys", passphrase=SECRET.encode())
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(ConfigError, match="these keys are encrypted"):
        load_identity("sat", tmp_path / "keys")


def test_the_command_line_joins_and_lists(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    assert run(["invite", "sat", "--home", str(hub.home), "--valid", "10m", "--file", str(file)]) == 0
    assert file.stat().st_mode & 0o777 == 0o600
    home = tmp_path / "sat"
    assert run(["party", "join", str(file), "--home", str(home), "--listen", "127.0.0.1:7999"]) == 0
    assert "sat has joined as feature party" in capsys.readouterr().out
    assert 'name = "sat"' in (home / "node.toml").read_text()
    assert run(["coordinator", "roster", "--home", str(hub.home)]) == 0
    assert "127.0.0.1:7999" in capsys.readouterr().out
    assert json.loads((hub.home / "invitations.json").read_text()) == []
    card = tmp_path / "card"
    monkeypatch.setattr("sys.stdin", io.StringIO(hub.invite("card").encode() + "\n"))
    everywhere = ["party", "join", "-", "--home", str(card), "--listen", "0.0.0.0:7998"]
    assert run(everywhere) == 2
    assert "nobody can call 0.0.0.0:7998" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", io.StringIO(hub.invite("card").encode() + "\n"))
    assert run([*everywhere, "--address", "card.example:443"]) == 0
    assert Roster.load(card / "roster.json")["card"].address == "card.example:443"
    assert 'listen = "0.0.0.0:7998"' in (card / "node.toml").read_text()
    assert run(["party", "join", "entente1-nonsense", "--home", str(home), "--listen", "127.0.0.1:1"]) == 2
    assert run(["party", "join", str(file), "--home", str(tmp_path / "x"), "--listen", "nowhere"]) == 2
    assert run(["invite", "Bad Name", "--home", str(hub.home)]) == 2
    assert run(["invite", "x", "--home", str(hub.home), "--valid", "2y"]) == 2
