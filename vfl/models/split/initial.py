"""Initial source weights: small random integers at weight scale, one share at each side.

W_k = U_k + V_k starts as the sum of two draws, one by the feature party (U_k) and one by the label
party (V_k), so neither knows the starting weights. A warm start adds to V_k's first column the coefficients
of a joint ridge, in each feature party's secret basis; U_k stays as it is, so the label party still does not know W_k.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from vfl.arithmetic.randomness import SecretStream
from vfl.models.ridge.moments import Moments, solve_ridge
from vfl.terms import NOMINAL_DEVIATION, FixedPoint

__all__ = ["INITIAL_SCALE", "WARM_LENGTH", "initial_share", "turned_columns", "warm_column"]

INITIAL_SCALE = NOMINAL_DEVIATION
"""Standard deviation of W times sqrt(all features): embeddings start small, so the top model is nearly linear."""

WARM_LENGTH = INITIAL_SCALE
"""Length of what a warm start adds to the first column of W, over all feature parties: that of the random start."""


def initial_share(seed: bytes, shape: tuple[int, int], fixed_point: FixedPoint, features: int) -> NDArray[np.int64]:
    """One side's share of the initial weights, int64 (d_k, h) at ``fixed_point.weight_bits``.

    ``seed``: 32 secret bytes, used for nothing else. ``features``: columns of
    all feature parties. Entries are uniform, and the sum of both sides' shares has standard deviation
    ``INITIAL_SCALE / sqrt(features)``. Raises ValueError for a seed of another
    length.
    """
    half_width = INITIAL_SCALE * math.sqrt(1.5 / max(features, 1))
    bound = round(half_width * 2**fixed_point.weight_bits)
    draws = SecretStream(seed).below(2 * bound + 1, shape[0] * shape[1])
    share: NDArray[np.int64] = draws.astype(np.int64).reshape(shape) - bound
    return share


def turned_columns(features: NDArray[np.float64], rotation: NDArray[np.float64], clip: float) -> NDArray[np.float64]:
    """Features (rows, d) in the basis of ``rotation`` (d, d), clipped to +-``clip`` before and after."""
    turned: NDArray[np.float64] = np.clip(np.clip(features, -clip, clip) @ rotation, -clip, clip)
    return turned


def warm_column(moments: Moments, alpha: float, features: int) -> NDArray[np.float64]:
    """What a warm start adds to W's first column: the ridge's ``features`` first coefficients, at ``WARM_LENGTH``.

    float64 (features,), zeros where the ridge explains nothing: a direction made of rounding alone is no start.
    """
    beta = solve_ridge(moments, alpha).coefficients[:features]
    square, mean = moments.label_square / moments.rows, moments.label_sum / moments.rows
    least = 1e-6 * math.sqrt(max(square - mean**2, 0.0)) + 1e-12 * math.sqrt(square)
    length = float(np.linalg.norm(beta))
    if length <= least:
        return np.zeros(features)
    scaled: NDArray[np.float64] = beta * (WARM_LENGTH / length)
    return scaled
