"""What a demo says of sealed trees beside their twin: rounding of what opened is named and borne, a fault is not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from parties.demo.parity import FAR, Parity, trees_parity
from tests.vfl.models.trees.rig import Consortium, columns
from vfl.models.trees.scales import Packing32
from vfl.models.trees.twin import IntegerTwin, run_twin
from vfl.tree_terms import TreesModel
from vfl.walk.refits import refits_static

ROWS = 2000
TERMS = TreesModel(depth=3, trees=12, candidates=16, smallest_leaf=10, rate=0.3)
STEPS = list(refits_static(TERMS, ROWS))
Scores = NDArray[np.float64]


def grown(
    opened: Callable[[int, int, NDArray[np.int64]], NDArray[np.uint64]] | None = None,
) -> tuple[Scores, IntegerTwin]:
    """Labels are noise, so that many candidates are nearly equal."""
    features = {name: columns(ROWS, 3, name) for name in "ab"}
    twin = Consortium(features, np.zeros((ROWS, 0)), TERMS).twin(opened=opened)
    y = np.random.default_rng(1).normal(size=ROWS)
    return run_twin(twin, STEPS, lambda step: y[step.rows]).reshape(1, -1), twin


class Run:
    """Opened numbers off by whole units as a run's are, and what they were."""

    def __init__(self, units: int) -> None:
        self.kept: dict[tuple[int, int], NDArray[np.uint64]] = {}
        self._draw, self._units, self._drop = np.random.default_rng(2), units, Packing32.of(ROWS).drop

    def __call__(self, step: int, level: int, sums: NDArray[np.int64]) -> NDArray[np.uint64]:
        off = self._draw.integers(-self._units, self._units + 1, size=sums.shape)
        self.kept[step, level] = ((sums >> self._drop) + off).view(np.uint64) & np.uint64(0xFFFFFFFF)
        return self.kept[step, level]


def compared(run: Run, scores: Scores) -> Parity:
    same, twin = grown(lambda step, level, sums: run.kept[step, level])
    return trees_parity(
        scores, grown()[0], same, beyond=twin.beyond, others=len(twin.others), levels=len(twin.chosen),
        unit=2.0**-TERMS.score_fraction,
    )  # fmt: skip


def test_splits_that_rounding_decided_are_counted_and_a_fault_is_no_rounding() -> None:
    run = Run(2)
    scores, twin = grown(run)
    found = compared(run, scores)
    assert found.floats > 100 * FAR, "rounding moved some split"
    assert found.rounded == 0
    assert found.within
    assert f"by which {len(twin.others)} of {len(twin.chosen)} splits" in found.cause
    assert len(twin.others) > 0

    other = scores.copy()
    other[0, :20] += 0.05
    fault = compared(run, other)
    assert not fault.within
    assert "do not follow from the numbers that opened: a fault" in fault.cause

    wrong = Run(60)
    fault = compared(wrong, grown(wrong)[0])
    assert not fault.within
    assert "are not the sums of these data: a fault" in fault.cause


def test_equal_scores_need_no_cause() -> None:
    scores = grown()[0]
    same = trees_parity(scores, scores, scores, beyond=0, others=0, levels=36, unit=2.0**-14)
    assert (same.floats, same.cause) == (0, "")
