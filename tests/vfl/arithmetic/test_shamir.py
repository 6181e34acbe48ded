"""Shamir's secret sharing: any threshold of shares gives the secret, fewer fit every secret, a changed one is found."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.received import MalformedError
from vfl.arithmetic.shamir import PRIME, SHARE_BYTES, joined, shared

SECRET = bytes(range(32))


def stream(seed: int = 0) -> SecretStream:
    return SecretStream(seed.to_bytes(32, "big"))


@settings(max_examples=40, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.integers(1, 6), st.integers(0, 4), st.integers(0, 999))
def test_any_threshold_of_shares_gives_the_secret(secret: bytes, threshold: int, more: int, seed: int) -> None:
    shares = dict(enumerate(shared(secret, threshold, threshold + more, stream(seed)), 1))
    for points in combinations(shares, threshold):
        assert joined({point: shares[point] for point in points}, threshold) == secret
    assert joined(shares, threshold) == secret


def test_fewer_shares_fit_every_secret() -> None:
    """Two shares of three: for any secret there is a third share that gives it, so two say nothing."""
    first, second, _ = shared(SECRET, 3, 3, stream())
    for wanted in (0, 1, 2**256 - 1):
        at = {0: wanted, 1: int.from_bytes(first, "big"), 2: int.from_bytes(second, "big")}
        third = (at[0] - 3 * at[1] + 3 * at[2]) % PRIME  # the parabola through 0, 1 and 2, at 3
        shares = {1: first, 2: second, 3: third.to_bytes(SHARE_BYTES, "big")}
        assert joined(shares, 3) == wanted.to_bytes(32, "big")


def test_the_same_secret_has_other_shares_every_time() -> None:
    source = stream()
    assert not set(shared(SECRET, 2, 4, source)) & set(shared(SECRET, 2, 4, source))


def test_what_is_wrong_is_refused() -> None:
    shares = dict(enumerate(shared(SECRET, 2, 4, stream()), 1))
    changed = {**shares, 3: shares[2]}
    with pytest.raises(MalformedError, match="do not belong to one secret"):
        joined(changed, 2)
    with pytest.raises(MalformedError, match="1 shares are there and 2 are needed"):
        joined({1: shares[1]}, 2)
    for bad in (b"", bytes(32), PRIME.to_bytes(SHARE_BYTES, "big")):
        with pytest.raises(MalformedError, match="out of range"):
            joined({1: shares[1], 2: bad}, 2)
    with pytest.raises(MalformedError, match="no secret of 32 bytes"):
        joined({1: (2**256 + 1).to_bytes(SHARE_BYTES, "big")}, 1)
    with pytest.raises(ValueError, match="32 bytes"):
        shared(b"short", 1, 1, stream())
    with pytest.raises(ValueError, match="threshold"):
        shared(SECRET, 3, 2, stream())
