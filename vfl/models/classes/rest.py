"""Labels of one class against the rest, and the estimates of all classes from their models' scores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vfl.factors.panel import LabelPanel

__all__ = ["against_the_rest", "class_name", "class_scores"]

F64 = NDArray[np.float64]


def class_name(number: int) -> str:
    """Name of a class's model: of its records, sessions and secrets."""
    return f"class-{number}"


def against_the_rest(panel: LabelPanel, number: int) -> LabelPanel:
    """The panel of a label that is 1 for this class and 0 for the others, standardised by the training rows alone.

    panel: labels are numbers of classes; its first period has the training rows.
    """
    inside = np.where(np.isfinite(panel.label), (panel.label == number).astype(np.float64), np.nan)
    known = inside[0][panel.universe[0] & np.isfinite(inside[0])]
    centre, spread = float(known.mean()), float(known.std())
    return replace(panel, label=(inside - centre) / spread, scale=(centre, spread))


def class_scores(panels: list[LabelPanel], scores: list[F64]) -> F64:
    """Estimates (T, n, classes) of the share of each class, from standardised scores (T, n) of each one's model."""
    made = []
    for panel, standard in zip(panels, scores, strict=True):
        assert panel.scale is not None
        centre, spread = panel.scale
        made.append(centre + spread * standard)
    return np.stack(made, axis=2)
