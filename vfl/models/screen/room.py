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

_TOGETHER = 8
"""Terminals that are taken out of the table in one pass."""

_ROWS = 128
"""Periods whose distances to all earlier ones are computed at once."""


def new_bits(ranks: I64) -> F64:
    """Bits that are new in a period's ranks (T, n, m) of each terminal, a mean over the periods: float64 (m,).

    The entropy of a rank, no more than that of an order of n; where it is less, that of its change since the earlier
    period that is most like this one, which need not be the last: a column may come back.
    """
    periods, entities, count = ranks.shape
    order = math.lgamma(entities + 1) / math.log(2) / entities
    found = np.zeros(count)
    for first in range(0, count, _TOGETHER):
        # ranks of one terminal lie far apart in memory: several are taken in one pass
        columns = np.ascontiguousarray(np.moveaxis(ranks[..., first : first + _TOGETHER], 2, 0))
        for j, column in enumerate(columns, start=first):
            held = min(float(_entropies(column.reshape(1, -1))[0]), order)
            changed = np.minimum(held, _entropies(_changes(column)))
            found[j] = entities * (held + changed.sum()) / periods
    return found


def _changes(ranks: I64) -> I64:
    """Of ranks (T, n) each period but the first, less the earlier one that is nearest to it: (T - 1, n)."""
    periods, entities = ranks.shape
    largest = int(np.abs(ranks).max(initial=0))
    # sums of products are whole numbers, which float32 holds up to 2**24 and float64 up to 2**53
    small = entities * largest**2 <= 1 << 24
    values: NDArray[np.float32] | F64 = ranks.astype(np.float32) if small else ranks.astype(np.float64)
    squares = np.square(ranks).sum(axis=1).astype(np.float64)
    nearest = np.zeros(max(0, periods - 1), dtype=np.intp)
    for first in range(1, periods, _ROWS):
        last = min(periods, first + _ROWS)
        apart = squares[: last - 1] - 2 * (values[first:last] @ values[: last - 1].T)
        later = np.arange(last - 1) >= np.arange(first, last)[:, None]
        nearest[first - 1 : last - 1] = np.where(later, np.inf, apart).argmin(axis=1)
    changes: I64 = ranks[1:] - ranks[nearest]
    return changes


def _entropies(values: I64) -> F64:
    """Bits of one value, by row of (k, n): float64 (k,)."""
    rows, each = values.shape
    if not values.size:
        return np.zeros(rows)
    shifted = values - values.min()
    width = int(shifted.max()) + 1
    places = shifted + width * np.arange(rows)[:, None]
    counts = np.bincount(places.reshape(-1), minlength=rows * width).reshape(rows, width)
    # -sum of c/n log2(c/n) over the counts c, with c log2(c) looked up
    logs = np.arange(counts.max() + 1, dtype=np.float64)
    logs[1:] *= np.log2(logs[1:])
    bits: F64 = math.log2(each) - logs[counts].sum(axis=1) / each
    return bits


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
