"""Initial weights of the sealed network: the linear column at zero, the squared ones small and random.

W_k = U_k + V_k starts as the sum of two draws, one by each holder of a block, so neither knows the starting weights.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.arithmetic.randomness import SecretStream
from vfl.models.sealed.scales import WEIGHT_BITS
from vfl.terms import SealedModel

__all__ = ["sealed_draw", "sealed_start"]


def sealed_draw(seed: bytes, columns: int, terms: SealedModel, total: int) -> NDArray[np.int64]:
    """One side's part of a block's initial weights, int64 (columns, h + 1) at WEIGHT_BITS.

    seed: 32 secret bytes, used for nothing else. total: columns of all parties. The sum of both sides' parts has
    standard deviation terms.start / sqrt(total) in the squared columns. Raises ValueError for a seed of another length.
    """
    bound = round(math.ldexp(terms.start * math.sqrt(1.5 / max(total, 1)), WEIGHT_BITS))
    drawn = np.zeros((columns, terms.embedding_width), dtype=np.int64)
    draws = SecretStream(seed).below(2 * bound + 1, columns * terms.width).astype(np.int64) - bound
    drawn[:, 1:] = draws.reshape(columns, terms.width)
    return drawn


def sealed_start(seed: bytes, columns: int, terms: SealedModel, total: int) -> NDArray[np.uint64]:
    """:func:`sealed_draw` as a share of Z_p."""
    return PRIME_RING.wrap(sealed_draw(seed, columns, terms, total))
