"""A node's audit log in its runs: what is logged when, and how others' heads are taken in."""

from __future__ import annotations

from collections.abc import Iterable

from parties.audit.heads import Head
from parties.audit.log import AuditLog
from parties.errors import PeerError
from parties.members.roster import Roster

__all__ = ["OWN_LOG_FAULT", "take_heads"]

OWN_LOG_FAULT = "its audit log no longer holds what it signed: its operator finds the detail in the node's log"


def take_heads(log: AuditLog, roster: Roster, heads: Iterable[Head]) -> int:
    """Check and keep the heads that the coordinator passes on, its own among them.

    Returns the size of our own log that the coordinator knows of, which our next head has to continue.

    Raises :class:`PeerError` naming whoever's log was cut or forked, :class:`StorageError` when it is ours.
    """
    known = 0
    for head in heads:
        if head.log not in roster:
            raise PeerError(
                f"the coordinator passed on a head of {head.log!r}'s audit log, who is not in the roster", "coordinator"
            )
        log.saw(head, bytes.fromhex(roster[head.log].identity_key))
        if head.log == log.name:
            known = max(known, head.size)
    return known
