"""Masks uniform in R_q and the evaluator's shares of them: residues of r, and round(t r / q) mod t, in 64-bit words.

q is the product of two primes. With a uniform mod q1 and k uniform mod q2, r = a + q1 k is uniform mod q, its residues
are a and a + q1 k mod q2, and t r / q = t k / q2 + t a / (q1 q2): two products of 64-bit words.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vfl.arithmetic.randomness import SecretStream

__all__ = ["MaskSource", "multiply_high", "reduce_once"]

U64 = NDArray[np.uint64]

_HALF_WORD, _LOW = np.uint64(32), np.uint64(0xFFFFFFFF)
_TOP = np.uint64(63)


def multiply_high(a: U64, b: int) -> U64:
    """The upper 64 bits of a 64 by 64 bit product."""
    b0, b1 = np.uint64(b & 0xFFFFFFFF), np.uint64(b >> 32)
    a0, a1 = a & _LOW, a >> _HALF_WORD
    cross = a0 * b0
    cross >>= _HALF_WORD
    cross += a1 * b0
    a0 *= b1
    a0 += cross & _LOW
    a0 >>= _HALF_WORD
    cross >>= _HALF_WORD
    a1 *= b1
    a1 += cross
    a1 += a0
    return a1


def reduce_once(values: U64, bound: np.uint64 | U64) -> None:
    """Bring values below twice the bound, which is below 2**63, to below it, in place.

    A difference below zero has wrapped to more than the value; a choice of elements, numpy's ``where``, takes six times
    as long.
    """
    np.minimum(values, values - bound, out=values)


class MaskSource:
    """Draws masks for the ciphertext modulus q = q1 q2 and plaintext modulus t <= 3 q2 / 4.

    The fraction of t r / q is off by less than 2**-60, so a share is the rounded one but where the fraction is that
    close to one half.
    """

    def __init__(self, primes: tuple[int, ...], modulus: int) -> None:
        first, second = primes
        assert 4 * modulus <= 3 * second, "the fraction would not fit one word"
        self._first, self._second, self._modulus = first, second, modulus
        self._shift = np.uint64(64 - first.bit_length())
        whole = (modulus << 128) // second
        self._high, self._low = whole >> 64, whole & ((1 << 64) - 1)
        self._rest = (modulus << (64 + first.bit_length())) // (first * second)
        self._factor = first % second
        self._shoup = (self._factor << 64) // second
        self._inverse = pow(first, -1, second)
        self._inverse_shoup = (self._inverse << 64) // second

    def draw(self, stream: SecretStream, count: int) -> tuple[U64, U64]:
        """Residues (2, count) of ``count`` independent uniform r, and round(t r / q) mod t for each."""
        a, k = stream.below(self._first, count), stream.below(self._second, count)
        residues = np.empty((2, count), dtype=np.uint64)
        residues[0] = a
        residues[1] = self._second_residue(a, k)
        return residues, self._share(a, k)

    def rounded(self, residues: U64) -> U64:
        """round(t x / q) mod t of each x with these residues (2, count), as a share of its own mask is rounded."""
        a, k = residues[0], self._in_second(residues[0])
        np.subtract(np.uint64(self._second), k, out=k)
        k += residues[1]
        reduce_once(k, np.uint64(self._second))
        return self._share(a, self._times(k, self._inverse, self._inverse_shoup))

    def _in_second(self, a: U64) -> U64:
        """a mod q2, an array of its own."""
        return a.copy() if self._first <= self._second else a % np.uint64(self._second)

    def _times(self, values: U64, factor: int, shoup: int) -> U64:
        """Shoup's product by a constant, mod q2."""
        second = np.uint64(self._second)
        value = values * np.uint64(factor)
        value -= multiply_high(values, shoup) * second
        reduce_once(value, second)
        return value

    def _second_residue(self, a: U64, k: U64) -> U64:
        """a + q1 k mod q2."""
        value = self._times(k, self._factor, self._shoup)
        value += self._in_second(a)
        reduce_once(value, np.uint64(self._second))
        return value

    def _share(self, a: U64, k: U64) -> U64:
        """round(t k / q2 + t a / (q1 q2)) mod t."""
        fraction = multiply_high(a << self._shift, self._rest)
        fraction += multiply_high(k, self._low)
        low = k * np.uint64(self._high)
        low += fraction
        share = multiply_high(k, self._high)
        share += low < fraction
        low >>= _TOP
        share += low
        reduce_once(share, np.uint64(self._modulus))
        return share
