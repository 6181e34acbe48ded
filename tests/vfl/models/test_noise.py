"""The noise and overflow budget of ``docs/protocols/product.md``, computed over every shape that is allowed."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from tests.places import ROOT
from tests.vfl.blocks import coefficients_of
from vfl.arithmetic.he import PARAMETER_SETS, Context, KeyHolder
from vfl.arithmetic.ring import Ring
from vfl.arithmetic.rlwe import LARGEST_ERROR
from vfl.protocols.product import choose_packing
from vfl.terms import LARGEST_OPERAND, FixedPoint

FRESH = LARGEST_ERROR + 0.5 + 2.0**-4
"""Largest coefficient of an error (centred binomial of 42 bits) plus the rounding of q m / t."""

BATCHES = (1, 3, 17, 64, 100, 256, 500, 512, 1000, 1024, 2048, 4096, 5000, 8192)
COLUMNS = (1, 2, 3, 5, 8, 12, 24, 32, 33, 64, 100, 128, 200, 256, 400, 512)
WIDTHS = (1, 2, 3, 4, 7, 8, 16, 32, 48, 64)
RINGS = {"bfv-8192": (54, 59), "bfv-4096": (44,)}
DOCUMENT = (ROOT / "docs" / "protocols" / "product.md").read_text(encoding="utf-8")


def worst_noise(degree: int, rows: int, inner: int, columns: int, *, both: bool) -> float:
    """No decryption's noise coefficient is larger: |e|_inf |x|_1 over the blocks summed, plus the fresh zero's own.

    That is e u + e1 + e2 s, with |u|_1 and |s|_1 at most the degree.
    """
    packing = choose_packing(rows, inner, columns, degree, both=both)
    summed = math.ceil(inner / packing.n)
    if both:
        summed = max(summed, math.ceil(rows / packing.m))
    product = FRESH * packing.m * packing.n * summed * (LARGEST_OPERAND - 1)
    return product + LARGEST_ERROR * (2 * degree + 1)


@pytest.mark.parametrize("name", sorted(PARAMETER_SETS))
def test_noise_stays_below_half_a_step_for_every_allowed_shape(name: str) -> None:
    terms = PARAMETER_SETS[name]
    shapes = [(b, d, h, both) for b in BATCHES for d in COLUMNS for h in WIDTHS for both in (False, True)]
    worst = max(worst_noise(terms.degree, b, d, h, both=both) for b, d, h, both in shapes)
    for bits in RINGS[name]:
        modulus = math.prod(Context(name, bits).primes)
        assert worst < modulus / (2 << bits)
    line = re.search(rf"\| `{name}` \|.*", DOCUMENT)
    assert line is not None
    assert f"2^{math.log2(worst):.1f}" in line[0], "docs/protocols/product.md has another worst noise"


@pytest.mark.parametrize("name", sorted(PARAMETER_SETS))
def test_measured_noise_is_within_the_bound_and_the_step(name: str) -> None:
    """The largest operand everywhere, the widest blocks: decryption is exact, so the noise was below q / 2t."""
    bits = RINGS[name][0]
    key = KeyHolder(Context(name, bits))
    context = key.context
    message = Ring(bits).wrap(np.arange(context.degree, dtype=np.int64) * (2**30))
    first, second = coefficients_of(context, key.encrypt(message))
    places = np.arange(context.degree)
    got = key.decrypt(context.pack_polynomial(first), context.pack_polynomial(second), places)
    assert np.array_equal(got, message)


@pytest.mark.parametrize("name", sorted(PARAMETER_SETS))
def test_a_ring_too_large_for_the_set_is_a_named_error(name: str) -> None:
    most = PARAMETER_SETS[name].most_ring_bits
    Context(name, most)
    for bits in (most + 1, 64, 1, 0, -3):
        with pytest.raises(ValueError, match="takes rings of 2 to"):
            Context(name, bits)


def test_the_largest_operand_is_held_by_the_terms() -> None:
    FixedPoint(feature_bits=12, clip=8.0)
    with pytest.raises(ValueError, match=r"below 2\*\*16"):
        FixedPoint(feature_bits=13, clip=8.0)


def test_the_headroom_that_the_document_states() -> None:
    found = re.search(r"h = (\d) at d = 8, (\d) at d = 32, (\d) at d = 64", DOCUMENT)
    assert found is not None
    assert [int(h) for h in found.groups()] == [FixedPoint().headroom_bits(d) for d in (8, 32, 64)]
