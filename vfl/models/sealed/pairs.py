"""Products of two feature parties' columns as columns of a sealed network: who has which half, and at which scale.

A column a o b is never held by anybody, in shares or in the clear, for longer than a step: the owners make shares of it
anew each time (:mod:`vfl.models.sealed.products`). Each half is a terminal's ranks of a period, of deviation 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from psi.flow import LocalProtocolError
from vfl.fixed_point import FixedPoint
from vfl.product_terms import MOST_PRODUCTS, Pair

__all__ = ["check_pairs", "half_bits", "half_columns", "products_of"]

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]


def check_pairs(pairs: Sequence[Pair], features: Mapping[str, int]) -> None:
    """Raise LocalProtocolError unless each pair is of two feature parties, in agreed order, once."""
    order = list(features)
    for pair in pairs:
        if not set(pair.owners) <= set(order) or order.index(pair.holder) >= order.index(pair.other) or pair.count < 1:
            raise LocalProtocolError("products are of two feature parties' columns, the owners in agreed order")
    if len({pair.name for pair in pairs}) < len(pairs) or sum(pair.count for pair in pairs) > MOST_PRODUCTS:
        raise LocalProtocolError(f"a run has at most {MOST_PRODUCTS} products, those of two parties together")


def half_bits(fixed: FixedPoint, *, holder: bool) -> int:
    """Fractional bits of a half: both halves' together are those of a feature, so a product is not truncated."""
    return fixed.feature_bits - fixed.feature_bits // 2 if holder else fixed.feature_bits // 2


def half_columns(ranks: F64, fixed: FixedPoint, *, holder: bool) -> I64:
    """Halves (rows, count) as small integers, from ranks of a period between -1 and 1, 0 where missing."""
    scaled = np.ldexp(np.clip(ranks, -1, 1) * math.sqrt(3), half_bits(fixed, holder=holder))
    return np.rint(scaled).astype(np.int64)


def products_of(pairs: Sequence[Pair], halves: Mapping[tuple[str, str], I64]) -> I64:
    """What the columns would be in the clear, (rows, count) in the order of the pairs; halves: by pair and owner."""
    return np.concatenate([halves[p.name, p.holder] * halves[p.name, p.other] for p in pairs], axis=1)
