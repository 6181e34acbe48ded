"""What the top model is trained towards, all differentiable: correlations per date, and the losses made of them.

A batch mixes rows of several dates; a correlation is taken within each date and averaged over the dates, as the rank IC
that evaluation reports is.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vfl.terms import SplitModel

__all__ = ["information_coefficient", "loss_of", "rank_coefficient", "soft_ranks", "targets"]

SMALLEST_DATE = 3
"""Rows a date needs for its correlation to mean anything."""


def information_coefficient(score: Tensor, label: Tensor, dates: Tensor) -> Tensor | None:
    """Mean over dates of the Pearson correlation of each score (..., B) with label (B,): (...,), differentiable.

    Dates with fewer than three rows do not count, nor do those where the label or any score is constant; None
    when no date counts.
    """
    _, index = torch.unique(dates, return_inverse=True)
    count = torch.bincount(index).to(score.dtype)

    def total(x: Tensor) -> Tensor:
        return torch.zeros(*x.shape[:-1], len(count), dtype=x.dtype).index_add(-1, index, x)

    def centred(x: Tensor) -> Tensor:
        return x - (total(x) / count)[..., index]

    s, y = centred(score), centred(label)
    ss, yy, sy = total(s * s), total(y * y), total(s * y)
    good = (count >= SMALLEST_DATE) & (ss > 1e-12).reshape(-1, len(count)).all(dim=0) & (yy > 1e-12)
    if not bool(good.any()):
        return None
    return (sy[..., good] / torch.sqrt(ss[..., good] * yy[good])).mean(dim=-1)


def soft_ranks(score: Tensor, temperature: float) -> Tensor:
    """Ranks of score (..., n) among its n entries, from 1, each comparison softened to a sigmoid: (..., n).

    ``temperature`` is in standard deviations of the score, so the ranks do not depend on its scale; near 0 they are the
    exact average ranks. Costs n squared.

    Source: Qin, Liu and Li, "A general approximation framework for direct optimization of information retrieval
    measures", Information Retrieval 13, 2010.
    """
    spread = score.std(dim=-1, keepdim=True, correction=0).clamp_min(1e-12)
    scaled = score / (spread * temperature)
    return 0.5 + torch.sigmoid(scaled.unsqueeze(-1) - scaled.unsqueeze(-2)).sum(dim=-1)


def rank_coefficient(score: Tensor, label: Tensor, dates: Tensor, temperature: float) -> Tensor | None:
    """As :func:`information_coefficient`, of the scores' soft ranks with the label's exact average ranks."""
    soft, exact = torch.zeros_like(score), torch.zeros_like(label)
    parts: list[Tensor] = []
    places: list[Tensor] = []
    for date in torch.unique(dates):
        rows = torch.nonzero(dates == date).squeeze(1)
        if len(rows) < SMALLEST_DATE:
            continue
        y = label[rows]
        exact[rows] = 0.5 + 0.5 * ((y[:, None] > y).sum(dim=1) + (y[:, None] >= y).sum(dim=1)).to(label.dtype)
        parts.append(soft_ranks(score[..., rows], temperature))
        places.append(rows)
    if not parts:
        return None
    soft = soft.index_add(-1, torch.cat(places), torch.cat(parts, dim=-1))
    return information_coefficient(soft, exact, dates)


def targets(loss: str, label: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a model of periods is trained on, given labels standardised per period: NaN stays NaN.

    The logistic loss learns whether a label is above its period's mean, which is what a label of 0 and 1 says itself.
    """
    return np.where(np.isnan(label), np.nan, label > 0) if loss == "logistic" else label


def loss_of(terms: SplitModel, scores: Tensor, label: Tensor, dates: Tensor) -> tuple[Tensor, float]:
    """The loss of one output's scores (members, B) for label (B,), and the IC in it, NaN where it has none.

    Mean over members of (1 - w) * squared error + w * (1 - IC), w = ``terms.correlation_share``, the IC per date; a
    batch in which no date has one counts its squared error alone. Logistic: the cross-entropy.
    """
    if terms.loss == "logistic":
        return nn.functional.binary_cross_entropy_with_logits(scores, label.expand_as(scores)), float("nan")
    squared = ((scores - label) ** 2).mean()
    share = terms.correlation_share
    ics = (
        rank_coefficient(scores, label, dates, terms.rank_temperature)
        if terms.loss == "rank_ic"
        else information_coefficient(scores, label, dates)
    )
    if ics is None:
        return squared, float("nan")
    return (1.0 - share) * squared + share * (1.0 - ics.mean()), float(ics.detach().mean())
