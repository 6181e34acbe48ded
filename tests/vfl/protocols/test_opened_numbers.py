"""Numbers that open: noise that repeats with its opening, a short ring that keeps shares additive, true bits."""

from __future__ import annotations

import numpy as np
import pytest

from psi.flow import LocalProtocolError
from tests.attacks.rig import FIXED, RING, encoded, feature_end, label_session, noise_of, secret, weight_share
from vfl.arithmetic.share import Share, opened
from vfl.models.split.twin import PlainSource
from vfl.protocols.opened_numbers import ClearNoise, OpenedNumbers, RowNoise
from vfl.protocols.opening import ZeroSumMasks
from vfl.protocols.opening_budget import OpeningBudget
from vfl.terms import NOMINAL_DEVIATION, OpeningTerms

NUMBERS = OpenedNumbers(OpeningTerms().deviation)
ROWS, D, WIDTH = 64, 6, 3


def features(*names: str) -> dict[str, np.ndarray]:
    return {name: np.random.default_rng(len(name) + ord(name[0])).normal(size=(ROWS, D)) for name in names}


def test_the_default_noise_is_a_tenth_of_a_nominal_embedding_and_a_number_tells_five_bits() -> None:
    assert OpeningTerms().deviation == pytest.approx(0.1 * NOMINAL_DEVIATION)
    assert 5.0 < NUMBERS.bits < 5.02
    assert OpenedNumbers(0.015, 3).bits == pytest.approx(NUMBERS.bits + 2)


def test_what_a_number_tells_is_the_capacity_of_its_channel() -> None:
    """Mutual information of a uniform input, counted on a grid: the bound is met and not passed."""
    cells = 4096
    step = 4.0 / cells
    at = (np.arange(cells) - cells / 2) * step
    density = sum(np.exp(-0.5 * ((at + 4.0 * k) / NUMBERS.deviation) ** 2) for k in (-1, 0, 1))
    density /= density.sum()
    told = np.log2(cells) + float((density[density > 0] * np.log2(density[density > 0])).sum())
    assert told == pytest.approx(NUMBERS.bits, abs=1e-3)


def test_noise_repeats_with_its_opening_and_with_nothing_else() -> None:
    noise, rows = RowNoise(bytes(32), NUMBERS), np.arange(1000)
    first = noise.values("train-1/0", rows, 2)
    assert np.array_equal(first, RowNoise(bytes(32), NUMBERS).values("train-1/0", rows, 2))
    others = [
        noise.values("train-2/0", rows, 2),
        noise.values("train-1/0", rows[::-1], 2),
        noise.values("train-1/1", rows, 2),
        RowNoise(b"x" * 32, NUMBERS).values("train-1/0", rows, 2),
    ]
    for other in others:
        assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 5 / np.sqrt(first.size)
    assert first.std() == pytest.approx(NUMBERS.deviation, rel=0.1)
    assert "..." in repr(noise)
    with pytest.raises(TypeError, match="not pickled"):
        noise.__reduce__()


@pytest.mark.parametrize("names", ["a", "ab", "abc"])
def test_a_session_opens_what_its_plaintext_twin_opens_with_the_same_noise(names: str) -> None:
    data = features(*names)
    session = label_session(names, data, WIDTH, steps=2, gradient=lambda step: None, numbers=NUMBERS)
    got = session.run()["label"]
    weights = [
        np.ldexp(opened([weight_share(f"v/{n}", (D, WIDTH)), weight_share(f"u/{n}", (D, WIDTH))], FIXED.weight_bits), 0)
        for n in names
    ]
    rounded = [np.ldexp(encoded(data[n]).astype(float), -FIXED.feature_bits) for n in names]
    twin = PlainSource(rounded, weights, width=WIDTH, noise=ClearNoise(NUMBERS, [noise_of(n, NUMBERS) for n in names]))
    for step, z in enumerate(got):
        flow = twin.forward(step, np.arange(ROWS))
        with pytest.raises(StopIteration) as stopped:
            next(flow)
        gap = np.abs(z - stopped.value.value)
        assert np.minimum(gap, 4.0 - gap).max() < 2.0 ** -(FIXED.output_bits - 4)
        assert np.abs(z).max() <= 2.0
    kind = "source.single" if len(names) == 1 else "source.sum"
    width = FIXED.output_bits + NUMBERS.whole_bits
    assert all(
        len(m.values) == len(Share.zeros(NUMBERS.ring(FIXED), (ROWS, WIDTH)).packed()) for m in session.seen(kind)
    )
    assert NUMBERS.ring(FIXED).bits == width < RING.bits


def test_nothing_opens_where_the_noise_is_missing() -> None:
    end = {"masks": ZeroSumMasks("a", {}, RING), "budget": OpeningBudget(1, 1), "stream": secret("s")}
    with pytest.raises(LocalProtocolError, match="noise is missing"):
        type(feature_end("a", {"a": 1}, **end, session="s"))(
            "a", "label", {"a": 1}, FIXED, "bfv-4096", "s", single_party=True, numbers=NUMBERS, **end
        )
