"""Trials that open nothing: other top models on sums that were opened, and what a trial may be judged by.

The label party trains the run's top model on sums that were opened step by step. Another top model on the same sums
would have opened the same: so a trial that changes the top model alone is replayed on what was opened, as often as one
likes. A trial that changes how the source layer learns opens other sums, which the parties count.

Every choice is made by labels that were known at the cutoff of the first reported period, of periods before it. What
is reported was therefore seen by no choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, run_alone
from vfl.factors.evaluate import ic_by_period
from vfl.factors.panel import LabelPanel
from vfl.models.split.top import LabelHead
from vfl.models.split.training import walk_forward
from vfl.terms import SplitModel, WalkForward
from vfl.walk.result import TrainingResult
from vfl.walk.schedule import Step, resolved_at

__all__ = ["Judge", "Opened", "Tried", "replay", "reported"]

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Tried:
    """One trial. value: what it was judged by, NaN where it failed. ics: rank ICs (T,), NaN where it has none."""

    stage: Literal["source", "top"]
    number: int
    terms: SplitModel
    state: Literal["complete", "pruned", "failed"]
    value: float
    ics: F64


class Judge:
    """What a search may know: labels of periods before ``first`` that had resolved by its cutoff."""

    def __init__(self, panel: LabelPanel, walk: WalkForward, first: int) -> None:
        resolved = resolved_at(walk, panel.known_from, panel.label, panel.universe)
        before = np.arange(len(panel.label))[:, None] < first
        self.first = first
        self._labels = np.where(panel.universe, panel.label, np.nan)
        self._known = np.where(before & (resolved <= first), panel.label, np.nan)

    def value(self, result: TrainingResult) -> float:
        """Mean rank IC over the periods it may know; NaN where there is none, or where a predicted row has no score."""
        scores = result.scores
        rows = [step.rows for step in result.predictions]
        if not rows or not np.isfinite(scores.reshape(-1)[np.concatenate(rows)]).all():
            return float("nan")
        ics = ic_by_period(scores[: self.first], self._known[: self.first])
        return float(np.nanmean(ics)) if np.isfinite(ics).any() else float("nan")

    def predicted_from(self, steps: Sequence[Step]) -> int:
        """The first predicted period. Raises ValueError where none is left to choose by."""
        periods = [step.period for step in steps if step.kind == "predict"]
        if not periods or np.isnan(self._known[periods[0] :]).all():
            raise ValueError(
                "no label of a predicted period is known by the cutoff of evaluation.first, so there is nothing to "
                "choose by: report from a later period, or lower walk_forward.warmup"
            )
        return periods[0]

    def ics(self, scores: F64) -> F64:
        """Rank ICs of all periods (T,), for the record of a trial; no choice sees them."""
        return ic_by_period(scores, self._labels)


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
