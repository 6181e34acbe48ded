"""The sealed network against its twin in plain integers: to the last bit, but for what truncations are allowed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.vfl.models.sealed.rig import FIXED, Consortium, Observed, columns
from vfl.models.sealed.scales import WEIGHT_BITS
from vfl.models.sealed.twin import FloatTwin, SealedRangeError, run_twin
from vfl.terms import SealedModel
from vfl.walk.schedule import Step

ROWS = 150


def schedule(batch: int, rows: int = ROWS) -> list[Step]:
    """Trains on batches of several sizes, and predicts in between and at the end."""
    return [
        Step(0, "train", 0, np.arange(batch), batch),
        Step(1, "train", 0, np.arange(batch // 2, batch), rows),
        Step(2, "predict", 1, np.arange(1)),
        Step(3, "train", 1, np.arange(rows - batch, rows), rows),
        Step(4, "predict", 2, np.arange(rows)),
    ]


def consortium(
    parties: str, own: int, anchor: str, terms: SealedModel, *, heavy: bool = False, name: str = ""
) -> Consortium:
    features = {n: columns(ROWS, 2 + i, n + name, heavy=heavy) for i, n in enumerate(parties)}
    return Consortium(features, columns(ROWS, own, f"own{name}", heavy=heavy), terms, anchor=anchor)


def labels(name: str, *, heavy: bool = False) -> np.ndarray:
    draw = np.random.default_rng(len(name))
    return draw.standard_t(2, size=ROWS) * 3 if heavy else draw.normal(size=ROWS)


def check_equal(made: Consortium, steps: list[Step], y: np.ndarray, patch: pytest.MonkeyPatch) -> None:
    observed = Observed(made).watch(patch)
    made.run(steps, y)
    twin = made.twin(truncate=observed.truncate)
    for step in steps:
        if step.kind == "predict":
            assert np.array_equal(made.scores[step.number], twin.predict(step))
        else:
            twin.train(step, y[step.rows])
    assert np.array_equal(made.opened_weights(), twin.weight)


@pytest.mark.parametrize(
    ("parties", "own", "anchor"),
    [("a", 0, "a"), ("a", 2, "a"), ("abc", 2, "b"), ("ab", 1, "coordinator"), ("a", 0, "coordinator")],
)
def test_a_run_equals_its_twin_to_the_last_bit(
    parties: str, own: int, anchor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the run's own truncation errors put in, at most 2 units each, everything else is the same whole numbers."""
    made = consortium(parties, own, anchor, SealedModel(width=3, batch_rows=40))
    check_equal(made, schedule(40), labels("y"), monkeypatch)


def test_a_run_of_eight_feature_parties_equals_its_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    made = consortium("abcdefgh", 1, "h", SealedModel(width=1, batch_rows=16))
    check_equal(made, schedule(16)[:1] + schedule(16)[4:], labels("y"), monkeypatch)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.text("xyz", min_size=1, max_size=4),
    heavy=st.booleans(),
    width=st.integers(1, 6),
    batch=st.integers(8, 150),
    linear=st.integers(1, 8),
    square=st.integers(1, 8),
    momentum=st.floats(0, 0.75),
    start=st.floats(0.05, 1),
)
def test_any_data_and_rates_give_what_the_twin_gives(
    name: str, heavy: bool, width: int, batch: int, linear: int, square: int, momentum: float, start: float
) -> None:
    terms = SealedModel(
        width=width, batch_rows=batch, linear_rate=2.0**-linear, square_rate=2.0**-square, momentum=momentum,
        start=start, alpha=10,
    )  # fmt: skip
    made = consortium("a", 1, "a", terms, heavy=heavy, name=name)
    y = labels(name, heavy=heavy)
    try:
        run_twin(made.twin(), schedule(batch), lambda step: y[step.rows])
    except SealedRangeError:
        assume(False)
    with pytest.MonkeyPatch.context() as patch:
        check_equal(made, schedule(batch), y, patch)


def test_a_run_stays_near_both_twins_with_their_own_rounding() -> None:
    made = consortium("ab", 1, "a", SealedModel(width=4, batch_rows=64))
    steps, y = schedule(64), labels("y")
    made.run(steps, y)
    exact = made.twin()
    scores = run_twin(exact, steps, lambda step: y[step.rows])
    pooled = np.concatenate([*made.features.values(), made.own], axis=1)
    plain = FloatTwin(
        np.ldexp(pooled.astype(float), -FIXED.feature_bits), np.ldexp(made.weights().astype(float), -WEIGHT_BITS),
        made.terms,
    )  # fmt: skip
    floats = run_twin(plain, steps, lambda step: y[step.rows])
    last = made.scores[4]
    assert np.abs(last - scores[steps[4].rows]).max() <= 2.0**-11
    assert np.abs(last - floats[steps[4].rows]).max() <= 2.0**-11


def test_data_that_a_run_could_not_hold_are_named_by_the_twin() -> None:
    terms = SealedModel(width=2, batch_rows=100, linear_rate=1.0, square_rate=0.5, momentum=0.75, start=1.0, alpha=0)
    made = consortium("a", 0, "a", terms, heavy=True)
    steps = [Step(n, "train", 0, np.arange(100), 100) for n in range(40)]
    with pytest.raises(SealedRangeError, match="too high for these data, halve them"):
        run_twin(made.twin(), steps, lambda step: labels("y", heavy=True)[step.rows])


def test_workers_make_the_same_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products of both modes go through the workers of every evaluator: the twin's equality holds as before."""
    calls: list[str] = []

    class Here:
        """Workers in this process."""

        count = 2

        def __call__(self, function: Callable[..., Any], calls_: Sequence[tuple[Any, ...]]) -> list[Any]:
            calls.append(function.__name__)
            return [function(*call) for call in calls_]

    made = consortium("ab", 1, "a", SealedModel(width=2, batch_rows=24))
    for name in ("anchor_side", "feature_side"):
        monkeypatch.setattr(made, name, partial(getattr(made, name), workers=Here()))
    check_equal(made, schedule(24)[:3], labels("y"), monkeypatch)
    assert set(calls) == {"_part", "_slot_part"}
