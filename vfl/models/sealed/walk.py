"""Training of the sealed network over a schedule: the label party's flow, walk-forward or static."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, LocalProtocolError, Progress
from vfl.factors.panel import LabelPanel
from vfl.models.sealed.columns import fitted_labels
from vfl.models.sealed.label import SealedLabel
from vfl.models.sealed.records import ResumedScores
from vfl.terms import WalkForward
from vfl.walk.result import TrainingResult
from vfl.walk.schedule import Step

__all__ = [
    "centred_scores",
    "sealed_result",
    "sealed_static",
    "sealed_walk_forward",
    "shown_scores",
]

F64 = NDArray[np.float64]


def sealed_walk_forward(
    source: SealedLabel,
    steps: Sequence[Step],
    panel: LabelPanel,
    walk: WalkForward,
    *,
    resumed: ResumedScores | None = None,
) -> Flow[TrainingResult]:
    """Run the schedule: train or predict, step by step. resumed: what ``source`` was resumed from.

    Scores are as :func:`shown_scores` has them, which this side does alone. Nothing else opens, so the result has no
    losses, embeddings or heads. Yields Progress in rows; its metric is the decision period's index.
    Raises LocalProtocolError where there are several horizons, which a split network has.

    Learns: the score of every predicted row.
    Leaks: as :meth:`SealedLabel.train` and :meth:`SealedLabel.predict`.
    Model: semi-honest.
    Source: docs/protocols/sealed.md#a-step.
    """
    if panel.further:
        raise LocalProtocolError('a sealed network has one horizon: set model.kind = "split" for several')
    labels = fitted_labels(panel, walk)
    scores: dict[int, F64] = {}
    yield from source.start()
    done, total = 0, sum(len(step.rows) for step in steps)
    for step in steps:
        before = resumed is not None and step.number < resumed.record.step
        if step.kind == "predict":
            found = resumed.scores[step.number] if resumed and before else (yield from source.predict(step))
            scores[step.number] = found
        elif not before:
            yield from source.train(step, labels.at(step.period, step.rows))
        done += len(step.rows)
        if not before:
            yield Progress(done, total, metrics={"period": float(step.period)})
    yield from source.finish()
    return sealed_result(steps, panel, scores)


def sealed_result(steps: Sequence[Step], panel: LabelPanel, scores: Mapping[int, F64]) -> TrainingResult:
    """What a run leaves: ``scores`` (B,) of each prediction, by step number, as :func:`shown_scores` has them."""
    periods, entities = panel.label.shape
    found = np.full(periods * entities, np.nan)
    openings = np.zeros(periods * entities, dtype=np.int64)
    for step in steps:
        if step.kind == "predict":
            found[step.rows] = scores[step.number]
            openings[step.rows] += 1
    return TrainingResult(
        shown_scores(panel, found),
        np.zeros((periods, entities, 0)),
        np.zeros(0),
        np.zeros(0),
        openings.reshape(periods, entities),
        {},
        tuple(steps),
    )


def shown_scores(panel: LabelPanel, scores: F64) -> F64:
    """Scores (rows,) as (T, n): centred within each period; those of static data as they are, on the label's scale."""
    placed = scores.reshape(panel.label.shape)
    return placed if panel.scale is not None else centred_scores(placed)


def centred_scores(scores: F64) -> F64:
    """Scores (T, n) less each period's mean; NaN stays."""
    found = np.isfinite(scores)
    count = np.maximum(found.sum(axis=1, keepdims=True), 1)
    centred: F64 = scores - np.where(found, scores, 0.0).sum(axis=1, keepdims=True) / count
    return centred


def sealed_static(source: SealedLabel, steps: Sequence[Step], label: F64) -> Flow[F64]:
    """Run the steps of :func:`vfl.walk.cycles.cyclic_static`; scores float64 (n,), NaN where nothing is
    predicted. label: as of :func:`vfl.models.sealed.columns.static_labels`.

    Learns: the score of every predicted row.
    Leaks: as :meth:`SealedLabel.train` and :meth:`SealedLabel.predict`.
    Model: semi-honest.
    Source: docs/protocols/sealed.md#a-step.
    """
    scores = np.full(len(label), np.nan)
    done, total = 0, sum(len(step.rows) for step in steps)
    yield from source.start()
    for step in steps:
        if step.kind == "predict":
            found = yield from source.predict(step)
            scores[step.rows] = found
        else:
            yield from source.train(step, label[step.rows])
        done += len(step.rows)
        yield Progress(done, total)
    yield from source.finish()
    return scores
