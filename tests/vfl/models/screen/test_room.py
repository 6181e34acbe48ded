"""What is new in ranks, as it is computed in blocks, against one entropy after another."""

from __future__ import annotations

from collections import Counter
from math import lgamma, log, log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from vfl.models.screen import room
from vfl.models.screen.room import new_bits

I64 = NDArray[np.int64]


def entropy(values: list[int]) -> float:
    return -sum(k / len(values) * log2(k / len(values)) for k in Counter(values).values())


def plain(ranks: I64) -> list[float]:
    """Each period against every earlier one; of equally near ones the first."""
    periods, entities, count = ranks.shape
    found = []
    for j in range(count):
        of = ranks[:, :, j]
        whole = min(entropy(of.ravel().tolist()), lgamma(entities + 1) / log(2) / entities)
        bits = whole
        for t in range(1, periods):
            nearest = min(range(t), key=lambda s: int(((of[t] - of[s]) ** 2).sum()))
            bits += min(whole, entropy((of[t] - of[nearest]).tolist()))
        found.append(entities * bits / periods)
    return found


@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 8), st.integers(1, 3)),
    top=st.sampled_from([0, 1, 127, 4096]),
    drawn=st.integers(1, 9),
    seed=st.integers(0, 2**32 - 1),
)
def test_bits_are_those_of_one_entropy_after_another(
    shape: tuple[int, int, int], top: int, drawn: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    periods = rng.integers(-top, top + 1, size=(drawn, *shape[1:]))
    ranks = periods[rng.integers(0, drawn, size=shape[0])]  # columns come back
    assert new_bits(ranks) == pytest.approx(plain(ranks), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("shape", [(room._ROWS + 3, 5, 1), (3, 4, room._TOGETHER + 1), (2 * room._ROWS + 1, 2, 1)])
def test_blocks_have_no_seams(shape: tuple[int, int, int]) -> None:
    ranks = np.random.default_rng(0).integers(-2, 3, size=shape)
    assert new_bits(ranks) == pytest.approx(plain(ranks), rel=1e-9)


def test_sums_that_float32_would_round_are_taken_whole() -> None:
    """Of 1,100 entities: two earlier periods differ by one in squares of more than 2**24."""
    far = np.full(1100, 127)
    near = far.copy()
    near[0] = 126
    now = -far
    now[0] = -126
    ranks = np.stack([far, near, now])[:, :, None]
    assert new_bits(ranks) == pytest.approx(plain(ranks), rel=1e-9)


def test_no_terminals_and_no_periods_have_no_bits() -> None:
    assert new_bits(np.zeros((3, 4, 0), np.int64)).shape == (0,)
