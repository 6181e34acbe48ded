"""What the coordinator does: takes events in, appends them to the log, carries the state machine's actions out.

Everything that decides is under one lock and in ``state.step``; slow work (matching, receiving, settling) runs in
threads that come back with an event. An event is on disk before any action it causes.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from parties.agreement.document import Agreement
from parties.audit.heads import Head
from parties.control.commands import Command, WelcomeBody
from parties.control.phase_reports import PartReport
from parties.control.phases import PhaseName
from parties.control.reports import IntroductionBody, ProgressBody
from parties.coordinator import events, run_actions
from parties.coordinator.audit_witness import AuditWitness
from parties.coordinator.commands import approve, last_word, paused, pending, resumed, roster_told, start
from parties.coordinator.held_failures import HeldFailures, reporter
from parties.coordinator.known_run import KnownRun
from parties.coordinator.own_phases import FAULT, OwnPhases, Work, played
from parties.coordinator.party_lines import Attachment, PartyLine, PartyLines, due, offered, offers_before
from parties.coordinator.run import RunState, validate_state
from parties.coordinator.run_book import RunBook, check_proposal
from parties.coordinator.state import EventRefused, step
from parties.coordinator.store import EventLog
from parties.errors import AgreementError, PeerError, StorageError
from parties.members.roster import Roster
from parties.names import COORDINATOR, NOBODY
from parties.process.supervision import start_task
from parties.proposing.continuing import STANDS
from psi.flow import Progress

__all__ = ["Engine"]

_LOG = logging.getLogger(__name__)
_SAVE_SECONDS = 5.0
_STOPPING = "the coordinator is stopping: try again when it runs"


class Engine:
    """All runs of one coordinator. Thread-safe."""

    def __init__(
        self,
        log: EventLog,
        roster: Roster,
        parts: OwnPhases,
        *,
        version: str,
        heartbeat: float,
        witness: AuditWitness | None = None,
    ) -> None:
        self._lock, self._lines = threading.RLock(), PartyLines()
        self._log, self._roster, self._parts, self._witness = log, roster, parts, witness
        self._version, self._heartbeat = version, heartbeat
        self._runs = RunBook(log)
        self._unlogged: list[events.Event] = []
        self._blames = HeldFailures()
        self._saved = time.monotonic()
        self._stopped = False

    def restore(self) -> None:
        """Rebuild every run from the log. A run found under way waits for its parties and is taken up again; one that
        waits for signatures goes on waiting; a settlement is done again, which posts nothing twice."""
        with self._lock:
            self._runs.restore()
            for known in self._runs.live():
                if known.state.phase != "approve":
                    self._close_earlier(known)
            offers_before(self._lines, self._log, self._roster)
            for known in self._runs.live():
                if known.state.phase == "settle" and not known.state.halted:
                    self._perform(known, run_actions.Settle(known.state.span.attempt))
                else:
                    why = f"the coordinator restarted during {known.state.phase}"
                    self._apply(events.Interrupted(known.state.run, _now(), why))

    def stop(self) -> None:
        """End what is under way, tell everyone, and take no more events."""
        with self._lock:
            for failure in self._blames.due(math.inf):
                self._apply(failure)
                self._blames.forget(failure.run)
            for state in [known.state for known in self._runs.live() if known.state.phase != "settle"]:
                why = f"the coordinator was stopped during {state.phase}"
                self._apply(events.Interrupted(state.run, _now(), why))
            self._runs.save(everything=True)
            self._stopped = True
            self._lines.close()

    def tick(self) -> None:
        """Look at the clock: who is silent, who is back, what has expired. Call it a few times a second."""
        with self._lock:
            if self._stopped:
                return
            faults: list[Exception] = []
            while self._unlogged:
                self._take_late(self._unlogged[0], faults)
                self._unlogged.pop(0)
            for failure in self._blames.due(time.monotonic()):
                self._take_late(failure, faults)
                self._blames.forget(failure.run)
            now = _now()
            for known in self._runs.live():
                for event in due(known, self._lines, now):
                    self._take_late(event, faults)
            if time.monotonic() - self._saved > _SAVE_SECONDS:
                self._saved = time.monotonic()
                self._runs.save()
            if faults:
                raise faults[0]

    def _take_late(self, event: events.Event, faults: list[Exception]) -> None:
        """What the clock brings, or could not be logged when it came. One run's fault stops no other run's events."""
        try:
            self._apply(event)
        except EventRefused as error:
            _LOG.warning("run %s: %s came too late: %s", event.run[:12], event.kind, error)
        except StorageError:
            raise  # it stays due
        except Exception as error:
            _LOG.exception("run %s: %s cannot be taken in", event.run[:12], event.kind)
            faults.append(error)

    def propose(self, agreement: Agreement, by: str) -> str:
        """Take an agreement in, if it fits the roster. The same one again is the same run."""
        now = _now()
        check_proposal(agreement, self._roster, now)
        with self._lock:
            self._runs.check_earlier(agreement)
        self.take(events.Proposed(agreement.run_id, now, agreement.canonical().decode(), by))
        return agreement.run_id

    def _close_earlier(self, known: KnownRun) -> bool:
        """Everyone who stays has signed: end the run that this one goes on from. False when that stands."""
        terms = known.agreement.continues
        earlier = self._runs.get(terms.run_id) if terms is not None else None
        if terms is not None and earlier is not None:
            if earlier.state.stands:
                return False
            self._apply(events.Continued(terms.run_id, _now(), known.state.run, terms.without))
        return True

    def cancel(self, run_id: str, by: str, why: str, *, admin: bool) -> bool:
        """Stop a run for an admin, or for one of its parties."""
        with self._lock:
            known = self._runs.known(run_id)
            if not admin and by not in known.state.plan.parties:
                raise AgreementError(f"{by} has no part in run {run_id[:12]} and cannot cancel it")
            return self.take(events.Cancelled(run_id, _now(), by, why))

    def pause(self, run_id: str, by: str, why: str) -> bool:
        """Hold a run at its next boundary, for the admin or for one of its parties."""
        with self._lock:
            return self.take(events.Paused(self._runs.known(run_id).state.run, _now(), by, why))

    def resume(self, run_id: str, by: str) -> bool:
        """Take a pause back."""
        with self._lock:
            return self.take(events.Resumed(self._runs.known(run_id).state.run, _now(), by))

    def attach(self, party: str, session: str, version: str, runs: Iterable[str]) -> PartyLine:
        """Open a party's standing line, and tell it where its runs stand."""
        with self._lock:
            if self._stopped:
                raise PeerError(_STOPPING, COORDINATOR)
            line, restarted = self._lines.attach(party, session, version)
            try:
                self._catch_up(line, party, restarted, runs)
            except StorageError:
                self._lines.detach(line)  # the party tries again, and is to find everything as it was
                raise
            self._lines.noted(party)
            return line

    def _catch_up(self, line: PartyLine, party: str, restarted: bool, runs: Iterable[str]) -> None:
        """Put down what the attachment means for the party's runs, and tell it where they stand."""
        line.put(Command(WelcomeBody(version=self._version, heartbeat_seconds=self._heartbeat)))
        line.put(roster_told(self._roster))
        for run_id in [known.state.run for known in self._runs.live_of((party,))]:
            if restarted:
                self._apply(events.PartyRestarted(run_id, _now(), party))
            told = self._apply(events.PartyBack(run_id, _now(), party))
            state = self._runs.known(run_id).state
            for command in pending(state, party, self._heads(state, party)):
                if not told or command.kind == "pause":
                    line.put(command)
        for run_id in runs:
            ended = self._runs.get(run_id)
            if ended is not None and ended.state.ended and party in ended.state.plan.parties:
                line.put(last_word(ended.state, self._heads(ended.state, party)))

    def introduced(self, party: str, said: IntroductionBody) -> None:
        """A party says what it offers to runs; kept, so that a restart of ours does not lose it."""
        with self._lock:
            offered(self._lines, self._log, party, said)

    def members_changed(self, gone: Collection[str]) -> None:
        """Tell every attached party the roster. ``gone``: members revoked or renewed, whose runs under way end."""
        with self._lock:
            if self._stopped:
                return
            for name in sorted(gone):
                left = name not in self._roster
                for known in self._runs.live_of((name,)):
                    why = f"{name} is no longer a member" if left else f"{name} has a new certificate: propose it again"
                    self._apply(events.Cancelled(known.state.run, _now(), COORDINATOR, why))
                if left:
                    self._lines.dismiss(name)
                    self._log.save_offer(name, "")
            for name in self._roster:
                self._lines.put(name, roster_told(self._roster))

    def check_free(self, party: str) -> None:
        """Raise :class:`AgreementError` while the party is in a run, whose agreement pins its certificate."""
        with self._lock:
            for known in self._runs.live_of((party,)):
                raise AgreementError(f"{party} is in run {known.state.run[:12]}: renew its certificate afterwards")

    def detach(self, line: PartyLine) -> None:
        with self._lock:
            self._lines.detach(line)

    def known(self, run_id: str) -> KnownRun:
        """The run as it is now. Raises :class:`ConfigError` when there is none."""
        with self._lock:
            return self._runs.known(run_id)

    def all_runs(self) -> list[KnownRun]:
        """Every run as it is now, newest first."""
        with self._lock:
            return self._runs.newest_first()

    def attachments(self, parties: Iterable[str]) -> dict[str, Attachment]:
        """The lines of several parties, at one moment."""
        with self._lock:
            return {party: self._lines.attachment(party) for party in parties}

    def share_a_run(self, one: str, other: str) -> bool:
        """Whether both are members and take part in a run under way, as the coordinator does in every run."""
        wanted = {one, other} - {COORDINATOR}
        with self._lock:
            known = all(name in self._roster for name in wanted)
            return one != other and known and bool(self._runs.live_of(wanted))

    def heard(self, party: str) -> None:
        """Something came from the party."""
        with self._lock:
            self._lines.heard(party)

    def tell(self, party: str, command: Command) -> None:
        """Tell a party, if it is attached."""
        with self._lock:
            self._lines.put(party, command)

    def drained(self, patience: float) -> bool:
        """Wait until every line has handed over its commands, ``patience`` seconds at most."""
        return self._lines.drained(patience)

    def relayed(self, passed: Mapping[tuple[str, str], int]) -> None:
        """Bytes that went from one member to another through the coordinator, for the runs under way of both."""
        with self._lock:
            self._runs.relayed(passed)

    def progressed(self, party: str, run_id: str, body: ProgressBody) -> bool:
        """How far a party is. False: it is not of the attempt under way."""
        with self._lock:
            return self._runs.progressed(party, run_id, body, _now(), time.monotonic())

    def phase_done(self, event: events.PhaseDone, costs: PartReport) -> bool:
        """A party finished its part of a phase; ``costs`` is what its report says of them."""
        with self._lock:
            changed = self.take(event)
            if changed:
                self._runs.closed(event.run, event.party, event.phase, costs, event.at)
            return changed

    def take(self, event: events.Event) -> bool:
        """Take an event in. False: it was late or repeated, and changed nothing.

        Raises :class:`EventRefused` for one that is misplaced, :class:`StorageError` when it cannot be logged.
        """
        with self._lock:
            if self._stopped:
                raise PeerError(_STOPPING, COORDINATOR)
            if isinstance(event, events.PhaseFailed | events.CoordinatorFailed) and event.peer not in ("", NOBODY):
                before = self._runs.state(event.run)
                state, _ = step(before, event)
                if state is before:
                    return False
                if state.culprit != reporter(event):
                    self._blames.hold(event, time.monotonic())
                    return True
            return self._apply(event)

    def _apply(self, event: events.Event) -> bool:
        before = self._runs.state(event.run)
        state, actions = step(before, event)
        if state is before:
            return False
        was = before.phase if before is not None else None
        validate_state(state)
        if self._witness is not None:
            self._witness.noticed(event, before)
        self._log.append(event)
        known = self._runs.enter(state)
        _LOG.info("run %s: %s, now %s", state.run[:12], events.described(event), state.status)
        approved = isinstance(event, events.Signed | events.PartyBack) and was == "approve" != state.phase
        if approved and not self._close_earlier(known):
            why = f"the run that it goes on from is by now {STANDS}"
            return self._apply(events.Cancelled(state.run, _now(), COORDINATOR, why))
        for action in actions:
            self._perform(self._runs.known(state.run), action)
        if state.ended:
            self._blames.forget(state.run)
            self._runs.save()
        return True

    def _perform(self, known: KnownRun, action: run_actions.Action) -> None:
        state = known.state
        match action:
            case run_actions.AskApproval(party):
                self._lines.put(party, approve(state))
            case run_actions.StartPhase(party, phase, attempt):
                self._lines.put(party, start(state, phase, attempt, self._heads(state, party)))
            case run_actions.RunMatching(attempt):
                self._spawn(known, "align", attempt, lambda watch: self._parts.match(known.agreement, attempt, watch))
            case run_actions.AddUp(phase, attempt, without):
                part = partial(self._parts.add_up, known.agreement, phase, attempt, without)
                self._spawn(known, phase, attempt, part)
            case run_actions.ReceiveBundle(attempt):
                self._spawn(known, "export", attempt, partial(self._parts.receive, known.agreement, attempt))
            case run_actions.Settle(attempt):
                # here and not in a thread: nothing may come between the posting and its event
                self._own_part(known, "settle", attempt, lambda _: (self._parts.settle(known), {}))
            case run_actions.Interrupt(reason):
                _LOG.warning("run %s waits: %s", state.run[:12], reason)
                self._parts.interrupt(state.run, reason)
            case run_actions.Stop():
                self._tell(state, lambda _: paused(state))
            case run_actions.Release(by):
                self._tell(state, lambda _: resumed(state, by))
            case run_actions.Abort(reason):
                self._parts.abort(state.run, reason)
                self._tell(state, lambda party: last_word(state, self._heads(state, party)))
            case run_actions.Finish():
                self._tell(state, lambda party: last_word(state, self._heads(state, party)))

    def _tell(self, state: RunState, command: Callable[[str], Command]) -> None:
        for party in state.plan.parties:
            self._lines.put(party, command(party))

    def _heads(self, state: RunState, party: str) -> Sequence[Head]:
        return () if self._witness is None else self._witness.heads(state, party)

    def witnessed(self, party: str, head: Any) -> None:
        """Hold a party to the head of its audit log. Raises :class:`AgreementError` when it does not fit."""
        if self._witness is not None:
            with self._lock:
                self._witness.saw(party, head)

    def _spawn(self, known: KnownRun, phase: PhaseName, attempt: int, work: Work) -> None:
        fault = events.CoordinatorFailed(known.state.run, _now(), phase, attempt, FAULT)
        part = partial(self._own_part, known, phase, attempt, work)
        start_task(part, f"{phase}-{known.state.run[:8]}", lambda error: self._unlogged.append(fault))

    def _own_part(self, known: KnownRun, phase: PhaseName, attempt: int, work: Work) -> None:
        run_id = known.state.run

        def watch(progress: Progress) -> None:
            with self._lock:
                self._runs.watched(run_id, phase, attempt, progress, _now(), time.monotonic())

        event, traffic = played(known, phase, attempt, partial(work, watch), _now)
        if event is None:
            return
        if isinstance(event, events.CoordinatorDone):
            with self._lock:
                self._runs.closed(run_id, COORDINATOR, phase, PartReport(traffic=traffic), _now())
        try:
            self.take(event)
        except (PeerError, EventRefused) as error:  # we are stopping, or it came too late
            _LOG.warning("run %s: %s was not taken: %s", run_id[:12], event.kind, error)
        except StorageError as error:
            _LOG.error("run %s: %s waits: %s", run_id[:12], event.kind, error)
            self._unlogged.append(event)


def _now() -> datetime:
    return datetime.now(UTC)
