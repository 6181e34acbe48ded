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
from typing import Any, NoReturn, Self, TypeAlias

# Both are read when the C core starts. Parties are never forked with channels open, and the core's
# fork handlers would stall unrelated child processes.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc

from parties.errors import ConfigError, PeerError
from parties.identity import Identity, Member, Roster, certificate_name
from parties.settings import TransportSettings
from parties.transport.channel import End, Frame, SessionTerms
from parties.transport.chunks import LARGEST_FRAME, assemble, wire_frames
from parties.transport.inbox import INTAKE_FAILED, ConnectionReplaced, Inbox, SessionClosed
from parties.transport.meter import Recorder
from parties.transport.outbox import Outbox
from parties.transport.session import SessionChannel
from parties.transport.sessions import Sessions, TooManyWaiting
from parties.transport.threads import DaemonThreads
from parties.wire.gen import exchange_pb2 as wire
from psi.flow import Payload, RemoteProtocolError, Role

__all__ = ["ExchangeServer", "GrpcChannel", "authenticated_peer", "connect", "server_credentials", "shown_certificate"]

_LOG = logging.getLogger(__name__)
_METHOD = "/entente.exchange.v1.Exchange/Deliver"
_RECEIPT_MESSAGES, _RECEIPT_BYTES = 32, 2 * 2**20
_CALLS = 512
_PAUSE = 0.1
_FAREWELL = 1.0

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

_Deliver: TypeAlias = "grpc.StreamStreamMultiCallable[wire.Frame, wire.Receipt]"

_UNAUTHENTICATED = "your certificate does not belong to the sender you name, or is not valid today"
_BREACH = "a message broke the protocol"
_FAULT = "this node failed while it took a message in"
_STRANGER = "you take no part in this session"
_BUSY = "too many sessions wait to be opened here"
_REFUSALS = {
    grpc.StatusCode.UNAUTHENTICATED: "does not accept our certificate: compare its roster with ours",
    grpc.StatusCode.PERMISSION_DENIED: "does not accept us in this session: compare the agreements",
    grpc.StatusCode.ABORTED: "failed while it took a message of ours in: its own log says why",
    grpc.StatusCode.INVALID_ARGUMENT: "refused a message of ours: its own log says why",
}

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


def connect(identity: Identity, roster: Roster, name: str) -> grpc.Channel:
    """A channel to ``name`` that trusts its rostered certificate and no other."""
    member = roster.member(name)
    member.check_valid(name, datetime.now(UTC))
    credentials = grpc.ssl_channel_credentials(member.certificate.encode(), identity.tls_key, identity.certificate)
    options = [*_CLIENT_OPTIONS, ("grpc.ssl_target_name_override", certificate_name(name))]
    return grpc.secure_channel(member.address, credentials, options)


def authenticated_peer(context: grpc.ServicerContext, roster: Roster) -> str:
    """The roster's name for the caller's certificate; ends the call when there is none or it is out of date."""
    certificates: Any = context.auth_context().get("x509_pem_cert", ())
    owners = [name for name in map(roster.name_of, certificates) if name is not None]
    if not owners:
        _refuse(context, grpc.StatusCode.UNAUTHENTICATED, _UNAUTHENTICATED, "no rostered certificate")
    try:
        roster[owners[0]].check_valid(owners[0], datetime.now(UTC))
    except PeerError as error:
        _refuse(context, grpc.StatusCode.UNAUTHENTICATED, _UNAUTHENTICATED, str(error))
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
    the same port (they use :func:`authenticated_peer`);
    ``invited`` gives the certificates (PEM) of those who may shake hands beside the roster. Raises
    :class:`ConfigError` when the port is taken.
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
    ) -> None:
        self.identity = identity
        self.settings = settings or TransportSettings()
        self._roster = roster
        self._sessions: Sessions[GrpcChannel] = Sessions()
        self._lines: dict[str, tuple[Member, grpc.Channel]] = {}
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
        host = address.rpartition(":")[0]
        try:
            port = self._server.add_secure_port(address, server_credentials(identity, roster, invited))
        except RuntimeError:
            port = 0
        if not port:
            raise ConfigError(f"cannot listen on {address}: another program may use it; choose another port")
        self.address = f"{host}:{port}"
        self._server.start()

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
        calls = {name: self._line(name).stream_stream(_METHOD, **_CODECS) for name in terms.peers}
        return self._sessions.add(key, lambda: GrpcChannel(terms, recorder, calls, lambda: self._sessions.retire(key)))

    def close(self) -> None:
        """Close every channel and stop serving."""
        for channel in self._sessions.stop():
            channel.close()
        for _, line in self._lines.values():
            line.close()
        self._server.stop(grace=0.5).wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _line(self, name: str) -> grpc.Channel:
        member = self._roster.member(name)
        known = self._lines.get(name)
        if known is not None and known[0] == member:
            return known[1]
        line = connect(self.identity, self._roster, name)
        self._lines[name] = member, line
        if known is not None:
            known[1].close()
        return line

    def _deliver(self, frames: Iterator[wire.Frame], context: grpc.ServicerContext) -> Iterator[wire.Receipt]:
        peer = authenticated_peer(context, self._roster)
        try:
            first = next(frames)
        except (StopIteration, grpc.RpcError):
            return
        hello = first.hello
        if first.WhichOneof("part") != "hello" or hello.sender != peer:
            detail = f"{peer!r} calls itself {hello.sender!r}"
            _refuse(context, grpc.StatusCode.UNAUTHENTICATED, _UNAUTHENTICATED, detail)
        key = (hello.run_id, hello.session)
        if not self._sessions.known(key):
            yield wire.Receipt(waiting=True)
        context.add_callback(self._sessions.wake)
        try:
            channel = self._sessions.wait(key, peer, context.is_active)
        except TooManyWaiting:
            _refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, _BUSY, f"{peer!r} waits for too many sessions")
        if channel is None:
            yield wire.Receipt(closed=True)
        elif peer not in channel.terms.peers:
            _refuse(context, grpc.StatusCode.PERMISSION_DENIED, _STRANGER, f"{peer!r} in session {hello.session!r}")
        else:
            yield from _take_in(channel, peer, frames, context)


class GrpcChannel(SessionChannel):
    """A channel of an :class:`ExchangeServer`: one :class:`_Courier` per peer carries its outbox."""

    def __init__(
        self,
        terms: SessionTerms,
        recorder: Recorder | None,
        deliver: Mapping[str, _Deliver],
        retire: Callable[[], None],
    ) -> None:
        super().__init__(terms, recorder)
        self._retire = retire
        self._couriers = {name: _Courier(name, terms, self.inbox, method) for name, method in deliver.items()}

    def abort(self, reason: str) -> None:
        super().abort(reason)
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
        deadline = time.monotonic() + (_FAREWELL if aborted else self.terms.settings.contact_seconds)
        for courier in self._couriers.values():
            courier.stop(max(0.0, deadline - time.monotonic()))

    def _end(self, *, aborted: bool) -> End:
        return End(self.terms.run_id, self.terms.session, self.party, aborted)


class _Courier:
    """Carries one outbox to one peer, over as many calls as that takes."""

    def __init__(self, peer: str, terms: SessionTerms, inbox: Inbox, deliver: _Deliver) -> None:
        self.outbox = Outbox(peer, terms.settings.unsent)
        self._peer = peer
        self._terms = terms
        self._inbox = inbox
        self._deliver = deliver
        self._call: Any = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"to {peer}", daemon=True)
        self._thread.start()

    def stop(self, patience: float) -> None:
        """Wait for the peer to take everything, ``patience`` seconds at most, then end."""
        if not self.outbox.flush(patience):
            _LOG.warning("%s: %r had not taken all our messages when we left", self._terms.session, self._peer)
        self._stopped.set()
        if not self.outbox.done:
            self.outbox.discard()
            if self._call is not None:
                self._call.cancel()
        self._thread.join(_FAREWELL)

    def _run(self) -> None:
        settings = self._terms.settings
        window, since = settings.contact_seconds, time.monotonic()
        while not self.outbox.done:
            try:
                reached, detail = self._connect()
            except PeerError as error:
                self._give_up(error)
                return
            if reached:
                window, since = settings.reconnect_seconds, time.monotonic()
            elif time.monotonic() - since >= window:
                _LOG.warning("%s: no connection to %r: %s", self._terms.session, self._peer, detail)
                text = f"{self._peer!r} cannot be reached: see whether its node is running and knows our certificate"
                self._give_up(PeerError(text, self._peer))
                return
            if not self.outbox.done:
                self.outbox.missed()
                self._stopped.wait(_PAUSE)

    def _connect(self) -> tuple[bool, str]:
        """One call from beginning to end: whether the peer answered, and how the call ended."""
        reached = resumed = False
        attempt = self.outbox.attach()
        try:
            self._call = self._deliver(self._frames(attempt))
            for receipt in self._call:
                reached = True
                if receipt.closed:
                    self.outbox.discard()
                elif resumed:
                    self.outbox.acknowledge(receipt.next)
                elif receipt.waiting:
                    self.outbox.missed()
                else:
                    resumed = True
                    self.outbox.resume(attempt, receipt.next)
            self.outbox.complete()
            return reached, "ended by the peer"
        except grpc.RpcError as error:
            detail = f"{error.code()}: {error.details()}"
            _LOG.info("%s: call to %r ended: %s", self._terms.session, self._peer, detail)
            refusal = _REFUSALS.get(error.code())
            if refusal or "CERTIFICATE_VERIFY_FAILED" in detail:
                text = f"{self._peer!r} {refusal or 'does not show the certificate that our roster names'}"
                raise PeerError(text, self._peer) from None
            return reached, detail

    def _frames(self, attempt: int) -> Iterator[wire.Frame]:
        terms = self._terms
        yield wire.Frame(hello=wire.Hello(run_id=terms.run_id, session=terms.session, sender=terms.party))
        while (item := self.outbox.pull(attempt)) is not None:
            yield from wire_frames(item)

    def _give_up(self, error: PeerError) -> None:
        self._inbox.fail(self._peer, error)
        self.outbox.discard()


def _take_in(
    channel: GrpcChannel, peer: str, frames: Iterator[wire.Frame], context: grpc.ServicerContext
) -> Iterator[wire.Receipt]:
    """Move one call's messages into the inbox, and answer with receipts."""
    inbox = channel.inbox
    context.add_callback(inbox.wake)
    ticket, expected = inbox.attach(peer)
    messages = size = 0
    try:
        yield wire.Receipt(next=expected)
        for item in assemble(frames, channel.terms, peer):
            if isinstance(item, End):
                inbox.end(peer, ticket, aborted=item.aborted)
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
        _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, _BREACH, str(error))
    except Exception as error:  # a fault of ours: the peer learns no detail, and our flow does not wait in vain
        _LOG.exception("could not take in a message of %r", peer)
        inbox.abort(INTAKE_FAILED)
        _refuse(context, grpc.StatusCode.ABORTED, _FAULT, repr(error))
    finally:
        inbox.lose(peer, ticket)


def _refuse(context: grpc.ServicerContext, code: grpc.StatusCode, text: str, detail: str) -> NoReturn:
    """End a call with a fixed sentence; what happened is for our log only."""
    _LOG.warning("refused a call from %s: %s", context.peer(), detail)
    context.abort(code, text)
    raise AssertionError("abort does not return")
