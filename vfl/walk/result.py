"""What a walk-forward run leaves at the label party."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vfl.walk.schedule import Step

__all__ = ["TrainingResult"]


@dataclass(frozen=True)
class TrainingResult:
    """What a walk-forward run leaves at the label party: plain data.

    scores: float64 (T, n), NaN where not predicted. embeddings: float64 (T, n, h), the opened sums behind them, or of
    several classes the estimate of each. losses, ics: float64 per training step, in order. openings: int64 (T, n),
    forward passes of each row. heads: the top model at each predicted period, as safetensors. steps: the schedule that
    was run.
    """

    scores: NDArray[np.float64]
    embeddings: NDArray[np.float64]
    losses: NDArray[np.float64]
    ics: NDArray[np.float64]
    openings: NDArray[np.int64]
    heads: dict[int, bytes]
    steps: tuple[Step, ...]

    def in_place(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values (rows, h) of the predicted rows, in the order they were predicted, as (T, n, h); NaN elsewhere."""
        rows = np.concatenate([step.rows for step in self.predictions])
        if len(values) != len(rows):
            raise ValueError(f"{len(rows)} rows were predicted, but there are values for {len(values)}")
        placed = np.full((self.scores.size, values.shape[1]), np.nan)
        placed[rows] = values
        return placed.reshape(*self.scores.shape, values.shape[1])

    @property
    def predictions(self) -> tuple[Step, ...]:
        """The prediction steps: when, and for which rows, coalitions can be scored."""
        return tuple(step for step in self.steps if step.kind == "predict")
