"""What the coordinator tells a party, and what follows from a run's state for one that has just attached."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from parties.coordinator.events import PhaseName
from parties.coordinator.run import RunState

__all__ = ["Command", "CommandKind", "approve", "last_word", "pending", "start"]

CommandKind = Literal["welcome", "approve", "start", "abort", "finished"]


@dataclass(frozen=True, slots=True)
class Command:
    """What the coordinator tells a party.

    welcome   {"version", "heartbeat_seconds"}
    approve   {"agreement": the document to check and sign}
    start     {"phase", "attempt", "signatures": {party: hex}}; the session is called "PHASE-ATTEMPT"
    abort     {"reason", "culprit": party name or ""}
    finished  {}
    """

    kind: CommandKind
    run_id: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)


def approve(state: RunState) -> Command:
    """Ask for a signature or a rejection."""
    return Command("approve", state.run, {"agreement": json.loads(state.agreement)})


def start(state: RunState, phase: PhaseName, attempt: int) -> Command:
    """Begin the party's part of a phase."""
    signatures = {party: signature for party, signature, _ in state.signatures}
    return Command("start", state.run, {"phase": phase, "attempt": attempt, "signatures": signatures})


def last_word(state: RunState) -> Command:
    """How the run ended."""
    if state.status == "settled":
        return Command("finished", state.run)
    return Command("abort", state.run, {"reason": state.reason, "culprit": state.culprit})


def pending(state: RunState, party: str) -> Iterator[Command]:
    """What a party that attaches now has still to be told."""
    if state.phase is None or party in state.span.done:
        return
    if state.phase == "approve":
        yield approve(state)
    elif party in state.plan.participants(state.phase):
        yield start(state, state.phase, state.span.attempt)
