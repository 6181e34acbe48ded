"""The average of two models' scores at their ranks within a period, and the choice of a share by earlier periods."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vfl.factors.evaluate import ic_by_period

__all__ = ["averaged", "best_share", "ranked", "share_ics"]

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


def averaged(network: F64, trees: F64, share: float) -> F64:
    """Scores (T, n): ``share`` of the trees' rank and the rest of the network's. Raises ValueError for other rows."""
    if not np.array_equal(np.isnan(network), np.isnan(trees)):
        raise ValueError("the network and the trees scored different rows")
    made: F64 = (1 - share) * ranked(network) + share * ranked(trees)
    return made


def share_ics(network: F64, trees: F64, shares: Sequence[float], known: F64) -> F64:
    """Rank ICs (shares, T) of each share's average with ``known`` labels, NaN where a period has too few."""
    return np.stack([ic_by_period(averaged(network, trees, share), known) for share in shares])


def best_share(ics: F64) -> int:
    """The place of the share with the largest mean IC, the first of equals. Raises ValueError where none has any."""
    counted = np.isfinite(ics).all(axis=0)
    if not counted.any():
        raise ValueError(
            "no period before evaluation.first has enough rows with labels to choose model.trees_share by: report from "
            "a later period, or name one share"
        )
    return int(np.argmax(ics[:, counted].mean(axis=1)))
