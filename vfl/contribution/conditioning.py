"""What a coalition adds to the label party's own features, and what it is worth without them.

The masked way scores a coalition by the one model that was trained with everybody. That model splits the weight of a
signal over all columns that carry it, so a party that brings a copy of one of the label party's columns would be paid
for weight that the label party's column had to give up. So the label party corrects each coalition's score by its own
columns, by a ridge on labels that have resolved: once its own columns may take their weight back, the copy is
worth nothing. The score's weight is free and the corrections start from none, so that few labels change little. Only
values that the label party holds already go in.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vfl.factors.panel import LabelPanel
from vfl.terms import WalkForward
from vfl.walk.schedule import resolved_at

__all__ = ["PRIOR_ROWS", "ROWS_PER_COLUMN", "refit_with_own", "without_own"]

Floats = NDArray[np.float64]

PRIOR_ROWS = 500
"""Rows that the belief in no correction counts for: a column that explains 0.2 % of the label is worth as many."""

ROWS_PER_COLUMN = 10
"""Rows with a resolved label that a blend needs for each of its columns."""


def refit_with_own(scores: Floats, panel: LabelPanel, walk: WalkForward) -> Floats:
    """A coalition's scores (T, n) blended with the label party's own features, walk-forward: (T, n).

    The blend of period t is a ridge regression of the label on [score, own features], the score standardised per
    period and not penalised, over rows scored earlier whose labels were known by t's cutoff, with horizon and embargo
    as in training. Periods before there are enough such rows are NaN for every coalition alike. Without own features
    the scores stay.
    """
    own = panel.features.values
    if not own.shape[-1]:
        return scores
    scored = np.isfinite(scores)
    usable = np.where(scored, resolved_at(walk, panel.known_from, panel.label, panel.universe), len(scores))
    inputs = np.concatenate([_standardised(scores)[..., None], own], axis=-1)
    columns = inputs.shape[-1]
    square, product, rows = np.zeros((columns, columns)), np.zeros(columns), 0
    # a constant score needs some penalty too, or its weight is undefined
    penalty = np.diag([1e-3, *[float(PRIOR_ROWS)] * (columns - 1)])
    blended = np.full_like(scores, np.nan)
    seen = -1
    for period in np.flatnonzero(scored.any(axis=1)):
        fresh = (usable > seen) & (usable <= period)
        seen = int(period)
        x, y = inputs[fresh], panel.label[fresh]
        square, product, rows = square + x.T @ x, product + x.T @ y, rows + len(y)
        if rows >= ROWS_PER_COLUMN * columns:
            weights = np.linalg.solve(square + penalty, product)
            blended[period, scored[period]] = inputs[period, scored[period]] @ weights
    return blended


def without_own(panel: LabelPanel) -> LabelPanel:
    """The panel with the label party's own features at 0, the cross-sectional mean: they tell nothing."""
    return replace(panel, features=replace(panel.features, values=np.zeros_like(panel.features.values)))


def _standardised(scores: Floats) -> Floats:
    """Each period's scores with mean 0 and deviation 1; 0 where they are constant or absent."""
    result = np.zeros_like(scores)
    for period, values in enumerate(scores):
        there = np.isfinite(values)
        if there.any():
            centred = values[there] - values[there].mean()
            spread = float(centred.std())
            if spread > 1e-12 * max(float(np.abs(values[there]).max()), 1e-300):
                result[period, there] = centred / spread
    return result
