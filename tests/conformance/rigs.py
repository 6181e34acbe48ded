"""The message types and the two worlds that the channel suite runs in: memory, and gRPC on loopback."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

import grpc

from parties.identity import Identity, Roster, create_identity
from parties.settings import TransportSettings
from parties.transport.channel import Channel, End, Endpoint, Frame
from parties.transport.chunks import wire_frames
from parties.transport.grpc import ExchangeServer, connect
from parties.transport.memory import MemoryNetwork
from parties.wire.codec import encode
from parties.wire.gen import exchange_pb2 as wire
from psi.flow import Message, Payload, Role, message

RUN = "5f" * 32
SESSION = "train-1"
ROLES = {"label": Role.LABEL, "cards": Role.FEATURE, "skies": Role.FEATURE}
ALL = frozenset(Payload)
METHOD = "/entente.exchange.v1.Exchange/Deliver"


@message("test.note", sender=Role.PARTY, receiver=Role.PARTY, payload=Payload.PUBLIC, reveals="a", source="b")
class Note(Message):
    number: int
    text: str


@message("test.blob", sender=Role.PARTY, receiver=Role.PARTY, payload=Payload.SHARE, reveals="a", source="b")
class Blob(Message):
    body: bytes


@message("test.order", sender=Role.LABEL, receiver=Role.FEATURE, payload=Payload.PUBLIC, reveals="a", source="b")
class Order(Message):
    number: int


def frame(sender: str, sequence: int, content: Message, *, run: str = RUN, session: str = SESSION) -> Frame:
    """A frame as an honest sender makes it."""
    kind, body = encode(content)
    return Frame(run, session, sender, sequence, kind, body)


class World(Protocol):
    """Where channels meet. ``inject`` plays a hostile ``sender`` whose own channel is not open."""

    def open(
        self,
        party: str,
        *,
        session: str = SESSION,
        roles: Mapping[str, Role] = ROLES,
        payloads: Iterable[Payload] = ALL,
        recorder: list[object] | None = None,
    ) -> Channel: ...

    def inject(self, to: str, sender: str, items: Iterable[Frame | End]) -> None: ...

    def vanish(self, party: str, to: str) -> None:
        """``party`` connects to ``to`` and dies without a word."""


class _Opener:
    def __init__(self, endpoints: Mapping[str, Endpoint], stack: ExitStack) -> None:
        self.endpoints = endpoints
        self.stack = stack

    def open(self, party, *, session=SESSION, roles=ROLES, payloads=ALL, recorder=None):
        hear = None if recorder is None else recorder.append
        channel = self.endpoints[party].open(RUN, session, roles, payloads, recorder=hear)
        self.stack.callback(channel.abort, "the test is over")
        return channel


class MemoryWorld(_Opener):
    def __init__(self, settings: TransportSettings, stack: ExitStack) -> None:
        self.network = MemoryNetwork(settings=settings)
        super().__init__({name: self.network.node(name) for name in ROLES}, stack)

    def inject(self, to: str, sender: str, items: Iterable[Frame | End]) -> None:
        for item in items:
            self.network.inject(to, item)

    def vanish(self, party: str, to: str) -> None:
        self.open(party)
        self.network.lose(party)


class GrpcWorld(_Opener):
    def __init__(self, settings: TransportSettings, stack: ExitStack, folder: Path) -> None:
        self.identities, self.roster = make_roster(folder, ROLES)
        self.servers = {
            name: stack.enter_context(ExchangeServer(key, self.roster, self.roster[name].address, settings=settings))
            for name, key in self.identities.items()
        }
        super().__init__(self.servers, stack)

    def inject(self, to: str, sender: str, items: Iterable[Frame | End]) -> None:
        call_raw(self.identities[sender], self.roster, to, conversation(sender, items))

    def vanish(self, party: str, to: str) -> None:
        with connect(self.identities[party], self.roster, to) as line:
            call = deliver(line)(iter([hello(party)]))
            while next(call).waiting:
                pass
            call.cancel()


@contextmanager
def world(kind: str, folder: Path, settings: TransportSettings) -> Iterator[World]:
    with ExitStack() as stack:
        yield MemoryWorld(settings, stack) if kind == "memory" else GrpcWorld(settings, stack, folder)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_roster(
    folder: Path, names: Iterable[str], *, now: datetime | None = None, validity: timedelta = timedelta(days=1)
) -> tuple[dict[str, Identity], Roster]:
    """Fresh keys for each name, and a roster that puts each on a free loopback port."""
    identities = {name: create_identity(name, folder / name, now=now, validity=validity) for name in names}
    members = {name: identity.member(f"127.0.0.1:{free_port()}") for name, identity in identities.items()}
    return identities, Roster(members)


def hello(sender: str, *, run: str = RUN, session: str = SESSION) -> wire.Frame:
    return wire.Frame(hello=wire.Hello(run_id=run, session=session, sender=sender))


def conversation(sender: str, items: Iterable[Frame | End]) -> Iterator[wire.Frame]:
    yield hello(sender)
    for item in items:
        yield from wire_frames(item)


def deliver(line: grpc.Channel):
    return line.stream_stream(
        METHOD, request_serializer=wire.Frame.SerializeToString, response_deserializer=wire.Receipt.FromString
    )


def call_raw(identity: Identity, roster: Roster, to: str, frames: Iterator[wire.Frame]) -> grpc.RpcError | None:
    """Send frames past our own channel, to the end of the call: the error it ended with, if any."""
    with connect(identity, roster, to) as line:
        try:
            for _ in deliver(line)(frames, timeout=20):
                pass
        except grpc.RpcError as error:
            return error
    return None
