"""What only a network has: certificates, connections that break, processes that die."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest

from parties.errors import ConfigError, PeerError
from parties.members.keys import create_identity
from parties.members.roster import Roster
from parties.settings.consortium import TransportSettings
from parties.transport.grpc import ExchangeServer
from parties.transport.inbox import FRUITLESS
from parties.wire.gen import exchange_pb2 as wire
from psi.flow import Recv, RemoteProtocolError, Role
from tests.conformance.rigs import (
    ALL,
    RUN,
    SESSION,
    Blob,
    Note,
    call_raw,
    conversation,
    frame,
    free_port,
    hello,
    make_roster,
)
from tests.places import ROOT

ROLES = {"label": Role.LABEL, "cards": Role.FEATURE}
SETTINGS = TransportSettings(contact_seconds=3, reconnect_seconds=1.5, silence_seconds=20)
NOTE = Recv("label", Note)


class Wire:
    """A TCP relay in front of a node, whose connections can be cut."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.pairs: list[tuple[socket.socket, socket.socket]] = []
        self.carried = 0
        self.flip_at: list[int] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.target))
            self.pairs.append((near, far))
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._copy, args=(source, sink), daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                if self.flip_at and self.carried >= self.flip_at[0]:
                    self.flip_at.pop(0)
                    data = data[:-1] + bytes([data[-1] ^ 1])
                sink.sendall(data)
                self.carried += len(data)
        except OSError:
            pass
        self._end(source, sink)

    def cut(self) -> None:
        for pair in self.pairs:
            self._end(*pair)
        self.pairs.clear()

    @staticmethod
    def _end(*ends: socket.socket) -> None:
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        self._end(self.listener)  # a shutdown, because closing alone does not wake accept
        self.cut()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[ExchangeServer, ExchangeServer, Wire]]:
    """Two servers; the way from label to cards leads through a wire."""
    identities, roster = make_roster(tmp_path, ROLES)
    direct = int(roster["cards"].address.rpartition(":")[2])
    with closing(Wire(direct)) as relay:
        seen = Roster({**roster, "cards": identities["cards"].member(f"127.0.0.1:{relay.port}")})
        with (
            ExchangeServer(identities["label"], seen, roster["label"].address, settings=SETTINGS) as label,
            ExchangeServer(identities["cards"], roster, roster["cards"].address, settings=SETTINGS) as cards,
        ):
            yield label, cards, relay


def test_a_connection_that_breaks_again_and_again_loses_and_repeats_nothing(
    pair: tuple[ExchangeServer, ExchangeServer, Wire],
) -> None:
    label, cards, relay = pair
    count = 60
    with label.open(RUN, SESSION, ROLES, ALL) as sender, cards.open(RUN, SESSION, ROLES, ALL) as receiver:
        stop = threading.Event()

        def cut_often() -> None:
            mark = 0
            for _ in range(6):
                while relay.carried < mark + 3_000_000 and not stop.is_set():
                    stop.wait(0.005)
                mark = relay.carried
                relay.cut()

        cutter = threading.Thread(target=cut_often)
        cutter.start()
        for number in range(count):
            sender.send("cards", Blob(bytes([number]) * 700_000))
        for number in range(count):
            assert receiver.receive([Recv("label", Blob)], 20) == (0, Blob(bytes([number]) * 700_000))
        stop.set()
        cutter.join()
        link = ("label", "cards")
        assert sender.transcripts()[link] == receiver.transcripts()[link]
        assert receiver.meter.by_kind("received")["test.blob"].messages == count


def test_bytes_changed_on_the_wire_change_no_message(pair: tuple[ExchangeServer, ExchangeServer, Wire]) -> None:
    label, cards, relay = pair
    relay.flip_at = [2_000_000, 5_000_000, 9_000_000]
    with label.open(RUN, SESSION, ROLES, ALL) as sender, cards.open(RUN, SESSION, ROLES, ALL) as receiver:
        for number in range(25):
            sender.send("cards", Blob(bytes([number]) * 700_000))
        for number in range(25):
            assert receiver.receive([Recv("label", Blob)], 20) == (0, Blob(bytes([number]) * 700_000))
        assert relay.flip_at == [], "every change was made"
        assert len(relay.pairs) > 3, "and cost a connection"


def test_a_connection_that_stays_away_names_the_peer_on_both_sides(
    pair: tuple[ExchangeServer, ExchangeServer, Wire], caplog: pytest.LogCaptureFixture
) -> None:
    """The log says so once in plain words; what the library says of it is at level debug."""
    caplog.set_level(logging.DEBUG, "parties")
    label, cards, relay = pair
    sender, receiver = label.open(RUN, SESSION, ROLES, ALL), cards.open(RUN, SESSION, ROLES, ALL)
    sender.send("cards", Note(1, "here"))
    receiver.receive([NOTE], 10)
    relay.close()
    with pytest.raises(PeerError, match=r"'label' was lost and did not return within 1\.5 s") as caught:
        receiver.receive([NOTE], 60)
    assert caught.value.peer == "label"
    with pytest.raises(PeerError, match="'cards' cannot be reached") as caught:
        sender.receive([Recv("cards", Note)], 60)
    assert caught.value.peer == "cards"
    with pytest.raises(PeerError, match="'cards' cannot be reached"):
        sender.send("cards", Note(2, "lost"))
    told = [(one.levelname, one.getMessage()) for one in caplog.records if "'cards'" in one.getMessage()]
    assert [text for level, text in told if level != "DEBUG"] == [
        f"run {RUN[:12]}: {SESSION}: the connection to 'cards' is lost; it is called again, and waited for up to 1.5 s"
    ]
    assert any("StatusCode." in text for level, text in told if level == "DEBUG")


def test_a_server_that_forgot_the_session_is_not_sent_half_of_it(tmp_path: Path) -> None:
    identities, roster = make_roster(tmp_path, ROLES)
    with ExchangeServer(identities["label"], roster, roster["label"].address, settings=SETTINGS) as label:
        sender = label.open(RUN, SESSION, ROLES, ALL)
        with ExchangeServer(identities["cards"], roster, roster["cards"].address, settings=SETTINGS) as cards:
            receiver = cards.open(RUN, SESSION, ROLES, ALL)
            for number in range(40):
                sender.send("cards", Note(number, ""))
            for _ in range(40):
                receiver.receive([NOTE], 10)
            cards._server.stop(None).wait()
        with ExchangeServer(identities["cards"], roster, roster["cards"].address, settings=SETTINGS) as cards:
            cards.open(RUN, SESSION, ROLES, ALL)
            with pytest.raises(PeerError, match=r"'cards' has (lost its place|left)|'cards' left") as caught:
                sender.receive([Recv("cards", Note)], 20)
            assert caught.value.peer == "cards"


def test_a_name_that_is_not_the_certificates_is_refused_with_a_fixed_sentence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    identities, roster = make_roster(tmp_path, {**ROLES, "skies": Role.FEATURE})
    with ExchangeServer(identities["cards"], roster, roster["cards"].address, settings=SETTINGS) as cards:
        channel = cards.open(RUN, SESSION, {**ROLES, "skies": Role.FEATURE}, ALL)
        with caplog.at_level(logging.WARNING):
            claim = conversation("label", [frame("label", 0, Note(1, "me"))])
            error = call_raw(identities["skies"], roster, "cards", claim)
        assert error is not None
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert error.details() == "your certificate does not belong to the sender you name, or is not valid today"
        assert "'skies' calls itself 'label'" in caplog.text
        truth = conversation("label", [frame("label", 0, Note(2, "I"))])
        assert call_raw(identities["label"], roster, "cards", truth) is None
        assert channel.receive([NOTE], 10) == (0, Note(2, "I"))
        channel.abort("done")


def test_a_header_of_another_sender_run_or_session_is_a_breach(tmp_path: Path) -> None:
    identities, roster = make_roster(tmp_path, ROLES)
    strays = [
        frame("cards", 0, Note(1, "")),
        frame("label", 0, Note(1, ""), run="00" * 32),
        frame("label", 0, Note(1, ""), session="other"),
    ]
    with ExchangeServer(identities["cards"], roster, roster["cards"].address, settings=SETTINGS) as cards:
        for number, stray in enumerate(strays):
            session = f"train-{number}"
            channel = cards.open(RUN, session, ROLES, ALL)
            frames = [hello("label", session=session), *list(conversation("label", [stray]))[1:]]
            error = call_raw(identities["label"], roster, "cards", iter(frames))
            assert error is not None
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert error.details() == "a message broke the protocol"
            with pytest.raises(RemoteProtocolError, match="of another run, session or sender"):
                channel.receive([NOTE], 10)
            channel.abort("done")


HEADER = wire.Header(run_id=RUN, session=SESSION, sender="label", kind="test.blob", size=10)
MALFORMED = {
    "data before a header": [wire.Frame(data=b"x")],
    "a second hello": [hello("label")],
    "an empty frame": [wire.Frame()],
    "more than announced": [wire.Frame(header=HEADER, data=bytes(11))],
    "an empty chunk": [wire.Frame(header=HEADER, data=bytes(4)), wire.Frame()],
    "a header inside a message": [wire.Frame(header=HEADER, data=bytes(4)), wire.Frame(header=HEADER, data=bytes(6))],
    "cut short": [wire.Frame(header=HEADER, data=bytes(4))],
    "huge": [wire.Frame(header=wire.Header(run_id=RUN, session=SESSION, sender="label", kind="test.blob", size=2**63))],
}


@pytest.mark.parametrize("fault", MALFORMED)
def test_malformed_streams_are_breaches(tmp_path: Path, fault: str) -> None:
    identities, roster = make_roster(tmp_path, ROLES)
    with (
        ExchangeServer(identities["cards"], roster, roster["cards"].address, settings=SETTINGS) as cards,
        cards.open(RUN, SESSION, ROLES, ALL) as channel,
    ):
        error = call_raw(identities["label"], roster, "cards", iter([hello("label"), *MALFORMED[fault]]))
        assert error is not None
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(RemoteProtocolError) as caught:
            channel.receive([NOTE], 10)
        assert caught.value.peer == "label"


def test_a_peer_that_ends_each_call_within_a_message_is_given_up_and_no_breach(tmp_path: Path) -> None:
    """It is named and nobody waits for it longer. What comes whole in between begins the count anew."""
    identities, roster = make_roster(tmp_path, ROLES)
    settings = SETTINGS.model_copy(update={"reconnect_seconds": 0.001, "contact_seconds": 60})
    header = wire.Header(run_id=RUN, session=SESSION, sender="label", kind="test.blob", size=10_000)
    half = wire.Frame(header=header, data=bytes(5_000))
    whole = list(conversation("label", [frame("label", 0, Note(1, "whole"))]))[1:2]
    with (
        ExchangeServer(identities["cards"], roster, roster["cards"].address, settings=settings) as cards,
        cards.open(RUN, SESSION, ROLES, ALL) as channel,
    ):

        def calls(number: int, *before: wire.Frame) -> None:
            for _ in range(number):
                assert call_raw(identities["label"], roster, "cards", iter([hello("label"), *before, half])) is None

        calls(FRUITLESS - 1)
        calls(1, *whole)
        calls(FRUITLESS - 2)
        channel.inbox.check("label")
        assert channel.receive([NOTE], 10) == (0, Note(1, "whole"))
        calls(1)
        with pytest.raises(PeerError, match="'label' breaks within a message again and again, 8 times now") as caught:
            channel.receive([NOTE], 10)
        assert caught.value.peer == "label"
        assert not channel.inbox.faulty
        channel.abort("done")


def test_a_party_outside_the_session_is_refused(tmp_path: Path) -> None:
    identities, roster = make_roster(tmp_path, {**ROLES, "skies": Role.FEATURE})
    servers = {
        n: ExchangeServer(identities[n], roster, roster[n].address, settings=SETTINGS) for n in ("cards", "skies")
    }
    with servers["cards"], servers["skies"]:
        servers["cards"].open(RUN, SESSION, ROLES, ALL)
        intruder = servers["skies"].open(RUN, SESSION, {"skies": Role.FEATURE, "cards": Role.LABEL}, ALL)
        with pytest.raises(PeerError, match="'cards' does not accept us in this session"):
            intruder.receive([Recv("cards", Note)], 20)


def test_certificates_outside_the_roster_are_refused_by_both_sides(tmp_path: Path) -> None:
    identities, roster = make_roster(tmp_path / "real", ROLES)
    impostors, _ = make_roster(tmp_path / "impostors", ROLES)
    with ExchangeServer(identities["cards"], roster, roster["cards"].address, settings=SETTINGS) as cards:
        channel = cards.open(RUN, SESSION, ROLES, ALL)
        error = call_raw(impostors["label"], roster, "cards", conversation("label", [frame("label", 0, Note(1, "me"))]))
        assert error is not None
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        with pytest.raises(PeerError, match="sent nothing"):
            channel.receive([NOTE], 0.05)
        fooled = Roster({**roster, "cards": impostors["cards"].member(roster["cards"].address)})
        with ExchangeServer(identities["label"], fooled, roster["label"].address, settings=SETTINGS) as label:
            victim = label.open(RUN, SESSION, ROLES, ALL)
            victim.send("cards", Note(1, "for the real one"))
            with pytest.raises(
                PeerError, match="'cards' does not show the certificate that our roster names"
            ) as caught:
                victim.receive([Recv("cards", Note)], 20)
            assert caught.value.peer == "cards"


def test_a_rostered_party_cannot_stand_in_for_another(tmp_path: Path) -> None:
    identities, roster = make_roster(tmp_path, ROLES)
    skies = create_identity("skies", tmp_path / "skies", hosts=["cards.entente"])
    cards = identities["cards"].member(f"127.0.0.1:{free_port()}")
    roster = Roster({**roster, "cards": cards, "skies": skies.member(cards.address)})
    with (
        ExchangeServer(skies, roster, cards.address, settings=SETTINGS),
        ExchangeServer(identities["label"], roster, roster["label"].address, settings=SETTINGS) as label,
    ):
        victim = label.open(RUN, SESSION, ROLES, ALL)
        with pytest.raises(PeerError, match="'cards' does not show the certificate"):
            victim.receive([Recv("cards", Note)], 20)


def test_expired_certificates_are_refused_by_both_sides(tmp_path: Path) -> None:
    past = datetime.now(UTC) - timedelta(days=30)
    old = create_identity("label", tmp_path / "label", now=past, validity=timedelta(days=7))
    identities, fresh = make_roster(tmp_path / "others", ["cards"])
    roster = Roster({"label": old.member(f"127.0.0.1:{free_port()}"), **fresh})
    with ExchangeServer(identities["cards"], roster, roster["cards"].address, settings=SETTINGS) as cards:
        with pytest.raises(PeerError, match="the certificate of 'label' is not valid today"):
            cards.open(RUN, SESSION, ROLES, ALL)
        error = call_raw(old, roster, "cards", conversation("label", []))
        assert error is not None
        assert error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED}


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    identities, roster = make_roster(tmp_path, ["cards"])
    with (
        ExchangeServer(identities["cards"], roster, "127.0.0.1:0") as server,
        pytest.raises(ConfigError, match=f"cannot listen on {server.address}"),
    ):
        ExchangeServer(identities["cards"], roster, server.address)


PEER = """
import sys
from pathlib import Path
from parties.members.keys import load_identity
from parties.members.roster import Roster
from parties.transport.grpc import ExchangeServer
from psi.flow import Recv
from tests.conformance.rigs import ALL, RUN, SESSION, Note
from tests.conformance.test_grpc_transport import ROLES, SETTINGS
folder = Path(sys.argv[1])
roster = Roster.load(folder / "roster.json")
server = ExchangeServer(load_identity("label", folder / "label"), roster, roster["label"].address, settings=SETTINGS)
channel = server.open(RUN, SESSION, ROLES, ALL)
print("open", flush=True)
while True:
    note = channel.receive([Recv("cards", Note)], 30)[1]
    if note.number < 0:
        break
    channel.send("cards", note)
if note.text == "close":
    channel.close()
    server.close()
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], ExchangeServer]]:
    """The label party in a process of its own, and our server as cards."""
    identities, roster = make_roster(tmp_path, ROLES)
    roster.save(tmp_path / "roster.json")
    root = ROOT
    with ExchangeServer(identities["cards"], roster, roster["cards"].address, settings=SETTINGS) as server:
        process = subprocess.Popen(
            [sys.executable, "-c", PEER, str(tmp_path)], cwd=root, stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"  # a busy machine starts slower than the peer has patience
            yield process, server
        finally:
            process.kill()
            process.communicate()


def test_a_killed_process_is_named_within_the_reconnect_window(
    other: tuple[subprocess.Popen[str], ExchangeServer],
) -> None:
    process, server = other
    channel = server.open(RUN, SESSION, ROLES, ALL)
    for number in range(20):
        channel.send("label", Note(number, "echo"))
        assert channel.receive([NOTE], 30) == (0, Note(number, "echo"))
    process.send_signal(signal.SIGKILL)
    with pytest.raises(PeerError, match=r"'label' (was lost|cannot be reached)") as caught:
        channel.receive([NOTE], 60)
    assert caught.value.peer == "label"


@pytest.mark.parametrize("word", ["close", "forget to close"])
def test_a_process_ends_by_itself_whether_or_not_it_closes(
    other: tuple[subprocess.Popen[str], ExchangeServer], word: str
) -> None:
    process, server = other
    channel = server.open(RUN, SESSION, ROLES, ALL)
    channel.send("label", Note(-1, word))
    assert process.wait(60) == 0
    with pytest.raises(PeerError, match="'label'"):
        channel.receive([NOTE], 300)


def test_grpc_runs_quietly_and_leaves_children_alone() -> None:
    assert os.environ["GRPC_VERBOSITY"] == "NONE"
    assert os.environ["GRPC_ENABLE_FORK_SUPPORT"] == "false"
