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
    "SEEDED",
    "SEED_BYTES",
    "SEED_HEADER",
    "Layout",
    "framed",
    "is_compressed",
]

U64 = NDArray[np.uint64]

_HEADER = struct.Struct("<HBBBBHQ")
PLAIN = struct.Struct("<4QQd")
CIPHER = struct.Struct("<4Q?QQQdQ")
SEED_BYTES = 64


def _header(size: int) -> bytes:
    return _HEADER.pack(0xA15E, 16, 4, 3, 0, 0, 16 + size)


SEED_HEADER = _header(1 + SEED_BYTES) + b"\x01"
"""What SEAL writes before a ciphertext's seed: a header of its own, and the generator's type, Blake2xb."""

SEEDED = np.uint64(0xFFFFFFFFFFFFFFFF)
"""The word that marks a second polynomial which SEAL keeps as a seed."""


def framed(body: bytes, words: U64, tail: bytes = b"") -> tuple[bytes, memoryview, bytes]:
    """What SEAL loads, in pieces to be written one after the other: ``body``, the words of an array, ``tail``."""
    array = np.ascontiguousarray(words, dtype="<u8").reshape(-1).view(np.uint8).data
    nested = _header(8 + len(array)) + struct.pack("<Q", words.size)
    return _header(len(body) + len(nested) + len(array) + len(tail)) + body + nested, array, tail


def is_compressed(saved: bytes) -> bool:
    """Whether a file that SEAL wrote is compressed after its header of 16 bytes."""
    return bool(_HEADER.unpack_from(saved)[4])


@dataclass(frozen=True)
class Layout:
    """Where SEAL keeps an object's words, so that they are read without its compressor.

    ``count_at`` and ``data_at`` are offsets of the array's length and pointer in the C++ object, which
    pybind11 points to just after the Python header. Read only; whoever reads checks it first against SEAL's
    own save, and uses the save where it does not hold.
    """

    body: int
    count_at: int
    data_at: int

    def view(self, source: object, count: int) -> U64 | None:
        """The first ``count`` words, in place; None where there are fewer."""
        held = ctypes.c_void_p.from_address(id(source) + object.__basicsize__).value
        if not held or ctypes.c_uint64.from_address(held + self.count_at).value < count:
            return None
        words = ctypes.c_void_p.from_address(held + self.data_at).value
        return np.ctypeslib.as_array((ctypes.c_uint64 * count).from_address(words)) if words else None


PLAIN_LAYOUT = Layout(PLAIN.size, 72, 80)
CIPHER_LAYOUT = Layout(CIPHER.size, 104, 112)
