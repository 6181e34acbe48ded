"""Shares: operators against plain arithmetic in the ring, and everything that a share refuses."""

from __future__ import annotations

import copy
import hashlib
import json
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vfl.arithmetic.prime_ring import PRIME_RING, PrimeRing
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.ring import Ring
from vfl.arithmetic.share import Share, opened

RINGS = st.one_of(st.integers(2, 63).map(Ring), st.just(PRIME_RING))
AnyRing = Ring | PrimeRing
SHAPES = st.sampled_from([(1, 1), (3, 2), (1, 7), (5, 1), (0, 3), (4,)])
SECRET = Share(Ring(59), np.array([[123456789012345, 7], [99, 2**58 + 1]], dtype=np.uint64))


def stream(name: str) -> SecretStream:
    return SecretStream(hashlib.sha256(name.encode()).digest())


@st.composite
def values(draw: Any, ring: AnyRing, shape: tuple[int, ...]) -> np.ndarray:
    half = (ring.modulus + 1) // 2
    found: np.ndarray = draw(arrays(np.int64, shape, elements=st.integers(half - ring.modulus, half - 1)))
    return found


def split(ring: AnyRing, whole: np.ndarray, name: str) -> tuple[Share[Any], Share[Any]]:
    """Two sides' shares of signed integers."""
    ours = Share(ring, ring.uniform(stream(name), whole.shape))
    return ours, Share(ring, ring.wrap(whole)) - ours


def plain(ring: AnyRing, exact: np.ndarray) -> np.ndarray:
    """What stands for exact Python integers in the ring: the residue nearest to 0, of -t/2 and t/2 the first."""
    t = ring.modulus
    return np.array([int(v + t // 2) % t - t // 2 for v in exact.reshape(-1)], dtype=object).reshape(exact.shape)


def total(*shares: Share[Any]) -> np.ndarray:
    """What the shares sum to, exactly: opened() gives float64, which holds 53 bits."""
    ring = shares[0].ring
    whole = sum(share.elements.astype(object) for share in shares)
    return plain(ring, np.asarray(whole, dtype=object))


@given(st.data(), RINGS, SHAPES)
def test_what_each_side_does_alone_is_done_to_the_whole(data: Any, ring: AnyRing, shape: tuple[int, ...]) -> None:
    x, y = data.draw(values(ring, shape)), data.draw(values(ring, shape))
    most = 2**43 if isinstance(ring, PrimeRing) else 2**70
    factor = data.draw(st.integers(-most, most))
    (a, b), (c, d) = split(ring, x, "x"), split(ring, y, "y")
    wide_x, wide_y = x.astype(object), y.astype(object)
    assert np.array_equal(total(a + c, b + d), plain(ring, wide_x + wide_y))
    assert np.array_equal(total(a - c, b - d), plain(ring, wide_x - wide_y))
    assert np.array_equal(total(-a, -b), plain(ring, -wide_x))
    assert np.array_equal(total(a * factor, factor * b), plain(ring, wide_x * factor))
    assert np.array_equal(total(a, Share.zeros(ring, shape), b), plain(ring, wide_x))
    assert np.array_equal(total(a.T, b.T), plain(ring, wide_x.T))
    assert np.array_equal(total(a.reshape(-1), b.reshape(-1)), plain(ring, wide_x.reshape(-1)))
    assert np.array_equal(total(a[:1], b[:1]), plain(ring, wide_x[:1]))
    assert np.array_equal(total(Share.joined([a, c]), Share.joined([b, d])), plain(ring, np.concatenate([x, y])))
    assert (a.shape, a.size) == (x.shape, x.size)


@given(st.data(), RINGS, st.integers(1, 6), st.integers(1, 4), st.integers(1, 3))
def test_small_integers_times_a_share(data: Any, ring: AnyRing, rows: int, inner: int, columns: int) -> None:
    w = data.draw(values(ring, (inner, columns)))
    left = data.draw(arrays(np.int64, (rows, inner), elements=st.integers(-(2**15), 2**15)))
    a, b = split(ring, w, "w")
    assert np.array_equal(total(left @ a, left @ b), plain(ring, left.astype(object) @ w.astype(object)))


@given(st.data(), st.one_of(st.integers(8, 52).map(Ring), st.just(PRIME_RING)), SHAPES, st.integers(0, 20))
def test_all_shares_open_the_value_and_travel_unchanged(
    data: Any, ring: AnyRing, shape: tuple[int, ...], bits: int
) -> None:
    x = data.draw(values(ring, shape))
    parts = split(ring, x, "opened")
    assert np.array_equal(opened(parts, bits), np.ldexp(x.astype(np.float64), -bits))
    arrived = [Share.unpacked(ring, part.packed(), shape) for part in parts]
    assert np.array_equal(total(*arrived), plain(ring, x.astype(object)))


def test_shapes_broadcast_as_numpys() -> None:
    ring = Ring(16)
    row = Share(ring, np.array([1, 2], dtype=np.uint64))
    whole = Share(ring, np.array([[10, 20], [30, 40]], dtype=np.uint64))
    assert (whole - row).elements.tolist() == [[9, 18], [29, 38]]


@pytest.mark.parametrize(
    "leak",
    [
        lambda s: bool(s),
        lambda s: 1 if s else 0,
        lambda s: not s,
        lambda s: s == s,
        lambda s: s == 0,
        lambda s: s != s,
        lambda s: s == s.elements,
        lambda s: hash(s),
        lambda s: {s},
        lambda s: {s: 1},
        lambda s: pickle.dumps(s),
        lambda s: pickle.dumps({"held": [s]}, protocol=5),
        lambda s: copy.copy(s),
        lambda s: copy.deepcopy(s),
        lambda s: json.dumps(s),
        lambda s: np.asarray(s),
        lambda s: np.concatenate([s, s]),
        lambda s: np.add(s, s),
        lambda s: list(s),
        lambda s: s < s,
        lambda s: int(s),
        lambda s: float(s),
        lambda s: len(s),
    ],
)
def test_a_share_refuses_to_be_looked_at(leak: Any) -> None:
    with pytest.raises(TypeError):
        leak(SECRET)


@pytest.mark.parametrize(
    "show", [repr, str, "{}".format, "{!r}".format, lambda s: f"{[s]}", lambda s: " ".join(map(str, [s]))]
)
def test_a_share_prints_its_shape_and_nothing_else(show: Any) -> None:
    text = show(SECRET)
    assert "shape (2, 2)" in text
    for number in SECRET.elements.reshape(-1).tolist():
        assert str(number) not in text.replace("shape (2, 2)", "").replace("bits=59", "")


@pytest.mark.parametrize(
    ("mix", "error"),
    [
        (lambda s: s + Share.zeros(Ring(58), (2, 2)), ValueError),
        (lambda s: s - Share.zeros(PRIME_RING, (2, 2)), ValueError),
        (lambda s: Share.joined([s, Share.zeros(Ring(58), (2, 2))]), ValueError),
        (lambda s: opened([s, Share.zeros(Ring(58), (2, 2))], 3), ValueError),
        (lambda s: s + s.elements, TypeError),
        (lambda s: s.elements + s, TypeError),
        (lambda s: s - 1, TypeError),
        (lambda s: 1 - s, TypeError),
        (lambda s: s * 0.5, TypeError),
        (lambda s: s * s, TypeError),
        (lambda s: s @ s, TypeError),
        (lambda s: np.ones((2, 2)) @ s, TypeError),
        (lambda s: s.elements @ s, TypeError),
        (lambda s: s + Share.zeros(s.ring, (3, 3)), ValueError),
    ],
)
def test_what_does_not_go_together_is_refused(mix: Any, error: type[Exception]) -> None:
    """Public numbers joined to a share at both ends would count twice; a product of two shares costs a message."""
    with pytest.raises(error):
        mix(SECRET)


@pytest.mark.parametrize(
    "elements", [np.array([2**59], dtype=np.uint64), np.array([1], dtype=np.int64), np.array([0.5]), np.array([True])]
)
def test_a_share_is_made_of_elements_of_its_ring(elements: Any) -> None:
    with pytest.raises(ValueError, match="take"):
        Share(Ring(59), elements)
    with pytest.raises(ValueError, match="bytes"):
        Share.unpacked(Ring(59), bytes(7), (1, 1))
    with pytest.raises(ValueError, match="range"):
        Share.unpacked(Ring(59), b"\xff" * 8, (1, 1))


def test_a_share_never_changes() -> None:
    before = SECRET.elements.tolist()
    with pytest.raises(ValueError, match="read-only"):
        SECRET.elements[0, 0] = 1
    running = SECRET
    running += SECRET
    running -= SECRET * 3
    assert SECRET.elements.tolist() == before
    assert running.elements.tolist() == (-SECRET).elements.tolist()
