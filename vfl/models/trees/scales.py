"""Scales: fractional bits of residuals and leaf values, and how a pair of sums travels as one number of 32 bits.

A row that is trained on carries u = 2**shift + residual in its leaf and 0 elsewhere, so one sum over rows holds both
the count and the sum of residuals. Truncated by ``drop`` bits it is count * 2**16 + sum in units of
:attr:`Packing32.unit`: 16 bits each. Nothing else is ever truncated in training.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psi.flow import LocalProtocolError
from vfl.tree_terms import TreesModel

__all__ = [
    "LARGEST_VALUE",
    "MOST_DRAWN",
    "PAIR_BITS",
    "RESIDUAL_BITS",
    "SUM_BITS",
    "Packing32",
    "Pairs",
    "beyond_score_limit",
    "beyond_their_range",
    "nearer_zero",
    "score_bound",
]

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

RESIDUAL_BITS = 16
"""Fractional bits of labels, residuals, leaf values and scores in training."""

SUM_BITS = 16
"""Bits of an opened sum of residuals, and of an opened count."""

PAIR_BITS = 2 * SUM_BITS

MOST_DRAWN = (1 << SUM_BITS) - 1
"""Rows that one tree may draw: their count has 16 bits."""

LARGEST_VALUE = (1 << RESIDUAL_BITS) - 1
"""Of a leaf's value at RESIDUAL_BITS: what the evaluator's operand has room for, just below one label deviation."""

LEAST_HALF = 4


@dataclass(frozen=True)
class Pairs:
    """Opened pairs: counts of rows, int64, and sums of residuals, float64 in label deviations; of one shape."""

    count: I64
    total: F64

    def less(self, other: Pairs) -> Pairs:
        """What is left of these rows without the others."""
        return Pairs(self.count - other.count, self.total - other.total)


@dataclass(frozen=True)
class Packing32:
    """Of a tree that draws ``rows`` rows. Sums reach to +-2**half: a sum of residuals with root mean square 1 does."""

    half: int

    @classmethod
    def of(cls, rows: int) -> Packing32:
        """Raises LocalProtocolError where the count of so many rows has more than 16 bits."""
        if not 1 <= rows <= MOST_DRAWN:
            raise LocalProtocolError(
                f"a tree would draw {rows} rows and may draw 1 to {MOST_DRAWN}: choose model.blocks for it"
            )
        return cls(max(LEAST_HALF, math.ceil(math.log2(rows))))

    @property
    def drop(self) -> int:
        """Bits that a sum loses before it opens."""
        return self.half + RESIDUAL_BITS - (SUM_BITS - 1)

    @property
    def shift(self) -> int:
        """Where counts begin in what is summed."""
        return self.drop + SUM_BITS

    @property
    def unit(self) -> float:
        """One unit of an opened sum, in label deviations."""
        return math.ldexp(1.0, self.half - (SUM_BITS - 1))

    @property
    def bound(self) -> int:
        """Of what is truncated."""
        return (MOST_DRAWN + 2) << self.shift

    def read(self, numbers: U64) -> Pairs:
        """Pairs from opened numbers, modulo 2**32."""
        low = (numbers & np.uint64(MOST_DRAWN)).astype(np.uint16).view(np.int16).astype(np.int64)
        high = (numbers.astype(np.int64) - low) >> SUM_BITS
        return Pairs(high & MOST_DRAWN, low.astype(np.float64) * self.unit)


def score_bound(terms: TreesModel) -> int:
    """Largest score, at RESIDUAL_BITS, that a prediction's truncation has room for."""
    return terms.score_limit << (RESIDUAL_BITS + 8)


def beyond_score_limit(terms: TreesModel, step: int) -> str:
    """What is wrong where a predicted score does not fit in what opens of it."""
    return (
        f"step {step}: a score leaves +-{terms.score_limit} deviations of the label, and would wrap: raise "
        f"model.score_limit, or {nearer_zero(terms)}"
    )


def nearer_zero(terms: TreesModel) -> str:
    """What brings scores nearer to 0, said to whoever sets the terms."""
    return "raise model.init_alpha" if terms.init_score == "linear" else "lower model.rate or model.fits_kept"


def beyond_their_range(terms: TreesModel) -> str:
    """What is wrong where a tree's rows do not count as many as were drawn: their residuals ran into the count."""
    return f"residuals of a tree's rows sum to more than a label deviation a row: {nearer_zero(terms)}"
