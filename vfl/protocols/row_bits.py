"""Bits told of rows: what openings may have told of each content that a party's rows hold, against what it holds.

Rows of equal content are one: the same values in another period, calendar or run share one budget. The limit is this
party's own, a share of what its own columns hold, whatever the other parties bring.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["AGAIN", "BACKWARD", "LEGACY_BITS", "SCORE_BITS", "RowBits"]

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

BACKWARD = "/backward/"
"""What stands in the label of a backward product's charge: W' = W - X^T G, and later openings show W'."""

AGAIN = "value/"
"""What the label of a coalition's charge begins with: a function of parts whose bits were charged already."""

LEGACY_BITS = 44.0
"""What a number told that opened before there was noise."""


SCORE_BITS = 17.0
"""What a sealed model's score of a row tells at most: it counts where a model that opens rows comes after."""


@dataclass(eq=False)
class RowBits:
    """per_number: bits of an opened number. limit: bits that may be told of a row. groups: rows (n,) by content.

    others: what other runs told of each row (n,), in bits, or None where that is what it gave last.
    """

    per_number: float
    limit: float
    groups: I64
    others: Callable[[], F64 | None] = lambda: None
    _told: F64 = field(init=False)
    _before: F64 = field(init=False)

    def __post_init__(self) -> None:
        self._told = np.zeros(int(self.groups.max(initial=-1)) + 1)
        self._before = np.zeros_like(self._told)

    @property
    def told(self) -> F64:
        """Bits told of each row so far, in all runs: float64 (n,)."""
        both: F64 = (self._told + self._before)[self.groups]
        return both

    def refresh(self) -> None:
        """Take in what other runs told since."""
        found = self.others()
        if found is not None:
            self._before = np.zeros_like(self._told)
            # each row already has what was told of its content: rows of one content are not added up again
            np.maximum.at(self._before, self.groups, found)

    def beyond(self, rows: I64, width: int) -> I64:
        """Those of ``rows`` whose content would be told more than the limit."""
        more = np.bincount(self.groups[rows], minlength=len(self._told)) * (width * self.per_number)
        return rows[(self._told + self._before + more)[self.groups[rows]] > self.limit + 1e-9]

    def add(self, rows: I64, width: int) -> None:
        np.add.at(self._told, self.groups[rows], width * self.per_number)
