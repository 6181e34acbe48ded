"""A party's process: attached to the coordinator, answering its peers, doing its part of each run.

The coordinator only says when; what is done, and whether, is decided here: the agreement is checked against
this node's own data, roster and limits before its key signs, signatures of all parties are verified before any byte
moves, and every opening is counted in this node's own store.
"""

from __future__ import annotations

import logging
import queue
import re
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import ValidationError

from parties.agreement import Agreement, sign_agreement, verify_signature
from parties.audit.log import AuditLog
from parties.coordinator.commands import Command
from parties.coordinator.events import PhaseName
from parties.coordinator.reports import ProgressBody
from parties.errors import AgreementError, ConfigError, DataError, EntenteError, PeerError, RunAborted, StorageError
from parties.identity import Identity, Roster, load_identity
from parties.joining.requests import members_from
from parties.meaning import summary_lines
from parties.node.align import forget_steps
from parties.node.context import RunContext, node_secret
from parties.node.decisions import Verdict, verdict
from parties.node.earlier import check_earlier, proposed_before
from parties.node.openings import OpeningStore
from parties.node.phases import PartyRun
from parties.node.policy import check_agreement
from parties.node.roster import followed
from parties.node.settings import NodeSettings, load_node_settings
from parties.node.settlements import Settlements
from parties.node.witness import OWN_LOG_FAULT, take_heads
from parties.placebo import check_placebo
from parties.transport.channel import Endpoint
from parties.transport.meter import FileRecorder
from psi.flow import ProtocolError
from vfl.protocols.spread import Workers

__all__ = ["Line", "Node", "NodeHome"]

_LOG = logging.getLogger(__name__)

# The texts of these errors may name entities, values or paths, which are nobody else's business.
_OWN_FAULTS: dict[type[EntenteError], str] = {
    ConfigError: "its configuration does not fit the run",
    DataError: "its data cannot be used",
    StorageError: "its disk or database failed",
}


class Line(Protocol):
    """The standing line to the coordinator, as a node uses it."""

    def commands(self) -> Iterator[Command]:
        """Commands as they come; ends when the line is closed."""

    def signed(self, run_id: str, signature: str) -> None: ...

    def rejected(self, run_id: str, why: str) -> None: ...

    def done(self, run_id: str, phase: PhaseName, attempt: int, report: Mapping[str, Any]) -> None: ...

    def failed(
        self, run_id: str, phase: PhaseName, attempt: int, reason: str, peer: str = "", *, lost: bool = False
    ) -> None: ...

    def held(self, run_id: str, phase: PhaseName, attempt: int) -> None: ...

    def progress(self, run_id: str, body: ProgressBody) -> None: ...

    def settlement(self, run_id: str, answer: Mapping[str, Any]) -> None: ...

    def live(self, run_id: str, record: Mapping[str, Any]) -> None: ...


class NodeHome:
    """What lies in a node's folder: settings, keys, roster and its secret seed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.settings: NodeSettings = load_node_settings(self.folder / "node.toml")
        self.identity: Identity = load_identity(self.settings.party.name, self.folder / "keys")
        self.roster = Roster.load(self.folder / "roster.json")
        self.seed = self._seed()

    def _seed(self) -> bytes:
        path = self.folder / "keys" / "seed"
        if not path.exists():
            # the identity key is secret, never changes and may be encrypted at rest; its raw bytes serve as the seed
            raw = self.identity.key.private_bytes_raw()
            return HKDF(SHA256(), 32, salt=None, info=b"entente/node/seed").derive(raw)
        try:
            if path.stat().st_mode & 0o077:
                raise ConfigError(f"{path}: other users can read this secret; run chmod 600 on it")
            seed = path.read_bytes()
        except OSError:
            raise ConfigError(f"{path}: cannot be read; create this node's keys first") from None
        if len(seed) != 32:
            raise ConfigError(f"{path}: must hold 32 bytes, not {len(seed)}; create this node's keys again")
        return seed

    def follow(self, record: object) -> None:
        """Take in the roster that the coordinator tells, as far as it may change what is known here."""
        if not self.settings.follow_roster:
            return
        members = followed(self.identity.name, self.roster, members_from(record))
        if members == dict(self.roster):
            return
        self.roster.replace(members)
        try:
            self.roster.save(self.folder / "roster.json")
        except OSError as error:
            raise StorageError(f"{self.folder}: roster.json cannot be written ({error.strerror})") from None

    def introduction(self) -> dict[str, object]:
        """What this node offers to runs: its part of an agreement, before anyone proposes one."""
        party, label = self.settings.party, self.settings.label
        return {
            "role": party.role,
            "legal_entity": party.legal_entity,
            "columns": list(party.output_columns),
            "encoder": party.encoder_declared,
            "units": {name: rules.unit for name, rules in party.column_schema.items() if rules.unit},
            "label_name": label.name if label else "",
            "label_definition": label.definition if label else "",
            **self._published(),
        }

    def _published(self) -> dict[str, object]:
        limits = self.settings.limits
        if not self.settings.publish_limits:
            return {}
        return {"limits": limits.model_dump(include={"openings_per_row", "largest_fraction", "hours"})}

    def openings(self) -> OpeningStore:
        return OpeningStore(self.settings.state or f"sqlite:///{self.folder / 'state.db'}")

    def audit(self) -> AuditLog:
        return AuditLog.at(self.identity.name, self.settings.state, self.folder / "state.db", self.identity.key.sign)


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
        self._runs: dict[str, _Run] = {}
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
            run = self._runs[run_id] = _Run(context, dict(body["signatures"]), self._line)
        run.begin(phase, attempt, self._known_size)


class _Run:
    """One run's thread: performs phases in the order they are started, and reports each."""

    def __init__(self, context: RunContext, signatures: Mapping[str, str], line: Line) -> None:
        self._context = context
        self._signatures = signatures
        self._line = line
        self._known = 0
        self._ended = False
        self._queue: queue.Queue[tuple[PhaseName, int] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._work, name=f"run {context.run_id[:12]}", daemon=True)
        self._thread.start()

    def begin(self, phase: PhaseName, attempt: int, known: int) -> None:
        """``known``: how much of our audit log the coordinator has seen."""
        self._known = max(self._known, known)
        self._context.supersede(phase, attempt)
        self._queue.put((phase, attempt))

    def pause(self, phase: PhaseName, attempt: int) -> None:
        """Stop where everyone can go on from."""
        self._context.pause(phase, attempt)

    def end(self, reason: str) -> None:
        """Stop what is under way, for good."""
        self._ended = True
        self._context.abort(reason)
        self._queue.put(None)
        self._thread.join(timeout=10.0)

    def _work(self) -> None:
        run: PartyRun | None = None
        while (job := self._queue.get()) is not None and not self._ended:
            phase, attempt = job
            _LOG.info("run %s: %s begins", self._context.run_id[:12], phase)
            try:
                run = run or PartyRun(self._context, self._signatures)
                report = run.perform(phase, attempt)
                report |= self._logged(phase, attempt, {"outcome": "done"})
            except RunAborted:
                run = None  # another attempt takes it up from the records
                if self._context.pausing(phase, attempt):
                    self._hold(phase, attempt)
                continue
            except Exception as error:
                run = None
                if isinstance(error, PeerError) and self._context.pausing(phase, attempt):
                    self._hold(phase, attempt)  # whoever drives the steps has stopped before us
                else:
                    self._fail(phase, attempt, error)
                continue
            try:
                self._line.done(self._context.run_id, phase, attempt, report)
            except EntenteError as error:
                _LOG.error("run %s: the report on %s was not taken: %s", self._context.run_id[:12], phase, error)
                continue
            self._known = max(self._known, int(report["head"]["size"]))
            _LOG.info("run %s: %s done in %.1f s", self._context.run_id[:12], phase, report["seconds"])

    def _logged(self, phase: PhaseName, attempt: int, what: Mapping[str, str]) -> dict[str, Any]:
        """Log how a phase ended here; the head that the coordinator is to hold us to."""
        audit = self._context.audit
        audit.append("phase", self._context.run_id, {"phase": phase, "attempt": attempt, **what})
        return {"head": audit.head(since=self._known).model_dump(mode="json")}

    def _hold(self, phase: PhaseName, attempt: int) -> None:
        """The run is paused, and our part has stopped."""
        try:
            self._logged(phase, attempt, {"outcome": "held"})
            self._line.held(self._context.run_id, phase, attempt)
        except EntenteError as trouble:
            _LOG.error("run %s: the stop in %s was not taken: %s", self._context.run_id[:12], phase, trouble)
        _LOG.info("run %s: %s stopped, as the run is paused", self._context.run_id[:12], phase)

    def _fail(self, phase: PhaseName, attempt: int, error: Exception) -> None:
        reason = str(error)
        own = next((text for kind, text in _OWN_FAULTS.items() if isinstance(error, kind)), "")
        if own:
            if isinstance(error, DataError) and error.column:
                own = f"its data drifted from the agreed schema at column {error.column!r}"
            reason = f"{own}: its operator finds the detail in the node's log"
        elif not isinstance(error, EntenteError | ProtocolError):
            _LOG.exception("run %s: %s failed", self._context.run_id[:12], phase)
            reason = f"an internal error ({type(error).__name__}): see the node's log"
        peer = str(getattr(error, "peer", ""))[:32]
        try:
            self._logged(phase, attempt, {"outcome": "failed", "reason": reason[:300], "peer": peer})
        except EntenteError as trouble:
            _LOG.error("%s", trouble)
        _LOG.error("run %s: %s failed: %s", self._context.run_id[:12], phase, error)
        try:
            lost = isinstance(error, PeerError)
            self._line.failed(self._context.run_id, phase, attempt, reason, peer, lost=lost)
        except EntenteError as trouble:
            _LOG.error("run %s: the report on %s was not taken: %s", self._context.run_id[:12], phase, trouble)
