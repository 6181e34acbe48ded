"""Masks uniform in R_q and the shares rounded from them, against Python's own integers."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import tenseal.sealapi as seal
from numpy.typing import NDArray
from scipy import stats

from vfl.arithmetic.he import Context, KeyHolder
from vfl.arithmetic.mask import MaskSource
from vfl.arithmetic.parameter_sets import COEFFICIENT_SET, PARAMETER_SETS, SLOT_SET
from vfl.arithmetic.prime_ring import PRIME
from vfl.arithmetic.randomness import SecretStream

CONTEXTS = {
    **{name: Context(name, terms.most_ring_bits) for name, terms in PARAMETER_SETS.items()},
    COEFFICIENT_SET: Context(COEFFICIENT_SET, 59),
    SLOT_SET: Context(SLOT_SET, 59),
    "small": Context("bfv-8192", 2),
}


def secret(name: str) -> SecretStream:
    return SecretStream(hashlib.sha256(name.encode()).digest())


def lifted(residues: NDArray[np.uint64], primes: tuple[int, ...]) -> NDArray[np.object_]:
    first, second = primes
    a, b = residues.astype(object)
    return (a + first * ((b - a) * pow(first, -1, second) % second)) % (first * second)


@pytest.mark.parametrize("name", CONTEXTS)
def test_a_share_is_the_rounded_mask(name: str) -> None:
    context = CONTEXTS[name]
    q, t = int(np.prod([int(p) for p in context.answer_primes], dtype=object)), context.ring.modulus
    residues, share = context.masks.draw(secret(name), 20_000)
    r = lifted(residues, context.answer_primes)
    assert (residues < np.array(context.answer_primes, dtype=np.uint64)[:, None]).all()
    assert ((2 * t * r + q) // (2 * q) % t == share).all()
    assert (context.masks.rounded(residues) == share).all(), "what was decrypted is rounded alike"


@pytest.mark.parametrize("name", CONTEXTS)
def test_extreme_masks(name: str) -> None:
    context = CONTEXTS[name]
    first, second = context.answer_primes
    q, t = first * second, context.ring.modulus
    ends = [0, 1, 2, first // 2, first - 2, first - 1]
    others = [0, 1, 2, second // 2, second // 2 + 1, second - 2, second - 1]

    class Both(SecretStream):
        def below(self, bound: int, count: int) -> NDArray[np.uint64]:
            pairs = np.array([(a, k) for a in ends for k in others], dtype=np.uint64)
            return pairs[:, 0 if bound == first else 1].copy()

    residues, share = context.masks.draw(Both(bytes(32)), len(ends) * len(others))
    r = lifted(residues, (first, second))
    assert {int(v) for v in r} == {a + first * k for a in ends for k in others}
    assert (context.masks.rounded(residues) == share).all()
    exact = [((2 * t * int(v) + q) // (2 * q)) % t for v in r]
    near = np.array([abs(int(2 * t * v) % (2 * q) - q) < 2**-58 * q for v in r])
    assert all(int(s) == e for s, e, n in zip(share, exact, near, strict=True) if not n)


@pytest.mark.parametrize("name", CONTEXTS)
def test_what_a_key_holder_decrypts_is_what_seal_decrypts(name: str) -> None:
    """Of uniform residues, so of noise of any size: three at once, one of them in places alone."""
    context, places = CONTEXTS[name], np.array([5, 0, 4095])
    key, primes = KeyHolder(context), context.answer_primes
    opening = seal.Decryptor(context.seal, key._key)
    uniform = [np.stack([secret(f"{name}/{one}/{p}").below(p, 2 * context.degree) for p in primes]) for one in range(3)]
    drawn = [np.ascontiguousarray(one.reshape(len(primes), 2, -1).swapaxes(0, 1)) for one in uniform]
    where = [None, places, None]
    asked = [first if only is None else first[:, only] for (first, _), only in zip(drawn, where, strict=True)]
    got = key.decrypt_all(
        *([context.pack_polynomial(one) for one in part] for part in (asked, [d[1] for d in drawn])), where
    )
    for residues, only, found in zip(drawn, where, got, strict=True):
        plain = seal.Plaintext()
        opening.decrypt(context.answer(residues), plain)
        count = plain.coeff_count()
        whole = np.concatenate([context.words_of(plain, count), np.zeros(context.degree - count, dtype=np.uint64)])
        assert (found == (whole if only is None else whole[only])).all()


@pytest.mark.parametrize("name", CONTEXTS)
def test_residues_and_shares_are_uniform(name: str) -> None:
    context = CONTEXTS[name]
    residues, share = context.masks.draw(secret(f"uniform/{name}"), 40_000)
    rows = [(row, prime) for row, prime in zip(residues, context.answer_primes, strict=True)]
    for row, bound in [*rows, (share, context.ring.modulus)]:
        bins = min(64, bound)
        counts = np.bincount((row.astype(np.float64) * (bins / bound)).astype(int), minlength=bins)
        assert stats.chisquare(counts).pvalue > 1e-6


def test_a_plaintext_modulus_too_near_the_prime_is_refused() -> None:
    with pytest.raises(AssertionError, match="one word"):
        MaskSource((PRIME, PRIME), PRIME)
