"""drive: effects performed, transport errors thrown into the flow, culprits named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from parties.drive import drive
from parties.errors import PeerError, RunAborted
from parties.transport.memory import MemoryNetwork
from psi.flow import (
    Flow,
    LocalProtocolError,
    Message,
    Payload,
    PeerLost,
    Progress,
    Recv,
    RecvAny,
    RemoteProtocolError,
    Role,
    Send,
    gather,
    message,
    receive,
)


@message("drive.ping", sender=Role.PARTY, receiver=Role.PARTY, payload=Payload.PUBLIC, reveals="a test", source="none")
class Ping(Message):
    number: int


class Script:
    """A channel that plays received messages or errors from a list, and keeps what is sent."""

    def __init__(self, arrivals: Sequence[tuple[int, Message] | Exception]) -> None:
        self.arrivals = list(arrivals)
        self.sent: list[tuple[str, Message]] = []
        self.waits: list[tuple[tuple[Recv, ...], float]] = []

    def send(self, to: str, content: Message) -> None:
        self.sent.append((to, content))

    def receive(self, options: Sequence[Recv], timeout: float) -> tuple[int, Message]:
        self.waits.append((tuple(options), timeout))
        arrival = self.arrivals.pop(0)
        if isinstance(arrival, Exception):
            raise arrival
        return arrival


def play(
    flow: Flow[Any], arrivals: Sequence[tuple[int, Message] | Exception] = (), **options: Any
) -> tuple[Any, Script]:
    channel: Any = Script(arrivals)
    return drive(flow, channel, silence=3.5, **options), channel


def test_every_effect_is_performed_and_answered() -> None:
    options = (Recv("a", Ping), Recv("b", Ping))

    def flow() -> Flow[list[Any]]:
        sent = yield Send("a", Ping(1))
        told = yield Progress(1, 2)
        one = yield Recv("a", Ping)
        some = yield RecvAny(options)
        return [sent, told, one, some]

    heard: list[Progress] = []
    result, channel = play(flow(), [(0, Ping(5)), (1, Ping(6))], watch=heard.append)
    assert result == [None, None, Ping(5), (1, Ping(6))]
    assert channel.sent == [("a", Ping(1))]
    assert channel.waits == [((Recv("a", Ping),), 3.5), (options, 3.5)]
    assert heard == [Progress(1, 2)]


@pytest.mark.parametrize("error", [PeerError("a is gone", "a"), RunAborted("stopped"), RemoteProtocolError("bad", "a")])
def test_channel_errors_pass_through_the_flow(error: Exception) -> None:
    wiped: list[str] = []

    def flow() -> Flow[None]:
        try:
            yield from receive("a", Ping)
        finally:
            wiped.append("secret")

    with pytest.raises(type(error), match=str(error)):
        play(flow(), [error])
    assert wiped == ["secret"]


@pytest.mark.parametrize("handled", [PeerError, PeerLost])
def test_a_flow_may_handle_a_channel_error_and_go_on(handled: type[PeerError | PeerLost]) -> None:
    """A core knows a lost peer as PeerLost: it imports nothing of the transport."""

    def flow() -> Flow[str]:
        try:
            yield from receive("a", Ping)
        except handled as error:
            yield Send("b", Ping(9))
            return f"without {error.peer}"
        return "with a"

    result, channel = play(flow(), [PeerError("gone", "a")])
    assert result == "without a"
    assert channel.sent == [("b", Ping(9))]


def test_a_refused_message_is_put_down_to_its_sender() -> None:
    def check(name: str) -> Flow[None]:
        got = yield from receive(name, Ping)
        if got.number < 0:
            raise RemoteProtocolError("a negative number")

    with pytest.raises(RemoteProtocolError, match=r"^b: a negative number$") as caught:
        play(gather([check("a"), check("b")]), [(1, Ping(-1))])
    assert caught.value.peer == "b"


def test_a_name_given_by_the_flow_stands_and_a_guess_is_not_made() -> None:
    def names() -> Flow[None]:
        yield from receive("a", Ping)
        raise RemoteProtocolError("bad", "c")

    def later() -> Flow[None]:
        yield from receive("a", Ping)
        yield Send("b", Ping(1))
        raise RemoteProtocolError("bad")

    for flow, peer in ((names(), "c"), (later(), "")):
        with pytest.raises(RemoteProtocolError) as caught:
            play(flow, [(0, Ping(1))])
        assert caught.value.peer == peer


def test_a_local_mistake_reaches_the_flow_as_its_own() -> None:
    def flow() -> Flow[None]:
        yield Send("nobody", Ping(1))

    with (
        MemoryNetwork().node("a").open("r", "s", {"a": Role.LABEL, "b": Role.FEATURE}, list(Payload)) as channel,
        pytest.raises(LocalProtocolError, match="nobody"),
    ):
        drive(flow(), channel, silence=1)


def test_what_is_no_effect_is_refused() -> None:
    def flow() -> Any:
        yield "hello"

    with pytest.raises(LocalProtocolError, match="no effect"):
        play(flow())
