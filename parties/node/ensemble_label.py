"""An ensemble at the label party: its network is trained, then its trees, and their scores are averaged at ranks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parties.errors import ConfigError
from parties.node.context import RunContext
from parties.node.sealed_label import SealedJoint
from parties.node.trees_label import TreesJoint
from psi.flow import Flow
from vfl.factors.panel import LabelPanel
from vfl.models.ensemble.average import averaged, best_share, share_ics
from vfl.models.judging import Judge, Tried
from vfl.protocols.session import Kept
from vfl.terms import EnsembleModel
from vfl.walk.result import TrainingResult
from vfl.walk.schedule import Step

__all__ = ["NETWORK", "TREES", "EnsembleChoice", "EnsembleJoint", "chosen_share"]

F64 = NDArray[np.float64]

NETWORK = "network"
"""Name of this part: of its records and sessions."""

TREES = "trees"
"""Likewise."""


@dataclass(frozen=True)
class EnsembleChoice:
    """Which of the agreed shares earlier periods chose, and what each was judged by."""

    chosen: int
    tried: tuple[Tried, ...]

    @property
    def share(self) -> float:
        """The chosen one."""
        terms = self.tried[self.chosen].terms
        assert isinstance(terms, EnsembleModel)
        return terms.trees_share[0]


def chosen_share(terms: EnsembleModel, judge: Judge, network: F64, trees: F64) -> EnsembleChoice:
    """The share with the best mean rank IC over the periods that the judge may know; scores (T, n) of the parts.

    Raises ValueError where no period can choose.
    """
    ics = share_ics(network, trees, terms.trees_share, judge.known)
    chosen, counted = best_share(ics), np.isfinite(ics).all(axis=0)
    tried = tuple(
        Tried(
            "share",
            number,
            terms.model_copy(update={"trees_share": (share,)}),
            "complete",
            float(one[counted].mean()),
            judge.ics(averaged(network, trees, share)),
        )
        for number, (share, one) in enumerate(zip(terms.trees_share, ics, strict=True))
    )
    return EnsembleChoice(chosen, tried)


class EnsembleJoint:
    """The joint model of runs whose agreement says so. Both parts go on from their own records after a crash."""

    head = None

    def __init__(self, context: RunContext, terms: EnsembleModel, panel: LabelPanel) -> None:
        network, trees = terms.parts
        self._terms, self._panel = terms, panel
        self._network = SealedJoint(context, network, panel, part=NETWORK)
        self._trees = TreesJoint(context, trees, panel, part=TREES)
        self.steps: tuple[Step, ...] = self._network.steps
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
        """The agreed model, with the share that was chosen."""
        return (
            self._terms if self.found is None else self._terms.model_copy(update={"trees_share": (self.found.share,)})
        )

    @property
    def tried(self) -> tuple[Tried, ...]:
        """Every share that was tried; none where there is one alone."""
        return () if self.found is None else self.found.tried

    def train(self) -> Flow[TrainingResult]:
        """The label party's part of one training session: each model from where everyone can go on."""
        network = yield from self._network.train()
        trees = yield from self._trees.train()
        return self._joined(network, trees)

    def restore(self) -> TrainingResult | None:
        """What training left, from this node's records; None when they do not have it."""
        network, trees = self._network.restore(), self._trees.restore()
        return None if network is None or trees is None else self._joined(network, trees)

    def _joined(self, network: TrainingResult, trees: TrainingResult) -> TrainingResult:
        """Periods that chose the share are not reported, so they have no score."""
        try:
            if self._judge is not None:
                self.found = chosen_share(self._terms, self._judge, network.scores, trees.scores)
            scores = averaged(network.scores, trees.scores, self.chosen.trees_share[0])
        except ValueError as error:
            raise ConfigError(str(error)) from None
        scores[: self._first] = np.nan
        openings = network.openings + trees.openings
        none = np.zeros(0)
        return TrainingResult(scores, network.embeddings, none, none, openings, {}, self.steps)

    def alone(self) -> F64:
        """Scores (T, n) of the same ensemble on the label party's own columns."""
        return averaged(self._network.alone(), self._trees.alone(), self.chosen.trees_share[0])
