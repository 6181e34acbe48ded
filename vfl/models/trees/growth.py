"""What the label party decides in a tree: which candidate a level takes, and the leaves' values. Plain and local."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vfl.models.trees.scales import LARGEST_VALUE, RESIDUAL_BITS, Pairs
from vfl.tree_terms import TreesModel

__all__ = ["best_candidate", "gains", "leaf_values", "lowered", "split_totals"]

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]


def _weight(pairs: Pairs, penalty: float) -> F64:
    weight: F64 = pairs.total**2 / np.maximum(pairs.count + penalty, 1.0)
    return weight


def gains(totals: Pairs, right: Pairs, terms: TreesModel) -> F64:
    """What each candidate lowers the squared error by, float64 (candidates,). totals: (leaves,), right: (c, leaves).

    A leaf of which a side has fewer than model.smallest_leaf rows gains nothing. A candidate whose counts cannot be,
    which a wrap of shares makes once in 2**27 numbers, gains -inf.
    """
    left = Pairs(totals.count[None], totals.total[None]).less(right)
    penalty = terms.reg_lambda
    gained = _weight(right, penalty) + _weight(left, penalty) - _weight(totals, penalty)[None]
    small = np.minimum(right.count, left.count) < terms.smallest_leaf
    found: F64 = np.where(small, 0.0, gained).sum(axis=1)
    return np.where((left.count < 0).any(axis=1), -np.inf, found)


def best_candidate(totals: Pairs, right: Pairs, terms: TreesModel) -> int:
    """The number of the candidate with the largest gain, the first of equals."""
    return int(np.argmax(gains(totals, right, terms)))


def split_totals(totals: Pairs, right: Pairs) -> Pairs:
    """Of the next level's leaves: all left sides, then all right ones. right: (leaves,) of the chosen candidate."""
    left = totals.less(right)
    return Pairs(np.concatenate([left.count, right.count]), np.concatenate([left.total, right.total]))


def leaf_values(totals: Pairs, terms: TreesModel) -> I64:
    """rate * sum / (count + lambda) of each leaf, int64 at RESIDUAL_BITS; 0 below model.smallest_leaf rows."""
    value = terms.rate * totals.total / np.maximum(totals.count + terms.reg_lambda, 1.0)
    value = np.where(totals.count < terms.smallest_leaf, 0.0, value)
    whole = np.rint(np.ldexp(value, RESIDUAL_BITS)).astype(np.int64)
    return whole.clip(-LARGEST_VALUE, LARGEST_VALUE)


def lowered(totals: Pairs, values: I64) -> float:
    """What a tree lowered the mean squared residual of its drawn rows by, in squared deviations of the label."""
    value = np.ldexp(values.astype(np.float64), -RESIDUAL_BITS)
    whole = (2 * value * totals.total - value**2 * totals.count).sum()
    return float(whole / max(int(totals.count.sum()), 1))
