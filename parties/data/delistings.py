"""Entities whose label rows end before the others' do: late starters, and delistings whose last return is missing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from parties.data.calendar import period_index
from parties.data.query import LabelRows
from vfl.factors.panel import Calendar

__all__ = ["delisting_notes"]

_NAMED = 3


def delisting_notes(rows: LabelRows, names: NDArray[np.object_], calendar: Calendar) -> list[str]:
    """What a label party should look at, in sentences for itself. names: canonical ids, (N,).

    An entity that stops while others go on has left. Where its last row has a label, what leaving did to it counts;
    where that is empty it does not, and the factor is measured on survivors alone.
    """
    when = period_index(calendar, rows.period)
    inside = when >= 0
    if not inside.any():
        return []
    place, labelled = when[inside], np.isfinite(rows.label[inside])
    codes, order = np.unique(names[inside].astype(str), return_inverse=True)
    end = int(place[labelled].max()) if labelled.any() else -1
    last = np.full(len(codes), -1)
    first = np.full(len(codes), len(calendar))
    np.maximum.at(last, order, place)
    np.minimum.at(first, order, place)
    priced = np.zeros(len(codes), dtype=np.bool_)
    np.logical_or.at(priced, order, labelled & (place == last[order]))
    left = last < end
    bare = np.flatnonzero(left & ~priced)
    if not bare.size:
        return []
    late = int((first > place.min()).sum())
    told = ", ".join(f"{codes[i]} ({calendar.periods[last[i]]})" for i in bare[:_NAMED])
    more = f" and {bare.size - _NAMED:,} more" if bare.size > _NAMED else ""
    return [
        f"{bare.size:,} of {int(left.sum()):,} entities that leave before {calendar.periods[end]} have no label in "
        f"their last period: {told}{more}; give it the return to the delisting, or the factor is measured on those "
        f"that stayed ({late:,} start late)"
    ]
