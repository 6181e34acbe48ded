"""A source of which nothing is asked: a walk that had ended is read from its records alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow
from vfl.models.ridge.moments import Moments

__all__ = ["NoSource"]


class NoSource:
    """A source of which nothing is asked."""

    def forward(self, step: int, rows: NDArray[np.int64]) -> Flow[NDArray[np.float64]]:
        raise AssertionError("training had ended")

    def backward(self, step: int, rows: NDArray[np.int64], gradient: NDArray[np.float64]) -> Flow[None]:
        raise AssertionError("training had ended")

    def moments(
        self, step: int, rows: NDArray[np.int64], own: NDArray[np.float64], label: NDArray[np.float64]
    ) -> Flow[Moments]:
        raise AssertionError("training had ended")

    def use(self, coefficients: NDArray[np.float64]) -> None:
        """Nothing is scored any more."""
