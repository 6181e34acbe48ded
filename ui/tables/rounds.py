"""Tables of a federated run's rounds. Cells are text or numbers, never markup."""

from __future__ import annotations

import pandas as pd

from parties.client import FederatedView
from ui.wording import MISSING, count

__all__ = ["epsilon", "members_table", "rounds_table"]


def epsilon(value: float) -> str:
    """Three digits, so that numbers below one another can be compared: 3.40, not 3.4."""
    return f"{value:#.3g}".rstrip(".")


def rounds_table(found: FederatedView) -> pd.DataFrame:
    """One row per stretch of rounds that had, and lacked, the same members."""
    rows = [
        (
            count(one.first) if one.first == one.last else f"{count(one.first)} to {count(one.last)}",
            ", ".join(one.members),
            ", ".join(one.missed) or MISSING,
        )
        for one in found.stretches
    ]
    return pd.DataFrame(rows, columns=["Rounds", "Took part", "Drawn and missing"])


def members_table(found: FederatedView) -> pd.DataFrame:
    """One row per member: rounds it was in, of all trainings, and its epsilon where there is noise."""
    rows = [(name, count(found.taken.get(name, 0)), _dropped(found, name)) for name in found.members]
    frame = pd.DataFrame(rows, columns=["Member", "Rounds", "Dropped"])
    if found.group:
        frame = frame.drop(columns="Dropped")  # the run waits for whoever was lost
    if found.spent:
        frame["Epsilon"] = [epsilon(found.spent[name]) for name in found.members]
    return frame


def _dropped(found: FederatedView, name: str) -> str:
    """After which round of the training, or not at all."""
    if name not in found.dropped:
        return MISSING
    last = max((one.last for one in found.stretches if name in one.members), default=0)
    return f"after round {count(last)}" if last else "before the first round"
