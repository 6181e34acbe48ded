"""Whether a column is an output of earlier runs again: mined once, it may not be brought back as own data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["EXPLAINED", "enough_rows", "explained_by_outputs"]

F64 = NDArray[np.float64]

EXPLAINED = 0.98
"""Share of a column's variance within periods from which on it counts as an output of an earlier run."""

_ROWS_PER_OUTPUT = 5


def enough_rows(rows: int, outputs: int) -> bool:
    """Whether a period of so many rows can tell a mixture of so many outputs from chance."""
    return rows >= _ROWS_PER_OUTPUT * (outputs + 1)


def explained_by_outputs(columns: F64, outputs: Sequence[F64]) -> F64:
    """The largest share of each column's variance that one group of outputs explains linearly; float64 (d,).

    columns: (T, n, d). outputs: groups (T, n, m) such as the embeddings of one run, NaN where it made none. Fitted
    within each period, so that no rescaling by period hides it, and pooled over the periods that have five rows or more
    to each output; 0 where there are none.
    """
    share = np.zeros(columns.shape[-1])
    for group in outputs:
        rest, whole = np.zeros(columns.shape[-1]), np.zeros(columns.shape[-1])
        for values, made in zip(columns, group, strict=True):
            there = np.isfinite(made).all(axis=1) & np.isfinite(values).all(axis=1)
            if not enough_rows(int(there.sum()), made.shape[1]):
                continue
            x = made[there] - made[there].mean(axis=0)
            y = values[there] - values[there].mean(axis=0)
            fitted = x @ np.linalg.lstsq(x, y, rcond=None)[0]
            rest += ((y - fitted) ** 2).sum(axis=0)
            whole += (y**2).sum(axis=0)
        found = np.where(whole > 0, 1 - rest / np.where(whole > 0, whole, 1.0), 0.0)
        share = np.maximum(share, found)
    return share
