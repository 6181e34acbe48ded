"""The ring Z_p of the sealed models, p one prime of 59 bits: fixed point, shares, products of full-range elements.

p = 1 mod 2N for N = 8192, so a BFV ciphertext of that degree multiplies 8192 elements one by one (slot mode); it is
the prime that SEAL's ``PlainModulus.Batching(8192, 59)`` gives, pinned here. Elements are uint64 arrays below p.
An element stands for its representative in [-(p-1)/2, (p-1)/2], and a *share* pair sums to it mod p.

How a product of two full-range elements is reduced: the quotient by p is estimated in float64 and subtracted in 64-bit
integers that wrap. The float is off by less than one unit while the quotient stays below 2**45, and the wrapped
difference is exact because the true remainder fits 63 bits. So one factor is cut into limbs of 29 and 30 bits.
No Python integer and no 128-bit word is needed. Source: quotients in floating point as in van der Hoeven, Lecerf and
Quintin, "Modular SIMD arithmetic in Mathemagix", ACM TOMS 43(1), 2016; in two steps, since p is wider than a mantissa.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vfl.arithmetic.bit_packing import pack_bits, packed_size, unpack_bits
from vfl.arithmetic.randomness import SecretStream

__all__ = ["PRIME", "PRIME_RING", "PrimeRing"]

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

PRIME = 576460752303210497
"""2**59 - 212991: the largest prime below 2**59 that is 1 mod 16384."""

_P = np.int64(PRIME)
_HALF = (PRIME - 1) // 2
_INVERSE = 1.0 / PRIME
_LIMB = 30
_LIMB_SHIFT, _LIMB_MASK, _SIGN_SHIFT = np.int64(_LIMB), np.int64((1 << _LIMB) - 1), np.int64(63)
_BLOCK = 8192
"""Elements multiplied at a time, so that the intermediate arrays stay in cache."""
_SMALL_BITS = 44
"""Constants stay below 2**44, so that the estimated quotient is off by less than one."""


def _settled(values: I64) -> U64:
    """Elements from integers in (-p, p); ``values`` is overwritten."""
    values += (values >> _SIGN_SHIFT) & _P
    return values.view(np.uint64)


def _multiply(a: I64, b: I64, out: I64) -> None:
    """out = a * b mod p of flat arrays of elements, block by block with two scratch arrays of each type."""
    size = min(len(a), _BLOCK)
    floats, integers = np.empty((2, size)), np.empty((2, size), dtype=np.int64)
    for start in range(0, len(a), _BLOCK):
        part = slice(start, start + _BLOCK)
        x, y, result = a[part], b[part], out[part]
        (rough, other), (limb, quotient) = floats[:, : len(x)], integers[:, : len(x)]
        np.copyto(rough, x)
        rough *= _INVERSE
        np.right_shift(y, _LIMB_SHIFT, out=limb)
        np.copyto(other, limb)
        other *= rough
        np.copyto(quotient, other, casting="unsafe")
        quotient *= _P
        np.multiply(limb, x, out=result)
        result -= quotient  # high limb of b times a, within (-p, 2p)
        np.bitwise_and(y, _LIMB_MASK, out=limb)
        np.copyto(other, limb)
        rough *= other
        np.copyto(other, result)
        other *= _INVERSE * (1 << _LIMB)
        rough += other
        np.rint(rough, out=rough)
        np.copyto(quotient, rough, casting="unsafe")
        quotient *= _P
        result <<= _LIMB_SHIFT
        limb *= x
        result += limb
        result -= quotient  # within p/2 and a little
        np.right_shift(result, _SIGN_SHIFT, out=quotient)
        quotient &= _P
        result += quotient


@dataclass(frozen=True)
class PrimeRing:
    """Z_p. It has no settings: :data:`PRIME_RING` is the one there is."""

    @property
    def modulus(self) -> int:
        return PRIME

    @property
    def bits(self) -> int:
        """Bits of an element."""
        return PRIME.bit_length()

    @property
    def width(self) -> int:
        """Bytes of an element packed to the byte (:func:`vfl.arithmetic.ring.pack`)."""
        return (self.bits + 7) // 8

    def wrap(self, values: I64) -> U64:
        """Elements of signed integers, any int64."""
        return np.mod(values, _P).view(np.uint64)

    def signed(self, elements: U64) -> I64:
        """The representative in [-(p-1)/2, (p-1)/2]."""
        values = elements.astype(np.int64)
        values -= (values > np.int64(_HALF)) * _P
        return values

    def add(self, a: U64, b: U64) -> U64:
        return _settled(a.view(np.int64) + b.view(np.int64) - _P)

    def sub(self, a: U64, b: U64) -> U64:
        return _settled(a.view(np.int64) - b.view(np.int64))

    def neg(self, a: U64) -> U64:
        return np.where(a == 0, a, np.uint64(PRIME) - a)

    def sum(self, elements: U64, axis: int) -> U64:
        """Sum over one axis of at most 2**34 elements."""
        low = (elements & np.uint64((1 << _LIMB) - 1)).sum(axis=axis, dtype=np.uint64, keepdims=True)
        high = (elements >> np.uint64(_LIMB)).sum(axis=axis, dtype=np.uint64, keepdims=True)
        total = self.add(self.scale(high % np.uint64(PRIME), 1 << _LIMB), low % np.uint64(PRIME))
        return total.squeeze(axis)

    def mul(self, a: U64, b: U64) -> U64:
        """Elementwise a * b mod p of full-range elements; shapes broadcast as numpy's."""
        shape = np.broadcast_shapes(a.shape, b.shape)
        left = np.broadcast_to(a, shape).reshape(-1).view(np.int64)
        right = np.broadcast_to(b, shape).reshape(-1).view(np.int64)
        out = np.empty(len(left), dtype=np.int64)
        _multiply(left, right, out)
        return out.view(np.uint64).reshape(shape)

    def scale(self, a: U64, constant: int) -> U64:
        """a times a public constant, \\|constant\\| < 2**44. Raises ValueError beyond: use :meth:`mul`."""
        if abs(constant) >> _SMALL_BITS:
            raise ValueError(f"a constant of {abs(constant).bit_length()} bits is not small: multiply elementwise")
        return self._scaled(a.view(np.int64), constant, None)

    def _scaled(self, a: I64, constant: int, more: I64 | None) -> U64:
        """a * constant + more mod p, \\|more\\| < 2**54."""
        rough = a.astype(np.float64)
        rough *= constant * _INVERSE
        np.rint(rough, out=rough)
        quotient = rough.astype(np.int64)
        quotient *= _P
        result = a * np.int64(constant)
        result -= quotient
        if more is not None:
            result += more
        return _settled(result)

    def matmul(self, left: I64, right: U64) -> U64:
        """Small plaintext integers (B, d) times elements (d, h), mod p.

        Exact through float64 products on limbs as wide as the sizes allow: numpy has no fast integer product.
        Raises ValueError when \\|left\\| times d leaves fewer than 8 bits for a limb (45 bits together).
        """
        largest = int(np.abs(left).max()) if left.size else 0
        width = 53 - largest.bit_length() - max(left.shape[1] - 1, 0).bit_length()
        if width < 8:
            raise ValueError("left operand too large for an exact product")
        width = min(width, _LIMB)
        limbs, columns = math.ceil(self.bits / width), right.shape[1]
        parts = np.empty((len(right), limbs * columns))
        for limb in range(limbs):
            part = (right >> np.uint64(width * limb)) & np.uint64((1 << width) - 1)
            parts[:, limb * columns : (limb + 1) * columns] = part
        products = (left.astype(np.float64) @ parts).astype(np.int64)
        result = np.zeros((left.shape[0], columns), dtype=np.int64)
        for limb in reversed(range(limbs)):
            more = products[:, limb * columns : (limb + 1) * columns]
            result = self._scaled(result, 1 << width, more).view(np.int64)
        return result.view(np.uint64)

    def encode(self, values: F64, fractional_bits: int, *, stream: SecretStream | None = None) -> U64:
        """Fixed point: nearest, or stochastic rounding when a stream is given. Refuses NaN, Inf, overflow."""
        scaled = np.ldexp(values, fractional_bits)
        if not np.isfinite(scaled).all() or (scaled.size and float(np.abs(scaled).max()) >= _HALF):
            raise ValueError("a value is not finite or does not fit the ring")
        whole = np.floor(scaled + stream.unit(scaled.size).reshape(scaled.shape)) if stream else np.rint(scaled)
        return self.wrap(whole.astype(np.int64))

    def decode(self, elements: U64, fractional_bits: int) -> F64:
        """float64 values of fixed-point elements."""
        return np.ldexp(self.signed(elements).astype(np.float64), -fractional_bits)

    def uniform(self, stream: SecretStream, shape: tuple[int, ...]) -> U64:
        """Independent uniform elements."""
        return stream.below(PRIME, math.prod(shape)).reshape(shape)

    def pack(self, elements: U64) -> bytes:
        """Wire bytes, 59 bits an element, row-major."""
        return pack_bits(elements, self.bits)

    def unpack(self, data: bytes, count: int) -> U64:
        """The inverse of :meth:`pack`; MalformedError unless ``count`` elements below p are there."""
        return unpack_bits(data, self.bits, count, PRIME)

    def packed_size(self, count: int) -> int:
        """Bytes of ``count`` packed elements."""
        return packed_size(self.bits, count)


PRIME_RING = PrimeRing()
