"""A member's own rows in a federated run: what it trains on, what it is judged on, and its scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parties.agreement.document import Agreement
from parties.agreement.federated_terms import reported_periods
from parties.data.agreed_rows import rows_of
from parties.errors import ConfigError, DataError
from parties.settings.consortium import LabelSettings, PartySettings
from vfl.factors.evaluate import ic_by_period
from vfl.factors.panel import LabelPanel
from vfl.federated.learning import ModuleLearner, network_learner, scores_of
from vfl.federated.rounds import Rounds
from vfl.federated.valuation import Judged
from vfl.terms import FederatedModel
from vfl.walk.schedule import resolved_at

__all__ = ["MemberRows", "read_member_rows", "training_seed"]

F64 = NDArray[np.float64]

_FEWEST_ROWS = 3
"""Of a period that has a rank IC."""


def training_seed(rounds: Rounds, attempt: int) -> int:
    """Of the first weights of one attempt: a training that is begun anew begins elsewhere."""
    return rounds.seed_of(f"train/{attempt}")


@dataclass(frozen=True)
class MemberRows:
    """values: (T, n, d) in the agreed order of columns. label: (T, n), NaN where unknown or outside. trained: row ids
    whose labels are known before the first reported period. entities: the member's own, (n,).
    """

    model: FederatedModel
    entities: tuple[str, ...]
    panel: LabelPanel
    values: F64
    label: F64
    trained: NDArray[np.int64]
    window: slice

    def learner(self, seed: int) -> ModuleLearner:
        """The agreed network at its first weights, over the rows to train on."""
        columns = self.values.shape[-1]
        rows, labels = self.values.reshape(-1, columns)[self.trained], self.label.reshape(-1)[self.trained]
        return network_learner(rows, labels, self.model, seed)

    def begin(self, seed: int) -> tuple[ModuleLearner, F64]:
        learner = self.learner(seed)
        return learner, learner.weights

    def scores(self, learner: ModuleLearner) -> F64:
        """(T, n), NaN before the first reported period."""
        found = np.full(self.label.shape, np.nan)
        first = self.window.start
        found[first:] = scores_of(learner.module, self.values[first:].reshape(-1, self.values.shape[-1])).reshape(
            found[first:].shape
        )
        return np.where(self.panel.universe, found, np.nan)

    def judged_by(self, learner: ModuleLearner) -> Judged:
        """Rank ICs of the reported periods, NaN where a period has none, and the rows behind each."""
        scores, labels = self.scores(learner)[self.window], self.label[self.window]
        rows = (np.isfinite(scores) & np.isfinite(labels)).sum(axis=1).astype(np.int64)
        return Judged(ic_by_period(scores, labels, "rank", minimum_rows=_FEWEST_ROWS, when_constant=0.0), rows)

    def judged(self, weights: F64) -> Judged:
        learner = self.learner(0)
        learner.load(weights)
        return self.judged_by(learner)

    def trained_alone(self) -> ModuleLearner:
        """A model of this member's own, by as many passes as the common one makes."""
        learner = self.learner(self.model.seed)
        weights = learner.weights
        for number in range(self.model.rounds):
            weights = learner.train(weights, number)
        return learner

    def alone(self) -> Judged:
        return self.judged_by(self.trained_alone())


def read_member_rows(
    agreement: Agreement, party: PartySettings, label: LabelSettings | None, queries: Path, data: Path
) -> MemberRows:
    """Run the member's queries. Raises :class:`ConfigError` or :class:`DataError` for rows that cannot take part."""
    model = agreement.model
    assert isinstance(model, FederatedModel)
    label = label or party.own_labels(agreement.label.name, agreement.label.definition)
    if label is None:
        raise ConfigError(
            f"a member of a federated run brings labels of its own entities, and {party.name} has no label_query: add "
            "it to [party] in node.toml"
        )
    # a mix of a member's own columns would mean something else at each
    plain = party.model_copy(update={"whiten": False})
    entities = rows_of(agreement).entities(plain, queries, data, label)
    least = agreement.alignment.minimum_common
    if len(entities) < least:
        raise DataError(f"fewer than {least} entities (alignment.minimum_common): propose a lower one, or bring more")
    panel = rows_of(agreement).labels(plain, label, queries, data, entities)
    order = _order(panel.features.columns, agreement.party(agreement.label.party).columns)
    known = resolved_at(agreement.walk_forward, panel.known_from, panel.label, panel.universe)
    window = reported_periods(agreement)
    trained = np.flatnonzero(known.reshape(-1) <= window.start).astype(np.int64)
    if not len(trained):
        raise DataError(
            f"{label.query}: no label is known before {agreement.evaluation.first}: propose a later evaluation.first, "
            "or look at label_available_at"
        )
    values, labels = panel.features.values[:, :, order], np.where(panel.universe, panel.label, np.nan)
    return MemberRows(model, entities, panel, values, labels, trained, window)


def _order(mine: Sequence[str], agreed: Sequence[str]) -> list[int]:
    if sorted(mine) != sorted(agreed):
        differing = ", ".join(sorted(set(mine) ^ set(agreed)))
        raise ConfigError(f"this member's columns are not the agreed ones, they differ in {differing}")
    return [list(mine).index(name) for name in agreed]
