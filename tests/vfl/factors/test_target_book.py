"""Target weights: their limits hold, nothing later enters, and a backtester that others wrote earns what we say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from tests.vfl.lab import made_up_lab
from vfl.factors.market import MarketData
from vfl.factors.portfolio import turnover
from vfl.factors.target_book import NoTargetWeights, TargetTerms, target_book
from vfl.factors.target_findings import BUCKETS, target_findings

LAB = made_up_lab(periods=24, count=60)
SCORES = LAB.subject.scores
VOLUMES = np.exp(np.random.default_rng(1).normal(15, 1.5, size=SCORES.shape))
MARKET = replace(LAB.market, dollar_volume=VOLUMES)
TERMS = TargetTerms(capital=2e7, max_weight=0.1, volume_share=0.5, days=21, ic=0.1)
BOOK = target_book(SCORES, MARKET, TERMS)
PERIODS = tuple(f"{day:%Y-%m-%d}" for day in LAB.dates)


def test_every_limit_holds_at_every_decision():
    weights = BOOK.weights
    assert BOOK.decided.all()
    assert np.abs(weights).sum(axis=1).max() <= TERMS.gross + 1e-5
    assert np.abs(weights.sum(axis=1)).max() < 1e-5
    for sector in np.unique(MARKET.sectors):
        assert np.abs(np.where(MARKET.sectors == sector, weights, 0).sum(axis=1)).max() < 1e-5
    assert np.abs((weights * MARKET.betas).sum(axis=1)).max() < 1e-5
    bound = np.minimum(TERMS.max_weight, TERMS.volume_share * VOLUMES / TERMS.capital)
    assert (np.abs(weights) <= bound + 1e-6).all()
    assert (bound < TERMS.max_weight).any()
    # and within them the weights follow the scores
    assert np.mean([stats.spearmanr(w, s).statistic for w, s in zip(weights, SCORES, strict=True)]) > 0.6


def test_nothing_later_enters_an_earlier_weight():
    cut = 9
    scores, prices = SCORES.copy(), LAB.market.prices.copy()
    scores[cut + 1 :] = np.random.default_rng(2).normal(size=scores[cut + 1 :].shape)
    prices[cut + 1 :] *= np.random.default_rng(3).uniform(0.5, 2, size=prices[cut + 1 :].shape)
    later = target_book(scores, replace(MARKET, prices=prices), TERMS)
    np.testing.assert_array_equal(later.weights[: cut + 1], BOOK.weights[: cut + 1])
    assert not np.allclose(later.weights[cut + 1], BOOK.weights[cut + 1])


def test_dearer_trades_are_fewer_and_more_capital_trades_less():
    dear = target_book(SCORES, MARKET, replace(TERMS, cost_bps=100.0))
    assert turnover(dear.weights)[1:].mean() < 0.7 * turnover(BOOK.weights)[1:].mean()
    small = target_book(SCORES, MARKET, replace(TERMS, capital=1e5))
    assert np.abs(small.weights).sum() > np.abs(BOOK.weights).sum()


def test_without_score_or_volume_nothing_is_held_and_a_period_without_scores_keeps_what_is():
    scores, volumes = SCORES[:6].copy(), VOLUMES[:6].copy()
    scores[2, :5] = np.nan
    volumes[:, 7] = np.nan
    scores[4] = np.nan
    market = MarketData(dollar_volume=volumes)
    book = target_book(scores, market, replace(TERMS, sector_neutral=False, beta_neutral=False))
    assert (book.weights[2, :5] == 0).all()
    assert (book.weights[:, 7] == 0).all()
    np.testing.assert_array_equal(book.weights[4], book.weights[3])
    assert not book.decided[4]
    assert (book.traded[4] == 0).all()


@pytest.mark.parametrize(
    ("market", "terms", "says"),
    [
        (replace(MARKET, sectors=None), TERMS, "no column sector"),
        (replace(MARKET, betas=None), TERMS, "no column beta"),
    ],
)
def test_neutrality_to_what_is_unknown_is_refused(market, terms, says):
    with pytest.raises(NoTargetWeights, match=says):
        target_book(SCORES, market, terms)


@pytest.mark.parametrize("field", ["capital", "gross", "max_weight", "volume_share", "ic", "risk_aversion"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_terms_without_sense_are_named(field, value):
    with pytest.raises(NoTargetWeights, match=field):
        replace(TERMS, **{field: value})


def test_findings_add_up():
    found = target_findings(BOOK, SCORES, MARKET, PERIODS, TERMS, 12.0)
    value = found.value
    returns = MARKET.returns
    expected = np.nansum(BOOK.weights[:-1] * returns[:-1], axis=1).mean()
    assert value("target_book", "gross_return") == pytest.approx(expected, rel=1e-9)
    assert value("target_book", "net_return") == pytest.approx(
        expected - value("target_book", "fixed_costs") - value("target_book", "impact_costs"), rel=1e-9
    )
    for what, whole in (("gross", 1.0), ("traded", 1.0), ("return", 12 * expected)):
        parts = [value("liquidity", f"fifth_{k + 1}_{what}") for k in range(BUCKETS)]
        assert sum(parts) == pytest.approx(whole, rel=1e-6)
    assert value("target_book", "net") < 1e-5
    assert value("target_book", "sector") < 1e-5
    assert not found.left_out


def test_capacity_of_a_fifth_is_where_costs_and_impact_eat_its_return():
    found = target_findings(BOOK, SCORES, MARKET, PERIODS, TERMS, 12.0)
    fifth = f"fifth_{BUCKETS}"
    gross, limit = found.value("liquidity", f"{fifth}_return"), found.value("liquidity", f"{fifth}_capacity")
    # the same trades at that capital: fixed costs stay, impact grows with the root of capital
    fixed = sum(
        np.abs(BOOK.traded[t, np.argsort(VOLUMES[t])[-12:]]).sum() for t in range(len(SCORES) - 1)
    ) / (len(SCORES) - 1) * TERMS.cost_bps / 1e4 * 12  # fmt: skip
    impact = found.value("liquidity", f"{fifth}_costs") - fixed
    assert gross - fixed - impact * np.sqrt(limit / TERMS.capital) == pytest.approx(0, abs=1e-9)


def test_without_prices_and_volumes_what_is_missing_is_said():
    market = MarketData(sectors=MARKET.sectors, betas=MARKET.betas)
    book = target_book(SCORES, market, TERMS)
    found = target_findings(book, SCORES, market, PERIODS, TERMS, 12.0)
    assert set(found.left_out) == {"target_return", "liquidity"}
    priced = replace(market, prices=MARKET.prices)
    found = target_findings(book, SCORES, priced, PERIODS, TERMS, 12.0)
    assert found.left_out == {"liquidity": "no dollar_volume was given"}
    assert found.value("target_book", "impact_costs") == 0
