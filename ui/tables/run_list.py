"""Tables about runs: data in, pandas frame out. Cells are text or numbers, never markup."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pandas as pd

from parties.client import PartyCostView, PartyView
from ui.wording import MISSING, count, data_size

__all__ = ["columns_table", "costs_table", "grants_table"]


def grants_table(members: Sequence[PartyView], present: Collection[str], coalition: Collection[str]) -> pd.DataFrame:
    """One row per column that a party's node offers, and whether the run would use it."""
    rows = []
    for member in members:
        taken = member.name in present and (not coalition or member.role == "label" or member.name in coalition)
        use = "used, never sent" if taken else "not used"
        rows += [(member.name, member.role, column, member.units.get(column, ""), use) for column in member.columns]
    return pd.DataFrame(rows, columns=["Party", "Role", "Column", "Unit", "In this run"])


def columns_table(agreement: Mapping[str, Any], members: Sequence[PartyView]) -> pd.DataFrame:
    """One row per column of a run's agreement, with the unit that its owner states now."""
    units = {member.name: member.units for member in members}
    rows = [
        (party["name"], party["role"], column, units.get(party["name"], {}).get(column, ""))
        for party in agreement.get("parties", ())
        for column in party["columns"]
    ]
    return pd.DataFrame(rows, columns=["Party", "Role", "Column", "Unit"])


def costs_table(costs: Sequence[PartyCostView]) -> pd.DataFrame:
    """One row per party: what it would send, receive and hold in memory, at most."""
    rows = [
        (cost.party, data_size(cost.bytes_sent), data_size(cost.bytes_received), f"{count(cost.memory_mb)} MiB")
        for cost in costs
    ]
    return pd.DataFrame(rows or [], columns=["Party", "Sends", "Receives", "Memory"]).fillna(MISSING)
