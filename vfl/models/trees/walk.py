"""Sealed trees over a schedule: the label party's flow, walk-forward or static."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, LocalProtocolError, Progress
from vfl.factors.panel import LabelPanel
from vfl.models.sealed.columns import fitted_labels
from vfl.models.sealed.records import ResumedScores
from vfl.models.sealed.walk import sealed_result
from vfl.models.trees.label import TreesLabel
from vfl.terms import WalkForward
from vfl.walk.refits import carried_rows
from vfl.walk.result import TrainingResult
from vfl.walk.schedule import Step

__all__ = ["grow_steps", "trees_static", "trees_walk_forward"]

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]


def grow_steps(
    source: TreesLabel,
    steps: Sequence[Step],
    labels: Callable[[Step], F64],
    *,
    resumed: ResumedScores | None = None,
) -> Flow[dict[int, F64]]:
    """Run the schedule between ``start`` and ``finish``; scores (B,) of each prediction by step number.

    labels: of the rows of a fit's first step. Yields Progress in trees; its metrics are the decision period's index
    and, of the latest tree, ``gain``: :func:`vfl.models.trees.growth.lowered`.

    Learns: of each level the pairs of anonymous candidates; the score of every predicted row.
    Leaks: as :meth:`vfl.models.trees.label.TreesLabel.grow` and ``predict``.
    Model: semi-honest.
    Source: docs/protocols/trees.md#a-tree.
    """
    carried, scores = carried_rows(source.terms, steps), dict[int, F64]()
    rows, tree, label = np.zeros(0, dtype=np.int64), 0, np.zeros(0)
    grown, trees = 0, sum(step.kind == "train" for step in steps)
    for step in steps:
        before = resumed is not None and step.number < resumed.record.step
        if step.kind == "predict":
            found = resumed.scores[step.number] if resumed and before else (yield from source.predict(step))
            scores[step.number] = found
        else:
            if step.number in carried:
                rows, tree, label = carried[step.number], 0, labels(step)
            if not before:
                yield from source.grow(step, rows, tree, label)
            tree, grown = tree + 1, grown + 1
        if not before:
            yield Progress(grown, trees, unit="trees", metrics={"period": float(step.period), "gain": source.gain})
    return scores


def trees_walk_forward(
    source: TreesLabel,
    steps: Sequence[Step],
    panel: LabelPanel,
    walk: WalkForward,
    *,
    resumed: ResumedScores | None = None,
) -> Flow[TrainingResult]:
    """Run the schedule of :func:`vfl.walk.refits.refits`. resumed: what ``source`` was resumed from.

    Scores are as :func:`vfl.models.sealed.walk.shown_scores` has them, which this side does alone. No loss opens, so
    the result has none.
    Raises LocalProtocolError where there are several horizons, which a split network has.

    Learns: of each level the pairs of anonymous candidates; the score of every predicted row.
    Leaks: as :meth:`vfl.models.trees.label.TreesLabel.grow` and ``predict``.
    Model: semi-honest.
    Source: docs/protocols/trees.md#a-tree.
    """
    if panel.further:
        raise LocalProtocolError('sealed trees have one horizon: set model.kind = "split" for several')
    labels = fitted_labels(panel, walk)
    yield from source.start()
    scores = yield from grow_steps(source, steps, lambda step: labels.at(step.period, step.rows), resumed=resumed)
    yield from source.finish()
    return sealed_result(steps, panel, scores)


def trees_static(source: TreesLabel, steps: Sequence[Step], label: F64) -> Flow[F64]:
    """Run the steps of :func:`vfl.walk.refits.refits_static`; scores float64 (n,), NaN where none is predicted.

    label: as of :func:`vfl.models.sealed.columns.static_labels`, whatever where a row is not fitted.

    Learns: of each level the pairs of anonymous candidates; the score of every predicted row.
    Leaks: as :meth:`vfl.models.trees.label.TreesLabel.grow` and ``predict``.
    Model: semi-honest.
    Source: docs/protocols/trees.md#a-tree.
    """
    yield from source.start()
    found: Mapping[int, F64] = yield from grow_steps(source, steps, lambda step: label[step.rows])
    yield from source.finish()
    scores = np.full(len(label), np.nan)
    for step in steps:
        if step.kind == "predict":
            scores[step.rows] = found[step.number]
    return scores
