"""What the coordinator does: takes events in, appends them to the log, carries the state machine's actions out.

Everything that decides is under one lock and in ``state.step``; slow work (matching, receiving, settling) runs in
threads that come back with an event. An event is on disk before any action it causes.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from parties.agreement.document import Agreement
from parties.control.commands import Command
from parties.control.phases import PhaseName, printable
from parties.control.reports import (
    IntroductionBody,
    PartReport,
    ProgressBody,
    Traffic,
)
from parties.coordinator.audit_witness import Witness
from parties.coordinator.commands import approve, last_word, paused, pending, resumed, roster_told, start
from parties.coordinator.events import (
    Cancelled,
    Continued,
    CoordinatorDone,
    CoordinatorFailed,
    Event,
    Expired,
    Interrupted,
    PartyBack,
    PartyLost,
    PartyRestarted,
    Paused,
    PhaseFailed,
    Proposed,
    Resumed,
    Signed,
)
from parties.coordinator.held_failures import Blames, reporter
from parties.coordinator.known_run import KnownRun
from parties.coordinator.own_phases import OwnParts
from parties.coordinator.party_lines import Line, Lines, offered, offers_before
from parties.coordinator.progress import RunProgress
from parties.coordinator.run import RunFacts, RunState, validate_state
from parties.coordinator.state import (
    Abort,
    Action,
    AskApproval,
    Finish,
    Interrupt,
    ReceiveBundle,
    Release,
    RunMatching,
    Settle,
    StartPhase,
    Stop,
    step,
)
from parties.coordinator.store import EventLog
from parties.errors import AgreementError, ConfigError, EntenteError, PeerError, RunAborted, StorageError
from parties.members.roster import Roster
from parties.names import ADMIN, COORDINATOR, DESK
from parties.proposing.continuing import STANDS, check_continuation
from psi.flow import Progress, ProtocolError

__all__ = ["Engine"]

_LOG = logging.getLogger(__name__)
_SAVE_SECONDS = 5.0
_STOPPING = "the coordinator is stopping: try again when it runs"

Watch = Callable[[Progress], None]
Work = Callable[[Watch], tuple[dict[str, Any], dict[str, Traffic]]]


class Engine:
    """All runs of one coordinator. Thread-safe."""

    def __init__(
        self,
        log: EventLog,
        roster: Roster,
        parts: OwnParts,
        *,
        version: str,
        heartbeat: float,
        witness: Witness | None = None,
    ) -> None:
        self.lock = threading.RLock()
        self.lines = Lines()
        self._log = log
        self._roster = roster
        self._parts = parts
        self._version = version
        self._heartbeat = heartbeat
        self._witness = witness
        self._runs: dict[str, KnownRun] = {}
        self._unlogged: list[Event] = []
        self._blames = Blames()
        self._saved = time.monotonic()
        self._stopped = False
        self.errands: Callable[[str], Iterable[Command]] = lambda _: ()

    # -- life

    def restore(self) -> None:
        """Rebuild every run from the log. A run found under way waits for its parties and is taken up again; one that
        waits for signatures goes on waiting; a settlement is done again, which posts nothing twice."""
        with self.lock:
            for logged in self._log.read():
                known = self._runs.get(logged.event.run)
                state, _ = step(known.state if known else None, logged.event)
                self._enter(state)
            for known in self._live():
                if known.state.phase != "approve":
                    self._close_earlier(known.state)
            offers_before(self.lines, self._log, self._roster)
            for known in list(self._runs.values()):
                known.progress.restore(self._log.load_progress(known.state.run))
                if known.state.phase == "settle" and not known.state.halted:
                    self._perform(known, Settle(known.state.span.attempt))
                elif not known.state.ended:
                    why = f"the coordinator restarted during {known.state.phase}"
                    self._apply(Interrupted(known.state.run, _now(), why))

    def stop(self) -> None:
        """End what is under way, tell everyone, and take no more events."""
        with self.lock:
            for failure in self._blames.due(math.inf):
                self._apply(failure)
                self._blames.forget(failure.run)
            for known in [known for known in self._live() if known.state.phase != "settle"]:
                why = f"the coordinator was stopped during {known.state.phase}"
                self._apply(Interrupted(known.state.run, _now(), why))
            self._save(everything=True)
            self._stopped = True
            self.lines.close()

    def tick(self) -> None:
        """Look at the clock: who is silent, who is back, what has expired. Call it a few times a second."""
        with self.lock:
            if self._stopped:
                return
            while self._unlogged:
                self._apply(self._unlogged[0])
                self._unlogged.pop(0)
            for failure in self._blames.due(time.monotonic()):
                self._apply(failure)
                self._blames.forget(failure.run)
            now = _now()
            for known in self._live():
                for event in self._due(known, now):
                    self._apply(event)
            if time.monotonic() - self._saved > _SAVE_SECONDS:
                self._save()

    def _due(self, known: KnownRun, now: datetime) -> Iterator[Event]:
        state = known.state
        for party in state.plan.parties:
            silent = self.lines.silent_for(party)
            if silent > known.facts.silence_seconds:
                yield PartyLost(state.run, now, party, round(silent, 1))
            elif party in state.absent and self.lines.attached(party):
                yield PartyBack(state.run, now, party)
        if now > known.facts.expires_at:
            yield Expired(state.run, now)

    # -- what comes in

    def propose(self, agreement: Agreement, by: str) -> str:
        """Take an agreement in, if it fits the roster. The same one again is the same run."""
        now = _now()
        for party in agreement.parties:
            member = self._roster.get(party.name)
            if member is None:
                raise AgreementError(f"{party.name} is not in the coordinator's roster: add it before proposing a run")
            pinned = (party.certificate_sha256, party.identity_key)
            if pinned != (member.certificate_sha256, member.identity_key):
                raise AgreementError(f"the agreement's keys of {party.name} are not those in the coordinator's roster")
        if agreement.coordinator_certificate_sha256 != self._roster.member(COORDINATOR).certificate_sha256:
            raise AgreementError("the agreement names another coordinator certificate than this coordinator's")
        if agreement.expires_at.tzinfo is None or agreement.expires_at <= now:
            raise AgreementError("the agreement has expired, or its expires_at has no time zone: set a later one")
        self._check_earlier(agreement)
        self.take(Proposed(agreement.run_id, now, agreement.canonical().decode(), by))
        return agreement.run_id

    def _check_earlier(self, agreement: Agreement) -> None:
        """A run that goes on from another needs one that is not settled, and goes on from it as it says."""
        terms = agreement.continues
        if terms is None:
            return
        with self.lock:
            earlier = self.known(terms.run_id)
            if earlier.state.stands:
                raise AgreementError(f"run {terms.run_id[:12]} is {STANDS}")
            check_continuation(agreement, earlier.agreement)

    def _close_earlier(self, state: RunState) -> bool:
        """Everyone who stays has signed: end the run that this one goes on from. False when that stands."""
        terms = Agreement.model_validate_json(state.agreement).continues
        earlier = self._runs.get(terms.run_id) if terms is not None else None
        if terms is not None and earlier is not None:
            if earlier.state.stands:
                return False
            self._apply(Continued(terms.run_id, _now(), state.run, terms.without))
        return True

    def cancel(self, run_id: str, by: str, why: str, *, admin: bool) -> bool:
        """Stop a run for an admin, or for one of its parties."""
        with self.lock:
            known = self.known(run_id)
            if not admin and by not in known.state.plan.parties:
                raise AgreementError(f"{by} has no part in run {run_id[:12]} and cannot cancel it")
            return self.take(Cancelled(run_id, _now(), by, why))

    def pause(self, run_id: str, by: str, why: str) -> bool:
        """Hold a run at its next boundary, for the admin or for one of its parties."""
        with self.lock:
            return self.take(Paused(self.known(run_id).state.run, _now(), by, why))

    def resume(self, run_id: str, by: str) -> bool:
        """Take a pause back."""
        with self.lock:
            return self.take(Resumed(self.known(run_id).state.run, _now(), by))

    def attach(self, party: str, session: str, version: str, runs: Iterable[str]) -> Line:
        """Open a party's standing line, and tell it where its runs stand."""
        with self.lock:
            if self._stopped:
                raise PeerError(_STOPPING, COORDINATOR)
            line, restarted = self.lines.attach(party, session, version)
            try:
                self._catch_up(line, party, restarted, runs)
            except StorageError:
                self.lines.detach(line)  # the party tries again, and is to find everything as it was
                raise
            self.lines.noted(party)
            return line

    def _catch_up(self, line: Line, party: str, restarted: bool, runs: Iterable[str]) -> None:
        """Put down what the attachment means for the party's runs, and tell it where they stand."""
        line.put(Command("welcome", body={"version": self._version, "heartbeat_seconds": self._heartbeat}))
        line.put(self._roster_told())
        for command in self.errands(party):
            line.put(command)
        for known in [known for known in self._live() if party in known.state.plan.parties]:
            if restarted:
                self._apply(PartyRestarted(known.state.run, _now(), party))
            told = self._apply(PartyBack(known.state.run, _now(), party))
            for command in pending(known.state, party, self._heads(known.state, party)):
                if not told or command.kind == "pause":
                    line.put(command)
        for run_id in runs:
            ended = self._runs.get(run_id)
            if ended is not None and ended.state.ended and party in ended.state.plan.parties:
                line.put(last_word(ended.state, self._heads(ended.state, party)))

    def introduced(self, party: str, said: IntroductionBody) -> None:
        """A party says what it offers to runs; kept, so that a restart of ours does not lose it."""
        with self.lock:
            offered(self.lines, self._log, party, said)

    def members_changed(self, gone: Collection[str]) -> None:
        """Tell every attached party the roster. ``gone``: members revoked or renewed, whose runs under way end."""
        with self.lock:
            if self._stopped:
                return
            for name in sorted(gone):
                left = name not in self._roster
                for known in [known for known in self._live() if name in known.state.plan.parties]:
                    why = f"{name} is no longer a member" if left else f"{name} has a new certificate: propose it again"
                    self._apply(Cancelled(known.state.run, _now(), COORDINATOR, why))
                if left:
                    self.lines.dismiss(name)
                    self._log.save_offer(name, "")
            for name in self._roster:
                self.lines.put(name, self._roster_told())

    def check_free(self, party: str) -> None:
        """Raise :class:`AgreementError` while the party is in a run, whose agreement pins its certificate."""
        with self.lock:
            for known in self._live():
                if party in known.state.plan.parties:
                    raise AgreementError(f"{party} is in run {known.state.run[:12]}: renew its certificate afterwards")

    def _roster_told(self) -> Command:
        return roster_told({name: member for name, member in self._roster.items() if name not in (ADMIN, DESK)})

    def detach(self, line: Line) -> None:
        with self.lock:
            self.lines.detach(line)

    # -- what is known

    def known(self, run_id: str) -> KnownRun:
        """The run. Raises :class:`ConfigError` when there is none."""
        with self.lock:
            try:
                return self._runs[run_id]
            except KeyError:
                raise ConfigError(f"there is no run {run_id[:64]!r} here: list the runs for their ids") from None

    def all_runs(self) -> list[KnownRun]:
        """Every run, newest first."""
        with self.lock:
            return list(reversed(self._runs.values()))

    def share_a_run(self, one: str, other: str) -> bool:
        """Whether both are members and take part in a run under way, as the coordinator does in every run."""
        with self.lock:
            wanted = {one, other} - {COORDINATOR}
            known = all(name in self._roster for name in wanted)
            return one != other and known and any(wanted <= set(run.state.plan.parties) for run in self._live())

    def relayed(self, passed: Mapping[tuple[str, str], int]) -> None:
        """Bytes that went from one member to another through the coordinator, for the runs under way of both."""
        with self.lock:
            for (sender, receiver), size in passed.items():
                for known in self._live():
                    if {sender, receiver} - {COORDINATOR} <= set(known.state.plan.parties):
                        known.progress.relayed(sender, receiver, size)
                        known.unsaved = True

    def _live(self) -> list[KnownRun]:
        return [known for known in self._runs.values() if not known.state.ended]

    # -- applying

    def take(self, event: Event) -> bool:
        """Take an event in. False: it was late or repeated, and changed nothing.

        Raises :class:`EventRefused` for one that is misplaced, :class:`StorageError` when it cannot be logged.
        """
        with self.lock:
            if self._stopped:
                raise PeerError(_STOPPING, COORDINATOR)
            if isinstance(event, PhaseFailed | CoordinatorFailed) and event.peer:
                known = self._runs.get(event.run)
                state, _ = step(known.state if known else None, event)
                if known is None or state is known.state:
                    return False
                if state.culprit != reporter(event):
                    self._blames.hold(event, time.monotonic())
                    return True
            return self._apply(event)

    def _apply(self, event: Event) -> bool:
        known = self._runs.get(event.run)
        state, actions = step(known.state if known else None, event)
        if known is not None and state is known.state:
            return False
        was = known.state.phase if known is not None else None
        validate_state(state)
        if self._witness is not None:
            self._witness.noticed(event)
        self._log.append(event)
        self._enter(state)
        _LOG.info("run %s: %s, now %s", state.run[:12], event.kind, state.status)
        approved = isinstance(event, Signed | PartyBack) and was == "approve" != state.phase
        if approved and not self._close_earlier(state):
            why = f"the run that it goes on from is by now {STANDS}"
            return self._apply(Cancelled(state.run, _now(), COORDINATOR, why))
        for action in actions:
            self._perform(self._runs[state.run], action)
        if state.ended:
            self._blames.forget(state.run)
            self._save()
        return True

    def _enter(self, state: RunState) -> None:
        known = self._runs.get(state.run)
        if known is None:
            facts = RunFacts.of(Agreement.model_validate_json(state.agreement))
            self._runs[state.run] = KnownRun(state, facts, RunProgress(state.plan.label, facts.periods))
        else:
            known.state = state

    def _perform(self, known: KnownRun, action: Action) -> None:
        state = known.state
        match action:
            case AskApproval(party):
                self.lines.put(party, approve(state))
            case StartPhase(party, phase, attempt):
                self.lines.put(party, start(state, phase, attempt, self._heads(state, party)))
            case RunMatching(attempt):
                self._spawn(known, "align", attempt, lambda watch: self._parts.match(known.agreement, attempt, watch))
            case ReceiveBundle(attempt):
                self._spawn(
                    known, "export", attempt, lambda watch: self._parts.receive(known.agreement, attempt, watch)
                )
            case Settle(attempt):
                # here and not in a thread: nothing may come between the posting and its event
                self._own_part(known, "settle", attempt, lambda _: (self._parts.settle(state), {}))
            case Interrupt(reason):
                _LOG.warning("run %s waits: %s", state.run[:12], reason)
                self._parts.interrupt(state.run, reason)
            case Stop():
                self._tell(state, lambda _: paused(state))
            case Release(by):
                self._tell(state, lambda _: resumed(state, by))
            case Abort(reason):
                self._parts.abort(state.run, reason)
                self._tell(state, lambda party: last_word(state, self._heads(state, party)))
            case Finish():
                self._tell(state, lambda party: last_word(state, self._heads(state, party)))

    def _tell(self, state: RunState, command: Callable[[str], Command]) -> None:
        for party in state.plan.parties:
            self.lines.put(party, command(party))

    def _heads(self, state: RunState, party: str) -> list[dict[str, Any]]:
        return [] if self._witness is None else self._witness.heads(state, party)

    def witnessed(self, party: str, head: Any) -> None:
        """Hold a party to the head of its audit log. Raises :class:`AgreementError` when it does not fit."""
        if self._witness is not None:
            with self.lock:
                self._witness.saw(party, head)

    def _spawn(self, known: KnownRun, phase: PhaseName, attempt: int, work: Work) -> None:
        name = f"{phase}-{known.state.run[:8]}"
        threading.Thread(target=self._own_part, args=(known, phase, attempt, work), name=name, daemon=True).start()

    def _own_part(self, known: KnownRun, phase: PhaseName, attempt: int, work: Work) -> None:
        run_id = known.state.run

        def watch(progress: Progress) -> None:
            body = ProgressBody(
                phase=phase, attempt=attempt, done=progress.done, total=progress.total, unit=progress.unit
            )
            with self.lock:
                known.progress.heard(COORDINATOR, body, _now(), time.monotonic())

        event: Event
        try:
            report, traffic = work(watch)
        except RunAborted:
            return
        except (EntenteError, ProtocolError, ValidationError, ValueError, OSError) as error:
            peer, lost = str(getattr(error, "peer", ""))[:32], isinstance(error, PeerError)
            event = CoordinatorFailed(run_id, _now(), phase, attempt, printable(str(error)[:2000]), peer, lost)
        except Exception:
            _LOG.exception("run %s: %s failed", run_id[:12], phase)
            reason = "a fault in the coordinator's program; its log has the details"
            event = CoordinatorFailed(run_id, _now(), phase, attempt, reason)
        else:
            with self.lock:
                known.progress.closed(COORDINATOR, phase, PartReport(traffic=traffic), _now())
                known.unsaved = True
            event = CoordinatorDone(run_id, _now(), phase, attempt, report)
        try:
            self.take(event)
        except PeerError:
            return  # we are stopping
        except StorageError as error:
            _LOG.error("run %s: %s waits: %s", run_id[:12], event.kind, error)
            self._unlogged.append(event)

    def _save(self, *, everything: bool = False) -> None:
        """Keep progress; when that fails nothing is lost that decides anything."""
        self._saved = time.monotonic()
        for known in self._runs.values():
            if known.unsaved or (everything and not known.state.ended):
                try:
                    self._log.save_progress(known.state.run, known.progress.to_json())
                except StorageError as error:
                    _LOG.warning("run %s: %s", known.state.run[:12], error)
                    return
                known.unsaved = False


def _now() -> datetime:
    return datetime.now(UTC)
