"""How often a slot product's rounding fails: derived from the worst case, measured, and what the page on slots says."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import tenseal.sealapi as seal
from numpy.typing import NDArray

from tests.places import ROOT
from tests.vfl.blocks import with_error
from tests.vfl.protocols.prime_rig import U64, secret, slot_key, slot_public, uniform
from vfl.arithmetic.he import Context, KeyHolder
from vfl.arithmetic.parameter_sets import COEFFICIENT_SET
from vfl.arithmetic.prime_ring import PRIME, PRIME_RING
from vfl.arithmetic.rlwe import LARGEST_ERROR
from vfl.protocols.slot_messages import SlotAnswer
from vfl.protocols.slots import MOST_TERMS, multiply_slots, open_slots

DOCUMENT = (ROOT / "docs" / "protocols" / "slots.md").read_text(encoding="utf-8")
CONTEXT = slot_key().context
N = CONTEXT.degree
FRESH = LARGEST_ERROR + 0.5 + 2.0**-4
"""Largest coefficient of an error (centred binomial of 42 bits) plus the rounding of q m / p."""
FRESH_DEVIATION = math.sqrt(42 / 4 + 1 / 12)
Q = math.prod(CONTEXT.answer_primes)
DROPPED = CONTEXT.primes[-1]
ROUNDING = 2 * 2.0**-60
"""What the rounding at each end adds to the distance from one half."""


def worst_noise(terms: int) -> float:
    """No coefficient of an answer's noise is larger.

    The operand's error times the evaluator's polynomial, which is full-range whatever its slots hold: |x|_1 <= N p /
    2; scaled down by the dropped prime; then two roundings by (1 + |s|_1) / 2, of the switch and of the fresh zero,
    which is made at the same primes as the product and switched like it.
    """
    product = terms * FRESH * N * PRIME / 2
    zero = LARGEST_ERROR * (2 * N + 1)
    return (product + zero) / DROPPED + 2 * (1 + N) / 2


def typical_noise(terms: int) -> float:
    """Mean absolute value of a normal with the noise's deviation: x is uniform mod p, a third of s is zero."""
    product = terms * FRESH_DEVIATION**2 * N * PRIME**2 / 12 / DROPPED**2
    rounding = 2 * (1 + N * 2 / 3) / 12
    return math.sqrt(2 / math.pi * (product + rounding))


def faults_per_ciphertext(noise: float) -> float:
    """A coefficient fails where the mask's fraction of a plaintext unit lies within the noise of one half."""
    return N * 2 * (noise * PRIME / Q + ROUNDING)


def test_the_worst_and_the_typical_rate_are_those_of_the_document() -> None:
    rates = {
        "worst, one product": faults_per_ciphertext(worst_noise(1)),
        f"worst, {MOST_TERMS} products added": faults_per_ciphertext(worst_noise(MOST_TERMS)),
        "typical, one product": faults_per_ciphertext(typical_noise(1)),
    }
    assert rates["worst, one product"] < 2**-31
    assert rates[f"worst, {MOST_TERMS} products added"] < 2**-30
    assert rates["typical, one product"] < 2**-40
    for name, rate in rates.items():
        assert f"| {name} | 2^{math.log2(rate):.1f} |" in DOCUMENT, f"the page lacks {name}: {math.log2(rate)}"


def test_two_primes_would_not_hold_the_product_before_the_switch() -> None:
    """Why three: with two the noise of a full-range operand passes half a step, and decryption is garbage."""
    two = math.prod(CONTEXT.primes[:2])
    assert FRESH_DEVIATION * math.sqrt(N / 12) * PRIME > two / (2 * PRIME)
    # what log2 q is spent on: noise, message and 44 bits of distance
    assert math.log2(FRESH * N * PRIME / 2) + 59 < math.log2(math.prod(CONTEXT.primes)) - 44


def noise_of(held: U64, own: U64) -> float:
    """The largest noise of one unmasked product at the answer's level, in units, from SEAL's own budget."""
    loaded = [slot_public().load(slot_key().encrypt(polynomial(held)))]
    total = slot_public().combine(loaded, [slot_public().plain(polynomial(own))])
    CONTEXT.engine.transform_from_ntt_inplace(total)
    CONTEXT.engine.mod_switch_to_inplace(total, CONTEXT.answer_parms)
    return Q / 2.0 ** seal.Decryptor(CONTEXT.seal, slot_key()._key).invariant_noise_budget(total) / (2 * PRIME)


def polynomial(slots: U64) -> U64:
    row: U64 = CONTEXT.slots.polynomials(slots[None, :])[0]
    return row


@pytest.mark.parametrize("kind", ["uniform", "bits", "largest coefficients"])
def test_measured_noise_is_within_the_worst_case_and_near_the_typical_one(kind: str) -> None:
    own = {
        "uniform": uniform("own", N),
        "bits": uniform("own", N) & np.uint64(1),
        "largest coefficients": CONTEXT.slots.values(np.full((1, N), (PRIME - 1) // 2, dtype=np.uint64))[0],
    }[kind]
    noise = noise_of(uniform("held", N), own)
    assert noise < worst_noise(1)
    if kind != "largest coefficients":
        assert typical_noise(1) < noise < 16 * typical_noise(1), "a bit operand is full-range as a polynomial too"


def noisy(block: bytes, error: int) -> bytes:
    """The key holder's ciphertext with ``error`` added to every coefficient of its noise."""
    return with_error(CONTEXT, block, dict.fromkeys(range(N), error))


def faulty_coefficients(error: int, rounds: int) -> NDArray[np.int64]:
    """Coefficients in which shares of held * 1 do not add up, by round; 1 is the polynomial 1."""
    ones, held = np.ones(N, dtype=np.uint64), uniform("held", N)
    counts = []
    for number in range(rounds):
        loaded = [slot_public().load(noisy(slot_key().encrypt(polynomial(held)), error))]
        operand: list[Any] = [slot_public().plain(polynomial(ones))]
        first, second, share = multiply_slots(slot_public(), [(loaded, operand)], secret(f"{error}/{number}"))
        opened = open_slots(slot_key(), SlotAnswer("x", first, second, b""), 1)
        wrong = PRIME_RING.sub(PRIME_RING.add(share, opened), held[None, :])
        counts.append(int(np.count_nonzero(CONTEXT.slots.polynomials(wrong))))
    return np.array(counts)


def test_the_rate_of_faults_is_the_noise_in_units_of_a_step() -> None:
    """The law behind the rates, where it can be seen: noise of 2**-6 of a step fails in 2**-6 of the coefficients."""
    whole = math.prod(CONTEXT.primes)
    counts = faulty_coefficients(whole // PRIME // 64, 6)
    expected = N / 64
    assert abs(counts.mean() - expected) < 5 * math.sqrt(expected / len(counts))
    assert faulty_coefficients(0, 3).sum() == 0, "honest noise fails nowhere in a test's lifetime"


def test_a_fault_shows_in_every_slot_so_one_check_slot_would_do() -> None:
    for place in (0, 1, 4095, 8191):
        monomial = np.zeros((1, N), dtype=np.uint64)
        monomial[0, place] = 1
        assert CONTEXT.slots.values(monomial).all()


def test_coefficient_mode_rounds_one_entry_at_most_and_hardly_ever() -> None:
    """The matrix product with t = p: an error is one unit in one entry, once in 2**22 entries at the worst."""
    context = KeyHolder(Context(COEFFICIENT_SET, 59)).context
    noise = FRESH * N * 2**16 + LARGEST_ERROR * (2 * N + 1)
    rate = 2 * (noise * PRIME / math.prod(context.primes) + ROUNDING)
    assert rate < 2**-22
