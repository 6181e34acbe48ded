"""What coalitions of a run's feature parties were worth, from what the label party holds after their sums opened.

The label party's node computes it for the record that it signs, an auditor's replay once more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parties.agreement.document import Agreement
from vfl.contribution import ContributionReport, coalitions, exact_shapley, refit_with_own, without_own
from vfl.factors.evaluate import evaluation_window, ic_by_period
from vfl.factors.panel import LabelPanel
from vfl.models.split.training import Scorer, score_coalition
from vfl.walk.result import TrainingResult

__all__ = ["Sums", "ValuedRun", "sealed_report", "shared_out"]

F64 = NDArray[np.float64]
Sums = Mapping[frozenset[str], F64]


@dataclass(frozen=True)
class ValuedRun:
    """A run as its label party values it.

    head: its own part of a score. rows: predicted row ids, in the order of its shares.
    """

    agreement: Agreement
    head: Scorer | None
    rows: NDArray[np.int64]
    result: TrainingResult
    panel: LabelPanel
    periods: tuple[str, ...]

    @property
    def parties(self) -> tuple[str, ...]:
        return tuple(party.name for party in self.agreement.features)

    @property
    def window(self) -> NDArray[np.bool_]:
        terms = self.agreement.evaluation
        return evaluation_window(self.periods, terms.first, terms.last)

    @property
    def reported(self) -> tuple[str, ...]:
        """Names of the periods in the window."""
        return tuple(name for name, inside in zip(self.periods, self.window, strict=True) if inside)

    @property
    def entities(self) -> dict[str, str]:
        """Legal entities of the feature parties that name one."""
        return self.agreement.legal_entities

    @property
    def kin(self) -> frozenset[str]:
        """Feature parties of the label party's own legal entity: always in, like its features, so they earn nothing."""
        return self.agreement.kin

    def scores(self, sums: Sums, members: frozenset[str], seen: LabelPanel) -> F64:
        """Scores (T, n) had only ``members`` taken part."""
        assert self.head is not None, "sums of embeddings open only where a model above them scores"
        shape = self.result.embeddings.shape
        embeddings = np.full((shape[0] * shape[1], shape[2]), np.nan)
        if members == frozenset(self.parties):
            embeddings = self.result.embeddings.reshape(shape[0] * shape[1], shape[2])
        else:
            embeddings[self.rows] = sums[members] if members else 0.0
        return score_coalition(self.head, self.result, seen, embeddings.reshape(shape))

    def opened(self, sums: Sums) -> dict[str, F64]:
        """What opened of the rows, (T, n, h): the sum over all, and each coalition's."""
        shape = self.result.embeddings.shape
        opened = {"embeddings of all": self.result.embeddings}
        for members, values in sums.items():
            if len(members) == 1:
                placed = np.full((shape[0] * shape[1], shape[2]), np.nan)
                placed[self.rows] = values
                opened[f"embeddings of {min(members)}"] = placed.reshape(shape)
        return opened

    def uplift(self, own: F64) -> tuple[float | None, ...]:
        """Rank IC(joint) - IC(own) of each period in the window, on the rows that both score."""
        joint = np.where(np.isnan(own), np.nan, self.result.scores)
        gap = self.ics(joint) - self.ics(np.where(np.isnan(joint), np.nan, own))
        return tuple(float(value) if np.isfinite(value) else None for value in gap)

    def ics(self, scores: F64) -> F64:
        labels = np.where(self.panel.universe, self.panel.label, np.nan)
        return ic_by_period(scores[self.window], labels[self.window], "rank", when_constant=0.0)


def shared_out(run: ValuedRun, sums: Sums) -> tuple[ContributionReport, ContributionReport, Sums]:
    """The conditioned and the plain values of a run whose coalitions' sums opened, and the conditioned ICs."""
    walk = run.agreement.walk_forward
    horizon = max(walk.horizon, 1)
    wanted = coalitions(run.parties)
    raw = {members: run.scores(sums, members | run.kin, run.panel) for members in wanted}
    blended = {members: refit_with_own(scores, run.panel, walk) for members, scores in raw.items()}
    game = {members: run.ics(scores) for members, scores in blended.items()}
    refitted = any(blended[members] is not raw[members] for members in wanted)
    if not np.isfinite(np.stack(list(game.values()))).all(axis=0).any():
        # a calendar too short for any blend: the trained model's own weights decide, and the definition says so
        game, refitted = {members: run.ics(scores) for members, scores in raw.items()}, False
    conditioned = exact_shapley(game, parties=run.parties, horizon=horizon, refitted=refitted, entities=run.entities)
    blind = without_own(run.panel)
    bare: Mapping[frozenset[str], F64] = {m: run.ics(run.scores(sums, m, blind)) for m in wanted}
    plain = exact_shapley(bare, parties=run.parties, horizon=horizon, conditioned=False, entities=run.entities)
    return conditioned, plain, game


def sealed_report(run: ValuedRun, ics: Mapping[frozenset[str], F64]) -> ContributionReport:
    """The values of a sealed run, from the IC of every coalition in each period of the window."""
    return exact_shapley(
        {members: ics[members | run.kin] for members in coalitions(run.parties)},
        method="moments",
        parties=run.parties,
        horizon=max(run.agreement.walk_forward.horizon, 1),
        entities=run.entities,
    )
