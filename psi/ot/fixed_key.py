"""AES under fixed keys, in bulk: hashes and pseudorandom functions of many 128-bit blocks at once.

Blocks are rows of two 64-bit words. A public key makes a public permutation, which the hashes below take for a random
one; a secret key makes a pseudorandom function.
Source: Guo, Katz, Wang and Yu, IEEE S&P 2020 (ePrint 2019/074), sections 4 and 7.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

__all__ = ["BLOCK_BYTES", "Blocks", "FixedKey", "Streams", "as_blocks", "derived", "in_order"]

BLOCK_BYTES = 16
_ROOM = 15  # what the cipher's interface wants beside its output

Blocks = NDArray[np.uint64]


def derived(*parts: bytes) -> bytes:
    """32 bytes from labelled parts, none of which can run into another."""
    return hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).digest()


def as_blocks(data: bytes | bytearray | memoryview) -> Blocks:
    """Bytes, 16 a row."""
    return np.frombuffer(data, dtype="<u8").reshape(-1, 2)


def in_order(blocks: Blocks) -> NDArray[np.intp]:
    """What sorts blocks by their words: quick where the first words are random."""
    from psi.ot.kernels import sort_random  # numba takes half a second to import, and the ring needs none of it

    order = np.empty(len(blocks), dtype=np.intp)
    if not sort_random(blocks, order):
        order = np.lexsort((blocks[:, 1], blocks[:, 0]))
    return order


class FixedKey:
    """AES-128 under one key. It refuses to be printed."""

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes) -> None:
        # the constructions above are made of a permutation of single blocks; nothing is encrypted for a reader
        self._cipher = Cipher(algorithms.AES(key[:BLOCK_BYTES]), modes.ECB()).encryptor()  # noqa: S305

    def permute(self, blocks: Blocks) -> Blocks:
        """AES of each block."""
        data = np.ascontiguousarray(blocks)
        out = np.empty(data.nbytes + _ROOM, dtype=np.uint8)
        self._cipher.update_into(data.data.cast("B") if data.size else b"", out.data)
        return out[: data.nbytes].view(np.uint64).reshape(-1, 2)

    def hashed(self, blocks: Blocks) -> Blocks:
        """AES(b) xor b: one-way and correlation robust where the permutation is random."""
        made = self.permute(blocks)
        made ^= blocks
        return made

    def absorbed(self, start: Blocks, rows: Blocks) -> Blocks:
        """A hash of rows of 2 k words, one block after the other, each behind the hash of those before; (n, 2).

        For rows that hold 128 secret bits and were not chosen by whoever attacks: it is no collision-resistant hash.
        """
        state = start
        for at in range(0, rows.shape[1], 2):
            state = self.hashed(state ^ rows[:, at : at + 2])
        return state

    def __repr__(self) -> str:
        return "<AES under a fixed key>"


class Streams:
    """One keystream for each seed, read side by side: columns of pseudorandom bits."""

    __slots__ = ("_streams",)

    def __init__(self, seeds: Sequence[bytes]) -> None:
        start = bytes(BLOCK_BYTES)
        self._streams = [Cipher(algorithms.AES(seed[:BLOCK_BYTES]), modes.CTR(start)).encryptor() for seed in seeds]

    def columns(self, bits: int) -> Blocks:
        """The next ``bits`` of every stream, a multiple of 128: (streams, bits / 64) words."""
        size = bits // 8
        zeros, out = bytes(size), np.empty(len(self._streams) * size + _ROOM, dtype=np.uint8)
        room = out.data
        for number, stream in enumerate(self._streams):
            stream.update_into(zeros, room[number * size : (number + 1) * size + _ROOM])
        return out[:-_ROOM].view(np.uint64).reshape(len(self._streams), -1)

    def __repr__(self) -> str:
        return f"<{len(self._streams)} keystreams>"
