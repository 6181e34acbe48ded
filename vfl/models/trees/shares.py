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
from vfl.models.sealed.records import StepRecord
from vfl.models.trees.tree_rows import TreeRows
from vfl.tree_terms import TreesModel

__all__ = ["CoalitionShares", "FitShares", "TreeShares"]

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

_RING = PRIME_RING


@dataclass
class CoalitionShares:
    """A holder's share of coalitions' scores, (coalitions, rows), of the rows that were carried; ids: these, rising."""

    ids: I64
    scores: U64

    @classmethod
    def none(cls, coalitions: int) -> CoalitionShares:
        """Of no row yet."""
        return cls(np.zeros(0, dtype=np.int64), np.zeros((coalitions, 0), dtype=np.uint64))

    def add(self, rows: I64, part: U64) -> None:
        """What a tree adds, (coalitions, rows)."""
        ids = np.union1d(self.ids, rows)
        if len(ids) > len(self.ids):
            scores = np.zeros((len(part), len(ids)), dtype=np.uint64)
            scores[:, np.searchsorted(ids, self.ids)] = self.scores
            self.ids, self.scores = ids, scores
        places = np.searchsorted(self.ids, rows)
        self.scores[:, places] = _RING.add(self.scores[:, places], part)

    def of(self, rows: I64) -> U64:
        """Of these rows, (coalitions, B); 0 where none was carried."""
        found = np.zeros((len(self.scores), len(rows)), dtype=np.uint64)
        held = np.isin(rows, self.ids)
        found[:, held] = self.scores[:, np.searchsorted(self.ids, rows[held])]
        return found


@dataclass
class FitShares:
    """A holder's share of each row's score (rows,), by fit whose trees are kept, the oldest first.

    coalitions: how many are valued; ``valued`` has the shares of their scores, by fit too.
    """

    rows: int
    coalitions: int = 0
    fits: list[U64] = field(default_factory=list)
    valued: list[CoalitionShares] = field(default_factory=list)

    def begin(self, terms: TreesModel, rows: I64 | None = None, start: U64 | None = None) -> None:
        """A new fit: the oldest trees go, where no more fits are kept. start: at which ``rows`` begin, if not at 0."""
        if terms.fits_kept and len(self.fits) == terms.fits_kept:
            self.fits.pop(0)
            self.valued.pop(0)
        if terms.fits_kept or not self.fits:
            self.fits.append(np.zeros(self.rows, dtype=np.uint64))
            self.valued.append(CoalitionShares.none(self.coalitions))
        if rows is not None and start is not None:
            self.add(rows, start)

    def add(self, active: I64, part: U64) -> None:
        """What a tree adds to the active rows."""
        self.fits[-1][active] = _RING.add(self.fits[-1][active], part)

    def value(self, rows: I64, part: U64) -> None:
        """What a tree adds to every coalition's score of these rows, (coalitions, rows)."""
        self.valued[-1].add(rows, part)

    def of(self, rows: I64) -> U64:
        """Share of the scores of these rows, (B,)."""
        total = np.zeros(len(rows), dtype=np.uint64)
        for fit in self.fits:
            total = _RING.add(total, fit[rows])
        return total

    def of_coalitions(self, rows: I64) -> U64:
        """Share of every coalition's scores of these rows, (coalitions, B)."""
        total = np.zeros((self.coalitions, len(rows)), dtype=np.uint64)
        for one in self.valued:
            total = _RING.add(total, one.of(rows))
        return total

    def out(self) -> dict[str, NDArray[Any]]:
        """As arrays by name."""
        found: dict[str, NDArray[Any]] = {f"fit/{place:04}": fit for place, fit in enumerate(self.fits)}
        for place, one in enumerate(self.valued if self.coalitions else ()):
            found |= {f"carried/{place:04}": one.ids, f"valued/{place:04}": one.scores}
        return found

    @classmethod
    def gone_on(cls, rows: int, record: StepRecord | None, coalitions: int) -> FitShares:
        """As they were recorded; none yet where nothing was."""
        return cls(rows, coalitions) if record is None else cls.read(rows, record.arrays, coalitions)

    @classmethod
    def read(cls, rows: int, arrays: Mapping[str, NDArray[Any]], coalitions: int) -> FitShares:
        """From arrays by name. Raises ValueError where they are of other rows, or coalitions."""
        fits = [arrays[name].astype(np.uint64) for name in sorted(arrays) if name.startswith("fit/")]
        if any(fit.shape != (rows,) for fit in fits):
            raise ValueError(f"the record of the step to go on from has no scores of {rows} rows")
        valued = [CoalitionShares.none(coalitions) for _ in fits]
        for place in range(len(fits) if coalitions else 0):
            ids, scores = (arrays.get(f"{name}/{place:04}") for name in ("carried", "valued"))
            if ids is None or scores is None or scores.shape != (coalitions, len(ids)):
                raise ValueError(f"the record of the step to go on from has no scores of {coalitions} coalitions")
            valued[place] = CoalitionShares(ids.astype(np.int64), scores.astype(np.uint64))
        return cls(rows, coalitions, fits, valued)


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
