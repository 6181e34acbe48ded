"""A federated run at the coordinator: it adds up, goes on without a lost member, and waits below the threshold."""

from __future__ import annotations

from datetime import UTC, datetime

from parties.coordinator.events import (
    CoordinatorDone,
    Event,
    PartyBack,
    PartyLost,
    PartyRestarted,
    PhaseDone,
    Proposed,
    Signed,
)
from parties.coordinator.run import RunState, state_from_json, state_to_json, validate_state
from parties.coordinator.run_actions import Action, AddUp, Interrupt, StartPhase
from parties.coordinator.state import step
from parties.names import COORDINATOR
from tests.parties.agreement.test_federated_terms import federated

T0 = datetime(2026, 1, 5, tzinfo=UTC)
TERMS = federated()
RUN, MEMBERS = TERMS.run_id, ("l", "a", "b", "c")


def after(*events: Event) -> tuple[RunState, tuple[Action, ...]]:
    """A run whose members have all signed, and then these."""
    signed = [Signed(RUN, T0, name, "ab" * 64) for name in MEMBERS]
    state, actions = step(None, Proposed(RUN, T0, TERMS.canonical().decode()))
    for event in (*signed, *events):
        state, actions = step(state, event)
        validate_state(state)
    return state, actions


def trained(*names: str) -> list[Event]:
    done: list[Event] = [PhaseDone(RUN, T0, name, "train", 1, {"seconds": 1.0}) for name in names]
    return [*done, CoordinatorDone(RUN, T0, "train", 1, {})]


def test_all_members_train_and_the_coordinator_adds_up() -> None:
    state, actions = after()
    assert state.phase == "train"
    assert actions == (*(StartPhase(name, "train", 1) for name in MEMBERS), AddUp("train", 1, ()))


def test_a_lost_member_costs_the_others_nothing() -> None:
    for lost in (PartyLost(RUN, T0, "c", 90.0), PartyRestarted(RUN, T0, "c")):
        state, actions = after(lost)
        assert (state.dropped, state.absent, state.span.attempt, actions) == (("c",), (), 1, ())
        state, actions = after(lost, *trained("l", "a", "b"))
        assert (state.phase, actions) == ("evaluate", (StartPhase("l", "evaluate", 1),))
        state, actions = after(
            lost, *trained("l", "a", "b"), PhaseDone(RUN, T0, "l", "evaluate", 1, {}), PartyBack(RUN, T0, "c")
        )
        assert actions == () or AddUp("value", 1, ("c",)) in actions
        assert state.team("value") == ("l", "a", "b", COORDINATOR)
        assert state_from_json(state_to_json(state)) == state


def test_the_training_ends_when_the_last_that_is_left_is_done() -> None:
    state, actions = after(*trained("l", "a", "b"), PartyLost(RUN, T0, "c", 90.0))
    assert (state.phase, state.dropped) == ("evaluate", ("c",))
    assert actions == (StartPhase("l", "evaluate", 1),)


def test_what_a_dropped_member_still_says_changes_nothing() -> None:
    before, _ = after(PartyLost(RUN, T0, "c", 90.0))
    assert step(before, PhaseDone(RUN, T0, "c", "train", 1, {})) == (before, ())


def test_below_the_threshold_and_without_the_lead_it_waits() -> None:
    state, actions = after(PartyLost(RUN, T0, "c", 90.0), PartyLost(RUN, T0, "b", 90.0))
    assert (state.status, state.absent, state.dropped) == ("paused", ("b",), ("c",))
    assert isinstance(actions[0], Interrupt)
    state, _ = after(PartyLost(RUN, T0, "l", 90.0))
    assert (state.status, state.absent, state.dropped) == ("paused", ("l",), ())
    state, actions = after(PartyLost(RUN, T0, "l", 90.0), PartyBack(RUN, T0, "l"))
    assert AddUp("train", 2, ()) in actions


def test_after_training_a_lost_member_is_waited_for() -> None:
    evaluated = PhaseDone(RUN, T0, "l", "evaluate", 1, {})
    state, _ = after(*trained(*MEMBERS), evaluated, PartyLost(RUN, T0, "c", 90.0))
    assert (state.phase, state.status, state.absent) == ("value", "paused", ("c",))
