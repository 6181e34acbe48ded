"""Run a flow over a channel: the only wait loop.

A flow yields effects, this performs them. Whatever a channel raises is thrown into the flow, so that
its ``finally`` blocks run and secrets held there are dropped, and then reaches the caller.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from parties.errors import EntenteError, PeerError
from parties.transport.channel import Channel
from psi.flow import (
    Effect,
    Flow,
    LocalProtocolError,
    PeerLost,
    Progress,
    ProtocolError,
    Recv,
    RecvAny,
    RemoteProtocolError,
    Send,
)

__all__ = ["drive"]

T = TypeVar("T")


class _Lost(PeerError, PeerLost):
    """A peer that is gone, as a flow that can do without it catches it, and as everybody else reads it."""


def drive(flow: Flow[T], channel: Channel, *, silence: float, watch: Callable[[Progress], None] | None = None) -> T:
    """Run ``flow`` to its result.

    ``silence`` is how many seconds a peer may keep us waiting for one message; ``watch`` hears the
    flow's :class:`Progress`. Raises what the flow raises: :class:`PeerError` or :class:`RunAborted`
    from the channel, :class:`RemoteProtocolError` with the peer's name when the flow refuses the message it has just
    received. The channel stays open: its owner closes it.
    """
    value: Any = None
    failure: Exception | None = None
    sender = ""
    try:
        while True:
            try:
                effect = flow.send(value) if failure is None else flow.throw(failure)
            except StopIteration as stop:
                result: T = stop.value
                return result
            except RemoteProtocolError as error:
                if error.peer or not sender:
                    raise
                raise RemoteProtocolError(error.reason, sender) from error
            value, failure, sender = None, None, ""
            try:
                value, sender = _perform(effect, channel, silence, watch)
            except PeerError as error:
                failure = _Lost(str(error), error.peer)
            except (EntenteError, ProtocolError) as error:
                failure = error
    finally:
        flow.close()


def _perform(
    effect: Effect, channel: Channel, silence: float, watch: Callable[[Progress], None] | None
) -> tuple[Any, str]:
    """The effect's result, and who sent it where it is a message."""
    match effect:
        case Send(to, message):
            channel.send(to, message)
            return None, ""
        case Recv(sender):
            return channel.receive((effect,), silence)[1], sender
        case RecvAny(options):
            position, message = channel.receive(options, silence)
            return (position, message), options[position].sender
        case Progress():
            if watch:
                watch(effect)
            return None, ""
        case _:
            raise LocalProtocolError(f"a flow yielded {effect!r}, which is no effect")
