"""Which rows a label party's ``in_universe`` leaves out, in words: before anything is signed, and in the data check."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parties.data.calendar import period_index
from parties.data.entities import canonical_entities, read_naming
from parties.data.query import LabelRows, read_label_rows
from parties.settings.consortium import LabelSettings, PartySettings
from vfl.factors.panel import Calendar

__all__ = ["label_universe_line", "universe_line"]


def label_universe_line(
    settings: PartySettings, label: LabelSettings, folder: Path, data: Path, calendar: Calendar, entities: Sequence[str]
) -> str:
    """:func:`universe_line` of what the label query yields now. Raises what reading it raises."""
    rows = read_label_rows(settings, label, folder, data)
    names = canonical_entities(rows, read_naming(settings, folder, data))
    return universe_line(rows, names, calendar, entities)


def universe_line(rows: LabelRows, names: NDArray[np.object_], calendar: Calendar, entities: Sequence[str]) -> str:
    """How many rows (period, entity) are in the universe and how many are not, and why; names: canonical ids, (N,)."""
    every = len(calendar) * len(entities)
    if rows.universe is None:
        return f"all {every:,} rows are in the universe, since {rows.source} has no column in_universe"
    place = {name: i for i, name in enumerate(entities)}
    entity = np.array([place.get(name, -1) for name in names], dtype=np.int64)
    when = period_index(calendar, rows.period)
    used = np.flatnonzero((entity >= 0) & (when >= 0))
    used = used[np.lexsort((rows.available_at[used], when[used], entity[used]))]
    _, first = np.unique(when[used] * len(entities) + entity[used], return_index=True)
    stated = rows.universe[used[first]]
    inside, absent = int(stated.sum()), every - len(stated)
    return (
        f"{inside:,} of {every:,} rows (period and entity) are in the universe; {len(stated) - inside:,} are out since "
        f"in_universe is false, {absent:,} since {rows.source} has no row of them: these are neither trained on nor "
        "predicted"
    )
