"""Paillier through ``phe``: the only module that imports it (GPLv3).

The private product here is the slow reference for ``vfl.protocols.matmul``: tests compare the two and the
benchmark times both. Integers only, so that every ciphertext has exponent 0 and no exponent tells a magnitude.
Paillier, EUROCRYPT 1999; statistical masking as in Damgard, Geisler and Kroigaard, ACISP 2007.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from phe import paillier

from vfl.randomness import SecretStream

__all__ = ["KEY_BITS", "PaillierKey", "paillier_product"]

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

KEY_BITS = 3072
STATISTICAL_BITS = 40


class PaillierKey:
    """A key pair of the key holder. Refuses to be printed or pickled."""

    def __init__(self, bits: int = KEY_BITS) -> None:
        self.public, self._private = paillier.generate_paillier_keypair(n_length=bits)

    def __repr__(self) -> str:
        return "PaillierKey(...)"

    def __reduce__(self) -> str:
        raise TypeError("a secret key is not pickled")

    def encrypt(self, value: int) -> paillier.EncryptedNumber:
        """A fresh encryption of an integer, exponent 0."""
        return self.public.encrypt(int(value))

    def decrypt(self, ciphertext: paillier.EncryptedNumber) -> int:
        return int(self._private.decrypt(ciphertext))


def paillier_product(left: I64, right: U64, key: PaillierKey, ring_bits: int, stream: SecretStream) -> tuple[U64, U64]:
    """Shares of left @ right mod 2**ring_bits: (the key holder's, the evaluator's), each (rows, columns).

    left: small integers (rows, inner), the evaluator's. right: (inner, columns) below 2**ring_bits, the key
    holder's. The evaluator's mask exceeds the product by 40 bits, so what is decrypted is uniform up to 2**-40.
    """
    rows, inner = left.shape
    encrypted = [[key.encrypt(value) for value in row] for row in right]
    largest = max(int(np.abs(left).max(initial=0)), 1)
    bits = ring_bits + largest.bit_length() + math.ceil(math.log2(max(inner, 2))) + STATISTICAL_BITS
    modulus = 1 << ring_bits
    held = np.empty((rows, right.shape[1]), dtype=np.uint64)
    masks = np.empty_like(held)
    offset = 1 << (bits - STATISTICAL_BITS)
    for i in range(rows):
        for column in range(right.shape[1]):
            mask = int.from_bytes(stream.take((bits + 7) // 8), "little") % (1 << bits)
            total = key.encrypt(mask + offset)
            for j in range(inner):
                if left[i, j]:
                    total = total + encrypted[j][column] * int(left[i, j])
            held[i, column] = key.decrypt(total) % modulus
            masks[i, column] = -(mask + offset) % modulus
    return held, masks
