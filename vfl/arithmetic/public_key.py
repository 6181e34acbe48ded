"""BFV public keys whose second polynomial nobody chose.

A public key is (b, a) with b = -(a s + e). What a fresh encryption of zero adds to the second polynomial of an answer
is ``a u + e2``, so it hides the evaluator's plaintext only as well as ``a`` does: with a = 1 the key holder
reads it outright, and there are less visible trapdoors. So ``a`` does not travel. It is the
expansion of a seed, as in Kyber, and the evaluator expands it itself. b needs no check: it enters only the
first polynomial, which leaves under a mask uniform in R_q.

    public key     32 bytes seed, then b: residues (key primes, degree), NTT form, u64 little-endian
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vfl.arithmetic.received import MalformedError
from vfl.arithmetic.ring import pack, unpack

__all__ = ["SEED_BYTES", "expand", "rebased", "unpack_key"]

U64 = NDArray[np.uint64]

SEED_BYTES = 32
_DOMAIN = b"entente/bfv/public-key/1\x00"


def expand(seed: bytes, primes: Sequence[int], degree: int) -> U64:
    """Uniform residues (primes, degree) from a public seed: SHAKE-256, read below each prime by rejection.

    Source: FIPS 203, section 4.2.2 (SampleNTT), for primes that need whole words.
    """
    rows = []
    for prime in primes:
        stream, spare = hashlib.shake_256(_DOMAIN + prime.to_bytes(8, "big") + seed), 64
        kept = np.zeros(0, dtype=np.uint64)
        while len(kept) < degree:
            words = np.frombuffer(stream.digest(8 * (degree + spare)), dtype="<u8")
            words = words >> np.uint64(64 - prime.bit_length())
            kept = words[words < np.uint64(prime)]
            spare *= 2
        rows.append(kept[:degree])
    return np.stack(rows)


def rebased(drawn: U64, secret: U64, primes: Sequence[int], seed: bytes) -> bytes:
    """The wire form of a key for the ``a`` of ``seed``, from a key (2, primes, degree) of the same secret.

    With (b', a') drawn: b = b' + (a' - a) s. Everything is in NTT form, where products are pointwise.
    """
    first, second = drawn.astype(object)
    common = expand(seed, primes, drawn.shape[2]).astype(object)
    moduli = np.array(primes, dtype=object)[:, None]
    moved = (first + (second - common) * secret.astype(object)) % moduli
    return seed + pack(moved.reshape(-1).astype(np.uint64), 8)


def unpack_key(data: bytes, primes: Sequence[int], degree: int) -> U64:
    """Both polynomials (2, primes, degree) of a key that came over the wire. Raises MalformedError."""
    first = unpack(data[SEED_BYTES:], 8, len(primes) * degree, 1 << 64).reshape(len(primes), degree)
    if (first >= np.array(primes, dtype=np.uint64)[:, None]).any():
        raise MalformedError("a residue of the public key is not below its prime")
    return np.stack([first, expand(data[:SEED_BYTES], primes, degree)])
