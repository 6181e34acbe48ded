"""The uplift of joining: what the joint factor has that a fund's own does not. Computed where that fund's factor is.

Nothing of the fund's own factor leaves its machine. In go the published joint factor, the own factor and labels.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numerai_tools.scoring import correlation_contribution
from numpy.typing import NDArray
from scipy import stats

from vfl.factors.evaluate import MINIMUM_ROWS, ic_by_period, summarise, uplift
from vfl.factors.findings import Findings, Number, Series, Warn, hac_numbers
from vfl.factors.hac import HacMean, hac_mean, one_sided_p

__all__ = ["UPLIFT_LEVEL", "encompassing", "mmc_by_period", "overlap_findings", "uplift_findings"]

Floats = NDArray[np.float64]

_NUMERAI = 4.0

UPLIFT_LEVEL = 0.05
"""One-sided level at which joining counts as better than staying alone."""


def mmc_by_period(joint: Floats, own: Floats, labels: Floats) -> Floats:
    """Contribution of ``joint`` beyond ``own``, float64 (T,): a covariance, not a correlation.

    Both are ranked and gaussianised, ``joint`` is made orthogonal to ``own``, and its mean product with the centred
    label is taken, the label as rank in (0, 1). Numerai scores targets in five steps of 1, which is four times as much.
    Source: ``numerai_tools.scoring.correlation_contribution``.
    """
    found = np.full(len(labels), np.nan)
    for t in range(len(labels)):
        rows = _present(joint[t], own[t], labels[t])
        if rows.sum() < MINIMUM_ROWS or np.ptp(own[t, rows]) == 0 or np.ptp(joint[t, rows]) == 0:
            continue
        index = pd.RangeIndex(int(rows.sum()))
        target = pd.Series((stats.rankdata(labels[t, rows]) - 0.5) / len(index), index=index)
        frame = pd.DataFrame({"joint": joint[t, rows]}, index=index)
        score = correlation_contribution(frame, pd.Series(own[t, rows], index=index, name="own"), target)
        found[t] = float(score["joint"]) / _NUMERAI
    return found


def encompassing(joint: Floats, own: Floats, labels: Floats) -> Floats:
    """Coefficients of y = a + b1 own + b2 joint per period, float64 (T, 2): b1, b2. All standardised within the period.

    Source: Fama and MacBeth (1973); Fair and Shiller (1990) for the reading of b2.
    """
    found = np.full((len(labels), 2), np.nan)
    for t in range(len(labels)):
        rows = _present(joint[t], own[t], labels[t])
        if rows.sum() < MINIMUM_ROWS:
            continue
        columns = [values[t, rows] - values[t, rows].mean() for values in (own, joint, labels)]
        if min(float(c.std()) for c in columns) == 0:
            continue
        x1, x2, y = (c / c.std() for c in columns)
        design = np.column_stack([x1, x2])
        if abs(float(np.corrcoef(x1, x2)[0, 1])) > 1 - 1e-12:
            continue
        found[t] = np.linalg.lstsq(design, y, rcond=None)[0]
    return found


def uplift_findings(joint: Floats, own: Floats, labels: Floats, periods: tuple[str, ...], *, horizon: int) -> Findings:
    """Paired IC difference, MMC, and the Fama-MacBeth t of joint beside own, on the rows that both score.

    Warns ``no uplift`` unless the difference is above zero at the one-sided level :data:`UPLIFT_LEVEL`.
    """
    shared = np.where(np.isnan(joint) | np.isnan(own), np.nan, labels)
    with_joint, with_own = ic_by_period(joint, shared), ic_by_period(own, shared)
    gain = uplift(with_joint, with_own, horizon=horizon)
    if not gain.difference.n_periods:
        return Findings(left_out={"uplift": "no period has 10 labelled instruments that both factors score"})
    n = gain.difference.n_periods
    numbers = hac_numbers(
        "rank_ic_difference",
        gain.difference,
        "mean over periods of rank IC(joint) - rank IC(own), on the rows that both score",
        "correlation",
    )
    for name, series in (("joint", with_joint), ("own", with_own)):
        summary = summarise(series, horizon=horizon)
        numbers[f"rank_ic_{name}"] = Number(
            summary.mean, f"mean rank IC of {name} on the shared rows", "correlation", summary.n_periods
        )
    numbers["rank_ic_difference_p"] = Number(
        one_sided_p(gain.difference),
        "one-sided p of the difference against none or less; " + gain.difference.definition,
        "probability",
        n,
    )
    numbers["better"] = Number(gain.better, gain.definition["better"], "share of periods", n)
    mmc = hac_mean(mmc_by_period(joint, own, labels), horizon=horizon)
    numbers |= hac_numbers(
        "mmc",
        mmc,
        "mean over periods of the covariance of the label's rank with the gaussianised joint factor orthogonal to own",
        "covariance",
    )
    numbers["mmc_numerai"] = Number(
        _NUMERAI * mmc.mean, "the same in Numerai's scale, where targets lie 4 apart", "covariance x 4", mmc.n_periods
    )
    betas = encompassing(joint, own, labels)
    for name, column in (("own", 0), ("joint", 1)):
        numbers |= hac_numbers(
            f"encompassing_{name}",
            hac_mean(betas[:, column], horizon=horizon),
            f"Fama-MacBeth mean of the coefficient of {name} in y = a + b1 own + b2 joint, standardised per period",
            "standard deviations of the label",
        )
    drawn = Series.of(
        periods, np.nancumsum(with_joint - with_own), "cumulative rank IC(joint) - rank IC(own)", "correlation"
    )
    return Findings({"uplift": numbers}, {"uplift": drawn}, warnings=_no_uplift(gain.difference)) | overlap_findings(
        joint, own
    )


def _no_uplift(gain: HacMean) -> tuple[Warn, ...]:
    p = one_sided_p(gain)
    if p < UPLIFT_LEVEL:
        return ()
    if not gain.n_periods:
        return (Warn("no uplift", "no uplift can be computed, since no period has both scores and labels that vary"),)
    told = f"its Newey-West t is {gain.t:.1f} (one-sided p {p:.2f})" if np.isfinite(p) else gain.told
    said = (
        f"the joint factor's rank IC is below the own model's by {-gain.mean:.4f}"
        if gain.mean < 0
        else f"an uplift of {gain.mean:+.4f} rank IC is not distinguishable from none"
    )
    return (
        Warn(
            "no uplift",
            f"{said} over {gain.n_periods} periods: {told}; joining has not paid, whatever the joint factor's IC is",
        ),
    )


def overlap_findings(joint: Floats, own: Floats) -> Findings:
    """How far the joint factor is the own one again. Needs no label."""
    same = hac_mean(ic_by_period(joint, own), horizon=1)
    numbers = {
        "correlation": Number(
            same.mean, "mean Spearman correlation of joint and own per period", "correlation", same.n_periods
        )
    }
    return Findings({"uplift": numbers})


def _present(*rows: Floats) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(np.stack(rows)).all(axis=0))
