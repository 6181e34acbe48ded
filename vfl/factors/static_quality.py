"""How good scores of static data are, on the test rows: scikit-learn's metrics, each with its definition.

Scores are on the label's scale. Those of a 0/1 label are least-squares estimates of the probability of 1, which may
leave [0, 1]: what needs a probability clips them. Nothing is calibrated on training rows, since none of their scores
opens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    log_loss,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
    root_mean_squared_error,
)

from vfl.factors.findings import Findings, Number, Series, Warn

__all__ = ["HEADLINE", "NO_UPLIFT", "SECTIONS", "LabelKind", "StaticQuality", "headline", "static_quality"]

F64 = NDArray[np.float64]
LabelKind = Literal["binary", "regression", "classes"]
Metric = Callable[[F64, F64], float]

_BINS = 10
_RESAMPLES = 200
_LEVEL = 0.95
_LEAST = 1e-3
"""Probability that a score is taken to say at least, for the log loss: one of 0 that is wrong would cost any amount."""
_CLIPPED = "; scores are clipped to [0, 1], as they are least-squares estimates of the probability"


def _log_loss(label: F64, score: F64) -> float:
    return float(log_loss(label, np.clip(score, _LEAST, 1.0 - _LEAST), labels=[0.0, 1.0]))


def _brier(label: F64, score: F64) -> float:
    return float(brier_score_loss(label, np.clip(score, 0.0, 1.0)))


def _rank_correlation(label: F64, score: F64) -> float:
    return float(stats.spearmanr(label, score).statistic)


_METRICS: Mapping[LabelKind, Mapping[str, tuple[Metric, str, str]]] = {
    "binary": {
        "auc": (roc_auc_score, "area under the ROC curve over the test rows", "share of pairs"),
        "average_precision": (average_precision_score, "average precision over the test rows", "precision"),
        "log_loss": (_log_loss, f"mean log loss; scores are clipped to [{_LEAST:g}, {1 - _LEAST:g}]", "nats"),
        "brier": (_brier, f"mean squared error of the probability{_CLIPPED}", "squared share"),
    },
    "regression": {
        "r2": (r2_score, "1 less squared error over the variance of the test rows' labels", "share of variance"),
        "rank_correlation": (_rank_correlation, "Spearman correlation of score and label", "correlation"),
        "mean_absolute_error": (mean_absolute_error, "mean absolute error", "units of the label"),
        "root_mean_squared_error": (root_mean_squared_error, "root of the mean squared error", "units of the label"),
    },
}

HEADLINE: Mapping[LabelKind, str] = {"binary": "auc", "regression": "r2", "classes": "accuracy"}
_NAMES = {"auc": "AUC", "r2": "R2", "accuracy": "accuracy"}


def headline(kind: LabelKind) -> str:
    """The name of the measure that stands for the others, as people write it."""
    return _NAMES[HEADLINE[kind]]


@dataclass(frozen=True)
class StaticQuality:
    """measures: by model, the joint one first, and by name; NaN where undefined. rows: test rows with a label.

    findings: the same with definitions, the calibration of the joint score, and what joining is worth.
    """

    kind: LabelKind
    rows: int
    measures: Mapping[str, Mapping[str, float]]
    findings: Findings


def static_quality(label: F64, scores: Mapping[str, F64], kind: LabelKind, base: float) -> StaticQuality:
    """Measure ``scores`` (n,) of each model, "joint" among them, on the rows where all and the label are known.

    label: float64 (n,), NaN where unknown. base: mean label of the training rows, which a model of nothing scores.
    """
    known = np.isfinite(label) & np.logical_and.reduce([np.isfinite(values) for values in scores.values()])
    y, rows = label[known], int(known.sum())
    if rows < 2 or np.ptp(y) == 0:
        nothing = {name: dict.fromkeys(_METRICS[kind], math.nan) for name in scores}
        why = f"{rows} test rows have a label" if rows < 2 else f"every label of the {rows} test rows is alike"
        return StaticQuality(kind, rows, nothing, Findings(left_out={"quality": f"{why}: nothing can be measured"}))
    shown = {name: values[known] for name, values in scores.items()}
    measures = {
        name: {what: float(metric(y, values)) for what, (metric, _, _) in _METRICS[kind].items()}
        for name, values in shown.items()
    }
    sections = {
        name: {what: Number(value, *_METRICS[kind][what][1:], rows) for what, value in found.items()}
        for name, found in measures.items()
    }
    sections["nothing"] = {
        what: Number(float(metric(y, np.full(rows, base))), f"of the training rows' mean label: {told}", unit, rows)
        for what, (metric, told, unit) in _METRICS[kind].items()
        if what != "rank_correlation"
    }
    findings = Findings({SECTIONS.get(name, f"alone_{name}"): found for name, found in sections.items()})
    findings |= _calibration(y, shown["joint"]) if kind == "binary" else Findings()
    if "own" in shown:
        findings |= _joining(y, shown["joint"], shown["own"], kind)
    return StaticQuality(kind, rows, measures, findings)


SECTIONS: Mapping[str, str] = {"joint": "test_rows", "own": "label_party_alone", "nothing": "mean_label"}


def _calibration(y: F64, score: F64) -> Findings:
    """Shares of 1 by tenth of the score, and how many scores are no probability."""
    clipped, rows = np.clip(score, 0.0, 1.0), len(y)
    share, mean = calibration_curve(y, clipped, n_bins=_BINS, strategy="quantile")
    told = f"share of label 1 in each tenth of the test rows by score, named by its mean score{_CLIPPED}"
    outside = float(np.mean(score != clipped))
    gap = float(np.abs(share - mean).max())
    numbers = {
        "largest_gap": Number(gap, "largest difference of mean score and share of 1 in a tenth", "share", rows),
        "mean_score": Number(float(clipped.mean()), "mean clipped score", "share", rows),
        "share_of_1": Number(float(y.mean()), "share of label 1", "share", rows),
        "outside": Number(outside, "share of scores below 0 or above 1", "share", rows),
    }
    series = Series.of([f"{value:.3f}" for value in mean], share, told, "share")
    return Findings({"calibration": numbers}, {"reliability": series})


def _joining(y: F64, joint: F64, own: F64, kind: LabelKind) -> Findings:
    """The joint model beside the label party's own: a bootstrap over test rows, both scored on the same ones."""
    name = HEADLINE[kind]
    metric = _METRICS[kind][name][0]

    def gap(*drawn: F64) -> float:
        labels, one, other = drawn
        return math.nan if np.ptp(labels) == 0 else metric(labels, one) - metric(labels, other)

    with np.errstate(all="ignore"):
        found = stats.bootstrap(
            (y, joint, own), gap, n_resamples=_RESAMPLES, paired=True, vectorized=False, method="percentile",
            confidence_level=_LEVEL, rng=0,
        ).confidence_interval  # fmt: skip
    told = f"{_NAMES[name]} of the joint score less that of the label party's own"
    way = f"of the 95 % interval: percentiles of {_RESAMPLES} draws of the test rows"
    value = float(gap(y, joint, own))
    numbers = {
        f"{name}_difference": Number(value, told, _METRICS[kind][name][2], len(y)),
        f"{name}_difference_low": Number(float(found.low), f"lower end {way}", _METRICS[kind][name][2], len(y)),
        f"{name}_difference_high": Number(float(found.high), f"upper end {way}", _METRICS[kind][name][2], len(y)),
    }
    warned = () if found.low > 0 else (Warn("no uplift", NO_UPLIFT.format(told=told, value=value, low=found.low)),)
    return Findings({"uplift": numbers}, warnings=warned)


NO_UPLIFT = (
    "the {told} is {value:+.4f}, and its interval begins at {low:+.4f}: joining is not shown to be worth anything"
)
