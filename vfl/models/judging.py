"""What the trials of a search may be judged by, and the record of one.

Every choice is made by labels that were known at the cutoff of the first reported period, of periods before it. What
is reported was therefore seen by no choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vfl.factors.evaluate import ic_by_period
from vfl.factors.panel import LabelPanel
from vfl.terms import EnsembleModel, SealedModel, SplitModel, WalkForward
from vfl.walk.result import TrainingResult
from vfl.walk.schedule import Step, resolved_at

__all__ = ["Judge", "Tried"]

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Tried:
    """One trial. value: what it was judged by, NaN where it failed. ics: rank ICs (T,), NaN where it has none.

    Of a whole configuration of a sealed network the ICs are those that opened: Pearson's, with the labels' ranks.
    """

    stage: Literal["source", "top", "configuration", "share"]
    number: int
    terms: SplitModel | SealedModel | EnsembleModel
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

    @property
    def known(self) -> F64:
        """The labels that a choice may know, (T, n), NaN elsewhere."""
        return self._known

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
