"""The book made of a factor, against alphalens and against arithmetic done by hand."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.vfl.lab import made_up_lab
from vfl.factors.market import MarketData
from vfl.factors.portfolio import (
    CAPITAL,
    BookTerms,
    capacity,
    long_short,
    quantile_book,
    quantile_spread,
    quantiles,
    rank_autocorrelation,
    turnover,
)

LAB = made_up_lab()
TERMS = BookTerms()


def long_form(values: np.ndarray, name: str) -> pd.Series:
    index = pd.MultiIndex.from_product([LAB.dates, LAB.names], names=["date", "asset"])
    return pd.Series(values.reshape(-1), index=index, name=name)


def clean_factor_data() -> pd.DataFrame:
    frame = pd.DataFrame({"factor": long_form(LAB.subject.scores, "factor"), "1D": long_form(LAB.market.returns, "1D")})
    place = quantiles(LAB.subject.scores, 5)
    frame["factor_quantile"] = long_form(place + 1, "factor_quantile")
    return frame.dropna()


def test_quantiles_are_those_of_pandas():
    place = quantiles(LAB.subject.scores, 5)
    for t in (0, 11):
        expected = pd.qcut(LAB.subject.scores[t], 5, labels=False)
        np.testing.assert_array_equal(place[t], expected)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-3, 3) | st.none(), min_size=4, max_size=30), st.integers(2, 5))
def test_quantiles_keep_order_and_ties(values, count):
    row = np.array([[np.nan if v is None else float(v) for v in values]])
    place = quantiles(row, count)[0]
    present = ~np.isnan(row[0])
    if present.sum() < 2 * count:
        assert (place == -1).all()
        return
    assert (place[~present] == -1).all()
    assert ((place[present] >= 0) & (place[present] < count)).all()
    for a in np.flatnonzero(present):
        for b in np.flatnonzero(present):
            if row[0, a] <= row[0, b]:
                assert place[a] <= place[b]


def test_quantile_returns_and_spread_agree_with_alphalens():
    alphalens = pytest.importorskip("alphalens")
    returns = LAB.market.returns
    found = quantile_spread(LAB.subject.scores, returns, TERMS, horizon=1, unit="fraction")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs, _ = alphalens.performance.mean_return_by_quantile(clean_factor_data(), by_date=True, demeaned=False)
    per_date = theirs["1D"].unstack("factor_quantile")
    np.testing.assert_allclose(found.series["quantiles"].y, per_date.mean(), atol=1e-12)
    assert found.value("quantiles", "spread") == pytest.approx((per_date[5] - per_date[1]).mean())
    monotone = stats.spearmanr(range(5), per_date.mean()).statistic
    assert found.value("quantiles", "monotonicity") == pytest.approx(monotone, rel=1e-12)
    assert "gross exposure 200 %" in found.numbers["quantiles"]["spread"].definition


def test_rank_autocorrelation_agrees_with_alphalens():
    alphalens = pytest.importorskip("alphalens")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = alphalens.performance.factor_rank_autocorrelation(clean_factor_data(), period=1)
    ours = rank_autocorrelation(LAB.subject.scores)[: len(theirs)]
    np.testing.assert_allclose(ours[1:], theirs.to_numpy()[1:], atol=1e-12)
    assert np.isnan(ours[0])


def test_a_book_by_hand():
    scores = np.array([np.arange(10.0), np.arange(10.0), -np.arange(10.0)])
    prices = np.array([np.full(10, 100.0), np.r_[90.0, np.full(8, 100.0), 120.0], np.full(10, 100.0)])
    weights = quantile_book(scores, 5)
    np.testing.assert_allclose(weights[0], [-0.5, -0.5, 0, 0, 0, 0, 0, 0, 0.5, 0.5])
    np.testing.assert_allclose(turnover(weights), [2, 0, 4])
    terms = BookTerms(cost_bps=100)
    few = long_short(scores, MarketData(prices=prices), ("a", "b", "c"), terms)
    assert few.left_out["drawdown"] == "needs 10 periods with prices at both ends, there are 2"
    long = np.tile(scores[:1], (12, 1))
    path = np.tile(prices[:2], (6, 1))
    found = long_short(long, MarketData(prices=path), tuple("abcdefghijkl"), terms)
    up, down = 0.5 * 0.2 + 0.5 * 0.1, 0.5 * (100 / 120 - 1) - 0.5 * (100 / 90 - 1)
    gross = np.array([up, down] * 5 + [up])
    np.testing.assert_allclose(found.series["net_return"].y[:11], gross - np.r_[0.02, np.zeros(10)])
    assert found.value("long_short", "gross_return") == pytest.approx(gross.mean())
    assert found.value("long_short", "break_even_cost") == pytest.approx(gross.sum() / 2 * 1e4)
    assert found.value("long_short", "drawdown") == pytest.approx(down)
    assert np.isnan(found.series["net_return"].y[11])


def test_a_position_without_a_price_is_counted():
    prices = LAB.market.prices.copy()
    held = np.flatnonzero(quantile_book(LAB.subject.scores, 5)[3] > 0)[0]
    prices[4, held] = np.nan
    found = long_short(LAB.subject.scores, MarketData(prices=prices), LAB.subject.periods, TERMS)
    assert found.value("long_short", "unpriced_positions") >= 1


def test_capacity_is_where_costs_and_impact_eat_the_return():
    found = capacity(LAB.subject.scores, LAB.market, TERMS)
    limit = found.value("capacity", "capacity")
    curve = dict(zip(CAPITAL, found.series["capacity"].y, strict=True))
    assert all(a > b for a, b in zip(found.series["capacity"].y, found.series["capacity"].y[1:], strict=False))
    assert all((net > 0) == (capital < limit) for capital, net in curve.items())
    double = capacity(
        LAB.subject.scores,
        MarketData(
            prices=LAB.market.prices, volatility=LAB.market.volatility, dollar_volume=4 * LAB.market.dollar_volume
        ),
        TERMS,
    )
    assert double.value("capacity", "capacity") == pytest.approx(4 * limit)
    loses = capacity(-LAB.subject.scores, LAB.market, TERMS)
    assert loses.value("capacity", "capacity") == 0
