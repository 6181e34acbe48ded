"""What carries one session's outbox to one peer, over as many calls and ways as that takes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from typing import Any, Protocol, TypeAlias

import grpc

from parties.errors import PeerError
from parties.process.supervision import start_task
from parties.transport.channel import SessionTerms
from parties.transport.chunks import wire_frames
from parties.transport.inbox import FRUITLESS, Inbox
from parties.transport.outbox import Outbox
from parties.transport.routes import Way
from parties.wire.gen import exchange_pb2 as wire

__all__ = ["FAREWELL", "Caller", "Courier", "Deliver"]

_LOG = logging.getLogger(__name__)
_PAUSE = 0.1
_SAID_SECONDS = 60.0
FAREWELL = 1.0

Deliver: TypeAlias = "grpc.StreamStreamMultiCallable[wire.Frame, wire.Receipt]"

_REFUSALS = {
    grpc.StatusCode.UNAUTHENTICATED: "does not accept our certificate: compare its roster with ours",
    grpc.StatusCode.PERMISSION_DENIED: "does not accept us in this session: compare the agreements",
    grpc.StatusCode.ABORTED: "failed while it took a message of ours in: its own log says why",
    grpc.StatusCode.INVALID_ARGUMENT: "refused a message of ours: its own log says why",
}


class Caller(Protocol):
    """What a courier calls its peer with."""

    def method(self, trouble: float) -> tuple[Deliver, Way] | None:
        """The method to call now, and on which way; None when it is too early to try.

        ``trouble``: seconds for which attempts have failed, 0 at the first. Raises :class:`PeerError` for a peer that
        the roster lacks or whose certificate is out of date.
        """

    def reached(self, way: Way) -> None:
        """The peer answered on this way."""

    def trouble(self) -> str:
        """What else is known of why it does not answer, or ""."""


class Courier:
    """Carries one outbox to one peer."""

    def __init__(self, peer: str, terms: SessionTerms, inbox: Inbox, caller: Caller) -> None:
        self.outbox = Outbox(peer, terms.settings.unsent)
        self._peer = peer
        self._terms = terms
        self._inbox = inbox
        self._caller = caller
        self._call: Any = None
        self._told = ""
        self._away, self._said = False, -_SAID_SECONDS
        self._resumed = False
        self._taken, self._fruitless, self._fruitless_since = 0, 0, time.monotonic()
        self._stopped = threading.Event()
        self._thread = start_task(self._run, f"to {peer}", self._failed)

    def stop(self, patience: float) -> None:
        """Wait for the peer to take everything, ``patience`` seconds at most, then end."""
        if not self.outbox.flush(patience):
            _LOG.warning("%s: %r had not taken all our messages when we left", self._terms.session, self._peer)
        self._stopped.set()
        if not self.outbox.done:
            self.outbox.discard()
            if self._call is not None:
                self._call.cancel()
        self._thread.join(FAREWELL)

    def _run(self) -> None:
        settings = self._terms.settings
        window, since, tried = settings.contact_seconds, time.monotonic(), False
        while not self.outbox.done:
            try:
                reached, detail = self._connect(time.monotonic() - since if tried else 0.0)
            except PeerError as error:
                self._give_up(error)
                return
            tried = True
            self._say_lost(reached, settings.reconnect_seconds if reached else window)
            if reached:
                window, since = settings.reconnect_seconds, time.monotonic()
                if self._gets_nowhere(window):
                    text = f"the connection to {self._peer!r} breaks again and again before anything arrives"
                    self._give_up(PeerError(f"{text}: something on the way may change what travels", self._peer))
                    return
            elif time.monotonic() - since >= window:
                self._give_up(self._unreachable(detail))
                return
            if not self.outbox.done:
                self.outbox.missed()
                self._stopped.wait(_PAUSE)

    def _say_lost(self, reached: bool, window: float) -> None:
        """Once for each time that the peer is away, and once a minute at most: it is called ten times a second."""
        now = time.monotonic()
        if self.outbox.done or self._stopped.is_set() or self._away or now - self._said < _SAID_SECONDS:
            return
        self._away, self._said = True, now
        what = f"the connection to {self._peer!r} is lost" if reached else f"{self._peer!r} cannot be reached"
        _LOG.warning("run %s: %s: %s; it is called again, and waited for up to %g s", *self._place(), what, window)

    def _say_back(self) -> None:
        if self._away:
            _LOG.info("run %s: %s: %r is there again", *self._place(), self._peer)
        self._away = False

    def _place(self) -> tuple[str, str]:
        return self._terms.run_id[:12], self._terms.session

    def _gets_nowhere(self, window: float) -> bool:
        """Whether connections have come and gone for ``window`` seconds, and the peer took nothing of what waits."""
        taken, now = self.outbox.taken, time.monotonic()
        if not self._resumed or self.outbox.idle or taken > self._taken:
            self._taken, self._fruitless, self._fruitless_since = taken, 0, now
            return False
        self._fruitless += 1
        return self._fruitless >= FRUITLESS and now - self._fruitless_since >= window

    def _unreachable(self, detail: str) -> PeerError:
        _LOG.debug("run %s: %s: no connection to %r: %s", *self._place(), self._peer, detail)
        text = f"{self._peer!r} cannot be reached: see whether its node is running and knows our certificate"
        relayed = self._caller.trouble()
        return PeerError(f"{text} (through the coordinator: {relayed})" if relayed else text, self._peer)

    def _connect(self, trouble: float) -> tuple[bool, str]:
        """One call from beginning to end: whether the peer answered, and how the call ended."""
        found = self._caller.method(trouble)
        if found is None:
            return False, "no connection can be opened"
        deliver, way = found
        reached = self._resumed = False
        attempt = self.outbox.attach()
        try:
            self._call = deliver(self._frames(attempt))
            for receipt in self._call:
                if not reached:
                    reached = True
                    self._caller.reached(way)
                    self._say_back()
                if receipt.closed:
                    self.outbox.discard()
                elif self._resumed:
                    self.outbox.acknowledge(receipt.next)
                elif receipt.waiting:
                    self.outbox.missed()
                else:
                    self._resumed = True
                    self.outbox.resume(attempt, receipt.next)
            self.outbox.complete()
            return reached, "ended by the peer"
        except grpc.RpcError as error:
            detail = f"{way}: {error.code()}: {error.details()}"
            if detail != self._told:  # a peer that is away is tried ten times a second
                self._told = detail
                _LOG.debug("run %s: %s: the call to %r ended: %s", *self._place(), self._peer, detail)
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

    def _failed(self, _: Exception) -> None:
        """A fault of our own, which is not the peer's: whoever waits for it hears so."""
        self._give_up(PeerError(f"our connection to {self._peer!r} failed by an internal error: see this node's log"))

    def _give_up(self, error: PeerError) -> None:
        self._inbox.fail(self._peer, error)
        self.outbox.discard()
