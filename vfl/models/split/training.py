"""Walk-forward training: one algorithm, whatever the source layer is made of.

The sealed source layer (``vfl.models.split.label``) and the plain one (``vfl.models.split.twin``) offer the same two
flows, so the encrypted run and its plaintext twin execute this very code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow
from vfl.factors.panel import LabelPanel
from vfl.models.split.losses import targets
from vfl.models.split.top import LabelHead
from vfl.models.walk_log import WalkLog
from vfl.protocols.resume import Resumed, WalkJournal
from vfl.walk.result import TrainingResult
from vfl.walk.schedule import Step

__all__ = ["Scorer", "Source", "score_coalition", "scores_by_horizon", "walk_forward"]


class Scorer(Protocol):
    """What turns opened embeddings and own features into scores, and can be set back to an earlier period."""

    def load_scorer(self, data: bytes) -> None:
        """Take the state in ``data``."""

    def predict(self, z: NDArray[np.float64], own: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scores (B,) of embeddings (B, h) and own features (B, d_own)."""


class Source(Protocol):
    """The label party's side of a source layer."""

    def forward(self, step: int, rows: NDArray[np.int64]) -> Flow[NDArray[np.float64]]:
        """Open the embedding sum of these rows: float64 (B, h)."""

    def backward(self, step: int, rows: NDArray[np.int64], gradient: NDArray[np.float64]) -> Flow[None]:
        """W_k -= X_k[rows].T @ gradient at every feature party; gradient float64 (B, h)."""


def walk_forward(
    source: Source,
    head: LabelHead,
    steps: Sequence[Step],
    panel: LabelPanel,
    *,
    journal: WalkJournal | None = None,
    resumed: Resumed | None = None,
    opened: dict[int, NDArray[np.float64]] | None = None,
) -> Flow[TrainingResult]:
    """Run the schedule: open, predict or train, step by step.

    ``journal`` keeps what a crash must not lose; ``resumed`` is its record of the step to go on from. ``opened`` takes
    every step's sums (B, h), by step number; it holds those before ``resumed``.
    Yields Progress in opened rows; its metrics are the decision period's index, and the loss and IC of the last
    training batch.

    Learns: the sum of embeddings that ``source`` opens of each row at each step.
    Leaks: to the feature parties which rows are trained on and predicted, at which step.
    Model: that of ``source``; this loop sends nothing of its own.
    Source: docs/protocols/split.md#a-step.
    """
    entities, own = panel.label.shape[1], panel.features.rows
    log = WalkLog(panel, steps, head.width, journal, resumed)
    if resumed is not None:
        head.restore(resumed.head)
    for step in log.left:
        rows = step.rows
        log.begin(step, head.snapshot)
        z = yield from source.forward(step.number, rows)
        if opened is not None:
            opened[step.number] = z
            log.opened(step, z)
        if step.kind == "predict":
            log.predicted(step, z, head.predict(z, own[rows]), head.scorer())
        else:
            label = targets(head.terms.loss, panel.labels_at(step.period, rows))
            gradient = head.train_batch(z, own[rows], label, rows // entities)
            log.trained(head.loss, head.ic)
            yield from source.backward(step.number, rows, gradient)
        yield log.done(step, _metrics(head))
    return log.result()


def _metrics(head: LabelHead) -> dict[str, float]:
    return {name: value for name, value in (("loss", head.loss), ("ic", head.ic)) if np.isfinite(value)}


def scores_by_horizon(head: LabelHead, result: TrainingResult, panel: LabelPanel) -> NDArray[np.float64]:
    """Each output's scores (T, n, horizons), NaN where nothing was predicted, by the top models as they were then.

    ``head`` lends its shape, and ends with the model of the last period.
    """
    scores = np.full((*result.scores.shape, head.horizons), np.nan)
    for period, data in result.heads.items():
        predicted = np.isfinite(result.scores[period])
        head.load_scorer(data)
        z, own = result.embeddings[period, predicted], panel.features.values[period, predicted]
        scores[period, predicted] = head.predict_each(z, own)
    return scores


def score_coalition(
    head: Scorer, result: TrainingResult, panel: LabelPanel, embeddings: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Scores (T, n) had only a coalition taken part: NaN where ``result`` has no prediction.

    embeddings: float64 (T, n, h), each predicted row's sum over the coalition alone, under the source weights
    of its prediction step (zeros for the empty coalition). Each period is scored by the top model
    as it was then; ``head`` lends its shape, and ends with the model of the last period.
    """
    scores = np.full_like(result.scores, np.nan)
    for period, data in result.heads.items():
        predicted = np.isfinite(result.scores[period])
        z = embeddings[period, predicted]
        if not np.isfinite(z).all():
            raise ValueError(f"period {period}: the coalition's embeddings lack rows that were predicted")
        head.load_scorer(data)
        scores[period, predicted] = head.predict(z, panel.features.values[period, predicted])
    return scores
