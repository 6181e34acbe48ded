"""What each side of a sealed network keeps of a step, so that a run goes on after a crash and opens nothing twice.

Every party records the step under way before it takes part in it: its shares of weights and speed. A prediction's
record at the label party and at the anchor also holds their shares of the scores, and is written before any opens:

    anchor:       shares of the scores -> record -> Ready
    label party:  Ready -> record -> Open
    anchor:       Open -> charge the rows -> send its recorded shares, 17 bits a row; then one bit of the prediction

It also holds each side's sum by which scores are checked (:mod:`vfl.models.sealed.score_range`), and at the anchor that
they were not in range, before the label party hears of it.

No party is ever more than one step ahead, so the last two records of each suffice, and everyone goes on from the
latest step that all have. A training step is computed again under fresh masks: nothing of it opens. A prediction opens
the very shares that were recorded. Keys, encryptions of zero and masks are of a session and never kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from psi.flow import RemoteProtocolError
from vfl.models.sealed.step import Block

__all__ = [
    "LabelJournal",
    "ResumedScores",
    "Scored",
    "SealedJournal",
    "StepRecord",
    "blocks_in",
    "blocks_out",
    "check_repeated",
    "refused",
    "refusing",
    "scored_in",
]

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class StepRecord:
    """One side's record of a step: plain arrays by name, for any store of arrays.

    session: in which it was made; with ``step`` it labels the charge of a prediction. arrays: shares of weights and
    speed before the step, and of a prediction ``scores``, this side's shares modulo 2**17, and ``check``, its sum (1,)
    in Z_p by which they are checked.
    """

    session: str
    step: int
    train: bool
    rows: I64
    arrays: Arrays


@dataclass(frozen=True)
class Scored:
    """What a side keeps of a prediction for coalition values: rows, and its shares of the weights then, by owner."""

    rows: I64
    weights: Mapping[str, NDArray[np.uint64]]


class SealedJournal(Protocol):
    """Where a side keeps its records. On return a record survives a crash.

    Records of training steps before the last two may go; those of predictions stay until the run is valued.
    """

    def hold(self, record: StepRecord) -> None: ...


class LabelJournal(SealedJournal, Protocol):
    """The label party's: it also keeps every prediction's scores for good."""

    def predicted(self, step: int, scores: F64) -> None: ...


@dataclass(frozen=True)
class ResumedScores:
    """The label party's record to go on from, and the scores of the predictions before it, by step number."""

    record: StepRecord
    scores: Mapping[int, F64] = field(default_factory=dict)


def blocks_out(blocks: Mapping[str, Block]) -> dict[str, NDArray[Any]]:
    """Blocks as arrays by name."""
    arrays: dict[str, NDArray[Any]] = {}
    for name, block in blocks.items():
        arrays[f"weight/{name}"], arrays[f"speed/{name}"] = block.weight, block.speed
    return arrays


def blocks_in(arrays: Arrays, names: Mapping[str, tuple[int, int]]) -> dict[str, Block]:
    """The blocks of these names and shapes. Raises ValueError where the arrays are not theirs."""
    blocks = {}
    for name, shape in names.items():
        weight, speed = arrays.get(f"weight/{name}"), arrays.get(f"speed/{name}")
        if weight is None or speed is None or weight.shape != shape or speed.shape != shape:
            raise ValueError(f"the record of the step to go on from has no weights {shape} of {name!r}")
        blocks[name] = Block(weight.astype(np.uint64), speed.astype(np.uint64))
    return blocks


def scored_in(predicted: Sequence[StepRecord]) -> dict[int, Scored]:
    """What records of earlier predictions say of them, by step number."""
    found = {}
    for record in predicted:
        weights = {name[7:]: array for name, array in record.arrays.items() if name.startswith("weight/")}
        found[record.step] = Scored(record.rows, weights)
    return found


def check_repeated(record: StepRecord, step: int, train: bool, rows: I64, peer: str) -> None:
    """Raise RemoteProtocolError unless the step under way is the recorded one."""
    if (record.step, record.train) != (step, train) or not np.array_equal(record.rows, rows):
        raise RemoteProtocolError("goes on with another batch than the one recorded", peer)


_REFUSED = "refused"


def refused(record: StepRecord) -> bool:
    """Whether this prediction's scores were not in range, so that nobody goes on with it."""
    return _REFUSED in record.arrays


def refusing(journal: SealedJournal | None, record: StepRecord) -> Callable[[], None]:
    """Marks the record as :func:`refused`; without a journal nobody goes on with anything."""

    def mark() -> None:
        if journal is not None:
            journal.hold(replace(record, arrays={**record.arrays, _REFUSED: np.ones(1, dtype=np.uint64)}))

    return mark
