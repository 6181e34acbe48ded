"""An attacker's arithmetic: negacyclic products by number-theoretic transform, in Python's own integers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.object_]


@cache
def root(prime: int, order: int) -> int:
    """An element of exactly this order, a power of two."""
    return next(
        w for g in range(2, 200) if pow(w := pow(g, (prime - 1) // order, prime), order // 2, prime) == prime - 1
    )


def transform(a: Ints, w: int, prime: int) -> Ints:
    if len(a) == 1:
        return a
    even, odd = (transform(a[start::2], w * w % prime, prime) for start in (0, 1))
    powers = np.empty(len(odd), dtype=object)
    value = 1
    for i in range(len(powers)):
        powers[i] = value
        value = value * w % prime
    return np.concatenate([(even + powers * odd) % prime, (even - powers * odd) % prime])


def spectrum(a: NDArray[Any], prime: int) -> Ints:
    psi = root(prime, 2 * len(a))
    twist = np.array([pow(psi, i, prime) for i in range(len(a))], dtype=object)
    return transform(a.astype(object) * twist % prime, psi * psi % prime, prime)


def polynomial(values: Ints, prime: int) -> Ints:
    n = len(values)
    psi = root(prime, 2 * n)
    plain = transform(values, pow(psi, -2, prime), prime) * pow(n, -1, prime) % prime
    return plain * np.array([pow(psi, -i, prime) for i in range(n)], dtype=object) % prime


def centred(values: Ints, modulus: int) -> Ints:
    return (values + modulus // 2) % modulus - modulus // 2


def lifted(residues: Sequence[Ints], primes: Sequence[int]) -> Ints:
    """Residues by prime to integers mod the product of the primes."""
    q = math.prod(primes)
    total: Ints = np.zeros(len(residues[0]), dtype=object)
    for prime, row in zip(primes, residues, strict=True):
        rest = q // prime
        total = total + row * pow(rest, -1, prime) * rest
    return total % q
