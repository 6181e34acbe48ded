"""Two factors over the same periods: by how much one's rank ICs exceed the other's, tested as a paired mean."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vfl.factors.hac import HacMean, hac_mean

__all__ = ["paired_difference"]


def paired_difference(
    first: Mapping[str, float | None], second: Mapping[str, float | None], *, horizon: int
) -> HacMean:
    """Mean of second - first over the periods that both have, in correlation, with its Newey-West t.

    ``horizon`` is the longer of the labels' horizons, in periods. Without a common period the mean is NaN.
    """
    shared = sorted(first.keys() & second.keys())
    pairs = ((first[period], second[period]) for period in shared)
    gained = [two - one for one, two in pairs if one is not None and two is not None]
    return hac_mean(np.array(gained, dtype=np.float64), horizon=horizon)
