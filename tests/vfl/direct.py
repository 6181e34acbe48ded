"""The battery's numbers once more, from the libraries called directly: what a quant would do to check them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
import purgedcv
import pytest
from numerai_tools.scoring import correlation_contribution
from scipy import stats
from statsmodels.regression.linear_model import OLS

from vfl.factors.findings import Findings
from vfl.factors.hac import hac_lags

__all__ = ["agrees_with_libraries"]

QUANTILES = 5


def agrees_with_libraries(
    found: Findings, scores: np.ndarray, labels: np.ndarray, own: np.ndarray, names: Sequence[str], horizon: int
) -> int:
    """Assert that IC, t, PSR, MMC, and alphalens' IC and spread are the battery's; how many dates count."""
    alphalens = pytest.importorskip("alphalens")
    days = pd.date_range("2001-01-01", periods=len(scores), freq="D")
    pieces, every = [], np.full(len(scores), np.nan)
    for t, day in enumerate(days):
        rows = np.isfinite(scores[t]) & np.isfinite(labels[t])
        if rows.sum() < 10:
            continue
        here = pd.DataFrame({"factor": scores[t, rows], "own": own[t, rows], "1D": labels[t, rows]})
        here["asset"] = [name for name, present in zip(names, rows, strict=True) if present]
        here["factor_quantile"] = np.ceil(stats.rankdata(scores[t, rows]) * QUANTILES / rows.sum())
        pieces.append(here.assign(date=day))
        every[t] = stats.spearmanr(scores[t, rows], labels[t, rows]).statistic
    whole = pd.concat(pieces).set_index(["date", "asset"]).sort_index()
    by_date = [day for _, day in whole.groupby(level="date")]
    ics = every[np.isfinite(every)]
    assert found.value("ic", "rank_ic") == pytest.approx(ics.mean(), abs=1e-12)
    plain = [stats.pearsonr(day["factor"], day["1D"]).statistic for day in by_date]
    assert found.value("ic", "ic") == pytest.approx(np.mean(plain), abs=1e-12)
    assert found.value("ic", "rank_ic_ir") == pytest.approx(ics.mean() / ics.std(ddof=1))
    lags = hac_lags(len(ics), horizon)
    assert lags >= horizon - 1
    fit = OLS(ics, np.ones(len(ics))).fit(cov_type="HAC", cov_kwds={"maxlags": lags, "use_correction": True})
    assert found.value("ic", "rank_ic_t") == pytest.approx(float(fit.tvalues[0]))
    thin = every[::horizon]
    psr = purgedcv.probabilistic_sharpe_ratio(thin[np.isfinite(thin)], 0.0)
    assert found.value("significance", "psr") == pytest.approx(psr)
    assert found.value("uplift", "mmc_numerai") == pytest.approx(np.mean([_mmc(day) for day in by_date]), abs=1e-10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = alphalens.performance.factor_information_coefficient(whole[["factor", "1D", "factor_quantile"]])["1D"]
        means, _ = alphalens.performance.mean_return_by_quantile(
            whole[["factor", "1D", "factor_quantile"]], by_date=True, demeaned=False
        )
    assert found.value("ic", "rank_ic") == pytest.approx(theirs.mean(), abs=1e-10)
    table = means["1D"].unstack("factor_quantile")
    assert found.value("quantiles", "spread") == pytest.approx((table[QUANTILES] - table[1]).mean(), abs=1e-10)
    return len(ics)


def _mmc(day: pd.DataFrame) -> float:
    """Numerai's, of one date."""
    frame = day.droplevel("date").dropna()
    target = (frame["1D"].rank() - 0.5) / len(frame)
    return float(correlation_contribution(frame[["factor"]], frame["own"], target)["factor"])
