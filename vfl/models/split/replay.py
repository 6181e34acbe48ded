"""Trials that open nothing: other top models on sums that were opened.

The label party trains the run's top model on sums that were opened step by step. Another top model on the same sums
would have opened the same: so a trial that changes the top model alone is replayed on what was opened, as often as one
likes. A trial that changes how the source layer learns opens other sums, which the parties count. What a trial is
judged by: :mod:`vfl.models.judging`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, run_alone
from vfl.factors.panel import LabelPanel
from vfl.models.split.top import LabelHead
from vfl.models.split.training import walk_forward
from vfl.terms import SplitModel, WalkForward
from vfl.walk.result import TrainingResult
from vfl.walk.schedule import Step

__all__ = ["Opened", "replay", "reported"]

F64 = NDArray[np.float64]


class Opened:
    """A source that gives again what was opened, by step."""

    def __init__(self, sums: Mapping[int, F64]) -> None:
        self._sums = sums

    def forward(self, step: int, rows: NDArray[np.int64]) -> Flow[F64]:
        """The sums of this step as they were.

        Learns: nothing new: the sums were opened when they were recorded.
        Leaks: nothing: no message is sent.
        Model: the label party alone, on what it holds.
        Source: docs/protocols/openings.md#openings-and-their-budget.
        """
        yield from ()
        return self._sums[step]

    def backward(self, step: int, rows: NDArray[np.int64], gradient: F64) -> Flow[None]:
        """Nothing: the source layer learned what it learned.

        Learns: nothing.
        Leaks: nothing: no message is sent.
        Model: the label party alone, on what it holds.
        Source: docs/protocols/openings.md#openings-and-their-budget.
        """
        yield from ()


def replay(
    terms: SplitModel, walk: WalkForward, panel: LabelPanel, steps: Sequence[Step], sums: Mapping[int, F64]
) -> tuple[LabelHead, TrainingResult]:
    """Another top model on the sums of a training, step by step as they were opened; nothing is opened.

    With the terms of that training it is that training.
    """
    head = LabelHead(terms, panel.features.values.shape[-1], shares=walk.shares)
    return head, run_alone(walk_forward(Opened(sums), head, steps, panel))


def reported(result: TrainingResult, first: int) -> TrainingResult:
    """The result without the scores that the search chose by."""
    before = np.arange(len(result.scores))[:, None] < first
    return replace(result, scores=np.where(before, np.nan, result.scores))
