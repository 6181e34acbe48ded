"""The Paillier reference computes what the BFV product computes."""

from __future__ import annotations

import numpy as np
import pytest

from vfl.arithmetic.paillier import PaillierKey, paillier_product
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.ring import Ring

KEY = PaillierKey(1024)


def test_shares_sum_to_the_product() -> None:
    rng = np.random.default_rng(3)
    ring = Ring(54)
    left = rng.integers(-8192, 8193, (3, 4))
    left[1] = 0
    right = ring.uniform(SecretStream(bytes(32)), (4, 2))
    held, masks = paillier_product(left, right, KEY, 54, SecretStream(b"\x01" * 32))
    assert (ring.add(held, masks) == ring.matmul(left, right)).all()


def test_a_value_encrypts_differently_each_time_and_with_one_exponent() -> None:
    one, two = KEY.encrypt(5), KEY.encrypt(5)
    assert one.ciphertext() != two.ciphertext()
    assert one.exponent == two.exponent == KEY.encrypt(1 << 60).exponent == 0


def test_the_key_is_not_shown() -> None:
    assert repr(KEY) == "PaillierKey(...)"
    with pytest.raises(TypeError, match="not pickled"):
        KEY.__reduce__()
