"""SEAL's own format, as far as this product writes and reads it: uncompressed bodies, and where words lie in memory."""

from __future__ import annotations

import ctypes
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CIPHER",
    "CIPHER_LAYOUT",
    "PLAIN",
    "PLAIN_LAYOUT",
    "Layout",
    "framed",
    "is_compressed",
]

U64 = NDArray[np.uint64]

_HEADER = struct.Struct("<HBBBBHQ")
PLAIN = struct.Struct("<4QQd")
CIPHER = struct.Struct("<4Q?QQQdQ")


def _header(size: int) -> bytes:
    return _HEADER.pack(0xA15E, 16, 4, 3, 0, 0, 16 + size)


def framed(body: bytes, words: U64) -> tuple[bytes, memoryview]:
    """What SEAL loads, in pieces to be written one after the other: ``body``, and the words of an array."""
    array = np.ascontiguousarray(words, dtype="<u8").reshape(-1).view(np.uint8).data
    nested = _header(8 + len(array)) + struct.pack("<Q", words.size)
    return _header(len(body) + len(nested) + len(array)) + body + nested, array


def is_compressed(saved: bytes) -> bool:
    """Whether a file that SEAL wrote is compressed after its header of 16 bytes."""
    return bool(_HEADER.unpack_from(saved)[4])


@dataclass(frozen=True)
class Layout:
    """Where SEAL keeps an object's words, so that they are read and written without its files.

    ``count_at`` and ``data_at`` are offsets of the array's length and pointer in the C++ object, which
    pybind11 points to just after the Python header. Whoever uses it checks it first against SEAL's own save, and uses
    load and save where it does not hold.
    """

    body: int
    count_at: int
    data_at: int

    def _at(self, source: object, count: int) -> int | None:
        """Where its first ``count`` words lie; None where there are fewer."""
        held = ctypes.c_void_p.from_address(id(source) + object.__basicsize__).value
        if not held or ctypes.c_uint64.from_address(held + self.count_at).value < count:
            return None
        return ctypes.c_void_p.from_address(held + self.data_at).value

    def read(self, source: object, count: int) -> U64 | None:
        """A copy of the first ``count`` words; None where there are fewer."""
        place = self._at(source, count)
        if not place:
            return None
        words = np.empty(count, dtype=np.uint64)
        ctypes.memmove(words.ctypes.data, place, 8 * count)
        return words

    def write(self, source: object, words: U64) -> None:
        """Put an array in place of the first words of an object that nobody else has yet."""
        place, given = self._at(source, words.size), np.ascontiguousarray(words)
        assert place, "an object with room for these words"
        ctypes.memmove(place, given.ctypes.data, 8 * given.size)


PLAIN_LAYOUT = Layout(PLAIN.size, 72, 80)
CIPHER_LAYOUT = Layout(CIPHER.size, 104, 112)
