"""The pieces of a channel alone: relays, recorders, meters, transcripts, the outbox under lost connections."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parties.errors import PeerError
from parties.settings.consortium import TransportSettings
from parties.transport.channel import End, Frame
from parties.transport.memory import MemoryNetwork
from parties.transport.meter import FileRecorder, Meter, Record, Tally, read_records
from parties.transport.outbox import Outbox
from parties.transport.sessions import Sessions, TooManyWaiting
from parties.transport.threads import DaemonThreads
from parties.transport.transcript import Transcript
from psi.flow import LocalProtocolError, Message, Payload, Recv, RemoteProtocolError, Role, message

ROLES = {"a": Role.LABEL, "b": Role.FEATURE}
END = End("r", "s", "a", False)


@message("parts.count", sender=Role.PARTY, receiver=Role.PARTY, payload=Payload.PUBLIC, reveals="a", source="b")
class Count(Message):
    number: int


def test_a_relay_that_tampers_is_seen_in_the_transcripts() -> None:
    def relay(to: str, frame: Frame) -> Iterator[Frame]:
        yield replace(frame, body=frame.body[:-1] + b"\x07") if frame.sequence == 1 else frame

    network = MemoryNetwork(relay=relay)
    a, b = (network.node(name).open("r", "s", ROLES, list(Payload)) for name in "ab")
    heads = []
    for number in range(3):
        a.send("b", Count(number))
        heads.append(a.transcripts()["a", "b"] == b.transcripts()["a", "b"])
    assert heads == [True, False, False]
    assert [b.receive([Recv("a", Count)], 1)[1].number for _ in range(3)] == [0, 7, 2]  # type: ignore[attr-defined]


def test_a_relay_that_loses_a_message_is_a_breach_at_both_ends() -> None:
    network = MemoryNetwork(relay=lambda to, frame: [] if frame.sequence == 0 else [frame])
    a, b = (network.node(name).open("r", "s", ROLES, list(Payload)) for name in "ab")
    a.send("b", Count(0))
    a.send("b", Count(1))
    with pytest.raises(RemoteProtocolError, match="message 1 where 0 is due"):
        b.receive([Recv("a", Count)], 1)
    with pytest.raises(PeerError, match="'b' refused a message of ours"):
        a.send("b", Count(2))


def test_what_waits_for_a_session_nobody_opens_is_bounded_for_each_sender() -> None:
    roles = {**ROLES, "c": Role.FEATURE}
    network = MemoryNetwork(settings=TransportSettings(unsent=20, silence_seconds=0.01))
    a, c = (network.node(name).open("r", "s", roles, list(Payload)) for name in "ac")
    for channel in (a, c):
        with pytest.raises(PeerError, match="'b' has not opened session 's'"):
            for number in range(100):
                channel.send("b", Count(number))
    b = network.node("b").open("r", "s", roles, list(Payload))
    assert [b.receive([Recv(name, Count)], 1)[1] for name in "acac"] == [Count(0), Count(0), Count(1), Count(1)]


def test_a_sender_ahead_of_a_session_waits_and_goes_on_when_it_opens() -> None:
    network = MemoryNetwork(settings=TransportSettings(unsent=20, silence_seconds=20))
    a = network.node("a").open("r", "s", ROLES, list(Payload))
    sender = threading.Thread(target=lambda: [a.send("b", Count(number)) for number in range(50)], daemon=True)
    sender.start()
    b = network.node("b").open("r", "s", ROLES, list(Payload))
    assert [b.receive([Recv("a", Count)], 10)[1] for _ in range(50)] == [Count(number) for number in range(50)]
    sender.join(10)


def test_a_channel_needs_a_member() -> None:
    with pytest.raises(LocalProtocolError, match="'c' takes no part"):
        MemoryNetwork().node("c").open("r", "s", ROLES, list(Payload))


def test_records_return_from_a_file_and_a_torn_one_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "records"
    records = [Record("sent", "b", "r", "s", n, "parts.count", bytes(n)) for n in range(4)]
    for half in (records[:2], records[2:]):
        recorder = FileRecorder(path)
        for record in half:
            recorder(record)
        recorder.close()
    assert list(read_records(path)) == records
    path.write_bytes(path.read_bytes()[:-1])
    assert list(read_records(path)) == records[:-1]


def test_a_meter_adds_up_by_kind_over_peers() -> None:
    meter = Meter()
    for peer, size in (("a", 3), ("b", 4), ("a", 5)):
        meter.add("sent", peer, "k", size)
    meter.add("received", "a", "k", 100)
    assert meter.tallies()["sent", "a", "k"] == Tally(2, 8)
    assert meter.by_kind("sent") == {"k": Tally(3, 12)}


def test_every_part_of_a_message_counts_in_a_transcript() -> None:
    def head(link: tuple[str, str, str, str], *messages: tuple[str, bytes]) -> str:
        made = Transcript(*link)
        for kind, digest in messages:
            made.extend(kind, digest)
        return made.head.sha256

    link, one, two = ("r", "s", "a", "b"), ("k", b"1" * 32), ("k", b"2" * 32)
    heads = [
        head(link),
        head(("ra", "s", "", "b")),
        head(("r", "s", "b", "a")),
        head(link, one),
        head(link, two),
        head(link, ("l", b"1" * 32)),
        head(link, one, two),
        head(link, two, one),
        head(link, one, one),
    ]
    assert len(set(heads)) == len(heads)
    assert head(link, one, two) == head(link, one, two)


@given(st.integers(0, 12), st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=8))
def test_an_outbox_delivers_each_frame_once_whatever_breaks(count: int, connections: list[tuple[int, int]]) -> None:
    """Each connection carries some frames, of which the peer takes some, before it breaks; the last one holds."""
    outbox = Outbox("b", 10**6)
    frames = [Frame("r", "s", "a", number, "k", bytes([number])) for number in range(count)]
    for frame in frames:
        outbox.put(frame, 1)
    outbox.finish(END)
    taken: list[Frame] = []
    for carried, kept in [*connections, (count + 1, count + 1)]:
        attempt = outbox.attach()
        outbox.resume(attempt, len(taken))
        for position in range(carried):
            item = outbox.pull(attempt)
            if not isinstance(item, Frame):
                break
            if position < kept:
                assert item.sequence == len(taken)
                taken.append(item)
                if position % 3 == 0:
                    outbox.acknowledge(len(taken))
        else:
            assert not outbox.done
    assert taken == frames
    outbox.acknowledge(count)
    outbox.complete()
    assert outbox.done
    assert outbox.flush(0)


def test_an_outbox_refuses_a_place_it_cannot_go_on_from() -> None:
    outbox = Outbox("b", 100)
    for number in range(3):
        outbox.put(Frame("r", "s", "a", number, "k", b""), 1)
    attempt = outbox.attach()
    outbox.resume(attempt, 2)
    for expected in (1, 4):
        with pytest.raises(PeerError, match="'b' has lost its place"):
            outbox.resume(outbox.attach(), expected)


def test_a_full_outbox_blocks_and_then_names_the_peer() -> None:
    outbox = Outbox("b", 10)
    outbox.put(Frame("r", "s", "a", 0, "k", bytes(100)), 1)
    with pytest.raises(PeerError, match=r"'b' has taken nothing for 0\.01 s"):
        outbox.put(Frame("r", "s", "a", 1, "k", b"x"), 0.01)
    outbox.discard()
    outbox.put(Frame("r", "s", "a", 1, "k", b"x"), 0.01)
    assert outbox.pull(outbox.attach()) is None


def test_an_earlier_connection_pulls_nothing_after_a_later_one_began() -> None:
    outbox = Outbox("b", 10)
    first = outbox.attach()
    waiting: Future[Any] = Future()
    threading.Thread(target=lambda: waiting.set_result(outbox.pull(first)), daemon=True).start()
    outbox.attach()
    assert waiting.result(10) is None


def test_sessions_open_once_and_close_once() -> None:
    sessions: Sessions[str] = Sessions()
    key = ("r", "s")
    assert not sessions.known(key)
    assert sessions.wait(key, "a", lambda: False) is None
    sessions.add(key, lambda: "channel")
    assert sessions.wait(key, "a", lambda: True) == "channel"
    sessions.retire(key)
    assert sessions.wait(key, "a", lambda: True) is None
    with pytest.raises(LocalProtocolError, match="opened here before"):
        sessions.add(key, lambda: "again")


def test_one_peer_cannot_wait_for_any_number_of_sessions() -> None:
    sessions: Sessions[str] = Sessions()
    refused: list[BaseException] = []
    tried = threading.Semaphore(0)

    def wait(number: int) -> None:
        try:
            sessions.wait(("r", str(number)), "a", lambda: True)
        except TooManyWaiting as error:
            refused.append(error)
            tried.release()

    threads = [threading.Thread(target=wait, args=(number,), daemon=True) for number in range(70)]
    for thread in threads:
        thread.start()
    for _ in range(6):
        assert tried.acquire(timeout=10)
    assert sessions.stop() == []
    for thread in threads:
        thread.join(10)
    assert len(refused) == 6


def test_daemon_threads_carry_results_and_errors() -> None:
    pool = DaemonThreads()
    assert pool.submit(pow, 2, 5).result(10) == 32
    assert isinstance(pool.submit(lambda: 1 / 0).exception(10), ZeroDivisionError)
    assert pool.submit(lambda: threading.current_thread().daemon).result(10)
