"""What the coordinator tells a party, and what follows from a run's state for one that has just attached."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import rfc8785

from parties.control.commands import Command
from parties.control.phases import PhaseName
from parties.coordinator.run import RunState
from parties.members.roster import Member
from parties.names import COORDINATOR

__all__ = ["approve", "last_word", "paused", "pending", "resumed", "roster_told", "start"]

Heads = Sequence[Mapping[str, Any]]


def roster_told(members: Mapping[str, Member]) -> Command:
    """Who belongs to the consortium now."""
    return Command("roster", body={"members": {name: member.model_dump() for name, member in members.items()}})


def approve(state: RunState) -> Command:
    """Ask for a signature or a rejection."""
    return Command("approve", state.run, {"agreement": json.loads(state.agreement)})


def start(state: RunState, phase: PhaseName, attempt: int, heads: Heads = ()) -> Command:
    """Begin the party's part of a phase."""
    signatures = {party: signature for party, signature, _ in state.signatures}
    return Command("start", state.run, {"phase": phase, "attempt": attempt, "signatures": signatures} | _with(heads))


def paused(state: RunState) -> Command:
    """Who holds the run: the latest of them."""
    hold = state.holds[-1]
    return Command("pause", state.run, _turn(state) | {"by": hold.by, "why": hold.why})


def resumed(state: RunState, by: str) -> Command:
    """Nobody holds the run any more."""
    return Command("resume", state.run, _turn(state) | {"by": by})


def _turn(state: RunState) -> dict[str, Any]:
    return {"phase": state.span.phase, "attempt": state.span.attempt, "number": state.turns}


def last_word(state: RunState, heads: Heads = ()) -> Command:
    """How the run ended."""
    if state.status == "settled":
        settlement = rfc8785.dumps((state.span.reports or {}).get(COORDINATOR, {}))
        digest = hashlib.sha256(settlement).hexdigest()
        return Command("finished", state.run, {"settlement_sha256": digest} | _with(heads))
    return Command("abort", state.run, {"reason": state.reason, "culprit": state.culprit})


def _with(heads: Heads) -> dict[str, Any]:
    return {"heads": list(heads)} if heads else {}


def pending(state: RunState, party: str, heads: Heads = ()) -> Iterator[Command]:
    """What a party that attaches now has still to be told."""
    if state.phase is None:
        return
    if party not in state.span.done:
        if state.phase == "approve":
            yield approve(state)
        elif not state.idle and party in state.plan.participants(state.phase):
            yield start(state, state.phase, state.span.attempt, heads)
    if state.holds:
        yield paused(state)
