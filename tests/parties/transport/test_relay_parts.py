"""The relay's parts: who may call whom, what is bounded, which way is chosen, and what the operator is told."""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

from parties.client import ADMIN
from parties.coordinator.relaying import OwnDoor, relay_handler
from parties.errors import PeerError
from parties.names import COORDINATOR
from parties.settings.consortium import TransportSettings
from parties.transport import switchboard
from parties.transport.grpc import ExchangeServer, connect
from parties.transport.relay import SERVICE, CoordinatorDoor
from parties.transport.routes import Routes
from parties.transport.switchboard import LARGEST_PARCEL, End, Pace, Switchboard
from parties.transport.tunnel import Tunnel
from parties.wire.gen import relay_pb2 as wire
from psi.flow import Recv
from tests.conformance.rigs import Note, RelayWorld, make_roster
from tests.parties.demo_rig import until


def connected(board: Switchboard, caller: str = "a", to: str = "b") -> tuple[End, End]:
    """Both ends of a new connection; ``to`` must not listen already."""
    rings = board.listen(to)
    with ThreadPoolExecutor() as pool:
        dialled: Future[End] = pool.submit(board.dial, caller, to)
        ring = next(iter(rings))
        assert ring.caller == caller
        answered = board.answer(to, ring.ticket)
        return dialled.result(10), answered


def everybody(caller: str, to: str) -> str:
    return ""


def test_bytes_pass_both_ways_in_order_and_are_counted() -> None:
    board = Switchboard(everybody)
    near, far = connected(board)
    assert near.send(b"one")
    assert near.send(b"two")
    assert far.send(b"back")
    assert [far.receive(), far.receive(), near.receive()] == [b"one", b"two", b"back"]
    near.close()
    assert far.receive() == b""
    assert not far.send(b"late")
    assert board.passed() == {("a", "b"): 6, ("b", "a"): 8}
    assert board.passed() == {}
    assert board.totals() == {("a", "b"): 6, ("b", "a"): 8}


def test_who_may_not_call_or_is_not_there_is_refused_with_the_reason() -> None:
    board = Switchboard(lambda caller, to: "" if {caller, to} == {"a", "b"} else "no run under way has both of them")
    with pytest.raises(PeerError, match="does not relay to 'c': no run under way has both"):
        board.dial("a", "c")
    with pytest.raises(PeerError, match="'b' takes no relayed connections"):
        board.dial("a", "b")
    board.listen("b")
    with pytest.raises(PeerError, match="'b' takes no relayed connections"):
        board.dial("a", "b", patience=0.05)


def test_a_ticket_is_good_once_and_for_the_one_who_was_called() -> None:
    board = Switchboard(everybody)
    rings = iter(board.listen("b"))
    with ThreadPoolExecutor() as pool:
        dialled = pool.submit(board.dial, "a", "b")
        ring = next(rings)
        for name, ticket in (("c", ring.ticket), ("b", "0" * 32), ("b", "")):
            with pytest.raises(PeerError, match="nobody calls with this ticket"):
                board.answer(name, ticket)
        board.answer("b", ring.ticket)
        dialled.result(10)
    with pytest.raises(PeerError, match="nobody calls with this ticket"):
        board.answer("b", ring.ticket)


def test_a_connection_ends_when_its_run_does() -> None:
    running = True
    board = Switchboard(lambda caller, to: "" if running else "no run under way has both of them")
    near, far = connected(board)
    board.sweep()
    assert near.send(b"still")
    running = False
    board.sweep()
    assert far.receive() == b"still"
    assert far.receive() == b""
    assert not near.send(b"more")


def test_a_sender_cannot_fill_the_coordinators_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = threading.Event()

    class Watched(threading.Condition):
        """Tells when the sender has begun to wait."""

        def wait(self, timeout: float | None = None) -> bool:
            if threading.current_thread().name == "flood":
                stopped.set()
            return super().wait(timeout)

    monkeypatch.setattr(switchboard, "threading", SimpleNamespace(**{**vars(threading), "Condition": Watched}))
    board = Switchboard(everybody)
    near, far = connected(board)
    sent: list[int] = []

    def flood() -> None:
        while near.send(bytes(LARGEST_PARCEL)):
            sent.append(1)

    flooding = threading.Thread(target=flood, name="flood", daemon=True)
    flooding.start()
    assert stopped.wait(30), "a full pipe"
    assert len(sent) == 4, "a mebibyte, and the sender waits"
    assert len(far.receive()) == LARGEST_PARCEL
    until(lambda: len(sent) == 5, "room")
    far.close()
    flooding.join(10)
    assert not flooding.is_alive()
    near, far = connected(board)
    assert not near.send(bytes(LARGEST_PARCEL + 1)), "too large a piece ends the connection"
    assert far.receive() == b""


def test_a_pair_holds_few_connections_and_the_oldest_goes_first() -> None:
    board = Switchboard(everybody)
    pairs = [connected(board) for _ in range(5)]
    assert not pairs[0][0].send(b"x")
    assert all(near.send(b"x") for near, _ in pairs[1:])
    board.close()
    assert not any(near.send(b"x") for near, _ in pairs)
    with pytest.raises(PeerError):
        board.dial("a", "b", patience=0.05)


def test_a_new_listener_takes_the_old_ones_place() -> None:
    board = Switchboard(everybody)
    old = board.listen("b")
    board.listen("b")
    assert list(old) == []
    near, _ = connected(board)
    assert near.send(b"x")


def test_bytes_beyond_the_agreed_pace_wait() -> None:
    now = 100.0
    pace = Pace(1000, clock=lambda: now)
    waits = [pace.wait_for("a", 250) for _ in range(4)]
    assert waits == [0.0, 0.0, 0.0, 0.25], "half a second's bytes at once, then as they come"
    assert pace.wait_for("b", 250) == 0.0, "each member has its own"
    now += 10
    assert pace.wait_for("a", 250) == 0.0
    assert Pace(0).wait_for("a", 10**12) == 0.0


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def routes(reachable: Callable[[str], bool], clock: Clock, policy: str = "when_unreachable") -> Routes:
    return Routes(policy, reachable=reachable, clock=clock)  # type: ignore[arg-type]


def test_the_direct_way_is_taken_wherever_it_is_open(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    found = routes(lambda address: True, clock)
    assert found.choose("b", "b:1", 0.0) == "direct"
    found.reached("b", "b:1", "direct")
    assert found.relayed() == ()
    assert not caplog.records, "nothing to tell"


def test_a_peer_that_cannot_be_reached_is_relayed_and_the_operator_is_told(caplog: pytest.LogCaptureFixture) -> None:
    clock, is_open = Clock(), False
    found = routes(lambda address: is_open, clock)
    assert found.choose("b", "b:1", 0.0) is None, "it may be about to start"
    assert found.choose("b", "b:1", 3.0) == "relay"
    with caplog.at_level(logging.INFO):
        found.reached("b", "b:1", "relay")
        found.reached("b", "b:1", "relay")
    assert [r.message for r in caplog.records] == [
        "relay: b cannot be reached at b:1: its messages travel through the coordinator, encrypted end to end"
    ]
    assert found.relayed() == ("b",)
    is_open = True
    assert found.choose("b", "b:1", 0.0) == "relay", "not looked at for each session"
    clock.now += 121
    assert found.choose("b", "b:1", 0.0) == "direct"
    with caplog.at_level(logging.INFO):
        found.reached("b", "b:1", "direct")
    assert caplog.records[-1].message == "relay: b can be reached at b:1 again"
    assert found.relayed() == ()


def test_ways_take_turns_where_connections_open_and_lead_nowhere() -> None:
    clock = Clock()
    found = routes(lambda address: True, clock)
    chosen = []
    for _ in range(10):
        chosen.append(found.choose("b", "b:1", max(clock.now, 0.1)))
        clock.now += 1
    assert chosen == ["direct"] * 5 + ["relay", "direct", "relay", "direct", "relay"]


@pytest.mark.parametrize(("policy", "way"), [("never", "direct"), ("always", "relay")])
def test_the_operators_word_is_final(policy: str, way: str) -> None:
    found = routes(lambda address: pytest.fail("nothing to look at"), Clock(), policy)
    assert found.choose("b", "b:1", 0.0) == way
    assert found.choose("b", "b:1", 100.0) == way


SETTINGS = TransportSettings(contact_seconds=3, reconnect_seconds=1, silence_seconds=20)


def test_when_unreachable_two_nodes_meet_at_the_coordinator(tmp_path: Path) -> None:
    with ExitStack() as stack:
        net = RelayWorld(SETTINGS, stack, tmp_path, relay="when_unreachable")
        label, cards = net.open("label"), net.open("cards")
        label.send("cards", Note(1, "over there"))
        assert cards.receive([Recv("label", Note)], 20) == (0, Note(1, "over there"))
        assert net.servers["label"].routes.relayed() != ()


def test_a_node_that_will_not_be_relayed_is_not(tmp_path: Path) -> None:
    with ExitStack() as stack:
        net = RelayWorld(SETTINGS, stack, tmp_path, relay="never")
        label = net.open("label")
        net.open("cards")
        with pytest.raises(PeerError, match="'cards' cannot be reached: see whether its node is running"):
            label.receive([Recv("cards", Note)], 20)
        assert net.board.totals() == {}


def test_a_connection_that_is_refused_says_why(tmp_path: Path) -> None:
    board = Switchboard(lambda caller, to: "no run under way has both of them")
    with ExitStack() as stack:
        net = RelayWorld(SETTINGS, stack, tmp_path, board)
        label = net.open("label")
        reason = r"\(through the coordinator: the coordinator does not relay to 'cards': no run under way has both"
        with pytest.raises(PeerError, match=reason):
            label.receive([Recv("cards", Note)], 20)


def test_a_member_cannot_hold_the_coordinators_calls(tmp_path: Path) -> None:
    """A call that never says whom it is for counts too."""
    with ExitStack() as stack:
        net = RelayWorld(SETTINGS, stack, tmp_path)
        line = stack.enter_context(connect(net.identities["cards"], net.roster, COORDINATOR))
        carry = line.stream_stream(
            f"/{SERVICE}/Carry",
            request_serializer=wire.Parcel.SerializeToString,
            response_deserializer=wire.Parcel.FromString,
        )
        silence: queue.SimpleQueue[wire.Parcel | None] = queue.SimpleQueue()
        calls = [carry(iter(silence.get, None)) for _ in range(97)]
        refused: queue.SimpleQueue[str] = queue.SimpleQueue()
        for call in calls:
            call.add_done_callback(lambda call: refused.put(call.details()))
        assert refused.get(timeout=10) == "'cards' holds 96 relayed connections already"
        label, skies = net.open("label"), net.open("skies")
        label.send("skies", Note(1, "unhindered"))
        assert skies.receive([Recv("label", Note)], 10) == (0, Note(1, "unhindered"))
        for call in calls:
            call.cancel()
            silence.put(None)


def test_sockets_that_a_killed_process_left_go_and_those_in_use_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    door = OwnDoor(Switchboard(everybody))
    used = Tunnel(door)
    killed = tmp_path / "entente-relay-killed"
    fresh = tmp_path / "entente-relay-fresh"
    for folder in (killed, fresh):
        folder.mkdir()
        (folder / "in-use").touch()
    old = time.time() - 3600
    for folder in (killed, used._folder):
        os.utime(folder, (old, old))
    assert used._folder.stat().st_mode & 0o077 == 0
    other = Tunnel(door)
    assert sorted(tmp_path.iterdir()) == sorted([used._folder, other._folder, fresh])
    used.close()
    other.close()
    assert sorted(tmp_path.iterdir()) == [fresh]


def test_an_admins_certificate_opens_no_relay(tmp_path: Path) -> None:
    identities, roster = make_roster(tmp_path, [COORDINATOR, ADMIN])
    services = [relay_handler(Switchboard(everybody), roster)]
    with ExchangeServer(identities[COORDINATOR], roster, roster[COORDINATOR].address, services=services):
        door = CoordinatorDoor(identities[ADMIN], roster)
        with pytest.raises(PeerError, match="only a party's own certificate may use the relay"):
            door.dial("b", iter(()))
        door.close()
    with ExchangeServer(identities[COORDINATOR], roster, roster[COORDINATOR].address):
        door = CoordinatorDoor(identities[ADMIN], roster)
        with pytest.raises(PeerError, match="this coordinator does not relay"):
            door.dial("b", iter(()))
        door.close()
