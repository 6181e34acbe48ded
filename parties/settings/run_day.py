"""A day that a run's calendar may name."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from pydantic import AfterValidator

__all__ = ["RunDay"]


def _within_reach(day: date) -> date:
    # pandas takes a while to load, and most commands read no calendar
    from parties.files.days import FIRST_DAY, LAST_DAY

    if not FIRST_DAY <= day <= LAST_DAY:
        raise ValueError(f"{day} lies outside {FIRST_DAY.year} to {LAST_DAY.year}; name a day of the run's periods")
    return day


RunDay = Annotated[date, AfterValidator(_within_reach)]
