"""The part of a channel that does not depend on how bytes travel.

A transport subclasses :class:`SessionChannel` with two methods: one hands a frame over for delivery, the
other says goodbye. Everything that both transports must do alike is done here.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from parties.errors import RunAborted
from parties.transport.channel import Frame, SessionTerms
from parties.transport.inbox import Inbox, record_of
from parties.transport.meter import Meter, Recorder
from parties.transport.transcript import Transcript, TranscriptHead
from parties.wire.codec import decode, encode, kind_of
from psi.flow import LocalProtocolError, Message, Recv, RemoteProtocolError

__all__ = ["SessionChannel"]


class SessionChannel(ABC):
    """One party's end of a session; see :class:`parties.transport.channel.Channel`.

    Used as a context manager it closes at the end, and tells the peers when it ends by an exception.
    """

    def __init__(self, terms: SessionTerms, recorder: Recorder | None) -> None:
        self.terms = terms
        self.inbox: Inbox
        self._recorder = recorder
        self._meter = Meter()
        self._sending = threading.Lock()
        self._next = dict.fromkeys(terms.peers, 0)
        self._sent = {name: Transcript(terms.run_id, terms.session, terms.party, name) for name in terms.peers}
        self._closed = False
        self.inbox = Inbox(terms, self._meter, recorder)

    @property
    def party(self) -> str:
        return self.terms.party

    @property
    def meter(self) -> Meter:
        return self._meter

    def send(self, to: str, message: Message) -> None:
        kind = kind_of(type(message))
        self.terms.check_outgoing(to, kind)
        self.inbox.check(to)
        kind, body = encode(message)
        self.terms.check_size(kind, len(body))
        with self._sending:
            frame = Frame(self.terms.run_id, self.terms.session, self.party, self._next[to], kind, body)
            self._deliver(to, frame)
            self._next[to] += 1
            self._sent[to].extend(kind, frame.digest)
            if self._recorder:
                self._recorder(record_of("sent", to, frame))
        self._meter.add("sent", to, kind, len(body))
        # let the courier have the interpreter lock before the caller computes on
        time.sleep(0)

    def receive(self, options: Sequence[Recv], timeout: float) -> tuple[int, Message]:
        wanted = [(option.sender, kind_of(option.kind)) for option in options]
        for name, kind in wanted:
            if name not in self.terms.peers:
                raise LocalProtocolError(
                    f"{self.party!r} waits for {kind} from {name!r}, who is no peer in this session"
                )
        position, frame = self.inbox.take(wanted, timeout)
        try:
            return position, decode(frame.kind, frame.body, limit=self.terms.settings.largest_message)
        except RemoteProtocolError as error:
            named = RemoteProtocolError(error.reason, frame.sender)
            self.inbox.refuse(named)
            raise named from None

    def abort(self, reason: str, *, anew: bool = False) -> None:
        self.inbox.abort(reason, anew=anew)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            failed = self.inbox.aborted or self.inbox.faulty
            self.inbox.close()
            self._leave(aborted=failed)

    def transcripts(self) -> Mapping[tuple[str, str], TranscriptHead]:
        with self._sending:
            sent = {(self.party, name): transcript.head for name, transcript in self._sent.items()}
        return sent | self.inbox.transcripts()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.abort(str(error) if isinstance(error, RunAborted) else f"stopped by an error here: {error}")
        self.close()

    @abstractmethod
    def _deliver(self, to: str, frame: Frame) -> None:
        """Queue ``frame``. Called with the sending lock held, frames of one peer in sequence."""

    @abstractmethod
    def _leave(self, *, aborted: bool) -> None:
        """Flush what is queued, unless ``aborted``, and say :class:`End` to every peer."""
