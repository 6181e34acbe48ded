"""Sealed trees against their twin in plain integers: to the last bit, but for the rounding of what opens."""

from __future__ import annotations

import numpy as np
import pytest

from tests.vfl.models.trees.rig import Consortium, Observed, columns
from vfl.models.trees.twin import run_twin
from vfl.tree_terms import TreesModel
from vfl.walk.refits import refits_static
from vfl.walk.schedule import Step

ROWS = 160


def labels(made: Consortium) -> np.ndarray:
    pooled = np.nan_to_num(np.concatenate([*made.features.values(), made.own], axis=1))
    found = np.sign(pooled[:, 0]) * pooled[:, -1] + 0.3 * np.random.default_rng(1).normal(size=len(pooled))
    return (found - found.mean()) / found.std()


def consortium(parties: str, own: int, anchor: str, terms: TreesModel, *, missing: float = 0.1) -> Consortium:
    features = {n: columns(ROWS, 2 + i, n, missing=missing) for i, n in enumerate(parties)}
    return Consortium(features, columns(ROWS, own, "own", missing=missing), terms, anchor=anchor)


def check_equal(made: Consortium, steps: list[Step], patch: pytest.MonkeyPatch) -> None:
    observed, y = Observed().watch(patch), labels(made)
    made.run(steps, y)
    twin = made.twin(opened=observed.opened)
    run_twin(twin, steps, lambda step: y[step.rows])
    side = made.sides["label"]
    assert side.chosen == twin.chosen
    assert all(np.array_equal(side.values[step], values) for step, values in twin.values.items())
    assert np.array_equal(made.opened_scores(), twin.total)
    exact = np.ldexp(twin.total.astype(float), -16)
    for step in steps:
        if step.kind == "predict":
            assert np.abs(made.scores[step.number] - exact[step.rows]).max() <= 3 * 2.0**-made.terms.score_fraction


@pytest.mark.parametrize(
    ("parties", "own", "anchor", "depth"),
    [("a", 0, "a", 1), ("a", 2, "a", 2), ("abc", 2, "b", 4), ("ab", 1, "coordinator", 3), ("a", 0, "coordinator", 2)],
)
def test_a_run_equals_its_twin_to_the_last_bit(
    parties: str, own: int, anchor: str, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the run's own opened numbers put in: splits, leaf values and scores are the same whole numbers."""
    terms = TreesModel(depth=depth, trees=2, candidates=3, smallest_leaf=5, rate=0.5, reg_lambda=5.0)
    made = consortium(parties, own, anchor, terms)
    check_equal(made, list(refits_static(terms, ROWS, np.arange(ROWS - 20))), monkeypatch)
