"""Values of coalitions on all members' rows: equal to the same in plain numbers, and right about who brings what."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr

from psi.flow import Message
from tests.vfl.federated.rig import COORDINATOR, play, rounds_of, secret
from vfl.contribution.shapley import exact_shapley
from vfl.federated.messages import SumPart
from vfl.federated.twin import in_plain
from vfl.federated.updates import RING
from vfl.federated.valuation import Judged, Plan, open_values, tell_values
from vfl.federated_terms import FederatedModel

F64 = NDArray[np.float64]
FOUR = ("lead", "large", "small", "noise")
ROWS = {"lead": 60, "large": 600, "small": 40, "noise": 60}
TRUE = np.array([1.0, -0.6, 0.3, 0.2, -0.2, 0.1, 0.0, 0.4])
MODEL = FederatedModel(rounds=2)
PERIODS = 5


class Regression:
    """A member whose learner moves half of the way to its own least squares, so that an average is a pooled fit."""

    def __init__(self, name: str) -> None:
        draw = np.random.default_rng(FOUR.index(name))
        self.rows = ROWS[name]
        self._known = draw.normal(size=(self.rows, len(TRUE)))
        self._label = self._known @ TRUE + 2.0 * draw.normal(size=self.rows)
        if name == "noise":
            self._label = 6.0 * draw.normal(size=self.rows)
        self._later = draw.normal(size=(PERIODS, 80, len(TRUE)))
        self._told = self._later @ TRUE + 2.0 * draw.normal(size=(PERIODS, 80))

    def train(self, weights: F64, number: int) -> F64:
        fitted = np.linalg.solve(self._known.T @ self._known + np.eye(len(TRUE)), self._known.T @ self._label)
        return weights + 0.5 * (fitted - weights)

    def begin(self, seed: int) -> tuple[Regression, F64]:
        return self, np.zeros(len(TRUE))

    def judged(self, weights: F64) -> Judged:
        scores = self._later @ weights
        ics = [spearmanr(a, b).statistic for a, b in zip(scores, self._told, strict=True)]
        return Judged(np.array(ics), np.full(PERIODS, 80))

    def alone(self) -> Judged:
        return self.judged(self.train(np.zeros(len(TRUE)), 0))


def valued(plan: Plan, drops: str = "") -> dict[str, dict[frozenset[str], F64]]:
    flows = {name: tell_values(plan, name, Regression(name), secret(name)) for name in FOUR}
    last = plan.evaluation(len(plan.coalitions))

    def gone(who: str, _: str, said: Message) -> bool:
        return who == drops and isinstance(said, SumPart) and said.number == last

    results, _ = play({**flows, COORDINATOR: open_values(plan, set())}, drops=gone)
    return results


def plan_of(threshold: int = 3) -> Plan:
    model = MODEL.model_copy(update={"threshold": threshold})
    return Plan(rounds_of(model, FOUR, len(TRUE)), "lead", PERIODS)


def test_values_are_those_of_plain_trainings_and_everyone_hears_the_same() -> None:
    plan = plan_of()
    results = valued(plan)
    members = {name: Regression(name) for name in FOUR}
    assert plan.coalitions == (
        frozenset({"large", "small"}), frozenset({"large", "noise"}), frozenset({"small", "noise"}),
        frozenset({"large", "small", "noise"}),
    )  # fmt: skip
    for place, coalition in enumerate(plan.coalitions):
        weights = in_plain(plan.training(place), members, np.zeros(len(TRUE)))
        wanted = np.mean([one.judged(weights).ics for one in members.values()], axis=0)
        for found in results.values():
            np.testing.assert_allclose(found[coalition], wanted, atol=1e-6)
    nobody = np.mean([one.alone().ics for one in members.values()], axis=0)
    for small in (frozenset(), frozenset({"large"})):
        np.testing.assert_allclose(results["noise"][small], nobody, atol=1e-6)


def test_who_brings_rows_earns_and_who_brings_noise_does_not() -> None:
    values = valued(plan_of())["lead"]
    report = exact_shapley(values, method="retrain", parties=("large", "small", "noise"))
    phi = {name: estimate.mean for name, estimate in report.estimates.items()}
    assert sum(phi.values()) == pytest.approx(report.everyone - report.nobody)
    assert report.everyone > report.nobody + 0.02
    assert phi["large"] > phi["small"] > phi["noise"]
    assert report.leave_one_out["large"] > 0 > report.leave_one_out["noise"]


def test_a_value_opens_without_a_member_that_drops_out() -> None:
    results = valued(plan_of(), drops="small")
    rest = [Regression(name).alone().ics for name in FOUR if name != "small"]
    np.testing.assert_allclose(results["lead"][frozenset()], np.mean(rest, axis=0), atol=1e-6)


def test_values_that_no_rank_ics_add_up_to_are_refused() -> None:
    plan, last = plan_of(), plan_of().evaluation(len(plan_of().coalitions))

    def poisoned(who: str, _: str, said: Message) -> Message:
        if who != "noise" or not isinstance(said, SumPart) or said.number != last:
            return said
        elements = RING.unpack(said.values, 2 * PERIODS)
        return SumPart(
            last, RING.pack(RING.add(elements, RING.wrap(np.r_[np.full(PERIODS, 2**40), np.zeros(PERIODS, int)])))
        )

    flows = {name: tell_values(plan, name, Regression(name), secret(name)) for name in FOUR}
    results, _ = play({**flows, COORDINATOR: open_values(plan, set())}, change=poisoned)
    assert all("no rank ICs add up to" in str(one) for one in results.values())


def test_no_coalition_of_two_trains() -> None:
    """Of two members each would read the other's update off the sum."""
    assert min(len(one) for one in plan_of(3).coalitions) == 2, "three with the lead"
    model = MODEL.model_copy(update={"threshold": 2})
    plan = Plan(rounds_of(model, FOUR[:3], len(TRUE)), "lead", PERIODS)
    assert plan.coalitions == (frozenset({"large", "small"}),)


def test_a_personal_head_is_not_valued() -> None:
    model = MODEL.model_copy(update={"personal_head": True})
    with pytest.raises(ValueError, match="no common model to value"):
        Plan(rounds_of(model, FOUR, 1), "lead", PERIODS)
