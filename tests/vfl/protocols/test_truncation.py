"""Exact truncation against plain arithmetic: within 2 units on every share, up to the largest value and not beyond."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from psi.flow import LocalProtocolError, run_local
from tests.vfl.protocols.prime_rig import U64, evaluator_side, secret, slot_key
from vfl.arithmetic.prime_ring import PRIME, PRIME_RING
from vfl.protocols.truncation import LARGEST, evaluate_truncation, hold_truncation

RING = PRIME_RING
EDGES = [0, 1, -1, LARGEST, -LARGEST, LARGEST - 1, 2**30, -(2**30), 2**56]


def truncated(held: U64, other: U64, bits: int, bound: int = LARGEST) -> NDArray[np.int64]:
    shares = run_local(
        {
            "holder": hold_truncation("other", "x", held, bits, slot_key(), bound=bound),
            "other": evaluate_truncation("holder", "x", other, bits, evaluator_side(), bound=bound),
        }
    )
    return RING.signed(RING.add(shares["holder"], shares["other"]))


def errors(values: NDArray[np.int64], got: NDArray[np.int64], bits: int) -> NDArray[np.float64]:
    """In units of the last place."""
    difference = got.astype(object) * 2**bits - values.astype(object)
    return np.array([int(d) / 2**bits for d in difference])


def test_the_largest_value_is_the_largest_below_a_quarter() -> None:
    assert 4 * LARGEST < PRIME <= 4 * (LARGEST + 1)


@settings(max_examples=25)
@given(
    values=st.lists(st.one_of(st.sampled_from(EDGES), st.integers(-LARGEST, LARGEST)), min_size=1, max_size=60),
    shares=st.lists(
        st.one_of(
            st.sampled_from([0, 1, (PRIME - 1) // 2, (PRIME + 1) // 2, PRIME - 1, LARGEST, PRIME - LARGEST]),
            st.integers(0, PRIME - 1),
        ),
        min_size=60,
        max_size=60,
    ),
    bits=st.integers(1, 56),
)
def test_within_two_units_on_every_share(values: list[int], shares: list[int], bits: int) -> None:
    x = np.array(values)
    other = np.array(shares[: len(values)], dtype=np.uint64)
    got = truncated(RING.sub(RING.wrap(x), other), other, bits)
    assert np.abs(errors(x, got, bits)).max() <= 2


@pytest.mark.parametrize("bits", [1, 12, 16, 17, 18, 23, 31, 47, 56])
def test_many_values_of_every_size(bits: int) -> None:
    rng = np.random.default_rng(bits)
    sizes = rng.integers(0, 57, 20_000)
    x = np.clip(rng.integers(-(2**57), 2**57, 20_000) >> sizes, -LARGEST, LARGEST)
    x[: len(EDGES)] = EDGES
    other = RING.uniform(secret(bits), x.shape)
    found = errors(x, truncated(RING.sub(RING.wrap(x), other), other, bits), bits)
    assert np.abs(found).max() <= 2
    assert abs(found.mean()) < 0.3, "rounding to nearest leaves little bias"


def test_shapes_are_kept() -> None:
    x = np.arange(-60, 60).reshape(4, 5, 6) << 20
    other = RING.uniform(secret("shape"), x.shape)
    got = truncated(RING.sub(RING.wrap(x), other), other, 20)
    assert got.shape == x.shape
    assert np.abs(got - (x >> 20)).max() <= 2


def test_just_beyond_the_largest_value_it_would_be_wrong_and_is_refused() -> None:
    """Why the bound: one unit further the moved value passes the half, and low shares no longer tell the wrap."""
    x = np.array([LARGEST + 1, -LARGEST - 1])
    # both shares of the first are low and add up past the half; the second wraps below zero
    other = np.array([(PRIME + 1) // 2, 5], dtype=np.uint64)
    got = truncated(RING.sub(RING.wrap(x), other), other, 16)
    assert np.abs(errors(x, got, 16)).max() > 2**30
    for flow in (
        lambda bound: hold_truncation("b", "x", RING.wrap(x), 16, slot_key(), bound=bound),
        lambda bound: evaluate_truncation("a", "x", RING.wrap(x), 16, evaluator_side(), bound=bound),
    ):
        for bound in (LARGEST + 1, -1, PRIME):
            with pytest.raises(LocalProtocolError, match="cannot be truncated"):
                next(flow(bound))


@pytest.mark.parametrize("bits", [0, -1, 57, 59])
def test_a_truncation_takes_one_to_fifty_six_bits(bits: int) -> None:
    with pytest.raises(LocalProtocolError, match="1 to 56 bits"):
        next(hold_truncation("b", "x", RING.wrap(np.array([1])), bits, slot_key(), bound=1))


def test_the_local_truncation_that_needs_no_message_fails_visibly() -> None:
    """What exactness is for: at 47 of 59 bits, dropping bits of each share alone goes wrong by p / 2**s."""
    x = np.full(200_000, 2**47 - 1)
    other = RING.uniform(secret("local"), x.shape)
    held = RING.sub(RING.wrap(x), other)
    # the usual form: one side drops bits, the other drops bits of the negated share
    dropped = RING.add(held >> np.uint64(20), RING.neg(RING.neg(other) >> np.uint64(20)))
    wrong = np.abs(errors(x, RING.signed(dropped), 20)) > 2
    assert 0.2 < wrong.mean() * 2**12 < 5
