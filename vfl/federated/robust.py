"""Means that one poisoned update cannot move far: coordinate by coordinate, on updates that the coordinator sees.

Source: Yin, Chen, Ramchandran and Bartlett, "Byzantine-Robust Distributed Learning", ICML 2018.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vfl.federated.updates import clipped
from vfl.federated_terms import FederatedRounds

__all__ = ["combined"]

F64 = NDArray[np.float64]


def combined(updates: F64, terms: FederatedRounds) -> F64:
    """One update of the members' updates (members, numbers), each clipped here first: whoever sends a longer one gains
    nothing by it. Raises ValueError where a trimmed mean would have nothing left.
    """
    held = np.stack([clipped(update, terms.clip) for update in updates])
    if terms.rule == "median":
        middle: F64 = np.median(held, axis=0)
        return middle
    if terms.rule == "trimmed":
        if 2 * terms.trimmed >= len(held):
            raise ValueError(
                f"{len(held)} updates less {terms.trimmed} at either end leave nothing: lower {terms.section}.trimmed"
            )
        ordered = np.sort(held, axis=0)[terms.trimmed : len(held) - terms.trimmed]
        mean: F64 = ordered.mean(axis=0)
        return mean
    average: F64 = held.mean(axis=0)
    return average
