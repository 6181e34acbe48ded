"""The sealed network at the label party: its training over a run's schedule, and what its node keeps of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parties.agreement.sealed_terms import sealed_members
from parties.errors import ConfigError
from parties.node.context import RunContext
from parties.node.sealed_records import LabelRecords, last_weights
from parties.node.sealed_trials import LabelTrials, SealedChoice
from parties.node.sealed_valuation import Commit, Heard, coalition_ics
from psi.flow import Flow
from vfl.arithmetic.randomness import SecretStream
from vfl.factors.panel import LabelPanel
from vfl.models.judging import Tried
from vfl.models.sealed.columns import SealedColumns
from vfl.models.sealed.ends import coefficient_key, slot_key
from vfl.models.sealed.initial import sealed_start
from vfl.models.sealed.label import LabelKeys, SealedLabel
from vfl.models.sealed.records import scored_in
from vfl.models.sealed.twin import float_twin_scores
from vfl.models.sealed.valuation import LabelValuation
from vfl.models.sealed.walk import sealed_result, sealed_walk_forward
from vfl.protocols.resume import agree_place
from vfl.protocols.session import Kept
from vfl.terms import SealedModel
from vfl.walk.cycles import cyclic
from vfl.walk.result import TrainingResult
from vfl.walk.schedule import Step

__all__ = ["SealedJoint"]

F64 = NDArray[np.float64]
U64 = NDArray[np.uint64]


class SealedJoint:
    """The sealed network; the joint model of runs whose agreement says so. Where it is agreed, after a search.

    part: its name where the run trains other models beside it.
    """

    head = None

    def __init__(self, context: RunContext, terms: SealedModel, panel: LabelPanel, *, part: str = "") -> None:
        agreement, features = context.agreement, panel.features
        self._context, self._terms, self._panel, self._part = context, terms, panel, part
        self._members = sealed_members(agreement)
        if features.values.shape[-1] != self._members.own:
            raise ConfigError("the label party's columns differ from the agreement's: propose it again")
        self.found: SealedChoice | None = None
        self.steps: tuple[Step, ...] = self._schedule()
        self._trials: LabelTrials | None = None
        if agreement.configurations:
            self._trials = LabelTrials(context, panel, self._data(), self._initial_shares)
        self.kept: Mapping[str, Kept] = {}
        self.sums: Mapping[int, F64] = {}

    @property
    def chosen(self) -> SealedModel:
        """The model of the result: the agreed one, or the configuration that a search chose."""
        return self._terms if self.found is None else self.found.terms

    @property
    def tried(self) -> tuple[Tried, ...]:
        """Every trial of a search; none without one."""
        return () if self.found is None else self.found.tried

    def _schedule(self) -> tuple[Step, ...]:
        """Of the chosen model. What chose it is not predicted: of these periods no score opens."""
        agreement, panel = self._context.agreement, self._panel
        every = cyclic(self.chosen, agreement.walk_forward, panel.known_from, panel.label, panel.universe)
        first = agreement.reported_from if agreement.search is not None else 0
        return tuple(step for step in every if step.kind == "train" or step.period >= first)

    def _choose(self, choice: SealedChoice) -> None:
        self.found = choice
        self.steps = self._schedule()

    def _data(self) -> str:
        """A digest of this party's columns and labels."""
        panel = self._panel
        digest = hashlib.sha256(repr(panel.features.rows.shape).encode())
        for part in (panel.features.rows, panel.label, panel.known_from, panel.universe):
            digest.update(np.ascontiguousarray(part).data)
        return digest.hexdigest()

    def _records(self) -> LabelRecords:
        predictions = [step.number for step in self.steps if step.kind == "predict"]
        store = self._context.part_checkpoints(self._part) if self._part else self._context.checkpoints()
        return LabelRecords(store, self._data(), predictions, self._context.boundary)

    def train(self) -> Flow[TrainingResult]:
        """The label party's part of one training session: from the start, or from where everyone can go on."""
        if self._trials is not None:
            self._choose((yield from self._trials.choose()))
        agreement, records = self._context.agreement, self._records()
        place = yield from agree_place(tuple(p.name for p in agreement.features), records.places())
        resumed = records.resumed(place)
        source = SealedLabel(
            self._members,
            SealedColumns(self._panel.features.rows, self.chosen, agreement.fixed_point),
            self._initial_shares(self.chosen),
            self.chosen,
            agreement.fixed_point,
            LabelKeys(coefficient_key(), slot_key()),
            session="train",
            journal=records,
            resumed=resumed,
        )
        result = yield from sealed_walk_forward(
            source, self.steps, self._panel, agreement.walk_forward, resumed=resumed
        )
        records.finish()
        return result

    def _initial_shares(self, terms: SealedModel) -> dict[str, U64]:
        """This side's part of every block's first weights, in a run and its trials alike."""
        purpose, total = self._context.agreement.initial_purpose, self._members.columns
        return {
            name: sealed_start(self._context.secret(f"sealed/{purpose}/{name}"), count, terms, total)
            for name, count in SealedLabel.columns_held(self._members).items()
        }

    def restore(self) -> TrainingResult | None:
        """What training left, from this node's records; None when they do not have it."""
        if self._trials is not None:
            choice = self._trials.restored()
            if choice is None:
                return None
            self._choose(choice)
        scores = self._records().whole()
        return None if scores is None else sealed_result(self.steps, self._panel, scores)

    def last_weights(self) -> tuple[SealedModel, Mapping[str, U64]]:
        """The model of the result and this side's shares of its last weights, by owner, once training has ended."""
        return self.chosen, last_weights(self._records())

    def coalition_ics(self, scores: F64, session: str, commit: Commit, heard: Heard) -> Flow[dict[frozenset[str], F64]]:
        """The label party's part in valuing coalitions: their IC in each reported period."""
        agreement = self._context.agreement
        scored = scored_in(list(self._records().predictions().values()))
        features = SealedColumns(self._panel.features.rows, self.chosen, agreement.fixed_point)
        stream, store = SecretStream(os.urandom(32)), self._context.checkpoints()
        side = LabelValuation(
            self._members, features, scored, self.chosen, agreement.fixed_point, stream, session=session
        )
        return coalition_ics(agreement, store, self.steps, self._panel, scores, side, commit, heard)

    def alone(self) -> F64:
        """Scores (T, n) of the same network on the label party's own columns, in floats."""
        agreement = self._context.agreement
        seeds = self._context.secret("alone/ours"), self._context.secret("alone/theirs")
        return float_twin_scores(
            [self._panel.features.rows], self._panel, self.chosen, agreement.walk_forward, agreement.fixed_point, seeds
        )

    @property
    def basis(self) -> dict[str, NDArray[Any]]:
        """What the weights of its own model are drawn from."""
        names = "alone/ours", "alone/theirs"
        seeds = (np.frombuffer(self._context.secret(name), np.uint8) for name in names)
        return {f"seed_{place}": seed for place, seed in enumerate(seeds)}
