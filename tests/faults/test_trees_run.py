"""A whole run of sealed trees through the nodes' own code: its twin, what is counted, and going on after a cut."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from parties.agreement.sealed_terms import sealed_members
from parties.errors import AgreementError, ConfigError, DataError
from parties.node.joint import joint_model
from parties.node.tree_splits import importance_of
from parties.node.trees_feature import TreesFeatureParty
from parties.node.trees_label import TreesJoint, candidates_purpose
from psi.flow import Flow, Message, run_local
from tests.faults.consortium import Crash
from tests.faults.test_resume import cut
from tests.parties.agreement.test_model_terms import agreement
from tests.parties.node.test_warm_start import ENTITIES, PERIODS, Consortium
from vfl.arithmetic.randomness import SecretStream
from vfl.models.trees.messages import LevelNumbers
from vfl.models.trees.twin import twin_scores
from vfl.protocols.opening_budget import OpeningBudget
from vfl.tree_terms import TreesModel
from vfl.walk.result import TrainingResult

MODEL = {
    "kind": "trees", "anchor": "b", "trees": 2, "depth": 2, "candidates": 2, "smallest_leaf": 5, "reg_lambda": 2.0,
    "rate": 0.5, "refit_every": 2,
}  # fmt: skip
TERMS = agreement(MODEL, contribution="none", limit_per_row=1).model_copy(
    update={"walk_forward": agreement(MODEL, contribution="none").walk_forward.model_copy(update={"warmup": 2})}
)
FEATURES = ("a", "b", "c")


@dataclass
class Trees(Consortium):
    """The same nodes under sealed trees."""

    missing: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.folder = Path(tempfile.mkdtemp(prefix="trees-"))
        weakref.finalize(self, shutil.rmtree, self.folder, True)

    def context(self, name: str) -> Any:
        found = super().context(name)
        found.run_folder = self.folder / name
        return found

    def label(self) -> TreesJoint:
        found = joint_model(self.context("l"), self.panel)
        assert isinstance(found, TreesJoint)
        return found

    def gaps(self, name: str) -> NDArray[np.bool_]:
        shape = PERIODS * ENTITIES, self.values[name].shape[-1]
        return np.random.default_rng(len(name)).random(shape) < (0.2 if self.missing else 0.0)

    def party(self, name: str) -> TreesFeatureParty:
        party = TreesFeatureParty.__new__(TreesFeatureParty)
        party.context, party._values = self.context(name), self.values[name].reshape(PERIODS * ENTITIES, -1)
        party.context.agreement = self.terms.model_copy(
            update={"calendar": self.terms.calendar.model_copy(update={"periods": tuple(map(str, range(PERIODS)))})}
        )
        party._missing = self.gaps(name) if self.missing else None
        party._terms, party._members = cast("TreesModel", self.terms.model), sealed_members(self.terms)
        party._stream = SecretStream(self.secret(name, f"stream/{self.attempts}"))
        party.budget = OpeningBudget(
            PERIODS * ENTITIES, self.terms.row_limit, history=self.charges[name], record=self.charges[name].append
        )
        return party

    def attempt(self, relay: Any = None) -> TrainingResult:
        self.attempts += 1
        flows: dict[str, Flow[Any]] = {
            name: self.party(name)._served_through(f"train-{self.attempts}") for name in self.values
        }
        return cast("TrainingResult", run_local({"l": self.label().train(), **flows}, relay=relay)["l"])

    def counted(self, name: str) -> NDArray[np.int64]:
        counts = np.zeros(PERIODS * ENTITIES, dtype=np.int64)
        for charge in self.charges[name]:
            counts[charge.rows] += 1
        return counts

    def twin_scores(self) -> NDArray[np.float64]:
        columns = {name: self.values[name].reshape(PERIODS * ENTITIES, -1) for name in FEATURES}
        if self.missing:
            columns = {name: np.where(self.gaps(name), np.nan, x) for name, x in columns.items()}
        columns["l"] = self.panel.features.rows
        purpose = candidates_purpose(self.terms.initial_purpose)
        seeds = {name: self.secret(name, purpose) for name in columns}
        model = cast("TreesModel", self.terms.model)
        return twin_scores(columns, self.panel, model, self.terms.walk_forward, seeds)


def check(trees: Trees, result: TrainingResult, whole: TrainingResult) -> None:
    """The same factor, and the anchor counted each predicted row's score once; nobody else counts anything."""
    predicted = np.isfinite(whole.scores)
    assert np.array_equal(predicted, np.isfinite(result.scores))
    assert np.abs(result.scores - whole.scores)[predicted].max() <= 1e-2 * whole.scores[predicted].std()
    planned = np.zeros(PERIODS * ENTITIES, dtype=np.int64)
    for step in result.steps:
        if step.kind == "predict":
            planned[step.rows] += 1
    assert np.array_equal(trees.counted("b"), planned)
    assert not trees.charges["a"] + trees.charges["c"]


@pytest.fixture(scope="module")
def whole() -> TrainingResult:
    trees = Trees(TERMS)
    result = trees.attempt()
    check(trees, result, result)
    assert {step.kind for step in result.steps} == {"train", "predict"}
    return result


def test_a_run_is_its_twin(whole: TrainingResult) -> None:
    twin = Trees(TERMS).twin_scores()
    assert np.array_equal(np.isnan(twin), np.isnan(whole.scores))
    assert np.nanmax(np.abs(twin - whole.scores)) <= 1e-2 * np.nanstd(twin)
    other = Trees(TERMS.model_copy(update={"model": TERMS.model.model_copy(update={"seed": 1})}))
    assert np.nanmax(np.abs(other.twin_scores() - whole.scores)) > 0.05 * np.nanstd(twin)


def test_missing_values_are_missing_in_a_run_too() -> None:
    trees = Trees(TERMS, missing=True)
    result, twin = trees.attempt(), trees.twin_scores()
    assert np.nanmax(np.abs(twin - result.scores)) <= 1e-2 * np.nanstd(twin)
    assert np.nanmax(np.abs(twin - Trees(TERMS).twin_scores())) > 0.05 * np.nanstd(twin)


def test_a_cut_at_any_message_changes_nothing_and_opens_no_level_twice(whole: TrainingResult) -> None:
    seen: dict[tuple[int, int], bytes] = {}
    trees, after, result = Trees(TERMS), 40, None
    while result is None:
        crash = cut(after)

        def relay(sender: str, receiver: str, message: Message, crash: Any = crash) -> Message:
            if isinstance(message, LevelNumbers):
                assert seen.setdefault((message.step, message.level), message.values) == message.values
            return cast("Message", crash(sender, receiver, message))

        try:
            result = trees.attempt(relay)
        except Crash:
            after += 130
    assert trees.attempts > 2
    check(trees, result, whole)


@pytest.mark.parametrize("victim", ["l", "b"])
def test_a_crash_around_records_changes_nothing(whole: TrainingResult, victim: str) -> None:
    for side, number in (("before", 1), ("after", 3)):
        trees, left = Trees(TERMS), [number]

        def fail(left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Crash

        setattr(trees.stores[victim], side, fail)
        with pytest.raises(Crash):
            trees.attempt()
        setattr(trees.stores[victim], side, lambda: None)
        check(trees, trees.attempt(), whole)


def test_after_training_restarted_nodes_have_what_it_left() -> None:
    trees = Trees(TERMS)
    result = trees.attempt()
    restored = trees.label().restore()
    assert restored is not None
    assert np.array_equal(np.nan_to_num(restored.scores), np.nan_to_num(result.scores))
    trees.party("a").restore()
    trees.stores["a"].kept.pop("trained")
    with pytest.raises(AgreementError, match="propose the run again"):
        trees.party("a").restore()
    alone = trees.label().alone()
    assert np.array_equal(np.isnan(alone), np.isnan(result.scores))


def test_every_party_knows_of_its_own_splits_what_the_label_party_knows_of_all_after_a_cut_too() -> None:
    trees, after, result = Trees(TERMS), 100, None
    while result is None:
        try:
            result = trees.attempt(cut(after))
        except Crash:
            after += 250
    assert trees.attempts > 1
    seen = importance_of(trees.folder / "l", "l", trees.terms.party("l").columns)
    model = cast("TreesModel", trees.terms.model)
    assert seen.trees == sum(step.kind == "train" for step in result.steps) > 0
    by_party = {one.name: one for one in seen.parties}
    assert sum(one.splits for one in seen.parties) == seen.trees * model.depth
    assert sum(one.gain or 0 for one in seen.parties) == pytest.approx(1)
    for name in FEATURES:
        own = importance_of(trees.folder / name, name, trees.terms.party(name).columns)
        assert own.parties == ()
        assert own.trees == seen.trees
        assert {one.gain for one in own.columns} == {None}, "no gain is told to a feature party"
        assert sum(one.splits for one in own.columns) == (by_party[name].splits if name in by_party else 0)
        assert sum(one.first for one in own.columns) == (by_party[name].first if name in by_party else 0)
    mine = sum(one.splits for one in seen.columns)
    assert mine == by_party["l"].splits


def test_other_data_are_not_gone_on_with() -> None:
    trees = Trees(TERMS)
    with pytest.raises(Crash):
        trees.attempt(cut(60))
    trees.values["b"] = trees.values["b"] + 0.01
    with pytest.raises(DataError, match="this node's data changed"):
        trees.attempt()


def test_terms_under_which_a_tree_draws_too_few_rows_are_refused_before_anything_opens() -> None:
    few = TERMS.model_copy(update={"model": TERMS.model.model_copy(update={"blocks": 64})})
    with pytest.raises(ConfigError, match=r"lower model\.blocks"):
        Trees(few).label()
