"""Target weights that a desk can trade: long-short, neutral, within what is traded a day, costs weighed.

One convex programme for each decision, by cvxpy. With z the normal scores of a period's ranks, sigma the volatility
over a period, w the weights and d = w - (what is held), it maximises

    sum ic * sigma * z * w  -  risk_aversion / 2 * sum (sigma * w)^2  -  sum cost * |d|  -  sum toll * |d|^1.5

over weights of net zero, of gross at most ``gross``, each within its own bound and, as asked, of no exposure to any
sector and to the market. Source: Boyd et al., "Multi-Period Trading via Convex Optimization", Foundations and Trends in
Optimization 3(1), 2017, section 4; Grinold, "Alpha is Volatility Times IC Times Score", J. Portfolio Management 20(4),
1994; the toll is the square-root law of :func:`vfl.factors.portfolio.capacity`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from vfl.factors.evaluate import MINIMUM_ROWS
from vfl.factors.market import MarketData

__all__ = ["NoTargetWeights", "TargetBook", "TargetTerms", "period_volatility", "target_book", "unit_toll"]

Floats = NDArray[np.float64]

_TYPICAL = 0.02  # daily volatility where none is known, of a listed stock
_NOTHING = 1e-6  # a weight below this is none: the tolerance, in units of the largest weight, is finer
_BEYOND = 1e-5
_TOLERANCES = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), 1e-7)


class NoTargetWeights(ValueError):
    """What was asked has no weights; the text says which period and what to change."""


@dataclass(frozen=True)
class TargetTerms:
    """What the book may hold, as fractions of ``capital`` (currency of ``dollar_volume``).

    gross: sum of |w|. max_weight: of one instrument. volume_share: of the value traded a day that a position may be;
    an instrument without a known volume gets none. cost_bps: one way. impact: factor of the square-root law. ic: what
    is expected of a score, per period. neutral to sectors, to beta: where the market has them. days: of a period.
    """

    capital: float = 1e7
    gross: float = 2.0
    max_weight: float = 0.02
    volume_share: float = 0.05
    cost_bps: float = 10.0
    impact: float = 1.0
    ic: float = 0.03
    risk_aversion: float = 20.0
    sector_neutral: bool = True
    beta_neutral: bool = True
    days: float = 5.0

    def __post_init__(self) -> None:
        positive = {"capital": self.capital, "gross": self.gross, "max_weight": self.max_weight, "ic": self.ic}
        positive |= {"volume_share": self.volume_share, "risk_aversion": self.risk_aversion, "days": self.days}
        for name, value in positive.items():
            if not (math.isfinite(value) and value > 0):
                raise NoTargetWeights(f"{name} is {value:g}: give a number above 0")
        for name, value in {"cost_bps": self.cost_bps, "impact": self.impact}.items():
            if not (math.isfinite(value) and value >= 0):
                raise NoTargetWeights(f"{name} is {value:g}: give 0 or more")


@dataclass(frozen=True)
class TargetBook:
    """weights, traded: float64 (T, n), fractions of capital; traded is against what earlier weights had become.

    decided: bool (T,), whether the period had scores enough to decide on; without, what is held stays.
    """

    weights: Floats
    traded: Floats
    decided: NDArray[np.bool_]


def target_book(
    scores: Floats, market: MarketData, terms: TargetTerms, told: Callable[[int, int], None] = lambda done, of: None
) -> TargetBook:
    """Weights for every period of ``scores`` (T, n), NaN where there is none; no later value enters an earlier one.

    Positions move with prices where these are given. told(done, periods) after each. Raises :class:`NoTargetWeights`
    where neutrality is asked and sectors or betas are not given, or where the solver finds none; ImportError without
    cvxpy.
    """
    import cvxpy

    for asked, given, name in (
        (terms.sector_neutral, market.sectors, "sector"),
        (terms.beta_neutral, market.betas, "beta"),
    ):
        if asked and given is None:
            raise NoTargetWeights(f"the market has no column {name}: give one, or leave {name} neutrality out")
    grown = np.ones(scores.shape)
    if market.returns is not None:
        grown[1:] += np.nan_to_num(market.returns[:-1])
    volatility, toll = period_volatility(market, scores.shape, terms), unit_toll(market, scores.shape, terms)
    bounds = _bounds(market, scores.shape, terms)
    weights, traded = np.zeros(scores.shape), np.zeros(scores.shape)
    decided, held = np.zeros(len(scores), dtype=bool), np.zeros(scores.shape[1])
    for t, row in enumerate(scores):
        held = held * grown[t]
        scored = ~np.isnan(row)
        decided[t] = scored.sum() >= MINIMUM_ROWS
        if decided[t]:
            most = np.where(scored, bounds[t], 0.0)
            if terms.beta_neutral:
                assert market.betas is not None
                most = np.where(np.isfinite(market.betas[t]), most, 0.0)
            used = (most > 0) | (np.abs(held) > 0)
            found = np.zeros(len(row))
            if used.any():
                alpha = np.zeros(len(row))
                alpha[scored] = terms.ic * volatility[t, scored] * _normal_scores(row[scored])
                found[used] = _solve(
                    cvxpy, alpha[used], volatility[t, used], toll[t, used], most[used], held[used],
                    _exposures(market, terms, t, used), terms, t,
                )  # fmt: skip
            traded[t] = found - held
            held = found
        weights[t] = held
        told(t + 1, len(scores))
    return TargetBook(weights, traded, decided)


def period_volatility(market: MarketData, shape: tuple[int, ...], terms: TargetTerms) -> Floats:
    """Volatility over a period, float64 (T, n); a period's median where unknown, and 2 % a day where all is."""
    daily = np.full(shape, np.nan) if market.volatility is None else market.volatility
    return math.sqrt(terms.days) * _filled(daily, _TYPICAL)


def unit_toll(market: MarketData, shape: tuple[int, ...], terms: TargetTerms) -> Floats:
    """Impact, float64 (T, n): trading q of capital costs toll * q^1.5 of capital; 0 without volumes or volatilities."""
    if market.dollar_volume is None or market.volatility is None:
        return np.zeros(shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        unit = np.where(market.dollar_volume > 0, market.volatility / np.sqrt(market.dollar_volume), np.nan)
    return terms.impact * math.sqrt(terms.capital) * _filled(unit, 0.0)


def _filled(values: Floats, otherwise: float) -> Floats:
    """Unknown values by their period's median, and by ``otherwise`` in a period that knows none."""
    found = values.copy()
    for row in found:
        seen = np.isfinite(row)
        row[~seen] = np.median(row[seen]) if seen.any() else otherwise
    return found


def _bounds(market: MarketData, shape: tuple[int, ...], terms: TargetTerms) -> Floats:
    """The most that each may weigh, float64 (T, n)."""
    most = np.full(shape, terms.max_weight)
    if market.dollar_volume is not None:
        most = np.minimum(most, terms.volume_share * np.nan_to_num(market.dollar_volume) / terms.capital)
    return most


def _exposures(market: MarketData, terms: TargetTerms, t: int, used: NDArray[np.bool_]) -> Floats:
    """What must sum to zero, float64 (k, n): a row for each sector (so net zero too) or one for all; and the betas."""
    rows = [np.ones(int(used.sum()))]
    if terms.sector_neutral:
        assert market.sectors is not None
        here = market.sectors[t, used]
        rows = [(here == sector).astype(np.float64) for sector in np.unique(here)]
    if terms.beta_neutral:
        assert market.betas is not None
        rows.append(np.nan_to_num(market.betas[t, used]))
    return np.array(rows)


def _normal_scores(scores: Floats) -> Floats:
    found: Floats = stats.norm.ppf((stats.rankdata(scores) - 0.5) / len(scores))
    return found


def _solve(
    cvxpy: Any, alpha: Floats, volatility: Floats, toll: Floats, most: Floats, held: Floats, exposures: Floats,
    terms: TargetTerms, t: int,
) -> Floats:  # fmt: skip
    # in units of the largest weight and the largest expected return, or the solver's tolerance is coarse
    unit = float(most.max()) or 1.0
    w = cvxpy.Variable(len(alpha))
    change = cvxpy.abs(w - held / unit)
    costs = terms.cost_bps / 1e4 * cvxpy.sum(change)
    if toll.any():
        costs = costs + math.sqrt(unit) * toll @ cvxpy.power(change, 1.5)
    risk = terms.risk_aversion / 2 * unit * cvxpy.sum_squares(cvxpy.multiply(volatility, w))
    gain = (alpha @ w - risk - costs) / max(float(np.abs(alpha).max()), 1e-9)
    limits = [cvxpy.norm1(w) <= terms.gross / unit, w <= most / unit, w >= -most / unit, exposures @ w == 0]
    problem = cvxpy.Problem(cvxpy.Maximize(gain), limits)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            problem.solve(solver=cvxpy.CLARABEL, **_TOLERANCES)
    except cvxpy.error.SolverError as error:
        raise NoTargetWeights(f"period {t + 1}: the solver found no weights ({error}): try wider limits") from None
    # the second: to the solver's reduced accuracy, so the limits are looked at again
    if problem.status not in {cvxpy.OPTIMAL, cvxpy.OPTIMAL_INACCURATE} or w.value is None:
        raise NoTargetWeights(f"period {t + 1}: no weights meet these limits ({problem.status}): try wider ones")
    found: Floats = unit * np.asarray(w.value, dtype=np.float64)
    beyond = max(
        float(np.abs(found).sum() - terms.gross),
        float((np.abs(found) - most).max()),
        float(np.abs(exposures @ found).max()),
    )
    if beyond > _BEYOND:
        raise NoTargetWeights(f"period {t + 1}: the solver is {beyond:.1g} beyond a limit: try wider ones")
    return np.where(np.abs(found) < _NOTHING, 0.0, found)
