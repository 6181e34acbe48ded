"""The plaintext twin: the same training on pooled features, without encryption.

It is the oracle of the sealed layer, and on demo data it tells what each party reaches alone. In a
real run nobody holds the pooled features, so nobody can run it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, run_alone
from vfl.arithmetic.ring import encode_features
from vfl.factors.panel import FeaturePanel, LabelPanel
from vfl.models.ridge.moments import moments_of
from vfl.models.ridge.walk import PlainLinear, ridge_in_the_clear
from vfl.models.split.initial import initial_share, warm_column
from vfl.models.split.top import LabelHead
from vfl.models.split.training import walk_forward
from vfl.protocols.opened_numbers import ClearNoise
from vfl.terms import FixedPoint, RidgeModel, SplitModel, WalkForward
from vfl.walk.result import TrainingResult
from vfl.walk.schedule import Step, prequential, warm_up_rows

__all__ = ["PlainSource", "alone", "initial_weights", "train_in_the_clear"]


class PlainSource:
    """Source layer on pooled float64 features: ``features[k]`` (T * n, d_k), ``weights[k]`` (d_k, h).

    ``keep`` names steps whose parts will be asked for again by :meth:`coalition`. noise: what the sealed run added.
    """

    def __init__(
        self,
        features: Sequence[NDArray[np.float64]],
        weights: Sequence[NDArray[np.float64]],
        *,
        width: int,
        keep: Sequence[int] = (),
        noise: ClearNoise | None = None,
    ) -> None:
        if [x.shape[1] for x in features] != [w.shape[0] for w in weights]:
            raise ValueError("each party needs one feature matrix (rows, d_k) and one weight matrix (d_k, h)")
        self.features = list(features)
        self.weights = [w.astype(np.float64) for w in weights]
        self.width = width
        self._keep = frozenset(keep)
        self._kept: dict[int, list[NDArray[np.float64]]] = {}
        self._noise = noise

    def forward(self, step: int, rows: NDArray[np.int64]) -> Flow[NDArray[np.float64]]:
        """Sum over parties of X_k[rows] W_k, float64 (B, h).

        Learns: what it returns, from features that are all in one place.
        Leaks: nothing: no message is sent.
        Model: none; this is the plain twin that a sealed run is compared with.
        Source: docs/protocols/split.md#a-step.
        """
        yield from ()
        parts = [x[rows] @ w for x, w in zip(self.features, self.weights, strict=True)]
        if self._noise is not None:
            parts = self._noise.noisy(parts, step, rows)
        if step in self._keep:
            self._kept[step] = parts
        return self._opened(parts, len(rows))

    def _opened(self, parts: Sequence[NDArray[np.float64]], rows: int) -> NDArray[np.float64]:
        total = np.sum(parts, axis=0) if parts else np.zeros((rows, self.width))
        return total if self._noise is None else self._noise.opened(total)

    def backward(self, step: int, rows: NDArray[np.int64], gradient: NDArray[np.float64]) -> Flow[None]:
        """W_k -= X_k[rows].T @ gradient.

        Learns: what it returns, from features that are all in one place.
        Leaks: nothing: no message is sent.
        Model: none; this is the plain twin that a sealed run is compared with.
        Source: docs/protocols/split.md#a-step.
        """
        yield from ()
        for x, w in zip(self.features, self.weights, strict=True):
            w -= x[rows].T @ gradient

    def coalition(self, members: Sequence[int], steps: Sequence[Step]) -> NDArray[np.float64]:
        """Sums over ``members`` alone at these kept prediction steps, float64 (rows, h) in their order."""
        return np.concatenate(
            [self._opened([self._kept[step.number][k] for k in members], len(step.rows)) for step in steps]
        )


def initial_weights(
    seeds: Sequence[tuple[bytes, bytes]], columns: Sequence[int], width: int, fixed_point: FixedPoint
) -> list[NDArray[np.float64]]:
    """The weights that a sealed run starts from, given both sides' secret seeds per feature party."""
    scale = 2.0**fixed_point.weight_bits
    total = sum(columns)
    return [
        (
            initial_share(ours, (d, width), fixed_point, total) + initial_share(theirs, (d, width), fixed_point, total)
        ).astype(np.float64)
        / scale
        for (ours, theirs), d in zip(seeds, columns, strict=True)
    ]


def train_in_the_clear(
    panels: Sequence[FeaturePanel],
    label_panel: LabelPanel,
    terms: SplitModel | RidgeModel,
    walk: WalkForward,
    *,
    row_limit: int,
    reserved: int,
    weights: Sequence[NDArray[np.float64]],
    fixed_point: FixedPoint | None = None,
    noise: ClearNoise | None = None,
) -> tuple[TrainingResult, PlainSource | PlainLinear]:
    """Walk forward on pooled panels, in feature-party order; also returns the source, for coalitions.

    A ridge has neither initial weights nor a use for rounded features: it takes ``row_limit`` and ``reserved`` alone.

    noise: what the sealed run's parties added to what opened; none, where nothing opens.
    With ``fixed_point``, features are first rounded as the sealed layer encodes them, so what remains
    between the two is the gradient's rounding. Without, plain floats throughout. A warm-started run's panels are
    to be given as :func:`turned_columns` left them, since the initial weights belong to those bases.
    """
    if isinstance(terms, RidgeModel):
        columns = sum(panel.values.shape[-1] for panel in panels)
        return ridge_in_the_clear(
            panels, label_panel, terms, walk, columns, row_limit=row_limit, reserved=reserved, noise=noise
        )
    steps = tuple(
        prequential(terms, walk, label_panel.known_from, label_panel.label, label_panel.universe, row_limit, reserved)
    )
    features = [panel.rows if fixed_point is None else _rounded(panel.rows, fixed_point) for panel in panels]
    if terms.warm_start == "ridge" and panels:
        weights = _warmed([panel.rows for panel in panels], label_panel, terms, walk, weights)
    width = terms.embedding_width if panels else 0
    predicted = [step.number for step in steps if step.kind == "predict"]
    source = PlainSource(features, weights, width=width, keep=predicted, noise=noise)
    head = LabelHead(terms, label_panel.features.values.shape[-1], width=width, shares=walk.shares)
    return run_alone(walk_forward(source, head, steps, label_panel)), source


def _warmed(
    features: Sequence[NDArray[np.float64]],
    panel: LabelPanel,
    terms: SplitModel,
    walk: WalkForward,
    weights: Sequence[NDArray[np.float64]],
) -> list[NDArray[np.float64]]:
    """Initial weights with the ridge on the warm-up rows added to their first column."""
    rows = warm_up_rows(walk, panel.known_from, panel.label, panel.universe)
    pooled = np.concatenate([*(x[rows] for x in features), panel.features.rows[rows]], axis=1)
    ends = np.cumsum([0, *(x.shape[1] for x in features)])
    column = warm_column(moments_of(pooled, panel.label.reshape(-1)[rows]), terms.warm_start_alpha, int(ends[-1]))
    warmed = [w.copy() for w in weights]
    for w, first, last in zip(warmed, ends, ends[1:], strict=False):
        w[:, 0] += column[first:last]
    return warmed


def _rounded(values: NDArray[np.float64], fixed_point: FixedPoint) -> NDArray[np.float64]:
    encoded = encode_features(values, fixed_point.feature_bits, fixed_point.clip)
    rounded: NDArray[np.float64] = np.ldexp(encoded.astype(np.float64), -fixed_point.feature_bits)
    return rounded


def alone(
    panel: FeaturePanel | None,
    label_panel: LabelPanel,
    terms: SplitModel | RidgeModel,
    walk: WalkForward,
    *,
    weights: NDArray[np.float64] | None = None,
) -> TrainingResult:
    """The same training with one fund only: ``panel`` without the label party's features, or, with None, these alone.

    Nothing is opened to anyone here, so no budget cuts the schedule short: each fund gets the full epochs.
    """
    row_limit = 1 + max(terms.epochs, terms.warmup_epochs)
    if panel is None:
        return train_in_the_clear([], label_panel, terms, walk, row_limit=row_limit, reserved=0, weights=[])[0]
    if weights is None:
        raise ValueError("a feature party trained alone needs initial weights, float64 (d, h)")
    nothing = replace(label_panel.features, columns=(), values=np.zeros((*label_panel.label.shape, 0)))
    blind = replace(label_panel, features=nothing)
    return train_in_the_clear([panel], blind, terms, walk, row_limit=row_limit, reserved=0, weights=[weights])[0]
