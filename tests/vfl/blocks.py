"""A key holder's ciphertexts taken apart and changed: they travel in NTT form, attacks think in coefficients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from vfl.arithmetic.he import Context

__all__ = ["coefficients_of", "with_error"]

U64 = NDArray[np.uint64]


def _through(context: Context, residues: U64, transform: Callable[[object], object], *, ntt: bool) -> U64:
    cipher = context.cipher(context.seal.first_parms_id(), residues, ntt=ntt)
    transform(cipher)
    return context.residues(cipher, len(context.primes))


def coefficients_of(context: Context, block: bytes) -> U64:
    """Residues (2, primes, N) of both polynomials of a block, as coefficients."""
    cipher = context.from_block(block)
    context.engine.transform_from_ntt_inplace(cipher)
    return context.residues(cipher, len(context.primes))


def with_error(context: Context, block: bytes, errors: dict[int, int]) -> bytes:
    """The block with whole numbers added to coefficients of its noise, by place."""
    size, moduli = context.degree * sum(context.widths), np.array(context.primes, dtype=np.uint64)[:, None]
    added = np.zeros((len(context.primes), context.degree), dtype=np.uint64)
    for place, error in errors.items():
        added[:, place] = [error % prime for prime in context.primes]
    both = np.stack([added, np.ones_like(added)])
    shift = _through(context, both, context.engine.transform_to_ntt_inplace, ntt=False)[0]
    rows = context.unpack_polynomial(block[:size], context.degree)
    return context.pack_polynomial((rows + shift) % moduli) + block[size:]
