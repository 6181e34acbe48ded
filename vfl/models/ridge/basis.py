"""The secret basis of a feature party's columns, and the precision at which they enter a moment."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from vfl.arithmetic.randomness import SecretStream
from vfl.protocols.moments import REACH

__all__ = ["moment_bits", "secret_rotation"]

F64 = NDArray[np.float64]

_FEWEST_BITS, _MOST_BITS = 10, 16
"""Fractional bits of a column that enters a moment."""


def moment_bits(rows: int, ring_bits: int) -> int:
    """Fractional bits at which columns enter a block of ``rows`` rows: as many as surely fit the ring, 16 at most.

    Raises ValueError when fewer than 10 fit: |sum| <= rows * REACH**2 * 4**bits must stay below 2**(ring_bits - 1).
    """
    room = ring_bits - 1 - math.log2(rows * REACH**2)
    bits = min(math.ceil(room / 2) - 1, _MOST_BITS)
    if bits < _FEWEST_BITS:
        raise ValueError(
            f"moments of {rows} rows do not fit a ring of {ring_bits} bits at {_FEWEST_BITS} fractional bits: "
            "raise fixed_point.ring_bits or take fewer rows"
        )
    return bits


def secret_rotation(stream: SecretStream, size: int) -> F64:
    """A uniformly random orthogonal matrix (size, size).

    QR of Gaussians with the signs of R's diagonal (Mezzadri, "How to generate random matrices from the
    classical compact groups", Notices of the AMS 54, 2007).
    """
    q, r = np.linalg.qr(stream.gaussian(size * size).reshape(size, size))
    turned: F64 = q * np.sign(np.diag(r))
    return turned
