"""The schedule of fits: who is fitted when, which rows score along, and which rows a tree draws."""

from __future__ import annotations

import numpy as np
import pytest

from vfl.terms import WalkForward
from vfl.tree_terms import TreesModel
from vfl.walk.refits import blocks_of, carried_rows, fits_of, refits, refits_static

PERIODS, ENTITIES = 9, 12
WALK = WalkForward(horizon=1, warmup=2)


def panel() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    label = np.random.default_rng(0).normal(size=(PERIODS, ENTITIES))
    label[4, :3] = np.nan
    known = np.broadcast_to(np.arange(PERIODS)[:, None] + 1, label.shape).copy()
    universe = np.ones(label.shape, dtype=bool)
    universe[5, 2] = False
    return known, label, universe


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_no_row_is_fitted_before_its_label_is_known_and_every_row_is_predicted_once(kept: int) -> None:
    known, label, universe = panel()
    terms = TreesModel(trees=3, refit_every=2, fits_kept=kept)
    steps = list(refits(terms, WALK, known, label, universe))
    assert [step.number for step in steps] == list(range(len(steps)))
    predicted = np.concatenate([step.rows for step in steps if step.kind == "predict"])
    assert len(np.unique(predicted)) == len(predicted)
    assert np.array_equal(np.sort(predicted), 2 * ENTITIES + np.flatnonzero(universe[2:].reshape(-1)))
    for step in steps:
        if step.kind == "train":
            assert (known.reshape(-1)[step.rows] <= step.period).all()
            assert np.isfinite(label.reshape(-1)[step.rows]).all()
    fits = fits_of(steps)
    assert [len([s for s in fit if s.kind == "train"]) for fit in fits] == [3] * 4
    assert [fit[0].period for fit in fits] == [2, 4, 6, 8]


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_a_fit_carries_whatever_its_trees_will_score(kept: int) -> None:
    known, label, universe = panel()
    terms = TreesModel(trees=2, refit_every=2, fits_kept=kept)
    steps = list(refits(terms, WALK, known, label, universe))
    fits, carried = fits_of(steps), carried_rows(terms, steps)
    for place, fit in enumerate(fits):
        scored = set(fit[0].rows) | set(carried[fit[0].number])
        assert len(scored) == len(fit[0].rows) + len(carried[fit[0].number])
        alive = fits[place:] if kept == 0 else fits[place : place + kept]
        needed = {int(row) for later in alive for step in later for row in step.rows}
        assert scored == needed


def test_blocks_are_dealt_once_and_evenly() -> None:
    terms = TreesModel(blocks=4)
    blocks = blocks_of(terms, 10_000)
    assert np.array_equal(blocks, blocks_of(terms, 10_000))
    assert np.abs(np.bincount(blocks) - 2500).max() < 250


def test_static_data_are_fitted_once_on_the_rows_with_labels() -> None:
    terms = TreesModel(trees=4)
    steps = list(refits_static(terms, 5000, np.arange(3000)))
    assert [step.kind for step in steps] == ["train"] * 4 + ["predict"] * 2
    assert np.array_equal(np.concatenate([s.rows for s in steps if s.kind == "predict"]), np.arange(5000))
    assert np.array_equal(carried_rows(terms, steps)[0], np.arange(3000, 5000))


def test_a_calendar_that_is_too_short_is_refused_with_a_remedy() -> None:
    known, label, universe = panel()
    with pytest.raises(ValueError, match=r"lower walk_forward\.warmup"):
        list(refits(TreesModel(), WalkForward(warmup=9), known, label, universe))
