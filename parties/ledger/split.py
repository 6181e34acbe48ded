"""A reward pot split into whole minor units by score. Exact: no rounding happens before the last step.

>>> split_reward(100, {"orbit": 2.0, "chatter": 1.0, "till": 0.0})
Split(shares={'orbit': 67, 'chatter': 33, 'till': 0}, rolled_over=0)
>>> split_reward(100, {"orbit": 0.0, "chatter": 0.0})
Split(shares={'orbit': 0, 'chatter': 0}, rolled_over=100)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from parties.errors import LedgerError

__all__ = ["Split", "score", "split_reward"]


@dataclass(frozen=True)
class Split:
    """``shares``: minor units by party; with ``rolled_over`` (what no one earned) they sum to the pot."""

    shares: dict[str, int]
    rolled_over: int


def score(contribution: float, standard_error: float, risk_aversion: float) -> float:
    """s = max(0, phi - lambda * SE): what is paid for is contribution beyond its uncertainty.

    ``standard_error`` NaN means it cannot be told (one period only): nothing is then certain, so with a
    ``risk_aversion`` above 0 the score is 0. Raises :class:`LedgerError` for other values that are no numbers.
    """
    if not math.isfinite(contribution) or standard_error < 0 or not 0 <= risk_aversion < math.inf:
        raise LedgerError(
            f"contribution {contribution!r} with standard error {standard_error!r} at risk aversion {risk_aversion!r} "
            "gives no score; value the run again"
        )
    if risk_aversion == 0:
        return max(0.0, contribution)
    if math.isnan(standard_error):
        return 0.0
    return max(0.0, contribution - risk_aversion * standard_error)


def split_reward(pot: int, scores: Mapping[str, float]) -> Split:
    """Shares in proportion to ``scores`` (finite, not negative) by largest remainder (Hamilton's method).

    Everyone gets the whole units below the exact share; what is left goes one unit each to the
    largest remainders, equal ones in the order of party names. If every score is zero the pot rolls over.
    Raises :class:`LedgerError` for a negative pot, or a score that is negative or not a number.
    """
    if pot < 0:
        raise LedgerError(f"reward pot {pot!r} must not be negative; correct the reward terms")
    for party, value in scores.items():
        if not math.isfinite(value) or value < 0:
            raise LedgerError(
                f"score {value!r} of party {party!r} must be finite and not negative; void the settlement"
            )
    exact = {party: Fraction(value) for party, value in scores.items()}
    total = sum(exact.values())
    if total == 0:
        return Split(dict.fromkeys(scores, 0), pot)
    dues = {party: pot * value / total for party, value in exact.items()}
    shares = {party: math.floor(due) for party, due in dues.items()}
    left = pot - sum(shares.values())
    by_remainder = sorted(dues, key=lambda party: (shares[party] - dues[party], party))
    for party in by_remainder[:left]:
        shares[party] += 1
    assert sum(shares.values()) == pot, "a split hands out the whole pot"
    return Split(shares, 0)
