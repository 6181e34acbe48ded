"""Training on static data: one table, no periods, several passes, then one prediction of every row.

For benchmarks and for problems without time. Every pass opens each row again, so more than a few passes need an
opening limit that says so. The steps come from :func:`vfl.walk.schedule.static_steps`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, Progress
from vfl.models.split.top import LabelHead
from vfl.models.split.training import Source
from vfl.walk.schedule import Step

__all__ = ["StaticResult", "train_static"]

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class StaticResult:
    """scores: float64 (n,), or (n, classes). losses: float64 per training step. openings: int64 (n,)."""

    scores: F64
    losses: F64
    openings: NDArray[np.int64]


def train_static(source: Source, head: LabelHead, steps: Sequence[Step], own: F64, label: F64) -> Flow[StaticResult]:
    """Run the steps. own: float64 (n, d_own). label: float64 (n,), finite.

    Learns: the sum of embeddings that ``source`` opens of each row at each step.
    Leaks: to the feature parties which rows are trained on and predicted, at which step.
    Model: that of ``source``; this loop sends nothing of its own.
    Source: docs/protocols/split.md#a-step.
    """
    scores = np.full((len(label), head.terms.outputs), np.nan)
    openings = np.zeros(len(label), dtype=np.int64)
    losses: list[float] = []
    done, total = 0, sum(len(step.rows) for step in steps)
    for step in steps:
        rows = step.rows
        z = yield from source.forward(step.number, rows)
        openings[rows] += 1
        if step.kind == "predict":
            scores[rows] = head.predict(z, own[rows]).reshape(len(rows), -1)
        else:
            gradient = head.train_batch(z, own[rows], label[rows], np.zeros(len(rows), dtype=np.int64))
            losses.append(head.loss)
            yield from source.backward(step.number, rows, gradient)
        done += len(rows)
        yield Progress(done, total, metrics={"loss": head.loss})
    return StaticResult(scores if head.terms.outputs > 1 else scores[:, 0], np.array(losses), openings)
