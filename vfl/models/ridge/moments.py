"""Ridge regression from moments, which add up over disjoint rows. Pure arithmetic.

The penalty is scikit-learn's: ``alpha * |beta|^2`` beside the sum of squared errors, the intercept free.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

__all__ = ["Moments", "RidgeSolution", "moments_from", "moments_of", "moments_to", "solve_ridge"]

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Sums over ``rows`` rows of columns X (n, D) and label y (n,): they add up over disjoint rows.

    gram: X^T X (D, D). sums: X^T 1 (D,). cross: X^T y (D,). label_sum, label_square: 1^T y, y^T y.
    """

    rows: int
    gram: F64
    sums: F64
    cross: F64
    label_sum: float
    label_square: float

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.rows + other.rows,
            self.gram + other.gram,
            self.sums + other.sums,
            self.cross + other.cross,
            self.label_sum + other.label_sum,
            self.label_square + other.label_square,
        )


@dataclass(frozen=True)
class RidgeSolution:
    """coefficients: float64 (D,). mean_square: mean squared error over the rows it was fitted on."""

    coefficients: F64
    intercept: float
    mean_square: float


def moments_of(columns: F64, label: F64) -> Moments:
    """Moments of pooled columns (n, D) and label (n,): the oracle of the secure ones."""
    return Moments(
        len(label),
        columns.T @ columns,
        columns.sum(axis=0),
        columns.T @ label,
        float(label.sum()),
        float(label @ label),
    )


def moments_to(moments: Moments | None) -> bytes:
    """The moments as safetensors; no bytes where there are none yet."""
    if moments is None:
        return b""
    numbers = np.array([moments.rows, moments.label_sum, moments.label_square], dtype=np.float64)
    arrays = {"gram": moments.gram, "sums": moments.sums, "cross": moments.cross, "numbers": numbers}
    return safetensors.numpy.save({name: np.ascontiguousarray(array) for name, array in arrays.items()})


def moments_from(data: bytes) -> Moments | None:
    """What :func:`moments_to` gave."""
    if not data:
        return None
    kept = safetensors.numpy.load(data)
    rows, label_sum, label_square = kept["numbers"].tolist()
    return Moments(int(rows), kept["gram"], kept["sums"], kept["cross"], label_sum, label_square)


def solve_ridge(moments: Moments, alpha: float, *, intercept: bool = True, standardise: bool = False) -> RidgeSolution:
    """Minimise |y - X b - b0|^2 + alpha |b|^2; with ``standardise`` the penalty is on columns of unit variance.

    Coefficients are always those of the columns as given. A constant column gets none when ``standardise``.
    Raises ValueError for a negative alpha, fewer than 2 rows, or a singular system (alpha 0 and dependent columns).
    """
    if alpha < 0 or moments.rows < 2:
        raise ValueError("ridge needs alpha >= 0 and at least 2 rows")
    n = moments.rows
    mean = moments.sums / n if intercept else np.zeros_like(moments.sums)
    label_mean = moments.label_sum / n if intercept else 0.0
    gram = moments.gram - n * np.outer(mean, mean)
    cross = moments.cross - n * mean * label_mean
    scale = np.ones_like(mean)
    if standardise:
        squares: F64 = np.diagonal(moments.gram)
        variance = squares / n - (moments.sums / n) ** 2
        scale = np.where(variance > 1e-12, 1.0 / np.sqrt(np.maximum(variance, 1e-12)), 0.0)
    system = gram * np.outer(scale, scale) + alpha * np.eye(len(mean))
    # a column that standardising took out must not make the system singular
    system[scale == 0, scale == 0] += 1.0
    try:
        beta: F64 = np.linalg.solve(system, cross * scale) * scale
    except np.linalg.LinAlgError:
        raise ValueError("the moments are singular: raise alpha or drop dependent columns") from None
    square = float(moments.label_square - n * label_mean**2 - 2 * beta @ cross + beta @ gram @ beta)
    return RidgeSolution(beta, float(label_mean - mean @ beta), max(square, 0.0) / n)
