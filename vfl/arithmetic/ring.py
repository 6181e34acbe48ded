"""The ring Z_t, t = 2**bits: fixed point, shares and their packing.

Ring elements are uint64 arrays below t. A value's two's complement residue stands for it, and a
*share* pair sums to it mod t. Addition, subtraction and products with small plaintext integers are
local; nothing here is ever truncated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.received import MalformedError

__all__ = ["Ring", "encode_features", "pack", "unpack"]

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Ring:
    """Z_t with t = 2**bits, 2 <= bits <= 63."""

    bits: int

    @property
    def modulus(self) -> int:
        return 1 << self.bits

    @property
    def _mask(self) -> np.uint64:
        return np.uint64(self.modulus - 1)

    @property
    def width(self) -> int:
        """Bytes of a packed element."""
        return (self.bits + 7) // 8

    def wrap(self, values: I64) -> U64:
        """Residues of signed integers."""
        return values.astype(np.uint64) & self._mask

    def signed(self, elements: U64) -> I64:
        """The representative in [-t/2, t/2)."""
        shift = np.uint64(64 - self.bits)
        return (elements << shift).astype(np.int64) >> np.int64(64 - self.bits)

    def add(self, a: U64, b: U64) -> U64:
        return (a + b) & self._mask

    def sub(self, a: U64, b: U64) -> U64:
        return (a - b) & self._mask

    def reduced(self, elements: U64) -> U64:
        """Elements of a larger ring Z_(2**k) in this one: sums of shares stay the same mod 2**bits."""
        return elements & self._mask

    def neg(self, a: U64) -> U64:
        return (np.uint64(0) - a) & self._mask

    def scale(self, a: U64, constant: int) -> U64:
        """a times a public integer of any size."""
        return (a * np.uint64(constant % self.modulus)) & self._mask

    def matmul(self, left: I64, right: U64) -> U64:
        """Small plaintext integers (B, d) times elements (d, h), mod t.

        Exact through three float64 products on 18-bit limbs when |left| < 2**16 and d < 2**19;
        numpy has no fast integer product.
        """
        if left.size and (int(np.abs(left).max()) >= 1 << 16 or left.shape[1] >= 1 << 19):
            raise ValueError("left operand too large for an exact product")
        result = np.zeros((left.shape[0], right.shape[1]), dtype=np.uint64)
        plain = left.astype(np.float64)
        for limb in range(0, self.bits, 18):
            part = ((right >> np.uint64(limb)) & np.uint64((1 << 18) - 1)).astype(np.float64)
            result += (plain @ part).astype(np.int64).astype(np.uint64) << np.uint64(limb)
        return result & self._mask

    def encode(self, values: F64, fractional_bits: int, *, stream: SecretStream | None = None) -> U64:
        """Fixed point: nearest, or stochastic rounding when a stream is given. Refuses NaN, Inf, overflow."""
        scaled = np.ldexp(values, fractional_bits)
        if not np.isfinite(scaled).all() or (scaled.size and float(np.abs(scaled).max()) >= 2.0 ** (self.bits - 1)):
            raise ValueError("a value is not finite or does not fit the ring")
        whole = np.floor(scaled + stream.unit(scaled.size).reshape(scaled.shape)) if stream else np.rint(scaled)
        return self.wrap(whole.astype(np.int64))

    def decode(self, elements: U64, fractional_bits: int) -> F64:
        return np.ldexp(self.signed(elements).astype(np.float64), -fractional_bits)

    def uniform(self, stream: SecretStream, shape: tuple[int, ...]) -> U64:
        """Independent uniform elements."""
        return stream.bits(self.bits, int(np.prod(shape))).reshape(shape)

    def pack(self, elements: U64) -> bytes:
        """Wire bytes, ``width`` an element, row-major."""
        return pack(elements, self.width)

    def unpack(self, data: bytes, count: int) -> U64:
        """The inverse of :meth:`pack`; ValueError unless ``count`` elements below t are there."""
        return unpack(data, self.width, count, self.modulus)


def encode_features(values: F64, fractional_bits: int, clip: float) -> I64:
    """Features as small signed integers (..., d) at ``fractional_bits``, clipped to +-clip. Refuses NaN and Inf."""
    if not np.isfinite(values).all():
        raise ValueError("a feature is not finite: impute it before training")
    return np.rint(np.ldexp(np.clip(values, -clip, clip), fractional_bits)).astype(np.int64)


def pack(elements: U64, width: int) -> bytes:
    """Little-endian, ``width`` bytes an element, row-major."""
    flat = np.ascontiguousarray(elements, dtype="<u8").reshape(-1, 1)
    return flat.view(np.uint8)[:, :width].tobytes() if width < 8 else flat.tobytes()


def unpack(data: bytes, width: int, count: int, bound: int) -> U64:
    """The inverse of :func:`pack`; MalformedError unless ``count`` elements below ``bound`` are there."""
    if len(data) != width * count:
        raise MalformedError(f"expected {width * count} bytes, got {len(data)}")
    if width == 8:
        elements = np.frombuffer(data, dtype="<u8")
    else:
        wide = np.zeros((count, 8), dtype=np.uint8)
        wide[:, :width] = np.frombuffer(data, dtype=np.uint8).reshape(count, width)
        elements = wide.view("<u8").reshape(count)
    if count and int(elements.max()) >= bound:
        raise MalformedError("an element is out of range")
    return elements.astype(np.uint64, copy=False)
