"""Scores of new rows under weights that training left: prediction steps alone, as in the run itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, Progress
from vfl.models.sealed.label import SealedLabel
from vfl.models.sealed.records import ResumedScores
from vfl.walk.schedule import PREDICT_ROWS, Step

__all__ = ["sealed_scoring", "scoring_steps"]

F64 = NDArray[np.float64]


def scoring_steps(universe: NDArray[np.bool_], first: int) -> tuple[Step, ...]:
    """Prediction steps of the rows in the universe, bool (T, n), of the periods from ``first`` on."""
    steps: list[Step] = []
    entities = universe.shape[1]
    for period in range(first, len(universe)):
        rows = period * entities + np.flatnonzero(universe[period]).astype(np.int64)
        for start in range(0, len(rows), PREDICT_ROWS):
            steps.append(Step(len(steps), "predict", period, rows[start : start + PREDICT_ROWS]))
    return tuple(steps)


def sealed_scoring(
    source: SealedLabel, steps: Sequence[Step], *, resumed: ResumedScores | None = None
) -> Flow[dict[int, F64]]:
    """Open the scores of ``steps``, (B,) by step number. resumed: what ``source`` was resumed from.

    Learns: 17 bits of each row of ``steps``: its score; 1 of each step, whether all of them are in range.
    Leaks: row ids to everyone; ciphertexts to the anchor and the feature parties, and to the anchor that bit.
    Model: as :meth:`vfl.models.sealed.label.SealedLabel.predict`; the others train nothing in such a session.
    Source: docs/protocols/daily.md#a-session.
    """
    scores: dict[int, F64] = {}
    yield from source.start()
    done, total = 0, sum(len(step.rows) for step in steps)
    for step in steps:
        before = resumed is not None and step.number < resumed.record.step
        found = resumed.scores[step.number] if resumed is not None and before else (yield from source.predict(step))
        scores[step.number] = found
        done += len(step.rows)
        yield Progress(done, total)
    yield from source.finish()
    return scores
