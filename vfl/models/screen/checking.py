"""Whether sums that a label party shows are those of its labels and of terminals that an auditor is shown.

A label party that put something else in the place of its labels does not know the sums of its labels, and cannot make
them up without the terminals.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from vfl.models.screen.label import Screened
from vfl.models.screen.numbers import Window
from vfl.models.screen.twin import screened_in_the_clear

__all__ = ["sum_faults"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

_WRAPS = 58
_SPARE = 8


def sum_faults(labels: I64, own: I64, terminals: Mapping[str, I64], shown: Screened) -> Iterator[str]:
    """What does not fit, in words that follow the label party's name; nothing where all fits.

    labels: int64 (T, n), as the sums take them. own: the label party's terminals (T, n, k). terminals: of each feature
    party that shows its own, in agreed order, (T, n, m). Raises KeyError where sums of one of them are not shown.
    """
    plain = screened_in_the_clear(labels, terminals, own)
    rows = labels.shape[1]
    one, two = Window(rows, 1), Window(rows, 2)
    for name in terminals:
        yield from _differs(f"{name}'s terminals", shown.alone[name], plain.alone[name], one)
        yield from _differs(f"{name}'s terminals and its own", shown.own[name], plain.own[name], two)
    for pair in combinations(terminals, 2):
        yield from _differs(f"{pair[0]}'s and {pair[1]}'s terminals", shown.pairs[pair], plain.pairs[pair], two)


def _differs(what: str, shown: F64, plain: F64, window: Window) -> Iterator[str]:
    if shown.shape != plain.shape:
        yield f"shows sums of {what} of another shape than the terminals have"
        return
    there = np.isfinite(shown)
    off = there & (np.abs(np.where(there, shown, 0.0) - plain) > 2.0**window.drop)
    if off.any():
        periods = np.flatnonzero(off.reshape(len(off), -1).any(axis=1))
        yield (
            f"shows {int(off.sum())} of {shown.size} sums of {what} that its committed labels do not have, in "
            f"{len(periods)} of {len(shown)} periods"
        )
    left = int((~there).sum())
    if left > _SPARE + 4 * shown.size * 2.0 ** (window.bound - _WRAPS):
        yield f"leaves out {left} of {shown.size} sums of {what}, where a window wraps far more seldom"
