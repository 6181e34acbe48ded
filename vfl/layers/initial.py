"""Initial source weights: small random integers at weight scale, one share at each side.

W_k = U_k + V_k starts as the sum of two draws, one by the feature party (U_k) and one by the label
party (V_k), so neither knows the starting weights.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from vfl.plan import FixedPoint
from vfl.randomness import SecretStream

__all__ = ["INITIAL_SCALE", "initial_share"]

INITIAL_SCALE = 0.3
"""Standard deviation of W times sqrt(all features): embeddings start small, so the top model is nearly linear."""


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
