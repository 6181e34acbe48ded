"""The message types and the worlds that the channel suite runs in: memory, gRPC on loopback, gRPC through a relay."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

import grpc

from parties.coordinator.relaying import relay_handler
from parties.demo.homes import free_addresses
from parties.members.keys import Identity, create_identity
from parties.members.roster import Roster
from parties.names import COORDINATOR
from parties.settings.consortium import TransportSettings
from parties.transport.channel import Channel, End, Endpoint, Frame
from parties.transport.chunks import wire_frames
from parties.transport.grpc import ExchangeServer, connect
from parties.transport.memory import MemoryNetwork
from parties.transport.relay import CoordinatorDoor
from parties.transport.switchboard import Switchboard
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
        call_raw(self.identities[sender], self.roster, to, conversation(sender, items), self.through(sender, to))

    def vanish(self, party: str, to: str) -> None:
        with connect(self.identities[party], self.roster, to, through=self.through(party, to)) as line:
            call = deliver(line)(iter([hello(party)]))
            while next(call).waiting:
                pass
            call.cancel()

    def through(self, party: str, to: str) -> str:
        """The address that ``party`` calls ``to`` at, "" for the roster's."""
        return ""


class RelayWorld(GrpcWorld):
    """Nobody can be reached but the coordinator, whose switchboard is ``board``."""

    def __init__(
        self,
        settings: TransportSettings,
        stack: ExitStack,
        folder: Path,
        board: Switchboard | None = None,
        relay: str = "always",
    ) -> None:
        self.identities, self.roster = make_roster(folder, [*ROLES, COORDINATOR])
        self.board = board or Switchboard(lambda caller, to: "")
        place = self.roster[COORDINATOR].address
        services = [relay_handler(self.board, self.roster)]
        stack.enter_context(ExchangeServer(self.identities[COORDINATOR], self.roster, place, services=services))
        settings = settings.model_copy(update={"relay": relay})
        self.servers = {}
        for name in ROLES:
            key, nowhere = self.identities[name], "127.0.0.1:0"  # not where the roster says
            door = CoordinatorDoor(key, self.roster)
            server = ExchangeServer(key, self.roster, nowhere, settings=settings, door=door)
            self.servers[name] = stack.enter_context(server)
        _Opener.__init__(self, self.servers, stack)

    def through(self, party: str, to: str) -> str:
        return self.servers[party]._tunnel.to(to)


@contextmanager
def world(kind: str, folder: Path, settings: TransportSettings) -> Iterator[World]:
    with ExitStack() as stack:
        if kind == "memory":
            yield MemoryWorld(settings, stack)
        else:
            yield (RelayWorld if kind == "relay" else GrpcWorld)(settings, stack, folder)


def free_port() -> int:
    return int(free_addresses(1)[0].rpartition(":")[2])


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


def call_raw(
    identity: Identity, roster: Roster, to: str, frames: Iterator[wire.Frame], through: str = ""
) -> grpc.RpcError | None:
    """Send frames past our own channel, to the end of the call: the error it ended with, if any."""
    with connect(identity, roster, to, through=through) as line:
        try:
            for _ in deliver(line)(frames, timeout=20):
                pass
        except grpc.RpcError as error:
            return error
    return None
