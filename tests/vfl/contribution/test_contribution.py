"""Shapley values against all orders of arrival, and the axioms that define them."""

from __future__ import annotations

import json
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vfl.contribution import MOST_PARTIES, coalitions, exact_shapley, scores_for_pay
from vfl.factors.evaluate import ic_by_period

NAMES = ("apps", "cards", "satellite", "social", "trips")


def random_game(seed: int, players: int, periods: int = 6) -> dict[frozenset[str], np.ndarray]:
    rng = np.random.default_rng(seed)
    return {c: rng.normal(0.05, 0.1, periods) for c in coalitions(NAMES[:players])}


def by_arrival(game: dict[frozenset[str], np.ndarray], parties: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The definition: the mean gain over all orders in which the parties could join."""
    gains: dict[str, list[np.ndarray]] = {party: [] for party in parties}
    for order in permutations(parties):
        for place, party in enumerate(order):
            gains[party].append(game[frozenset(order[: place + 1])] - game[frozenset(order[:place])])
    return {party: np.mean(series, axis=0) for party, series in gains.items()}


games = st.builds(random_game, st.integers(0, 10**6), st.integers(1, 5))


def test_coalitions_in_order():
    assert coalitions(("b", "a")) == (frozenset(), frozenset("b"), frozenset("a"), frozenset("ab"))
    assert len(set(coalitions(tuple("abcdefgh")))) == 256
    with pytest.raises(ValueError, match="twice"):
        coalitions(("a", "a"))
    for wrong in ((), tuple(str(i) for i in range(MOST_PARTIES + 1))):
        with pytest.raises(ValueError, match="1 to 8 feature parties"):
            coalitions(wrong)


@settings(deadline=None, max_examples=25)
@given(games)
def test_agrees_with_all_orders_of_arrival_and_shares_out_everything(game):
    report = exact_shapley(game)
    oracle = by_arrival(game, report.parties)
    for party in report.parties:
        np.testing.assert_allclose(report.phi[party], oracle[party], atol=1e-14)
        assert report.estimates[party].mean == pytest.approx(oracle[party].mean(), abs=1e-14)
        assert report.leave_one_out[party] == pytest.approx(
            (game[frozenset(report.parties)] - game[frozenset(report.parties) - {party}]).mean()
        )
        assert report.standalone[party] == pytest.approx((game[frozenset({party})] - game[frozenset()]).mean())
    gain = game[frozenset(report.parties)] - game[frozenset()]
    np.testing.assert_allclose(np.sum(list(report.phi.values()), axis=0), gain, rtol=0, atol=1e-15)
    assert sum(e.mean for e in report.estimates.values()) == pytest.approx(report.total, abs=1e-15)


@settings(deadline=None, max_examples=25)
@given(games, st.data())
def test_null_and_symmetric_players(game, data):
    parties = sorted(frozenset().union(*game))
    null = data.draw(st.sampled_from(parties))
    idle = {c: game[c - {null}] for c in game}
    assert not exact_shapley(idle).phi[null].any()
    if len(parties) > 1:
        twin, other = data.draw(st.permutations(parties))[:2]
        swap = {twin: other, other: twin}
        alike = {c: game[c] + game[frozenset(swap.get(p, p) for p in c)] for c in game}
        got = exact_shapley(alike)
        np.testing.assert_allclose(got.phi[twin], got.phi[other], rtol=0, atol=1e-14)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 5), st.floats(-3, 3))
def test_linear_in_the_game(seed, players, factor):
    one, two = random_game(seed, players), random_game(seed + 1, players)
    both = exact_shapley({c: one[c] + factor * two[c] for c in one})
    first, second = exact_shapley(one), exact_shapley(two)
    for party in both.parties:
        np.testing.assert_allclose(both.phi[party], first.phi[party] + factor * second.phi[party], atol=1e-13)


def test_eight_players():
    game = {c: np.full(2, float(len(c)) ** 2) for c in coalitions(tuple("abcdefgh"))}
    report = exact_shapley(game)
    assert {round(e.mean, 12) for e in report.estimates.values()} == {8.0}


def test_a_copied_column_earns_nothing_beside_the_label_partys_own():
    rng = np.random.default_rng(5)
    own, news = rng.normal(size=(2, 12, 80))
    labels = own + news + rng.normal(size=own.shape)
    parts = {"copycat": np.zeros_like(own), "news": news}  # a model that has `own` already gives its copy no weight
    game = {c: ic_by_period(own + sum(parts[p] for p in c), labels) for c in coalitions(("copycat", "news"))}
    report = exact_shapley(game, method="retrain")
    assert report.estimates["copycat"].mean == 0
    assert report.estimates["news"].t > 3
    assert scores_for_pay(report, 1.0)["copycat"] == 0


def test_periods_without_every_value_do_not_count():
    game = random_game(3, 3)
    game[frozenset({"apps"})][2] = np.nan
    report = exact_shapley(game)
    assert report.n_periods == 5
    assert all(np.flatnonzero(np.isnan(phi)).tolist() == [2] for phi in report.phi.values())
    keep = [0, 1, 3, 4, 5]
    dense = exact_shapley({c: v[keep] for c, v in game.items()})
    assert dense.estimates == report.estimates
    assert dense.total == report.total
    assert np.isnan(game[frozenset({"apps"})]).sum() == 1
    for series in game.values():
        series[:] = np.nan
    with pytest.raises(ValueError, match="no period has a value for every coalition"):
        exact_shapley(game)


def test_bad_games_are_named():
    game = random_game(4, 3)
    short = {c: v for c, v in game.items() if c != {"apps", "cards"}}
    with pytest.raises(ValueError, match=r"1 of 8 coalitions have no value, the first is \{apps, cards\}"):
        exact_shapley(short)
    with pytest.raises(ValueError, match="coalitions have no value"):
        exact_shapley(game, parties=("apps", "cards", "satellite", "social"))
    with pytest.raises(ValueError, match=r"\{satellite\} names a party"):
        exact_shapley(game, parties=("apps", "cards"))
    with pytest.raises(ValueError, match=r"\{cards\} has shape"):
        exact_shapley(game | {frozenset({"cards"}): np.zeros(3)})
    with pytest.raises(ValueError, match=r"\{cards\} is infinite in period 0"):
        exact_shapley(game | {frozenset({"cards"}): np.full(6, np.inf)})
    with pytest.raises(ValueError, match="'owen' is unknown"):
        exact_shapley(game, method="owen")
    with pytest.raises(ValueError, match="1 to 8 feature parties"):
        exact_shapley({frozenset(): np.zeros(2)})


def test_scores_for_pay_charge_for_risk_and_never_go_below_zero():
    report = exact_shapley({c: v + 0.1 * len(c & {"apps", "cards"}) for c, v in random_game(6, 4).items()})
    free, charged = scores_for_pay(report, 0.0), scores_for_pay(report, 0.5)
    for party, estimate in report.estimates.items():
        assert free[party] == max(0.0, estimate.mean)
        assert charged[party] == max(0.0, estimate.mean - 0.5 * estimate.standard_error)
    assert any(free.values())
    assert not all(charged.values())
    single = exact_shapley({c: v[:1] + len(c) for c, v in random_game(6, 2).items()})
    assert set(scores_for_pay(single, 0.1).values()) == {0.0}
    assert sum(scores_for_pay(single, 0.0).values()) > 0
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="risk aversion"):
            scores_for_pay(report, wrong)


def test_the_record_is_plain_json_and_says_how():
    single = exact_shapley({c: v[:1] for c, v in random_game(7, 2).items()}, method="retrain", conditioned=False)
    record = json.loads(json.dumps(single.record(), allow_nan=False))
    assert record["parties"]["apps"]["t"] is None
    assert "trained anew" in record["definition"]
    assert "in no coalition" in record["definition"]
    assert record["v_everyone"] - record["v_nobody"] == pytest.approx(single.total)


def test_a_report_names_rows_that_came_after_the_fact() -> None:
    from vfl.contribution.findings import contribution_findings

    rng = np.random.default_rng(3)
    flags = [False] * 40 + [True] * 40
    honest = rng.normal(0.03, 0.05, 80)
    backdated = np.where(flags, rng.normal(0.0, 0.05, 80), rng.normal(0.15, 0.05, 80))
    found = contribution_findings(
        {"card": honest, "social": backdated, "sat": honest}, {"card": flags, "social": flags}, horizon=1
    )
    assert [(w.name, w.text.split()[0]) for w in found.warnings] == [("backdated", "social"), ("uncommitted", "sat")]
    assert found.value("contribution", "committed_card") == 0.5
    assert found.value("contribution", "phi_card") == pytest.approx(honest.mean())


def test_a_report_tests_what_joining_was_worth_and_says_so_before_all_else() -> None:
    from vfl.contribution.findings import contribution_findings

    rng = np.random.default_rng(4)
    flags = {"a": [True] * 80}
    worth, noise = rng.normal(0.03, 0.05, 80), rng.normal(0.0, 0.05, 80)
    noise -= noise.mean() - 0.001
    clear = contribution_findings({"a": worth, "b": noise}, flags, horizon=1)
    assert [w.name for w in clear.warnings] == ["uncommitted"]
    assert clear.value("contribution", "uplift") == pytest.approx((worth + noise).mean())
    assert clear.value("contribution", "uplift_p") < 0.05
    for series, says in ((noise, "is worth +0.0010, which is not distinguishable from nothing"), (-worth, "less than")):
        found = contribution_findings({"a": series, "b": 0 * series}, flags, horizon=1)
        assert (found.warnings[0].name, says in found.warnings[0].text) == ("no uplift", True)
    strict = contribution_findings({"a": worth}, flags, horizon=1, level=1e-9)
    assert strict.warned("no uplift"), "the level is the agreement's"
