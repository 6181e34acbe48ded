"""One run's thread at a node: performs phases in the order they are started, and reports each."""

from __future__ import annotations

import logging
import queue
from collections.abc import Mapping
from functools import partial
from typing import Any

from parties.control.phase_reports import phase_report
from parties.control.phases import PhaseName
from parties.errors import ConfigError, DataError, EntenteError, PeerError, RunAborted, StorageError
from parties.names import NOBODY
from parties.node.context import RunContext
from parties.node.line import Line
from parties.node.phases import PartyRun
from parties.node.report_outbox import ReportOutbox
from parties.process.supervision import start_task
from psi.flow import ProtocolError, UnattributedError
from vfl.federated.expansion import UnfitRows

__all__ = ["RunThread", "told_of"]

_LOG = logging.getLogger(__name__)

# The texts of these errors may name entities, values or paths, which are nobody else's business.
_OWN_FAULTS: dict[type[Exception], str] = {
    ConfigError: "its configuration does not fit the run",
    DataError: "its data cannot be used",
    StorageError: "its disk or database failed",
    UnfitRows: "its rows do not suffice for the group's expansion ([group.expand])",
}

Job = tuple[PhaseName, int]


class RunThread:
    """One run's thread. It ends with the run, and with it goes all that the run held in memory."""

    def __init__(self, context: RunContext, signatures: Mapping[str, str], line: Line, outbox: ReportOutbox) -> None:
        self._context = context
        self._signatures = signatures
        self._line = line
        self._outbox = outbox
        self._known = 0
        self._ended = False
        self._doing: Job = ("approve", 1)
        self._queue: queue.Queue[Job | None] = queue.Queue()
        self._thread = start_task(
            self._work, f"run {context.run_id[:12]}", lambda error: self._fail(*self._doing, error)
        )

    @property
    def alive(self) -> bool:
        """Whether the thread has not ended yet."""
        return self._thread.is_alive()

    def begin(self, phase: PhaseName, attempt: int, known: int) -> None:
        """``known``: how much of our audit log the coordinator has seen."""
        self._known = max(self._known, known)
        self._context.supersede(phase, attempt)
        self._queue.put((phase, attempt))

    def pause(self, phase: PhaseName, attempt: int) -> None:
        """Stop where everyone can go on from."""
        self._context.pause(phase, attempt)

    def end(self, reason: str) -> None:
        """Stop what is under way, for good. Returns at once: :meth:`join` waits for it."""
        self._ended = True
        self._context.abort(reason)
        self._queue.put(None)

    def join(self, timeout: float) -> None:
        """Wait until the thread has ended, ``timeout`` seconds at most."""
        self._thread.join(timeout)

    def _work(self) -> None:
        run: PartyRun | None = None
        while (job := self._queue.get()) is not None and not self._ended:
            self._doing = job
            run = self._perform(run, *job)

    def _perform(self, run: PartyRun | None, phase: PhaseName, attempt: int) -> PartyRun | None:
        """Do one phase and report it; the run as the next phase takes it up, None when from its records."""
        run_id = self._context.run_id
        _LOG.info("run %s: %s begins", run_id[:12], phase)
        try:
            run = run or PartyRun(self._context, self._signatures)
            report = run.perform(phase, attempt)
            report |= self._logged(phase, attempt, {"outcome": "done"})
            phase_report(phase, report, self._context.me)  # what we would be refused for is our own fault, said here
            send = partial(self._line.done, run_id, phase, attempt, report)
            taken = self._outbox.deliver(f"run {run_id[:12]}: the report on {phase}", send)
        except RunAborted:
            if self._context.pausing(phase, attempt):
                self._hold(phase, attempt)
            return None  # another attempt takes it up from the records
        except Exception as error:
            if isinstance(error, PeerError) and self._context.pausing(phase, attempt):
                self._hold(phase, attempt)  # whoever drives the steps has stopped before us
            else:
                self._fail(phase, attempt, error)
            return None
        if taken:
            self._known = max(self._known, int(report["head"]["size"]))
            _LOG.info("run %s: %s done in %.1f s", run_id[:12], phase, report["seconds"])
        return run

    def _logged(self, phase: PhaseName, attempt: int, what: Mapping[str, str]) -> dict[str, Any]:
        """Log how a phase ended here; the head that the coordinator is to hold us to."""
        audit = self._context.audit
        audit.append("phase", self._context.run_id, {"phase": phase, "attempt": attempt, **what})
        return {"head": audit.head(since=self._known).model_dump(mode="json")}

    def _hold(self, phase: PhaseName, attempt: int) -> None:
        """The run is paused, and our part has stopped."""
        try:
            self._logged(phase, attempt, {"outcome": "held"})
        except EntenteError as trouble:
            _LOG.error("%s", trouble)
        self._outbox.held(self._context.run_id, phase, attempt)
        _LOG.info("run %s: %s stopped, as the run is paused", self._context.run_id[:12], phase)

    def _fail(self, phase: PhaseName, attempt: int, error: Exception) -> None:
        reason = told_of(error)
        if not isinstance(error, EntenteError | ProtocolError):
            _LOG.exception("run %s: %s failed", self._context.run_id[:12], phase)
        peer = str(getattr(error, "peer", ""))[:32]
        try:
            self._logged(phase, attempt, {"outcome": "failed", "reason": reason[:300], "peer": peer})
        except EntenteError as trouble:
            _LOG.error("%s", trouble)
        lost = isinstance(error, PeerError)
        if isinstance(error, PeerError):  # the run is not over
            level = logging.INFO if error.anew else logging.WARNING
            again = "" if error.anew else f". The run waits: {phase} begins anew once everybody is there"
            _LOG.log(level, "run %s: %s stopped: %s%s", self._context.run_id[:12], phase, error, again)
        else:
            _LOG.error("run %s: %s failed: %s", self._context.run_id[:12], phase, error)
        blamed = NOBODY if isinstance(error, UnattributedError) else peer
        self._outbox.failed(self._context.run_id, phase, attempt, reason, blamed, lost=lost)


def told_of(error: Exception) -> str:
    """What the coordinator, and so everybody, reads of a phase that failed by this."""
    own = next((text for kind, text in _OWN_FAULTS.items() if isinstance(error, kind)), "")
    if isinstance(error, DataError) and error.column:
        own = f"its data drifted from the agreed schema at column {error.column!r}"
    if own:
        return f"{own}: its operator finds the detail in the node's log"
    if isinstance(error, EntenteError | ProtocolError):
        return str(error)
    return f"an internal error ({type(error).__name__}): see the node's log"
