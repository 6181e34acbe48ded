"""What an encryption is made of beside SEAL's transforms: secret samples, a public expansion, the scaled message.

SEAL samples through a virtual call and a hash for every few bytes, which takes longer than its arithmetic. These are
the same distributions from one keystream, in arrays: a ternary secret and the centred binomial error of 42 bits, as
the homomorphic encryption standard (Albrecht et al. 2018) and SEAL have them.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vfl.arithmetic.mask import multiply_high, reduce_once
from vfl.arithmetic.randomness import SecretStream

__all__ = ["LARGEST_ERROR", "SEED_BYTES", "ErrorSource", "MessageScale", "expanded", "residues_of"]

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

SEED_BYTES = 64
LARGEST_ERROR = 21
"""Of the centred binomial: the difference of two counts among 21 bits."""

_DOMAIN = b"entente/bfv/operand/1\x00"
_TRITS = np.array([[value // 3**place % 3 - 1 for place in range(5)] for value in range(243)], dtype=np.int64)
_HALF, _HALF_BITS = np.uint64((1 << LARGEST_ERROR) - 1), np.uint64(LARGEST_ERROR)
_SIGN = np.int64(63)


class ErrorSource:
    """Secret samples of Ring-LWE. key: 32 secret uniform bytes, of nothing else. Threads may share it."""

    def __init__(self, key: bytes) -> None:
        self._stream, self._lock = SecretStream(key), threading.Lock()

    def _take(self, size: int) -> bytes:
        with self._lock:
            return self._stream.take(size)

    def ternary(self, count: int) -> I64:
        """Independent, uniform in {-1, 0, 1}: five of a byte, bytes above 242 left out."""
        needed, kept = -(-count // 5), np.zeros(0, dtype=np.uint8)
        while len(kept) < needed:
            drawn = np.frombuffer(self._take(needed + needed // 8 + 16), dtype=np.uint8)
            kept = np.concatenate([kept, drawn[drawn < len(_TRITS)]])
        return _TRITS[kept[:needed]].reshape(-1)[:count]

    def errors(self, *shape: int) -> I64:
        """Independent, centred binomial: within +-:data:`LARGEST_ERROR`, variance 10.5."""
        words = np.frombuffer(self._take(8 * int(np.prod(shape))), dtype="<u8")
        more, less = np.bitwise_count(words & _HALF), np.bitwise_count((words >> _HALF_BITS) & _HALF)
        difference: I64 = more.astype(np.int64) - less
        return difference.reshape(shape)


def residues_of(values: I64, primes: Sequence[int]) -> U64:
    """Residues (.., primes, N) of small signed integers (.., N)."""
    moduli = np.array(primes, dtype=np.int64)[:, None]
    small = values[..., None, :]
    found: I64 = small + ((small >> _SIGN) & moduli)
    return found.view(np.uint64)


def expanded(seeds: Sequence[bytes], primes: Sequence[int], degree: int) -> U64:
    """Uniform residues (seeds, primes, degree) from public seeds: ChaCha20 under a seed's hash, by rejection.

    The key holder's own operand is hidden by it, and nobody else's: what an answer is hidden by is the public key's
    (:func:`vfl.arithmetic.public_key.expand`). Source: a public matrix from a cipher, FrodoKEM (Alkim et al. 2021).
    """
    found = np.empty((len(seeds), len(primes), degree), dtype=np.uint64)
    for rows, seed in zip(found, seeds, strict=True):
        stream = SecretStream(hashlib.sha256(_DOMAIN + seed).digest())
        for row, prime in zip(rows, primes, strict=True):
            row[:] = stream.below(prime, degree)
    return found


class MessageScale:
    """round(q m / t) modulo each prime of q, for m below t, at most 1/16 further than half a unit off.

    q m / t = d m + r m / t with q = d t + r: a product by a constant for each prime (Shoup's), and one of 64-bit words.
    """

    def __init__(self, primes: Sequence[int], modulus: int) -> None:
        whole = 1
        for prime in primes:
            whole *= prime
        step, rest = divmod(whole, modulus)
        assert modulus <= min(primes), "the rounded part fits every prime"
        self._primes = tuple(primes)
        self._factors = [step % prime for prime in primes]
        self._shoup = [(factor << 64) // prime for factor, prime in zip(self._factors, primes, strict=True)]
        self._rest = (rest << 64) // modulus
        self._shift = 64 - modulus.bit_length()

    def scaled(self, values: U64) -> U64:
        """Residues (.., primes, N) of values (.., N)."""
        places = np.uint64(self._shift)
        rounded = multiply_high(values << places, self._rest)
        rounded += np.uint64(1 << (self._shift - 1))
        rounded >>= places
        out = np.empty((*values.shape[:-1], len(self._primes), values.shape[-1]), dtype=np.uint64)
        for number, (prime, factor, shoup) in enumerate(zip(self._primes, self._factors, self._shoup, strict=True)):
            bound, row = np.uint64(prime), values * np.uint64(factor)
            row -= multiply_high(values, shoup) * bound
            row += rounded  # below 3 q for every prime that is allowed, so two reductions
            for _ in range(2):
                reduce_once(row, bound)
            out[..., number, :] = row
        return out
