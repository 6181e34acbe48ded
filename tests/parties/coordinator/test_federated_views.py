"""The rounds of a federated run as the coordinator counts and shows them, while they go on and afterwards."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from parties.agreement.federated_terms import federated_rounds, valuation_plan
from parties.calls.run_parts import FederatedView, RoundsView
from parties.coordinator.events import CoordinatorDone, Event, PartyLost, PhaseDone, Proposed, Signed
from parties.coordinator.federated_views import federated_view, group_views
from parties.coordinator.known_run import KnownRun
from parties.coordinator.round_record import RoundRecord
from parties.coordinator.run_book import RunBook
from parties.coordinator.state import replay, step
from parties.coordinator.store import EventLog
from parties.names import COORDINATOR
from parties.process.database import open_engine
from parties.terminal.rounds import privacy_spent
from psi.flow import Flow, PeerLost, Progress
from tests.parties.agreement.test_federated_terms import federated
from tests.parties.agreement.test_group_terms import signed as group_signed
from tests.vfl.federated.rig import Fixed, play, secret
from vfl.federated.messages import SumPart
from vfl.federated.privacy import spent_in
from vfl.federated.rounds import Round, aggregate, take_part
from vfl.terms import FederatedModel

T0 = datetime(2026, 1, 5, tzinfo=UTC)
TERMS = federated(rounds=4, noise=2.0, weights="equal")
RUN, MEMBERS = TERMS.run_id, ("l", "a", "b", "c")


def watched(flow: Flow[tuple[Round, ...]], seen: list[Progress]) -> Flow[tuple[Round, ...]]:
    """The flow, and what it says of its progress."""
    resume = partial(flow.send, None)
    while True:
        try:
            effect = resume()
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        if isinstance(effect, Progress):
            seen.append(effect)
        try:
            resume = partial(flow.send, (yield effect))
        except PeerLost as error:
            resume = partial(flow.throw, error)


def told() -> list[Progress]:
    """What a coordinator says of four rounds, in the third of which a member is lost."""
    rounds, seen, zero = federated_rounds(TERMS), list[Progress](), np.zeros(federated_rounds(TERMS).numbers)
    flows = {name: take_part(rounds, name, Fixed(zero), zero, secret(name)) for name in MEMBERS}
    flows[COORDINATOR] = watched(aggregate(rounds, set()), seen)  # type: ignore[assignment]
    results, _ = play(flows, drops=lambda who, _, said: who == "c" and isinstance(said, SumPart) and said.number == 2)
    assert [len(one.names) for one in results["l"].rounds] == [4, 4, 3, 3]
    return seen


def begun() -> list[Event]:
    return [Proposed(RUN, T0, TERMS.canonical().decode()), *(Signed(RUN, T0, name, "ab" * 64) for name in MEMBERS)]


def shown(known: KnownRun) -> FederatedView:
    view = federated_view(known)
    assert view is not None
    return view


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    return EventLog(open_engine(f"sqlite:///{tmp_path / 'coordinator.db'}"))


def test_who_is_in_each_round_is_shown_as_it_opens_and_outlives_a_restart(log: EventLog) -> None:
    book = RunBook(log)
    for event in begun():
        log.append(event)
        state, _ = step(book.state(RUN), event)
        book.enter(state)
    assert shown(book.known(RUN)).done == 0
    for number, progress in enumerate((one for one in told() if not one.begins), start=1):
        book.watched(RUN, "train", 1, progress, T0, float(number))
        assert shown(book.known(RUN)).done == number
    view = shown(book.known(RUN))
    assert view.stretches == (
        RoundsView(first=1, last=2, members=MEMBERS), RoundsView(first=3, last=4, members=MEMBERS[:3], missed=("c",)),
    )  # fmt: skip
    assert (view.taken, view.dropped) == ({"l": 4, "a": 4, "b": 4, "c": 2}, ())
    lost = PartyLost(RUN, T0, "c", 90.0)
    log.append(lost)
    book.enter(step(book.state(RUN), lost)[0])
    assert shown(book.known(RUN)).dropped == ("c",)
    book.save()
    again = RunBook(log)
    again.restore()
    assert shown(again.known(RUN)) == view.model_copy(update={"dropped": ("c",)})


@pytest.mark.parametrize("noise", [2.0, 0.0])
def test_a_coordinator_that_is_killed_has_counted_every_round_that_may_have_opened(log: EventLog, noise: float) -> None:
    """Nothing is saved but what is written before a round opens: where it costs privacy none is missing."""
    terms = federated(rounds=4, noise=noise, weights="equal")
    events: list[Event] = [
        Proposed(terms.run_id, T0, terms.canonical().decode()),
        *(Signed(terms.run_id, T0, name, "ab" * 64) for name in MEMBERS),
        *(PhaseDone(terms.run_id, T0, name, "train", 1, {}) for name in MEMBERS),
        CoordinatorDone(terms.run_id, T0, "train", 1, {"rounds": [list(MEMBERS)] * 4, "gone": []}),
        PhaseDone(terms.run_id, T0, "l", "evaluate", 1, {}),
    ]
    plan, book = valuation_plan(terms), RunBook(log)
    for event in events:
        log.append(event)
        book.enter(step(book.state(terms.run_id), event)[0])
    assert book.known(terms.run_id).state.phase == "value"
    rounds, seen, zero = plan.training(1), list[Progress](), np.zeros(plan.rounds.numbers)
    flows = {
        name: take_part(rounds, name, Fixed(zero), zero, secret(name)) for name in rounds.members
    }  # fmt: skip
    flows[COORDINATOR] = watched(aggregate(rounds, set()), seen)  # type: ignore[assignment]
    play(flows)
    assert [one.done for one in seen if not one.begins] == [5, 6, 7, 8], "of sixteen in four coalitions"
    assert {one.total for one in seen} == {16}
    # with noise two rounds have opened and the third has begun; without it nothing is written at once
    for one in seen[:5] if noise else seen[:2]:
        book.watched(terms.run_id, "value", 1, one, T0, 1.0)
    again = RunBook(log)
    again.restore()
    view, inside = shown(again.known(terms.run_id)), set(rounds.members)
    assert view.missed != bool(noise)
    assert view.taken == {name: 4 + 3 * (name in inside and bool(noise)) for name in MEMBERS}


def test_rounds_that_began_in_turns_count_once_each() -> None:
    """Of two groups, of which one's round opens while the other's has begun; and of an attempt that was given up."""
    begun = RoundRecord().begins("encode", 1, "ab").begins("encode", 1, "xy")
    assert begun.opened("encode", 1, "ab").taken() == dict.fromkeys("abxy", 1)
    again = begun.opened("encode", 1, "a").begins("encode", 2, "ab")
    assert again.taken() == {"a": 2, "b": 1, "x": 1, "y": 1}
    assert again.taken(but=("encode", 2)) == dict.fromkeys("axy", 1)


def test_a_training_that_is_begun_anew_and_coalitions_spend_too() -> None:
    known = KnownRun.proposed(replay(begun()))  # type: ignore[arg-type]
    for phase, attempt, names in (("train", 1, MEMBERS), ("train", 2, MEMBERS[:3]), ("value", 1, ("l", "b"))):
        known.progress.round_opened(phase, attempt, names)
    view = shown(known)
    assert view.latest == MEMBERS, "of the attempt under way"
    assert view.taken == {"l": 3, "a": 2, "b": 3, "c": 1}


def test_what_the_log_has_of_a_training_stands() -> None:
    state = replay(begun())
    done = CoordinatorDone(RUN, T0, "train", 1, {"rounds": [list(MEMBERS)] * 3 + [list(MEMBERS[:3])], "gone": ["c"]})
    known = KnownRun.proposed(step(state, done)[0])
    for attempt in (1, 1, 2):  # a coordinator that was killed kept two of its rounds; another attempt has its own
        known.progress.round_opened("train", attempt, MEMBERS)
    view = shown(known)
    assert [(one.first, one.last) for one in view.stretches] == [(1, 3), (4, 4)]
    assert view.dropped == ("c",)
    assert view.taken == {"l": 5, "a": 5, "b": 5, "c": 4}, "all of them cost privacy"


def test_without_the_accountant_it_says_so_and_without_noise_that_nothing_is_private(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opacus", None)
    known = KnownRun.proposed(replay(begun()))  # type: ignore[arg-type]
    known.progress.round_opened("train", 1, MEMBERS)
    view = shown(known)
    assert view.epsilon is None
    assert "pip install" in privacy_spent(view)
    assert "nothing is differentially private" in privacy_spent(view.model_copy(update={"noise": 0.0}))


def test_epsilon_is_that_of_the_rounds_that_opened() -> None:
    pytest.importorskip("opacus")
    known = KnownRun.proposed(replay(begun()))  # type: ignore[arg-type]
    assert shown(known).epsilon == 0.0
    for _ in range(3):
        known.progress.round_opened("train", 1, MEMBERS[:3])
    view, model = shown(known), TERMS.model
    assert isinstance(model, FederatedModel)
    assert view.epsilon == spent_in(model, 3)
    assert view.spent["c"] == 0.0
    assert view.agreed_epsilon == spent_in(model, 4 * 5), "the training, and four coalitions'"


def test_rounds_of_a_groups_encoder_are_shown_while_they_go_on_and_from_the_log(log: EventLog) -> None:
    terms, lenders = group_signed(), ("north", "south", "east", "west")
    run, book = terms.run_id, RunBook(log)
    names = ("fund", *lenders)
    events: list[Event] = [Proposed(run, T0, terms.canonical().decode())]
    events += [Signed(run, T0, name, "ab" * 64) for name in names]
    assert not group_views(told_of(book, log, events))
    events = [PhaseDone(run, T0, name, "align", 1, {"n_common": 80, "set_size": 20}) for name in names]
    known = told_of(book, log, [*events, CoordinatorDone(run, T0, "align", 1, {})])
    (view,) = group_views(known)
    assert (view.group, view.done, view.rounds, view.threshold) == ("lenders", 0, 10, 3)
    for number, took in enumerate((lenders, lenders, lenders[:3]), start=1):
        progress = Progress(number, 10, unit="rounds", names=took)
        book.watched(run, "encode", 1, progress, T0, float(number))
    (view,) = group_views(known)
    assert view.stretches == (
        RoundsView(first=1, last=2, members=lenders),
        RoundsView(first=3, last=3, members=lenders[:3], missed=("west",)),
    )
    assert (view.taken, view.dropped) == (dict.fromkeys(lenders, 3) | {"west": 2}, ())
    through = {"lenders": {"rounds": [list(lenders)] * 10, "gone": []}}
    (view,) = group_views(told_of(book, log, [CoordinatorDone(run, T0, "encode", 1, through)]))
    assert (view.done, view.taken["west"]) == (10, 10)


def told_of(book: RunBook, log: EventLog, events: list[Event]) -> KnownRun:
    """The run after these events."""
    for event in events:
        log.append(event)
        state, _ = step(book.state(event.run), event)
        book.enter(state)
    return book.known(events[-1].run)
