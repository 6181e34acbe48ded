"""The average of several models' scores at their ranks within a period, and the choice of one by earlier periods."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vfl.factors.evaluate import ic_by_period

__all__ = ["average_ics", "averaged", "best_average", "ranked"]

F64 = NDArray[np.float64]


def ranked(scores: F64) -> F64:
    """Ranks (T, n) within each period, equal scores sharing theirs, from -0.5 to 0.5 about 0; NaN stays."""
    from scipy.stats import rankdata  # the label party ranks; a feature party's node starts without it

    found = np.full(scores.shape, np.nan)
    for period, row in enumerate(scores):
        here = np.isfinite(row)
        count = int(here.sum())
        if count:
            found[period, here] = (rankdata(row[here]) - (count + 1) / 2) / count
    return found


def averaged(scores: Sequence[F64], weights: Sequence[float]) -> F64:
    """Scores (T, n): of each member its weight of its rank. Raises ValueError where members scored other rows."""
    if any(not np.array_equal(np.isnan(scores[0]), np.isnan(one)) for one in scores[1:]):
        raise ValueError("the members of the ensemble scored different rows")
    made: F64 = np.sum([weight * ranked(one) for one, weight in zip(scores, weights, strict=True)], axis=0)
    return made


def average_ics(scores: Sequence[F64], averages: Sequence[Sequence[float]], known: F64) -> F64:
    """Rank ICs (averages, T) of each average with ``known`` labels, NaN where a period has too few."""
    return np.stack([ic_by_period(averaged(scores, weights), known) for weights in averages])


def best_average(ics: F64) -> int:
    """The place of the average with the largest mean IC, the first of equals. Raises ValueError where none has any."""
    counted = np.isfinite(ics).all(axis=0)
    if not counted.any():
        raise ValueError(
            "no period before evaluation.first has enough rows with labels to choose among averages by: report from a "
            "later period, or name one of model.trees_share or model.weights"
        )
    return int(np.argmax(ics[:, counted].mean(axis=1)))
