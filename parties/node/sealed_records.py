"""A node's records of a sealed run: its shares at each step, encrypted at rest, to go on from after a crash."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parties.errors import DataError
from parties.node.checkpoints import CheckpointStore
from vfl.models.sealed.records import Arrays, ResumedScores, StepRecord, scored_in
from vfl.protocols.resume import START

__all__ = ["LabelRecords", "SealedRecords", "last_weights"]

F64 = NDArray[np.float64]
U64 = NDArray[np.uint64]

_TRAINED = "trained"
_OWN = ("session", "train", "rows", "data")


class SealedRecords:
    """Records of one side. ``data``: a digest of its columns, which must be the same when the run goes on.

    A prediction's record stays for good, since its weights are what contributions are valued under; of the others the
    last two do, since no party is ever more than one step ahead. ``kept`` is called where a run may pause.
    """

    def __init__(self, store: CheckpointStore, data: str, kept: Callable[[], None] = lambda: None) -> None:
        self._store, self._data, self._kept = store, data, kept
        self._trained: list[int] = []
        self._held = 0

    def hold(self, record: StepRecord) -> None:
        """Keep a record; on return it survives a crash."""
        arrays: dict[str, NDArray[Any]] = {
            "session": np.array(record.session),
            "train": np.array(record.train),
            "rows": record.rows,
            "data": np.array(self._data),
        }
        self._store.put(_named(record.step), arrays | dict(record.arrays))
        if record.train:
            self._trained.append(record.step)
            if len(self._trained) > 2:
                self._store.drop([_named(self._trained.pop(0))])
        self._held += 1
        if self._held > 1:
            # everyone has the record before this one, and an attempt that stopped sooner would have got nowhere
            self._kept()

    def places(self) -> list[int]:
        """Steps this side can go on from, rising."""
        return [step for step in self._steps() if self._load(step) is not None]

    def go_on(self, step: int) -> StepRecord | None:
        """Drop everything after ``step``; its record, None where it is the start."""
        self._store.drop([_named(later) for later in self._steps() if later > step] + [_TRAINED])
        records = [self._load(number) for number in self._steps()]
        self._trained = [record.step for record in records if record is not None and record.train]
        return None if step == START else self._load(step)

    def finish(self) -> None:
        """Training is over."""
        self._store.put(_TRAINED, {"data": np.array(self._data)})

    @property
    def finished(self) -> bool:
        """Whether training had ended, and the data are still those it was done with."""
        kept = self._store.get(_TRAINED) if _TRAINED in self._store.names() else None
        return kept is not None and str(kept["data"]) == self._data

    def predictions(self) -> dict[int, StepRecord]:
        """The records of all predictions, by step."""
        records = (self._load(step) for step in self._steps())
        return {record.step: record for record in records if record is not None and not record.train}

    def _steps(self) -> list[int]:
        return [int(name.removeprefix("step-")) for name in self._store.names() if name.startswith("step-")]

    def _load(self, step: int) -> StepRecord | None:
        kept = self._store.get(_named(step))
        if kept is None:
            return None
        if str(kept["data"]) != self._data:
            raise DataError(
                "this node's data changed since the run began, so the run ends here: restore the data, and have it "
                "proposed anew"
            )
        arrays: Arrays = {name: array for name, array in kept.items() if name not in _OWN}
        return StepRecord(str(kept["session"]), step, bool(kept["train"]), kept["rows"], arrays)


class LabelRecords(SealedRecords):
    """The label party's, which also keep every prediction's scores. predicted: numbers of all prediction steps."""

    def __init__(
        self, store: CheckpointStore, data: str, predicted: Collection[int], kept: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(store, data, kept)
        self._predicted = tuple(predicted)

    def predicted(self, step: int, scores: F64) -> None:
        """Keep a prediction's scores for good."""
        self._store.put(_scored(step), {"scores": scores})

    def places(self) -> list[int]:
        """Steps to go on from: the record is sound, and so are the scores of every prediction before it."""
        sound = super().places()
        known = set(self.scores())
        return [step for step in sound if all(before in known for before in self._predicted if before < step)]

    def scores(self) -> dict[int, F64]:
        """Scores of the predictions made so far, by step."""
        names = (name for name in self._store.names() if name.startswith("scores-"))
        found = {int(name.removeprefix("scores-")): self._store.get(name) for name in names}
        return {step: kept["scores"] for step, kept in found.items() if kept is not None}

    def resumed(self, step: int) -> ResumedScores | None:
        """Drop everything after ``step``; its record, with the scores of the predictions before it."""
        scores = self.scores()
        self._store.drop([_scored(later) for later in scores if later >= step])
        record = self.go_on(step)
        if record is None:
            return None
        return ResumedScores(record, {number: found for number, found in scores.items() if number < step})

    def whole(self) -> dict[int, F64] | None:
        """Scores of every prediction, when training had ended and all of it is sound."""
        scores = self.scores()
        return scores if self.finished and set(scores) >= set(self._predicted) else None


def last_weights(records: SealedRecords) -> Mapping[str, U64]:
    """This side's shares of the weights that made the last prediction, by owner: nothing trains after it."""
    predictions = records.predictions()
    return scored_in([predictions[max(predictions)]])[max(predictions)].weights


def _named(step: int) -> str:
    return f"step-{step:08}"


def _scored(step: int) -> str:
    return f"scores-{step:08}"
