"""How much a good number is worth after everything that was tried: PSR, deflated Sharpe, PBO, Holm, BHY.

A "Sharpe ratio" here is mean / standard deviation of a per-period series (rank ICs, or returns after costs), not
annualised. Where labels overlap, only every horizon-th period enters, since the formulas assume independent ones.

Source: Bailey and Lopez de Prado (2012, 2014), Bailey et al. (2017), Harvey, Liu and Zhu (2016); computed by purgedcv
and statsmodels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import purgedcv
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests

from vfl.factors.findings import Findings, Number, Warn
from vfl.factors.hac import hac_mean

__all__ = ["HURDLE", "PBO_SPLITS", "adjusted", "disjoint", "search_evidence", "track_record", "two_sided_p"]

Floats = NDArray[np.float64]

HURDLE = 3.0
PBO_SPLITS = 8
"""Blocks of the combinatorially symmetric split: 70 combinations, each block an eighth of the history."""
_SURE = 0.95
_LEAST_PERIODS = 8


def disjoint(series: Floats, horizon: int) -> Floats:
    """Every ``horizon``-th present value, so that label windows do not overlap; (m,)."""
    values = np.asarray(series, dtype=np.float64)[:: max(horizon, 1)]
    return values[np.isfinite(values)]


def two_sided_p(t: float, n_periods: int) -> float:
    """p value of a t statistic of a mean over periods; NaN where it is undefined."""
    return math.nan if n_periods < 2 or math.isnan(t) else float(2 * stats.t.sf(abs(t), n_periods - 1))


def adjusted(p_values: Sequence[float]) -> tuple[Floats, Floats]:
    """p values adjusted by Holm (family-wise error) and Benjamini-Hochberg-Yekutieli (false discoveries).

    NaN counts as a trial and stays NaN: what was tried was tried.
    """
    given = np.asarray(p_values, dtype=np.float64)
    filled = np.where(np.isnan(given), 1.0, given)
    results = []
    for method in ("holm", "fdr_by"):
        values = np.asarray(multipletests(filled, method=method)[1], dtype=np.float64)
        results.append(np.where(np.isnan(given), np.nan, values))
    return results[0], results[1]


def track_record(series: Floats, *, horizon: int, what: str) -> Findings:
    """PSR, minimum track record and the |t| > 3 hurdle of one series (T,); ``what`` names it, as in "rank IC"."""
    values = disjoint(series, horizon)
    count = len(values)
    hac = hac_mean(series, horizon=horizon)
    numbers = {
        "hurdle": Number(
            float(abs(hac.t) > HURDLE) if not math.isnan(hac.t) else math.nan,
            f"1 where |t| of the mean {what} exceeds {HURDLE:g}, the bar for a new factor; {hac.definition}",
            "yes (1) or no (0)",
            hac.n_periods,
        )
    }
    if count < _LEAST_PERIODS or not _varies(values):
        reason = f"needs {_LEAST_PERIODS} periods that do not overlap and vary, there are {count}"
        return Findings({"significance": numbers}, left_out=dict.fromkeys(("psr", "minimum_track_record"), reason))
    sharpe = float(values.mean() / values.std())
    skew, kurtosis = float(stats.skew(values, bias=False)), float(stats.kurtosis(values, bias=False, fisher=False))
    of = f"of the per-period {what} on every {horizon}. period" if horizon > 1 else f"of the per-period {what}"
    numbers["sharpe"] = Number(sharpe, f"mean / standard deviation {of}, not annualised", "per period", count)
    try:
        psr = purgedcv.probabilistic_sharpe_ratio(values, 0.0)
        needed = purgedcv.min_track_record_length(sharpe, 0.0, 1 - _SURE, skew, kurtosis)
    except ValueError as error:
        return Findings({"significance": numbers}, left_out={"psr": str(error), "minimum_track_record": str(error)})
    numbers["psr"] = Number(
        psr,
        f"probability that the true Sharpe ratio {of} exceeds 0, allowing for skew and kurtosis",
        "probability",
        count,
    )
    if sharpe <= 0:
        reason = "the Sharpe ratio seen is not above 0: no track record is long enough"
        return Findings({"significance": numbers}, left_out={"minimum_track_record": reason})
    numbers["minimum_track_record"] = Number(
        needed, f"periods needed for a PSR of {_SURE:.0%} at the Sharpe ratio seen", "periods", count
    )
    return Findings({"significance": numbers})


def search_evidence(trials: Sequence[Floats], chosen: int, *, horizon: int, n_trials: int, what: str) -> Findings:
    """Deflated Sharpe, PBO, Holm and BHY of the ``chosen`` of these per-period series (T,) each, over one calendar.

    ``n_trials`` counts every configuration of the run and its predecessors; series may be known of fewer. Warns
    ``overfit`` where the search explains the result: a deflated Sharpe below 95 %, or a PBO above one half.
    """
    count = max(n_trials, len(trials))
    values = [disjoint(series, horizon) for series in trials]
    p_values = [two_sided_p(m.t, m.n_periods) for m in (hac_mean(s, horizon=horizon) for s in trials)]
    holm, bhy = adjusted([*p_values, *[math.nan] * (count - len(trials))])
    n = len(values[chosen])
    numbers = {
        "n_trials": Number(float(count), "configurations tried in the run and its predecessors", "count", count),
        "p": Number(p_values[chosen], f"two-sided p of the mean {what}, from its Newey-West t", "probability", n),
        "p_holm": Number(float(holm[chosen]), f"p adjusted for {count} trials (Holm)", "probability", count),
        "p_bhy": Number(float(bhy[chosen]), f"p adjusted for {count} trials (BHY)", "probability", count),
    }
    left_out: dict[str, str] = {}
    warnings: list[Warn] = []
    deflated = math.nan
    if n < _LEAST_PERIODS or not _varies(values[chosen]):
        left_out["deflated_sharpe"] = f"needs {_LEAST_PERIODS} periods that do not overlap and vary, there are {n}"
    else:
        ratios = [float(v.mean() / v.std()) for v in values if len(v) >= _LEAST_PERIODS and _varies(v)]
        spread = float(np.var(ratios, ddof=1)) if len(ratios) > 1 else 1 / n
        known = f"over the {len(ratios)} trials whose series are known" if len(ratios) > 1 else "under no skill, 1/n"
        try:
            deflated = purgedcv.deflated_sharpe_ratio(values[chosen], count, spread)
        except ValueError as error:
            left_out["deflated_sharpe"] = str(error)
        else:
            numbers["deflated_sharpe"] = Number(
                deflated,
                f"probability that the true Sharpe ratio exceeds the best expected of {count} trials without skill; "
                f"variance of the ratio {known}",
                "probability",
                n,
            )
    overfitting, reason = _pbo(_covering(trials, chosen), horizon)
    if reason:
        left_out["pbo"] = reason
    else:
        numbers["pbo"] = overfitting
    if count > 1 and deflated < _SURE:
        warnings.append(
            Warn(
                "overfit",
                f"the best of {count} trials has a deflated Sharpe of {deflated:.2f}, below {_SURE}: as many trials "
                "without any skill could have found it; do not use it before it proves itself on new periods",
            )
        )
    if not reason and overfitting.value > 0.5:
        warnings.append(
            Warn(
                "overfit",
                f"the probability of backtest overfitting is {overfitting.value:.2f}: the trial that is best in one "
                "half of the history is mostly below the median in the other",
            )
        )
    return Findings({"search": numbers}, left_out=left_out, warnings=tuple(warnings))


def _covering(trials: Sequence[Floats], chosen: int) -> list[Floats]:
    """The trials that have values in half of the chosen one's periods or more.

    One that failed, was stopped early or was tried on other periods counts as a trial, but cannot be compared.
    """
    there = np.isfinite(trials[chosen])
    return [series for series in trials if (np.isfinite(series) & there).sum() >= there.sum() / 2]


def _pbo(trials: Sequence[Floats], horizon: int) -> tuple[Number, str]:
    if len(trials) < 2:
        return Number(math.nan, "", "", 0), "needs the series of two trials or more, there is one"
    thin = np.stack([np.asarray(series, dtype=np.float64)[:: max(horizon, 1)] for series in trials])
    shared = thin[:, np.isfinite(thin).all(axis=0)]
    if shared.shape[1] < 2 * PBO_SPLITS:
        reason = f"needs {2 * PBO_SPLITS} periods that do not overlap and all trials have, there are {shared.shape[1]}"
        return Number(math.nan, "", "", 0), reason
    found = purgedcv.probability_of_backtest_overfitting(shared, n_splits=PBO_SPLITS)
    definition = (
        f"share of {found.n_combos} ways to halve {shared.shape[1]} periods (in {PBO_SPLITS} blocks) in which the best "
        f"of {len(trials)} trials in one half is below the median in the other"
    )
    return Number(found.pbo, definition, "probability", shared.shape[1]), ""


def _varies(values: Floats) -> bool:
    return len(values) > 1 and float(values.std()) > 1e-14 * float(np.abs(values).max())
