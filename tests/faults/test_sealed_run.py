"""A whole sealed run through the nodes' own code: its twin, what is counted, and going on after a cut anywhere."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from parties.agreement.sealed_terms import sealed_members
from parties.agreement.terms import CalendarTerms
from parties.demo.parity import FAR
from parties.errors import AgreementError, DataError
from parties.node.contribution_evidence import SentParts
from parties.node.joint import joint_model
from parties.node.sealed_feature import SealedFeatureParty
from parties.node.sealed_label import SealedJoint
from psi.flow import Flow, Message, RemoteProtocolError, run_local
from tests.faults.consortium import Crash
from tests.faults.living import PARTIES, WHOLE_PERIODS, living, opened
from tests.faults.test_resume import cut
from tests.parties.agreement.test_model_terms import agreement
from tests.parties.demo_rig import until
from tests.parties.node.test_warm_start import ENTITIES, PERIODS, Consortium, panel
from vfl.arithmetic.randomness import SecretStream
from vfl.factors.evaluate import ic_by_period
from vfl.models.sealed.coalitions import CoalitionNumbers
from vfl.models.sealed.initial import sealed_draw
from vfl.models.sealed.twin import integer_twin
from vfl.protocols.committed_values import arrays_digest
from vfl.protocols.opening_budget import BudgetExceededError, Charge, OpeningBudget
from vfl.terms import SealedModel
from vfl.walk.result import TrainingResult

MODEL = {"kind": "sealed", "anchor": "b", "width": 2, "batch_rows": 64, "warmup_steps": 2, "alpha": 20.0}
TERMS = agreement(MODEL, contribution="none", limit_per_row=1).model_copy(
    update={"walk_forward": agreement(MODEL, contribution="none").walk_forward.model_copy(update={"warmup": 2})}
)
FEATURES = ("a", "b", "c")
_LONG = "ENTENTE_LONG" in os.environ

_ENDS = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=90 * period) for period in range(PERIODS)]
VALUED = TERMS.model_copy(
    update={
        "openings": TERMS.openings.model_copy(update={"contribution": "moments"}),
        "calendar": CalendarTerms(
            frequency="Q",
            periods=tuple(f"p{i}" for i in range(PERIODS)),
            period_ends=tuple(_ENDS),
            cutoffs=tuple(_ENDS),
        ),
    }
)


@dataclass
class Sealed(Consortium):
    """The same nodes under a sealed network; ``boundary`` is where a paused run stops."""

    labels: list[SealedJoint] = field(default_factory=list)
    boundary: Callable[[], None] = lambda: None
    numbers: list[Charge] = field(default_factory=list)
    valued_before: int = 0

    def context(self, name: str) -> Any:
        found = super().context(name)
        found.boundary = lambda: self.boundary()
        return found

    def label(self) -> SealedJoint:
        found = joint_model(self.context("l"), self.panel)
        assert isinstance(found, SealedJoint)
        return found

    def party(self, name: str) -> SealedFeatureParty:
        party = SealedFeatureParty.__new__(SealedFeatureParty)
        party.context, party._values = self.context(name), self.values[name].reshape(PERIODS * ENTITIES, -1)
        party._terms, party._members = cast("SealedModel", self.terms.model), sealed_members(self.terms)
        party._stream = SecretStream(self.secret(name, f"stream/{self.attempts}"))
        party.budget = OpeningBudget(
            PERIODS * ENTITIES, self.terms.row_limit, history=self.charges[name], record=self.charges[name].append
        )
        party.numbers = OpeningBudget(
            PERIODS * ENTITIES,
            self.terms.row_limit,
            history=self.numbers,
            record=self.numbers.append,
            done="valued",
            others=lambda: np.full(PERIODS * ENTITIES, self.valued_before),
        )
        return party

    def attempt(self, relay: Any = None) -> TrainingResult:
        self.attempts += 1
        self.labels.append(self.label())
        flows: dict[str, Flow[Any]] = {
            name: self.party(name)._served_through(f"train-{self.attempts}") for name in self.values
        }
        return cast("TrainingResult", run_local({"l": self.labels[-1].train(), **flows}, relay=relay)["l"])

    def twin_scores(self) -> NDArray[np.float64]:
        model, purpose = cast("SealedModel", self.terms.model), self.terms.initial_purpose
        members = sealed_members(self.terms)
        parts = []
        for name, holders in {**{f: ("l", f) for f in FEATURES}, "l": ("l", members.anchor)}.items():
            count = members.own if name == "l" else members.features[name]
            seeds = [self.secret(holder, f"sealed/{purpose}/{name}") for holder in holders]
            parts.append(sum(sealed_draw(seed, count, model, members.columns) for seed in seeds))
        sides = [panel(self.values[name]) for name in FEATURES]
        fixed = self.terms.fixed_point
        return integer_twin(sides, self.panel, model, self.terms.walk_forward, fixed, np.concatenate(parts))


def check(sealed: Sealed, result: TrainingResult, whole: TrainingResult) -> None:
    """The same factor, and the anchor counted each predicted row's score once; nobody else counts anything."""
    predicted = np.isfinite(whole.scores)
    assert np.array_equal(predicted, np.isfinite(result.scores))
    assert np.abs(result.scores - whole.scores)[predicted].max() <= 5e-3 * whole.scores[predicted].std()
    planned = np.zeros(PERIODS * ENTITIES, dtype=np.int64)
    for step in result.steps:
        if step.kind == "predict":
            planned[step.rows] += 1
    assert np.array_equal(sealed.counted("b"), planned)
    assert not sealed.charges["a"] + sealed.charges["c"]


@pytest.fixture(scope="module")
def whole() -> TrainingResult:
    sealed = Sealed(TERMS)
    result = sealed.attempt()
    check(sealed, result, result)
    assert {step.kind for step in result.steps} == {"train", "predict"}
    return result


def test_a_run_is_its_twin_with_the_same_rounding(whole: TrainingResult) -> None:
    twin = Sealed(TERMS).twin_scores()
    assert np.array_equal(np.isnan(twin), np.isnan(whole.scores))
    assert np.nanmax(np.abs(twin - whole.scores)) <= 5e-3 * np.nanstd(twin)
    other = Sealed(TERMS.model_copy(update={"model": TERMS.model.model_copy(update={"seed": 1})}))
    assert np.nanmax(np.abs(other.twin_scores() - whole.scores)) > 0.05 * np.nanstd(twin)


def test_a_cut_at_any_message_changes_nothing(whole: TrainingResult) -> None:
    count = [0]

    def relay(sender: str, receiver: str, message: Message) -> Message:
        count[0] += 1
        return message

    Sealed(TERMS).attempt(relay)
    for start, stride in ((0, 23), (11, 37)) if _LONG else ((11, 37),):
        sealed, after, result = Sealed(TERMS), start, None
        while result is None and after < 2 * count[0]:
            try:
                result = sealed.attempt(cut(after))
            except Crash:
                after += stride
        assert result is not None
        assert sealed.attempts > 2
        check(sealed, result, whole)
    for after in (count[0] - 1, count[0] - 4):
        sealed = Sealed(TERMS)
        with pytest.raises(Crash):
            sealed.attempt(cut(after))
        check(sealed, sealed.attempt(), whole)


RECORDS = {"before": (0, 2, 3) if _LONG else (0, 3), "after": (0, 2, 3) if _LONG else (2,)}


@pytest.mark.parametrize("victim", ["l", "a", "b"])
@pytest.mark.parametrize("side", RECORDS)
def test_a_crash_around_records_changes_nothing(whole: TrainingResult, victim: str, side: str) -> None:
    for number in RECORDS[side]:
        sealed, left = Sealed(TERMS), [number]

        def fail(left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Crash

        setattr(sealed.stores[victim], side, fail)
        with pytest.raises(Crash):
            sealed.attempt()
        setattr(sealed.stores[victim], side, lambda: None)
        check(sealed, sealed.attempt(), whole)


def test_a_run_that_is_paused_at_every_boundary_comes_to_the_same_factor(whole: TrainingResult) -> None:
    sealed, result = Sealed(TERMS), None

    def stop() -> None:
        raise Crash

    sealed.boundary = stop
    pauses = 0
    while result is None:
        try:
            result = sealed.attempt()
        except Crash:
            pauses += 1
            assert pauses <= len(whole.steps)
    assert pauses
    check(sealed, result, whole)


def test_after_training_restarted_nodes_have_what_it_left(whole: TrainingResult) -> None:
    sealed = Sealed(TERMS)
    result = sealed.attempt()
    restored = sealed.label().restore()
    assert restored is not None
    assert np.array_equal(np.nan_to_num(restored.scores), np.nan_to_num(result.scores))
    sealed.party("a").restore()
    sealed.stores["a"].kept.pop("trained")
    with pytest.raises(AgreementError, match="propose the run again"):
        sealed.party("a").restore()


def test_other_data_are_not_gone_on_with(whole: TrainingResult) -> None:
    sealed = Sealed(TERMS)
    with pytest.raises(Crash):
        sealed.attempt(cut(60))
    sealed.values["b"] = sealed.values["b"] + 0.01
    with pytest.raises(DataError, match="this node's data changed"):
        sealed.attempt()


def test_the_anchor_refuses_a_score_past_the_agreed_number() -> None:
    """A label party that proposes the same rows again gets no second score of any."""
    sealed = Sealed(TERMS)
    sealed.attempt()
    for store in sealed.stores.values():
        store.kept.clear()
    with pytest.raises((BudgetExceededError, RemoteProtocolError), match="which is the limit"):
        sealed.attempt()


def valued(sealed: Sealed, scores: NDArray[np.float64], relay: Any = None) -> dict[frozenset[str], NDArray[np.float64]]:
    """One attempt at valuing coalitions, from what the stores hold."""
    sealed.attempts += 1
    name = f"value-{sealed.attempts}"
    sent = {party: SentParts(name) for party in FEATURES}
    flows: dict[str, Flow[Any]] = {party: sealed.party(party)._coalitions(name, sent[party]) for party in FEATURES}
    heard: list[bytes] = []

    def commit(share: NDArray[np.uint64]) -> bytes:
        return arrays_digest(bytes(32), {"ours": share})

    def hear(ours: NDArray[np.uint64], theirs: NDArray[np.uint64], values: bytes) -> None:
        heard.extend((commit(ours), values))

    found = run_local({"l": sealed.label().coalition_ics(scores, name, commit, hear), **flows}, relay=relay)["l"]
    anchor, (committed, values) = sent["b"], heard
    assert (anchor.numbers, anchor.sent) == (committed, {"numbers": hashlib.sha256(values).hexdigest()})
    return cast("dict[frozenset[str], NDArray[np.float64]]", found)


def test_coalitions_are_valued_from_what_training_left_and_again_after_a_cut_at_any_message() -> None:
    sealed = Sealed(VALUED)
    scores = sealed.attempt().scores
    count = [0]

    def relay(sender: str, receiver: str, message: Message) -> Message:
        count[0] += 1
        return message

    first = valued(sealed, scores, relay)
    assert set(first) == {frozenset(members) for size in range(4) for members in combinations(FEATURES, size)}
    counted = np.isfinite(first[frozenset()])
    assert counted.sum() == sum(1 for row in scores if np.isfinite(row).sum() >= 10)
    everyone = ic_by_period(scores, np.where(sealed.panel.universe, sealed.panel.label, np.nan), "rank")
    # standardised ranks of the label, the score as it is: near the rank IC, and the very same for all coalitions alike
    assert np.nanmax(np.abs(first[frozenset(FEATURES)] - everyone)) < 0.1
    whole, count[0] = count[0], 0
    again = valued(sealed, scores, relay)
    for coalition, values in first.items():
        np.testing.assert_array_equal(again[coalition], values)
    cut_short, sent = Sealed(VALUED), list[bytes]()
    result = cut_short.attempt().scores

    def cut_and_kept(after: int) -> Callable[[str, str, Message], Message]:
        stop = cut(after)

        def relay(sender: str, receiver: str, message: Message) -> Message:
            if isinstance(message, CoalitionNumbers):
                sent.append(message.values)
            return stop(sender, receiver, message)

        return relay

    # from its last messages on, everything is recorded, and each further attempt opens what was
    for after in (whole // 3, 2 * whole // 3, whole - 3, count[0] - 3, count[0] - 2, count[0] - 1):
        with pytest.raises(Crash):
            valued(cut_short, result, cut_and_kept(after))
            pytest.fail(f"not cut after {after} messages")
    found = valued(cut_short, result, cut_and_kept(whole))
    assert all(np.nanmax(np.abs(found[c] - first[c])) < 0.02 for c in first)
    assert len(set(sent)) == 1, "whenever it was cut, the same shares of the numbers went out"
    labels = [charge.label for charge in cut_short.numbers]
    assert sorted(labels) == sorted({f"numbers/{period}" for period in np.flatnonzero(counted)}), "each charged once"


def test_numbers_that_opened_are_not_made_again_for_other_labels() -> None:
    """A label party that says it lost its record, to get the same numbers of labels of its choice."""
    sealed = Sealed(VALUED)
    scores = sealed.attempt().scores
    valued(sealed, scores)
    del sealed.stores["l"].kept["numbers"]
    with pytest.raises(RemoteProtocolError, match="made anew that were opened before"):
        valued(sealed, scores)
    sealed.numbers.clear()
    valued(sealed, scores)  # which the anchor's own count alone prevents


def test_rows_that_another_run_valued_are_not_valued_past_the_agreed_number() -> None:
    """A label party that proposes the same rows again, for numbers of labels of its choice. Nothing opens."""
    sealed, seen = Sealed(VALUED, valued_before=1), list[str]()
    scores = sealed.attempt().scores

    def relay(sender: str, receiver: str, message: Message) -> Message:
        seen.append(type(message).__name__)
        return message

    with pytest.raises(BudgetExceededError, match="were valued 1 times, which is the limit"):
        valued(sealed, scores, relay)
    assert "CoalitionNumbers" not in seen
    assert not sealed.numbers
    sealed.valued_before = 0
    valued(sealed, scores, relay)
    assert "CoalitionNumbers" in seen
    periods = np.isfinite(scores).sum(axis=1) >= 10
    assert {charge.label for charge in sealed.numbers} == {f"numbers/{t}" for t in np.flatnonzero(periods)}
    assert {charge.width for charge in sealed.numbers} == {2 * 7}, "two numbers of each of 7 coalitions"


@pytest.mark.system
def test_processes_killed_in_training_end_in_the_same_factor(tmp_path: Path) -> None:
    model = SealedModel(warmup_steps=3, batch_rows=512)
    with living(tmp_path, periods=WHOLE_PERIODS, model=model) as alive:
        for victim, step in (("satellite", 3), ("fund", 6), ("social", 9)):
            until(lambda victim=victim, step=step: alive.at_step(victim, step)() or alive.ended(), f"step {step}")
            assert not alive.ended(), alive.view().reason
            alive.kill(victim)
            alive.start(victim)
        view = alive.settled()
        assert {phase.name: phase.attempt for phase in view.phases}["train"] >= 4
        assert alive.from_twin() <= 3 * FAR
        nobody, counts = sorted((opened(alive, party) for party in PARTIES[1:]), key=len)
        assert not nobody, "one anchor counts"
        assert set(counts.values()) == {1}, "everything opened once"
        scores = [name for name in counts if name.startswith("scores/")]
        assert len(scores) == len(counts) - len(scores) == alive.periods_scored(), "and every period's numbers"
