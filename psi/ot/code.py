"""The linear code under the oblivious PRF: BCH, 511 bits long, 76 of them free, any two words 171 apart or more.

Linear, so that a table of code words can be checked by random sums of its rows.
Source: Bose and Ray-Chaudhuri, Information and Control 3(1), 1960; as in Orru, Orsini and Scholl, CT-RSA 2017
(ePrint 2016/933), section 5.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from psi.ot.fixed_key import Blocks

__all__ = ["DISTANCE", "MESSAGE_BITS", "WIDTH", "byte_words", "generator", "masked"]

LENGTH = 511
WIDTH = 512
"""Bits of a row: the code's, and one that is zero in every word."""

DISTANCE = 171
MESSAGE_BITS = 76
_FIELD = 0b1000010001  # x^9 + x^4 + 1, primitive


def masked(hashes: Blocks) -> Blocks:
    """The first 76 bits of each block: a message of the code."""
    made = hashes.copy()
    made[:, 1] &= np.uint64((1 << (MESSAGE_BITS - 64)) - 1)
    return made


@cache
def generator() -> int:
    """The generator polynomial, bit i for x^i: its roots are the first 170 powers of a primitive element."""
    powers = [1]
    for _ in range(LENGTH - 1):
        following = powers[-1] << 1
        powers.append(following ^ _FIELD if following >> 9 else following)
    logs = {value: exponent for exponent, value in enumerate(powers)}

    def times(one: int, other: int) -> int:
        return powers[(logs[one] + logs[other]) % LENGTH] if one and other else 0

    roots = {exponent * 2**turn % LENGTH for exponent in range(1, DISTANCE) for turn in range(9)}
    polynomial = [1]  # lowest first, over the field of 512
    for root in sorted(roots):
        shifted = [0, *polynomial]
        scaled = [*(times(one, powers[root]) for one in polynomial), 0]
        polynomial = [one ^ other for one, other in zip(shifted, scaled, strict=True)]
    assert set(polynomial) <= {0, 1}, "conjugate roots give coefficients in the field of two"
    return sum(bit << place for place, bit in enumerate(polynomial))


@cache
def byte_words() -> Blocks:
    """Code words of each byte of a message: (10, 256, 8) words, to be added up."""
    sums = np.zeros((10, 256, WIDTH // 64), dtype=np.uint64)
    for bit in range(MESSAGE_BITS):
        word = np.frombuffer((generator() << bit).to_bytes(WIDTH // 8, "little"), dtype="<u8")
        low = 1 << bit % 8
        sums[bit // 8, low : 2 * low] = sums[bit // 8, :low] ^ word
    sums.flags.writeable = False
    return sums
