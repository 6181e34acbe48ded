"""A sealed run that is cut anywhere goes on to the same scores, opens nothing twice and uses no randomness twice."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from psi.flow import Flow, Message, RemoteProtocolError, run_local
from tests.vfl.models.sealed.rig import RUN, Consortium, columns
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.models.sealed.messages import Scores, SealedStep
from vfl.models.sealed.records import ResumedScores, StepRecord
from vfl.protocols.opening import agree_masks
from vfl.protocols.opening_budget import Charge, OpeningBudget
from vfl.protocols.resume import START, agree_place, offer_place
from vfl.terms import SealedModel
from vfl.walk.schedule import Step

ROWS = 60
TERMS = SealedModel(width=2, batch_rows=24)
LABELS = np.random.default_rng(3).normal(size=ROWS)
STEPS = [
    Step(0, "train", 0, np.arange(24), 24),
    Step(1, "predict", 1, np.arange(24, 40)),
    Step(2, "train", 1, np.arange(10, 34), 40),
    Step(3, "predict", 2, np.arange(40, 60)),
]


class Cut(Exception):
    """The line is gone."""


@dataclass
class Journal:
    """Records in memory: what of a side survives."""

    kept: dict[int, StepRecord] = field(default_factory=dict)
    done: dict[int, NDArray[np.float64]] = field(default_factory=dict)

    def hold(self, record: StepRecord) -> None:
        copied = {name: np.array(array) for name, array in record.arrays.items()}
        self.kept[record.step] = replace(record, arrays=copied)
        for step in sorted(self.kept)[:-2]:
            del self.kept[step]

    def predicted(self, step: int, scores: NDArray[np.float64]) -> None:
        self.done[step] = scores.copy()

    def places(self) -> list[int]:
        return sorted(self.kept)

    def go_on(self, step: int) -> StepRecord | None:
        for later in [kept for kept in self.kept if kept > step]:
            del self.kept[later]
        return None if step == START else self.kept[step]


class World:
    """Sides whose memories go with every cut, and whose records stay."""

    def __init__(self, parties: str, own: int, anchor: str, steps: Sequence[Step] = STEPS) -> None:
        features = {n: columns(ROWS, 2 + i, n) for i, n in enumerate(parties)}
        self.base = Consortium(features, columns(ROWS, own, "own"), TERMS, anchor=anchor)
        self.journals = {name: Journal() for name in ("label", *self.base.members.everyone)}
        self.charges: list[Charge] = []
        self.steps, self.attempt, self.messages = list(steps), 0, 0
        self.heard: list[Any] = []

    def attempt_once(self, cut: int = -1) -> Consortium:
        self.attempt += 1
        made = replace(self.base, session=f"train-{self.attempt}", heard=self.heard, sides={}, scores={})
        left = [cut]

        def tamper(sender: str, receiver: str, got: Message) -> Message:
            if left[0] == 0:
                raise Cut
            left[0] -= 1
            self.messages += 1
            return got

        made.tamper = tamper
        flows: dict[str, Flow[Any]] = {"label": self.label(made)}
        flows[made.anchor] = self.anchor(made)
        for name in made.members.others:
            flows[name] = self.feature(made, name)
        run_local(flows, relay=made.relay)
        return made

    def label(self, made: Consortium) -> Flow[None]:
        journal = self.journals["label"]
        own = [
            s for s in journal.places() if all(p.number in journal.done for p in self.steps[:s] if p.kind != "train")
        ]
        place = yield from agree_place(made.members.everyone, own)
        record = journal.go_on(place)
        resumed = None if record is None else ResumedScores(record, journal.done)
        yield from made.serve_label(self.steps[max(place, 0) :], LABELS, journal=journal, resumed=resumed)

    def anchor(self, made: Consortium) -> Flow[None]:
        journal = self.journals[made.anchor]
        record = journal.go_on((yield from offer_place("label", journal.places())))
        budget = OpeningBudget(ROWS, 1, history=tuple(self.charges), record=self.charges.append)
        yield from made.anchor_side(journal=journal, resumed=record, budget=budget).serve()

    def feature(self, made: Consortium, me: str) -> Flow[None]:
        journal = self.journals[me]
        record = journal.go_on((yield from offer_place("label", journal.places())))
        masks = yield from agree_masks(
            me, made.members.others, RUN, PRIME_RING, made.stream(f"masks/{me}/{self.attempt}")
        )  # fmt: skip
        yield from made.feature_side(me, masks, journal=journal, resumed=record).serve()

    @property
    def scores(self) -> dict[int, NDArray[np.float64]]:
        return self.journals["label"].done


@pytest.fixture(scope="module")
def whole() -> World:
    world = World("abc", 1, "b")
    world.attempt_once()
    return world


def check(world: World, whole: World) -> None:
    for step in STEPS:
        if step.kind == "predict":
            assert np.abs(world.scores[step.number] - whole.scores[step.number]).max() <= 2.0**-11
    counts = Counter(int(row) for charge in world.charges for row in charge.rows)
    assert set(counts.values()) == {1}
    assert sorted(counts) == list(range(24, 60))
    ciphers = [b for h in world.heard for b in (*getattr(h.message, "blocks", ()), *getattr(h.message, "second", ()))]
    repeated = {b for b, n in Counter(ciphers).items() if n > 1}
    # one gradient's operand goes to several parties as it is, within one step and session
    assert len(repeated) <= 2 * world.attempt


def test_a_run_that_is_cut_at_any_message_goes_on_to_the_same_scores(whole: World) -> None:
    """Cut at every so many messages, each in a run of its own; a second cut a little later in the second attempt."""
    for cut in range(1, whole.messages, 9 if "ENTENTE_LONG" in os.environ else 27):
        world = World("abc", 1, "b")
        with pytest.raises(Cut):
            world.attempt_once(cut)
        if cut % 2:
            with pytest.raises(Cut):
                world.attempt_once(12)
        world.attempt_once()
        check(world, whole)


@pytest.mark.parametrize("kind", ["sealed.scores", "source.open", "source.ready"])
def test_a_cut_about_an_opening_opens_the_recorded_share_and_charges_once(kind: str, whole: World) -> None:
    """Cut just before and just after each message about an opening: every 17-bit share of a row is always the same."""
    at = [n for n, heard in enumerate(whole.heard) if heard.kind == kind]
    for cut in (at[0], at[0] + 1, at[-1], at[-1] + 1):
        world = World("abc", 1, "b")
        with pytest.raises(Cut):
            world.attempt_once(cut)
        world.attempt_once()
        check(world, whole)
        seen: dict[int, bytes] = {}
        for heard in world.heard:
            if isinstance(heard.message, Scores):
                assert seen.setdefault(heard.message.step, heard.message.values) == heard.message.values


def test_a_label_party_that_goes_on_with_other_rows_is_refused_by_name(whole: World) -> None:
    at = [n for n, heard in enumerate(whole.heard) if heard.kind == "sealed.scores"]
    world = World("ab", 0, "a")
    with pytest.raises(Cut):
        world.attempt_once(at[0] // 3)
    world.base.tamper = lambda s, r, got: got
    place = max(world.journals["a"].places())
    other = np.arange(1, 1 + len(STEPS[place].rows))
    journal = world.journals["label"]
    journal.kept[place] = replace(journal.kept[place], rows=other)
    world.steps[place] = replace(STEPS[place], rows=other)
    with pytest.raises(RemoteProtocolError, match="label: goes on with another batch than the one recorded"):
        world.attempt_once()


def test_a_label_party_that_claims_a_record_the_anchor_lacks_is_refused_by_name() -> None:
    made = Consortium({"a": columns(ROWS, 2, "a")}, columns(ROWS, 0, "own"), TERMS)

    def tamper(sender: str, receiver: str, got: Message) -> Message:
        return replace(got, again=True) if isinstance(got, SealedStep) else got

    made.tamper = tamper
    with pytest.raises(RemoteProtocolError, match="label: goes on with a prediction that the anchor has no record of"):
        made.run(STEPS[1:2], LABELS)


def test_past_the_agreed_number_of_scores_a_row_is_refused_before_anything_is_sent() -> None:
    made = Consortium({"a": columns(ROWS, 2, "a")}, columns(ROWS, 0, "own"), TERMS, limit=1)
    again = [STEPS[1], replace(STEPS[1], number=2, rows=np.arange(39, 50))]
    with pytest.raises(Exception, match="1 rows, the first row 39, were opened 1 times, which is the limit"):
        made.run(again, LABELS)
    assert [heard.kind for heard in made.heard].count("sealed.scores") == 1
