"""Walk-forward ridge: the schedule, the algorithm over a sealed or plain linear source, and its plaintext twin.

A row enters the moments once, when its label has resolved, so a refit costs one solve whatever the history.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from psi.flow import Flow, run_alone
from vfl.factors.panel import FeaturePanel, LabelPanel
from vfl.models.ridge.moments import Moments, RidgeSolution, moments_from, moments_of, moments_to, solve_ridge
from vfl.models.walk_log import WalkLog
from vfl.protocols.opened_numbers import ClearNoise
from vfl.protocols.resume import Resumed, WalkJournal
from vfl.terms import RidgeModel, WalkForward
from vfl.walk.result import TrainingResult
from vfl.walk.schedule import PREDICT_ROWS, Step, first_prediction, resolved_at

__all__ = [
    "LinearSource",
    "PlainLinear",
    "RidgeHead",
    "ridge_in_the_clear",
    "ridge_steps",
    "ridge_walk_forward",
]

SCORE_DEVIATION = 0.5
"""Standard deviation at most of an opened part of a score, which opens between -2 and 2."""

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


class RidgeHead:
    """The label party's part of a score: intercept and own columns; the feature parties' part is the opened sum.

    ``moments``: of all rows that have entered, from which it was solved. ``scale``: what the opened sum is multiplied
    by beside a score, a power of two: it opens under noise of an agreed size, so it is made large enough for it.
    """

    width = 1

    def __init__(self, own: int) -> None:
        self.own = own
        self._weights: F64 = np.zeros(own)
        self._intercept = 0.0
        self.scale = 1.0
        self.moments: Moments | None = None

    def snapshot(self) -> bytes:
        """What :meth:`restore` takes, before anything is solved again."""
        return moments_to(self.moments)

    def restore(self, data: bytes) -> None:
        self.moments = moments_from(data)

    def take(self, solution: RidgeSolution) -> F64:
        """Keep what is the label party's; returns the feature parties' coefficients (D,), times ``scale``."""
        split = len(solution.coefficients) - self.own
        self._weights, self._intercept = solution.coefficients[split:], solution.intercept
        coefficients: F64 = solution.coefficients[:split]
        self.scale = _scale(coefficients, self.moments)
        return coefficients * self.scale

    def predict(self, z: F64, own: F64) -> F64:
        """Scores float64 (B,) of opened sums (B, 1) and own features (B, d_own)."""
        scores: F64 = z[:, 0] / self.scale + own @ self._weights + self._intercept
        return scores

    def scorer(self) -> bytes:
        """This head as safetensors."""
        return safetensors.numpy.save({"own": self._weights, "line": np.array([self._intercept, self.scale])})

    def load_scorer(self, data: bytes) -> None:
        """Take the head from :meth:`scorer`. Raises ValueError when the shapes do not fit."""
        tensors = safetensors.numpy.load(data)
        if {k: v.shape for k, v in tensors.items()} != {"own": (self.own,), "line": (2,)}:
            raise ValueError("the saved head has other shapes; use the terms it was fitted under")
        self._weights, (self._intercept, self.scale) = tensors["own"], tensors["line"].tolist()


def _scale(coefficients: F64, moments: Moments | None) -> float:
    """The power of two that brings the feature parties' part of a score to at most ``SCORE_DEVIATION``."""
    if moments is None or not len(coefficients):
        return 1.0
    gram = moments.gram[: len(coefficients), : len(coefficients)]
    deviation = math.sqrt(max(float(coefficients @ gram @ coefficients) / moments.rows, 0.0))
    return 2.0 ** max(-20, min(20, math.floor(math.log2(SCORE_DEVIATION / deviation)))) if deviation > 0 else 1.0


class LinearSource(Protocol):
    """The label party's side of a linear model over all feature parties."""

    def moments(self, step: int, rows: I64, own: F64, label: F64) -> Flow[Moments]:
        """Moments of these rows; columns: all feature parties', then ``own`` (n, d_own)."""

    def use(self, coefficients: F64) -> None:
        """Score with these coefficients (D,) from now on."""

    def forward(self, step: int, rows: I64) -> Flow[F64]:
        """Open the scores of these rows: sum_k X_k[rows] beta_k, float64 (B, 1)."""


class PlainLinear:
    """:class:`LinearSource` on pooled features ``features[k]`` (T * n, d_k), without encryption.

    noise: what the sealed run's parties added to what opened.
    """

    def __init__(self, features: Sequence[F64], rows: int, noise: ClearNoise | None = None) -> None:
        self._features = [*features]
        self._columns = np.concatenate([np.zeros((rows, 0)), *features], axis=1)
        self._coefficients: F64 = np.zeros(self._columns.shape[1])
        self._kept: dict[int, list[F64]] = {}
        self._noise = noise

    def moments(self, step: int, rows: I64, own: F64, label: F64) -> Flow[Moments]:
        """Moments of the rows, over all parties' columns and the label.

        Learns: what it returns, from features that are all in one place.
        Leaks: nothing: no message is sent.
        Model: none; this is the plain twin that a sealed run is compared with.
        Source: docs/protocols/ridge.md#the-protocol.
        """
        yield from ()
        return moments_of(np.concatenate([self._columns[rows], own], axis=1), label)

    def use(self, coefficients: F64) -> None:
        self._coefficients = coefficients

    def forward(self, step: int, rows: I64) -> Flow[F64]:
        """The feature parties' part of the scores, float64 (B, 1).

        Learns: what it returns, from features that are all in one place.
        Leaks: nothing: no message is sent.
        Model: none; this is the plain twin that a sealed run is compared with.
        Source: docs/protocols/ridge.md#the-protocol.
        """
        yield from ()
        ends = np.cumsum([0, *(x.shape[1] for x in self._features)])
        parts = [
            x[rows] @ self._coefficients[a:b, None] for x, a, b in zip(self._features, ends, ends[1:], strict=False)
        ]
        self._kept[step] = parts if self._noise is None else self._noise.noisy(parts, step, rows)
        return self._opened(self._kept[step], len(rows))

    def _opened(self, parts: Sequence[F64], rows: int) -> F64:
        total: F64 = np.sum(parts, axis=0) if parts else np.zeros((rows, 1))
        return total if self._noise is None else self._noise.opened(total)

    def coalition(self, members: Sequence[int], steps: Sequence[Step]) -> F64:
        """Sums over ``members`` alone at these prediction steps, float64 (rows, 1) in their order."""
        return np.concatenate(
            [self._opened([self._kept[step.number][k] for k in members], len(step.rows)) for step in steps]
        )


def ridge_steps(
    terms: RidgeModel, walk: WalkForward, panel: LabelPanel, features: int, row_limit: int, reserved: int
) -> Iterator[Step]:
    """The walk-forward schedule: at each period resolved rows enter the moments ("train"), then its rows are predicted.

    A block waits until ``terms.smallest_block`` rows have resolved, so no small sum is ever opened.
    ``features``: columns of all feature parties. ``row_limit`` and ``reserved`` as in ``prequential``.
    Raises ValueError when nothing can be predicted, or the openings do not suffice.
    """
    if row_limit < 2 + reserved:
        raise ValueError(
            f"row_limit {row_limit} is too small for one entry into the moments, one prediction and {reserved} for "
            'coalitions: raise openings.limit_per_row, or set openings.contribution = "none"'
        )
    resolved = resolved_at(walk, panel.known_from, panel.label, panel.universe)
    periods, entities = panel.label.shape
    label_columns = panel.features.values.shape[-1] + 1
    start, least = first_prediction(walk, resolved), terms.smallest_block(features, label_columns)
    flat = resolved.reshape(-1)
    while start < periods and int((flat <= start).sum()) < least:
        start += 1
    if start >= periods:
        raise ValueError(
            f"no period can be predicted: {least} rows with labels known in time are needed first, for {features} "
            f"columns and {label_columns} of the label party; lower walk_forward.warmup or model.rows_per_column, or "
            "lengthen the calendar"
        )
    number, entered = 0, -1
    for period in range(start, periods):
        due = np.flatnonzero((flat > entered) & (flat <= period)).astype(np.int64)
        if len(due) >= least:
            yield Step(number, "train", period, due)
            number, entered = number + 1, period
        ask = period * entities + np.flatnonzero(panel.universe[period]).astype(np.int64)
        for first in range(0, len(ask), PREDICT_ROWS):
            yield Step(number, "predict", period, ask[first : first + PREDICT_ROWS])
            number += 1


def ridge_walk_forward(
    source: LinearSource,
    head: RidgeHead,
    alpha: float,
    steps: Sequence[Step],
    panel: LabelPanel,
    *,
    journal: WalkJournal | None = None,
    resumed: Resumed | None = None,
) -> Flow[TrainingResult]:
    """Run the schedule: add moments and solve again, or open scores, step by step.

    ``journal`` keeps what a crash must not lose; ``resumed`` is its record of the step to go on from. ``losses`` of the
    result are mean squared errors over all rows fitted on so far; ``ics`` are NaN.

    Learns: what ``source`` opens: moments of each block, in the parties' secret bases, and one score a predicted row.
    Leaks: to the feature parties which rows enter the model and which are predicted, at which step.
    Model: that of ``source``; this loop sends nothing of its own.
    Source: docs/protocols/ridge.md#the-protocol.
    """
    own, label = panel.features.rows, panel.label.reshape(-1)
    log = WalkLog(panel, steps, 1, journal, resumed)
    if resumed is not None:
        head.restore(resumed.head)
        if head.moments is not None:
            source.use(head.take(solve_ridge(head.moments, alpha)))
    for step in log.left:
        rows = step.rows
        log.begin(step, head.snapshot)
        if step.kind == "train":
            block = yield from source.moments(step.number, rows, own[rows], label[rows])
            head.moments = block if head.moments is None else head.moments + block
            solution = solve_ridge(head.moments, alpha)
            source.use(head.take(solution))
            log.trained(solution.mean_square)
        else:
            z = yield from source.forward(step.number, rows)
            log.predicted(step, z, head.predict(z, own[rows]), head.scorer())
        yield log.done(step, {"loss": log.losses[-1]})
    return log.result()


def ridge_in_the_clear(
    panels: Sequence[FeaturePanel],
    label_panel: LabelPanel,
    terms: RidgeModel,
    walk: WalkForward,
    features: int,
    *,
    row_limit: int = 2,
    reserved: int = 0,
    noise: ClearNoise | None = None,
) -> tuple[TrainingResult, PlainLinear]:
    """The same walk on pooled panels, or on the label party's own columns where there are none.

    ``features``: number of columns that sets the smallest block.
    """
    steps = tuple(ridge_steps(terms, walk, label_panel, max(features, 1), row_limit, reserved))
    source = PlainLinear([panel.rows for panel in panels], label_panel.label.size, noise)
    head = RidgeHead(label_panel.features.values.shape[-1])
    return run_alone(ridge_walk_forward(source, head, terms.alpha, steps, label_panel)), source
