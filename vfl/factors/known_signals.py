"""Is a factor known to the market? Its overlap with published signals, what they leave of it, and how that moves.

Published signals come by the hundred and with holes. So a signal enters as its rank within a period, a hole as the
middle rank, and only those most like the factor enter at once. These are chosen on the same periods, which makes what
is left of the factor look worse, never better.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from vfl.factors.evaluate import ic_by_period
from vfl.factors.exposures import neutralised, r_squared
from vfl.factors.findings import Findings, Number, Series, Warn, hac_numbers
from vfl.factors.hac import HacMean, hac_lags, hac_mean

__all__ = ["MOST_AT_ONCE", "known_findings", "ranked"]

Floats = NDArray[np.float64]

MOST_AT_ONCE = 20
"""Signals that enter at once, at most; with few instruments fewer, one for each ten of a period."""

_SHOWN = 15
_CROWDED = 0.05
_SURE = 2.0


def ranked(values: Floats) -> Floats:
    """Ranks within each period, centred, from -0.5 to 0.5, ties by average; float64 (T, n), NaN stays."""
    made = np.full(values.shape, np.nan)
    for t, row in enumerate(values):
        present = ~np.isnan(row)
        if present.any():
            made[t, present] = stats.rankdata(row[present]) / (present.sum() + 1) - 0.5
    return made


def known_findings(
    scores: Floats,
    labels: Floats | None,
    periods: Sequence[str],
    signals: Mapping[str, Floats],
    *,
    horizon: int,
    window: int = 12,
) -> Findings:
    """Correlation with each signal, R2 on the nearest at once and over time, and what these leave of the factor.

    scores, labels and each signal: float64 (T, n), NaN where there is none. window: periods that count as recent.
    Raises ValueError on shapes that differ and a window below 2.
    """
    wrong = [name for name, values in signals.items() if values.shape != scores.shape]
    if wrong or len(periods) != len(scores) or (labels is not None and labels.shape != scores.shape):
        raise ValueError(f"{', '.join(wrong) or 'labels or periods'}: not on the factor's grid of {scores.shape}")
    if window < 2:
        raise ValueError(f"a window of {window} periods is too short; use 2 or more")
    alike = {name: hac_mean(ic_by_period(scores, values), horizon=1) for name, values in signals.items()}
    usable = {name: mean for name, mean in alike.items() if 2 * mean.n_periods >= len(scores) and mean.n_periods > 1}
    unused = len(alike) - len(usable)
    left_out = {"signals": f"{unused} cover fewer than half of the periods"} if unused else {}
    if not usable:
        return Findings(left_out={**left_out, "library": "no signal covers half of the factor's periods"})
    order = sorted(usable, key=lambda name: (-abs(usable[name].mean), name))
    rows = int(np.median((~np.isnan(scores)).sum(axis=1)))
    nearest = order[: max(1, min(MOST_AT_ONCE, rows // 10))]
    at_once = [np.nan_to_num(ranked(signals[name])) for name in nearest]
    found = _overlap(usable, order, len(alike)) | _crowding(scores, at_once, periods, nearest, window)
    if labels is None:
        why = "no labels were given: name them with --labels FILE"
        left_out |= dict.fromkeys(("rank_ic_left", "spanning"), why)
    else:
        found |= _left(scores, labels, at_once, nearest, horizon)
    return found | Findings(left_out=left_out)


def _overlap(usable: Mapping[str, HacMean], order: Sequence[str], given: int) -> Findings:
    numbers = {"signals": Number(float(len(usable)), f"signals compared, of {given} given", "signals", given)}
    shown = order[:_SHOWN]
    for name in shown:
        mean = usable[name]
        told = f"mean Spearman correlation of the score with {name} per period"
        numbers[f"correlation_{name}"] = Number(mean.mean, told, "correlation", mean.n_periods)
    drawn = Series(
        tuple(shown),
        tuple(usable[name].mean for name in shown),
        f"mean Spearman correlation with the {len(shown)} signals most like the score, 95 % Newey-West intervals",
        "correlation",
        tuple(usable[name].low for name in shown),
        tuple(usable[name].high for name in shown),
    )
    return Findings({"library": numbers}, {"library": drawn})


def _crowding(
    scores: Floats, at_once: Sequence[Floats], periods: Sequence[str], nearest: Sequence[str], window: int
) -> Findings:
    """R2 of each period's score on the nearest signals: the recent periods against those before."""
    explained = r_squared(ranked(scores), at_once)
    whole = hac_mean(explained, horizon=1)
    told = f"adjusted R2 of a period's score ranks on the ranks of the {len(nearest)} nearest signals"
    recent, before = hac_mean(explained[-window:], horizon=1), hac_mean(explained[:-window], horizon=1)
    change = recent.mean - before.mean
    error = math.hypot(recent.standard_error, before.standard_error)
    t = change / error if error > 0 else math.nan
    share = "share of variance"
    numbers = {
        "r_squared": Number(whole.mean, f"mean over periods of the {told}", share, whole.n_periods),
        "r_squared_recent": Number(recent.mean, f"the same over the last {window} periods", share, recent.n_periods),
        "r_squared_before": Number(before.mean, "the same over the periods before", share, before.n_periods),
        "crowding": Number(change, "recent less before: above zero the factor has become better known", share, window),
        "crowding_t": Number(t, "the change over both means' Newey-West errors", "t statistic", whole.n_periods),
    }
    warnings = []
    if change > _CROWDED and t > _SURE:
        warnings.append(
            Warn(
                "crowding",
                f"known signals explain {recent.mean:.0%} of the score over the last {window} periods, "
                f"{before.mean:.0%} before (t {t:.1f}): others trade what it has become",
            )
        )
    drawn = Series.of(periods, explained, told, share)
    return Findings({"library": numbers}, {"crowding": drawn}, warnings=tuple(warnings))


def _left(scores: Floats, labels: Floats, at_once: Sequence[Floats], nearest: Sequence[str], horizon: int) -> Findings:
    """Rank IC beside the nearest signals, and the factor's book regressed on theirs."""
    plain = hac_mean(ic_by_period(scores, labels), horizon=horizon)
    # ranking what is left once more would blow up the smallest residuals, so it is correlated as it is
    rest = neutralised(ranked(scores), at_once)
    left = hac_mean(ic_by_period(rest, ranked(labels), "pearson"), horizon=horizon)
    told = f"correlation with the label's ranks of what the {len(nearest)} nearest signals leave of the score's ranks"
    numbers = hac_numbers("rank_ic_left", left, told, "correlation")
    here = "rank IC of the score on the same labels"
    numbers["rank_ic_here"] = Number(plain.mean, here, "correlation", plain.n_periods)
    spanned, left_out = _spanning(scores, labels, at_once, horizon)
    numbers |= spanned
    warnings = []
    if plain.t > _SURE and not left.t > _SURE:
        warnings.append(
            Warn(
                "known",
                f"the rank IC of {plain.mean:+.3f} (t {plain.t:.1f}) is {left.mean:+.3f} beside {len(nearest)} "
                f"published signals ({left.told}): what it earns is to be had without it",
            )
        )
    return Findings({"library": numbers}, left_out=left_out, warnings=tuple(warnings))


def _spanning(
    scores: Floats, labels: Floats, at_once: Sequence[Floats], horizon: int
) -> tuple[dict[str, Number], dict[str, str]]:
    """The intercept of the factor's book on the signals' books: what none of their mixtures earns."""
    from statsmodels.api import OLS, add_constant

    mine = _book(scores, labels)
    usable = np.isfinite(mine)
    count = min(len(at_once), int(usable.sum()) // 10)
    if not count:
        return {}, {"spanning": f"{int(usable.sum())} periods have labels, and ten are needed for each signal"}
    books = np.column_stack([_book(np.where(np.isnan(scores), np.nan, one), labels) for one in at_once[:count]])
    usable &= np.isfinite(books).all(axis=1)
    y, x = mine[usable], books[usable]
    if len(y) < 10 * count or np.linalg.matrix_rank(add_constant(x, has_constant="add")) <= count:
        return {}, {"spanning": "the signals' books have too few periods in common, or are one another's mixtures"}
    lags = hac_lags(len(y), horizon)
    fitted = OLS(y, add_constant(x, has_constant="add")).fit(cov_type="HAC", cov_kwds={"maxlags": lags})
    told = (
        "intercept of the score's rank-weighted book (100 % long, 100 % short) on those of the "
        f"{count} nearest signals, in units of the label per period"
    )
    t = f"intercept over its Newey-West error ({lags} lags)"
    return {
        "spanning_alpha": Number(float(fitted.params[0]), told, "label", len(y)),
        "spanning_alpha_t": Number(float(fitted.tvalues[0]), t, "t statistic", len(y)),
        "spanning_r_squared": Number(float(fitted.rsquared), "R2 of that regression", "share of variance", len(y)),
    }, {}


def _book(values: Floats, labels: Floats) -> Floats:
    """Return of holding ranks, 100 % long and 100 % short, in units of the label; float64 (T,), NaN with none."""
    made = np.full(len(values), np.nan)
    held = ranked(np.where(np.isnan(labels), np.nan, values))
    for t, weights in enumerate(held):
        present = ~np.isnan(weights)
        gross = float(np.abs(weights[present]).sum())
        if gross > 0:
            made[t] = 2 * float(weights[present] @ labels[t, present]) / gross
    return made
