"""How often the most opened row of a run was opened: the number that a factor's metadata and report carry."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from parties.agreement.document import Agreement
from vfl.factors.panel import LabelPanel
from vfl.terms import AnchoredModel, SplitModel
from vfl.walk.schedule import Step, prequential, warm_up_rows

__all__ = ["most_opened"]


def most_opened(agreement: Agreement, steps: Sequence[Step], panel: LabelPanel) -> int:
    """Openings of the row that this run has opened most, as its feature parties count them.

    steps: the schedule that was run. To its steps come a warm start's moments, a search's trainings before it, and
    what valuation and attribution open of predicted rows.
    """
    model, walk = agreement.model, agreement.walk_forward
    if isinstance(model, AnchoredModel):
        return agreement.opened_scores
    counts, valued = np.zeros(panel.label.size, dtype=np.int64), agreement.needed_openings - 1 - model.epochs
    for step in steps:
        counts[step.rows] += 1 + valued * (step.kind == "predict")
    known = (walk, panel.known_from, panel.label, panel.universe)
    if isinstance(model, SplitModel) and model.warm_start == "ridge":
        counts[warm_up_rows(*known)] += 1
    trials = agreement.split_search.source_trials if agreement.split_search is not None else 0
    if trials and isinstance(model, SplitModel):
        for step in prequential(model, *known, 1 + model.epochs, 0):
            if step.period < agreement.reported_from:
                counts[step.rows] += trials
    return int(counts.max())
