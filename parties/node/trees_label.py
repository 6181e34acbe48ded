"""Sealed trees at the label party: their growth over a run's schedule, and what its node keeps of it."""

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
from parties.node.sealed_records import LabelRecords
from parties.node.sealed_valuation import Commit, Heard, coalition_ics
from parties.node.tree_splits import SplitsFile
from parties.node.trees_records import LabelTreesRecords
from psi.flow import Flow, LocalProtocolError
from vfl.arithmetic.randomness import SecretStream
from vfl.factors.panel import LabelPanel
from vfl.models.sealed.columns import SealedColumns, fitted_labels
from vfl.models.sealed.ends import coefficient_key, slot_key
from vfl.models.sealed.initial import sealed_start
from vfl.models.sealed.label import LabelKeys, SealedLabel
from vfl.models.sealed.numbers import LabelNumbers
from vfl.models.sealed.walk import sealed_result
from vfl.models.trees.columns import tree_columns
from vfl.models.trees.label import TreesLabel
from vfl.models.trees.linear_start import LinearStart, linear_model, own_start, start_steps, train_start
from vfl.models.trees.scales import Packing32
from vfl.models.trees.stacked_valuation import LabelStackedValuation, line_of
from vfl.models.trees.tree_rows import TreeRows
from vfl.models.trees.twin import trees_twin
from vfl.models.trees.valuation import LabelTreesValuation
from vfl.models.trees.walk import trees_walk_forward
from vfl.protocols.resume import agree_place
from vfl.protocols.session import Kept
from vfl.tree_terms import TreesModel
from vfl.walk.cycles import cyclic
from vfl.walk.refits import blocks_of, fits_of, refits
from vfl.walk.result import TrainingResult
from vfl.walk.schedule import Step

__all__ = ["LINEAR", "TreesJoint", "candidates_purpose", "linear_records"]

F64 = NDArray[np.float64]

LINEAR = "linear-start"
"""Name of the linear model that trees may begin at: of its records and sessions."""


def candidates_purpose(initial_purpose: str, named: str = "") -> str:
    """What a node derives the secret for of which its candidates are drawn: the same in every run of these terms.

    named: which of several models draws them: drawn alike, sums of several would be equations of the same bits.
    """
    return f"trees/{initial_purpose}" + (f"/{named}" if named else "")


def linear_records(named: str) -> str:
    """Where the records of the linear model that these trees begin at are."""
    return f"{LINEAR}-{named}" if named else LINEAR


class TreesJoint:
    """Sealed trees; the joint model of runs whose agreement says so.

    part: its name where the run trains other models beside it; named: likewise, where these are trees too.
    """

    found = None
    tried = ()
    head = None

    def __init__(
        self, context: RunContext, terms: TreesModel, panel: LabelPanel, *, part: str = "", named: str = ""
    ) -> None:
        agreement, self._named = context.agreement, named
        self._context, self._terms, self._panel, self._part = context, terms, panel, part
        self._members = sealed_members(agreement)
        if panel.features.values.shape[-1] != self._members.own:
            raise ConfigError("the label party's columns differ from the agreement's: propose it again")
        self.chosen = terms
        self.steps: tuple[Step, ...] = tuple(
            refits(terms, agreement.walk_forward, panel.known_from, panel.label, panel.universe)
        )
        self._check_draws()
        self.kept: Mapping[str, Kept] = {}
        self.sums: Mapping[int, F64] = {}

    def _check_draws(self) -> None:
        """Raise ConfigError where a tree would draw too few rows, or more than 16 bits count."""
        blocks, nobody = blocks_of(self._terms, self._panel.label.size), np.zeros(0, dtype=np.int64)
        for fit in fits_of(self.steps):
            for block in range(self._terms.blocks):
                try:
                    rows = TreeRows.of(fit[0].rows, nobody, blocks, block, self._terms)
                    Packing32.of(len(rows.drawn))
                except LocalProtocolError as error:
                    raise ConfigError(str(error)) from None

    def _records(self) -> LabelTreesRecords:
        predictions = [step.number for step in self.steps if step.kind == "predict"]
        store = self._context.part_checkpoints(self._part) if self._part else self._context.checkpoints()
        return LabelTreesRecords(store, self._digest(), predictions, self._context.boundary)

    def _digest(self) -> str:
        """Of this party's columns and labels."""
        panel = self._panel
        digest = hashlib.sha256(repr(panel.features.rows.shape).encode() + tree_columns(panel.features).tobytes())
        digest.update(panel.label.tobytes() + panel.known_from.tobytes() + panel.universe.tobytes())
        return digest.hexdigest()

    def train(self) -> Flow[TrainingResult]:
        """The label party's part of one training session: from the start, or from where everyone can go on."""
        context, agreement, records = self._context, self._context.agreement, self._records()
        linear = (yield from self._linear_start()) if self._terms.init_score == "linear" else None
        place = yield from agree_place(tuple(p.name for p in agreement.features), records.places())
        resumed = records.resumed(place)
        source = TreesLabel(
            self._members,
            tree_columns(self._panel.features),
            SecretStream(context.secret(candidates_purpose(agreement.initial_purpose, self._named))),
            self._terms,
            LabelKeys(coefficient_key(), slot_key()),
            SecretStream(os.urandom(32)),
            session="train",
            journal=records,
            resumed=resumed,
            valued=self._valued,
            book=SplitsFile(context, self._named),
            linear=linear,
            deal=agreement.static is None,
        )
        result = yield from trees_walk_forward(
            source, self.steps, self._panel, agreement.walk_forward, resumed=resumed
        )  # fmt: skip
        records.finish()
        return result

    def _linear_start(self) -> Flow[LinearStart]:
        """Train the linear model that the trees begin at; this side's shares of its scores."""
        context, agreement, panel = self._context, self._context.agreement, self._panel
        model, walk, members = linear_model(self._terms), agreement.walk_forward, self._members
        known = panel.known_from, panel.label, panel.universe
        steps = start_steps(self._terms, self.steps, tuple(cyclic(model, walk, *known)))
        labels = fitted_labels(panel, walk)
        records = LabelRecords(
            context.part_checkpoints(linear_records(self._named)), self._digest(), (), context.boundary
        )
        place = yield from agree_place(tuple(p.name for p in agreement.features), records.places())
        resumed = records.resumed(place)
        weights = {
            name: sealed_start(
                context.secret(f"sealed/{agreement.initial_purpose}/{name}"), count, model, members.columns
            )
            for name, count in SealedLabel.columns_held(members).items()
        }
        source = SealedLabel(
            members,
            SealedColumns(panel.features.rows, model, agreement.fixed_point),
            weights,
            model,
            agreement.fixed_point,
            LabelKeys(coefficient_key(), slot_key()),
            session="train",
            journal=records,
            resumed=resumed,
        )
        yield from train_start(source, steps, lambda step: labels.at(step.period, step.rows), resumed=resumed)
        records.finish()
        return LinearStart(records.predictions())

    def restore(self) -> TrainingResult | None:
        """What training left, from this node's records; None when they do not have it."""
        scores = self._records().whole()
        return None if scores is None else sealed_result(self.steps, self._panel, scores)

    @property
    def _valued(self) -> bool:
        return self._context.agreement.openings.contribution == "moments"

    @property
    def basis(self) -> dict[str, NDArray[Any]]:
        """What its own model's candidates and line are drawn from, and which of its values are missing."""
        made: dict[str, NDArray[Any]] = {"seed_0": np.frombuffer(self._context.secret("alone/ours"), np.uint8)}
        if self._terms.init_score == "linear":
            made["seed_1"] = np.frombuffer(self._context.secret("alone/theirs"), np.uint8)
        missing = self._panel.features.missing
        return made if missing is None else made | {"missing": missing}

    def coalition_ics(self, scores: F64, session: str, commit: Commit, heard: Heard) -> Flow[dict[frozenset[str], F64]]:
        """The label party's part in valuing coalitions: their IC in each reported period."""
        del session
        agreement, panel, records = self._context.agreement, self._panel, self._records().predictions()
        side: LabelNumbers = self._side(LabelTreesValuation(self._members, panel.label.size, records, self._terms))
        store = self._context.checkpoints()
        return coalition_ics(agreement, store, self.steps, panel, scores, side, commit, heard)

    def _side(self, trees: LabelTreesValuation) -> LabelTreesValuation | LabelStackedValuation:
        """With the line, where the trees begin at one."""
        if self._terms.init_score == "zero":
            return trees
        context, model = self._context, linear_model(self._terms)
        kept = LabelRecords(
            context.part_checkpoints(linear_records(self._named)), self._digest(), (), context.boundary
        ).predictions()
        return LabelStackedValuation(
            self._members,
            SealedColumns(self._panel.features.rows, model, context.agreement.fixed_point),
            line_of(self._records().predictions(), kept),
            model,
            context.agreement.fixed_point,
            SecretStream(os.urandom(32)),
            session="value",
            trees=trees,
        )

    def alone(self) -> F64:
        """Scores (T, n) of the same trees on the label party's own columns, in plain numbers."""
        context, me = self._context, self._members.label
        walk, seed = context.agreement.walk_forward, context.secret("alone/ours")
        seeds = (seed, context.secret("alone/theirs"))
        panel, terms, fixed = self._panel, self._terms, context.agreement.fixed_point
        start = own_start(panel.features.rows, panel, terms, walk, fixed, seeds)
        columns, deal = {me: tree_columns(panel.features)}, context.agreement.static is None
        return trees_twin(columns, panel, terms, walk, {me: seed}, start=start, deal=deal)[0]
