"""Messages that have arrived in a session and wait to be read.

A transport calls :meth:`Inbox.accept` from its own threads, the flow's thread calls :meth:`Inbox.take`.
Memory is bounded: beyond ``unread`` bytes of one sender, ``accept`` waits, which stops the transport
from reading on and so slows the sender down.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from parties.errors import PeerError, RunAborted
from parties.transport.channel import Frame, SessionTerms
from parties.transport.meter import Direction, Meter, Record, Recorder
from parties.transport.transcript import Transcript, TranscriptHead
from psi.flow import RemoteProtocolError

__all__ = ["FRUITLESS", "INTAKE_FAILED", "ConnectionReplaced", "Inbox", "SessionClosed", "record_of"]

FRUITLESS = 8
"""So many connections that come and go, and bring nothing whole, are a line that nobody waits for."""
INTAKE_FAILED = "this node could not take in a message: its log says why"


class SessionClosed(Exception):
    """We have finished this session and want no more messages."""


class ConnectionReplaced(Exception):
    """A newer connection of the same sender, or the end of this one, made this one void."""


@dataclass(slots=True)
class _Sender:
    """What is known of one peer's side of the session."""

    transcript: Transcript
    ticket: int = 0
    expected: int = 0
    unread: int = 0
    waiting: int = 0
    ended: bool = False
    lost_at: float | None = None
    broken: int = 0
    broken_since: float = 0.0
    failure: PeerError | None = None
    queues: dict[str, deque[Frame]] = field(default_factory=dict)


class Inbox:
    """One party's arrivals in one session. Thread-safe."""

    def __init__(self, terms: SessionTerms, meter: Meter, recorder: Recorder | None) -> None:
        self._terms = terms
        self._meter = meter
        self._recorder = recorder
        self._change = threading.Condition()
        self._senders = {
            name: _Sender(Transcript(terms.run_id, terms.session, name, terms.party)) for name in terms.peers
        }
        self._aborted = ""
        self._anew = False
        self._fault: RemoteProtocolError | None = None
        self._closed = False

    def attach(self, name: str) -> tuple[int, int]:
        """A new connection of ``name``: its ticket, and the sequence number we wait for. Older tickets are void."""
        with self._change:
            sender = self._senders[name]
            sender.ticket += 1
            sender.lost_at = None
            sender.ended = False
            self._change.notify_all()
            return sender.ticket, sender.expected

    def accept(
        self, frame: Frame, ticket: int, *, alive: Callable[[], bool] = lambda: True, patience: float | None = None
    ) -> int:
        """Take a frame in; returns the sequence number now waited for.

        Waits while the sender has too many unread bytes, as long as ``alive()`` and for ``patience`` seconds at
        most (:class:`TimeoutError`). A frame that breaks the protocol ends the session: the
        :class:`RemoteProtocolError` raised here is raised in every later :meth:`take` too.
        """
        try:
            self._terms.check_incoming(frame.sender, frame.kind, len(frame.body))
            digest = frame.digest
            with self._change:
                sender = self._admit(frame, ticket)
                self._wait_for_room(sender, frame, ticket, alive, patience)
                sender.expected += 1
                sender.broken = 0
                sender.unread += len(frame.body)
                sender.transcript.extend(frame.kind, digest)
                self._meter.add("received", frame.sender, frame.kind, len(frame.body))
                if self._recorder:
                    self._recorder(record_of("received", frame.sender, frame))
                sender.queues.setdefault(frame.kind, deque()).append(frame)
                self._change.notify_all()
                return sender.expected
        except RemoteProtocolError as error:
            self.refuse(error)
            raise

    def refuse(self, error: RemoteProtocolError) -> None:
        """End the session because a peer broke the protocol; the first reason stands."""
        with self._change:
            self._fault = self._fault or error
            self._change.notify_all()

    def end(self, name: str, ticket: int, *, aborted: bool, anew: bool = False) -> None:
        """``name`` has said that it sends no more; ``anew``: because another attempt follows."""
        with self._change:
            sender = self._senders[name]
            if ticket == sender.ticket:
                sender.ended = True
                if aborted and anew:
                    sender.failure = PeerError(
                        f"{name!r} has ended this attempt, for another one follows", name, anew=True
                    )
                elif aborted:
                    sender.failure = PeerError(f"{name!r} has stopped its part of the run: its own log says why", name)
                self._change.notify_all()

    def lose(self, name: str, ticket: int, *, within: bool = False) -> None:
        """The connection of ``name`` is gone, ``within`` a message; it may return within the reconnect window.

        One that is lost within a message again and again, for as long as that window, is given up: as its own side
        would, where it is the line, and whatever it is, nobody waits for it longer. It is no breach.
        """
        with self._change:
            sender = self._senders[name]
            if within:
                self._note_broken(name, sender)
            if ticket == sender.ticket and not sender.ended and sender.lost_at is None:
                sender.lost_at = time.monotonic()
                sender.ticket += 1
                self._change.notify_all()

    def _note_broken(self, name: str, sender: _Sender) -> None:
        now = time.monotonic()
        sender.broken += 1
        if sender.broken == 1:
            sender.broken_since = now
        lasting = now - sender.broken_since >= self._terms.settings.reconnect_seconds
        if sender.broken >= FRUITLESS and lasting and sender.failure is None:
            sender.failure = PeerError(
                f"the connection to {name!r} breaks within a message again and again, {sender.broken} times now: "
                "see the line to it, and what its node does",
                name,
            )
            self._change.notify_all()

    def fail(self, name: str, error: PeerError) -> None:
        """``name`` cannot be dealt with any more."""
        with self._change:
            sender = self._senders[name]
            sender.failure = sender.failure or error
            self._change.notify_all()

    def wake(self) -> None:
        """Let waiting calls look at ``alive()`` again."""
        with self._change:
            self._change.notify_all()

    def take(self, options: Sequence[tuple[str, str]], timeout: float) -> tuple[int, Frame]:
        """The first frame among ``options`` (sender, kind), and the option's position; see ``Channel.receive``."""
        deadline = time.monotonic() + timeout
        with self._change:
            while True:
                self._raise_if_over()
                for position, (name, kind) in enumerate(options):
                    sender = self._senders[name]
                    queue = sender.queues.get(kind)
                    if queue:
                        frame = queue.popleft()
                        sender.unread -= len(frame.body)
                        if sender.waiting:
                            self._change.notify_all()
                        return position, frame
                awaited = list(dict.fromkeys(name for name, _ in options))
                now = time.monotonic()
                limit = min(deadline, self._raise_if_hopeless(awaited, now))
                if now >= deadline:
                    raise self._silent(awaited, options, timeout)
                self._change.wait(limit - now)

    def check(self, name: str) -> None:
        """Raise what ended the session or our link to ``name``, if anything did."""
        with self._change:
            self._raise_if_over()
            failure = self._senders[name].failure
            if failure:
                raise PeerError(str(failure), name, anew=failure.anew)

    def abort(self, reason: str, *, anew: bool = False) -> None:
        with self._change:
            self._anew = self._anew or (anew and not self._aborted and self._fault is None)
            self._aborted = self._aborted or reason or "no reason given"
            self._change.notify_all()

    @property
    def aborted(self) -> bool:
        return bool(self._aborted)

    @property
    def anew(self) -> bool:
        """Whether it was aborted only because another attempt follows."""
        return self._anew

    @property
    def faulty(self) -> bool:
        return self._fault is not None

    def close(self) -> None:
        """Drop what is unread and take no more."""
        with self._change:
            self._closed = True
            for sender in self._senders.values():
                sender.queues.clear()
                sender.unread = 0
            self._change.notify_all()

    def transcripts(self) -> dict[tuple[str, str], TranscriptHead]:
        with self._change:
            return {(name, self._terms.party): sender.transcript.head for name, sender in self._senders.items()}

    def _admit(self, frame: Frame, ticket: int) -> _Sender:
        sender = self._senders[frame.sender]
        if self._closed:
            raise SessionClosed
        if ticket != sender.ticket:
            raise ConnectionReplaced
        if sender.ended:
            raise RemoteProtocolError("a message after its last one", frame.sender)
        if frame.sequence < sender.expected:
            raise RemoteProtocolError(f"message {frame.sequence} again: a replay or a reordering", frame.sender)
        if frame.sequence > sender.expected:
            raise RemoteProtocolError(
                f"message {frame.sequence} where {sender.expected} is due: one is missing or out of order", frame.sender
            )
        return sender

    def _wait_for_room(
        self, sender: _Sender, frame: Frame, ticket: int, alive: Callable[[], bool], patience: float | None
    ) -> None:
        deadline = None if patience is None else time.monotonic() + patience
        sender.waiting = len(frame.body)
        try:
            while self._full(sender):
                self._change.notify_all()
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise TimeoutError
                self._change.wait(left)
                if self._closed:
                    raise SessionClosed
                if ticket != sender.ticket or not alive():
                    raise ConnectionReplaced
        finally:
            sender.waiting = 0

    def _full(self, sender: _Sender) -> bool:
        return sender.unread > 0 and sender.unread + sender.waiting > self._terms.settings.unread

    def _raise_if_over(self) -> None:
        if self._aborted:
            raise RunAborted(self._aborted)
        if self._fault:
            raise RemoteProtocolError(self._fault.reason, self._fault.peer)
        if self._closed:
            raise RunAborted("this session has been closed")

    def _raise_if_hopeless(self, awaited: Sequence[str], now: float) -> float:
        """When to look again; raises where waiting any longer is pointless."""
        window = self._terms.settings.reconnect_seconds
        again = float("inf")
        for name in awaited:
            sender = self._senders[name]
            if sender.failure:
                raise PeerError(str(sender.failure), name, anew=sender.failure.anew)
            if sender.waiting and self._full(sender):
                raise RemoteProtocolError(
                    f"more than {self._terms.settings.unread} bytes of messages that nobody waits for", name
                )
            if sender.lost_at is not None:
                if now >= sender.lost_at + window:
                    raise PeerError(
                        f"the connection to {name!r} was lost and did not return within {window:g} s: "
                        "see whether its node is running",
                        name,
                    )
                again = min(again, sender.lost_at + window)
        if awaited and all(self._senders[name].ended for name in awaited):
            raise PeerError(f"{awaited[0]!r} left the session before it sent what we wait for", awaited[0])
        return again

    def _silent(self, awaited: Sequence[str], options: Sequence[tuple[str, str]], timeout: float) -> PeerError:
        names = " and ".join(repr(name) for name in awaited)
        kinds = ", ".join(dict.fromkeys(kind for _, kind in options))
        return PeerError(
            f"{names} sent nothing for {timeout:g} s while we waited for {kinds}: see whether its node is running",
            awaited[0] if awaited else "",
        )


def record_of(direction: Direction, peer: str, frame: Frame) -> Record:
    """A frame as recorders hear it."""
    return Record(direction, peer, frame.run_id, frame.session, frame.sequence, frame.kind, frame.body)
