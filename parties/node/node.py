"""A party's process: attached to the coordinator, answering its peers, doing its part of each run.

The coordinator only says when; what is done, and whether, is decided here: the agreement is checked against
this node's own data, roster and limits before its key signs, signatures of all parties are verified before any byte
moves, and every opening is counted in this node's own store.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from parties.agreement.document import Agreement
from parties.audit.heads import Head
from parties.control.commands import (
    AbortBody,
    ApproveBody,
    Command,
    FinishedBody,
    OverlapsBody,
    PauseBody,
    ResumeBody,
    RosterBody,
    SettleBody,
    StartBody,
    WelcomeBody,
)
from parties.control.reports import ProgressBody
from parties.errors import EntenteError, RunAborted, StorageError
from parties.node.align import forget_steps
from parties.node.audit_heads import OWN_LOG_FAULT, take_heads
from parties.node.context import RunContext
from parties.node.earlier_runs import proposed_before
from parties.node.home import NodeHome
from parties.node.kept_watch import KeptWatch
from parties.node.kept_weights import erase_kept
from parties.node.line import Line
from parties.node.overlaps import Overlaps
from parties.node.report_outbox import ReportOutbox
from parties.node.row_commitments import RowCommitments
from parties.node.run_approvals import RunApprovals
from parties.node.run_ends import RunEnd, forget_end, keep_end
from parties.node.run_thread import RunThread
from parties.node.settlements import Settlements
from parties.transport.channel import Endpoint
from parties.transport.meter import FileRecorder
from vfl.protocols.spread import Workers

__all__ = ["Node"]

_LOG = logging.getLogger(__name__)


class Node:
    """Handles the coordinator's commands until the line ends, or until one run has ended."""

    def __init__(self, home: NodeHome, endpoint: Endpoint, line: Line, workers: Workers | None = None) -> None:
        self._home = home
        self._endpoint = endpoint
        self._line = line
        self._workers = workers
        self._openings = home.openings()
        self._audit = home.audit()
        self._known_size = 0
        self._recorder = FileRecorder(home.folder / home.settings.record) if home.settings.record else None
        self._runs: dict[str, RunThread] = {}
        self._leaving: list[RunThread] = []
        self._outbox = ReportOutbox(line)
        self._approvals = RunApprovals(home, self._audit, self._openings, self._outbox)
        self._settlements = Settlements(home, self._audit, line)
        self._commitments = RowCommitments(home, self._audit, line)
        self._overlaps = Overlaps(home, endpoint, self._audit, line)
        self._kept = KeptWatch(home, self._audit)

    @property
    def runs_in_progress(self) -> int:
        """Runs that have begun here and not ended."""
        return len(self._runs)

    def serve(self, *, until_run_ends: bool = False) -> int:
        """Work through commands. Returns 0, or the exit code of the run that ended when only one is served.

        Raises :class:`EntenteError` when the coordinator does not accept this node at all. What one command meets
        that was not expected is logged, and the next is taken.
        """
        code = 0
        try:
            for command in self._line.commands():
                ended = self._handled(command)
                if ended is not None and until_run_ends:
                    code = ended
                    break
        finally:
            for run_id in list(self._runs):
                self._end(run_id, "this node is stopping")
            self._outbox.close()
            self._approvals.close()
            self._settlements.close()
            self._commitments.close()
            self._overlaps.close()
            self._kept.close()
            for run in self._leaving:
                run.join(10.0)
            self._openings.close()
            self._audit.close()
            if self._recorder is not None:
                self._recorder.close()
        return code

    def _handled(self, command: Command) -> int | None:
        """Carry one command out; the exit code of a run that has ended by it."""
        run_id = command.run_id
        try:
            match command.body:
                case StartBody() as body:
                    self._start(run_id, body)
                case AbortBody() as body:
                    return self._aborted(run_id, body)
                case FinishedBody() as body:
                    return self._finished(run_id, body)
                case _:
                    self._carry_out(command)
        except EntenteError as error:
            _LOG.error("the coordinator's command to %s was not carried out: %s", command.kind, error)
        except Exception:
            _LOG.exception("the coordinator's command to %s was not carried out", command.kind)
        return None

    def _carry_out(self, command: Command) -> None:
        """A command that begins and ends no run."""
        match command.body:
            case RosterBody(members=members):
                self._home.follow(members)
            case SettleBody(requests=requests):
                self._settlements.told(requests)
            case OverlapsBody(overlaps=overlaps):
                self._overlaps.told(overlaps)
            case ApproveBody() as body:
                self._approvals.ask(command.run_id, body)
            case PauseBody() as body:
                self._log("paused", command.run_id, {"by": body.by, "why": body.why[:300]})
                why = f": {body.why[:300]}" if body.why else ""
                _LOG.warning("run %s is paused by %s%s", command.run_id[:12], body.by, why)
                if command.run_id in self._runs:
                    self._runs[command.run_id].pause(body.phase, body.attempt)
            case ResumeBody(by=by):
                self._log("resumed", command.run_id, {"by": by})
                _LOG.warning("run %s is resumed by %s", command.run_id[:12], by)
            case WelcomeBody() | StartBody() | AbortBody() | FinishedBody():
                raise AssertionError("taken by the line, or handled above")

    def _aborted(self, run_id: str, body: AbortBody) -> int:
        self._end(run_id, body.reason)
        purpose = self._approvals.forget(run_id)
        if not body.silent:
            self._forget(run_id, rows=True)
            erase_kept(self._home.folder, run_id)
        self._log("aborted", run_id, {"reason": body.reason[:300]})
        reason = body.reason[:2000]
        self._ended(run_id, RunEnd(status="aborted", reason=reason, at=datetime.now(UTC), purpose=purpose))
        _LOG.error("run %s has ended: %s", run_id[:12], body.reason)
        return RunAborted.exit_code

    def _finished(self, run_id: str, body: FinishedBody) -> int:
        self._end(run_id, "the run is settled")
        self._forget(run_id)
        self._forget_earlier(run_id)
        self._approvals.forget(run_id)
        self._take_heads(body.heads)
        self._log("settled", run_id, {"settlement_sha256": body.settlement_sha256})
        self._ended(run_id, RunEnd(status="settled", at=datetime.now(UTC)))
        _LOG.info("run %s is settled", run_id[:12])
        return 0

    def _end(self, run_id: str, reason: str) -> None:
        """Let go of a run's thread and all that it holds."""
        self._leaving = [run for run in self._leaving if run.alive]
        run = self._runs.pop(run_id, None)
        if run is not None:
            run.end(reason)
            self._leaving.append(run)

    def _log(self, kind: str, run_id: str, body: dict[str, Any]) -> None:
        """Log what the coordinator told; that the log cannot be written stops nothing of it."""
        try:
            self._audit.append(kind, run_id, body)
        except EntenteError as error:
            _LOG.error("run %s: %s is not in the audit log: %s", run_id[:12], kind, error)

    def _ended(self, run_id: str, end: RunEnd) -> None:
        """Keep how it ended for this node's operators; that the disk refuses stops nothing of it."""
        try:
            keep_end(self._home.folder, run_id, end)
        except EntenteError as error:
            _LOG.error("run %s: how it ended is not kept: %s", run_id[:12], error)

    def _take_heads(self, heads: Sequence[Head]) -> EntenteError | None:
        """Take in the heads of others' audit logs; what is wrong with them, if anything."""
        try:
            known = take_heads(self._audit, self._home.roster, heads)
        except EntenteError as error:
            _LOG.error("%s", error)
            return error
        self._known_size = max(self._known_size, known)
        return None

    def _forget(self, run_id: str, *, rows: bool = False) -> None:
        """The run has ended for everyone: its records are of no use, but for ``rows`` that others may go on with."""
        if re.fullmatch("[0-9a-f]{64}", run_id):
            forget_steps(self._home.folder / "runs" / run_id / "checkpoints", rows=rows)

    def _forget_earlier(self, run_id: str) -> None:
        """A run that went on with rows of others is settled: these are of no use any more."""
        agreement = self._approvals.known(run_id)
        while agreement is not None and agreement.continues is not None:
            self._forget(agreement.continues.run_id)
            agreement = proposed_before(self._home.folder, agreement.continues.run_id)

    def _start(self, run_id: str, body: StartBody) -> None:
        """Begin our part of a phase, or say why not."""
        try:
            reason, blamed = self._begun(run_id, body)
        except Exception as error:
            _LOG.exception("run %s: %s did not begin", run_id[:12], body.phase)
            reason, blamed = f"an internal error ({type(error).__name__}): see the node's log", ""
        if reason:
            self._outbox.failed(run_id, body.phase, body.attempt, reason, blamed)

    def _begun(self, run_id: str, body: StartBody) -> tuple[str, str]:
        """Why our part does not begin, and who is to blame; "" when it has begun."""
        agreement = self._approvals.agreement(run_id, body.signatures)
        if agreement is None:
            return "this node has not approved the run", ""
        trouble = self._take_heads(body.heads)
        if isinstance(trouble, StorageError):
            return OWN_LOG_FAULT, ""
        if trouble is not None:
            return str(trouble), str(getattr(trouble, "peer", ""))
        run, limits = self._runs.get(run_id), self._home.settings.limits
        checkpoints = self._home.folder / "runs" / run_id / "checkpoints"
        if run is None and not checkpoints.is_dir() and not limits.open_at(datetime.now(UTC)):
            return f"this node begins runs in its own hours only ({limits.hours} UTC): propose it for then", ""
        if run is None:
            forget_end(self._home.folder / "runs" / run_id)
            run = self._runs[run_id] = RunThread(self._context(agreement), body.signatures, self._line, self._outbox)
        run.begin(body.phase, body.attempt, self._known_size)
        return "", ""

    def _context(self, agreement: Agreement) -> RunContext:
        home, line, run_id = self._home, self._line, agreement.run_id
        return RunContext(
            agreement,
            home.settings,
            home.identity,
            home.folder,
            self._endpoint,
            self._openings,
            self._audit,
            home.seed,
            tell=lambda progress: line.progress(run_id, ProgressBody.model_validate(progress)),
            recorder=self._recorder,
            workers=self._workers,
            roster=home.roster,
        )
