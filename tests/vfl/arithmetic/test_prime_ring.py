"""The prime ring against Python's own integers, over the edges of every operand."""

from __future__ import annotations

import hashlib
import math
import time

import numpy as np
import pytest
import tenseal.sealapi as seal
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from vfl.arithmetic.bit_packing import pack_bits, packed_size, unpack_bits
from vfl.arithmetic.prime_ring import PRIME, PRIME_RING
from vfl.arithmetic.randomness import SecretStream

RING = PRIME_RING
HALF = (PRIME - 1) // 2
EDGES = [0, 1, 2, 2**29, 2**30 - 1, 2**30, 2**53, HALF - 1, HALF, HALF + 1, PRIME - 2**30, PRIME - 2, PRIME - 1]
element = st.one_of(st.sampled_from(EDGES), st.integers(0, PRIME - 1))
vectors = st.lists(element, min_size=1, max_size=40)


def elements(values: list[int]) -> NDArray[np.uint64]:
    return np.array(values, dtype=np.uint64)


def whole(array: NDArray[np.uint64] | NDArray[np.int64]) -> NDArray[np.object_]:
    return array.astype(object)


def secret(seed: int) -> SecretStream:
    return SecretStream(hashlib.sha256(str(seed).encode()).digest())


def test_the_prime_is_the_one_that_batching_gives() -> None:
    assert seal.PlainModulus.Batching(8192, 59).value() == PRIME
    assert PRIME % (2 * 8192) == 1
    assert RING.bits == 59


@given(vectors, st.data())
def test_sums_and_products_of_full_range_elements(values: list[int], data: st.DataObject) -> None:
    others = data.draw(st.lists(element, min_size=len(values), max_size=len(values)))
    a, b = elements(values), elements(others)
    before = a.copy(), b.copy()
    assert RING.add(a, b).tolist() == [(x + y) % PRIME for x, y in zip(values, others, strict=True)]
    assert RING.sub(a, b).tolist() == [(x - y) % PRIME for x, y in zip(values, others, strict=True)]
    assert RING.neg(a).tolist() == [-x % PRIME for x in values]
    assert RING.mul(a, b).tolist() == [x * y % PRIME for x, y in zip(values, others, strict=True)]
    assert RING.signed(a).tolist() == [x if x <= HALF else x - PRIME for x in values]
    assert RING.wrap(RING.signed(a)).tolist() == values
    assert int(RING.sum(a, 0)) == sum(values) % PRIME
    assert (a == before[0]).all()
    assert (b == before[1]).all()


def test_every_pair_of_edges_multiplies_exactly() -> None:
    a, b = np.meshgrid(elements(EDGES), elements(EDGES))
    assert (whole(RING.mul(a, b)) == whole(a) * whole(b) % PRIME).all()


@pytest.mark.parametrize("count", [1, 8191, 8192, 8193, 3 * 8192 + 1])
def test_products_across_blocks(count: int) -> None:
    a, b = RING.uniform(secret(1), (count,)), RING.uniform(secret(2), (count,))
    assert (whole(RING.mul(a, b)) == whole(a) * whole(b) % PRIME).all()


def test_products_broadcast_and_keep_their_shape() -> None:
    a, b = RING.uniform(secret(1), (5, 3)), RING.uniform(secret(2), (5, 1))
    assert (whole(RING.mul(a, b)) == whole(a) * whole(b) % PRIME).all()
    assert (whole(RING.mul(a.T, b.T)) == whole(a).T * whole(b).T % PRIME).all()
    assert RING.mul(a[:0], b[:0]).shape == (0, 3)


@given(vectors, st.one_of(st.sampled_from([0, 1, -1, 2**44 - 1, 1 - 2**44]), st.integers(-(2**44) + 1, 2**44 - 1)))
def test_small_constants(values: list[int], constant: int) -> None:
    assert RING.scale(elements(values), constant).tolist() == [x * constant % PRIME for x in values]


@pytest.mark.parametrize("constant", [2**44, -(2**44), PRIME])
def test_a_constant_that_is_not_small_is_refused(constant: int) -> None:
    with pytest.raises(ValueError, match="multiply elementwise"):
        RING.scale(elements([1]), constant)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 9), st.integers(0, 31), st.integers(0, 2**32 - 1))
def test_matrices_of_small_integers(rows: int, inner: int, columns: int, bits: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    left = rng.integers(-(2**bits), 2**bits + 1, (rows, inner))
    right = RING.uniform(secret(seed), (inner, columns))
    right[rng.integers(inner)] = PRIME - 1
    assert (whole(RING.matmul(left, right)) == whole(left) @ whole(right) % PRIME).all()


@pytest.mark.parametrize(("inner", "bits"), [(4096, 16), (1, 45), (2**13, 30)])
def test_the_widest_matrices(inner: int, bits: int) -> None:
    """Every product of the largest size and one sign, so that nothing cancels before it is reduced."""
    left = np.full((2, inner), 2**bits - 1)
    left[1] *= -1
    right = np.full((inner, 2), PRIME - 1, dtype=np.uint64)
    right[:, 1] = HALF
    assert (whole(RING.matmul(left, right)) == whole(left) @ whole(right) % PRIME).all()


def test_a_matrix_of_large_integers_is_refused() -> None:
    with pytest.raises(ValueError, match="too large"):
        RING.matmul(np.full((1, 2), 2**45), elements([1, 1])[:, None])


@given(
    arrays.arrays(np.float64, st.integers(0, 20), elements=st.floats(-1000, 1000)),
    st.integers(0, 40),
)
def test_fixed_point_round_trips_to_half_a_step(values: NDArray[np.float64], bits: int) -> None:
    got = RING.decode(RING.encode(values, bits), bits)
    assert (np.abs(got - values) <= 2.0 ** -(bits + 1)).all()


def test_stochastic_rounding_is_right_on_average_and_never_a_step_off() -> None:
    values = np.full(20_000, 0.3)
    got = RING.signed(RING.encode(values, 2, stream=secret(4)))
    assert set(got.tolist()) == {1, 2}
    assert abs(got.mean() - 1.2) < 4 * math.sqrt(0.2 * 0.8 / 20_000)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, float(HALF), -float(HALF), 1e30])
def test_what_does_not_fit_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        RING.encode(np.array([0.0, value]), 0)


def test_uniform_elements_reach_both_ends() -> None:
    drawn = RING.uniform(secret(5), (100_000,))
    assert int(drawn.max()) < PRIME
    counts = np.bincount((drawn >> np.uint64(55)).astype(np.int64), minlength=16)
    assert np.abs(counts - 6250).max() < 6 * math.sqrt(6250)


@given(st.integers(1, 64), st.lists(st.integers(0, 2**64 - 1), max_size=40))
def test_packing_to_the_bit_round_trips(bits: int, values: list[int]) -> None:
    array = elements([v % (1 << bits) for v in values])
    packed = pack_bits(array, bits)
    assert len(packed) == packed_size(bits, len(values)) <= math.ceil(bits * len(values) / 8) + 1
    assert (unpack_bits(packed, bits, len(values), 1 << bits) == array).all()


@given(st.integers(1, 64), st.integers(0, 20), st.binary(max_size=170), st.integers(1, 2**64))
def test_unpacking_parses_or_refuses(bits: int, count: int, data: bytes, bound: int) -> None:
    try:
        array = unpack_bits(data, bits, count, bound)
    except ValueError:
        return
    assert pack_bits(array, bits) == data, "one vector has one encoding"
    assert all(int(v) < min(bound, 1 << bits) for v in array)


@pytest.mark.parametrize("count", [-1, 3, 2**62])
def test_unpacking_allocates_nothing_for_a_wrong_length(count: int) -> None:
    with pytest.raises(ValueError, match="bytes"):
        RING.unpack(bytes(10), count)


def test_a_bit_too_many_and_an_element_out_of_range_are_refused() -> None:
    packed = RING.pack(elements([PRIME - 1]))
    assert RING.unpack(packed, 1).tolist() == [PRIME - 1]
    with pytest.raises(ValueError, match="after the last"):
        RING.unpack(packed[:-1] + bytes([packed[-1] | 0x80]), 1)
    with pytest.raises(ValueError, match="out of range"):
        RING.unpack(pack_bits(elements([PRIME]), 59), 1)


def test_a_batch_multiplies_well_within_a_millisecond() -> None:
    """4096 x 9 elements; the best of many, so that a busy machine says nothing, and a wide margin for a slow one."""
    a, b = RING.uniform(secret(1), (4096, 9)), RING.uniform(secret(2), (4096, 9))
    best = math.inf
    for _ in range(30):
        began = time.perf_counter()
        RING.mul(a, b)
        best = min(best, time.perf_counter() - began)
    assert best < 5e-3
