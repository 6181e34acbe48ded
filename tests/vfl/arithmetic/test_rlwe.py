"""What encryptions sample and scale, against plain integers and the distributions they stand for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from vfl.arithmetic.he import Context
from vfl.arithmetic.parameter_sets import COEFFICIENT_SET, SLOT_SET
from vfl.arithmetic.rlwe import LARGEST_ERROR, ErrorSource, MessageScale, expanded, residues_of

SETS = {name: Context(name, bits) for name, bits in ((COEFFICIENT_SET, 59), (SLOT_SET, 59), ("bfv-4096", 44))}
KEY = bytes(range(32))


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(sorted(SETS)), data=st.data())
def test_a_scaled_message_is_q_m_over_t_to_the_nearest(name: str, data: st.DataObject) -> None:
    context = SETS[name]
    t, q = context.ring.modulus, math.prod(context.primes)
    edges = st.sampled_from([0, 1, t // 2, t // 2 + 1, t - 1])
    values = data.draw(st.lists(st.one_of(edges, st.integers(0, t - 1)), min_size=1, max_size=8))
    rows = MessageScale(context.primes, t).scaled(np.array(values, dtype=np.uint64))
    for place, value in enumerate(values):
        near = (2 * q * value + t) // (2 * t)
        found = [
            near + step for step in (-1, 0, 1) if [(near + step) % p for p in context.primes] == rows[:, place].tolist()
        ]
        assert found, "within one unit, in every prime alike"
        assert abs(found[0] * t - q * value) <= (0.5 + 2**-4) * t


def test_errors_are_centred_binomial_and_secrets_ternary() -> None:
    source, count = ErrorSource(KEY), 1 << 18
    errors, secrets = source.errors(count), source.ternary(count)
    assert int(np.abs(errors).max()) <= LARGEST_ERROR
    expected = stats.binom(2 * LARGEST_ERROR, 0.5).pmf(np.arange(12, 31)) * count
    found = np.bincount(errors + LARGEST_ERROR, minlength=43)[12:31]
    assert stats.chisquare(found, expected * found.sum() / expected.sum()).pvalue > 1e-4
    assert stats.chisquare(np.bincount(secrets + 1, minlength=3)).pvalue > 1e-4
    assert abs(float(np.corrcoef(secrets[1:], secrets[:-1])[0, 1])) < 5 / math.sqrt(count)
    assert not np.array_equal(source.errors(count), errors), "nothing is drawn twice"


def test_an_expansion_is_uniform_below_each_prime_and_hangs_on_every_byte_of_the_seed() -> None:
    context, seed = SETS["bfv-4096"], bytes(range(64))
    one, other = expanded([seed, seed[:-1] + b"\x00"], context.primes, context.degree)
    assert np.array_equal(expanded([seed], context.primes, context.degree)[0], one)
    for prime, row, changed in zip(context.primes, one, other, strict=True):
        assert int(row.max()) < prime
        assert stats.chisquare(np.bincount((row * (64.0 / prime)).astype(int), minlength=64)).pvalue > 1e-4
        assert (row == changed).mean() < 0.01


def test_residues_of_signed_integers() -> None:
    values = np.array([[-21, -1, 0, 1, 21]])
    assert residues_of(values, (97, 101)).tolist() == [[[76, 96, 0, 1, 21], [80, 100, 0, 1, 21]]]


def test_a_scale_that_would_not_fit_a_prime_is_our_own_bug() -> None:
    with pytest.raises(AssertionError):
        MessageScale((97, 101), 1 << 10)
