"""Raw as-of features to model-ready ones: every number of period t is made from data known by its cutoff.

Per period and column: winsorise where it is continuous, standardise over the entities that have a value, impute the
cross-sectional mean (0). Then, optionally, whiten with directions learned from periods up to t.
Whitening matters because the sealed source layer learns by plain SGD on shares.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["CLIP", "FEW", "cross_sectional_scores", "model_ready", "uncut", "whitened", "winsorised"]

CLIP = 8.0
"""Model-ready features lie in [-CLIP, CLIP]; the fixed-point encoding relies on it."""

FEW = 10
"""Different values of a period up to which a column is one of categories, if each stands twice on average."""

_SHRINKAGE = 0.1
"""Share of the identity mixed into the correlation matrix before its inverse square root."""

Floats = NDArray[np.float64]


def winsorised(values: Floats, share: float) -> Floats:
    """Cut each column of (T, n, d) at its own ``share`` and ``1 - share`` quantiles per period, where it is continuous.

    Quantiles interpolate linearly between order statistics of the values present; NaN stays NaN. Where
    :func:`uncut` says so, a column stays as it is.
    """
    if share == 0 or values.shape[1] == 0:
        return values.copy()
    low, high, whole = _cuts(values, share)
    return np.where(whole, values, np.clip(values, low, high))


def uncut(values: Floats, share: float) -> NDArray[np.bool_]:
    """Where a column of (T, n, d) varies and is not winsorised, bool (T, d).

    That is where it is one of categories (:data:`FEW`), of which the rare ones say the most, and where the cut would
    leave it constant: a flag that is rarer than ``share``, or a count of almost nothing but zeros.
    """
    if share == 0 or values.shape[1] == 0:
        return np.zeros((values.shape[0], values.shape[2]), dtype=np.bool_)
    _, _, whole = _cuts(values, share)
    return whole[:, 0, :]


def cross_sectional_scores(values: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """(T, n, d) to z-scores per period and column over the values present, NaN where missing.

    Also returns bool (T, d): where the column varies. Where it does not (constant, one value, none)
    its scores are 0.
    """
    present = np.isfinite(values)
    count = np.maximum(present.sum(axis=1, keepdims=True), 1)
    filled = np.where(present, values, 0.0)
    # Scaling first keeps squares of very large or very small columns inside the float range.
    size = np.abs(filled).max(axis=1, keepdims=True, initial=0.0)
    filled = filled / np.where(size > 0, size, 1.0)
    centred = np.where(present, filled - filled.sum(axis=1, keepdims=True) / count, 0.0)
    centred = np.where(present, centred - centred.sum(axis=1, keepdims=True) / count, 0.0)
    spread = np.sqrt(np.square(centred).sum(axis=1, keepdims=True) / count)
    varies = spread > 1e-12
    scores = np.where(varies, centred / np.where(varies, spread, 1.0), 0.0)
    return np.where(present, scores, np.nan), varies[:, 0, :]


def whitened(scores: Floats, varies: NDArray[np.bool_]) -> Floats:
    """ZCA-whiten (T, n, d) finite scores with an expanding average of per-period covariances.

    Period t uses periods up to and including t, each weighted alike, so directions turn slowly; a pair of
    columns averages over the periods in which both vary. Columns that do not vary in a period stay 0 there.
    ZCA is the whitening closest to the original axes. Source: Kessy, Lewin, Strimmer, 2018.
    """
    periods, rows, columns = scores.shape
    out = np.zeros_like(scores)
    total = np.zeros((columns, columns))
    seen = np.zeros((columns, columns))
    for t in range(periods):
        total += scores[t].T @ scores[t] / max(rows, 1)
        seen += np.outer(varies[t], varies[t])
        out[t] = scores[t] @ _inverse_root(total / np.maximum(seen, 1.0)) * varies[t]
    return out


def model_ready(
    raw: Floats, indicators: Sequence[int], *, winsorise: float, whiten: bool, clip: float = CLIP
) -> Floats:
    """Raw as-of values (T, n, d), NaN where missing, to finite model features (T, n, d + len(indicators)).

    indicators: columns that get a standardised was-it-missing companion, appended in that order.
    """
    gaps = np.isnan(raw[:, :, list(indicators)]).astype(np.float64)
    scores, varies = cross_sectional_scores(np.concatenate([winsorised(raw, winsorise), gaps], axis=2))
    scores = np.where(np.isnan(scores), 0.0, scores)
    if whiten:
        scores = whitened(scores, varies)
    clipped: Floats = np.clip(scores, -clip, clip)
    return clipped


def _cuts(values: Floats, share: float) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Where each column of (T, n, d) would be cut below and above, and where it is not cut; (T, 1, d) each."""
    ordered = np.sort(values, axis=1)
    present = np.isfinite(values).sum(axis=1)
    low, high = _quantile(ordered, present, share), _quantile(ordered, present, 1 - share)
    different = (ordered[:, 1:] > ordered[:, :-1]).sum(axis=1) + 1
    categories = (different <= FEW) & (2 * different <= present)
    whole = (different > 1) & (categories | (low == high)[:, 0, :])
    return low, high, whole[:, None, :]


def _quantile(ordered: Floats, present: NDArray[np.int_], share: float) -> Floats:
    """Quantile of (T, n, d) sorted along axis 1 with NaN last; (T, 1, d), NaN where nothing is present."""
    at = np.maximum(present - 1, 0) * share
    low = np.floor(at).astype(np.int64)
    high = np.minimum(low + 1, np.maximum(present - 1, 0))
    below = np.take_along_axis(ordered, low[:, None, :], axis=1)
    above = np.take_along_axis(ordered, high[:, None, :], axis=1)
    weight = (at - low)[:, None, :]
    blended: Floats = below * (1 - weight) + above * weight
    return blended


def _inverse_root(covariance: Floats) -> Floats:
    """R^(-1/2) of the shrunk correlation matrix; columns that never varied map to themselves."""
    deviation = np.sqrt(np.diag(covariance))
    alive = deviation > 0
    scale = np.where(alive, 1.0 / np.where(alive, deviation, 1.0), 0.0)
    correlation = covariance * np.outer(scale, scale)
    np.fill_diagonal(correlation, 1.0)
    shrunk = (1 - _SHRINKAGE) * correlation + _SHRINKAGE * np.eye(len(covariance))
    values, vectors = np.linalg.eigh(shrunk)
    # Averaging pairs over different periods can leave the matrix slightly indefinite.
    root: Floats = (vectors / np.sqrt(np.maximum(values, _SHRINKAGE))) @ vectors.T
    return root
