"""A run of trees that is cut anywhere goes on to the same trees and opens no number and no score twice."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from psi.flow import Flow, Message, RemoteProtocolError, run_local
from tests.vfl.models.sealed.test_sealed_resume import Cut
from tests.vfl.models.sealed.test_sealed_resume import Journal as SealedJournal
from tests.vfl.models.trees.rig import Consortium, columns
from vfl.models.sealed.messages import Scores
from vfl.models.sealed.records import ResumedScores
from vfl.models.trees.messages import LevelNumbers, TreeStep
from vfl.protocols.opening_budget import Charge, OpeningBudget
from vfl.protocols.resume import agree_place, offer_place
from vfl.tree_terms import TreesModel
from vfl.walk.schedule import Step

ROWS = 70
TERMS = TreesModel(depth=2, trees=2, candidates=2, smallest_leaf=5, fits_kept=2, reg_lambda=2.0)
LABELS = np.random.default_rng(3).normal(size=ROWS)
FIRST, SECOND = np.arange(30), np.arange(45)
STEPS = [
    Step(0, "train", 0, FIRST, 30),
    Step(1, "train", 0, FIRST, 30),
    Step(2, "predict", 1, np.arange(30, 45)),
    Step(3, "train", 1, SECOND, 45),
    Step(4, "train", 1, SECOND, 45),
    Step(5, "predict", 2, np.arange(45, 70)),
]


@dataclass
class Journal(SealedJournal):
    """Records in memory; of levels too."""

    numbers: dict[tuple[int, int], NDArray[np.uint64]] = field(default_factory=dict)
    opened: set[tuple[int, int]] = field(default_factory=set)

    def hold_level(self, step: int, level: int, share: NDArray[np.uint64]) -> None:
        self.numbers[step, level] = share.copy()

    def levels(self, step: int) -> list[NDArray[np.uint64]]:
        return [self.numbers[key] for key in sorted(self.numbers) if key[0] == step]

    def open_level(self, step: int, level: int) -> None:
        assert (step, level) not in self.opened
        self.opened.add((step, level))

    def opened_levels(self, step: int) -> int:
        return len([key for key in self.opened if key[0] == step])

    def places(self) -> list[int]:
        last = max((step for step, _ in self.opened), default=-1)
        return [step for step in sorted(self.kept) if step >= last]


class World:
    """Sides whose memories go with every cut, and whose records stay."""

    def __init__(self, parties: str, own: int, anchor: str) -> None:
        features = {n: columns(ROWS, 2 + i, n) for i, n in enumerate(parties)}
        self.base = Consortium(features, columns(ROWS, own, "own"), TERMS, anchor=anchor)
        self.journals = {name: Journal() for name in ("label", *self.base.members.everyone)}
        self.charges: list[Charge] = []
        self.attempt, self.messages = 0, 0
        self.heard: list[Any] = []
        self.chosen: dict[tuple[int, int], tuple[str, int]] = {}

    def attempt_once(self, cut: int = -1) -> None:
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
        flows: dict[str, Flow[Any]] = {"label": self.label(made), made.anchor: self.anchor(made)}
        for name in made.members.others:
            flows[name] = self.feature(made, name)
        try:
            run_local(flows, relay=made.relay)
        finally:
            side = made.sides.get("label")
            self.chosen |= {(s, lv): (o, n) for s, lv, o, n in side.chosen} if side is not None else {}

    def label(self, made: Consortium) -> Flow[None]:
        journal = self.journals["label"]
        own = [s for s in journal.places() if all(p.number in journal.done for p in STEPS[:s] if p.kind != "train")]
        record = journal.go_on((yield from agree_place(made.members.everyone, own)))
        resumed = None if record is None else ResumedScores(record, journal.done)
        yield from made.serve_label(STEPS, LABELS, journal=journal, resumed=resumed)

    def anchor(self, made: Consortium) -> Flow[None]:
        journal = self.journals[made.anchor]
        record = journal.go_on((yield from offer_place("label", journal.places())))
        budget = OpeningBudget(ROWS, 1, history=tuple(self.charges), record=self.charges.append)
        yield from made.anchor_side(journal=journal, resumed=record, budget=budget).serve()

    def feature(self, made: Consortium, me: str) -> Flow[None]:
        journal = self.journals[me]
        record = journal.go_on((yield from offer_place("label", journal.places())))
        yield from made.feature_side(me, journal=journal, resumed=record).serve()


@pytest.fixture(scope="module")
def whole() -> World:
    world = World("ab", 1, "b")
    world.attempt_once()
    return world


def check(world: World, whole: World) -> None:
    """The same splits and scores, and of each level and score one share that opens, whatever was cut."""
    assert world.chosen == whole.chosen
    for number, scores in whole.journals["label"].done.items():
        assert np.abs(world.journals["label"].done[number] - scores).max() <= 2.0**-9
    counts = Counter(int(row) for charge in world.charges for row in charge.rows)
    assert set(counts.values()) == {1}
    assert sorted(counts) == list(range(30, ROWS))
    seen: dict[tuple[int, int], bytes] = {}
    for heard in world.heard:
        if isinstance(heard.message, LevelNumbers | Scores):
            key = heard.message.step, getattr(heard.message, "level", -1)
            assert seen.setdefault(key, heard.message.values) == heard.message.values
    assert len(seen) == 4 * TERMS.depth + 2


def test_a_run_that_is_cut_at_any_message_goes_on_to_the_same_trees(whole: World) -> None:
    """At seven places, each cut in a run of its own; now and then a second cut in the second attempt."""
    for cut in range(1, whole.messages, whole.messages // 6):
        world = World("ab", 1, "b")
        with pytest.raises(Cut):
            world.attempt_once(cut)
        if cut % 2:
            with suppress(Cut):
                world.attempt_once(29)
        world.attempt_once()
        check(world, whole)


@pytest.mark.parametrize("kind", ["trees.numbers", "source.open", "source.ready"])
def test_a_cut_about_an_opening_opens_the_recorded_share(kind: str, whole: World) -> None:
    at = [n for n, heard in enumerate(whole.heard) if heard.kind == kind]
    for cut in (at[0], at[1] + 1, at[-1]):
        world = World("ab", 1, "b")
        with pytest.raises(Cut):
            world.attempt_once(cut)
        world.attempt_once()
        check(world, whole)


def test_a_label_party_that_wants_opened_numbers_made_anew_is_refused(whole: World) -> None:
    """It hides its records of a tree's levels, so that sums would open once more under other rounding."""
    at = [n for n, heard in enumerate(whole.heard) if heard.kind == "trees.numbers"]
    world = World("ab", 1, "b")
    with pytest.raises(Cut):
        world.attempt_once(at[1] + 1)
    world.journals["label"].numbers.clear()
    with pytest.raises(RemoteProtocolError, match="label: goes on at level 0 of step 0, where the anchor has records"):
        world.attempt_once()


HOSTILE: list[tuple[dict[str, Any], str]] = [
    ({"rows": b"\x00" * 7}, "row ids"),
    ({"rows": np.array([1, 1], dtype="<u4").tobytes()}, "repeat"),
    ({"rows": np.array([ROWS], dtype="<u4").tobytes()}, "do not exist"),
    ({"rows": np.arange(6, dtype="<u4").tobytes()}, "fewer than two leaves"),
    ({"carried": np.arange(3, dtype="<u4").tobytes()}, "both to fit and to carry"),
    ({"step": 99}, "6 are agreed"),
    ({"tree": 7}, "none of the agreed fit"),
    ({"levels": 1}, "goes on at level 1"),
    ({"begins": False}, "without a fit's rows"),
    ({"again": True}, "none of the agreed fit"),
]


@pytest.mark.parametrize(("change", "words"), HOSTILE)
def test_an_announcement_that_does_not_fit_is_refused_by_name(change: dict[str, Any], words: str) -> None:
    def tamper(sender: str, receiver: str, got: Message) -> Message:
        return replace(got, **change) if isinstance(got, TreeStep) and receiver == "a" else got

    made = Consortium(
        {"a": columns(ROWS, 2, "a")}, columns(ROWS, 0, "own"), TERMS, tamper=tamper, most_steps=len(STEPS)
    )  # fmt: skip
    with pytest.raises(RemoteProtocolError, match=words) as refused:
        made.run(STEPS[:1], LABELS)
    assert refused.value.peer == "label"


def test_an_anchor_ends_a_run_in_which_a_party_was_told_other_rows() -> None:
    def tamper(sender: str, receiver: str, got: Message) -> Message:
        if isinstance(got, TreeStep) and receiver == "b":
            return replace(got, carried=np.arange(60, 70, dtype="<u4").tobytes())
        return got

    made = Consortium({n: columns(ROWS, 2, n) for n in "ab"}, columns(ROWS, 0, "own"), TERMS, tamper=tamper)
    with pytest.raises(RemoteProtocolError, match="announced one thing to the anchor and another to 'b'"):
        made.run(STEPS[:1], LABELS)
