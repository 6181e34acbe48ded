"""The rows of one tree, in one order that every side has: which it is fitted on, draws, and scores along."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psi.flow import LocalProtocolError
from vfl.tree_terms import TreesModel

__all__ = ["TreeRows"]

I64 = NDArray[np.int64]


@dataclass(frozen=True)
class TreeRows:
    """active: row ids that the tree scores, those it is fitted on first. drawn: positions among them of its block.

    fitted: the positions of the rows that have labels.
    """

    active: I64
    drawn: I64
    fitted: slice

    @classmethod
    def of(cls, rows: I64, carried: I64, blocks: I64, tree: int, terms: TreesModel) -> TreeRows:
        """Of the ``tree``-th tree of a fit. blocks: of every row (:func:`vfl.walk.refits.blocks_of`).

        Raises LocalProtocolError where the block has too few rows to be split.
        """
        drawn = np.flatnonzero(blocks[rows] == tree % terms.blocks)
        if len(drawn) < 2 * terms.smallest_leaf:
            raise LocalProtocolError(
                f"a tree would draw {len(drawn)} of {len(rows)} rows, fewer than two leaves of model.smallest_leaf = "
                f"{terms.smallest_leaf}: lower model.blocks, or raise walk_forward.warmup"
            )
        return cls(np.concatenate([rows, carried]), drawn, slice(0, len(rows)))
