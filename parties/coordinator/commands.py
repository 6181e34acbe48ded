"""What the coordinator tells a party, and what follows from a run's state for one that has just attached."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import rfc8785

from parties.agreement import COORDINATOR
from parties.coordinator.events import PhaseName
from parties.coordinator.run import RunState
from parties.identity import Member

__all__ = ["Command", "CommandKind", "approve", "last_word", "pending", "roster_told", "start"]

Heads = Sequence[Mapping[str, Any]]
CommandKind = Literal["welcome", "roster", "approve", "start", "abort", "finished"]


@dataclass(frozen=True, slots=True)
class Command:
    """What the coordinator tells a party.

    welcome   {"version", "heartbeat_seconds"}
    roster    {"members": {name: member}}: everyone but the admin, as of now
    approve   {"agreement": the document to check and sign}
    start     {"phase", "attempt", "signatures": {party: hex}, "heads": [Head]}; the session is called "PHASE-ATTEMPT"
    abort     {"reason", "culprit": party name or ""}; "silent": true when the line gave the coordinator up by itself
    finished  {"settlement_sha256", "heads": [Head]}

    ``heads`` are the signed heads of audit logs (:class:`parties.audit.heads.Head`): those the parties reported in
    this run, and the coordinator's own.
    """

    kind: CommandKind
    run_id: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)


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
    if state.phase is None or party in state.span.done:
        return
    if state.phase == "approve":
        yield approve(state)
    elif state.absent:
        return  # the phase begins anew when everyone is there
    elif party in state.plan.participants(state.phase):
        yield start(state, state.phase, state.span.attempt, heads)
