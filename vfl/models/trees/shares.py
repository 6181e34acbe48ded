"""What a holder of shares keeps of trees: scores of rows by fit, and of the tree under way carries and owners' bits.

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
from vfl.tree_terms import TreesModel

__all__ = ["CoalitionShares", "FitShares", "SideShares", "TreeShares", "multiplied"]

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
    """Of the tree under way at ``level``: carries (drawn, leaves), what each row adds to its leaf's sums
    (:mod:`vfl.models.trees.scales`)."""

    carries: U64
    level: int = 0

    @classmethod
    def starting(cls, carries: U64) -> TreeShares:
        """Everything is in one leaf."""
        return cls(carries.reshape(-1, 1))

    def spread(self, bits: U64) -> U64:
        """Of the drawn rows (drawn,), as they stand beside the carries, flat."""
        return np.repeat(bits, self.carries.shape[1])

    def split(self, products: U64) -> None:
        """Two leaves of each. products: of the carries with the bits, flat."""
        right = products.reshape(self.carries.shape)
        self.carries = np.concatenate([_RING.sub(self.carries, right), right], axis=1)
        self.level += 1


def multiplied(before: U64 | None, bits: U64) -> U64:
    """What one more level's bits (rows,) add to an owner's products, (2**levels, rows): themselves, and times each."""
    return bits[None] if before is None else np.concatenate([bits[None], before * bits])


@dataclass
class SideShares:
    """A holder's part of the owners' bits in the tree under way, by owner: (2**levels - 1, active).

    Row s - 1 is the product of the bits of those of the owner's levels, the first first, whose places are set in s.
    They are shares; the bits themselves where this holder owns the levels, and nothing where the other holder does.
    """

    levels: dict[str, int] = field(default_factory=dict)
    held: dict[str, U64] = field(default_factory=dict)

    def due(self, owner: str) -> int:
        """Products that one more level of this owner brings."""
        return 1 << self.levels.get(owner, 0)

    def own(self, me: str, bits: U64) -> U64:
        """A level of this holder's own. Returns its bits."""
        return self.take(me, multiplied(self.held.get(me), bits))

    def take(self, owner: str, more: U64 | None) -> U64:
        """A level of ``owner``; more: what it brings, (:meth:`due`, active). Returns this holder's part of its bits."""
        self.levels[owner] = self.levels.get(owner, 0) + 1
        if more is None:
            return np.zeros(0, dtype=np.uint64)
        before = self.held.get(owner)
        self.held[owner] = more if before is None else np.concatenate([before, more])
        bits: U64 = more[0]
        return bits

    def beside(self, fitted: int) -> dict[str, U64]:
        """What it holds of the rows beside the fitted ones, which come first."""
        return {owner: np.ascontiguousarray(part[:, fitted:]) for owner, part in self.held.items()}
