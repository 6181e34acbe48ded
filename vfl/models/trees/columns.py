"""What goes into sealed trees: a party's columns as they are, with missing values as such. Made at home."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vfl.factors.panel import FeaturePanel

__all__ = ["tree_columns"]

F64 = NDArray[np.float64]


def tree_columns(panel: FeaturePanel, rows: F64 | None = None) -> F64:
    """A party's columns (T * n, d), NaN where missing and the panel knows. rows: in place of the panel's own."""
    values = panel.rows if rows is None else rows
    if panel.missing is None:
        return values
    found: F64 = np.where(panel.missing.reshape(values.shape), np.nan, values)
    return found
