"""Room for the sums of a screen: how many a party's terminals may enter before rows could be solved for.

Each sum is an equation in the period's rows, and a label party that keeps to the protocol knows its coefficients: the
label, or the label times a terminal of its own. So with as many sums as rows it solves for them, of a column that never
changes over the periods together. Held against each other are bits: those that sums tell, and those that are new in a
period's ranks.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from psi.flow import LocalProtocolError

__all__ = ["LARGEST_SHARE", "SUM_BITS", "check_room", "new_bits"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

SUM_BITS = 16
"""Bits that a sum tells an honest label party: it is known to 2**-15 or so of its usual deviation."""

LARGEST_SHARE = 0.6
"""Of what is new in ranks, the most that sums may tell: as for openings (docs/protocols/openings.md)."""


def new_bits(ranks: I64) -> F64:
    """Bits that are new in a period's ranks (T, n, m) of each terminal, a mean over the periods: float64 (m,).

    The entropy of a rank, no more than that of an order of n, in the first period; later that of its change, where it
    is less.
    """
    periods, entities, count = ranks.shape
    order = math.lgamma(entities + 1) / math.log(2) / entities
    found = np.zeros(count)
    for j in range(count):
        held = min(_entropy(ranks[..., j]), order)
        change = min(held, _entropy(np.diff(ranks[..., j], axis=0))) if periods > 1 else held
        found[j] = entities * (held + (periods - 1) * change) / periods
    return found


def _entropy(values: I64) -> float:
    _, counts = np.unique(values, return_counts=True)
    share = counts / counts.sum()
    return float(-(share * np.log2(share)).sum())


def check_room(ranks: I64, own: int, others: int, before: int = 0) -> None:
    """Raise LocalProtocolError where the sums of a period could be solved for its ranks (T, n, m).

    own: terminals of the label party, whose products with each of these it knows but for these. others: terminals of
    the other feature parties; a sum of two parties' counts half for each. before: label vectors that these rows entered
    the sums of already.
    """
    entities, count, times = ranks.shape[1], ranks.shape[2], 1 + before
    room = LARGEST_SHARE * new_bits(ranks) / (SUM_BITS * times)
    slow = int((room < 1 + own).sum())
    if slow:
        raise LocalProtocolError(
            f"in {entities} rows of a period too little is new in {slow} of this party's {count} terminals: each is in "
            f"{1 + own} sums with what the label party knows, and the label party could solve for their values. Leave "
            "columns that hardly change out of [party.terminals], lower model.terminals, or screen more entities"
        )
    most = int(2 * (room.mean() - 1 - own))
    if others > most:
        raise LocalProtocolError(
            f"the other parties' {others} terminals make more sums with this party's than its {entities} rows of a "
            f"period hide, which are {most}: lower model.terminals, or screen more entities"
        )
