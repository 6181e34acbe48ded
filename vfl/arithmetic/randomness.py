"""A keyed stream of secret uniform numbers: ChaCha20 from ``cryptography``, keyed by the caller.

The key comes in as an argument (operating-system randomness in a node, a fixed one in a replayed
test), so a protocol's secrets are reproducible only by whoever holds the key.
"""

from __future__ import annotations

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

__all__ = ["SecretStream"]

U64 = NDArray[np.uint64]


class SecretStream:
    """ChaCha20 keystream (RFC 8439) read as unsigned numbers. Refuses to be printed or pickled."""

    __slots__ = ("_encryptor", "_key")

    def __init__(self, key: bytes) -> None:
        if len(key) != 32:
            raise ValueError("a secret stream needs a key of 32 bytes")
        self._key = key
        self._encryptor = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor()

    def __repr__(self) -> str:
        return "SecretStream(...)"

    def __reduce__(self) -> str:
        raise TypeError("a secret stream is not pickled")

    def child(self, label: str) -> SecretStream:
        """An independent stream for one purpose (HKDF-SHA256, RFC 5869), whatever was read before."""
        return SecretStream(HKDF(SHA256(), 32, salt=None, info=b"entente/stream/" + label.encode()).derive(self._key))

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        return self._encryptor.update(bytes(size))

    def bits(self, bits: int, count: int) -> U64:
        """``count`` uniform numbers below 2**bits, 1 <= bits <= 64."""
        words = np.frombuffer(self.take(8 * count), dtype="<u8")
        return words >> np.uint64(64 - bits) if bits < 64 else words.copy()

    def below(self, bound: int, count: int) -> U64:
        """``count`` uniform numbers in [0, bound), by rejection."""
        width = (bound - 1).bit_length() or 1
        kept = self.bits(width, count)
        while True:
            bad = np.flatnonzero(kept >= np.uint64(bound))
            if not len(bad):
                return kept
            kept[bad] = self.bits(width, len(bad))

    def unit(self, count: int) -> NDArray[np.float64]:
        """``count`` uniform float64 in [0, 1)."""
        return self.bits(53, count).astype(np.float64) * 2.0**-53

    def gaussian(self, count: int) -> NDArray[np.float64]:
        """``count`` standard normal float64, by Box and Muller (1958)."""
        radius = np.sqrt(-2.0 * np.log(1.0 - self.unit(count)))
        drawn: NDArray[np.float64] = radius * np.cos(2.0 * np.pi * self.unit(count))
        return drawn
