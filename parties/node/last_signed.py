"""The last agreement that this node signed with the same parties: what a new one is compared with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from parties.agreement.document import Agreement
from parties.audit.log import AuditLog
from parties.node.settings import NodeSettings
from parties.node.settlements import signed_agreement

__all__ = ["last_signed", "node_audit"]

_STATE = "state.db"


def last_signed(home: Path, settings: NodeSettings, agreement: Agreement) -> Agreement | None:
    """The latest agreement that the node in ``home`` signed with the very parties of ``agreement``; None without one.

    It reads the node's log and needs none of its keys.
    """
    names = {party.name for party in agreement.parties}
    found: list[Agreement] = []
    with node_audit(home, settings) as audit:
        if audit is None:
            return None
        for folder in (home / "runs").glob("*/"):
            earlier = signed_agreement(home, audit, folder.name)
            if earlier is None or earlier.run_id == agreement.run_id:
                continue
            if {party.name for party in earlier.parties} == names:
                found.append(earlier)
    return max(found, key=lambda earlier: earlier.proposed_at, default=None)


@contextmanager
def node_audit(home: Path, settings: NodeSettings) -> Iterator[AuditLog | None]:
    """The log of the node in ``home``; None where it has never started."""
    if not settings.state and not (home / _STATE).exists():
        yield None
        return
    with AuditLog.at(settings.party.name, settings.state, home / _STATE) as audit:
        yield audit
