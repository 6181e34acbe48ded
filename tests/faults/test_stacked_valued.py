"""Coalitions of trees that begin at a line, through the nodes' own code: both parts of a score, and a cut run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from parties.agreement.text import agreement_lines
from tests.faults.consortium import Crash
from tests.faults.test_linear_start import Stacked
from tests.faults.test_resume import cut
from tests.faults.test_trees_run import FEATURES
from tests.faults.test_trees_valued import VALUED, ValuedTrees, _ics, _Watched
from tests.parties.node.test_warm_start import ENTITIES, PERIODS
from vfl.models.sealed.columns import fitted_labels, sealed_columns
from vfl.models.sealed.initial import sealed_draw
from vfl.models.sealed.twin import IntegerTwin
from vfl.models.trees.linear_start import linear_model, linear_scores, start_steps
from vfl.models.trees.twin import run_twin
from vfl.tree_terms import TreesModel
from vfl.walk.cycles import cyclic
from vfl.walk.refits import refits

TERMS = VALUED.model_copy(
    update={
        "model": VALUED.model.model_copy(
            update={"init_score": "linear", "init_alpha": 20.0, "refit_every": 2, "trees": 2, "depth": 2}
        )
    }
)
ROWS = PERIODS * ENTITIES


@dataclass
class StackedValued(Stacked, ValuedTrees):
    """The same nodes, whose trees begin at a line and whose coalitions are valued."""

    def line_by_party(self) -> dict[str, NDArray[np.float64]]:
        """Each party's part (rows,) of the line's score of every predicted row, in plain numbers."""
        model, walk, fixed = cast("TreesModel", self.terms.model), self.terms.walk_forward, self.terms.fixed_point
        line, known = linear_model(model), (self.panel.known_from, self.panel.label, self.panel.universe)
        steps = tuple(refits(model, walk, *known))
        schedule = start_steps(model, steps, tuple(cyclic(line, walk, *known)))
        columns = {name: self.values[name].reshape(ROWS, -1) for name in FEATURES} | {"l": self.panel.features.rows}
        whole = np.concatenate([sealed_columns(x, line, fixed) for x in columns.values()], axis=1)
        twin, labels = IntegerTwin(whole, self.weights(columns), line, fixed), fitted_labels(self.panel, walk)
        edges = np.cumsum([0, *(x.shape[1] for x in columns.values())])
        predicted = {int(row): step.period for step in steps if step.kind == "predict" for row in step.rows}
        found = {name: np.full(ROWS, np.nan) for name in columns}
        for step in schedule:
            if step.kind == "train":
                twin.train(step, labels.at(step.period, step.rows))
                continue
            weight = np.ldexp(twin.weight[:, 0].astype(float), -30 - fixed.feature_bits)
            new = np.array([row for row in step.rows if predicted.get(int(row), -1) >= step.period])
            for name, first, last in zip(columns, edges, edges[1:], strict=False):
                if len(new):
                    found[name][new] = whole[new, first:last] @ weight[first:last]
        return found

    def weights(self, columns: dict[str, NDArray[np.float64]]) -> NDArray[np.int64]:
        total, purpose, parts = sum(x.shape[1] for x in columns.values()), self.terms.initial_purpose, []
        line = linear_model(cast("TreesModel", self.terms.model))
        for name, x in columns.items():
            holders = ("l", "b" if name == "l" else name)
            drawn = [self.secret(holder, f"sealed/{purpose}/{name}") for holder in holders]
            parts.append(sum(sealed_draw(one, x.shape[1], line, total) for one in drawn))
        return np.concatenate(parts)

    def in_the_clear(self) -> dict[frozenset[str], NDArray[np.float64]]:
        model, walk, panel = cast("TreesModel", self.terms.model), self.terms.walk_forward, self.panel
        columns = {name: self.values[name].reshape(ROWS, -1) for name in FEATURES} | {"l": panel.features.rows}
        seeds = {name: self.secret(name, f"trees/{self.terms.initial_purpose}") for name in columns}
        twin, labels = _Watched(columns, seeds, model, parties=FEATURES), fitted_labels(panel, walk)
        steps = tuple(refits(model, walk, panel.known_from, panel.label, panel.universe))
        fixed = self.terms.fixed_point
        start = linear_scores(list(columns.values()), panel, model, walk, fixed, self.weights(columns))
        everyone = run_twin(twin, steps, lambda step: labels.at(step.period, step.rows), start)
        line = self.line_by_party()
        found = {frozenset(FEATURES): everyone}
        for one, trees in zip(twin.coalitions, twin.found, strict=True):
            found[frozenset(one)] = np.ldexp(trees, -16) + sum(line[name] for name in (*one, "l"))
        kept = np.where(panel.universe, panel.label, np.nan)
        return {one: _ics(scores.reshape(PERIODS, ENTITIES), kept) for one, scores in found.items()}


def test_a_coalitions_score_has_both_parts_also_after_a_cut() -> None:
    made = StackedValued(TERMS)
    result, clear = made.attempt(), made.in_the_clear()
    with pytest.raises(Crash):
        made.value(result.scores, cut(60))
    first = made.value(result.scores)
    assert set(first) == set(clear)
    for coalition, ics in clear.items():
        np.testing.assert_array_equal(np.isnan(first[coalition]), np.isnan(ics))
        np.testing.assert_allclose(first[coalition], ics, atol=0.02)
    worth = [round(float(np.nanmean(ics)), 3) for ics in first.values()]
    assert len(set(worth)) == 8, "no two coalitions are worth the same"
    assert max(worth) == round(float(np.nanmean(first[frozenset(FEATURES)])), 3)
    assert {charge.width for charge in made.numbers} == {2 * 7}


def test_the_text_says_what_a_coalitions_score_is() -> None:
    text = " ".join(agreement_lines(TERMS))
    assert "averages over the splits of those who are not in it, and has their part of the line left out." in text
