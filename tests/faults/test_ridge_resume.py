"""A joint ridge that is interrupted anywhere goes on: no row opened twice, not even where no opening is to spare."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from parties.agreement.document import Agreement
from parties.node.feature import FeatureParty
from parties.node.joint import RidgeJoint
from parties.node.openings import OpeningStore
from psi.flow import Flow, Message, RemoteProtocolError, run_local
from tests.faults.consortium import Crash
from tests.faults.living import living
from tests.faults.test_resume import cut
from tests.parties.agreement.test_model_terms import agreement
from tests.parties.demo_rig import until
from tests.parties.node.test_warm_start import ENTITIES, PERIODS, Consortium
from vfl.arithmetic.ring import Ring
from vfl.protocols.moment_messages import MomentRows, OwnMoments
from vfl.protocols.session import Kept
from vfl.terms import RidgeModel
from vfl.walk.result import TrainingResult

TERMS = agreement({"kind": "ridge", "alpha": 10.0, "rows_per_column": 2}, contribution="none", limit_per_row=2)


@dataclass
class Ridge(Consortium):
    """The same nodes under a ridge; ``boundary`` is where a paused run stops."""

    labels: list[RidgeJoint] = field(default_factory=list)
    served: dict[str, Kept] = field(default_factory=dict)
    boundary: Callable[[], None] | None = None

    def context(self, name: str) -> Any:
        found = super().context(name)
        found.boundary = lambda: self.boundary() if self.boundary is not None else None
        return found

    def label(self) -> RidgeJoint:
        assert isinstance(self.terms.model, RidgeModel)
        return RidgeJoint(self.context("l"), self.terms.model, self.panel)

    def attempt(self, relay: Any = None) -> TrainingResult:
        self.attempts += 1
        self.labels.append(self.label())
        flows: dict[str, Flow[Any]] = {name: self.feature(name) for name in self.values}
        results = run_local({"l": self.labels[-1].train(), **flows}, relay=relay)
        self.served = {name: results[name].predictions for name in self.values}
        return cast("TrainingResult", results["l"])

    def opened(self, party: str) -> NDArray[np.int64]:
        """Openings of each row at the party."""
        counts = np.zeros(PERIODS * ENTITIES, dtype=np.int64)
        for charge in self.charges[party]:
            counts[charge.rows] += 1
        return counts


def check(ridge: Ridge, result: TrainingResult, whole: TrainingResult) -> None:
    """The same factor; every row opened exactly as planned; the shares kept add up to what was opened."""
    predicted = np.isfinite(whole.scores)
    assert np.array_equal(predicted, np.isfinite(result.scores))
    assert np.abs(result.scores - whole.scores)[predicted].max() <= 1e-3 * whole.scores[predicted].std()
    planned = np.zeros(PERIODS * ENTITIES, dtype=np.int64)
    for step in result.steps:
        planned[step.rows] += 1
    for party in ridge.values:
        assert np.array_equal(ridge.opened(party), planned)
    ring, kept = Ring(ridge.terms.fixed_point.ring_bits), ridge.labels[-1].kept
    total = sum((kept[name].share + ridge.served[name].share).elements.astype(object) for name in ridge.values)
    sums = ring.decode((total % ring.modulus).astype(np.uint64), ridge.terms.fixed_point.output_bits)
    rows = ridge.served["a"].rows
    assert np.array_equal(rows, kept["a"].rows)
    assert np.allclose(sums, result.embeddings.reshape(-1, 1)[rows], rtol=0, atol=1e-9)


@pytest.fixture(scope="module")
def whole() -> TrainingResult:
    ridge = Ridge(TERMS)
    result = ridge.attempt()
    check(ridge, result, result)
    assert {step.kind for step in result.steps} == {"train", "predict"}
    assert ridge.opened("a").max() == TERMS.row_limit, "no opening is to spare"
    return result


def messages() -> int:
    count = [0]

    def relay(sender: str, receiver: str, message: Message) -> Message:
        count[0] += 1
        return message

    Ridge(TERMS).attempt(relay)
    return count[0]


def test_a_cut_at_any_message_changes_nothing(whole: TrainingResult) -> None:
    """One run is cut again and again, each time a little later; another once near each of its ends."""
    total = messages()
    for start, stride in ((0, 9), (5, 13)):
        ridge, after, result = Ridge(TERMS), start, None
        for _ in range(40):
            try:
                result = ridge.attempt(cut(after))
                break
            except Crash:
                after += stride
        assert result is not None
        assert ridge.attempts > 2
        check(ridge, result, whole)
    for after in (total - 1, total - 4):
        ridge = Ridge(TERMS)
        with pytest.raises(Crash):
            ridge.attempt(cut(after))
        check(ridge, ridge.attempt(), whole)


@pytest.mark.parametrize("victim", ["l", "a", "c"])
@pytest.mark.parametrize("side", ["before", "after"])
def test_a_crash_around_records_changes_nothing(whole: TrainingResult, victim: str, side: str) -> None:
    for number in (0, 1, 4):
        ridge, left = Ridge(TERMS), [number]

        def fail(left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Crash

        setattr(ridge.stores[victim], side, fail)
        with pytest.raises(Crash):
            ridge.attempt()
        setattr(ridge.stores[victim], side, lambda: None)
        check(ridge, ridge.attempt(), whole)


def test_a_ridge_that_is_paused_at_every_boundary_comes_to_the_same_factor(whole: TrainingResult) -> None:
    ridge, pauses, result = Ridge(TERMS), 0, None

    def stop() -> None:
        raise Crash

    ridge.boundary = stop
    while result is None:
        try:
            result = ridge.attempt()
        except Crash:
            pauses += 1
    assert pauses == len(whole.steps)
    check(ridge, result, whole)


def test_after_training_a_restarted_label_party_has_its_scores_and_shares_again(whole: TrainingResult) -> None:
    ridge = Ridge(TERMS)
    result = ridge.attempt()
    again = ridge.label()
    restored = again.restore()
    assert restored is not None
    assert np.array_equal(np.nan_to_num(restored.scores), np.nan_to_num(result.scores))
    assert restored.heads == result.heads
    assert all(
        np.array_equal(again.kept[n].share.elements, ridge.labels[-1].kept[n].share.elements) for n in ridge.values
    )
    feature = FeatureParty.__new__(FeatureParty)
    feature.context, feature._values = ridge.context("a"), ridge.values["a"].reshape(PERIODS * ENTITIES, -1)
    feature.restore()
    assert feature._served is not None
    assert np.array_equal(feature._served.predictions.share.elements, ridge.served["a"].share.elements)


def test_a_block_enters_whole_or_not_at_all_in_every_later_session() -> None:
    """Blocks of one basis that differ by a row would isolate it: a label party that tries is refused and named."""
    roomy = agreement({"kind": "ridge", "alpha": 10.0, "rows_per_column": 2}, contribution="none", limit_per_row=4)
    ridge = Ridge(roomy)

    def until_own(sender: str, receiver: str, message: Message) -> Message:
        if isinstance(message, OwnMoments):
            raise Crash
        return message

    with pytest.raises(Crash):
        ridge.attempt(until_own)
    for store in ridge.stores.values():
        store.kept.clear()  # the records are lost, and the charge is not

    def one_less(sender: str, receiver: str, message: Message) -> Message:
        if isinstance(message, MomentRows):
            return MomentRows(message.block, message.rows[4:])
        return message

    before = {name: len(charges) for name, charges in ridge.charges.items()}
    with pytest.raises(RemoteProtocolError, match="entered with others in an earlier session"):
        ridge.attempt(one_less)
    assert {name: len(charges) for name, charges in ridge.charges.items()} == before
    result = ridge.attempt()
    again = ridge.opened("a")
    for step in result.steps:
        again[step.rows] -= 1
    assert np.array_equal(np.flatnonzero(again), np.sort(result.steps[0].rows)), "the same block is counted again"


@pytest.mark.system
@pytest.mark.skipif("ENTENTE_LONG" not in os.environ, reason="takes long: set ENTENTE_LONG=1")
def test_kill_9_of_real_nodes_in_and_after_a_ridges_training(tmp_path: Path) -> None:
    """The label party and a feature party die in training, the label party again in valuation."""
    with living(tmp_path, periods=14, model=RidgeModel(alpha=10.0)) as alive:
        for victim, step in (("satellite", 2), ("fund", 7)):
            until(lambda victim=victim, step=step: alive.at_step(victim, step)() or alive.ended(), "a step")  # type: ignore[misc]
            alive.kill(victim)
            alive.start(victim)
        until(lambda: alive.begun("fund", "value")() or alive.ended(), "valuation")
        alive.kill("fund")
        alive.start("fund")
        view = alive.settled()
        assert {phase.name: phase.attempt for phase in view.phases}["train"] >= 3
        assert all(used.max_used <= used.limit for used in view.openings)
        planned = Agreement.model_validate(view.agreement).needed_openings
        for party in ("satellite", "social"):
            store = OpeningStore(f"sqlite:///{alive.homes.party(party) / 'state.db'}")
            charges = store.history(alive.agreement.run_id)
            store.close()
            counts = np.bincount(np.concatenate([charge.rows for charge in charges]))
            assert counts.max() == planned, "as planned, in three attempts"
