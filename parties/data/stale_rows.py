"""Rows of earlier periods that fill a calendar's end: data that ended, where nothing newer came in."""

from __future__ import annotations

from itertools import groupby

from vfl.factors.panel import FeaturePanel

__all__ = ["stale_end"]


def stale_end(panel: FeaturePanel, periods: tuple[str, ...]) -> tuple[str, ...]:
    """A sentence where the calendar's last periods bring nothing new, for longer than any others did before; or none.

    A column that comes once a quarter stands still for weeks, and that is how it is.
    """
    newest = [
        str(day.max().astype("datetime64[D]")) if day.size else ""
        for day in (panel.asof[t][panel.covered[t]] for t in range(len(periods)))
    ]
    still = [(day, len(list(same))) for day, same in groupby(newest)]
    if not still or not still[-1][0]:
        return ()
    day, count = still[-1]
    if count <= 1 + max((earlier for held, earlier in still[:-1] if held), default=len(periods)):
        return ()
    return (
        f"no row is newer than {day}: {count - 1} of {len(periods)} periods after it use older ones; end the calendar "
        "earlier, or set largest_age_days",
    )
