"""All doors of the desk's subjects together."""

from __future__ import annotations

from parties.coordinator.desk import (
    cash,
    comparing,
    contributions,
    drafts,
    factors,
    favourites,
    membership,
    money,
    overlaps,
    people,
    runs,
    settlement,
    state,
    trust,
)
from parties.coordinator.desk.context import DeskContext
from parties.coordinator.desk.doors import Doors

__all__ = ["all_doors"]


def all_doors(context: DeskContext) -> Doors:
    """Every door of the desk, by name."""
    return {
        **people.doors(context.sessions, context.actions),
        **state.doors(context.home, context.settings, context.roster, context.audit, context.sessions, context.now()),
        **favourites.doors(context.sessions),
        **runs.doors(context.engine, context.sessions),
        **comparing.doors(context),
        **drafts.doors(context.engine, context.roster),
        **factors.doors(context),
        **contributions.doors(context.engine),
        **trust.doors(context),
        **money.doors(context.ledger, context.keeper, context.engine),
        **settlement.doors(context.ledger, context.engine, context.approvals, context.roster),
        **cash.doors(context.ledger, context.engine, context.approvals, context.roster),
        **overlaps.doors(context.overlaps, context.now),
        **membership.doors(context.engine, context.roster, context.membership, context.settings.heartbeat_seconds),
    }
