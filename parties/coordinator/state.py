"""A run as a pure state machine: ``step(state, event) -> (state, actions)``.

The coordinator appends each event that changes something to its log and carries the actions out;
replaying the log rebuilds the state. A run goes

    proposed -> approved -> aligned -> trained -> evaluated -> valued -> exported -> settled

or ends in ``aborted`` with one reason. It is ``paused`` while a party that is still needed is away. When everyone is
there again the phase under way is begun anew, as its next attempt, and the parties take it up from their records.

The admin and every party of the run may pause it too. Training then stops behind the record of a step that all parties
have; any other phase ends first. The next phase or attempt begins when every pause was taken back: each by who made it,
or all of them by the admin.

Who takes part: align: every party, and the coordinator as matcher when the policy is ``psi``; train: every
party; evaluate: the label party; value: every party when contributions are ``masked`` or attribution is
agreed, else the phase is skipped; export: the label party and the recipients; settle: the coordinator.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from parties.agreement.document import Agreement
from parties.control.phases import PHASES, PhaseName, Plan
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
    PhaseDone,
    PhaseFailed,
    PhaseHeld,
    Proposed,
    Rejected,
    Resumed,
    Signed,
)
from parties.coordinator.run import Hold, PhaseSpan, RunState
from parties.coordinator.run_actions import (
    Abort,
    Action,
    AddUp,
    AskApproval,
    Finish,
    Interrupt,
    ReceiveBundle,
    Release,
    RunMatching,
    Settle,
    StartPhase,
    Stop,
)
from parties.errors import AgreementError
from parties.names import ADMIN, COORDINATOR, NOBODY

__all__ = ["EventRefused", "replay", "step"]


class EventRefused(AgreementError):
    """The event does not belong to the run, its parties, or the phase it is in."""


Step = tuple[RunState, tuple[Action, ...]]

MOST_ATTEMPTS = 20


def step(state: RunState | None, event: Event) -> Step:
    """Apply one event.

    Returns the state unchanged, and no action, for what is late or repeated. Raises :class:`EventRefused`
    for an event of another run, of someone who has no part in it, or of a phase not yet begun.
    """
    if isinstance(event, Proposed):
        return _propose(state, event)
    if state is None:
        raise EventRefused(f"run {event.run[:12]} was never proposed here: propose it first")
    if event.run != state.run:
        raise EventRefused(f"an event of run {event.run[:12]} reached run {state.run[:12]}: send it to its own run")
    match event:
        case Signed() | Rejected() | PhaseDone() | PhaseFailed() | PhaseHeld():
            _require_party(state, event.party)
        case PartyLost() | PartyBack() | PartyRestarted():
            _require_party(state, event.party)
        case _:
            pass
    return (state, ()) if state.ended else _applied(state, event)


def _applied(state: RunState, event: Event) -> Step:
    """An event of a run that has not ended, of somebody who has part in it."""
    match event:
        case Signed():
            return _sign(state, event)
        case Rejected(party=party, why=why):
            if state.phase != "approve":
                raise EventRefused(f"{party} rejects a run that every party has approved: cancel it instead")
            return _abort(state, event.at, f"{party} rejected the agreement: {why}", party)
        case PhaseDone() | CoordinatorDone():
            return _done(state, event)
        case PhaseFailed() | CoordinatorFailed():
            return _failed(state, event)
        case PhaseHeld():
            return _held(state, event)
        case Paused():
            return _pause(state, event)
        case Resumed():
            return _resume(state, event)
        case PartyLost():
            return _lost(state, event)
        case PartyBack():
            return _back(state, event)
        case PartyRestarted():
            return _restarted(state, event)
        case Cancelled(by=by, why=why):
            return _abort(state, event.at, f"cancelled by {by}: {why}", "")
        case Continued(as_run=as_run, without=without):
            gone = ", ".join(without)
            return _abort(state, event.at, f"the others go on without {gone}, as run {as_run[:12]}", without[0])
        case Interrupted():
            return _interrupted(state, event)
        case Expired():
            return _expired(state, event)
        case Proposed():
            raise AssertionError("a proposal is taken before")


def _interrupted(state: RunState, event: Interrupted) -> Step:
    """Signatures are in the log, and a settlement is the coordinator's alone: these go on."""
    assert state.phase is not None
    if state.phase in ("approve", "settle"):
        return state, ()
    why = event.why or "the coordinator stopped while the run was under way"
    needed = [p for p in state.plan.parties if state.needed_from(p, state.phase)]
    return _interrupt(state, event.at, why, COORDINATOR, needed)


def _expired(state: RunState, event: Expired) -> Step:
    if state.phase != "approve":
        return state, ()
    waiting = [p for p in state.plan.parties if p not in state.signed or p in state.absent]
    return _abort(state, event.at, f"the agreement expired while waiting for {', '.join(waiting)}", waiting[0])


def replay(events: Iterable[Event]) -> RunState | None:
    """The state the events lead to; their actions were carried out when they happened."""
    state: RunState | None = None
    for event in events:
        state, _ = step(state, event)
    return state


def _propose(state: RunState | None, event: Proposed) -> Step:
    if state is not None:
        if event.run == state.run:
            return state, ()
        raise EventRefused(f"run {state.run[:12]} is already proposed: propose {event.run[:12]} as a run of its own")
    try:
        agreement = Agreement.model_validate_json(event.agreement)
    except ValidationError as error:
        raise EventRefused(f"the proposed agreement is not valid: {error.errors()[0]['msg']}") from None
    # the document as it was signed: a later version reads it with defaults that its hash does not cover
    if hashlib.sha256(event.agreement.encode()).hexdigest() != event.run:
        raise EventRefused("the proposed agreement does not hash to its run id: compute the id again")
    new = RunState(
        run=event.run,
        agreement=event.agreement,
        by=event.by,
        plan=Plan.of(agreement),
        proposed_at=event.at,
        spans=(PhaseSpan("approve", 1, event.at, reports={}),),
    )
    return new, tuple(AskApproval(party) for party in new.plan.parties)


def _require_party(state: RunState, party: str) -> None:
    if party not in state.plan.parties:
        raise EventRefused(f"{party} has no part in run {state.run[:12]}")


def _sign(state: RunState, event: Signed) -> Step:
    if state.phase != "approve" or event.party in state.signed:
        return state, ()
    span = _with_report(state.span, event.party, {})
    signatures = (*state.signatures, (event.party, event.signature, event.at))
    return _go_on(replace(state, signatures=signatures, spans=(*state.spans[:-1], span)), event.at)


def _done(state: RunState, event: PhaseDone | CoordinatorDone) -> Step:
    party = event.party if isinstance(event, PhaseDone) else COORDINATOR
    if not _current(state, event, party) or party in state.span.done:
        return state, ()
    span, left = _with_report(state.span, party, event.report), tuple(name for name in state.left if name != party)
    return _go_on(replace(state, spans=(*state.spans[:-1], span), left=left), event.at)


def _failed(state: RunState, event: PhaseFailed | CoordinatorFailed) -> Step:
    party = event.party if isinstance(event, PhaseFailed) else COORDINATOR
    if not _current(state, event, party):
        return state, ()
    blamed = "" if event.peer == NOBODY else event.peer if event.peer in (*state.plan.parties, COORDINATOR) else party
    reason = f"{party} stopped in {event.phase}: {event.reason}"
    if event.lost and state.goes_on_without(party):
        return _left(state, party, event.at)
    if event.lost and event.phase not in ("approve", "settle"):
        away = [blamed] if blamed in state.plan.parties and state.needed_from(blamed, event.phase) else []
        return _interrupt(state, event.at, reason, blamed, away)
    return _abort(state, event.at, reason, blamed)


def _held(state: RunState, event: PhaseHeld) -> Step:
    """The first party to stop ends the attempt: without it nobody goes on."""
    if not _current(state, event, event.party) or not state.holds or event.phase != "train":
        return state, ()
    return _interrupt(state, event.at, f"{event.party} has stopped: the run is paused", event.party, [], planned=True)


def _pause(state: RunState, event: Paused) -> Step:
    if event.by not in (*state.plan.parties, ADMIN):
        raise EventRefused(f"{event.by} has no part in run {state.run[:12]} and cannot pause it")
    if any(hold.by == event.by for hold in state.holds):
        return state, ()
    if state.phase == "settle" and not state.halted:
        raise EventRefused(f"run {state.run[:12]} is being settled, which is not paused: void the settlement instead")
    holds = (*state.holds, Hold(event.by, event.why, event.at))
    halted = state.halted or (bool(state.absent) and state.phase != "approve")
    taken_back = tuple(name for name in state.taken_back if name != event.by)
    return replace(state, holds=holds, taken_back=taken_back, halted=halted, turns=state.turns + 1), (Stop(),)


def _resume(state: RunState, event: Resumed) -> Step:
    if not state.holds:
        return state, ()
    left = () if event.by == ADMIN else tuple(hold for hold in state.holds if hold.by != event.by)
    if left == state.holds:
        if event.by in state.taken_back:
            return state, ()
        holders = ", ".join(hold.by for hold in state.holds)
        raise EventRefused(
            f"run {state.run[:12]} is paused by {holders}, not by {event.by}: they or the admin can resume it"
        )
    taken_back = (*state.taken_back, event.by) if left else ()
    here = replace(state, holds=left, taken_back=taken_back, halted=state.halted and bool(left), turns=state.turns + 1)
    if left:
        return here, ()
    if state.halted:
        begin = () if here.absent else _begin(here, here.span.phase, here.span.attempt)
        return here, (Release(event.by), *begin)
    if here.phase == "train":
        # a party may have stopped already, its word being under way: everyone goes on from the records
        here, actions = _interrupt(here, event.at, f"resumed by {event.by}", event.by, [], planned=True)
        return here, (Release(event.by), *actions)
    return here, (Release(event.by),)


def _current(
    state: RunState, event: PhaseDone | CoordinatorDone | PhaseFailed | CoordinatorFailed | PhaseHeld, party: str
) -> bool:
    """Whether the report is of the attempt under way; false when it is of an earlier one."""
    now = (PHASES.index(state.span.phase), state.span.attempt)
    then = (PHASES.index(event.phase), event.attempt)
    if then > now:
        raise EventRefused(
            f"{party} reports {event.phase} attempt {event.attempt} while run {state.run[:12]} is in "
            f"{state.span.phase} attempt {state.span.attempt}"
        )
    if then < now:
        return False
    if event.phase == "approve" and isinstance(event, PhaseDone):
        raise EventRefused(f"{party} reports approve as done: an agreement is approved by signing it")
    if party in state.dropped:
        return False
    if party not in state.plan.participants(event.phase):
        raise EventRefused(f"{party} has no part in {event.phase} of run {state.run[:12]}")
    return not state.idle or state.phase == "approve"  # while the run waits, no attempt is under way


def _lost(state: RunState, event: PartyLost) -> Step:
    assert state.phase is not None
    if event.party in state.absent or not state.needed_from(event.party, state.phase):
        return state, ()
    if state.phase == "approve":
        return replace(state, absent=(*state.absent, event.party)), ()
    if state.can_drop(event.party):
        return _dropped(state, event.party, event.at)
    silence = f"{event.party} has been silent for {event.silent_for:.0f} s during {state.phase}"
    return _interrupt(state, event.at, f"{silence}: check that its node runs", event.party, [event.party])


def _dropped(state: RunState, party: str, at: datetime) -> Step:
    """Enough members are left: the rounds under way go on without this one, and so does the run."""
    if state.goes_on_without(party):
        return _left(state, party, at)
    if state.idle or party in state.span.done:
        # it waits, or this one has what the training made: nothing goes on without it
        return _interrupt(state, at, f"{party} is away during {state.phase}", party, [party])
    return _go_on(replace(state, dropped=(*state.dropped, party)), at)


def _left(state: RunState, party: str, at: datetime) -> Step:
    """The others train on; this one is given what they made when they are done."""
    return (state, ()) if party in state.left else _go_on(replace(state, left=(*state.left, party)), at)


def _back(state: RunState, event: PartyBack) -> Step:
    if event.party not in state.absent:
        return state, ()
    here = replace(state, absent=tuple(p for p in state.absent if p != event.party))
    if event.party not in here.signed:
        return here, (AskApproval(event.party),)
    if here.phase == "approve":
        return _go_on(here, event.at)
    return here, () if here.idle else _begin(here, here.span.phase, here.span.attempt)


def _restarted(state: RunState, event: PartyRestarted) -> Step:
    """Before approval nothing is lost; after it the phase is taken up again once the node is back."""
    assert state.phase is not None
    if state.phase == "approve" or event.party in state.absent:
        return state, ()
    if not state.needed_from(event.party, state.phase):
        return state, ()
    if state.can_drop(event.party):
        return _dropped(state, event.party, event.at)
    why = f"{event.party}'s node restarted during {state.phase}"
    return _interrupt(state, event.at, why, event.party, [event.party])


def _interrupt(
    state: RunState, at: datetime, reason: str, culprit: str, away: Sequence[str], *, planned: bool = False
) -> Step:
    """Give the attempt up; the next one begins when nobody is away and nobody holds the run."""
    absent = tuple(p for p in state.plan.parties if p in state.absent or p in away)
    if state.idle:
        return (state, ()) if absent == state.absent else (replace(state, absent=absent), ())
    span = state.span
    if span.attempt - span.held >= MOST_ATTEMPTS and not planned:
        return _abort(state, at, f"{reason} (the {MOST_ATTEMPTS}th attempt at {span.phase})", culprit)
    held, first = span.held + planned, span.began_at
    fresh = PhaseSpan(span.phase, span.attempt + 1, at, reports={}, held=held, first_at=first)
    paused = replace(state, spans=(*state.spans[:-1], fresh), absent=absent, halted=bool(state.holds), left=())
    begin = () if paused.idle else _begin(state, fresh.phase, fresh.attempt)
    return paused, (Interrupt(reason), *begin)


def _with_report(span: PhaseSpan, party: str, report: Mapping[str, Any]) -> PhaseSpan:
    return replace(span, reports={**(span.reports or {}), party: dict(report)})


def _go_on(state: RunState, at: datetime) -> Step:
    """Close the phase when everyone has done their part, and begin the next that has work in it."""
    waited = set(state.team(state.span.phase)) - state.span.done
    if state.left and waited == set(state.left):
        why = f"{', '.join(state.left)} was away during {state.span.phase}, and the others are done"
        return _interrupt(state, at, why, state.left[0], state.left, planned=True)
    if state.absent or waited:
        return state, ()
    spans = (*state.spans[:-1], replace(state.span, ended_at=at, outcome="done"))
    phases = state.plan.phases
    for phase in phases[phases.index(state.span.phase) + 1 :]:
        if state.plan.participants(phase):
            spans = (*spans, PhaseSpan(phase, 1, at, reports={}))
            if state.holds:
                return replace(state, spans=spans, halted=True), ()
            return replace(state, spans=spans), _begin(state, phase, 1)
        spans = (*spans, PhaseSpan(phase, 1, at, at, "skipped", {}))
    return replace(state, spans=spans, ended_at=at), (Finish(),)


def _begin(state: RunState, phase: PhaseName, attempt: int) -> tuple[Action, ...]:
    own: Mapping[PhaseName, Action] = {
        "align": RunMatching(attempt),
        "encode": AddUp("encode", attempt, ()),
        "train": AddUp("train", attempt, state.dropped),
        "value": AddUp("value", attempt, state.dropped),
        "export": ReceiveBundle(attempt),
        "settle": Settle(attempt),
    }
    return tuple(own[phase] if name == COORDINATOR else StartPhase(name, phase, attempt) for name in state.team(phase))


def _abort(state: RunState, at: datetime, reason: str, culprit: str) -> Step:
    closed = replace(state.span, ended_at=at, outcome="failed")
    spans = (*state.spans[:-1], closed)
    ended = replace(state, spans=spans, ended_at=at, reason=reason, culprit=culprit)
    return replace(ended, absent=(), left=(), holds=(), taken_back=(), halted=False), (Abort(reason),)
