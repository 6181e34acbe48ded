"""A whole run of an ensemble through the nodes' own code: its twins, what is counted, and going on after a cut."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from parties.errors import ConfigError
from parties.node.ensemble_feature import EnsembleFeatureParty
from parties.node.ensemble_label import EnsembleJoint, chosen_average
from parties.node.joint import joint_model
from psi.flow import Message
from tests.faults.consortium import Crash, MemoryStore
from tests.faults.test_resume import cut
from tests.faults.test_sealed_run import MODEL as NETWORK
from tests.faults.test_sealed_run import VALUED, Sealed
from tests.faults.test_trees_run import MODEL as TREES
from tests.faults.test_trees_run import Trees
from tests.parties.agreement.test_model_terms import agreement
from tests.parties.node.test_warm_start import ENTITIES, PERIODS
from vfl.arithmetic.randomness import SecretStream
from vfl.models.ensemble.average import averaged, ranked
from vfl.models.judging import Judge
from vfl.models.sealed.messages import Scores
from vfl.protocols.opening_budget import OpeningBudget
from vfl.terms import EnsembleModel
from vfl.walk.result import TrainingResult

PARTS = {
    name: {key: value for key, value in part.items() if key not in ("kind", "anchor")}
    for name, part in (("network", NETWORK), ("boosted", TREES))
}
FEW = {"batch_rows": 64, "warmup_steps": 2}
SIGNED = agreement({"kind": "ensemble", "anchor": "b", "trees_share": [0.25], **PARTS}, contribution="none")
TERMS = SIGNED.model_copy(
    update={
        "walk_forward": SIGNED.walk_forward.model_copy(update={"warmup": 2}),
        "openings": SIGNED.openings.model_copy(update={"limit_per_row": 2}),
        "calendar": VALUED.calendar,
    }
)


def chosen_among(*shares: float, first: str = "p4") -> Any:
    model = TERMS.model.model_copy(update={"trees_share": shares})
    return TERMS.model_copy(update={"model": model, "evaluation": TERMS.evaluation.model_copy(update={"first": first})})


@dataclass
class Ensemble(Trees):
    """The same nodes under an ensemble, whose parts have stores of their own."""

    parts: dict[tuple[str, str], MemoryStore] = field(default_factory=dict)

    def context(self, name: str) -> Any:
        found = super().context(name)
        found.part_checkpoints = lambda part: self.parts.setdefault((name, part), MemoryStore())
        return found

    def label(self) -> Any:
        found = joint_model(self.context("l"), self.panel)
        assert isinstance(found, EnsembleJoint)
        return found

    def party(self, name: str) -> Any:
        party = EnsembleFeatureParty.__new__(EnsembleFeatureParty)
        party.context, party._values = self.context(name), self.values[name].reshape(PERIODS * ENTITIES, -1)
        party._missing, party._stream = None, SecretStream(self.secret(name, f"stream/{self.attempts}"))
        party.budget = OpeningBudget(
            PERIODS * ENTITIES, self.terms.row_limit, history=self.charges[name], record=self.charges[name].append
        )
        return party

    def twins(self) -> tuple[NDArray[np.float64], ...]:
        """Scores of each member, trained alone in plain numbers."""
        return tuple(
            (Trees if name == "trees" else Sealed)(self.terms.model_copy(update={"model": part})).twin_scores()
            for name, part in cast("EnsembleModel", self.terms.model).members.items()
        )


def near(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """The same rows, and no score further off than two ranks of a period."""
    same = np.array_equal(np.isnan(one), np.isnan(other))
    return same and bool(np.nanmax(np.abs(one - other)) <= 2 / (0.8 * ENTITIES))


def alike(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """The same rows, and most scores within two ranks: a split of nearly equal gain may fall either way in a run."""
    same, differ = np.array_equal(np.isnan(one), np.isnan(other)), np.abs(one - other)
    return same and bool(np.nanquantile(differ, 0.7) <= 2 / (0.8 * ENTITIES)) and bool(np.nanmax(differ) <= 0.25)


@pytest.fixture(scope="module")
def whole() -> tuple[Ensemble, TrainingResult]:
    made = Ensemble(TERMS)
    return made, made.attempt()


def test_a_run_averages_at_ranks_what_its_parts_score_alone(whole: tuple[Ensemble, TrainingResult]) -> None:
    made, result = whole
    network, trees = made.twins()
    assert alike(result.scores, 0.75 * ranked(network) + 0.25 * ranked(trees))
    assert not near(result.scores, ranked(network))
    assert not near(result.scores, ranked(trees))
    predicted = np.isfinite(result.scores).reshape(-1)
    assert np.array_equal(made.counted("b"), 2 * predicted), "the anchor counts both scores of a row"
    assert np.array_equal(result.openings.reshape(-1), 2 * predicted)
    assert not made.charges["a"] + made.charges["c"]
    restored = made.label().restore()
    assert restored is not None
    assert np.array_equal(np.nan_to_num(restored.scores), np.nan_to_num(result.scores))
    made.party("a").restore()
    assert np.array_equal(np.isnan(made.label().alone()), np.isnan(result.scores))


def test_a_cut_at_any_message_goes_on_to_the_same_ranks_and_opens_no_score_twice(
    whole: tuple[Ensemble, TrainingResult],
) -> None:
    seen: dict[tuple[int, bytes], int] = {}
    made, after, result = Ensemble(TERMS), 100, None
    while result is None:
        crash = cut(after)

        def relay(sender: str, receiver: str, message: Message, crash: Any = crash) -> Message:
            if isinstance(message, Scores):
                seen[message.step, message.values] = seen.get((message.step, message.values), 0) + 1
            return cast("Message", crash(sender, receiver, message))

        try:
            result = made.attempt(relay)
        except Crash:
            after += 400
    assert made.attempts > 2
    assert alike(result.scores, whole[1].scores)
    assert np.array_equal(made.counted("b"), whole[0].counted("b"))
    assert len(seen) == sum(step.kind == "predict" for step in result.steps) * 2, "repeated shares are the same"


def test_of_several_shares_earlier_periods_choose_and_only_later_ones_are_scored() -> None:
    terms = chosen_among(0.0, 0.5, 1.0)
    made = Ensemble(terms)
    result, label = made.attempt(), made.label()
    assert np.isnan(result.scores[:4]).all()
    assert np.isfinite(result.scores[4:]).any()
    restored = label.restore()
    assert restored is not None
    assert np.array_equal(np.nan_to_num(restored.scores), np.nan_to_num(result.scores))
    network, trees = made.twins()
    assert label.found is not None
    assert near(result.scores[4:], averaged((network, trees), label.chosen.averages[0])[4:])
    assert [trial.terms.trees_share for trial in label.tried] == [(0.0,), (0.5,), (1.0,)]


def test_a_share_is_chosen_by_what_was_known_at_the_first_reported_cutoff() -> None:
    made = Ensemble(chosen_among(0.0, 1.0))
    model, walk = cast("EnsembleModel", made.terms.model), made.terms.walk_forward
    draw = np.random.default_rng(1)
    network = draw.normal(size=made.panel.label.shape)
    trees = np.nan_to_num(made.panel.label) + draw.normal(size=network.shape)
    assert chosen_average(model, Judge(made.panel, walk, 4), (network, trees)).terms.trees_share == (1.0,)
    late = made.panel.known_from > 4
    assert late[4:].all()
    turned = replace(made.panel, label=np.where(late, network, made.panel.label))
    assert chosen_average(model, Judge(turned, walk, 4), (network, trees)).chosen == 1, "later labels choose nothing"
    turned = replace(made.panel, label=np.where(late, made.panel.label, network))
    assert chosen_average(model, Judge(turned, walk, 4), (network, trees)).chosen == 0


def test_shares_that_no_period_can_choose_among_are_refused() -> None:
    with pytest.raises(ConfigError, match="report from a later period"):
        Ensemble(chosen_among(0.0, 1.0, first="p1")).label()


def test_earlier_periods_choose_among_a_line_a_network_trees_and_their_average() -> None:
    listed = ({"linear": 1.0}, {"network": 1.0}, {"trees": 1.0}, {"linear": 1.0, "network": 1.0, "trees": 2.0})
    terms, said = chosen_among(0.5), {"weights": listed, "linear": {"alpha": 20.0, **FEW}}
    model = EnsembleModel.model_validate(terms.model.model_dump() | said)
    openings = terms.openings.model_copy(update={"limit_per_row": 3})
    made = Ensemble(terms.model_copy(update={"model": model, "openings": openings}))
    result, label = made.attempt(), made.label()
    restored = label.restore()
    assert restored is not None
    assert label.found is not None
    counted = made.counted("b")
    assert set(counted.tolist()) == {0, 3}, "the anchor counts all three scores of a predicted row"
    assert np.isnan(result.scores[:4]).all()
    shares = model.averages[label.found.chosen]
    assert near(result.scores[4:], averaged(made.twins(), shares)[4:])
    assert np.array_equal(np.nan_to_num(restored.scores), np.nan_to_num(result.scores))
    assert [trial.terms.weights for trial in label.tried] == [(one,) for one in listed]
    assert label.found.chosen == int(np.argmax([trial.value for trial in label.tried]))
    pair = EnsembleModel.model_validate(TERMS.model.model_dump() | {"trees_share": [0.5], "weights": listed[:2]})
    assert tuple(pair.members) == ("linear", "network"), "who is not named is not trained"
