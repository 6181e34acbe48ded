"""An ensemble at the label party: its members are trained one after the other, and their scores averaged at ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parties.errors import ConfigError
from parties.node.context import RunContext
from parties.node.sealed_label import SealedJoint
from parties.node.trees_label import TreesJoint
from psi.flow import Flow
from vfl.factors.panel import LabelPanel
from vfl.models.ensemble.average import average_ics, averaged, best_average
from vfl.models.judging import Judge, Tried
from vfl.protocols.session import Kept
from vfl.terms import EnsembleModel
from vfl.tree_terms import TreesModel
from vfl.walk.result import TrainingResult
from vfl.walk.schedule import Step

__all__ = ["EnsembleChoice", "EnsembleJoint", "chosen_average"]

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class EnsembleChoice:
    """Which of the agreed averages earlier periods chose, and what each was judged by."""

    chosen: int
    tried: tuple[Tried, ...]

    @property
    def terms(self) -> EnsembleModel:
        """The agreed model with the chosen average alone."""
        terms = self.tried[self.chosen].terms
        assert isinstance(terms, EnsembleModel)
        return terms


def chosen_average(terms: EnsembleModel, judge: Judge, scores: Sequence[F64]) -> EnsembleChoice:
    """The average with the best mean rank IC over the periods that the judge may know; scores (T, n) of the members.

    Raises ValueError where no period can choose.
    """
    ics = average_ics(scores, terms.averages, judge.known)
    chosen, counted = best_average(ics), np.isfinite(ics).all(axis=0)
    tried = tuple(
        Tried(
            "share",
            number,
            terms.only(number),
            "complete",
            float(one[counted].mean()),
            judge.ics(averaged(scores, weights)),
        )
        for number, (weights, one) in enumerate(zip(terms.averages, ics, strict=True))
    )
    return EnsembleChoice(chosen, tried)


class EnsembleJoint:
    """The joint model of runs whose agreement says so. Each member goes on from its own records after a crash."""

    head = None

    def __init__(self, context: RunContext, terms: EnsembleModel, panel: LabelPanel) -> None:
        self._terms, self._panel = terms, panel
        self._members: list[SealedJoint | TreesJoint] = [
            TreesJoint(context, part, panel, part=name)
            if isinstance(part, TreesModel)
            else SealedJoint(context, part, panel, part=name)
            for name, part in terms.members.items()
        ]
        self.steps: tuple[Step, ...] = self._members[0].steps
        self.found: EnsembleChoice | None = None
        self._first, self._judge = 0, None
        if terms.chosen_by_periods:
            self._first = context.agreement.reported_from
            self._judge = Judge(panel, context.agreement.walk_forward, self._first)
            self._judge.predicted_from(self.steps)
        self.kept: Mapping[str, Kept] = {}
        self.sums: Mapping[int, F64] = {}

    @property
    def chosen(self) -> EnsembleModel:
        """The agreed model, with the average that was chosen."""
        return self._terms if self.found is None else self.found.terms

    @property
    def _weights(self) -> tuple[float, ...]:
        return self._terms.averages[0 if self.found is None else self.found.chosen]

    @property
    def tried(self) -> tuple[Tried, ...]:
        """Every average that was tried; none where there is one alone."""
        return () if self.found is None else self.found.tried

    def train(self) -> Flow[TrainingResult]:
        """The label party's part of one training session: each model from where everyone can go on."""
        results: dict[int, TrainingResult] = {}
        for place, member in enumerate(self._members):
            results[place] = yield from member.train()
        return self._joined(list(results.values()))

    def restore(self) -> TrainingResult | None:
        """What training left, from this node's records; None when they do not have it."""
        results = [member.restore() for member in self._members]
        whole = [result for result in results if result is not None]
        return self._joined(whole) if len(whole) == len(results) else None

    def _joined(self, results: Sequence[TrainingResult]) -> TrainingResult:
        """Periods that chose the average are not reported, so they have no score."""
        scores = [result.scores for result in results]
        try:
            if self._judge is not None:
                self.found = chosen_average(self._terms, self._judge, scores)
            made = averaged(scores, self._weights)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        made[: self._first] = np.nan
        openings, none = np.sum([result.openings for result in results], axis=0), np.zeros(0)
        return TrainingResult(made, results[0].embeddings, none, none, openings, {}, self.steps)

    def alone(self) -> F64:
        """Scores (T, n) of the same ensemble on the label party's own columns."""
        return averaged([member.alone() for member in self._members], self._weights)
