"""Packing of a count and a sum into one number."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from psi.flow import LocalProtocolError
from vfl.models.trees.scales import MOST_DRAWN, RESIDUAL_BITS, Packing32
from vfl.protocols.truncation import LARGEST


@given(drawn=st.integers(2, MOST_DRAWN), share=st.floats(0, 1), mean=st.floats(-0.99, 0.99), error=st.integers(-2, 2))
def test_a_pair_is_read_as_it_was_packed(drawn: int, share: float, mean: float, error: int) -> None:
    packing, count = Packing32.of(drawn), int(share * drawn)
    exact = round(mean * count * 2**RESIDUAL_BITS)
    packed = (count << packing.shift) + exact
    assert abs(packed) <= packing.bound <= LARGEST
    number = ((packed + (1 << (packing.drop - 1))) >> packing.drop) + error
    pairs = packing.read(np.array([number % 2**32], dtype=np.uint64))
    assert pairs.count[0] == count
    assert abs(pairs.total[0] - exact / 2**RESIDUAL_BITS) <= (0.5 + abs(error)) * packing.unit


def test_more_rows_than_sixteen_bits_count_are_refused() -> None:
    with pytest.raises(LocalProtocolError, match=r"choose model\.blocks"):
        Packing32.of(MOST_DRAWN + 1)
