"""The gRPC transport: one server per process, mutual TLS, certificates pinned by the roster.

For each session and peer there is one long-lived call in each direction that carries data (``Exchange.Deliver``).
It takes a small message there and an answer back in half the time that one call per message needs for
the message and its receipt (``python -m benchmarks.transport`` shows both), and keeps order by itself.
The receiver answers with the sequence number it waits for, first thing and then as it goes: that is
what bounds the sender's memory and lets a lost connection resume.

Who is who: the server accepts exactly the roster's certificates, and a stream is served only when the
certificate belongs to the sender it names. A client trusts exactly the one certificate the roster
names for the peer it calls. Peers are told one of a few fixed sentences; the reason stays in our log.
"""

from __future__ import annotations

import hashlib
import logging
import os
import ssl
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Self

# Both are read when the C core starts. Parties are never forked with channels open, and the core's
# fork handlers would stall unrelated child processes.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc

from parties.errors import PeerError
from parties.members.keys import Identity, TlsKeys
from parties.members.roster import Member, Roster, certificate_name
from parties.names import COORDINATOR
from parties.settings.consortium import TransportSettings
from parties.transport.channel import End, Frame, SessionTerms
from parties.transport.chunks import LARGEST_FRAME, Arriving, assemble
from parties.transport.courier import FAREWELL, Caller, Courier, Deliver
from parties.transport.inbox import INTAKE_FAILED, ConnectionReplaced, SessionClosed
from parties.transport.meter import Recorder
from parties.transport.reach import beyond_ports, cannot_listen
from parties.transport.refusals import refuse, unrostered
from parties.transport.routes import Routes, Way
from parties.transport.session import SessionChannel
from parties.transport.sessions import Sessions, TooManyWaiting
from parties.transport.threads import DaemonThreads
from parties.transport.tunnel import Door, Tunnel
from parties.wire.gen import exchange_pb2 as wire
from psi.flow import Payload, RemoteProtocolError, Role

__all__ = ["ExchangeServer", "GrpcChannel", "authenticated_peer", "connect", "server_credentials", "shown_certificate"]

_LOG = logging.getLogger(__name__)
_METHOD = "/entente.exchange.v1.Exchange/Deliver"
_RECEIPT_MESSAGES, _RECEIPT_BYTES = 32, 2 * 2**20
_CALLS = 512

_OPTIONS = [
    ("grpc.max_receive_message_length", LARGEST_FRAME),
    ("grpc.max_send_message_length", LARGEST_FRAME),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
]
_SERVER_OPTIONS = [
    *_OPTIONS,
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
]
_CLIENT_OPTIONS = [
    *_OPTIONS,
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    # also how long one attempt may take, handshake included: a busy machine needs more than a second
    ("grpc.min_reconnect_backoff_ms", 10_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.use_local_subchannel_pool", 1),
]

_UNAUTHENTICATED = "your certificate does not belong to the sender you name, or is not valid today"
_BREACH = "a message broke the protocol"
_FAULT = "this node failed while it took a message in"
_STRANGER = "you take no part in this session"
_BUSY = "too many sessions wait to be opened here"
_CODECS: dict[str, Any] = {
    "request_serializer": wire.Frame.SerializeToString,
    "response_deserializer": wire.Receipt.FromString,
}


def server_credentials(
    identity: Identity, roster: Roster, invited: Callable[[], bytes] = bytes
) -> grpc.ServerCredentials:
    """Mutual TLS that accepts exactly the certificates of the roster, and of those ``invited`` (PEM), as they are then.

    The handshake asks for both anew, so a member that joins is let in and one that was revoked is kept out at once.
    """

    def roots() -> bytes:
        return "".join(member.certificate for member in roster.values()).encode() + invited()

    def configuration(trusted: bytes) -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([(identity.tls_key, identity.certificate)], trusted)

    in_force = roots()

    def fetch() -> grpc.ServerCertificateConfiguration:
        nonlocal in_force
        trusted = roots()
        if trusted == in_force:
            return None  # type: ignore[return-value]  # what the library wants for no change
        in_force = trusted
        return configuration(trusted)

    return grpc.dynamic_ssl_server_credentials(configuration(in_force), fetch, require_client_authentication=True)


def connect(identity: Identity | TlsKeys, roster: Roster, name: str, *, through: str = "") -> grpc.Channel:
    """A channel to ``name`` that trusts its rostered certificate and no other; ``through``: not at its own address."""
    member = roster.member(name)
    member.check_valid(name, datetime.now(UTC))
    credentials = grpc.ssl_channel_credentials(member.certificate.encode(), identity.tls_key, identity.certificate)
    options = [*_CLIENT_OPTIONS, ("grpc.ssl_target_name_override", certificate_name(name))]
    return grpc.secure_channel(through or member.address, credentials, options)


def authenticated_peer(context: grpc.ServicerContext, roster: Roster) -> str:
    """The roster's name for the caller's certificate; ends the call when there is none or it is out of date."""
    certificates: Any = context.auth_context().get("x509_pem_cert", ())
    owners = [name for name in map(roster.name_of, certificates) if name is not None]
    if not owners:
        refuse(context, grpc.StatusCode.UNAUTHENTICATED, _UNAUTHENTICATED, unrostered(certificates))
    try:
        roster[owners[0]].check_valid(owners[0], datetime.now(UTC))
    except PeerError as error:
        refuse(context, grpc.StatusCode.UNAUTHENTICATED, _UNAUTHENTICATED, str(error))
    return owners[0]


def shown_certificate(context: grpc.ServicerContext) -> str:
    """SHA-256 (DER, hex) of the certificate that the caller's handshake showed, whoever it belongs to."""
    for certificate in context.auth_context().get("x509_pem_cert", ()):
        der = ssl.PEM_cert_to_DER_cert(bytes(certificate).decode("ascii"))
        return hashlib.sha256(der).hexdigest()
    return ""


class ExchangeServer:
    """A process's door: serves its peers' calls and opens channels. Many runs and sessions at once.

    ``address`` is host:port to listen on, port 0 for a free one; ``services`` are further gRPC handlers for
    the same port (they use :func:`authenticated_peer`); ``invited`` gives the certificates (PEM) of those who may
    shake hands beside the roster; ``door`` leads to the coordinator's switchboard, where ``settings.relay`` wants it.
    Raises :class:`~parties.errors.ConfigError` when it cannot listen there.
    """

    def __init__(
        self,
        identity: Identity,
        roster: Roster,
        address: str,
        *,
        settings: TransportSettings | None = None,
        services: Sequence[grpc.GenericRpcHandler[Any, Any]] = (),
        invited: Callable[[], bytes] = bytes,
        door: Door | None = None,
    ) -> None:
        self.identity = identity
        self.settings = settings or TransportSettings()
        self._roster = roster
        self._sessions: Sessions[GrpcChannel] = Sessions()
        self._lines: dict[tuple[str, Way], tuple[Member, grpc.Channel]] = {}
        self._lock = threading.Lock()
        self.routes = Routes("never" if door is None else self.settings.relay)
        self._tunnel = None if door is None or self.settings.relay == "never" else Tunnel(door)
        self._server = grpc.server(DaemonThreads(), options=_SERVER_OPTIONS, maximum_concurrent_rpcs=_CALLS)
        handler = grpc.stream_stream_rpc_method_handler(
            self._deliver,
            request_deserializer=wire.Frame.FromString,
            response_serializer=wire.Receipt.SerializeToString,
        )
        service, method = _METHOD[1:].split("/")
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, {method: handler}), *services)
        )
        host, port = address.rpartition(":")[0], 0 if beyond_ports(address) else self._listen(address, invited)
        if not port or (self._tunnel is not None and not self._listen(self._tunnel.own, invited)):
            self._close_tunnel()
            raise cannot_listen(address)
        self.address = f"{host}:{port}"
        self._server.start()
        if self._tunnel is not None:
            self._tunnel.listen()

    def open(
        self,
        run_id: str,
        session: str,
        roles: Mapping[str, Role],
        payloads: Collection[Payload],
        *,
        recorder: Recorder | None = None,
    ) -> GrpcChannel:
        """Join a session; connects to every peer at once. ``roles`` names every member, ourselves included.

        Raises :class:`PeerError` for a peer that the roster lacks or whose certificate is out of date.
        """
        terms = SessionTerms(run_id, session, self.identity.name, dict(roles), frozenset(payloads), self.settings)
        key = (run_id, session)
        for name in terms.peers:
            self._roster.member(name).check_valid(name, datetime.now(UTC))
        callers = {name: _PeerCaller(self, name) for name in terms.peers}
        return self._sessions.add(
            key, lambda: GrpcChannel(terms, recorder, callers, lambda: self._sessions.retire(key))
        )

    def close(self) -> None:
        """Close every channel and stop serving."""
        for channel in self._sessions.stop():
            channel.close()
        with self._lock:
            lines = list(self._lines.values())
        for _, line in lines:
            line.close()
        self._server.stop(grace=0.5).wait()
        self._close_tunnel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _listen(self, address: str, invited: Callable[[], bytes]) -> int:
        try:
            # credentials of its own: each port asks for the roster in force when it changes
            return self._server.add_secure_port(address, server_credentials(self.identity, self._roster, invited))
        except RuntimeError:
            return 0

    def _close_tunnel(self) -> None:
        if self._tunnel is not None:
            self._tunnel.close()

    def choose(self, name: str, trouble: float) -> Way | None:
        """The way for the next call to ``name``; None when it is too early to try."""
        if name == COORDINATOR:  # the relay itself
            return "direct"
        return self.routes.choose(name, self._roster.member(name).address, trouble)

    def line(self, name: str, way: Way) -> grpc.Channel:
        """The channel to ``name`` on this way, made anew where the roster's entry has changed."""
        member = self._roster.member(name)
        through = self._tunnel.to(name) if way == "relay" and self._tunnel is not None else ""
        with self._lock:
            known = self._lines.get((name, way))
            if known is not None and known[0] == member:
                return known[1]
            line = connect(self.identity, self._roster, name, through=through)
            self._lines[name, way] = member, line
        if known is not None:
            known[1].close()
        return line

    def reached(self, name: str, way: Way) -> None:
        """A call to ``name`` was answered on this way."""
        if name != COORDINATOR:
            self.routes.reached(name, self._roster.member(name).address, way)

    def relay_trouble(self, name: str) -> str:
        """Why ``name`` was not reached through the coordinator, or ""."""
        return "" if self._tunnel is None else self._tunnel.reason(name)

    def _deliver(self, frames: Iterator[wire.Frame], context: grpc.ServicerContext) -> Iterator[wire.Receipt]:
        peer = authenticated_peer(context, self._roster)
        try:
            first = next(frames)
        except (StopIteration, grpc.RpcError):
            return
        hello = first.hello
        if first.WhichOneof("part") != "hello" or hello.sender != peer:
            detail = f"{peer!r} calls itself {hello.sender!r}"
            refuse(context, grpc.StatusCode.UNAUTHENTICATED, _UNAUTHENTICATED, detail)
        key = (hello.run_id, hello.session)
        if not self._sessions.known(key):
            yield wire.Receipt(waiting=True)
        context.add_callback(self._sessions.wake)
        try:
            channel = self._sessions.wait(key, peer, context.is_active)
        except TooManyWaiting:
            refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, _BUSY, f"{peer!r} waits for too many sessions")
        if channel is None:
            yield wire.Receipt(closed=True)
        elif peer not in channel.terms.peers:
            refuse(context, grpc.StatusCode.PERMISSION_DENIED, _STRANGER, f"{peer!r} in session {hello.session!r}")
        else:
            yield from _take_in(channel, peer, frames, context)


class GrpcChannel(SessionChannel):
    """A channel of an :class:`ExchangeServer`: one :class:`Courier` per peer carries its outbox."""

    def __init__(
        self,
        terms: SessionTerms,
        recorder: Recorder | None,
        callers: Mapping[str, Caller],
        retire: Callable[[], None],
    ) -> None:
        super().__init__(terms, recorder)
        self._retire = retire
        self._couriers = {name: Courier(name, terms, self.inbox, caller) for name, caller in callers.items()}

    def abort(self, reason: str, *, anew: bool = False) -> None:
        super().abort(reason, anew=anew)
        for courier in self._couriers.values():
            courier.outbox.finish(self._end(aborted=True))
            if self._closed:
                # we are leaving: nobody waits any more for what peers have not taken
                courier.outbox.discard()

    def _deliver(self, to: str, frame: Frame) -> None:
        self._couriers[to].outbox.put(frame, self.terms.settings.silence_seconds)

    def _leave(self, *, aborted: bool) -> None:
        for courier in self._couriers.values():
            courier.outbox.finish(self._end(aborted=aborted))
        self._retire()
        deadline = time.monotonic() + (FAREWELL if aborted else self.terms.settings.contact_seconds)
        for courier in self._couriers.values():
            courier.stop(max(0.0, deadline - time.monotonic()))

    def _end(self, *, aborted: bool) -> End:
        return End(self.terms.run_id, self.terms.session, self.party, aborted, aborted and self.inbox.anew)


class _PeerCaller:
    """How one courier calls one peer."""

    def __init__(self, server: ExchangeServer, name: str) -> None:
        self._server = server
        self._name = name

    def method(self, trouble: float) -> tuple[Deliver, Way] | None:
        way = self._server.choose(self._name, trouble)
        if way is None:
            return None
        return self._server.line(self._name, way).stream_stream(_METHOD, **_CODECS), way

    def reached(self, way: Way) -> None:
        self._server.reached(self._name, way)

    def trouble(self) -> str:
        return self._server.relay_trouble(self._name)


def _take_in(
    channel: GrpcChannel, peer: str, frames: Iterator[wire.Frame], context: grpc.ServicerContext
) -> Iterator[wire.Receipt]:
    """Move one call's messages into the inbox, and answer with receipts."""
    inbox = channel.inbox
    context.add_callback(inbox.wake)
    ticket, expected = inbox.attach(peer)
    messages = size = 0
    arriving = Arriving(frames)
    try:
        yield wire.Receipt(next=expected)
        for item in assemble(arriving, channel.terms, peer):
            arriving.within = False
            if isinstance(item, End):
                inbox.end(peer, ticket, aborted=item.aborted, anew=item.anew)
                yield wire.Receipt(next=expected)
                return
            expected = inbox.accept(item, ticket, alive=context.is_active)
            messages += 1
            size += len(item.body)
            if messages >= _RECEIPT_MESSAGES or size >= _RECEIPT_BYTES:
                messages = size = 0
                yield wire.Receipt(next=expected)
    except SessionClosed:
        yield wire.Receipt(next=expected, closed=True)
    except (ConnectionReplaced, grpc.RpcError):
        return
    except RemoteProtocolError as error:
        inbox.refuse(error)
        refuse(context, grpc.StatusCode.INVALID_ARGUMENT, _BREACH, str(error))
    except Exception as error:  # a fault of ours: the peer learns no detail, and our flow does not wait in vain
        _LOG.exception("could not take in a message of %r", peer)
        inbox.abort(INTAKE_FAILED)
        refuse(context, grpc.StatusCode.ABORTED, _FAULT, repr(error))
    finally:
        inbox.lose(peer, ticket, within=arriving.within)
