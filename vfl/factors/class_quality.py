"""How good the estimates of several classes are, on the test rows: scikit-learn's metrics, each with its definition.

An estimate of a class is a least-squares estimate of its share, of a model of the class against the rest. What needs
probabilities takes estimates clipped and divided by their sum over the classes. Nothing is calibrated on training rows,
since none of their scores opens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from vfl.factors.findings import Findings, Number, Series, Warn
from vfl.factors.static_quality import NO_UPLIFT, SECTIONS, StaticQuality

__all__ = ["class_quality", "probabilities"]

F64 = NDArray[np.float64]
Metric = Callable[[F64, F64], float]

_BINS = 10
_RESAMPLES = 1000
_LEVEL = 0.95
_LEAST = 1e-3
"""Share that a class is taken to have at least, for the log loss."""
_AS_SHARES = f"estimates are clipped to [{_LEAST:g}, 1] and divided by their sum over the classes"


def probabilities(estimates: F64) -> F64:
    """Shares (n, classes) that add up to 1."""
    clipped = np.clip(estimates, _LEAST, 1.0)
    found: F64 = clipped / clipped.sum(axis=1, keepdims=True)
    return found


def _accuracy(label: F64, estimates: F64) -> float:
    return float(accuracy_score(label, estimates.argmax(axis=1)))


def _log_loss(label: F64, estimates: F64) -> float:
    return float(log_loss(label, probabilities(estimates), labels=np.arange(estimates.shape[1])))


def _auc(label: F64, estimates: F64, number: int) -> float:
    """Of one class against the rest; NaN where the test rows are all of it, or none."""
    inside = label == number
    return math.nan if inside.all() or not inside.any() else float(roc_auc_score(inside, estimates[:, number]))


def _macro_auc(label: F64, estimates: F64) -> float:
    return float(np.mean([_auc(label, estimates, number) for number in range(estimates.shape[1])]))


def _brier(label: F64, estimates: F64) -> float:
    truth = label[:, None] == np.arange(estimates.shape[1])
    return float(np.square(probabilities(estimates) - truth).sum(axis=1).mean())


_METRICS: Mapping[str, tuple[Metric, str, str]] = {
    "accuracy": (_accuracy, "share of test rows whose largest estimate is that of their class", "share of rows"),
    "macro_auc": (_macro_auc, "mean over the classes of the area under the ROC curve of one against the rest", "pairs"),
    "log_loss": (_log_loss, f"mean log loss; {_AS_SHARES}", "nats"),
    "brier": (
        _brier,
        f"mean over the rows of the squared errors of all classes' shares; {_AS_SHARES}",
        "squared share",
    ),
}


def class_quality(label: F64, scores: Mapping[str, F64], base: F64) -> StaticQuality:
    """Measure estimates (n, classes) of each model, "joint" among them, on the rows where all and the label are known.

    label: float64 (n,), numbers of classes, NaN where unknown. base: share of each class in the training rows.
    """
    known = np.isfinite(label) & np.logical_and.reduce([np.isfinite(one).all(axis=1) for one in scores.values()])
    y, rows = label[known], int(known.sum())
    if rows < 2 or np.ptp(y) == 0:
        nothing = {name: dict.fromkeys(_METRICS, math.nan) for name in scores}
        why = f"{rows} test rows have a label" if rows < 2 else f"every label of the {rows} test rows is alike"
        return StaticQuality(
            "classes", rows, nothing, Findings(left_out={"quality": f"{why}: nothing can be measured"})
        )
    shown = {name: values[known] for name, values in scores.items()}
    measures = {name: {what: one(y, x) for what, (one, _, _) in _METRICS.items()} for name, x in shown.items()}
    sections = {
        name: {what: Number(value, *_METRICS[what][1:], rows) for what, value in found.items()}
        for name, found in measures.items()
    }
    always = np.tile(base, (rows, 1))
    sections["nothing"] = {
        what: Number(metric(y, always), f"of the classes' shares in the training rows: {told}", unit, rows)
        for what, (metric, told, unit) in _METRICS.items()
    }
    findings = Findings({SECTIONS.get(name, f"alone_{name}"): found for name, found in sections.items()})
    findings |= _by_class(y, shown["joint"]) | _calibration(y, shown["joint"])
    if "own" in shown:
        findings |= _joining(y, shown["joint"], shown["own"])
    return StaticQuality("classes", rows, measures, findings)


def _by_class(y: F64, estimates: F64) -> Findings:
    """AUC, share found, share and mean estimate of each class."""
    taken, numbers = estimates.argmax(axis=1), dict[str, Number]()
    for number in range(estimates.shape[1]):
        inside, name = y == number, f"class_{number}"
        count = int(inside.sum())
        found = float((taken[inside] == number).mean()) if count else math.nan
        mean = float(probabilities(estimates)[:, number].mean())
        numbers |= {
            f"{name}_auc": Number(
                _auc(y, estimates, number), "area under the ROC curve against the rest", "pairs", len(y)
            ),
            f"{name}_found": Number(
                found, "share of the class's rows whose largest estimate is its own", "share", count
            ),
            f"{name}_share": Number(count / len(y), "share of the test rows that are of the class", "share", len(y)),
            f"{name}_mean": Number(mean, f"mean share that the class is given; {_AS_SHARES}", "share", len(y)),
        }
    return Findings({"by_class": numbers})


def _calibration(y: F64, estimates: F64) -> Findings:
    """Shares of right rows by tenth of the largest share, and how many estimates are no share."""
    shares, rows = probabilities(estimates), len(y)
    taken = estimates.argmax(axis=1)
    largest, right = shares[np.arange(rows), taken], (taken == y).astype(np.float64)
    share, mean = calibration_curve(right, largest, n_bins=_BINS, strategy="quantile")
    told = (
        "share of rows of the class with the largest estimate, in each tenth of the test rows by its share, named by "
    )
    told += f"its mean; {_AS_SHARES}"
    outside = float(((estimates < 0) | (estimates > 1)).any(axis=1).mean())
    gap = float(np.abs(share - mean).max())
    numbers = {
        "largest_gap": Number(gap, "largest difference of a tenth's mean largest share and its share of right rows",
                              "share", rows),
        "mean_score": Number(float(largest.mean()), "mean share of the class with the largest estimate", "share", rows),
        "right": Number(float(right.mean()), "share of rows of the class with the largest estimate", "share", rows),
        "outside": Number(outside, "share of rows with an estimate below 0 or above 1", "share", rows),
    }  # fmt: skip
    series = Series.of([f"{value:.3f}" for value in mean], share, told, "share")
    return Findings({"calibration": numbers}, {"right_rows": series})


def _joining(y: F64, joint: F64, own: F64) -> Findings:
    """The joint models beside the label party's own: a bootstrap over test rows, both scored on the same ones."""
    gain = (joint.argmax(axis=1) == y).astype(np.float64) - (own.argmax(axis=1) == y)
    value = float(gain.mean())
    low = high = value
    if np.ptp(gain):
        found = stats.bootstrap(
            (gain,), np.mean, n_resamples=_RESAMPLES, method="percentile", confidence_level=_LEVEL, rng=0
        ).confidence_interval
        low, high = float(found.low), float(found.high)
    told, unit = "accuracy of the joint estimates less that of the label party's own", "share of rows"
    way = f"of the 95 % interval: percentiles of {_RESAMPLES} draws of the test rows"
    numbers = {
        "accuracy_difference": Number(value, told, unit, len(y)),
        "accuracy_difference_low": Number(low, f"lower end {way}", unit, len(y)),
        "accuracy_difference_high": Number(high, f"upper end {way}", unit, len(y)),
    }
    warned = () if low > 0 else (Warn("no uplift", NO_UPLIFT.format(told=told, value=value, low=low)),)
    return Findings({"uplift": numbers}, warnings=warned)
