"""Rows that repeat an entity, a period and a time of availability: which of them count, by the party's policy."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from parties.data.query import Observations

__all__ = ["without_repeats"]


def without_repeats(
    rows: Observations, canonical: NDArray[np.object_], policy: Literal["error", "latest", "aggregate"]
) -> tuple[Observations, NDArray[np.object_]]:
    """The rows without repeats, and their ids. error: as they are, for the panel to refuse.

    latest: the last in the query's order. aggregate: the mean of the values that are there, column by column.
    """
    if policy == "error" or not len(rows):
        return rows, canonical
    keys = pd.DataFrame(
        {"entity": pd.factorize(canonical)[0], "period": rows.period, "available_at": rows.available_at}
    )
    if not keys.duplicated().any():
        return rows, canonical
    kept = np.flatnonzero(~keys.duplicated(keep="last").to_numpy())
    values = rows.values[kept]
    if policy == "aggregate":
        group = keys.groupby(list(keys.columns), sort=False).ngroup().to_numpy()
        means = pd.DataFrame(rows.values).groupby(group).mean().to_numpy()
        values = means[group[kept]]
    chosen = replace(
        rows, entity=rows.entity[kept], period=rows.period[kept], available_at=rows.available_at[kept], values=values
    )
    return chosen, canonical[kept]
