"""Panels: what a node has after the point-in-time join, in the shared row order.

A panel has T periods and n aligned entities; row id = period * n + entity. All times are UTC.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Calendar", "FeaturePanel", "LabelPanel"]

Times = NDArray[np.datetime64]


@dataclass(frozen=True)
class Calendar:
    """Decision periods: names, period ends and cutoffs (datetime64[ns], UTC), each of length T."""

    periods: tuple[str, ...]
    ends: Times
    cutoffs: Times

    def __len__(self) -> int:
        return len(self.periods)


@dataclass(frozen=True)
class FeaturePanel:
    """One party's model-ready features.

    values: float64 (T, n, d), finite, clipped, standardised per period; missing is 0.
    covered: bool (T, n), true where the party had any observation.
    asof: datetime64[ns] (T, n), date of the observation used, NaT where none.
    available_at: datetime64[ns] (T, n), when it became available, NaT where none; never after the cutoff.
    contents: uint8 (T, n, 16), equal where rows hold equal raw values; None where nobody asked. row_bits: what a new
    row tells in all raw columns, in bits; value_bits: of one value of each column, (d,). missing: bool (T, n, d), which
    values stand for missing ones; None where columns were mixed, or nobody asked.
    """

    columns: tuple[str, ...]
    values: NDArray[np.float64]
    covered: NDArray[np.bool_]
    asof: Times
    available_at: Times
    contents: NDArray[np.uint8] | None = None
    row_bits: float = 0.0
    missing: NDArray[np.bool_] | None = None
    value_bits: tuple[float, ...] = ()

    @property
    def rows(self) -> NDArray[np.float64]:
        """values as (T * n, d), in row-id order."""
        periods, entities, columns = self.values.shape
        return self.values.reshape(periods * entities, columns)


@dataclass(frozen=True)
class LabelPanel:
    """The label party's panel.

    features: its own features. label: float64 (T, n), standardised per period, NaN where unknown.
    known_from: int64 (T, n), index of the first period whose cutoff is at or after the label's
    availability (T where never). universe: bool (T, n), rows the party predicts. further, further_known: the same of
    the labels of further horizons, in agreed order. scale: mean and deviation that the labels of static data were
    standardised by, which are fitted as they are; None where those of a period are ranked.
    """

    features: FeaturePanel
    label: NDArray[np.float64]
    known_from: NDArray[np.int64]
    universe: NDArray[np.bool_]
    further: tuple[NDArray[np.float64], ...] = ()
    further_known: tuple[NDArray[np.int64], ...] = ()
    scale: tuple[float, float] | None = None

    def labels_at(self, period: int, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Labels of these row ids for training at decision ``period``: (B,), or (B, horizons) where there are several.

        A further horizon's label that is not known by then is NaN. The first label's rows are the schedule's to choose.
        """
        first: NDArray[np.float64] = self.label.reshape(-1)[rows]
        if not self.further:
            return first
        others = [
            np.where(known.reshape(-1)[rows] <= period, label.reshape(-1)[rows], np.nan)
            for label, known in zip(self.further, self.further_known, strict=True)
        ]
        return np.stack([first, *others], axis=1)
