"""What follows from a run's state for its parties: the commands that they are given, and those they have missed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence

import rfc8785

from parties.audit.heads import Head
from parties.control.commands import (
    AbortBody,
    ApproveBody,
    Command,
    FinishedBody,
    PauseBody,
    ResumeBody,
    RosterBody,
    StartBody,
)
from parties.control.phases import PhaseName
from parties.coordinator.run import RunState
from parties.fields import printable
from parties.members.roster import Member
from parties.names import ADMIN, COORDINATOR, DESK

__all__ = ["approve", "last_word", "paused", "pending", "resumed", "roster_told", "start"]


def roster_told(members: Mapping[str, Member]) -> Command:
    """Who belongs to the consortium now, but for those who deal with the coordinator alone."""
    return Command(RosterBody(members={name: one for name, one in members.items() if name not in (ADMIN, DESK)}))


def approve(state: RunState) -> Command:
    """Ask for a signature or a rejection."""
    return Command(ApproveBody(agreement=json.loads(state.agreement)), state.run)


def start(state: RunState, phase: PhaseName, attempt: int, heads: Sequence[Head] = ()) -> Command:
    """Begin the party's part of a phase."""
    signatures = {party: signature for party, signature, _ in state.signatures}
    return Command(StartBody(phase=phase, attempt=attempt, signatures=signatures, heads=tuple(heads)), state.run)


def paused(state: RunState) -> Command:
    """Who holds the run: the latest of them."""
    hold, span = state.holds[-1], state.span
    body = PauseBody(phase=span.phase, attempt=span.attempt, number=state.turns, by=hold.by, why=hold.why)
    return Command(body, state.run)


def resumed(state: RunState, by: str) -> Command:
    """Nobody holds the run any more."""
    span = state.span
    return Command(ResumeBody(phase=span.phase, attempt=span.attempt, number=state.turns, by=by), state.run)


def last_word(state: RunState, heads: Sequence[Head] = ()) -> Command:
    """How the run ended."""
    if state.status == "settled":
        settlement = rfc8785.dumps((state.span.reports or {}).get(COORDINATOR, {}))
        digest = hashlib.sha256(settlement).hexdigest()
        return Command(FinishedBody(settlement_sha256=digest, heads=tuple(heads)), state.run)
    return Command(AbortBody(reason=printable(state.reason)[:2000], culprit=state.culprit), state.run)


def pending(state: RunState, party: str, heads: Sequence[Head] = ()) -> Iterator[Command]:
    """What a party that attaches now has still to be told."""
    if state.phase is None:
        return
    if party not in state.span.done:
        if state.phase == "approve":
            yield approve(state)
        elif not state.idle and party in state.team(state.phase) and party not in state.left:
            yield start(state, state.phase, state.span.attempt, heads)
    if state.holds:
        yield paused(state)
