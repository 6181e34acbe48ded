"""Out-of-sample quality of a factor: information coefficients per period and what joining adds.

Everything is computed where the labels are. Numbers are correlations (no unit, -1 to 1); each result
carries the definition it was computed by, and periods without a value are left out, never filled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from vfl.factors.hac import HacMean, hac_definition, hac_mean

__all__ = [
    "MINIMUM_ROWS",
    "Evaluation",
    "IcSummary",
    "Method",
    "Uplift",
    "evaluate",
    "evaluation_window",
    "ic_by_period",
    "summarise",
    "uplift",
]

Method = Literal["rank", "pearson"]
Floats = NDArray[np.float64]

MINIMUM_ROWS = 10

_IC_DEFINITION: dict[str, str] = {
    "rank": "Spearman correlation, ties by average rank, of score and label over the entities of one period",
    "pearson": "Pearson correlation of score and label over the entities of one period",
}


def ic_by_period(
    scores: Floats,
    labels: Floats,
    method: Method = "rank",
    *,
    minimum_rows: int = MINIMUM_ROWS,
    when_constant: float = math.nan,
) -> Floats:
    """Information coefficient of each period: float64 (T,) from float64 (T, n) scores and labels.

    A row counts where score and label are both present (not NaN). A period is NaN with fewer than
    ``minimum_rows`` such rows or constant labels, and ``when_constant`` where only the scores are constant: a model
    that ranks nobody has no IC, but a coalition of nobody is worth 0.
    Raises ValueError on shapes that differ, an infinite value or an unknown method.
    """
    scores, labels = _pair(scores, labels)
    if method not in get_args(Method):
        raise ValueError(f"IC method {method!r} is unknown; use one of {', '.join(get_args(Method))}")
    result = np.full(len(scores), np.nan)
    present = ~(np.isnan(scores) | np.isnan(labels))
    for period, rows in enumerate(present):
        if rows.sum() < max(minimum_rows, 2):
            continue
        x, y = scores[period, rows], labels[period, rows]
        if method == "rank":
            x, y = _ranks(x), _ranks(y)
        left, right = _direction(x), _direction(y)
        if right is None:
            continue
        result[period] = when_constant if left is None else float(np.clip(left @ right, -1.0, 1.0))
    return result


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1, ties sharing their mean."""
    from scipy.stats import rankdata  # takes a second to load, which a node that never ranks need not wait for

    ranks: NDArray[np.float64] = rankdata(values)
    return ranks


@dataclass(frozen=True)
class IcSummary:
    """Information coefficients of a run of periods. ``icir`` is mean / std, not annualised."""

    method: Method
    mean: float
    std: float
    icir: float
    t: float
    standard_error: float
    low: float
    high: float
    positive: float
    n_periods: int
    lags: int

    @property
    def definition(self) -> Mapping[str, str]:
        """What each number means."""
        return {
            "ic": _IC_DEFINITION[self.method],
            "std": "sample standard deviation over periods (n-1)",
            "icir": "mean / std, not annualised",
            "t": hac_definition(self.lags),
            "positive": "share of periods with an IC above zero",
        }


def summarise(ics: Floats, *, horizon: int, method: Method = "rank") -> IcSummary:
    """Summary of float64 (T,) ICs computed by ``method``; NaN periods are left out and not counted."""
    center = hac_mean(ics, horizon=horizon)
    values = np.asarray(ics, dtype=np.float64)
    values = values[~np.isnan(values)]
    std = float(values.std(ddof=1)) if len(values) > 1 else math.nan
    varies = len(values) > 1 and std > 1e-14 * float(np.abs(values).max())
    return IcSummary(
        method=method,
        mean=center.mean,
        std=std,
        icir=center.mean / std if varies else math.nan,
        t=center.t,
        standard_error=center.standard_error,
        low=center.low,
        high=center.high,
        positive=float((values > 0).mean()) if len(values) else math.nan,
        n_periods=center.n_periods,
        lags=center.lags,
    )


@dataclass(frozen=True)
class Uplift:
    """What joining adds: the mean of IC(joint) - IC(own) over periods that have both."""

    difference: HacMean
    joint: float
    own: float
    better: float

    @property
    def definition(self) -> Mapping[str, str]:
        """What each number means."""
        return {
            "difference": "mean over periods of IC(joint) - IC(own), both on the rows that both models score",
            "t": self.difference.definition,
            "better": "share of periods in which the joint factor's IC is the higher",
        }


def uplift(joint: Floats, own: Floats, *, horizon: int) -> Uplift:
    """Paired difference of two float64 (T,) IC series over the periods that have both.

    Raises ValueError when the series differ in length.
    """
    first, second = np.asarray(joint, dtype=np.float64), np.asarray(own, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"the two IC series must be of one (T,) shape, not {first.shape} and {second.shape}")
    gap = first - second
    paired = ~np.isnan(gap)
    if not paired.any():
        return Uplift(hac_mean(gap, horizon=horizon), math.nan, math.nan, math.nan)
    return Uplift(
        hac_mean(gap, horizon=horizon),
        float(first[paired].mean()),
        float(second[paired].mean()),
        float((gap[paired] > 0).mean()),
    )


def evaluation_window(periods: Sequence[str], first: str = "", last: str = "") -> NDArray[np.bool_]:
    """Which of the calendar's periods count, bool (T,): from ``first`` to ``last``, both included.

    An empty name leaves that side open. Raises ValueError on a name the calendar lacks and on an empty window.
    """
    for name in (first, last):
        if name and name not in periods:
            known = f"{periods[0]} to {periods[-1]}" if periods else "none"
            raise ValueError(f"evaluation period {name!r} is not in the calendar ({known}): name one of its periods")
    start = list(periods).index(first) if first else 0
    stop = list(periods).index(last) if last else len(periods) - 1
    if start > stop:
        raise ValueError(f"the evaluation window is empty: {first or 'the start'} comes after {last or 'the end'}")
    place = np.arange(len(periods))
    return (place >= start) & (place <= stop)


@dataclass(frozen=True)
class Evaluation:
    """ICs of several models on the same labels over one window.

    periods: names of the window. rows: int64, labelled rows of the joint model per period. ics: per model and
    method, float64 of the window's length. uplifts: per other model and method, the joint model against it.
    """

    periods: tuple[str, ...]
    horizon: int
    rows: NDArray[np.int64]
    ics: Mapping[str, Mapping[Method, Floats]]
    summaries: Mapping[str, Mapping[Method, IcSummary]]
    uplifts: Mapping[str, Mapping[Method, Uplift]]


def evaluate(
    scores: Mapping[str, Floats],
    labels: Floats,
    periods: Sequence[str],
    *,
    horizon: int,
    first: str = "",
    last: str = "",
    minimum_rows: int = MINIMUM_ROWS,
) -> Evaluation:
    """Both ICs of every model in ``scores`` (float64 (T, n) each, NaN where it made none), and the uplifts.

    ``scores`` must hold "joint". Each model's ICs are over the rows it scores; an uplift compares two
    models on the rows that both score. Raises ValueError as the functions it is made of do.
    """
    if "joint" not in scores:
        raise ValueError(f'scores must hold the model "joint", not only {sorted(scores)}')
    window = evaluation_window(periods, first, last)
    if np.shape(labels)[:1] != (len(periods),):
        raise ValueError(f"labels of shape {np.shape(labels)} do not fit a calendar of {len(periods)} periods")
    inside: dict[str, Floats] = {}
    for name, values in scores.items():
        if np.shape(values) != np.shape(labels):
            raise ValueError(f"scores of {name!r} have shape {np.shape(values)}, the labels {np.shape(labels)}")
        inside[name] = np.asarray(values, dtype=np.float64)[window]
    truth = np.asarray(labels, dtype=np.float64)[window]
    methods: tuple[Method, ...] = get_args(Method)
    ics = {
        name: {m: ic_by_period(values, truth, m, minimum_rows=minimum_rows) for m in methods}
        for name, values in inside.items()
    }
    uplifts: dict[str, Mapping[Method, Uplift]] = {}
    for name, values in inside.items():
        if name == "joint":
            continue
        shared = np.where(np.isnan(values) | np.isnan(inside["joint"]), np.nan, truth)
        uplifts[name] = {
            m: uplift(
                ic_by_period(inside["joint"], shared, m, minimum_rows=minimum_rows),
                ic_by_period(values, shared, m, minimum_rows=minimum_rows),
                horizon=horizon,
            )
            for m in methods
        }
    return Evaluation(
        periods=tuple(np.asarray(periods, dtype=object)[window].tolist()),
        horizon=horizon,
        rows=(~(np.isnan(inside["joint"]) | np.isnan(truth))).sum(axis=1).astype(np.int64),
        ics=ics,
        summaries={n: {m: summarise(v, horizon=horizon, method=m) for m, v in by.items()} for n, by in ics.items()},
        uplifts=uplifts,
    )


def _pair(scores: Floats, labels: Floats) -> tuple[Floats, Floats]:
    """Both as float64 (T, n), or a ValueError that names the place."""
    pair = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if pair[0].ndim != 2 or pair[0].shape != pair[1].shape:
        raise ValueError(f"scores and labels must be of one (T, n) shape, not {pair[0].shape} and {pair[1].shape}")
    for name, values in zip(("scores", "labels"), pair, strict=True):
        if np.isinf(values).any():
            period, entity = (int(i) for i in np.argwhere(np.isinf(values))[0])
            raise ValueError(f"{name} are infinite at period {period}, entity {entity}: use NaN for a missing value")
    return pair


def _direction(values: Floats) -> Floats | None:
    """The centred values as a unit vector; None where they do not vary."""
    if values.min() == values.max():
        return None
    scaled = values / np.abs(values).max()
    centered = scaled - scaled.mean()
    length = float(np.linalg.norm(centered))
    return None if length <= len(values) * np.finfo(np.float64).eps else centered / length
