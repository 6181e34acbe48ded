"""The same sums in plain numbers, with all terminals and labels in one place: what a screen is tested against."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from vfl.models.screen.label import Screened

__all__ = ["screened_in_the_clear"]

I64 = NDArray[np.int64]


def screened_in_the_clear(labels: I64, terminals: Mapping[str, I64], own: I64) -> Screened:
    """labels: int64 (T, n); terminals: of each feature party in agreed order (T, n, m); own: the label party's."""
    found = Screened()
    for name, a in terminals.items():
        found.alone[name] = np.einsum("tn,tni->ti", labels, a).astype(np.float64)
        found.own[name] = np.einsum("tn,tni,tnk->tik", labels, a, own).astype(np.float64)
    for (name, a), (other, b) in combinations(terminals.items(), 2):
        found.pairs[name, other] = np.einsum("tn,tni,tnj->tij", labels, a, b).astype(np.float64)
    return found
