"""The coordinator's ``Relay`` service: parties that cannot reach each other meet at its switchboard.

*Learns*: who is connected with whom, and sizes and times of what travels.
*Leaks*: nothing of messages: what passes is the parties' own TLS (``parties.transport.tunnel``).
*Model*: any caller; a party may call only whom it shares a run under way with.
*Source*: an application-level relay as TURN (RFC 8656) is one for datagrams.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any, NoReturn

from parties.transport.grpc import authenticated_peer  # first: it settles how grpc's C core starts

# isort: split
import grpc

from parties.errors import PeerError
from parties.members.roster import Roster
from parties.names import COORDINATOR, NO_PARTIES
from parties.process.supervision import start_task
from parties.transport.relay import SERVICE
from parties.transport.switchboard import End, Ring, Switchboard
from parties.wire.gen import relay_pb2 as wire

__all__ = ["OwnDoor", "relay_handler"]

_MOST_CALLS = 96
_NO_PARTY = "only a party's own certificate may use the relay"


def relay_handler(board: Switchboard, roster: Roster) -> grpc.GenericRpcHandler[Any, Any]:
    """The service's methods under their names."""

    held = _Held()

    def listen(_: wire.Here, context: grpc.ServicerContext) -> Iterator[wire.Ring]:
        name = _party(context, roster)
        rings = board.listen(name)
        if not context.add_callback(rings.close):
            rings.close()
        for ring in rings:
            yield wire.Ring(caller=ring.caller, ticket=ring.ticket)

    def carry(parcels: Iterator[wire.Parcel], context: grpc.ServicerContext) -> Iterator[wire.Parcel]:
        name = _party(context, roster)
        if not held.take(name, context):
            _refuse(context, f"{name!r} holds {_MOST_CALLS} relayed connections already")
        try:
            first = next(parcels)
            end = board.answer(name, first.ticket) if first.ticket else board.dial(name, first.to)
        except (StopIteration, grpc.RpcError):
            return
        except PeerError as error:
            _refuse(context, str(error))
        if not context.add_callback(end.close):
            end.close()
        start_task(lambda: _take_in(parcels, end), f"relay of {name}", lambda error: end.close())
        yield wire.Parcel()
        while data := end.receive():
            yield wire.Parcel(data=data)

    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            "Listen": grpc.unary_stream_rpc_method_handler(
                listen,
                request_deserializer=wire.Here.FromString,
                response_serializer=wire.Ring.SerializeToString,
            ),
            "Carry": grpc.stream_stream_rpc_method_handler(
                carry,
                request_deserializer=wire.Parcel.FromString,
                response_serializer=wire.Parcel.SerializeToString,
            ),
        },
    )


class _Held:
    """How many connections each member holds or is asking for. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def take(self, name: str, context: grpc.ServicerContext) -> bool:
        """Count one more until the call ends; False when there are too many."""

        def give_back() -> None:
            with self._lock:
                self._counts[name] -= 1

        with self._lock:
            if self._counts[name] >= _MOST_CALLS:
                return False
            self._counts[name] += 1
        if not context.add_callback(give_back):
            give_back()
        return True


class OwnDoor:
    """The coordinator's own way to the parties that cannot be reached: straight to its switchboard."""

    def __init__(self, board: Switchboard) -> None:
        self._board = board

    def dial(self, to: str, outgoing: Iterator[bytes]) -> _OwnIncoming:
        end = self._board.dial(COORDINATOR, to)

        def send() -> None:
            for data in outgoing:
                if not end.send(data):
                    break
            end.close()

        start_task(send, f"relay to {to}", lambda error: end.close())
        return _OwnIncoming(end)

    def rings(self) -> Iterator[Ring]:
        """None: whoever is connected to the switchboard reaches the coordinator itself."""
        return iter(())

    def answer(self, ring: Ring, outgoing: Iterator[bytes]) -> _OwnIncoming:
        raise PeerError("nobody calls the coordinator through itself", ring.caller)

    def close(self) -> None:
        self._board.close()


class _OwnIncoming:
    def __init__(self, end: End) -> None:
        self._end = end

    def __iter__(self) -> Iterator[bytes]:
        while data := self._end.receive():
            yield data

    def close(self) -> None:
        self._end.close()


def _take_in(parcels: Iterator[wire.Parcel], end: End) -> None:
    try:
        for parcel in parcels:
            if parcel.data and not end.send(parcel.data):
                return
    except grpc.RpcError:
        pass
    finally:
        end.close()


def _party(context: grpc.ServicerContext, roster: Roster) -> str:
    name = authenticated_peer(context, roster)
    if name in NO_PARTIES:
        _refuse(context, _NO_PARTY)
    return name


def _refuse(context: grpc.ServicerContext, text: str) -> NoReturn:
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, text[:300])
    raise AssertionError("abort does not return")
