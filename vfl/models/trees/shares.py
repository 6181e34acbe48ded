"""What a holder of shares keeps of trees: scores of rows by fit, and of the tree under way carries and memberships.

All of it is local; the flows that need the other holder or the owner of a split are in :mod:`vfl.models.trees.ends`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.models.trees.tree_rows import TreeRows
from vfl.tree_terms import TreesModel

__all__ = ["FitShares", "TreeShares"]

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

_RING = PRIME_RING


@dataclass
class FitShares:
    """A holder's share of each row's score (rows,), by fit whose trees are kept, the oldest first."""

    rows: int
    fits: list[U64] = field(default_factory=list)

    def begin(self, terms: TreesModel) -> None:
        """A new fit: the oldest trees go, where no more fits are kept."""
        if terms.fits_kept and len(self.fits) == terms.fits_kept:
            self.fits.pop(0)
        if terms.fits_kept or not self.fits:
            self.fits.append(np.zeros(self.rows, dtype=np.uint64))

    def add(self, active: I64, part: U64) -> None:
        """What a tree adds to the active rows."""
        self.fits[-1][active] = _RING.add(self.fits[-1][active], part)

    def of(self, rows: I64) -> U64:
        """Share of the scores of these rows, (B,)."""
        total = np.zeros(len(rows), dtype=np.uint64)
        for fit in self.fits:
            total = _RING.add(total, fit[rows])
        return total

    def out(self) -> dict[str, NDArray[Any]]:
        """As arrays by name."""
        return {f"fit/{place:04}": fit for place, fit in enumerate(self.fits)}

    @classmethod
    def read(cls, rows: int, arrays: Mapping[str, NDArray[Any]]) -> FitShares:
        """From arrays by name. Raises ValueError where they are of other rows."""
        fits = [arrays[name].astype(np.uint64) for name in sorted(arrays) if name.startswith("fit/")]
        if any(fit.shape != (rows,) for fit in fits):
            raise ValueError(f"the record of the step to go on from has no scores of {rows} rows")
        return cls(rows, fits)


@dataclass
class TreeShares:
    """Of the tree under way at ``level``: carries (drawn, leaves) and memberships (active, leaves).

    A row's carry is what it adds to its leaf's sums (:mod:`vfl.models.trees.scales`). Every row is in one leaf, so of
    a split only the products of the memberships but the first are needed, beside the bits.
    """

    carries: U64
    members: U64
    level: int = 0

    @classmethod
    def starting(cls, rows: TreeRows, carries: U64, *, label: bool) -> TreeShares:
        """Everything is in one leaf. label: this holder takes the memberships, all 1."""
        return cls(carries.reshape(-1, 1), np.full((len(rows.active), 1), int(label), dtype=np.uint64))

    def factors(self) -> U64:
        """What the owner of a split multiplies by its bits, flat: carries, then memberships but the first."""
        return np.concatenate([self.carries.reshape(-1), self.members[:, 1:].reshape(-1)])

    def spread(self, bits: NDArray[np.bool_], drawn: I64) -> U64:
        """The bits (active,) as they stand beside :meth:`factors`."""
        leaves = self.members.shape[1]
        parts = np.repeat(bits[drawn], leaves), np.repeat(bits, leaves - 1)
        return np.concatenate(parts).astype(np.uint64)

    def split(self, products: U64, bits: U64) -> None:
        """Two leaves of each. products: of :meth:`factors` with the bits. bits: this holder's share of them."""
        size = self.carries.size
        carried = products[:size].reshape(self.carries.shape)
        right = np.empty_like(self.members)
        right[:, 1:] = products[size:].reshape(len(right), -1)
        right[:, 0] = _RING.sub(bits, _RING.sum(right[:, 1:], axis=1)) if right.shape[1] > 1 else bits
        self.carries = np.concatenate([_RING.sub(self.carries, carried), carried], axis=1)
        self.members = np.concatenate([_RING.sub(self.members, right), right], axis=1)
        self.level += 1
