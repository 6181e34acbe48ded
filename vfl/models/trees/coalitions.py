"""What a tree says of coalitions: its leaf values where the splits of absent parties are averaged over.

A coalition's score of a row goes, at the splits of its members and of the label party, to the row's side, and at the
others to both, weighted by the drawn rows of each leaf: path-dependent expectations (Lundberg et al., Nature Machine
Intelligence 2, 2020). A tree tells coalitions apart only by the owners of its levels, so few tables of leaf values are
needed: not one for each coalition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.models.sealed.messages import Members
from vfl.tree_terms import TreesModel

__all__ = ["TellsApart", "merged_values", "repeated_bits", "tables_of_owner"]

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
Bits = NDArray[np.bool_]
Coalition = tuple[str, ...]


def merged_values(values: I64, counts: I64, present: Sequence[bool]) -> I64:
    """Leaf values, int64 (2**depth,), of which leaves that only absent levels tell apart have one in common.

    It is their mean by ``counts``, the tree's drawn rows in each leaf, to the nearest; 0 where they have none.
    present: of each level, the first first, whether its owner takes part.
    """
    depth = len(present)
    absent = tuple(depth - 1 - level for level in range(depth) if not present[level])
    if not absent:
        return values
    shape, held = (2,) * depth, np.maximum(counts, 0)
    rows = held.reshape(shape).sum(axis=absent, keepdims=True)
    whole = (values * held).reshape(shape).sum(axis=absent, keepdims=True)
    mean = np.rint(whole / np.maximum(rows, 1)).astype(np.int64)
    return np.ascontiguousarray(np.broadcast_to(mean, shape)).reshape(-1)


def tables_of_owner(owner: str, members: Members, terms: TreesModel) -> int:
    """Most tables that the last split's owner multiplies by its bit, whoever owns the other levels.

    As many are always multiplied, so that their number tells an owner nothing.
    """
    others = len(members.features) - (owner in members.features)
    return int((1 << min(others, terms.depth - 1)) - 1)


def repeated_bits(bits: Bits, fitted: int, owner: str, members: Members, terms: TreesModel) -> Bits:
    """The last split's bits (active,) as they stand beside :meth:`TellsApart.factors`; the first ``fitted`` score
    in no coalition."""
    return np.tile(bits[fitted:], tables_of_owner(owner, members, terms))


@dataclass(frozen=True)
class TellsApart:
    """Which coalitions a tree tells apart, by the owners of its levels; both holders of shares know these.

    Each table is of the feature parties that take part: ``inside`` those in which the last split's owner does,
    ``outside`` the others, but for the one in which nobody does, of which every row has the same score.
    """

    owners: tuple[str, ...]
    members: Members
    coalitions: tuple[Coalition, ...]
    inside: tuple[frozenset[str], ...]
    outside: tuple[frozenset[str], ...]

    @classmethod
    def of(cls, owners: Sequence[str], members: Members, coalitions: Sequence[Coalition]) -> TellsApart:
        """owners: of each level. coalitions: whose scores are wanted."""
        every = frozenset(owners) & frozenset(members.features)
        found = dict.fromkeys(every & frozenset(one) for one in coalitions)
        found.pop(every, None)
        if members.label not in owners:
            found.pop(frozenset(), None)
        last = owners[-1]
        inside = [one for one in found if last == members.label or last in one]
        outside = [one for one in found if one not in inside]
        return cls(tuple(owners), members, tuple(coalitions), tuple(inside), tuple(outside))

    @property
    def columns(self) -> int:
        """Numbers of a row that the holders need: of each table inside its two sides, of one outside its value."""
        return 2 * len(self.inside) + len(self.outside)

    def _table(self, values: I64, counts: I64, taking: frozenset[str]) -> I64:
        present = [owner in taking or owner == self.members.label for owner in self.owners]
        return merged_values(values, counts, present)

    def tables(self, values: I64, counts: I64) -> I64:
        """At the label party: int64 (columns, leaves before the last split)."""
        inside = [self._table(values, counts, one).reshape(2, -1) for one in self.inside]
        outside = [self._table(values, counts, one).reshape(2, -1)[:1] for one in self.outside]
        parts = [one[:1] for one in inside] + [one[1:] for one in inside] + outside
        return np.concatenate(parts) if parts else np.zeros((0, len(values) // 2), dtype=np.int64)

    def alike(self, values: I64, counts: I64) -> int:
        """At the label party: the score of every row where nobody takes part."""
        return int(self._table(values, counts, frozenset())[0])

    def factors(self, sides: U64, terms: TreesModel) -> U64:
        """What the last split's owner multiplies by its bit, flat. sides: shares (columns, rows)."""
        count = len(self.inside)
        made = np.zeros((tables_of_owner(self.owners[-1], self.members, terms), sides.shape[1]), dtype=np.uint64)
        made[:count] = PRIME_RING.sub(sides[count : 2 * count], sides[:count])
        return made.reshape(-1)

    def scores(self, sides: U64, products: U64, whole: U64, alike: int = 0) -> U64:
        """Shares (coalitions, rows) of what the tree adds to each coalition's score.

        products: of :meth:`factors`. whole: shares (rows,) of what it adds to the score itself. alike: of the label
        party alone.
        """
        count, rows = len(self.inside), sides.shape[1]
        split = PRIME_RING.add(sides[:count], products.reshape(-1, rows)[:count]) if rows else sides[:count]
        found = dict(zip(self.inside, split, strict=True)) | dict(zip(self.outside, sides[2 * count :], strict=True))
        found[frozenset(self.owners) & frozenset(self.members.features)] = whole
        same = PRIME_RING.wrap(np.full(rows, alike, dtype=np.int64))
        every = frozenset(self.owners)
        return np.stack([found.get(every & frozenset(one), same) for one in self.coalitions])
