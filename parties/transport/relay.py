"""A node's door to the coordinator's switchboard: the ``Relay`` service over its own mutual-TLS connection."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

from parties.transport.grpc import connect  # first: it settles how grpc's C core starts

# isort: split
import grpc

from parties.errors import PeerError
from parties.members.keys import Identity
from parties.members.roster import Member, Roster
from parties.names import COORDINATOR
from parties.transport.switchboard import Ring
from parties.wire.gen import relay_pb2 as wire

__all__ = ["SERVICE", "CoordinatorDoor"]

SERVICE = "entente.relay.v1.Relay"

_LOG = logging.getLogger(__name__)
_PAUSE = 0.5
_HOPELESS_PAUSE = 30.0
_HOPELESS = (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.FAILED_PRECONDITION)


class CoordinatorDoor:
    """Dials and listens at the coordinator that ``roster`` names, as it names it at the time. Any thread."""

    def __init__(self, identity: Identity, roster: Roster) -> None:
        self._identity = identity
        self._roster = roster
        self._lock = threading.Lock()
        self._line: tuple[Member, grpc.Channel] | None = None
        self._listening: Any = None
        self._closed = threading.Event()

    def dial(self, to: str, outgoing: Iterator[bytes]) -> _Incoming:
        return self._carry(wire.Parcel(to=to), outgoing, to)

    def answer(self, ring: Ring, outgoing: Iterator[bytes]) -> _Incoming:
        return self._carry(wire.Parcel(ticket=ring.ticket), outgoing, ring.caller)

    def rings(self) -> Iterator[Ring]:
        told = ""
        while not self._closed.is_set():
            pause = _PAUSE
            try:
                listen = self._channel().unary_stream(
                    f"/{SERVICE}/Listen",
                    request_serializer=wire.Here.SerializeToString,
                    response_deserializer=wire.Ring.FromString,
                )
                self._listening = listen(wire.Here())
                for ring in self._listening:
                    told = ""
                    yield Ring(ring.caller[:64], ring.ticket[:64])
            except (grpc.RpcError, PeerError) as error:
                code = error.code() if isinstance(error, grpc.RpcError) else None
                text = _said(error)
                if text != told and not self._closed.is_set():
                    _LOG.info("relay: the coordinator announces no calls to us: %s", text)
                told = text
                pause = _HOPELESS_PAUSE if code in _HOPELESS else _PAUSE
            except ValueError:  # the channel was closed meanwhile
                pause = _PAUSE
            self._closed.wait(pause)

    def close(self) -> None:
        self._closed.set()
        if self._listening is not None:
            self._listening.cancel()
        with self._lock:
            if self._line is not None:
                self._line[1].close()

    def _carry(self, first: wire.Parcel, outgoing: Iterator[bytes], peer: str) -> _Incoming:
        def parcels() -> Iterator[wire.Parcel]:
            yield first
            for data in outgoing:
                yield wire.Parcel(data=data)

        try:
            call: Any = self._channel().stream_stream(
                f"/{SERVICE}/Carry",
                request_serializer=wire.Parcel.SerializeToString,
                response_deserializer=wire.Parcel.FromString,
            )(parcels())
            next(call)
        except (grpc.RpcError, ValueError, StopIteration) as error:
            raise PeerError(_said(error), peer) from None
        return _Incoming(call)

    def _channel(self) -> grpc.Channel:
        member = self._roster.member(COORDINATOR)
        with self._lock:
            if self._closed.is_set():
                raise PeerError("this node is leaving", COORDINATOR)
            if self._line is None or self._line[0] != member:
                if self._line is not None:
                    self._line[1].close()
                self._line = member, connect(self._identity, self._roster, COORDINATOR)
            return self._line[1]


class _Incoming:
    """The pieces that a Carry call brings."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __iter__(self) -> Iterator[bytes]:
        try:
            for parcel in self._call:
                yield parcel.data
        except grpc.RpcError:
            return

    def close(self) -> None:
        self._call.cancel()


def _said(error: Exception) -> str:
    """The coordinator's own sentence, or what its silence means."""
    if not isinstance(error, grpc.RpcError):
        return str(error) or "the coordinator ended the call"
    call: Any = error
    if call.code() is grpc.StatusCode.UNIMPLEMENTED:
        return "this coordinator does not relay"
    if call.code() is grpc.StatusCode.FAILED_PRECONDITION:
        return str(call.details())[:300]
    return f"the coordinator cannot be reached ({call.code().name.lower()})"
