"""What the coordinator tells a party: one command kind each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Command", "CommandKind"]

CommandKind = Literal["welcome", "roster", "approve", "start", "pause", "resume", "abort", "finished", "settle"]


@dataclass(frozen=True, slots=True)
class Command:
    """What the coordinator tells a party.

    welcome   {"version", "heartbeat_seconds"}
    roster    {"members": {name: member}}: everyone but the admin, as of now
    approve   {"agreement": the document to check and sign}
    start     {"phase", "attempt", "signatures": {party: hex}, "heads": [Head]}; the session is called "PHASE-ATTEMPT"
    pause     {"phase", "attempt", "number", "by", "why"}: training stops behind its next record, others phases end
    resume    {"phase", "attempt", "number", "by"}; a ``start`` follows when something is to begin
    abort     {"reason", "culprit": party name or ""}; "silent": true when the line gave the coordinator up by itself
    finished  {"settlement_sha256", "heads": [Head]}
    settle    {"requests": [:class:`parties.settlement.requests.Asked`]}: every settlement that waits for this party

    ``heads`` are the signed heads of audit logs (:class:`parties.audit.heads.Head`): those the parties reported in
    this run, and the coordinator's own.
    """

    kind: CommandKind
    run_id: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)
