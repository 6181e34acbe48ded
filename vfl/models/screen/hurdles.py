"""What a formula of a screen would have to reach, known before anything opens: from the number of trials alone."""

from __future__ import annotations

import math

__all__ = ["lone_t"]

_EULER = 0.5772156649015329


def lone_t(trials: int, level: float, periods: int) -> float:
    """The absolute t of a formula that passes Benjamini-Hochberg-Yekutieli although no other one does.

    trials: all formulas. periods: of the half that formulas are chosen on. Others that pass as well make it less. inf
    where there are fewer than two periods or no trial.
    """
    if trials < 1 or periods < 2:
        return math.inf
    from scipy import stats  # slow to load, and a coordinator may never need it

    harmonic = math.fsum(1 / i for i in range(1, trials + 1)) if trials < 100_000 else math.log(trials) + _EULER
    return float(stats.t.isf(level / (trials * harmonic) / 2, periods - 1))
