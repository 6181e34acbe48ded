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

from vfl.models.sealed.messages import Members

__all__ = ["TellsApart", "merged_values"]

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
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


@dataclass(frozen=True)
class TellsApart:
    """Which coalitions a tree tells apart, by the owners of its levels; both holders of shares know these.

    sets: the feature parties that take part, of each table beside that in which all do.
    """

    owners: tuple[str, ...]
    members: Members
    coalitions: tuple[Coalition, ...]
    sets: tuple[frozenset[str], ...]

    @classmethod
    def of(cls, owners: Sequence[str], members: Members, coalitions: Sequence[Coalition]) -> TellsApart:
        """owners: of each level. coalitions: whose scores are wanted."""
        every = frozenset(owners) & frozenset(members.features)
        found = dict.fromkeys(every & frozenset(one) for one in coalitions)
        found.pop(every, None)
        return cls(tuple(owners), members, tuple(coalitions), tuple(found))

    @property
    def present(self) -> tuple[frozenset[str], ...]:
        """Of each table, the owners whose levels it hangs on."""
        return tuple(one | {self.members.label} for one in self.sets)

    def tables(self, values: I64, counts: I64) -> I64:
        """At the label party: leaf values, int64 (sets, leaves)."""
        made = [merged_values(values, counts, [owner in one for owner in self.owners]) for one in self.present]
        return np.stack(made) if made else np.zeros((0, len(values)), dtype=np.int64)

    def scores(self, found: U64, whole: U64) -> U64:
        """Shares (coalitions, rows) of what the tree adds to each coalition's score.

        found: of each table, (sets, rows). whole: shares (rows,) of what it adds to the score itself.
        """
        every = frozenset(self.owners) & frozenset(self.members.features)
        by_set = dict(zip(self.sets, found, strict=True)) | {every: whole}
        return np.stack([by_set[every & frozenset(one)] for one in self.coalitions])
