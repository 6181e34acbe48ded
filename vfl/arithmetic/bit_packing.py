"""Packing of ring elements to the bit: whole low bytes side by side, then what is left of eight elements at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vfl.arithmetic.received import MalformedError

__all__ = ["pack_bits", "packed_size", "unpack_bits"]

U64 = NDArray[np.uint64]


def packed_size(bits: int, count: int) -> int:
    """Bytes of ``count`` elements of ``bits`` bits each; what is left of eight elements starts on a whole byte."""
    whole, rest = divmod(bits, 8)
    return count * whole + (count * rest + 7) // 8


def pack_bits(elements: U64, bits: int) -> bytes:
    """Elements below 2**bits, 1 <= bits <= 64, row-major: the low bits // 8 bytes of each, then the high bits of all.

    The high bits % 8 bits of eight elements make bits % 8 bytes, little-endian; unused bits at the end are zero.
    """
    whole, rest = divmod(bits, 8)
    flat = np.ascontiguousarray(elements, dtype="<u8").reshape(-1)
    low = flat.view(np.uint8).reshape(-1, 8)[:, :whole].tobytes() if whole else b""
    if not rest:
        return low
    groups = np.zeros((len(flat) + 7) // 8 * 8, dtype="<u8")
    np.right_shift(flat, np.uint64(8 * whole), out=groups[: len(flat)])
    words = groups.reshape(-1, 8)
    gathered = words[:, 0].copy()
    for place in range(1, 8):
        gathered |= words[:, place] << np.uint64(rest * place)
    high = gathered.view(np.uint8).reshape(-1, 8)[:, :rest].tobytes()
    return low + high[: (len(flat) * rest + 7) // 8]


def unpack_bits(data: bytes, bits: int, count: int, bound: int) -> U64:
    """The inverse of :func:`pack_bits`; MalformedError unless just ``count`` elements below ``bound`` are there."""
    if count < 0 or len(data) != packed_size(bits, count):
        raise MalformedError(f"{count} elements have {packed_size(bits, max(count, 0))} bytes, not {len(data)}")
    whole, rest = divmod(bits, 8)
    elements = np.zeros(count, dtype="<u8")
    raw = np.frombuffer(data, dtype=np.uint8)
    elements.view(np.uint8).reshape(-1, 8)[:, :whole] = raw[: count * whole].reshape(count, whole)
    if rest:
        padded = np.zeros((count + 7) // 8 * rest, dtype=np.uint8)
        padded[: len(raw) - count * whole] = raw[count * whole :]
        gathered = np.zeros((len(padded) // rest, 8), dtype=np.uint8)
        gathered[:, :rest] = padded.reshape(-1, rest)
        words = gathered.view("<u8").reshape(-1)
        high = np.empty((len(words), 8), dtype=np.uint64)
        for place in range(8):
            high[:, place] = (words >> np.uint64(rest * place)) & np.uint64((1 << rest) - 1)
        flat = high.reshape(-1)
        if flat[count:].any():
            raise MalformedError("a bit after the last element is set")
        elements |= flat[:count] << np.uint64(8 * whole)
    if count and int(elements.max()) >= bound:
        raise MalformedError("an element is out of range")
    return elements.astype(np.uint64, copy=False)
