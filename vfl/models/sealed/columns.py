"""What goes into the sealed network: a party's columns as small integers, and the label party's labels as it fits them.

Both are made at home and cost no message.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vfl.arithmetic.ring import encode_features
from vfl.factors.panel import LabelPanel
from vfl.terms import FixedPoint, SealedModel, WalkForward
from vfl.walk.schedule import resolved_at

__all__ = [
    "Columns",
    "FittedLabels",
    "SealedColumns",
    "SealedLabels",
    "fitted_labels",
    "sealed_columns",
    "static_labels",
]

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

_CHECKED = 1 << 16
"""Rows looked at together."""


def sealed_columns(values: F64, terms: SealedModel, fixed: FixedPoint) -> I64:
    """A party's columns (rows, d) as small integers, rows longer than terms.row_clip * sqrt(d) scaled down to it.

    Heavy tails in few rows would drive the squared columns apart; the clip touches 1 row in 200 of usual data. Refuses
    NaN and Inf with ValueError.
    """
    inside = np.clip(values, -fixed.clip, fixed.clip)
    lengths = np.sqrt(np.square(inside).sum(axis=1, keepdims=True))
    longest = terms.row_clip * math.sqrt(max(values.shape[1], 1))
    scale = np.minimum(1.0, longest / np.where(lengths > 0, lengths, 1.0))
    return encode_features(inside * scale, fixed.feature_bits, fixed.clip)


class Columns(Protocol):
    """A party's columns as small integers: an array (rows, d), or :class:`SealedColumns`."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: I64, /) -> I64: ...


class SealedColumns:
    """What :func:`sealed_columns` gives, of the rows that are asked for: a large panel is held once, as it is.

    values: float64 (rows, d), finite, else ValueError.
    """

    def __init__(self, values: F64, terms: SealedModel, fixed: FixedPoint) -> None:
        for start in range(0, len(values), _CHECKED):
            if not np.isfinite(values[start : start + _CHECKED]).all():
                raise ValueError("a feature is not finite: impute it before training")
        self.shape = values.shape
        self._values, self._terms, self._fixed = values, terms, fixed

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, rows: I64, /) -> I64:
        return sealed_columns(self._values[rows], self._terms, self._fixed)


class SealedLabels:
    """Labels as the network fits them: in each period the normal scores of the ranks of those that are known.

    label: float64 (T, n), NaN where unknown. resolved: int64 (T, n), first decision period at which a row may be
    trained on, as :func:`vfl.walk.schedule.resolved_at` says. Point in time: a rank is among the labels known by then.
    """

    def __init__(self, label: F64, resolved: I64) -> None:
        self._label, self._resolved = label, resolved
        order = np.argsort(resolved, axis=None, kind="stable")
        self._due, self._owners = resolved.reshape(-1)[order], (order // label.shape[1]).astype(np.int32)
        self._scores = np.zeros(label.shape)
        self._stale = np.zeros(len(label), dtype=bool)
        self._period = int(self._due[0]) - 1 if len(self._due) else 0

    def at(self, period: int, rows: I64) -> F64:
        """Normal scores (B,) of these rows at decision ``period``: mean 0 and deviation 1 over each period's rows."""
        between = sorted((self._period, period))
        first, last = np.searchsorted(self._due, between, side="right")
        self._stale[self._owners[first:last]] = True
        self._period = period
        owners = rows // self._label.shape[1]
        for owner in np.unique(owners[self._stale[owners]]):
            self._scores[owner] = _normal_scores(self._label[owner], self._resolved[owner] <= period)
            self._stale[owner] = False
        found: F64 = self._scores.reshape(-1)[rows]
        return found


class FittedLabels(Protocol):
    """Labels as a model fits them."""

    def at(self, period: int, rows: I64, /) -> F64:
        """Of these rows at decision ``period``, float64 (B,)."""


class _AsTheyAre:
    def __init__(self, label: F64) -> None:
        self._label = label.reshape(-1)

    def at(self, period: int, rows: I64, /) -> F64:
        del period
        found: F64 = self._label[rows]
        return found


def fitted_labels(panel: LabelPanel, walk: WalkForward) -> FittedLabels:
    """The panel's labels as a model fits them: ranks of a period, or static data's as they are."""
    if panel.scale is not None:
        return _AsTheyAre(panel.label)
    return SealedLabels(panel.label, resolved_at(walk, panel.known_from, panel.label, panel.universe))


def _normal_scores(label: F64, known: NDArray[np.bool_]) -> F64:
    from scipy.special import ndtri  # the label party alone scores labels, and these take seconds to load
    from scipy.stats import rankdata

    scores = np.zeros(len(label))
    values = label[known]
    if len(values):
        made = ndtri((rankdata(values) - 0.5) / len(values))
        made -= made.mean()
        spread = float(made.std())
        scores[known] = made / spread if spread > 0 else 0.0
    return scores


def static_labels(label: F64) -> F64:
    """Labels (n,) of static data, a regression's or 0 and 1, with mean 0 and deviation 1; NaN stays where unknown.

    Raises ValueError where those that are known are infinite or all the same.
    """
    known = label[~np.isnan(label)]
    spread = float(known.std()) if len(known) else 0.0
    if not np.isfinite(known).all() or spread == 0:
        raise ValueError("static labels are finite and not all the same")
    standard: F64 = (label - known.mean()) / spread
    return standard
