"""A coordinator that relays and does what it likes with the bytes: it learns sizes and times, and can stop runs."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from parties.coordinator.relaying import OwnDoor
from parties.errors import PeerError
from parties.names import COORDINATOR
from parties.settings.consortium import TransportSettings
from parties.transport.chunks import wire_frames
from parties.transport.switchboard import End, Switchboard
from parties.transport.tunnel import Tunnel
from psi.flow import Recv
from tests.conformance.rigs import Blob, Note, RelayWorld, call_raw, conversation, frame

SETTINGS = TransportSettings(contact_seconds=8, reconnect_seconds=4, silence_seconds=20)
NOTE, BLOB = Recv("label", Note), Recv("label", Blob)
SECRET = b"the sum of all embeddings"
HANDSHAKE = 6000

Meddle = Callable[[bytes], list[bytes] | None]
"""What becomes of a piece on its way from caller to callee; None ends the connection."""


class MeddlingEnd:
    """A caller's end whose pieces are passed through ``meddle`` once the handshake is through."""

    def __init__(self, end: End, meddle: Meddle) -> None:
        self._end = end
        self._meddle = meddle
        self._seen = 0
        self.receive = end.receive
        self.close = end.close

    def send(self, data: bytes) -> bool:
        self._seen += len(data)
        pieces = self._meddle(data) if self._seen > HANDSHAKE else [data]
        if pieces is None:
            self.close()
            return False
        return all(self._end.send(piece) for piece in pieces)


class HostileBoard(Switchboard):
    """A switchboard that keeps everything it passes, and meddles with what ``caller`` sends to cards."""

    def __init__(self, make: Callable[[], Meddle] = lambda: lambda data: [data], caller: str = "label") -> None:
        super().__init__(lambda caller, to: "")
        self.kept: list[tuple[str, str, bytes]] = []
        self.dialled = 0
        self._make = make
        self._caller = caller

    def dial(self, caller: str, to: str, patience: float = 10.0) -> Any:
        end = super().dial(caller, to, patience)
        self.dialled += (caller, to) == (self._caller, "cards")
        inner = self._make() if (caller, to) == (self._caller, "cards") else lambda data: [data]

        wrapped = MeddlingEnd(end, inner)
        plain_send, plain_receive = wrapped.send, end.receive

        def send(data: bytes) -> bool:
            self.kept.append((caller, to, data))
            return plain_send(data)

        def receive() -> bytes:
            data = plain_receive()
            self.kept.append((to, caller, data))
            return data

        wrapped.send, wrapped.receive = send, receive  # type: ignore[method-assign]
        return wrapped


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def test_the_coordinator_reads_nothing(tmp_path: Path, stack: ExitStack) -> None:
    board = HostileBoard()
    net = RelayWorld(SETTINGS, stack, tmp_path, board)
    label, cards = net.open("label"), net.open("cards")
    said = [frame("label", 0, Note(7, SECRET.decode())), frame("label", 1, Blob(SECRET * 1000))]
    label.send("cards", Note(7, SECRET.decode()))
    label.send("cards", Blob(SECRET * 1000))
    assert cards.receive([NOTE], 10) == (0, Note(7, SECRET.decode()))
    assert cards.receive([BLOB], 10) == (0, Blob(SECRET * 1000))
    told = b"".join(data for _, _, data in board.kept)
    needles = [SECRET, b"test.note", b"train-1", said[0].run_id.encode(), b"Exchange/Deliver"]
    needles += [
        ssl.PEM_cert_to_DER_cert(net.identities[name].certificate.decode())[90:150] for name in ("label", "cards")
    ]
    inside = b"".join(one.SerializeToString() for item in said for one in wire_frames(item))
    assert all(needle in inside for needle in needles[:4]), "what the defence hides is there without it"
    assert not [needle for needle in needles if needle in told]
    hellos = [data for _, _, data in board.kept if data[:3] == b"\x16\x03\x03" and data[5] == 2]
    assert hellos
    assert all(b"\x00\x2b\x00\x02\x03\x04" in hello for hello in hellos), "all agreed on TLS 1.3"


def once(change: Callable[[list[bytes]], list[bytes] | None], count: int = 1) -> tuple[Callable[[], Meddle], list[int]]:
    """Meddle with one piece, or ``count`` that follow each other, of the first connection only."""
    done: list[int] = []

    def make() -> Meddle:
        held: list[bytes] = []

        def meddle(data: bytes) -> list[bytes] | None:
            if done:
                return [data]
            held.append(data)
            if len(held) < count:
                return []
            done.append(1)
            return change(held)

        return meddle

    return make, done


def flipped(data: bytes) -> bytes:
    return data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]


ATTACKS: dict[str, tuple[Callable[[list[bytes]], list[bytes] | None], int]] = {
    "tamper": (lambda held: [flipped(held[0])], 1),
    "replay": (lambda held: [held[0], held[0]], 1),
    "reorder": (lambda held: [held[1], held[0]], 2),
    "drop": (lambda held: [], 1),
    "truncate": (lambda held: None, 1),
    "insert": (lambda held: [held[0], b"\x17\x03\x03\x00\x05hello"], 1),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_meddling_once_breaks_the_connection_and_changes_no_message(
    tmp_path: Path, stack: ExitStack, attack: str
) -> None:
    make, done = once(*ATTACKS[attack])
    board = HostileBoard(make)
    net = RelayWorld(SETTINGS, stack, tmp_path, board)
    label, cards = net.open("label"), net.open("cards")
    for number in range(40):
        label.send("cards", Blob(bytes([number]) * 100_000))
    for number in range(40):
        assert cards.receive([BLOB], 20) == (0, Blob(bytes([number]) * 100_000))
    assert done, "the attack took place"
    assert board.dialled > 1, "it was noticed, and a new connection took over"
    link = ("label", "cards")
    assert label.transcripts()[link] == cards.transcripts()[link]


def test_bytes_of_two_connections_swapped_change_no_message(tmp_path: Path, stack: ExitStack) -> None:
    parked: list[bytes] = []
    net_board: list[HostileBoard] = []

    def make() -> Meddle:
        number = net_board[0].dialled

        def meddle(data: bytes) -> list[bytes] | None:
            if number == 1:
                parked.append(data)
                return [data]
            return [parked.pop(0)] if number == 2 and parked else [data]

        return meddle

    board = HostileBoard(make)
    net_board.append(board)
    net = RelayWorld(SETTINGS, stack, tmp_path, board)
    first, cards = net.open("label"), net.open("cards")
    first.send("cards", Blob(bytes(50_000)))
    cards.receive([BLOB], 10)
    with board._lock:
        old = list(board._connections)
    for connection in old:
        connection.ends[0].close()  # the second connection carries pieces of the first
    first.send("cards", Blob(b"\1" * 50_000))
    assert cards.receive([BLOB], 20) == (0, Blob(b"\1" * 50_000))
    assert board.dialled > 2


def test_meddling_without_end_is_a_named_stop(tmp_path: Path, stack: ExitStack) -> None:
    # at the front of every piece: a busy sender's piece may hold whole messages before its end
    board = HostileBoard(lambda: lambda data: [flipped(data[:12]) + data[12:]])
    settings = SETTINGS.model_copy(update={"contact_seconds": 2.0, "reconnect_seconds": 1.0})
    net = RelayWorld(settings, stack, tmp_path, board)
    label, cards = net.open("label"), net.open("cards")
    for number in range(5):
        label.send("cards", Blob(bytes([number]) * 100_000))
    with pytest.raises(PeerError, match="the connection to 'cards' breaks again and again before anything") as caught:
        label.receive([Recv("cards", Note)], 30)
    assert caught.value.peer == "cards"
    with pytest.raises(PeerError, match="the connection to 'label' was lost"):
        cards.receive([BLOB], 30)


class Impostor(Switchboard):
    """A coordinator that answers calls for cards itself, with its own certificate."""

    def __init__(self) -> None:
        super().__init__(lambda caller, to: "")
        self.address = ""

    def dial(self, caller: str, to: str, patience: float = 10.0) -> Any:
        if (caller, to) != ("label", "cards"):
            return super().dial(caller, to, patience)
        host, _, port = self.address.rpartition(":")
        plain = socket.create_connection((host, int(port)))

        class Own:
            def send(self, data: bytes) -> bool:
                plain.sendall(data)
                return True

            def receive(self) -> bytes:
                try:
                    return plain.recv(65536)
                except OSError:
                    return b""

            def close(self) -> None:
                try:
                    plain.shutdown(socket.SHUT_RDWR)
                except OSError:
                    return
                plain.close()

        return Own()


def test_a_coordinator_that_answers_in_a_partys_place_is_found_out(tmp_path: Path, stack: ExitStack) -> None:
    board = Impostor()
    net = RelayWorld(SETTINGS, stack, tmp_path, board)
    board.address = net.roster[COORDINATOR].address
    label = net.open("label")
    with pytest.raises(PeerError, match="'cards' does not show the certificate that our roster names") as caught:
        label.receive([Recv("cards", Note)], 15)
    assert caught.value.peer == "cards"


def test_a_coordinator_that_calls_in_a_partys_name_is_refused(tmp_path: Path, stack: ExitStack) -> None:
    net = RelayWorld(SETTINGS, stack, tmp_path)
    cards = net.open("cards")
    tunnel = Tunnel(OwnDoor(net.board))
    stack.callback(tunnel.close)
    claim = conversation("label", [frame("label", 0, Note(1, "me"))])
    error = call_raw(net.identities[COORDINATOR], net.roster, "cards", claim, tunnel.to("cards"))
    assert error is not None
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    truth = conversation("label", [frame("label", 0, Note(2, "I"))])
    assert call_raw(net.identities["label"], net.roster, "cards", truth, net.through("label", "cards")) is None
    assert cards.receive([NOTE], 10) == (0, Note(2, "I"))


def test_a_whole_connection_played_again_brings_no_message(tmp_path: Path, stack: ExitStack) -> None:
    board = HostileBoard()
    net = RelayWorld(SETTINGS, stack, tmp_path, board)
    cards = net.open("cards")
    net.inject("cards", "label", [frame("label", 0, Note(1, "once"))])
    assert cards.receive([NOTE], 10) == (0, Note(1, "once"))
    captured = [data for sender, to, data in board.kept if (sender, to) == ("label", "cards")]
    assert sum(map(len, captured)) > 1000
    end = Switchboard.dial(board, "label", "cards")
    drained = threading.Thread(target=lambda: list(iter(end.receive, b"")), daemon=True)
    drained.start()
    for data in captured:
        end.send(data)
    drained.join(10)
    assert not drained.is_alive(), "the party ended the connection"
    with pytest.raises(PeerError, match="label"):
        cards.receive([NOTE], 1.5)
    assert cards.transcripts()["label", "cards"].count == 1
