"""A node's records of a run of trees: those of a sealed run, and its shares of each level's numbers."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import NDArray

from parties.node.checkpoints import CheckpointStore
from parties.node.sealed_records import LabelRecords, SealedRecords
from vfl.models.sealed.records import StepRecord

__all__ = ["AnchorTreesRecords", "LabelTreesRecords"]

U64 = NDArray[np.uint64]

_LEVEL, _OPENED = "level-", "opened-"


class _Levels:
    """Shares of a level's numbers, by step and level; those of trees before the last two go."""

    def __init__(self, store: CheckpointStore) -> None:
        self._levels = store

    def hold_level(self, step: int, level: int, share: U64) -> None:
        """Keep the share; on return it survives a crash."""
        self._levels.put(_named(_LEVEL, step, level), {"share": share})

    def levels(self, step: int) -> list[U64]:
        """Of the recorded levels of a tree, in order, as far as they are sound."""
        found: list[U64] = []
        for number, name in enumerate(self._of(_LEVEL, step)):
            kept = self._levels.get(name)
            if kept is None or name != _named(_LEVEL, step, number):
                break
            found.append(kept["share"].astype(np.uint64))
        return found

    def open_level(self, step: int, level: int) -> None:
        """Mark that a level's numbers may leave; on return the mark survives a crash."""
        self._levels.put(_named(_OPENED, step, level), {})

    def opened_levels(self, step: int) -> int:
        return len(self._of(_OPENED, step))

    def last_opened(self) -> int:
        """The latest step of which a level opened; -1 where none did."""
        return max((int(name.split("-")[1]) for name in self._levels.names() if name.startswith(_OPENED)), default=-1)

    def forget_levels(self, step: int) -> None:
        """Drop what belongs to trees that nobody goes back to from ``step``."""
        least, names = step - 1, self._levels.names()
        gone = [name for name in names if name.startswith((_LEVEL, _OPENED)) and int(name.split("-")[1]) < least]
        kept = f"{_OPENED}{self.last_opened():08}-"
        gone = [name for name in gone if not name.startswith(kept)]
        if gone:
            self._levels.drop(gone)

    def _of(self, prefix: str, step: int) -> list[str]:
        return [name for name in self._levels.names() if name.startswith(f"{prefix}{step:08}-")]


class LabelTreesRecords(LabelRecords, _Levels):
    """The label party's. Arguments as for :class:`parties.node.sealed_records.LabelRecords`."""

    def __init__(
        self, store: CheckpointStore, data: str, predicted: Collection[int], kept: Callable[[], None] = lambda: None
    ) -> None:
        LabelRecords.__init__(self, store, data, predicted, kept)
        _Levels.__init__(self, store)

    def hold(self, record: StepRecord) -> None:
        """Keep a record, and forget levels that nobody goes back to."""
        super().hold(record)
        self.forget_levels(record.step)


class AnchorTreesRecords(SealedRecords, _Levels):
    """The anchor's, which goes back to no step before the last of which it let a level open."""

    def __init__(self, store: CheckpointStore, data: str) -> None:
        SealedRecords.__init__(self, store, data)
        _Levels.__init__(self, store)

    def hold(self, record: StepRecord) -> None:
        """Keep a record, and forget levels that nobody goes back to."""
        super().hold(record)
        self.forget_levels(record.step)

    def places(self) -> list[int]:
        """Steps this side can go on from, rising."""
        last = self.last_opened()
        return [step for step in super().places() if step >= last]


def _named(prefix: str, step: int, level: int) -> str:
    return f"{prefix}{step:08}-{level:02}"
