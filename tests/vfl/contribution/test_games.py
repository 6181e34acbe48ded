"""Contribution on made-up markets: copies, noise, duplicates and splits, and the retrain oracle."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy import stats

from vfl.contribution import (
    ContributionReport,
    coalitions,
    coalitions_of,
    exact_shapley,
    joining_orders,
    refit_with_own,
    sampled_shapley,
    scores_for_pay,
    without_own,
)
from vfl.contribution.retrained_scores import retrained_scores
from vfl.factors.evaluate import ic_by_period
from vfl.factors.panel import FeaturePanel, LabelPanel
from vfl.models.split.top import LabelHead
from vfl.models.split.training import score_coalition
from vfl.models.split.twin import PlainSource, initial_weights, train_in_the_clear
from vfl.terms import FixedPoint, SplitModel, WalkForward

PERIODS, ENTITIES = 40, 120
SEEDS = (0, 1) if "ENTENTE_LONG" in os.environ else (0,)
TERMS = SplitModel(
    embedding_width=2, hidden=4, members=2, epochs=2, batch_rows=256, warmup_epochs=2, source_learning_rate=0.1
)
WALK = WalkForward(horizon=1, warmup=6)
Floats = np.ndarray
Game = dict[frozenset[str], Floats]


def panel(values: Floats) -> FeaturePanel:
    shape = values.shape[:2]
    never = np.full(shape, np.datetime64("NaT"), dtype="datetime64[ns]")
    names = tuple(f"c{i}" for i in range(values.shape[2]))
    return FeaturePanel(names, values, np.ones(shape, dtype=bool), never, never)


class Market:
    """Panels by party, the label party's, one joint training, and the scores of every coalition."""

    def __init__(self, features: Mapping[str, Floats], own: Floats, label: Floats) -> None:
        known = np.repeat(np.arange(1, PERIODS + 1)[:, None], ENTITIES, axis=1)
        label = (label - label.mean(axis=1, keepdims=True)) / label.std(axis=1, keepdims=True)
        self.panels = {name: panel(values) for name, values in features.items()}
        self.label = LabelPanel(panel(own), label, known, np.ones(label.shape, dtype=bool))
        columns = [values.shape[2] for values in features.values()]
        seeds = [(bytes([2 * k]) * 32, bytes([2 * k + 1]) * 32) for k in range(len(columns))]
        self.weights = dict(zip(features, initial_weights(seeds, columns, 2, FixedPoint()), strict=True))
        self.names = tuple(features)

    def values(self, scores: Mapping[frozenset[str], Floats]) -> Game:
        return {c: ic_by_period(s, self.label.label, when_constant=0.0) for c, s in scores.items()}

    def masked(self, *, own: bool = True) -> dict[frozenset[str], Floats]:
        """Scores of every coalition of the one joint model."""
        result, source = train_in_the_clear(
            list(self.panels.values()), self.label, TERMS, WALK, row_limit=3, reserved=0,
            weights=list(self.weights.values()),
        )  # fmt: skip
        assert isinstance(source, PlainSource)
        head = LabelHead(TERMS, self.label.features.values.shape[-1])
        seen = self.label if own else without_own(self.label)
        scores = {}
        for members in coalitions(self.names):
            places = [k for k, name in enumerate(self.names) if name in members]
            embeddings = result.in_place(source.coalition(places, result.predictions))
            scores[members] = score_coalition(head, result, seen, embeddings)
        return scores

    def conditioned(self) -> ContributionReport:
        blended = {c: refit_with_own(s, self.label, WALK) for c, s in self.masked().items()}
        return exact_shapley(self.values(blended), parties=self.names, refitted=True)

    def retrained(self) -> ContributionReport:
        scores = retrained_scores(
            self.panels, self.label, coalitions(self.names), TERMS, WALK, row_limit=3, weights=self.weights
        )
        return exact_shapley(self.values(scores), parties=self.names, method="retrain")


@cache
def market(seed: int) -> Market:
    """Two parties that know something, one with the label party's own columns, one with noise."""
    rng = np.random.default_rng(seed)
    shape = (PERIODS, ENTITIES)
    own, good, other = rng.normal(size=(*shape, 2)), rng.normal(size=(*shape, 3)), rng.normal(size=(*shape, 3))
    noise = rng.normal(size=(*shape, 3))
    label = 0.25 * own[..., 0] + 0.3 * good[..., 0] + 0.2 * other[..., 0] + rng.normal(size=shape)
    return Market({"good": good, "copycat": own.copy(), "noise": noise, "other": other}, own, label)


@cache
def reports(seed: int) -> tuple[ContributionReport, ContributionReport, ContributionReport]:
    plain = market(seed).values(market(seed).masked(own=False))
    return (
        market(seed).conditioned(),
        market(seed).retrained(),
        exact_shapley(plain, parties=market(seed).names, conditioned=False),
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_exact_shapley_agrees_with_retraining_every_coalition_within_its_interval(seed: int) -> None:
    masked, retrained, _ = reports(seed)
    for name, oracle in retrained.estimates.items():
        assert oracle.low <= masked.estimates[name].mean <= oracle.high, name
    assert masked.total == pytest.approx(retrained.total, abs=0.015)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_copy_of_the_label_partys_columns_and_noise_earn_about_nothing(seed: int) -> None:
    conditioned, retrained, plain = reports(seed)
    for report in (conditioned, retrained):
        pay = scores_for_pay(report, 1.0)
        for worthless in ("copycat", "noise"):
            assert abs(report.estimates[worthless].mean) < 0.005
            assert pay[worthless] < 0.001
        assert report.estimates["good"].mean > report.estimates["other"].mean > 0.03
        assert report.estimates["other"].t > 3
    # without the label party's columns the copy knows something, and the plain value says so
    assert plain.estimates["copycat"].mean > 0.05
    assert plain.nobody == 0.0
    assert "in no coalition" in plain.definition
    assert "fits its blend" in conditioned.definition


def test_without_a_new_blend_the_copy_would_be_paid_for_weight_it_took() -> None:
    rng = np.random.default_rng(0)
    shape = (PERIODS, ENTITIES)
    own, good = rng.normal(size=(*shape, 1)), rng.normal(size=(*shape, 2))
    label = 0.4 * own[..., 0] + 0.3 * good[..., 0] + rng.normal(size=shape)
    world = Market({"good": good, "copycat": own.copy()}, own, label)
    raw = exact_shapley(world.values(world.masked()), parties=world.names)
    assert raw.estimates["copycat"].mean > 0.005
    assert raw.estimates["copycat"].t > 3
    fair = world.conditioned()
    assert abs(fair.estimates["copycat"].mean) < 0.002
    assert scores_for_pay(fair, 1.0)["copycat"] < 0.0005


@cache
def doubled() -> tuple[ContributionReport, ContributionReport, ContributionReport]:
    """One party alone; the same data brought by two parties; and by two of one legal entity."""
    rng = np.random.default_rng(3)
    shape = (PERIODS, ENTITIES)
    own, good, other = rng.normal(size=(*shape, 2)), rng.normal(size=(*shape, 3)), rng.normal(size=(*shape, 3))
    label = 0.25 * own[..., 0] + 0.3 * good[..., 0] + 0.2 * other[..., 0] + rng.normal(size=shape)
    once = Market({"good": good, "other": other}, own, label)
    twice = Market({"good": good, "again": good.copy(), "other": other}, own, label)
    scores = retrained_scores(
        twice.panels, twice.label, coalitions(twice.names), TERMS, WALK, row_limit=3, weights=twice.weights
    )
    game = twice.values(scores)
    entity = {"good": "Good Ltd", "again": "Good Ltd", "other": "Other Ltd"}
    united = exact_shapley(game, parties=twice.names, method="retrain", entities=entity)
    return once.retrained(), exact_shapley(game, parties=twice.names, method="retrain"), united


def test_a_party_that_comes_twice_halves_its_value() -> None:
    once, twice, _ = doubled()
    single = once.estimates["good"].mean
    assert twice.estimates["good"].mean == pytest.approx(single / 2, abs=0.01)
    assert twice.estimates["again"].mean == pytest.approx(single / 2, abs=0.01)
    assert twice.leave_one_out["good"] == pytest.approx(0.0, abs=0.01)
    assert twice.estimates["other"].mean == pytest.approx(once.estimates["other"].mean, abs=0.01)


def test_two_parties_of_one_entity_earn_what_it_would_earn_as_one() -> None:
    once, _, united = doubled()
    assert united.by_entity["Good Ltd"] == pytest.approx(once.estimates["good"].mean, abs=0.01)
    assert united.record()["entities"].keys() == {"Good Ltd", "Other Ltd"}
    assert "legal entity" in united.definition


def random_game(seed: int, names: tuple[str, ...], periods: int = 5) -> Game:
    rng = np.random.default_rng(seed)
    return {c: rng.normal(0.05, 0.1, periods) for c in coalitions(names)}


@pytest.mark.parametrize("seed", range(5))
def test_splitting_a_party_within_its_entity_changes_nobody_elses_value_and_not_its_sum(seed: int) -> None:
    whole = random_game(seed, ("a", "b", "c"))
    rng = np.random.default_rng(seed + 100)
    split: Game = {}
    for members in coalitions(("a1", "a2", "b", "c")):
        rest = members - {"a1", "a2"}
        if len(members - rest) == 1:  # half the data: worth whatever it is worth
            split[members] = rng.normal(size=5)
        else:
            split[members] = whole[rest | {"a"}] if members - rest else whole[rest]
    entity = {"a1": "A", "a2": "A"}
    report, unsplit = exact_shapley(split, parties=("a1", "a2", "b", "c"), entities=entity), exact_shapley(whole)
    for name in ("b", "c"):
        np.testing.assert_allclose(report.phi[name], unsplit.phi[name], atol=1e-14)
    np.testing.assert_allclose(report.phi["a1"] + report.phi["a2"], unsplit.phi["a"], atol=1e-14)
    assert report.by_entity["A"] == pytest.approx(unsplit.estimates["a"].mean)
    without = exact_shapley(split, parties=("a1", "a2", "b", "c"))
    assert abs(without.by_entity["a1"] + without.by_entity["a2"] - report.by_entity["A"]) > 1e-3
    lone = exact_shapley(whole, entities={"a": "A", "b": "B", "c": ""})
    np.testing.assert_array_equal(lone.phi["a"], unsplit.phi["a"])


def big_game(names: tuple[str, ...], wanted: tuple[frozenset[str], ...]) -> Game:
    """Diminishing returns, and one pair that works only together: its Shapley values are known from all orders."""
    weight = {name: 1.0 + k for k, name in enumerate(names)}
    trend = np.array([0.9, 1.0, 1.1, np.nan, 1.0])
    game = {}
    for members in wanted:
        value = np.sqrt(sum(weight[m] for m in members)) + 0.5 * ({names[0], names[1]} <= members)
        game[members] = 0.02 * value * trend
    return game


def test_sampled_values_come_within_their_stated_error_of_the_exact_ones() -> None:
    names = tuple("abcdefgh")
    exact = exact_shapley(big_game(names, coalitions(names)))
    orders = joining_orders(names, 60, seed=1)
    sampled = sampled_shapley(big_game(names, coalitions_of(orders)), orders, seed=1)
    assert sampled.sampling is not None
    misses = [
        abs(sampled.estimates[n].mean - exact.estimates[n].mean) / max(sampled.sampling.errors[n], 1e-12) for n in names
    ]
    assert max(misses) < 4
    assert np.mean(np.square(misses)) < 3
    assert sampled.total == pytest.approx(exact.total)
    assert sum(e.mean for e in sampled.estimates.values()) == pytest.approx(exact.total)
    for name in names:
        assert sampled.estimates[name].standard_error >= sampled.sampling.errors[name]
        assert sampled.estimates[name].low < sampled.estimates[name].mean < sampled.estimates[name].high
        assert sampled.leave_one_out[name] == pytest.approx(exact.leave_one_out[name])
    record = sampled.record()
    assert (record["seed"], record["orders"]) == (1, 120)
    assert record["parties"]["a"]["sampling_error"] == sampled.sampling.errors["a"]
    assert "120 orders" in record["definition"]


def test_twelve_parties_and_all_orders_of_three() -> None:
    names = tuple("abcdefghijkl")
    orders = joining_orders(names, 10, seed=5)
    report = sampled_shapley(big_game(names, coalitions_of(orders)), orders, seed=5)
    assert report.n_periods == 4
    assert sum(e.mean for e in report.estimates.values()) == pytest.approx(report.total)
    drawn = joining_orders(("x", "y", "z"), 400, seed=2)[::2]
    assert len(set(drawn)) == 6
    assert stats.chisquare([drawn.count(order) for order in set(drawn)]).pvalue > 1e-3


def test_orders_follow_from_the_seed_and_come_with_their_reverse() -> None:
    names = tuple("abcdefghij")
    orders = joining_orders(names, 4, seed=9)
    assert orders == joining_orders(names, 4, seed=9)
    assert orders != joining_orders(names, 4, seed=10)
    assert all(one == two[::-1] for one, two in zip(orders[::2], orders[1::2], strict=True))
    held = joining_orders(names, 6, seed=9, entities={"a": "X", "j": "X"})
    assert all(abs(order.index("a") - order.index("j")) == 1 for order in held)


def test_bad_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 pairs"):
        joining_orders(("a", "b"), 1, seed=0)
    with pytest.raises(ValueError, match="2 to 64 feature parties"):
        joining_orders(("a",), 2, seed=0)
    with pytest.raises(ValueError, match="named twice"):
        joining_orders(("a", "a"), 2, seed=0)
    orders = joining_orders(("a", "b", "c"), 2, seed=0)
    game = big_game(("a", "b", "c"), coalitions_of(orders))
    with pytest.raises(ValueError, match=r"coalitions have no value, the first is \{\}"):
        sampled_shapley({c: v for c, v in game.items() if c}, orders, seed=0)
    with pytest.raises(ValueError, match="differ in length"):
        sampled_shapley(game | {frozenset("a"): np.zeros(2)}, orders, seed=0)
    with pytest.raises(ValueError, match="infinite"):
        sampled_shapley(game | {frozenset("a"): np.full(5, np.inf)}, orders, seed=0)
    with pytest.raises(ValueError, match="no period"):
        sampled_shapley({c: np.full(5, np.nan) for c in game}, orders, seed=0)
    with pytest.raises(ValueError, match="no panel of z"):
        retrained_scores({}, market(0).label, [frozenset("z")], TERMS, WALK, row_limit=3, weights={})


def test_a_blend_looks_at_resolved_labels_only() -> None:
    world = market(0)
    scores = world.masked()[frozenset({"good"})]
    first = refit_with_own(scores, world.label, WALK)
    changed = world.label.label.copy()
    changed[20:] = np.random.default_rng(1).normal(size=changed[20:].shape)
    second = refit_with_own(scores, replace(world.label, label=changed), WALK)
    np.testing.assert_array_equal(first[:21], second[:21])
    assert (first[21:] != second[21:]).any()
    assert np.isnan(first[:7]).all()
    nothing = replace(world.label, features=panel(np.zeros((PERIODS, ENTITIES, 0))))
    assert refit_with_own(scores, nothing, WALK) is scores
