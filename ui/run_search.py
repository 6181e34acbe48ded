"""From what is in the filters of the list of runs to the question for the coordinator. Nothing here draws."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta, tzinfo

from parties.client import RunGroup, RunOrder, RunsQuestion
from ui.wording import MISSING, count, things

__all__ = ["GROUPS", "ORDERS", "page_words", "pages", "question"]

GROUPS: Mapping[RunGroup, str] = {
    "waiting": "To be signed",
    "running": "Under way",
    "paused": "Paused",
    "settled": "Settled",
    "aborted": "Aborted",
}
ORDERS: Mapping[str, tuple[RunOrder, bool]] = {
    "Newest first": ("proposed", True),
    "Oldest first": ("proposed", False),
    "Last to end": ("ended", True),
    "Best rank IC": ("ic", True),
    "Most uplift": ("uplift", True),
    "Longest": ("took", True),
    "Most common entities": ("common", True),
    "Purpose, A to Z": ("purpose", False),
    "Status": ("status", False),
}


def question(
    *,
    groups: Iterable[RunGroup] = (),
    party: str = "",
    favourites: bool = False,
    text: str = "",
    days: tuple[date, ...] = (),
    zone: tzinfo,
    order: str = "Newest first",
    page: int = 1,
    rows: int = 25,
) -> RunsQuestion:
    """The question. ``days`` are none, a first one, or a first and a last one, in the viewer's ``zone``.

    ``page`` counts from 1.
    """
    by, descending = ORDERS.get(order, ("proposed", True))
    since = datetime.combine(days[0], time(), zone) if days else None
    until = datetime.combine(days[1] + timedelta(days=1), time(), zone) if len(days) > 1 else None
    return RunsQuestion(
        groups=tuple(groups),
        party=party,
        favourites=favourites,
        text=text[:200],
        since=since,
        until=until,
        order=by,
        descending=descending,
        limit=rows,
        offset=(max(page, 1) - 1) * rows,
    )


def pages(total: int, rows: int) -> int:
    """How many pages there are, at least one."""
    return max(1, -(-total // rows))


def page_words(total: int, offset: int, shown: int) -> str:
    """Which of how many: 26 to 50 of 10 000 runs."""
    if not shown:
        return f"{things(total, 'runs')}" if total else MISSING
    last = offset + shown
    return f"{count(offset + 1)} to {count(last)} of {count(total)} run{'' if total == 1 else 's'}"
