"""How alike the scores of two factors are."""

from __future__ import annotations

from dataclasses import dataclass

from parties.factor.tables import FactorFolder
from vfl.factors.evaluate import ic_by_period
from vfl.factors.hac import HacMean, hac_mean
from vfl.factors.market import on_grid

__all__ = ["Likeness", "likeness"]


@dataclass(frozen=True, slots=True)
class Likeness:
    """Mean rank correlation of two factors' scores, over the dates and instruments that both have."""

    dates: int
    instruments: int
    correlation: HacMean


def likeness(one: FactorFolder, two: FactorFolder) -> Likeness | None:
    """None where they share no date or no instrument."""
    shared = one.dates.intersection(two.dates)
    names = tuple(sorted({*one.instruments} & {*two.instruments}))
    if not len(shared) or not names:
        return None
    first, second = (on_grid(bundle.factor["score"], shared, names) for bundle in (one, two))
    return Likeness(len(shared), len(names), hac_mean(ic_by_period(first, second), horizon=1))
