"""What the desk's subjects work on, and all their doors together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from parties.audit.log import AuditLog
from parties.coordinator.approvals import Approvals
from parties.coordinator.bookkeeping import Bookkeeper
from parties.coordinator.bundles import BundleStore
from parties.coordinator.desk.actions import Actions
from parties.coordinator.desk.sessions import Sessions
from parties.coordinator.engine import Engine
from parties.coordinator.membership import Membership
from parties.coordinator.overlaps import Overlaps
from parties.coordinator.settings import CoordinatorSettings
from parties.coordinator.store import EventLog
from parties.ledger.store import LedgerStore
from parties.members.keys import Identity
from parties.members.roster import Roster

__all__ = ["DeskContext"]


@dataclass(frozen=True)
class DeskContext:
    """A running coordinator's parts. ``now`` is UTC."""

    home: Path
    identity: Identity
    settings: CoordinatorSettings
    engine: Engine
    roster: Roster
    membership: Membership
    log: EventLog
    bundles: BundleStore
    ledger: LedgerStore
    keeper: Bookkeeper
    approvals: Approvals
    overlaps: Overlaps
    audit: AuditLog
    sessions: Sessions
    actions: Actions
    now: Callable[[], datetime]
