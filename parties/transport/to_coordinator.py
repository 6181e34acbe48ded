"""One pinned connection to the coordinator: calls with one answer or many, and what its refusals mean to people."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from parties.transport.grpc import connect  # first: it settles how grpc's C core starts

# isort: split
import grpc
from google.protobuf.message import Message as Protobuf

from parties import errors
from parties.errors import ConfigError, EntenteError, PeerError
from parties.members.keys import Identity, TlsKeys, load_tls_keys
from parties.members.roster import Member, Roster
from parties.names import COORDINATOR
from parties.transport.threads import apart
from parties.wire.gen import coordinator_pb2 as wire

__all__ = ["CoordinatorAway", "ERROR_KEY", "SERVICE", "SESSION_KEY", "STARTING", "Connection", "Stream"]

SERVICE = "entente.coordinator.v1.Coordinator"
ERROR_KEY = "entente-error"
STARTING = "the coordinator is starting"
SESSION_KEY = "entente-session"

_RESPONSES: dict[str, type[Protobuf]] = {
    "Attach": wire.Command,
    "Report": wire.Receipt,
    "Propose": wire.Document,
    "Cancel": wire.Receipt,
    "Pause": wire.Receipt,
    "Resume": wire.Receipt,
    "Read": wire.Chunk,
    "Hello": wire.Document,
    "Join": wire.Document,
    "Renew": wire.Receipt,
    "FactorBundle": wire.Chunk,
    "Ask": wire.Chunk,
    "SignIn": wire.Document,
}

P = TypeVar("P", bound=Protobuf)


class CoordinatorAway(PeerError):
    """The coordinator gives no answer now; the same call may have one later."""

    def __init__(self, message: str) -> None:
        super().__init__(message, COORDINATOR)


class Connection:
    """Calls to the coordinator over mutual TLS, pinned to the certificate in the roster."""

    def __init__(self, address: str, credentials: Path, name: str) -> None:
        identity = load_tls_keys(name, credentials / "keys")
        coordinator = Roster.load(credentials / "roster.json").member(COORDINATOR)
        if address:
            coordinator = coordinator.model_copy(update={"address": address})
        self._connect(identity, coordinator)

    @classmethod
    def between(cls, identity: Identity, coordinator: Member) -> Connection:
        """A connection of ``identity`` to the coordinator that ``coordinator`` describes."""
        made = cls.__new__(cls)
        made._connect(identity, coordinator)
        return made

    def within(self, session: str) -> Connection:
        """The same connection, with the session's secret beside every call."""
        made = type(self).__new__(type(self))
        made.address, made._channel = self.address, self._channel
        made._beside = ((SESSION_KEY, session),)
        return made

    def _connect(self, identity: Identity | TlsKeys, coordinator: Member) -> None:
        self._beside: tuple[tuple[str, str], ...] = ()
        if identity.expires < datetime.now(UTC):
            raise ConfigError(
                f"the certificate of {identity.name!r} itself ended on {identity.expires:%Y-%m-%d}: nobody "
                "accepts it; have this member revoked, and join again with a new invitation"
            )
        self.address = coordinator.address
        self._channel = connect(identity, Roster({COORDINATOR: coordinator}), COORDINATOR)

    def close(self) -> None:
        self._channel.close()

    def call(self, method: str, request: Protobuf, shape: type[P], *, timeout: float) -> P:
        """One request, one answer. Raises the :class:`EntenteError` the coordinator meant."""
        try:
            method_of = self._method(self._channel.unary_unary, method)
            answer = apart(lambda: method_of(request, timeout=timeout, metadata=self._beside))
        except grpc.RpcError as error:
            raise self._translated(error) from None
        except ValueError:
            raise self._closed() from None
        assert isinstance(answer, shape)
        return answer

    def collect(self, method: str, request: Protobuf, *, timeout: float) -> bytes:
        """One request, one document that comes in pieces."""
        return apart(
            lambda: b"".join(chunk.data for chunk in self.stream(method, request, wire.Chunk, timeout=timeout))
        )

    def stream(self, method: str, request: Protobuf, shape: type[P], *, timeout: float | None = None) -> Stream[P]:
        """One request, many answers; iterate over the result, or :meth:`Stream.cancel` it."""
        try:
            answers = self._method(self._channel.unary_stream, method)(request, timeout=timeout, metadata=self._beside)
        except ValueError:
            raise self._closed() from None
        return Stream(answers, shape, self._translated)

    def _closed(self) -> PeerError:
        return PeerError(f"the connection to the coordinator at {self.address} is closed: open a new one", COORDINATOR)

    def _method(self, kind: Callable[..., Any], method: str) -> Any:
        shape = _RESPONSES[method]
        return kind(
            f"/{SERVICE}/{method}",
            request_serializer=lambda request: request.SerializeToString(),
            response_deserializer=shape.FromString,
        )

    def _translated(self, error: grpc.RpcError) -> EntenteError:
        """The error the coordinator named, or what its status means to the person reading."""
        call: Any = error
        status, detail = call.code(), call.details() or ""
        named = dict(call.trailing_metadata() or ()).get(ERROR_KEY, "")
        if named in errors.__all__:
            kind = getattr(errors, str(named))
            return PeerError(detail, COORDINATOR) if kind is PeerError else kind(detail)
        refused = any(word in detail.lower() for word in ("handshake", "certificate", "ssl"))
        if status is grpc.StatusCode.UNAUTHENTICATED or (status is grpc.StatusCode.UNAVAILABLE and refused):
            return ConfigError(
                f"the coordinator at {self.address} and these credentials do not accept each other: "
                "check that both rosters hold the other's present certificate"
            )
        if status is grpc.StatusCode.UNAVAILABLE and "socket closed" in detail.lower():
            return CoordinatorAway(
                f"the coordinator at {self.address} closed the connection: it is stopping, or its roster lacks "
                "this member's present certificate"
            )
        if status is grpc.StatusCode.UNAVAILABLE and detail == STARTING:
            return CoordinatorAway(f"the coordinator at {self.address} is starting: try again in a moment")
        if status is grpc.StatusCode.UNAVAILABLE:
            return CoordinatorAway(
                f"the coordinator at {self.address} cannot be reached: check the address, and that it runs"
            )
        if status is grpc.StatusCode.RESOURCE_EXHAUSTED:
            return PeerError("the document is larger than one message may be: name fewer periods", COORDINATOR)
        if status is grpc.StatusCode.DEADLINE_EXCEEDED:
            return CoordinatorAway(f"the coordinator at {self.address} did not answer in time: try again")
        return PeerError(f"the coordinator at {self.address} failed ({status.name}): see its log", COORDINATOR)


class Stream(Iterator[P]):
    """Answers as they come; ends when the coordinator ends it or it is cancelled."""

    def __init__(self, call: Any, shape: type[P], translated: Callable[[grpc.RpcError], EntenteError]) -> None:
        self._call = call
        self._shape = shape
        self._translated = translated

    def __next__(self) -> P:
        try:
            answer = next(self._call)
        except grpc.RpcError as error:
            if self._call.cancelled():
                raise StopIteration from None
            raise self._translated(error) from None
        assert isinstance(answer, self._shape)
        return answer

    def cancel(self) -> None:
        self._call.cancel()
