"""Sessions of daily use as a table."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from parties.client import DailySession
from ui.wording import count, short_id

__all__ = ["sessions_table"]

_STANDS = {"settled": "scored", "aborted": "not scored"}


def sessions_table(sessions: Sequence[DailySession]) -> pd.DataFrame:
    """One row a session, in the order given; moments are told by the table that shows them."""
    rows = [
        (
            one.period,
            _STANDS.get(one.status, "under way"),
            count(one.rows),
            count(one.bits),
            one.at,
            short_id(one.run_id),
            one.reason,
        )
        for one in sessions
    ]
    return pd.DataFrame(rows, columns=["Period", "Session", "Rows", "Bits opened", "At", "Run", "Why not"])
