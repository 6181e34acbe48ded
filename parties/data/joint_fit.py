"""What a group's members trained and fitted together, for whoever makes columns with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vfl.federated.expansion import ExpansionPlan

__all__ = ["JointFit"]


@dataclass(frozen=True, eq=False)
class JointFit:
    """encoder: its common weights. expansion: its plan and the sums that it is made of; None where none is fitted."""

    encoder: NDArray[np.float64]
    expansion: tuple[ExpansionPlan, NDArray[np.float64]] | None = None
