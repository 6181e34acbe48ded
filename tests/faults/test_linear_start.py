"""A run of trees that begin at a sealed linear score: its twin, what opens, and going on after a cut."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from parties.agreement.sealed_terms import with_kind_defaults
from parties.agreement.text import agreement_lines
from parties.proposing.counted_costs import run_cost
from psi.flow import Message
from tests.faults.consortium import Crash, MemoryStore
from tests.faults.test_resume import cut
from tests.faults.test_sealed_run import VALUED
from tests.faults.test_trees_run import FEATURES, MODEL, TERMS, Trees, check
from tests.parties.agreement.test_model_terms import agreement
from tests.parties.node.test_warm_start import ENTITIES, PERIODS
from vfl.models.sealed.initial import sealed_draw
from vfl.models.sealed.messages import Scores
from vfl.models.trees.linear_start import linear_model, linear_scores
from vfl.models.trees.twin import trees_twin
from vfl.tree_terms import TreesModel
from vfl.walk.result import TrainingResult

STACKED = TERMS.model_copy(
    update={"model": TERMS.model.model_copy(update={"init_score": "linear", "init_alpha": 20.0, "refit_every": 1})}
)


STACKED_OVER_TIME = STACKED.model_copy(update={"calendar": VALUED.calendar})
PLAIN_OVER_TIME = TERMS.model_copy(
    update={"calendar": VALUED.calendar, "model": STACKED.model.model_copy(update={"init_score": "zero"})}
)


@dataclass
class Stacked(Trees):
    """The same nodes, whose trees begin at a linear score."""

    parts: dict[tuple[str, str], MemoryStore] = field(default_factory=dict)

    def context(self, name: str) -> Any:
        found = super().context(name)
        found.part_checkpoints = lambda part: self.parts.setdefault((name, part), MemoryStore())
        return found

    def twin_of(self, *, linear: bool) -> NDArray[np.float64]:
        model, fixed = cast("TreesModel", self.terms.model), self.terms.fixed_point
        columns = {name: self.values[name].reshape(PERIODS * ENTITIES, -1) for name in FEATURES}
        columns["l"] = self.panel.features.rows
        seeds = {name: self.secret(name, f"trees/{self.terms.initial_purpose}") for name in columns}
        total, purpose, weight = sum(x.shape[1] for x in columns.values()), self.terms.initial_purpose, []
        for name, x in columns.items():
            holders = ("l", "b" if name == "l" else name)
            drawn = [self.secret(holder, f"sealed/{purpose}/{name}") for holder in holders]
            weight.append(sum(sealed_draw(one, x.shape[1], linear_model(model), total) for one in drawn))
        walk, whole = self.terms.walk_forward, np.concatenate(weight)
        start = linear_scores(list(columns.values()), self.panel, model, walk, fixed, whole) if linear else []
        return trees_twin(columns, self.panel, model, walk, seeds, start=start)[0]


@pytest.fixture(scope="module")
def whole() -> tuple[Stacked, TrainingResult]:
    made = Stacked(STACKED)
    return made, made.attempt()


def test_a_run_begins_at_the_linear_score_as_its_twin_does(whole: tuple[Stacked, TrainingResult]) -> None:
    made, result = whole
    check(made, result, result)
    twin, plain = made.twin_of(linear=True), made.twin_of(linear=False)
    assert np.array_equal(np.isnan(twin), np.isnan(result.scores))
    assert np.nanmax(np.abs(twin - result.scores)) <= 1e-2 * np.nanstd(twin)
    assert np.nanmax(np.abs(plain - result.scores)) > 0.2 * np.nanstd(twin)
    restored = made.label().restore()
    assert restored is not None
    assert np.array_equal(np.nan_to_num(restored.scores), np.nan_to_num(result.scores))
    alone = made.label().alone()
    assert np.array_equal(np.isnan(alone), np.isnan(result.scores))


def test_a_cut_at_any_message_changes_nothing_and_opens_no_linear_score(
    whole: tuple[Stacked, TrainingResult],
) -> None:
    made, after, result, opened = Stacked(STACKED), 70, None, set[tuple[int, bytes]]()
    while result is None:
        crash = cut(after)

        def relay(sender: str, receiver: str, message: Message, crash: Any = crash) -> Message:
            if isinstance(message, Scores):
                opened.add((message.step, message.values))
            return cast("Message", crash(sender, receiver, message))

        try:
            result = made.attempt(relay)
        except Crash:
            after += 260
    assert made.attempts > 2
    check(made, result, whole[1])
    assert len(opened) == sum(step.kind == "predict" for step in result.steps), "the trees' scores, each once"


def test_what_does_not_fit_a_linear_start_is_refused_and_the_text_says_that_nothing_more_opens() -> None:
    with pytest.raises(ValueError, match=r"set model\.fits_kept = 1"):
        TreesModel(init_score="linear", fits_kept=2)
    made = agreement(MODEL | {"init_score": "linear"}, contribution="none", limit_per_row=1)
    text = " ".join(agreement_lines(made))
    assert "Boosting begins at the score of a linear model." in text
    assert "its scores stay in them: nothing more opens" in text
    cost = [run_cost(one, 40).seconds for one in (STACKED_OVER_TIME, PLAIN_OVER_TIME)]
    assert cost[0] > 1.02 * cost[1], "what is counted before signing has the line in it"
    raw: dict[str, Any] = {"model": {"kind": "trees", "init_score": "linear"}}
    assert with_kind_defaults(raw)["openings"] == {"contribution": "moments"}
    assert "init_score" not in TreesModel().model_dump(), "terms that begin at zero keep their hash"
