"""The numbers that a screen opens: how large they are, and how 24 bits of each are cut out of a share and read.

A number x is shared as A + B = x mod p, A at the label party. The owner sends bits ``drop`` to ``drop + 23`` of B. The
label party knows that |x| < 2**bound, so B lies in a window of 2**(bound + 1) around p - A, and these bits say where.
What is below them is lost, and no more than 24 bits can arrive, whatever the label party encrypted. Where A lies within
2**bound of 0 or p the window wraps: such a number is left out, once in 2**(58 - bound), 2**16 for 500 rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from psi.flow import LocalProtocolError
from vfl.arithmetic.bit_packing import pack_bits, unpack_bits
from vfl.arithmetic.prime_ring import PRIME
from vfl.models.screen.opens import SCREEN_BITS

__all__ = ["FEWEST_LABELS", "LABEL_TOP", "RANK_TOP", "Window", "label_integers"]

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

RANK_TOP = 127
"""A terminal is a rank of a period in 8 bits: -127 to 127, 0 where it is missing."""

LABEL_TOP = 2**19 - 1
"""A label is a rank of a period in 20 bits."""

FEWEST_LABELS = 10
"""Labels that a period needs to enter the sums: one of two labels would be the difference of two rows."""

_WIDEST = 50


@dataclass(frozen=True)
class Window:
    """Of sums over ``rows`` rows of a label and ``factors`` terminals.

    All are below 2**bound in absolute value, and ``drop`` low bits of each are lost.
    """

    rows: int
    factors: int

    def __post_init__(self) -> None:
        if self.bound > _WIDEST:
            raise LocalProtocolError(
                f"sums of {self.factors} terminals over {self.rows} entities of a period do not fit the ring: "
                "screen fewer entities"
            )

    @property
    def bound(self) -> int:
        most: int = LABEL_TOP * RANK_TOP**self.factors * max(self.rows, 1)
        return most.bit_length()

    @property
    def drop(self) -> int:
        return max(0, self.bound + 2 - SCREEN_BITS)

    def cut(self, share: U64) -> bytes:
        """What the owner sends of its shares, ``SCREEN_BITS`` bits each."""
        kept = (share.reshape(-1) >> np.uint64(self.drop)) & np.uint64((1 << SCREEN_BITS) - 1)
        return pack_bits(kept, SCREEN_BITS)

    def read(self, sent: bytes, share: U64) -> F64:
        """The sums, in the shape of the label party's ``share``, NaN where the window wraps.

        Raises MalformedError where ``sent`` is not of as many numbers.
        """
        kept = unpack_bits(sent, SCREEN_BITS, share.size, 1 << SCREEN_BITS).astype(np.int64).reshape(share.shape)
        mine, reach, top = share.astype(np.int64), np.int64(1 << self.bound), np.int64(1 << SCREEN_BITS)
        low = (np.int64(PRIME) - mine - reach) >> np.int64(self.drop)
        theirs = (low + np.mod(kept - low, top)) << np.int64(self.drop)
        middle = (1 << self.drop) / 2 if self.drop else 0.0
        found = (theirs - np.int64(PRIME) + mine).astype(np.float64) + middle
        return np.where((mine > reach) & (mine < np.int64(PRIME) - reach), found, np.nan)


def label_integers(label: F64, known: NDArray[np.bool_]) -> I64:
    """Labels (T, n) as the sums take them: ranks of a period among those ``known``, -LABEL_TOP to LABEL_TOP, else 0.

    A period with fewer than FEWEST_LABELS has none.
    """
    from scipy.stats import rankdata  # the label party alone ranks labels, and this takes seconds to load

    made = np.zeros(label.shape, dtype=np.int64)
    for row, here, out in zip(label, known, made, strict=True):
        count = int(here.sum())
        if count >= FEWEST_LABELS:
            centred = (2 * rankdata(row[here]) - (count + 1)) / (count - 1)
            out[here] = np.rint(centred * LABEL_TOP).astype(np.int64)
    return made
