"""One suite for every transport: what a channel promises, and what it refuses."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from parties.drive import drive
from parties.errors import PeerError, RunAborted
from parties.settings.consortium import TransportSettings
from parties.transport.channel import End
from parties.transport.meter import Tally
from psi.flow import (
    Flow,
    LocalProtocolError,
    Payload,
    Recv,
    RemoteProtocolError,
    Role,
    Send,
    gather,
    receive,
    run_local,
)
from tests.conformance.rigs import RUN, SESSION, Blob, Note, Order, World, frame, world

SETTINGS = TransportSettings(
    largest_message=12 * 2**20, unread=2**22, unsent=2**22, contact_seconds=5, reconnect_seconds=0.3, silence_seconds=10
)
NOTE, BLOB = Recv("label", Note), Recv("label", Blob)


@pytest.fixture(params=["memory", "grpc", "relay"])
def net(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with world(request.param, tmp_path, SETTINGS) as made:
        yield made


def aside(task: Callable[..., Any], *args: Any) -> Future[Any]:
    """Run a task in a thread; its result or exception comes from the future."""
    future: Future[Any] = Future()

    def work() -> None:
        try:
            future.set_result(task(*args))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future


def test_messages_arrive_in_order_by_sender_and_type(net: World) -> None:
    label, cards, skies = (net.open(name) for name in ("label", "cards", "skies"))
    for number in range(60):
        label.send("cards", Note(number, f"é{number}"))
        label.send("cards", Blob(bytes([number])))
        skies.send("cards", Note(-number, "from skies"))
    for number in range(60):
        assert cards.receive([BLOB], 10) == (0, Blob(bytes([number])))
    for number in range(60):
        assert cards.receive([BLOB, NOTE], 10) == (1, Note(number, f"é{number}"))
        assert cards.receive([Recv("skies", Note)], 10) == (0, Note(-number, "from skies"))


@pytest.mark.parametrize("size", [0, 1, 2**19 - 9, 2**19 - 8, 2**19 - 7, 9_500_000])
def test_payloads_of_any_size_arrive_whole(net: World, size: int) -> None:
    label, cards = net.open("label"), net.open("cards")
    body = os.urandom(size)
    label.send("cards", Blob(body))
    assert cards.receive([BLOB], 10) == (0, Blob(body))


def test_a_message_above_the_limit_is_not_sent(net: World) -> None:
    label, cards = net.open("label"), net.open("cards")
    with pytest.raises(LocalProtocolError, match="above largest_message"):
        label.send("cards", Blob(bytes(SETTINGS.largest_message)))
    label.send("cards", Note(1, "still here"))
    assert cards.receive([NOTE], 10) == (0, Note(1, "still here"))
    assert label.meter.by_kind("sent").keys() == {"test.note"}


GOOD = frame("label", 0, Note(0, "a"))
BREACHES = {
    "too big": ([frame("label", 0, Blob(bytes(SETTINGS.largest_message)))], "above"),
    "unknown kind": ([replace(GOOD, kind="test.unheard")], "not in the register"),
    "unknown kind later": ([GOOD, replace(GOOD, sequence=1, kind="test.unheard")], "not in the register"),
    "replay": ([GOOD, GOOD], "again"),
    "reordered": ([replace(GOOD, sequence=1), GOOD], "where 0 is due"),
    "missing": ([GOOD, replace(GOOD, sequence=2)], "where 1 is due"),
    "cut body": ([replace(GOOD, body=GOOD.body[:-1])], "early"),
    "longer body": ([replace(GOOD, body=GOOD.body + b"x")], "too many"),
    "other schema": ([replace(GOOD, body=b"\0\0\0\0" + GOOD.body[4:])], "another version"),
    "no body": ([replace(GOOD, body=b"")], "early"),
}


@pytest.mark.parametrize("breach", BREACHES)
def test_a_breach_is_named_with_its_sender_and_ends_the_session(net: World, breach: str) -> None:
    items, reason = BREACHES[breach]
    cards = net.open("cards")
    net.inject("cards", "label", items)
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match=reason) as caught:
            for _ in items:
                cards.receive([NOTE], 10)
        assert caught.value.peer == "label"
    with pytest.raises(RemoteProtocolError, match=reason):
        cards.send("skies", Note(0, "no use any more"))


def test_a_message_after_the_last_is_a_breach_or_not_read(net: World) -> None:
    cards = net.open("cards")
    net.inject("cards", "label", [End(RUN, SESSION, "label", False), GOOD])
    with pytest.raises((RemoteProtocolError, PeerError), match=r"after its last|left the session"):
        cards.receive([NOTE], 10)


def test_roles_are_checked_by_the_sender(net: World) -> None:
    label, cards = net.open("label"), net.open("cards")
    with pytest.raises(LocalProtocolError, match="may come only from a label party"):
        cards.send("label", Order(1))
    with pytest.raises(LocalProtocolError, match="who is no peer"):
        label.send("nobody", Order(1))
    with pytest.raises(LocalProtocolError, match="who is no peer"):
        label.send("label", Order(1))
    label.send("cards", Order(7))
    assert cards.receive([Recv("label", Order)], 10) == (0, Order(7))


def test_roles_are_checked_by_the_receiver(net: World) -> None:
    cards = net.open("cards")
    net.inject("cards", "skies", [frame("skies", 0, Order(1))])
    with pytest.raises(RemoteProtocolError, match="may come only from a label party") as caught:
        cards.receive([NOTE], 10)
    assert caught.value.peer == "skies"


def test_the_coordinator_is_no_party(net: World) -> None:
    label = net.open("label", roles={"label": Role.LABEL, "cards": Role.COORDINATOR})
    with pytest.raises(LocalProtocolError, match="may go only to a party"):
        label.send("cards", Note(1, "not for you"))


def test_payload_classes_outside_the_agreement_are_refused_by_both(net: World) -> None:
    label = net.open("label", payloads=[Payload.PUBLIC])
    with pytest.raises(LocalProtocolError, match="uniform share, which the run agreement does not allow"):
        label.send("cards", Blob(b"1"))
    assert label.meter.tallies() == {}
    cards = net.open("cards", payloads=[Payload.PUBLIC])
    net.inject("cards", "skies", [frame("skies", 0, Blob(b"1"))])
    with pytest.raises(RemoteProtocolError, match="uniform share, which the run agreement does not allow"):
        cards.receive([NOTE], 10)


def test_early_messages_wait_for_the_session_to_open(net: World) -> None:
    label = net.open("label")
    for number in range(5):
        label.send("cards", Note(number, "early"))
    cards = net.open("cards")
    for number in range(5, 8):
        label.send("cards", Note(number, "later"))
    assert [cards.receive([NOTE], 10)[1].number for _ in range(8)] == list(range(8))


def test_sessions_of_one_run_do_not_mix(net: World) -> None:
    first, second = net.open("label", session="train-1"), net.open("label", session="train-2")
    first.send("cards", Note(1, "first"))
    second.send("cards", Note(2, "second"))
    assert net.open("cards", session="train-2").receive([NOTE], 10)[1] == Note(2, "second")
    assert net.open("cards", session="train-1").receive([NOTE], 10)[1] == Note(1, "first")
    with pytest.raises(LocalProtocolError, match="before"):
        net.open("label", session="train-1")


def test_abort_wakes_every_waiter_and_ends_the_channel(net: World) -> None:
    cards, skies = net.open("cards"), net.open("skies")
    waiters = [aside(cards.receive, [NOTE], 30) for _ in range(2)]
    cards.abort("the admin stopped it")
    for waiter in waiters:
        with pytest.raises(RunAborted, match=r"^the admin stopped it$"):
            waiter.result(10)
    with pytest.raises(RunAborted, match="the admin stopped it"):
        cards.send("skies", Note(1, "late"))
    cards.close()
    with pytest.raises(PeerError, match="'cards' has stopped its part") as caught:
        skies.receive([Recv("cards", Note)], 10)
    assert caught.value.peer == "cards"


def test_a_peer_that_begins_another_attempt_is_not_said_to_have_failed(net: World) -> None:
    cards, skies = net.open("cards"), net.open("skies")
    cards.abort("a later attempt has begun", anew=True)
    cards.abort("the run has ended")
    cards.close()
    with pytest.raises(PeerError, match="'cards' has ended this attempt, for another one follows") as caught:
        skies.receive([Recv("cards", Note)], 10)
    assert caught.value.anew
    skies.close()
    label, faulty = net.open("label", session="train-2"), net.open("cards", session="train-2")
    faulty.abort("no memory")
    faulty.abort("a later attempt has begun", anew=True)
    faulty.close()
    with pytest.raises(PeerError, match="its own log says why") as caught:
        label.receive([Recv("cards", Note)], 10)
    assert not caught.value.anew


def test_a_silent_peer_is_named(net: World) -> None:
    cards = net.open("cards")
    net.open("label")
    with pytest.raises(PeerError, match=r"'label' sent nothing for 0\.05 s while we waited for test\.note") as caught:
        cards.receive([NOTE], 0.05)
    assert caught.value.peer == "label"


def test_a_lost_peer_is_named_long_before_the_silence_ends(net: World) -> None:
    cards = net.open("cards")
    net.vanish("label", "cards")
    with pytest.raises(PeerError, match=r"lost and did not return within 0\.3 s") as caught:
        cards.receive([NOTE, Recv("skies", Note)], 60)
    assert caught.value.peer == "label"


def test_a_peer_that_left_delivers_what_it_sent_and_nothing_more(net: World) -> None:
    label, cards = net.open("label"), net.open("cards")
    label.send("cards", Note(1, "last"))
    label.close()
    assert cards.receive([NOTE], 10) == (0, Note(1, "last"))
    with pytest.raises(PeerError, match="'label' left the session") as caught:
        cards.receive([NOTE], 60)
    assert caught.value.peer == "label"
    cards.send("label", Note(2, "nobody reads this"))


def test_an_error_inside_with_tells_the_peers(net: World) -> None:
    label = net.open("label")
    with pytest.raises(ZeroDivisionError), net.open("cards") as cards:
        cards.send("label", Note(1, "one"))
        raise ZeroDivisionError
    with pytest.raises(PeerError, match="'cards' has stopped its part"):
        label.receive([Recv("cards", Blob)], 30)


def test_a_slow_reader_slows_the_sender_and_loses_nothing(net: World) -> None:
    label, cards = net.open("label"), net.open("cards")
    count = 24

    def produce() -> None:
        for number in range(count):
            label.send("cards", Blob(bytes([number]) * 2**20))

    producer = aside(produce)
    got = [cards.receive([BLOB], 10)[1].body for _ in range(count)]
    producer.result(10)
    assert [body[0] for body in got] == list(range(count))
    assert all(len(body) == 2**20 for body in got)


def test_more_than_the_buffer_of_what_nobody_waits_for_is_a_breach(net: World) -> None:
    label, cards = net.open("label"), net.open("cards")

    def produce() -> None:
        for _ in range(12):
            label.send("cards", Blob(bytes(2**20)))

    producer = aside(produce)
    with pytest.raises(RemoteProtocolError, match="nobody waits for") as caught:
        cards.receive([NOTE], 10)
    assert caught.value.peer == "label"
    cards.close()
    producer.exception(10)


def test_waiting_for_a_stranger_is_our_own_fault(net: World) -> None:
    cards = net.open("cards")
    with pytest.raises(LocalProtocolError, match="'nobody', who is no peer"):
        cards.receive([Recv("nobody", Note)], 1)


def test_both_ends_agree_on_transcripts_meters_and_records(net: World) -> None:
    heard: dict[str, list[Any]] = {"label": [], "cards": []}
    label, cards = (net.open(name, recorder=heard[name]) for name in heard)
    for number in range(3):
        label.send("cards", Note(number, "n"))
        cards.send("label", Blob(bytes(number)))
    label.send("cards", Blob(b"odd"))
    for _ in range(3):
        cards.receive([NOTE], 10)
        label.receive([Recv("cards", Blob)], 10)
    cards.receive([BLOB], 10)
    for link in (("label", "cards"), ("cards", "label")):
        assert label.transcripts()[link] == cards.transcripts()[link]
    assert label.transcripts()["label", "cards"].count == 4
    assert label.transcripts()["cards", "label"].sha256 != label.transcripts()["label", "cards"].sha256
    sent, received = label.meter.by_kind("sent"), cards.meter.by_kind("received")
    assert sent == received
    assert sent["test.blob"] == Tally(1, 4 + 4 + 3)
    out = [r for r in heard["label"] if r.direction == "sent"]
    into = [r for r in heard["cards"] if r.direction == "received"]
    assert [(r.sequence, r.kind, r.body) for r in out] == [(r.sequence, r.kind, r.body) for r in into]
    assert sum(len(r.body) for r in out) == sum(t.bytes for t in sent.values())


def test_a_receiver_that_fails_ends_both_ends_and_tells_no_detail(net: World) -> None:
    class Full(list[Any]):
        def append(self, record: Any) -> None:
            if record.direction == "received":
                raise OSError("no space left on device")

    label, cards = net.open("label"), net.open("cards", recorder=Full())
    label.send("cards", Note(1, "too much"))
    with pytest.raises(RunAborted, match="could not take in a message: its log says why"):
        cards.receive([NOTE], 30)
    with pytest.raises(PeerError, match="'cards' failed while it took a message of ours in") as caught:
        label.receive([Recv("cards", Note)], 30)
    assert caught.value.peer == "cards"


def summing(me: str, value: int) -> Flow[int]:
    """Everyone tells everyone a number, large enough to need chunks, and adds them up."""
    others = [name for name in ("label", "cards", "skies") if name != me]
    for name in others:
        yield Send(name, Blob(value.to_bytes(2_500_000, "little")))

    def one(name: str) -> Flow[int]:
        got = yield from receive(name, Blob)
        yield Send(name, Note(int.from_bytes(got.body, "little"), "seen"))
        note = yield from receive(name, Note)
        assert note.number == value
        return int.from_bytes(got.body, "little")

    return value + sum((yield from gather([one(name) for name in others])))


def test_a_flow_gives_the_same_result_as_in_one_process(net: World) -> None:
    values = {"label": 5, "cards": 70, "skies": 900}
    wanted = run_local({name: summing(name, value) for name, value in values.items()})

    def play(name: str) -> int:
        with net.open(name) as channel:
            return drive(summing(name, values[name]), channel, silence=20)

    futures = {name: aside(play, name) for name in values}
    assert {name: future.result(30) for name, future in futures.items()} == wanted
