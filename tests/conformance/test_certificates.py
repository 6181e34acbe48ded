"""Wrong, expired and revoked certificates, shown by a party, the admin and the coordinator: each is a named stop."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest

from parties.client import Client
from parties.coordinator.membership import revoke
from parties.coordinator.service import Coordinator
from parties.errors import ConfigError, EntenteError, PeerError
from parties.members.keys import Identity, create_identity
from parties.members.roster import Roster
from parties.names import ADMIN, COORDINATOR
from parties.node.coordinator_line import CoordinatorLine
from parties.settings.consortium import TransportSettings
from parties.transport.grpc import ExchangeServer, connect
from parties.transport.to_coordinator import SERVICE, Connection
from parties.wire.gen import coordinator_pb2 as wire
from psi.flow import Payload, Recv
from tests.conformance.rigs import ROLES, RUN, SESSION, Note, RelayWorld
from tests.parties.coordinator_rig import PARTIES, Consortium, FakeNode, wait_for_status, wait_until

PAST = datetime.now(UTC) - timedelta(days=30)
WEEK = timedelta(days=7)
MEMBERS = ("sat", ADMIN)
REFUSED = (
    r"do not accept each other: check that both rosters hold the other's present certificate|"
    r"closed the connection: it is stopping, or its roster lacks this member's present certificate"
)


@pytest.fixture
def consortium(tmp_path: Path) -> Consortium:
    return Consortium(tmp_path)


@pytest.fixture
def running(consortium: Consortium) -> Iterator[Coordinator]:
    with consortium.coordinator() as coordinator:
        yield coordinator


def ask(identity: Identity, consortium: Consortium) -> None:
    """The first thing that a party's node, or the admin's client, does."""
    coordinator = Roster.load(consortium.home("bank") / "roster.json").member(COORDINATOR)
    line = Connection.between(identity, coordinator)
    try:
        if identity.name == ADMIN:
            list(line.stream("Read", wire.Query(view="ledger"), wire.Chunk, timeout=10))
        else:
            next(line.stream("Attach", wire.AttachRequest(version="0", session="s"), wire.Command, timeout=10))
    finally:
        line.close()


@pytest.mark.parametrize("name", MEMBERS)
def test_a_members_own_certificate_is_taken(consortium: Consortium, running: Coordinator, name: str) -> None:
    ask(consortium.identities[name], consortium)


@pytest.mark.parametrize("name", MEMBERS)
def test_a_members_wrong_certificate_is_refused(
    consortium: Consortium, running: Coordinator, tmp_path: Path, name: str
) -> None:
    wrong = create_identity(name, tmp_path / "wrong")
    with pytest.raises((ConfigError, PeerError), match=REFUSED):
        ask(wrong, consortium)


@pytest.mark.parametrize("name", MEMBERS)
def test_a_members_certificate_is_worth_nothing_under_another_name(
    consortium: Consortium, running: Coordinator, name: str
) -> None:
    """A party cannot read as the admin does, nor the admin attach as a party."""
    own = consortium.identities[name]
    other = ADMIN if name != ADMIN else "sat"
    with pytest.raises(EntenteError, match=rf"{name} (is signed in as operator, and this takes admin|is no party)"):
        ask(Identity(other, own.key, own.tls_key, own.certificate), consortium)


@pytest.mark.parametrize("name", MEMBERS)
def test_a_members_expired_certificate_is_refused_at_both_ends(tmp_path: Path, name: str) -> None:
    consortium = Consortium(tmp_path)
    shutil.rmtree(consortium.home(name) / "keys")
    old = create_identity(name, consortium.home(name) / "keys", now=PAST, validity=WEEK)
    consortium.identities[name] = old
    consortium.write_rosters("127.0.0.1:1")
    with consortium.coordinator():
        with pytest.raises(ConfigError, match=f"the certificate of '{name}' itself ended on .* join again"):
            ask(old, consortium)
        seen = Roster.load(consortium.home("bank") / "roster.json")
        with connect(old, seen, COORDINATOR) as line:  # a program that does not look at its own date
            call = line.unary_unary(f"/{SERVICE}/Hello", request_serializer=wire.Document.SerializeToString)
            with pytest.raises(grpc.RpcError) as caught:
                call(wire.Document(), timeout=10)
        assert caught.value.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNAVAILABLE)  # type: ignore[attr-defined]
        if name != ADMIN:
            return
        with pytest.raises(ConfigError, match="the certificate of 'admin' itself ended"):
            Client("", consortium.home(ADMIN))


@pytest.mark.parametrize("name", MEMBERS)
def test_a_revoked_members_certificate_is_refused_at_once(
    consortium: Consortium, running: Coordinator, name: str
) -> None:
    ask(consortium.identities[name], consortium)
    revoke(consortium.home(COORDINATOR), name)

    def refused() -> bool:
        try:
            ask(consortium.identities[name], consortium)
        except (ConfigError, PeerError):
            return True
        return False

    wait_until(refused, "the revocation")
    with pytest.raises((ConfigError, PeerError), match=REFUSED):
        ask(consortium.identities[name], consortium)


def test_a_party_revoked_in_a_run_ends_it_by_name(consortium: Consortium, running: Coordinator) -> None:
    with ExitStack() as stack:
        client = stack.enter_context(consortium.client())
        parties = {n: stack.enter_context(FakeNode(consortium, n, lambda node, command: True)) for n in PARTIES}
        run_id = client.propose(consortium.agreement())
        revoke(consortium.home(COORDINATOR), "sat")
        view = wait_for_status(client, run_id, "aborted")
        assert view.reason.endswith("sat is no longer a member")
        for name in ("bank", "card"):
            wait_until(lambda name=name: bool(parties[name].told("abort")), f"the end at {name}")  # type: ignore[misc]
            assert "sat is no longer a member" in parties[name].told("abort")[0].body.reason


def meets(consortium: Consortium, coordinator: Identity, address: str) -> None:
    """Let the party's and the admin's rosters name ``coordinator`` at ``address``."""
    for name in MEMBERS:
        path = consortium.home(name) / "roster.json"
        Roster({**Roster.load(path), COORDINATOR: coordinator.member(address)}).save(path)


@pytest.mark.parametrize("fault", ["wrong", "revoked"])
def test_a_coordinator_that_shows_another_certificate_is_told_nothing(
    consortium: Consortium, running: Coordinator, tmp_path: Path, fault: str
) -> None:
    """Wrong: somebody else's. Revoked: members were given a new one, and the old machine answers still."""
    expected = create_identity(COORDINATOR, tmp_path / "expected")
    meets(consortium, expected, running.address)
    with pytest.raises(ConfigError, match="do not accept each other"), Client("", consortium.home(ADMIN)) as client:
        client.runs()
    line = CoordinatorLine("sat", consortium.home("sat"))
    with line, pytest.raises(ConfigError, match="do not accept each other"):
        next(line.commands())
    assert not running.desk.engine.attachments(["sat"])["sat"].attached
    if fault == "revoked":
        meets(consortium, consortium.identities[COORDINATOR], running.address)
        ask(consortium.identities["sat"], consortium)


def test_a_coordinators_expired_certificate_is_named_before_anything_is_sent(tmp_path: Path) -> None:
    consortium = Consortium(tmp_path)
    shutil.rmtree(consortium.home(COORDINATOR) / "keys")
    old = create_identity(COORDINATOR, consortium.home(COORDINATOR) / "keys", now=PAST, validity=WEEK)
    consortium.identities[COORDINATOR] = old
    consortium.write_rosters("127.0.0.1:1")
    with consortium.coordinator():
        with pytest.raises(PeerError, match="the certificate of 'coordinator' is not valid today"):
            Client("", consortium.home(ADMIN))
        with pytest.raises(PeerError, match="the certificate of 'coordinator' is not valid today"):
            CoordinatorLine("sat", consortium.home("sat"))


SETTINGS = TransportSettings(contact_seconds=5, reconnect_seconds=1, silence_seconds=20)


@pytest.mark.parametrize("fault", ["wrong", "expired", "revoked"])
def test_a_partys_certificate_is_held_to_the_roster_through_the_coordinator_too(tmp_path: Path, fault: str) -> None:
    with ExitStack() as stack:
        net = RelayWorld(SETTINGS, stack, tmp_path)
        known = dict(net.roster)
        if fault == "revoked":
            net.servers["cards"]._roster = Roster({n: m for n, m in known.items() if n != "label"})
        else:
            validity = {"now": PAST, "validity": WEEK} if fault == "expired" else {}
            other = create_identity("cards", tmp_path / "other", **validity)  # type: ignore[arg-type]
            net.servers["label"]._roster = Roster({**known, "cards": other.member("127.0.0.1:1")})
        if fault == "expired":
            with pytest.raises(PeerError, match="the certificate of 'cards' is not valid today"):
                net.open("label")
            return
        told = {
            "wrong": "'cards' does not show the certificate that our roster names",
            "revoked": "'cards' does not accept our certificate: compare its roster with ours",
        }
        label = net.open("label")
        with pytest.raises(PeerError, match=told[fault]) as caught:
            label.receive([Recv("cards", Note)], 20)
        assert caught.value.peer == "cards"


def test_a_nodes_server_takes_no_certificate_that_ended(tmp_path: Path) -> None:
    """As in the channel suite, but the certificate ends while its owner is connected to nobody."""
    with ExitStack() as stack:
        label = create_identity("label", tmp_path / "label", now=PAST, validity=timedelta(days=31))
        cards = create_identity("cards", tmp_path / "cards", now=PAST, validity=WEEK)
        roster = Roster({"label": label.member("127.0.0.1:1"), "cards": cards.member("127.0.0.1:2")})
        server = stack.enter_context(ExchangeServer(label, roster, "127.0.0.1:0", settings=SETTINGS))
        roles = {name: ROLES[name] for name in ("label", "cards")}
        with pytest.raises(PeerError, match="the certificate of 'cards' is not valid today") as caught:
            server.open(RUN, SESSION, roles, frozenset(Payload))
        assert caught.value.peer == "cards"
