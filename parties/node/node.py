"""A party's process: attached to the coordinator, answering its peers, doing its part of each run.

The coordinator only says when; what is done, and whether, is decided here: the agreement is checked against
this node's own data, roster and limits before its key signs, signatures of all parties are verified before any byte
moves, and every opening is counted in this node's own store.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from parties.agreement.document import Agreement
from parties.agreement.signing import sign_agreement, verify_signature
from parties.agreement.summary import summary_lines
from parties.control.commands import Command
from parties.control.phases import PhaseName
from parties.control.reports import ProgressBody
from parties.errors import AgreementError, EntenteError, PeerError, RunAborted, StorageError
from parties.node.align import forget_steps
from parties.node.audit_heads import OWN_LOG_FAULT, take_heads
from parties.node.context import RunContext, node_secret
from parties.node.decisions import Verdict, verdict
from parties.node.earlier_runs import check_earlier, proposed_before
from parties.node.home import NodeHome
from parties.node.line import Line
from parties.node.policy import check_agreement
from parties.node.run_thread import RunThread
from parties.node.settlements import Settlements
from parties.proposing.placebo import check_placebo
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
        self._agreements: dict[str, Agreement] = {}
        self._stopped = threading.Event()
        self._settlements = Settlements(home, self._audit, line)

    @property
    def runs_in_progress(self) -> int:
        """Runs that have begun here and not ended."""
        return len(self._runs)

    def serve(self, *, until_run_ends: bool = False) -> int:
        """Work through commands. Returns 0, or the exit code of the run that ended when only one is served."""
        code = 0
        self._settlements.start()
        try:
            for command in self._line.commands():
                ended = self._handle(command)
                if ended is not None and until_run_ends:
                    code = ended
                    break
        finally:
            self._stopped.set()
            self._settlements.close()
            for run in self._runs.values():
                run.end("this node is stopping")
            self._openings.close()
            self._audit.close()
            if self._recorder is not None:
                self._recorder.close()
        return code

    def _handle(self, command: Command) -> int | None:
        """Carry one command out; the exit code of a run that has ended by it."""
        run_id, body = command.run_id, command.body
        if command.kind == "roster":
            try:
                self._home.follow(body.get("members"))
            except (PeerError, StorageError) as error:
                _LOG.error("roster kept as it was: %s", error)
        elif command.kind == "settle":
            self._settlements.told(body)
        elif command.kind == "approve":
            self._consider(run_id, body)
        elif command.kind == "start":
            self._start(run_id, body)
        elif command.kind in ("pause", "resume"):
            self._turn(run_id, command.kind, body)
        elif command.kind == "abort":
            reason = str(body.get("reason", ""))[:2000]
            if run_id in self._runs:
                self._runs.pop(run_id).end(reason)
            self._agreements.pop(run_id, None)  # if the run goes on after all, we are asked or started anew
            if not body.get("silent"):
                self._forget(run_id, rows=True)
            self._audit.append("aborted", run_id, {"reason": reason[:300]})
            _LOG.error("run %s has ended: %s", run_id[:12], reason)
            return RunAborted.exit_code
        elif command.kind == "finished":
            self._runs.pop(run_id, None)
            self._forget(run_id)
            self._forget_earlier(run_id)
            self._hear_heads(body)
            self._audit.append("settled", run_id, {"settlement_sha256": str(body.get("settlement_sha256", ""))[:64]})
            _LOG.info("run %s is settled", run_id[:12])
            return 0
        return None

    def _turn(self, run_id: str, kind: str, body: Mapping[str, Any]) -> None:
        """The run is paused, or is not any more: training stops behind its next record."""
        by, why = str(body.get("by", ""))[:32], str(body.get("why", ""))[:300]
        word = "paused" if kind == "pause" else "resumed"
        self._audit.append(word, run_id, {"by": by} | ({"why": why} if kind == "pause" else {}))
        _LOG.warning("run %s is %s by %s%s", run_id[:12], word, by, f": {why}" if why else "")
        run = self._runs.get(run_id)
        if run is not None and kind == "pause":
            run.pause(body["phase"], int(body["attempt"]))

    def _consider(self, run_id: str, body: Mapping[str, Any]) -> None:
        """Check an agreement; sign it, reject it, or wait for the operator."""
        if run_id in self._agreements:
            return
        try:
            agreement = Agreement.model_validate(body["agreement"])
            if agreement.run_id != run_id:
                raise AgreementError("the agreement does not hash to the run it was sent for")
            home = self._home
            check_agreement(agreement, home.settings, home.identity, home.roster, datetime.now(UTC))
            secret = partial(node_secret, home.seed)
            check_earlier(agreement, home.folder, home.identity.name, secret, self._openings.begun())
            check_placebo(agreement, home.folder / "runs")
        except (ValidationError, KeyError):
            self._reject(run_id, "the agreement is not one this version understands")
            return
        except AgreementError as error:
            self._reject(run_id, str(error))
            return
        self._agreements[run_id] = agreement
        folder = self._home.folder / "runs" / run_id
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "agreement.json").write_bytes(agreement.canonical())
        except OSError as error:
            raise StorageError(f"{folder}: cannot be written ({error.strerror}); check the disk") from None
        self._audit.append("agreement", run_id, {"agreement": run_id})
        for line in summary_lines(agreement):
            _LOG.info("agreement %s: %s", run_id[:12], line)
        settings = self._home.settings
        if settings.approve == "automatic" and settings.limits.open_at(datetime.now(UTC)):
            self._sign(agreement)
            return
        if settings.approve == "ask":
            _LOG.info(
                "run %s waits for you: entente run review %s --home %s", run_id[:12], run_id[:12], folder.parents[1]
            )
        threading.Thread(target=self._await_decision, args=(agreement, folder), daemon=True).start()

    def _await_decision(self, agreement: Agreement, folder: Path) -> None:
        """Wait for the operators' verdict, and for the hours in which this node signs."""
        settings, told = self._home.settings, False
        while not self._stopped.wait(0.5) and datetime.now(UTC) < agreement.expires_at:
            decided = Verdict(True, ()) if settings.approve == "automatic" else verdict(folder, settings)
            if decided is None:
                continue
            if not decided.approved:
                self._reject(agreement.run_id, decided.why)
                return
            if settings.limits.open_at(datetime.now(UTC)):
                self._sign(agreement)
                return
            if not told:
                told = True
                _LOG.info("run %s: signed at the next of this node's hours", agreement.run_id[:12])

    def _sign(self, agreement: Agreement) -> None:
        signature = sign_agreement(self._home.identity.key, agreement)
        self._audit.append("approval", agreement.run_id, {"signature": signature})
        self._line.signed(agreement.run_id, signature)
        _LOG.info("run %s: signed", agreement.run_id[:12])

    def _reject(self, run_id: str, why: str) -> None:
        self._audit.append("rejection", run_id, {"why": why[:300]})
        self._line.rejected(run_id, why)
        _LOG.error("run %s: rejected: %s", run_id[:12], why)

    def _hear_heads(self, body: Mapping[str, Any]) -> EntenteError | None:
        """Take in the heads of others' audit logs; what is wrong with them, if anything."""
        try:
            known = take_heads(self._audit, self._home.roster, body.get("heads", ()))
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
        agreement = self._agreements.get(run_id)
        while agreement is not None and agreement.continues is not None:
            self._forget(agreement.continues.run_id)
            agreement = proposed_before(self._home.folder, agreement.continues.run_id)

    def _signed_before(self, run_id: str, signatures: object) -> Agreement | None:
        """The agreement that this node signed before it restarted: its own copy, under its own signature."""
        path = self._home.folder / "runs" / run_id / "agreement.json"
        if not isinstance(signatures, dict) or not re.fullmatch("[0-9a-f]{64}", run_id):
            return None
        try:
            agreement = Agreement.model_validate_json(path.read_bytes())
            verify_signature(agreement, self._home.identity.name, str(signatures.get(self._home.identity.name, "")))
        except (OSError, ValidationError, AgreementError):
            return None
        return agreement if agreement.run_id == run_id else None

    def _start(self, run_id: str, body: Mapping[str, Any]) -> None:
        agreement = self._agreements.get(run_id) or self._signed_before(run_id, body.get("signatures"))
        phase: PhaseName = body["phase"]
        attempt = int(body["attempt"])
        if agreement is None:
            self._line.failed(run_id, phase, attempt, "this node has not approved the run")
            return
        self._agreements[run_id] = agreement
        trouble = self._hear_heads(body)
        if trouble is not None:
            own = isinstance(trouble, StorageError)
            blamed = "" if own else str(getattr(trouble, "peer", ""))
            self._line.failed(run_id, phase, attempt, OWN_LOG_FAULT if own else str(trouble), blamed)
            return
        run = self._runs.get(run_id)
        limits = self._home.settings.limits
        begun = (self._home.folder / "runs" / run_id / "checkpoints").is_dir()
        if run is None and not begun and not limits.open_at(datetime.now(UTC)):
            reason = f"this node begins runs in its own hours only ({limits.hours} UTC): propose it for then"
            self._line.failed(run_id, phase, attempt, reason)
            return
        if run is None:
            home = self._home
            context = RunContext(
                agreement,
                home.settings,
                home.identity,
                home.folder,
                self._endpoint,
                self._openings,
                self._audit,
                home.seed,
                tell=lambda progress: self._line.progress(run_id, ProgressBody.model_validate(progress)),
                recorder=self._recorder,
                workers=self._workers,
                roster=home.roster,
            )
            run = self._runs[run_id] = RunThread(context, dict(body["signatures"]), self._line)
        run.begin(phase, attempt, self._known_size)
