"""The factor as a book: quantiles, turnover, long-short after costs, drawdown, capacity.

The long-short book is 100 % long the top quantile and 100 % short the bottom one, equal weights: gross exposure 200 %
of capital (qlib reports half of such a spread). Costs are charged on every unit of capital traded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from vfl.factors.evaluate import MINIMUM_ROWS, ic_by_period
from vfl.factors.findings import Findings, Number, Series, hac_numbers
from vfl.factors.hac import hac_mean
from vfl.factors.market import MarketData

__all__ = [
    "CAPITAL",
    "BookTerms",
    "book_findings",
    "capacity",
    "long_short",
    "quantile_book",
    "quantile_spread",
    "quantiles",
    "rank_autocorrelation",
    "turnover",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CAPITAL: tuple[float, ...] = (1e6, 3e6, 1e7, 3e7, 1e8, 3e8, 1e9, 3e9, 1e10)
_UNBOUNDED = 1e10
_GROSS = "gross exposure 200 % of capital: 100 % long the top, 100 % short the bottom, equal weights"


@dataclass(frozen=True)
class BookTerms:
    """How the book is made. cost_bps: one-way cost per unit traded. impact: factor of the square-root impact law.

    periods_per_year turns per-period numbers into annual ones.
    """

    n_quantiles: int = 5
    cost_bps: float = 10.0
    impact: float = 1.0
    periods_per_year: float = 12.0


def quantiles(scores: Floats, count: int) -> Ints:
    """Quantile 0 (lowest) to count-1 of each score within its period, int64 (T, n); -1 without a score.

    By rank, ties by average rank, so quantiles are as equal as ties let them be. A period with fewer than 2 scores per
    quantile has none.
    """
    found = np.full(scores.shape, -1, dtype=np.int64)
    for t, row in enumerate(scores):
        present = ~np.isnan(row)
        n = int(present.sum())
        if n >= 2 * count:
            place = np.ceil(stats.rankdata(row[present]) * count / n).astype(np.int64) - 1
            found[t, present] = np.clip(place, 0, count - 1)
    return found


def quantile_spread(scores: Floats, labels: Floats, terms: BookTerms, *, horizon: int, unit: str) -> Findings:
    """Mean label by quantile, the spread between the outer ones and how monotone they rise."""
    count = terms.n_quantiles
    place = quantiles(np.where(np.isnan(labels), np.nan, scores), count)
    by_period = np.full((len(scores), count), np.nan)
    for q in range(count):
        inside = place == q
        filled = inside.any(axis=1)
        by_period[filled, q] = np.where(inside, labels, 0.0).sum(axis=1)[filled] / inside.sum(axis=1)[filled]
    whole = np.asarray(np.isfinite(by_period).all(axis=1))
    if not whole.any():
        return Findings(left_out={"quantiles": f"no period has {2 * count} scored and labelled instruments"})
    means = by_period[whole].mean(axis=0)
    spread = hac_mean(np.where(whole, by_period[:, -1] - by_period[:, 0], np.nan), horizon=horizon)
    rising = float(stats.spearmanr(np.arange(count), means).statistic) if np.ptp(means) > 0 else math.nan
    n = int(whole.sum())
    numbers = hac_numbers(
        "spread", spread, f"mean label of the top less the bottom of {count} quantiles; {_GROSS}", unit
    )
    numbers["monotonicity"] = Number(
        rising, f"Spearman correlation of quantile number and mean label over {count} quantiles", "correlation", n
    )
    bands = [hac_mean(np.where(whole, by_period[:, q], np.nan), horizon=horizon) for q in range(count)]
    drawn = Series(
        tuple(f"{q + 1}" for q in range(count)),
        tuple(float(m) for m in means),
        f"mean label by quantile of the score, 1 the lowest, with 95 % Newey-West intervals, {n} periods",
        unit,
        tuple(b.low for b in bands),
        tuple(b.high for b in bands),
    )
    return Findings({"quantiles": numbers}, {"quantiles": drawn})


def rank_autocorrelation(scores: Floats, lag: int = 1) -> Floats:
    """Spearman correlation of each period's scores with those ``lag`` periods before, float64 (T,); NaN at first."""
    found = np.full(len(scores), np.nan)
    found[lag:] = ic_by_period(scores[lag:], scores[:-lag]) if len(scores) > lag else np.nan
    return found


def quantile_book(scores: Floats, count: int) -> Floats:
    """Weights (T, n): +1 shared by the top quantile, -1 by the bottom one, 0 elsewhere; a period without is all NaN."""
    place = quantiles(scores, count)
    weights = np.zeros(scores.shape)
    for side, quantile in ((1.0, count - 1), (-1.0, 0)):
        inside = place == quantile
        weights += side * inside / np.maximum(inside.sum(axis=1, keepdims=True), 1)
    empty = ~((place == 0).any(axis=1) & (place == count - 1).any(axis=1))
    weights[empty] = np.nan
    return weights


def turnover(weights: Floats) -> Floats:
    """Traded value per unit of capital, sum |w_t - w_{t-1}|, float64 (T,); entering from cash at first.

    Weights are reset to equal each period; what prices moved in between is not counted.
    """
    held = np.nan_to_num(np.vstack([np.zeros((1, weights.shape[1])), weights[:-1]]))
    traded: Floats = np.abs(np.nan_to_num(weights) - held).sum(axis=1)
    return traded


def book_findings(scores: Floats, periods: tuple[str, ...], terms: BookTerms) -> Findings:
    """Stability of the scores themselves: rank autocorrelation, turnover, coverage. Needs no label."""
    auto = rank_autocorrelation(scores)
    weights = quantile_book(scores, terms.n_quantiles)
    traded = turnover(weights)
    steady = np.asarray(np.isfinite(weights).all(axis=1))
    again = steady & np.r_[False, steady[:-1]]
    covered = (~np.isnan(scores)).sum(axis=1)
    scored = covered > 0
    definition = (
        f"value traded per period and unit of capital, sum |dw| of the quantile book; {_GROSS}; a full turn is 4"
    )
    numbers = {
        "rank_autocorrelation": Number(
            _mean(auto), "mean Spearman correlation of scores with those one period before", "correlation", _count(auto)
        ),
        "turnover": Number(_mean(traded[again]), definition, "capital per period", int(again.sum())),
        "coverage": Number(
            float(covered[scored].mean()) if scored.any() else math.nan,
            "mean number of instruments scored per period", "instruments", int(scored.sum()),
        ),
    }  # fmt: skip
    drawn = {
        "rank_autocorrelation": Series.of(periods, auto, numbers["rank_autocorrelation"].definition, "correlation"),
        "turnover": Series.of(periods, np.where(again, traded, np.nan), definition, "capital per period"),
        "coverage": Series.of(periods, covered.astype(np.float64), "instruments scored per period", "instruments"),
    }
    return Findings({"stability": numbers}, drawn)


def long_short(scores: Floats, market: MarketData, periods: tuple[str, ...], terms: BookTerms) -> Findings:
    """Return of the quantile book from trade to trade, after costs: mean, Sharpe ratio, break-even cost, drawdown."""
    returns = market.returns
    if returns is None:
        return Findings(left_out=dict.fromkeys(("long_short", "break_even_cost", "drawdown"), "no prices were given"))
    weights, gross, traded = _book_returns(scores, returns, terms)
    valid = np.isfinite(gross)
    if valid.sum() < MINIMUM_ROWS:
        reason = f"needs {MINIMUM_ROWS} periods with prices at both ends, there are {int(valid.sum())}"
        return Findings(left_out=dict.fromkeys(("long_short", "break_even_cost", "drawdown"), reason))
    net = gross - traded * terms.cost_bps / 1e4
    wealth = np.cumsum(np.where(valid, net, 0.0))
    falls = wealth - np.maximum.accumulate(np.maximum(wealth, 0.0))
    n, year = int(valid.sum()), terms.periods_per_year
    after = f"after {terms.cost_bps:g} basis points per unit traded; {_GROSS}; profits are not reinvested"
    mean = hac_mean(net, horizon=1)
    numbers = hac_numbers("net_return", mean, f"mean return per period {after}", "fraction of capital per period")
    numbers["gross_return"] = Number(
        _mean(gross), f"mean return per period before costs; {_GROSS}", "fraction of capital per period", n
    )
    deviation = float(net[valid].std(ddof=1))
    numbers["annual_sharpe"] = Number(
        mean.mean / deviation * math.sqrt(year) if deviation > 0 else math.nan,
        f"mean / standard deviation of net returns times sqrt({year:.4g}) periods per year", "per year", n,
    )  # fmt: skip
    numbers["break_even_cost"] = Number(
        _mean(gross) / _mean(traded[valid]) * 1e4 if traded[valid].any() else math.nan,
        "cost per unit traded at which the mean return is zero: mean gross return / value traded", "basis points", n,
    )  # fmt: skip
    numbers["drawdown"] = Number(
        float(falls.min()), f"largest fall of the cumulative net return from its peak {after}", "fraction of capital", n
    )
    missing = int((np.isnan(returns) & (np.nan_to_num(weights) != 0))[valid].sum())
    numbers["unpriced_positions"] = Number(
        float(missing), "positions without a price at either end; their return counts as zero", "count", n
    )
    drawn = {
        "net_wealth": Series.of(periods, wealth, f"cumulative return {after}", "fraction of capital"),
        "drawdown": Series.of(periods, falls, numbers["drawdown"].definition, "fraction of capital"),
        "net_return": Series.of(periods, net, f"return per period {after}", "fraction of capital"),
    }
    return Findings({"long_short": numbers}, drawn)


def capacity(scores: Floats, market: MarketData, terms: BookTerms) -> Findings:
    """Annual net return by capital under square-root impact, and the capital at which nothing is left.

    Left out where that capital would exceed 1e20, more than there is money.

    Impact of trading Q of an instrument: ``impact * volatility * sqrt(Q / dollar_volume)`` per unit traded. Source:
    Almgren, Thum, Hauptmann and Li (2005) and the practice since; the factor is an assumption, here as given.
    """
    needed = {"prices": market.prices, "dollar_volume": market.dollar_volume, "volatility": market.volatility}
    absent = [name for name, values in needed.items() if values is None]
    if absent:
        return Findings(left_out={"capacity": f"no {', '.join(absent)} given"})
    returns = market.returns
    assert returns is not None
    assert market.dollar_volume is not None
    assert market.volatility is not None
    weights, gross, traded = _book_returns(scores, returns, terms)
    valid = np.isfinite(gross)
    if not valid.any():
        return Findings(left_out={"capacity": "no period has prices at both ends"})
    step = np.abs(np.diff(np.nan_to_num(weights), axis=0, prepend=0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        unit = market.volatility / np.sqrt(market.dollar_volume)
    known = np.isfinite(unit)
    # a name without volume or volatility trades at the period's median impact
    typical = np.array([np.median(row[seen]) if seen.any() else np.nan for row, seen in zip(unit, known, strict=True)])
    filled = np.where(known, unit, typical[:, None])
    toll = np.where(step > 0, step**1.5 * filled, 0.0).sum(axis=1)
    valid &= np.isfinite(toll)
    if not valid.any():
        return Findings(left_out={"capacity": "no period has a volume and a volatility"})
    fixed = (gross - traded * terms.cost_bps / 1e4)[valid].mean()
    slope = terms.impact * float(toll[valid].mean())
    net = [float((fixed - slope * math.sqrt(capital)) * terms.periods_per_year) for capital in CAPITAL]
    n = int(valid.sum())
    if fixed > 0 and fixed > slope * _UNBOUNDED:
        return Findings(left_out={"capacity": "at these volatilities and volumes no capital moves a price"})
    limit = (fixed / slope) ** 2 if fixed > 0 else 0.0
    law = f"square-root impact, factor {terms.impact:g}, and {terms.cost_bps:g} basis points per unit traded"
    number = Number(
        float(limit), f"capital at which costs and impact eat the mean return; {law}; {_GROSS}", "currency", n
    )
    curve = Series.of(
        [f"{c / 1e6:,.0f}m" for c in CAPITAL], net, f"net return per year by capital; {law}", "fraction per year"
    )
    return Findings({"capacity": {"capacity": number}}, {"capacity": curve})


def _book_returns(scores: Floats, returns: Floats, terms: BookTerms) -> tuple[Floats, Floats, Floats]:
    """Weights (T, n), gross return (T,) with NaN where no price or no book is there, value traded (T,)."""
    weights = quantile_book(scores, terms.n_quantiles)
    priced = np.isfinite(returns).any(axis=1) & np.isfinite(weights).all(axis=1)
    gross = np.where(priced, (np.nan_to_num(weights) * np.nan_to_num(returns)).sum(axis=1), np.nan)
    return weights, gross, turnover(weights)


def _mean(values: Floats) -> float:
    present = values[np.isfinite(values)]
    return float(present.mean()) if len(present) else math.nan


def _count(values: Floats) -> int:
    return int(np.isfinite(values).sum())
