"""The flow kernel: a protocol is a generator that yields effects and touches no socket.

A flow yields :class:`Send`, :class:`Recv`, :class:`RecvAny` or :class:`Progress` and composes
with ``yield from``. Whoever runs it (``parties.drive`` over real channels, :func:`run_local` in one
process) performs the effect and resumes the generator with its result. Nothing here knows of
bytes, clocks or networks, so the same protocol runs in a test and between machines.

Every message type is declared with :func:`message`, which enters it in :data:`REGISTER`: who may
send it to whom, what class of payload it carries, what it reveals and where that is argued.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar, dataclass_transform

__all__ = [
    "REGISTER",
    "Effect",
    "Flow",
    "LocalProtocolError",
    "Message",
    "MessageKind",
    "Payload",
    "PeerLost",
    "Progress",
    "ProtocolError",
    "Recv",
    "RecvAny",
    "RemoteProtocolError",
    "Role",
    "Send",
    "UnattributedError",
    "fields_of",
    "gather",
    "message",
    "receive",
    "run_alone",
    "run_local",
]

T = TypeVar("T")
M = TypeVar("M", bound="Message")


class ProtocolError(Exception):
    """A protocol cannot go on."""


class LocalProtocolError(ProtocolError):
    """Our own side asked for something the protocol forbids; nothing was sent."""


class RemoteProtocolError(ProtocolError):
    """A peer sent something the protocol forbids. ``peer`` is its name, or "" where unknown."""

    def __init__(self, reason: str, peer: str = "") -> None:
        super().__init__(f"{peer}: {reason}" if peer else reason)
        self.reason = reason
        self.peer = peer


class UnattributedError(ProtocolError):
    """One of several broke the protocol, and nothing that is known here shows which: nobody is named for it."""


class PeerLost(Exception):
    """Raised in a flow where it sends to, or waits for, a peer that is gone or silent. ``peer`` is its name.

    Few protocols can do without a peer; those that can go on catch it.
    """

    def __init__(self, reason: str, peer: str = "") -> None:
        super().__init__(reason)
        self.peer = peer


class Role(StrEnum):
    """Who a message may come from or go to."""

    PARTY = "party"
    LABEL = "label party"
    FEATURE = "feature party"
    COORDINATOR = "coordinator"


class Payload(StrEnum):
    """What kind of bytes a message carries; the run agreement lists the classes it allows."""

    CIPHERTEXT = "ciphertext"
    SHARE = "uniform share"
    MASKED = "masked sum"
    BLINDED = "blinded id"
    COMMITMENT = "commitment"
    PUBLIC = "public metadata"
    RESULT = "agreed result"


class Message:
    """Root of all protocol messages: frozen dataclasses of ints, floats, strings, bytes and tuples of these."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class MessageKind:
    """An entry of the message register."""

    name: str
    cls: type[Message]
    sender: Role
    receiver: Role
    payload: Payload
    reveals: str
    source: str


REGISTER: dict[str, MessageKind] = {}


@dataclass_transform(frozen_default=True)
def message(
    name: str, *, sender: Role, receiver: Role, payload: Payload, reveals: str, source: str
) -> Callable[[type[M]], type[M]]:
    """Make a frozen dataclass of the class and enter it in :data:`REGISTER` under ``name``."""

    def declare(cls: type[M]) -> type[M]:
        made = dataclass(frozen=True)(cls)
        if name in REGISTER and _full_name(REGISTER[name].cls) != _full_name(cls):
            raise LocalProtocolError(
                f"two message types are called {name!r}: {_full_name(REGISTER[name].cls)} and {_full_name(cls)}"
            )
        REGISTER[name] = MessageKind(name, made, sender, receiver, payload, reveals, source)
        made._kind = name  # type: ignore[attr-defined]
        return made

    return declare


def _full_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


@dataclass(frozen=True, slots=True)
class Send:
    """Deliver ``message`` to the party called ``to``. Resumes with ``None`` once it is queued."""

    to: str
    message: Message


@dataclass(frozen=True, slots=True)
class Recv:
    """Wait for the next message of type ``kind`` from ``sender``. Resumes with the message."""

    sender: str
    kind: type[Message]


@dataclass(frozen=True, slots=True)
class RecvAny:
    """Wait for the first of several. Resumes with ``(index, message)``."""

    options: tuple[Recv, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """Tell whoever watches how far a long phase is. Public numbers only. Resumes with ``None``.

    ``names``: who took part in the step that is done, where that differs from step to step. ``begins``: the names are
    those of the next step, of which nothing has opened; the flow goes on when whoever watches has kept them.
    """

    done: int
    total: int
    unit: str = "rows"
    metrics: Mapping[str, float] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    begins: bool = False


Effect = Send | Recv | RecvAny | Progress
Flow = Generator[Effect, Any, T]


def receive(sender: str, kind: type[M]) -> Flow[M]:
    """``Recv`` with the type of what comes back."""
    got = yield Recv(sender, kind)
    assert isinstance(got, kind)
    return got


def gather(flows: Sequence[Flow[T]]) -> Flow[list[T]]:
    """Run several flows of one party side by side; results in the order given.

    Each runs until it waits; the first message that any of them waits for resumes it. Of several that wait for messages
    of one type from one sender the first in order gets them, until it is done with them.
    """
    results: dict[int, T] = {}
    waiting: dict[int, Recv | RecvAny] = {}
    ready: deque[tuple[int, Any]] = deque((i, None) for i in range(len(flows)))
    try:
        while ready or waiting:
            while ready:
                index, value = ready.popleft()
                try:
                    effect = flows[index].send(value)
                except StopIteration as stop:
                    results[index] = stop.value
                    continue
                if isinstance(effect, Recv | RecvAny):
                    waiting[index] = effect
                else:
                    ready.appendleft((index, (yield effect)))
            if waiting:
                owners: list[tuple[int, int]] = []
                options: list[Recv] = []
                for index, effect in sorted(waiting.items(), key=lambda item: item[0]):
                    inner = effect.options if isinstance(effect, RecvAny) else (effect,)
                    owners.extend((index, position) for position in range(len(inner)))
                    options.extend(inner)
                chosen, got = yield RecvAny(tuple(options))
                index, position = owners[chosen]
                was = waiting.pop(index)
                ready.append((index, (position, got) if isinstance(was, RecvAny) else got))
    finally:
        for flow in flows:
            flow.close()
    return [results[i] for i in range(len(flows))]


def run_local(
    flows: Mapping[str, Flow[Any]],
    *,
    relay: Callable[[str, str, Message], Message] | None = None,
    watch: Callable[[str, Progress], None] | None = None,
) -> dict[str, Any]:
    """Run the flows of all parties in this process, in a fixed order, to their results.

    ``relay(sender, receiver, message)`` may record, encode and decode, or tamper with each message;
    what it returns is delivered. Raises :class:`LocalProtocolError` when every flow waits for
    a message that nobody will send.
    """
    inbox: dict[tuple[str, str, str], deque[Message]] = {}
    results: dict[str, Any] = {}
    waiting: dict[str, Recv | RecvAny] = {}
    ready: deque[tuple[str, Any]] = deque((name, None) for name in flows)

    def take(name: str, effect: Recv | RecvAny) -> tuple[bool, Any]:
        options = effect.options if isinstance(effect, RecvAny) else (effect,)
        for position, option in enumerate(options):
            queue = inbox.get((option.sender, name, _full_name(option.kind)))
            if queue:
                got = queue.popleft()
                return True, (position, got) if isinstance(effect, RecvAny) else got
        return False, None

    try:
        while ready:
            name, value = ready.popleft()
            while True:
                try:
                    effect = flows[name].send(value)
                except StopIteration as stop:
                    results[name] = stop.value
                    break
                value = None
                if isinstance(effect, Send):
                    if effect.to not in flows:
                        raise LocalProtocolError(f"{name} sends to {effect.to!r}, who takes no part")
                    sent = relay(name, effect.to, effect.message) if relay else effect.message
                    key = (name, effect.to, _full_name(type(sent)))
                    inbox.setdefault(key, deque()).append(sent)
                    if effect.to in waiting:
                        found, got = take(effect.to, waiting[effect.to])
                        if found:
                            del waiting[effect.to]
                            ready.append((effect.to, got))
                elif isinstance(effect, Progress):
                    if watch:
                        watch(name, effect)
                else:
                    found, value = take(name, effect)
                    if not found:
                        waiting[name] = effect
                        break
        if waiting:
            detail = "; ".join(f"{name} waits for {effect}" for name, effect in waiting.items())
            raise LocalProtocolError(f"no party can go on: {detail}")
    finally:
        for flow in flows.values():
            flow.close()
    return results


def run_alone(flow: Flow[T]) -> T:
    """Run a flow that waits for nobody to its result. Raises :class:`LocalProtocolError` where it does, or sends."""
    result: T = run_local({"alone": flow})["alone"]
    return result


def fields_of(cls: type[Message]) -> tuple[dataclasses.Field[Any], ...]:
    """The declared fields of a message type."""
    return dataclasses.fields(cls)  # type: ignore[arg-type]
