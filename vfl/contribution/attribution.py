"""Attribution: how much of the factor's covariance with the label runs through each feature party's embedding.

It explains the model's output and decides no pay: a party whose signal others carry too can show a large number here
and be worth nothing, and the other way round (:mod:`vfl.contribution` decides).

A row's score is f(z, own) with z = sum_k z_k. The slope of the row is the gradient of f in z, averaged along the
straight line from z = 0, so that <slope, z> = f(z, own) - f(0, own) (completeness), and <slope, z_k> is party k's part.
Weighted by the centred label and averaged over a period's rows, the parties' parts sum to the covariance with the
label of the score less what the label party would score without any embedding.
Source: Sundararajan, Taly and Yan, "Axiomatic attribution for deep networks", ICML 2017.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vfl.factors.panel import LabelPanel
from vfl.models.ridge.walk import RidgeHead
from vfl.models.split.top import LabelHead
from vfl.walk.result import TrainingResult

__all__ = ["NODES", "Attribution", "attribution_of", "covariance_slopes", "in_the_clear", "path_slopes"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

NODES = 16
"""Gauss-Legendre nodes on the path; the top model's tanh is smooth."""

_DEFINITION = (
    "Part of the per-period covariance of score and label that runs through each feature party's source-layer output "
    "(integrated gradients along the embedding, times the centred label, mean over the period's rows). The parts sum "
    "to the covariance of the label with the score less the score at zero embedding. It explains; it never decides pay."
)


@dataclass(frozen=True)
class Attribution:
    """Parts of the covariance by party. values: float64 (P,) per party; total: float64 (P,), over the same periods."""

    periods: tuple[int, ...]
    values: Mapping[str, F64]
    total: F64

    def record(self) -> dict[str, Any]:
        """Plain JSON values: means over periods, and each party's series."""
        return {
            "definition": _DEFINITION,
            "n_periods": len(self.periods),
            "total": float(self.total.mean()),
            "parties": {name: float(series.mean()) for name, series in self.values.items()},
            "by_period": {name: [float(v) for v in series] for name, series in self.values.items()},
        }


def path_slopes(head: LabelHead | RidgeHead, z: F64, own: F64) -> F64:
    """Gradient of the score in the embedding, averaged from 0 to ``z``, float64 (B, h): <slope, z> = f(z) - f(0)."""
    if isinstance(head, RidgeHead):
        return np.full_like(z, 1.0 / head.scale)
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    features = torch.from_numpy(np.array(own, dtype=np.float64))
    total = np.zeros_like(z, dtype=np.float64)
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        point = torch.from_numpy(np.array(node * z, dtype=np.float64)).requires_grad_(True)
        (slope,) = torch.autograd.grad(head.model(point, features).sum(), point)
        total += weight * slope.numpy()
    return total


def covariance_slopes(
    head: LabelHead | RidgeHead,
    result: TrainingResult,
    panel: LabelPanel,
    rows: I64,
    window: NDArray[np.bool_],
) -> tuple[F64, F64]:
    """Slopes and opened sums, float64 (rows, h) each, for predicted ``rows`` in their order.

    window: bool (T,), periods that count. A row outside it, outside the universe or without a label has slope 0. Each
    period uses the top model as it was then; ``head`` lends its shape.
    """
    periods, entities = panel.label.shape
    embeddings = result.embeddings.reshape(periods * entities, -1)[rows]
    slopes = np.zeros_like(embeddings)
    label, own = np.where(panel.universe, panel.label, np.nan).reshape(-1)[rows], panel.features.rows[rows]
    period = rows // entities
    for number, data in result.heads.items():
        inside = np.flatnonzero((period == number) & np.isfinite(label))
        if not window[number] or len(inside) < 2:
            continue
        head.load_scorer(data)
        centred = (label[inside] - label[inside].mean()) / len(inside)
        slopes[inside] = centred[:, None] * path_slopes(head, embeddings[inside], own[inside])
    return slopes, embeddings


def attribution_of(slopes: F64, embeddings: F64, found: Mapping[str, F64], rows: I64, entities: int) -> Attribution:
    """The parties' numbers ``found``, float64 (P,) over all predicted periods in order, where there are slopes.

    ``total`` comes from the opened sums (rows, h), so it is independent of the parties' numbers.
    Raises ValueError when no row has a slope.
    """
    period = rows // entities
    _, first = np.unique(period, return_index=True)
    order = period[np.sort(first)]
    counted = np.array([bool(slopes[period == p].any()) for p in order], dtype=np.bool_)
    if not counted.any():
        raise ValueError("no predicted row of the evaluation window has a label: there is nothing to attribute")
    products = (slopes * embeddings).sum(axis=1)
    total = np.array([products[period == p].sum() for p in order[counted]])
    values = {name: series[counted] for name, series in found.items()}
    return Attribution(tuple(int(p) for p in order[counted]), values, total)


def in_the_clear(slopes: F64, parts: Mapping[str, F64], rows: I64, entities: int) -> dict[str, F64]:
    """Each party's numbers, float64 (P,), from embeddings (rows, h) that lie open, as the masked way opens them."""
    period = rows // entities
    _, first = np.unique(period, return_index=True)
    order = period[np.sort(first)]
    products = {name: (slopes * z).sum(axis=1) for name, z in parts.items()}
    return {name: np.array([series[period == p].sum() for p in order]) for name, series in products.items()}
