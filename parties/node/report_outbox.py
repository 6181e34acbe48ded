"""A node's outbox: reports that must reach the coordinator, however long it is away."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from functools import partial

from parties.control.phases import PhaseName
from parties.control.reports import LinksBody
from parties.errors import ConfigError, EntenteError, PeerError, RunAborted, StorageError
from parties.node.line import Line
from parties.process.supervision import end_process, start_task

__all__ = ["ReportOutbox"]

_LOG = logging.getLogger(__name__)
_PAUSE = 0.5
_CREDENTIALS_SECONDS = 60.0

Send = Callable[[], None]


class ReportOutbox:
    """Sends reports in their order from a thread of its own, so that no caller waits or fails for a coordinator.

    A report is given up only when the coordinator refuses it, its run has ended, or the node stops; the records that
    it comes from stay on this node's disk.
    """

    def __init__(self, line: Line) -> None:
        self._line = line
        self._closed = threading.Event()
        self._waiting: queue.Queue[tuple[str, Send] | None] = queue.Queue()
        self._thread = start_task(self._work, "reports", lambda error: end_process("reports"))

    def signed(self, run_id: str, signature: str) -> None:
        """The agreement is approved and signed."""
        self._put(f"run {run_id[:12]}: the signature", partial(self._line.signed, run_id, signature))

    def links(self, run_id: str, said: LinksBody) -> None:
        """What answered at the peers' addresses before we sign."""
        self._put(f"run {run_id[:12]}: the links", partial(self._line.links, run_id, said))

    def data_usable(self) -> None:
        """A run's data were read as a run reads them, and nothing was wrong."""
        self._line.data_checked(usable=True)

    def rejected(self, run_id: str, why: str) -> None:
        """The agreement is refused."""
        self._put(f"run {run_id[:12]}: the rejection", partial(self._line.rejected, run_id, why))

    def failed(
        self, run_id: str, phase: PhaseName, attempt: int, reason: str, peer: str = "", *, lost: bool = False
    ) -> None:
        """Our part of a phase failed; see :meth:`Line.failed`."""
        send = partial(self._line.failed, run_id, phase, attempt, reason, peer, lost=lost)
        self._put(f"run {run_id[:12]}: the failure of {phase}", send)

    def held(self, run_id: str, phase: PhaseName, attempt: int) -> None:
        """Our part of a phase has stopped, as the run is paused."""
        self._put(f"run {run_id[:12]}: the stop in {phase}", partial(self._line.held, run_id, phase, attempt))

    def deliver(self, what: str, send: Send) -> bool:
        """Send from the caller's own thread, as often as it takes. False: it was refused, or is of no use any more."""
        told, since = False, time.monotonic()
        while True:
            try:
                send()
                return True
            except (PeerError, StorageError, ConfigError) as error:
                # while the coordinator's certificate is renewed nobody accepts anybody, for a moment
                final = isinstance(error, ConfigError) and time.monotonic() - since > _CREDENTIALS_SECONDS
                if final or self._closed.is_set():
                    _LOG.error("%s was not taken: %s", what, error)
                    return False
                if not told:
                    _LOG.warning("%s waits: %s", what, error)
                told = True
            except RunAborted as error:
                _LOG.info("%s is of no use any more: %s", what, error)
                return False
            except EntenteError as error:
                _LOG.error("%s was not taken: %s", what, error)
                return False
            self._closed.wait(_PAUSE)

    def close(self) -> None:
        """Stop sending. What is decided is on disk, and is asked for again when the node is back."""
        self._closed.set()
        self._waiting.put(None)
        self._thread.join(10.0)

    def _put(self, what: str, send: Send) -> None:
        self._waiting.put((what, send))

    def _work(self) -> None:
        while (item := self._waiting.get()) is not None:
            try:
                self.deliver(*item)
            except Exception:
                _LOG.exception("%s could not be sent: a fault in the program", item[0])
