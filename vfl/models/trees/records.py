"""What each side of a run of trees keeps, so that it goes on after a crash to the same trees and opens nothing twice.

Every party records a tree or a prediction before it takes part in it, as in the sealed network
(:mod:`vfl.models.sealed.records`): the holders of shares their shares of all rows' scores. Of a level both keep their
shares of its numbers before any open:

    anchor:       its shares of the numbers -> disk -> Ready
    label party:  Ready -> its own -> disk -> Open
    anchor:       Open -> marks the level as opened, on disk -> sends its recorded shares, 32 bits a pair

A tree that is grown again has the same candidates, since these are drawn from a secret of the tree and level. Its
levels that were recorded by both open the very shares that were kept; the first that was not is computed.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vfl.models.sealed.records import LabelJournal, SealedJournal

__all__ = ["AnchorTreesJournal", "LabelTreesJournal", "LevelJournal", "level_key"]

U64 = NDArray[np.uint64]

_LEVELS = 16
"""More than a tree has: a step and a level have one number."""


def level_key(step: int, level: int) -> int:
    """The number of a level, by which both holders agree that their records of it are kept."""
    return step * _LEVELS + level


class LevelJournal(Protocol):
    """Where a holder keeps its shares of a level's numbers. On return they survive a crash.

    Those of trees before the last two may go.
    """

    def hold_level(self, step: int, level: int, share: U64) -> None: ...

    def levels(self, step: int) -> list[U64]:
        """Of the recorded levels of a tree, in order."""


class AnchorTreesJournal(SealedJournal, LevelJournal, Protocol):
    """The anchor's, which also marks levels whose numbers it let open."""

    def open_level(self, step: int, level: int) -> None: ...

    def opened_levels(self, step: int) -> int: ...


class LabelTreesJournal(LabelJournal, LevelJournal, Protocol):
    """The label party's."""
