"""Several classes at the label party: a model of each against the rest, one after the other on the same rows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from parties.node.context import RunContext
from parties.node.sealed_label import SealedJoint
from parties.node.trees_label import TreesJoint
from psi.flow import Flow
from vfl.factors.class_estimates import most_likely
from vfl.factors.panel import LabelPanel
from vfl.models.classes.rest import against_the_rest, class_name, class_scores
from vfl.models.judging import Tried
from vfl.protocols.session import Kept
from vfl.terms import SealedModel
from vfl.tree_terms import TreesModel
from vfl.walk.result import TrainingResult
from vfl.walk.schedule import Step

__all__ = ["ClassesJoint"]

F64 = NDArray[np.float64]


class ClassesJoint:
    """The joint model of runs on static data of several classes. Each goes on from its own records after a crash.

    A result's scores are the most likely class of each row, its embeddings the estimate of each class.
    """

    head = None
    found = None
    tried: tuple[Tried, ...] = ()

    def __init__(self, context: RunContext, terms: SealedModel | TreesModel, panel: LabelPanel) -> None:
        static = context.agreement.static
        assert static is not None
        self.chosen = terms
        self._panels = [against_the_rest(panel, number) for number in range(static.models)]
        self._models: list[SealedJoint | TreesJoint] = []
        for number, one in enumerate(self._panels):
            name = class_name(number)
            if isinstance(terms, TreesModel):
                self._models.append(TreesJoint(context, terms, one, part=name, named=name))
            else:
                self._models.append(SealedJoint(context, terms, one, part=name))
        self.steps: tuple[Step, ...] = self._models[0].steps
        self.kept: Mapping[str, Kept] = {}
        self.sums: Mapping[int, F64] = {}

    def train(self) -> Flow[TrainingResult]:
        """The label party's part of one training session: each class from where everyone can go on."""
        results: dict[int, TrainingResult] = {}
        for number, model in enumerate(self._models):
            results[number] = yield from model.train()
        return self._joined(list(results.values()))

    def restore(self) -> TrainingResult | None:
        """What training left, from this node's records; None when they do not have it."""
        results = []
        for model in self._models:
            result = model.restore()
            if result is None:
                return None
            results.append(result)
        return self._joined(results)

    def _joined(self, results: list[TrainingResult]) -> TrainingResult:
        estimates, none = class_scores(self._panels, [result.scores for result in results]), np.zeros(0)
        openings = np.sum([result.openings for result in results], axis=0)
        return TrainingResult(most_likely(estimates), estimates, none, none, openings, {}, self.steps)

    def estimates_alone(self) -> F64:
        """Estimates (T, n, classes) of the same models on the label party's own columns."""
        return class_scores(self._panels, [model.alone() for model in self._models])

    def alone(self) -> F64:
        """The most likely class (T, n) by these."""
        return most_likely(self.estimates_alone())
