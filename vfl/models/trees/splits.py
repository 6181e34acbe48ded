"""Which splits a tree took, as each party knows it for itself: what its node may keep at home and show its operator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["NOWHERE", "NoSplits", "SplitBook", "TakenSplit"]

NOWHERE = -1
"""In place of a column: somebody else's, or bits at random, which no column gave."""


@dataclass(frozen=True)
class TakenSplit:
    """A level's split. column: its place among the owner's own, NOWHERE where none is known.

    gain: what it lowered the squared error of the tree's drawn rows by, in squared deviations of the label; None at a
    feature party, which is not told. opened: at the label party, the numbers of 32 bits that opened of the level.
    """

    step: int
    level: int
    owner: str
    column: int
    gain: float | None = None
    opened: NDArray[np.uint64] | None = None


class SplitBook(Protocol):
    """Where splits are written as they are taken. A tree that is begun again takes its splits anew."""

    def begin(self, step: int) -> None:
        """What was written of this tree and of later ones is void."""

    def take(self, split: TakenSplit) -> None: ...


class NoSplits:
    """Where nobody wants to know."""

    def begin(self, step: int) -> None: ...

    def take(self, split: TakenSplit) -> None: ...
