"""What target weights earned and cost, whole and by how much their instruments are traded."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from vfl.factors.evaluate import MINIMUM_ROWS
from vfl.factors.findings import Findings, Number, Series, hac_numbers
from vfl.factors.hac import hac_mean
from vfl.factors.market import MarketData
from vfl.factors.portfolio import quantiles
from vfl.factors.target_book import TargetBook, TargetTerms, unit_toll

__all__ = ["BUCKETS", "target_findings"]

Floats = NDArray[np.float64]

BUCKETS = 5


def target_findings(
    book: TargetBook, scores: Floats, market: MarketData, periods: tuple[str, ...], terms: TargetTerms, per_year: float
) -> Findings:
    """Exposures and turnover; with prices, returns after costs; with volumes, all of it by liquidity and its capacity.

    A period's return is what its weights earn until the next decision. per_year: periods in a year.
    """
    found = _held(book, market, periods, terms)
    if market.returns is None:
        reason = "no prices were given"
        return found | Findings(left_out={"target_return": reason, "liquidity": reason})
    # what may be missing at a position's end counts as no return, and is counted below
    earned = np.where(np.isfinite(market.returns), book.weights * np.nan_to_num(market.returns), 0.0)
    valid: NDArray[np.bool_] = np.asarray(np.isfinite(market.returns).any(axis=1))
    if valid.sum() < MINIMUM_ROWS:
        reason = f"needs {MINIMUM_ROWS} periods with prices at both ends, there are {int(valid.sum())}"
        return found | Findings(left_out={"target_return": reason, "liquidity": reason})
    fixed = terms.cost_bps / 1e4 * np.abs(book.traded)
    impact = unit_toll(market, scores.shape, terms) * np.abs(book.traded) ** 1.5
    found |= _returns(book, earned, fixed, impact, market, valid, periods, terms, per_year)
    return found | _by_liquidity(book, earned, fixed, impact, market, valid, terms, per_year)


def _held(book: TargetBook, market: MarketData, periods: tuple[str, ...], terms: TargetTerms) -> Findings:
    at = np.flatnonzero(book.decided)
    n = len(at)
    weights = book.weights[at]
    gross, traded = np.abs(weights).sum(axis=1), np.abs(book.traded).sum(axis=1)
    numbers = {
        "gross": Number(_mean(gross), f"mean sum of |weight|, at most {terms.gross:g}", "fraction of capital", n),
        "names": Number(_mean((weights != 0).sum(axis=1)), "mean number of positions", "instruments", n),
        "turnover": Number(
            _mean(traded[at][1:]), "mean value traded a period after the first, sum of |change| against what positions "
            "had become", "capital per period", max(n - 1, 0),
        ),
        "net": Number(_most(weights.sum(axis=1)), "largest |sum of weights| of a decision", "fraction of capital", n),
    }  # fmt: skip
    if market.sectors is not None:
        sectors = [
            np.where(market.sectors[at] == sector, weights, 0.0).sum(axis=1) for sector in np.unique(market.sectors)
        ]
        told = "largest |sum of weights| of a sector at a decision; the unknown ones are one"
        numbers["sector"] = Number(_most(np.array(sectors)), told, "fraction of capital", n)
    if market.betas is not None:
        beta = (weights * np.nan_to_num(market.betas[at])).sum(axis=1)
        numbers["beta"] = Number(_most(beta), "largest |sum of weight * beta| of a decision", "beta", n)
    drawn = Series.of(periods, traded, numbers["turnover"].definition, "capital per period")
    return Findings({"target_book": numbers}, {"target_turnover": drawn})


def _returns(
    book: TargetBook, earned: Floats, fixed: Floats, impact: Floats, market: MarketData, valid: NDArray[np.bool_],
    periods: tuple[str, ...], terms: TargetTerms, per_year: float,
) -> Findings:  # fmt: skip
    gross = np.where(valid, earned.sum(axis=1), np.nan)
    costs = (fixed + impact).sum(axis=1)
    net, n = gross - costs, int(valid.sum())
    after = f"after {terms.cost_bps:g} basis points per unit traded and impact at a capital of {terms.capital:,.0f}"
    mean = hac_mean(net, horizon=1)
    numbers = hac_numbers("net_return", mean, f"mean return per period {after}", "fraction of capital per period")
    deviation = float(net[valid].std(ddof=1))
    numbers["gross_return"] = Number(_mean(gross[valid]), "mean before costs", "fraction of capital per period", n)
    numbers["fixed_costs"] = Number(
        _mean(fixed.sum(axis=1)[valid]), f"mean of {terms.cost_bps:g} basis points per unit traded",
        "fraction of capital per period", n,
    )  # fmt: skip
    numbers["impact_costs"] = Number(
        _mean(impact.sum(axis=1)[valid]), f"mean square-root impact, factor {terms.impact:g}; 0 without volumes or "
        "volatilities", "fraction of capital per period", n,
    )  # fmt: skip
    numbers["annual_sharpe"] = Number(
        mean.mean / deviation * math.sqrt(per_year) if deviation > 0 else math.nan,
        f"mean / standard deviation of net returns times sqrt({per_year:.4g}) periods per year", "per year", n,
    )  # fmt: skip
    wealth = np.cumsum(np.where(valid, net, 0.0))
    falls = wealth - np.maximum.accumulate(np.maximum(wealth, 0.0))
    numbers["drawdown"] = Number(
        float(falls.min()),
        f"largest fall of the cumulative net return from its peak, {after}",
        "fraction of capital",
        n,
    )
    assert market.returns is not None
    unpriced = int((np.isnan(market.returns) & (book.weights != 0))[valid].sum())
    numbers["unpriced_positions"] = Number(
        float(unpriced), "positions without a price at either end; their return counts as zero", "count", n
    )
    drawn = {"target_wealth": Series.of(periods, wealth, f"cumulative return {after}", "fraction of capital")}
    return Findings({"target_book": numbers}, drawn)


def _by_liquidity(
    book: TargetBook, earned: Floats, fixed: Floats, impact: Floats, market: MarketData, valid: NDArray[np.bool_],
    terms: TargetTerms, per_year: float,
) -> Findings:  # fmt: skip
    """Each bucket is a fifth of the instruments with a volume then, by value traded a day: 1 the least."""
    if market.dollar_volume is None:
        return Findings(left_out={"liquidity": "no dollar_volume was given"})
    place = quantiles(market.dollar_volume, BUCKETS)
    if (place < 0).all():
        return Findings(left_out={"liquidity": f"no period has volumes of {2 * BUCKETS} instruments"})
    numbers: dict[str, Number] = {}
    n, after = int(valid.sum()), []
    gross_all, traded_all = np.abs(book.weights)[valid].sum(), np.abs(book.traded)[valid].sum()
    for bucket in range(BUCKETS):
        inside = (place == bucket) & valid[:, None]
        per_period = [float(np.where(inside, values, 0.0).sum()) / n for values in (earned, fixed, impact)]
        gross, cost, toll = per_period
        share = np.abs(book.weights)[inside].sum() / gross_all if gross_all else math.nan
        traded = np.abs(book.traded)[inside].sum() / traded_all if traded_all else math.nan
        # impact of the same trades grows with the root of capital
        limit = terms.capital * ((gross - cost) / toll) ** 2 if toll > 0 and gross > cost else (
            0.0 if gross <= cost else math.nan
        )  # fmt: skip
        said = f"of fifth {bucket + 1} of the instruments by value traded a day, 1 the least"
        unit = "fraction of capital per year"
        numbers |= {
            f"fifth_{bucket + 1}_gross": Number(float(share), f"share of all positions {said}", "fraction", n),
            f"fifth_{bucket + 1}_traded": Number(float(traded), f"share of all trades {said}", "fraction", n),
            f"fifth_{bucket + 1}_return": Number(gross * per_year, f"return before costs {said}", unit, n),
            f"fifth_{bucket + 1}_costs": Number((cost + toll) * per_year, f"costs and impact {said}", unit, n),
            f"fifth_{bucket + 1}_capacity": Number(
                limit, f"capital at which costs and impact of the same trades eat the return {said}", "currency", n
            ),
        }
        after.append(gross * per_year - (cost + toll) * per_year)
    names = [f"{bucket + 1}" for bucket in range(BUCKETS)]
    drawn = {
        "liquidity_return": Series.of(
            names, after, f"return after costs and impact at a capital of {terms.capital:,.0f}, by fifth of value "
            "traded a day, 1 the least", "fraction of capital per year",
        )
    }  # fmt: skip
    return Findings({"liquidity": numbers}, drawn)


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else math.nan


def _most(values: Floats) -> float:
    return float(np.abs(values).max()) if values.size else math.nan
