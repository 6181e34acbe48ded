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
from parties.coordinator.desk import (
    contributions,
    drafts,
    factors,
    membership,
    money,
    people,
    runs,
    settlement,
    state,
    trust,
)
from parties.coordinator.desk.actions import Actions
from parties.coordinator.desk.doors import Doors
from parties.coordinator.desk.sessions import Sessions
from parties.coordinator.engine import Engine
from parties.coordinator.membership import Membership
from parties.coordinator.settings import CoordinatorSettings
from parties.coordinator.store import EventLog
from parties.identity import Roster
from parties.ledger.store import LedgerStore

__all__ = ["House", "all_doors"]


@dataclass(frozen=True)
class House:
    """A running coordinator's parts. Whoever reads the engine's runs holds ``engine.lock``. ``now`` is UTC."""

    home: Path
    settings: CoordinatorSettings
    engine: Engine
    roster: Roster
    membership: Membership
    log: EventLog
    bundles: BundleStore
    ledger: LedgerStore
    keeper: Bookkeeper
    approvals: Approvals
    audit: AuditLog
    sessions: Sessions
    actions: Actions
    now: Callable[[], datetime]


def all_doors(house: House) -> Doors:
    """Every door of the desk, by name."""
    return {
        **people.doors(house.sessions, house.actions),
        **state.doors(house.home, house.settings, house.roster, house.audit, house.sessions, house.now()),
        **runs.doors(house.engine),
        **drafts.doors(house.engine, house.roster),
        **factors.doors(house),
        **contributions.doors(house.engine),
        **trust.doors(house),
        **money.doors(house.ledger, house.keeper, house.engine),
        **settlement.doors(house.ledger, house.engine, house.approvals, house.roster),
        **membership.doors(house.engine, house.roster, house.membership, house.settings.heartbeat_seconds),
    }
