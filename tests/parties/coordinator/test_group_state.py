"""A run with a group at the coordinator: it adds up, and waits for a lost member only when the others are done."""

from __future__ import annotations

from datetime import UTC, datetime

from parties.coordinator.commands import pending
from parties.coordinator.events import (
    CoordinatorDone,
    Event,
    PartyBack,
    PartyLost,
    PartyRestarted,
    PhaseDone,
    PhaseFailed,
    Proposed,
    Signed,
)
from parties.coordinator.run import RunState, state_from_json, state_to_json, validate_state
from parties.coordinator.run_actions import Action, AddUp, Interrupt, StartPhase
from parties.coordinator.state import step
from tests.parties.agreement.test_group_terms import signed

T0 = datetime(2026, 1, 5, tzinfo=UTC)
TERMS = signed()
RUN, MEMBERS = TERMS.run_id, ("north", "south", "east", "west")
BEGUN = (*(StartPhase(name, "encode", 2) for name in MEMBERS), AddUp("encode", 2, ()))


def after(*events: Event) -> tuple[RunState, tuple[Action, ...]]:
    """A run that is aligned, and then these."""
    everyone = ("fund", *MEMBERS)
    signatures = [Signed(RUN, T0, name, "ab" * 64) for name in everyone]
    aligned = [PhaseDone(RUN, T0, name, "align", 1, {"n_common": 80, "set_size": 20}) for name in everyone]
    state, actions = step(None, Proposed(RUN, T0, TERMS.canonical().decode()))
    for event in (*signatures, *aligned, CoordinatorDone(RUN, T0, "align", 1, {}), *events):
        state, actions = step(state, event)
        validate_state(state)
    return state, actions


def encoded(*names: str, attempt: int = 1) -> list[Event]:
    done: list[Event] = [PhaseDone(RUN, T0, name, "encode", attempt, {}) for name in names]
    return [*done, CoordinatorDone(RUN, T0, "encode", attempt, {})]


def test_members_train_before_the_model_and_the_label_party_waits() -> None:
    state, actions = after()
    assert (state.phase, state.status) == ("encode", "aligned")
    assert actions == (*(StartPhase(name, "encode", 1) for name in MEMBERS), AddUp("encode", 1, ()))
    state, actions = after(*encoded(*MEMBERS))
    assert (state.phase, state.status) == ("train", "encoded")
    assert actions == tuple(StartPhase(name, "train", 1) for name in ("fund", *MEMBERS))
    assert state_from_json(state_to_json(state)) == state


def test_a_lost_member_ends_nothing_until_the_others_are_done_and_then_is_waited_for() -> None:
    lost = PartyLost(RUN, T0, "west", 90.0)
    state, actions = after(lost)
    assert (state.left, state.absent, state.span.attempt, actions) == (("west",), (), 1, ())
    assert after(lost, lost)[0] == state
    state, actions = after(*encoded(*MEMBERS[:3]), lost)
    assert (state.absent, state.span.attempt, state.status) == (("west",), 2, "paused")
    assert isinstance(actions[0], Interrupt)
    state, actions = after(*encoded(*MEMBERS[:3]), lost, PartyBack(RUN, T0, "west"))
    assert actions == BEGUN
    state, _ = after(*encoded(*MEMBERS[:3]), lost, PartyBack(RUN, T0, "west"), *encoded(*MEMBERS, attempt=2))
    assert state.phase == "train"


def test_who_has_lost_what_it_had_is_taken_in_again() -> None:
    failed = PhaseFailed(RUN, T0, "west", "encode", 1, "the coordinator is gone", lost=True)
    for event in (PartyRestarted(RUN, T0, "west"), failed):
        state, actions = after(event, PartyBack(RUN, T0, "west"))
        assert (state.span.attempt, actions) == (1, ()), "the others train on"
        assert not list(pending(state, "west"))
        state, _ = after(event, *encoded(*MEMBERS[:3]))
        assert (state.span.attempt, state.absent) == (2, ("west",))
        assert after(event, *encoded(*MEMBERS[:3]), PartyBack(RUN, T0, "west"))[1] == BEGUN
    lost, done = PartyLost(RUN, T0, "west", 90.0), PhaseDone(RUN, T0, "west", "encode", 1, {})
    assert after(lost, done, *encoded(*MEMBERS[:3]))[0].phase == "train", "it was only silent"
    state, _ = after(PartyLost(RUN, T0, "fund", 90.0))
    assert state.absent == ("fund",), "who has a part in the model alone is waited for"
