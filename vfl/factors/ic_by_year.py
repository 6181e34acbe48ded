"""What a series of rank ICs was worth year by year, and how far its sum fell: for the report, from what it draws."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from vfl.factors.findings import Series

__all__ = ["Year", "by_year", "fall_of_the_sum"]

_YEAR = re.compile(r"\d{4}(?=\D|$)")


@dataclass(frozen=True)
class Year:
    """Mean and share above zero of a year's rank ICs. ``n``: periods that have one."""

    year: str
    mean: float
    positive: float
    n: int


def by_year(series: Series) -> tuple[Year, ...]:
    """One row per year, in order; nothing where periods do not begin with a year."""
    values: dict[str, list[float]] = {}
    for period, value in zip(series.x, series.y, strict=True):
        found = _YEAR.match(period)
        if found is None:
            return ()
        if math.isfinite(value):
            values.setdefault(found[0], []).append(value)
    return tuple(
        Year(year, sum(known) / len(known), sum(value > 0 for value in known) / len(known), len(known))
        for year, known in sorted(values.items())
    )


def fall_of_the_sum(series: Series) -> Series:
    """How far the sum of rank ICs lies below its highest so far; a period without one changes nothing."""
    total = highest = 0.0
    falls = []
    for value in series.y:
        total += value if math.isfinite(value) else 0.0
        highest = max(highest, total)
        falls.append(total - highest)
    return Series(series.x, tuple(falls), "Sum of the rank ICs so far, less its highest so far.", "correlation")
