"""What estimates of several classes say of a row together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["most_likely"]

F64 = NDArray[np.float64]


def most_likely(estimates: F64) -> F64:
    """The class (...,) of the largest estimate (..., classes), the first of equals; NaN where there is none."""
    known = np.asarray(np.isfinite(estimates).all(axis=-1))
    found: F64 = np.where(known, np.argmax(np.where(known[..., None], estimates, 0.0), axis=-1), np.nan)
    return found
