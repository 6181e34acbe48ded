"""Coalitions of one sealed model of trees, their splits averaged over, beside trees grown anew by each coalition."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.parties.node.test_warm_start import panel
from vfl.contribution import ContributionReport, coalitions, exact_shapley
from vfl.factors.evaluate import ic_by_period
from vfl.factors.panel import LabelPanel
from vfl.models.sealed.columns import SealedLabels
from vfl.models.trees.twin import IntegerTwin, run_twin, twin_scores
from vfl.terms import WalkForward
from vfl.tree_terms import TreesModel
from vfl.walk.refits import refits
from vfl.walk.schedule import Step, resolved_at

PERIODS, ENTITIES, NAMES = 24, 150, ("a", "b", "noise")
TERMS, WALK = TreesModel(trees=30, depth=3, refit_every=14, rate=0.2), WalkForward(horizon=1, warmup=10)
F64 = NDArray[np.float64]


class Watched(IntegerTwin):
    """Keeps every coalition's scores of what is predicted."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.found = np.full((len(self.coalitions), PERIODS * ENTITIES), np.nan)

    def predict(self, step: Step) -> F64:
        self.found[:, step.rows] = self.by_coalition[:, step.rows]
        return super().predict(step)


def market() -> tuple[dict[str, F64], LabelPanel]:
    """a and b know a product of theirs and a line each, a the stronger one; the third party brings noise."""
    rng, shape = np.random.default_rng(1), (PERIODS, ENTITIES, 2)
    own, a, b, noise = (rng.normal(size=shape) for _ in range(4))
    drift = 0.5 * own[..., 0] + 0.8 * a[..., 0] * np.sign(b[..., 0]) + 0.6 * a[..., 1] + 0.3 * b[..., 1]
    label = drift + rng.normal(size=shape[:2])
    known = np.repeat(np.arange(1, PERIODS + 1)[:, None], ENTITIES, axis=1)
    columns = {"a": a, "b": b, "noise": noise, "label": own}
    everyone = LabelPanel(panel(own), label, known, np.ones(shape[:2], bool))
    return {name: values.reshape(PERIODS * ENTITIES, -1) for name, values in columns.items()}, everyone


def report(scores: dict[frozenset[str], F64], label: F64, method: Any) -> ContributionReport:
    shaped = {one: found.reshape(PERIODS, ENTITIES) for one, found in scores.items()}
    game = {one: ic_by_period(found, label, "rank", when_constant=0.0) for one, found in shaped.items()}
    return exact_shapley(game, parties=NAMES, method=method)


def test_what_splits_are_worth_is_near_what_trees_of_ones_own_are_and_noise_is_worth_nothing() -> None:
    columns, everyone = market()
    seeds = {name: bytes([place]) * 32 for place, name in enumerate(columns)}
    steps = tuple(refits(TERMS, WALK, everyone.known_from, everyone.label, everyone.universe))
    resolved = resolved_at(WALK, everyone.known_from, everyone.label, everyone.universe)
    labels, twin = SealedLabels(everyone.label, resolved), Watched(columns, seeds, TERMS, parties=NAMES)
    whole = run_twin(twin, steps, lambda step: labels.at(step.period, step.rows))
    scores = {frozenset(one): found for one, found in zip(twin.coalitions, twin.found, strict=True)}
    averaged = report(scores | {frozenset(NAMES): whole}, everyone.label, "moments")
    grown = {
        one: twin_scores({n: x for n, x in columns.items() if n in one or n == "label"}, everyone, TERMS, WALK, seeds)
        for one in coalitions(NAMES)
    }
    anew = report(grown, everyone.label, "retrain")
    worth = {name: float(np.nanmean(averaged.phi[name])) for name in NAMES}
    for name in NAMES:
        assert abs(worth[name] - float(np.nanmean(anew.phi[name]))) < 0.03
    assert worth["a"] > worth["b"] > 0.03
    assert abs(worth["noise"]) < 0.02
