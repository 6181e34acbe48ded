"""All doors of the desk's subjects together."""

from __future__ import annotations

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
from parties.coordinator.desk.context import House
from parties.coordinator.desk.doors import Doors

__all__ = ["all_doors"]


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
