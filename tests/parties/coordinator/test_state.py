"""The run's state machine: its path, what it ignores, what it refuses, and that it ends once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from parties.agreement.document import Agreement
from parties.control.phases import PHASES, PhaseName
from parties.coordinator.events import (
    Cancelled,
    Continued,
    CoordinatorDone,
    CoordinatorFailed,
    Event,
    Expired,
    Interrupted,
    PartyBack,
    PartyLost,
    PartyRestarted,
    Paused,
    PhaseDone,
    PhaseFailed,
    PhaseHeld,
    Proposed,
    Rejected,
    Resumed,
    Signed,
    event_from_json,
    event_to_json,
)
from parties.coordinator.held_failures import GRACE_SECONDS, HeldFailures
from parties.coordinator.run import RunState, state_from_json, state_to_json, validate_state
from parties.coordinator.run_actions import (
    Abort,
    Action,
    AskApproval,
    Finish,
    Interrupt,
    ReceiveBundle,
    Release,
    RunMatching,
    Settle,
    StartPhase,
    Stop,
)
from parties.coordinator.state import EventRefused, replay, step
from parties.errors import StorageError
from parties.names import COORDINATOR, NOBODY

NAMES = ("bank", "sat", "card")
T0 = datetime(2026, 1, 5, tzinfo=UTC)


def agreement(
    *, policy: str = "psi", contribution: str = "masked", recipients: tuple[str, ...] = ("sat",)
) -> Agreement:
    return Agreement.model_validate(
        {
            "consortium": "test",
            "purpose": "tests",
            "proposed_at": T0,
            "expires_at": T0 + timedelta(days=1),
            "nonce": "1",
            "coordinator_certificate_sha256": "00" * 32,
            "coordinator_address": "127.0.0.1:1",
            "parties": [
                {
                    "name": name,
                    "role": "label" if name == "bank" else "feature",
                    "address": "127.0.0.1:2",
                    "identity_key": "00" * 32,
                    "certificate_sha256": "00" * 32,
                    "columns": [f"{name}_{i}" for i in range(10)],
                }
                for name in NAMES
            ],
            "label": {"name": "y", "definition": "next return", "party": "bank"},
            "calendar": {
                "frequency": "Q",
                "periods": ["2020Q1"],
                "period_ends": [T0],
                "cutoffs": [T0],
            },
            "alignment": {"policy": policy, "universe_sha256": "00" * 32 if policy == "universe" else ""},
            "openings": {"contribution": contribution},
            "recipients": recipients,
            "code_version": "0",
        }
    )


def proposed(terms: Agreement | None = None) -> Proposed:
    terms = terms or agreement()
    return Proposed(terms.run_id, T0, terms.canonical().decode())


RUN = agreement().run_id


def signed(party: str) -> Signed:
    return Signed(RUN, T0, party, "ab" * 64)


def after(*events: Event, terms: Agreement | None = None) -> tuple[RunState, tuple[Action, ...]]:
    state, actions = step(None, proposed(terms))
    for event in events:
        state, actions = step(state, event)
        validate_state(state)
    return state, actions


def finish(state: RunState, actions: tuple[Action, ...]) -> Iterator[tuple[RunState, tuple[Action, ...]]]:
    """Answer every action as its addressee would, until the run ends."""
    queue = list(actions)
    while queue:
        event: Event
        match queue.pop(0):
            case AskApproval(party):
                event = Signed(state.run, T0, party, "ab" * 64)
            case StartPhase(party, phase, attempt):
                event = PhaseDone(state.run, T0, party, phase, attempt, {"seconds": 1.0})
            case RunMatching(attempt):
                event = CoordinatorDone(state.run, T0, "align", attempt, {"n_common": 40})
            case ReceiveBundle(attempt):
                event = CoordinatorDone(state.run, T0, "export", attempt)
            case Settle(attempt):
                event = CoordinatorDone(state.run, T0, "settle", attempt)
            case _:
                return
        state, new = step(state, event)
        validate_state(state)
        queue.extend(new)
        yield state, new


def test_a_run_goes_through_every_phase() -> None:
    path = list(finish(*after()))
    statuses = list(dict.fromkeys(state.status for state, _ in path))
    assert statuses == ["proposed", "approved", "aligned", "trained", "evaluated", "valued", "exported", "settled"]
    final, actions = path[-1]
    assert actions == (Finish(),)
    assert [span.phase for span in final.spans] == list(final.plan.phases)
    assert all(span.outcome == "done" for span in final.spans)


@pytest.mark.parametrize(
    ("terms", "phase", "expected"),
    [
        (agreement(), "align", {"bank", "sat", "card", COORDINATOR}),
        (agreement(policy="universe"), "align", {"bank", "sat", "card"}),
        (agreement(), "train", {"bank", "sat", "card"}),
        (agreement(), "evaluate", {"bank"}),
        (agreement(), "value", {"bank", "sat", "card"}),
        (agreement(contribution="none"), "value", set()),
        (agreement(), "export", {"bank", "sat"}),
        (agreement(recipients=("card", COORDINATOR)), "export", {"bank", "card", COORDINATOR}),
        (agreement(), "settle", {COORDINATOR}),
    ],
)
def test_who_takes_part(terms: Agreement, phase: PhaseName, expected: set[str]) -> None:
    state, actions = after(terms=terms)
    for reached, new in finish(state, actions):
        if reached.span.phase == phase and reached.phase == phase and new:
            told = {a.party if isinstance(a, StartPhase) else COORDINATOR for a in new}
            assert told == expected
            return
    (skipped,) = [span for span in reached.spans if span.phase == phase]
    assert skipped.outcome == "skipped"
    assert not expected


def test_the_state_and_every_event_survive_json() -> None:
    for state, _ in finish(*after()):
        assert state_from_json(json.loads(json.dumps(state_to_json(state)))) == state
    for event in every_event(RUN):
        assert event_from_json(json.loads(json.dumps(event_to_json(event)))) == event


def every_event(run: str) -> list[Event]:
    return [
        signed("bank"),
        Rejected(run, T0, "sat", "no"),
        PhaseDone(run, T0, "bank", "train", 1, {"rows": 3, "bytes_sent": {"a": 1}}),
        PhaseFailed(run, T0, "bank", "train", 1, "disk full", "sat"),
        PartyLost(run, T0, "card", 31.5),
        PartyBack(run, T0, "card"),
        PartyRestarted(run, T0, "card"),
        CoordinatorDone(run, T0, "settle", 1, {"transactions": ["a"]}),
        CoordinatorFailed(run, T0, "align", 1, "too few"),
        PhaseHeld(run, T0, "bank", "train", 1),
        Paused(run, T0, "sat", "looking into our data"),
        Resumed(run, T0, "admin"),
        Cancelled(run, T0, "admin", "changed my mind"),
        Continued(run, T0, "1" * 64, ("card",)),
        Expired(run, T0),
        Interrupted(run, T0, "restart"),
        proposed(),
    ]


@pytest.mark.parametrize("body", [{}, {"kind": "nonsense"}, {"kind": "signed", "run": "x"}])
def test_a_broken_log_entry_is_a_storage_error(body: dict[str, Any]) -> None:
    with pytest.raises(StorageError, match="restore the log"):
        event_from_json(body)


def test_a_rejection_ends_the_run_with_the_partys_own_words() -> None:
    state, actions = after(signed("bank"), Rejected(RUN, T0, "sat", "column not licensed"))
    assert state.status == "aborted"
    assert state.culprit == "sat"
    assert actions == (Abort("sat rejected the agreement: column not licensed"),)


def training() -> RunState:
    for state, new in finish(*after()):
        if state.phase == "train" and new:
            return state
    raise AssertionError


def test_a_failure_names_who_stopped_and_who_is_held_responsible() -> None:
    state, _ = step(training(), PhaseFailed(RUN, T0, "bank", "train", 1, "sat sent a frame of wrong length", "sat"))
    assert state.reason == "bank stopped in train: sat sent a frame of wrong length"
    assert state.culprit == "sat"
    state, _ = step(training(), PhaseFailed(RUN, T0, "bank", "train", 1, "disk full", "<b>nobody</b>"))
    assert state.culprit == "bank"
    state, _ = step(training(), PhaseFailed(RUN, T0, "bank", "train", 1, "one of several did it", NOBODY))
    assert (state.status, state.culprit) == ("aborted", ""), "neither the several, nor who noticed"


def test_a_lost_party_pauses_a_run_and_its_return_begins_the_phase_anew() -> None:
    before = training()
    state, actions = step(before, PartyLost(RUN, T0, "card", 31.0))
    assert (state.status, state.absent, state.phase) == ("paused", ("card",), "train")
    assert actions == (Interrupt("card has been silent for 31 s during train: check that its node runs"),)
    late = PhaseDone(RUN, T0, "sat", "train", 1, {"rows": 2})
    assert step(state, late) == (state, ()), "a report of the attempt that was given up"
    early = PhaseDone(RUN, T0, "sat", "train", 2, {"rows": 2})
    assert step(state, early) == (state, ()), "nothing is under way while the run waits"
    later = T0 + timedelta(minutes=5)
    again, _ = step(state, PartyLost(RUN, later, "sat", 31.0))
    assert (again.span.attempt, again.span.began_at) == (2, T0)
    again, _ = step(training(), PartyLost(RUN, later, "sat", 31.0))
    assert (again.span.started_at, again.span.began_at) == (later, before.span.started_at)
    state, actions = step(state, PartyLost(RUN, T0, "sat", 31.0))
    assert (state.absent, actions) == (("sat", "card"), ())
    state, actions = step(state, PartyBack(RUN, T0, "card"))
    assert actions == ()
    state, actions = step(state, PartyBack(RUN, T0, "sat"))
    validate_state(state)
    assert actions == tuple(StartPhase(name, "train", 2) for name in NAMES)
    assert state.status == "aligned"

    state, actions = after(PartyLost(RUN, T0, "card", 31.0), signed("bank"), signed("sat"))
    assert (state.status, state.absent, actions) == ("paused", ("card",), ())
    state, actions = step(state, PartyBack(RUN, T0, "card"))
    assert actions == (AskApproval("card"),)
    state, actions = step(state, signed("card"))
    assert state.status == "approved"

    state, actions = after(*map(signed, NAMES[:2]), PartyLost(RUN, T0, "bank", 31.0), signed("card"))
    assert (state.status, actions) == ("paused", ())
    state, actions = step(state, PartyBack(RUN, T0, "bank"))
    assert state.status == "approved"
    assert RunMatching(1) in actions


def test_a_pause_stops_training_behind_a_record_and_only_its_maker_or_the_admin_resumes() -> None:
    state, actions = step(training(), Paused(RUN, T0, "sat", "looking"))
    assert (actions, state.status, state.span.attempt) == ((Stop(),), "aligned", 1), "the step under way goes on"
    assert step(state, Paused(RUN, T0, "sat", "again")) == (state, ())
    state, actions = step(state, PhaseHeld(RUN, T0, "bank", "train", 1))
    validate_state(state)
    assert (state.status, state.halted, state.span.attempt) == ("paused", True, 2)
    assert [type(action) for action in actions] == [Interrupt]
    state, _ = step(state, Paused(RUN, T0, "admin", ""))
    with pytest.raises(EventRefused, match="paused by sat, admin, not by card: they or the admin can resume it"):
        step(state, Resumed(RUN, T0, "card"))
    with pytest.raises(EventRefused, match="stranger has no part"):
        step(state, Paused(RUN, T0, "stranger", ""))
    one, actions = step(state, Resumed(RUN, T0, "sat"))
    validate_state(one)
    assert (actions, one.halted, [hold.by for hold in one.holds]) == ((), True, ["admin"])
    assert step(one, Resumed(RUN, T0, "sat")) == (one, ()), "its word came twice"
    with pytest.raises(EventRefused, match="paused by admin, not by card"):
        step(one, Resumed(RUN, T0, "card"))
    again, _ = step(one, Paused(RUN, T0, "sat", "once more"))
    validate_state(again)
    assert [hold.by for hold in step(again, Resumed(RUN, T0, "sat"))[0].holds] == ["admin"]
    state, actions = step(state, Resumed(RUN, T0, "admin"))
    validate_state(state)
    assert actions == (Release("admin"), *(StartPhase(name, "train", 2) for name in NAMES))
    assert step(state, Resumed(RUN, T0, "admin")) == (state, ())


def test_whatever_restarts_while_a_run_is_paused_it_stays_paused() -> None:
    state = training()
    events: list[Event] = [Paused(RUN, T0, "admin", ""), PhaseHeld(RUN, T0, "sat", "train", 1)]
    for turn in range(30):
        events += [PartyRestarted(RUN, T0, "sat"), PartyBack(RUN, T0, "sat")]
        events += [Interrupted(RUN, T0, "the coordinator restarted"), *(PartyBack(RUN, T0, name) for name in NAMES)]
        if turn < 25:
            events += [Resumed(RUN, T0, "admin"), Paused(RUN, T0, "admin", "")]
            events += [PhaseHeld(RUN, T0, "sat", "train", turn + 2)]
    for event in events:
        state, actions = step(state, event)
        validate_state(state)
        assert isinstance(event, Resumed) or not any(isinstance(action, StartPhase) for action in actions)
    assert (state.status, state.span.attempt) == ("paused", 27), "pauses and restarts while paused are no failures"
    state, actions = step(state, PartyLost(RUN, T0, "card", 31.0))
    state, actions = step(state, Resumed(RUN, T0, "admin"))
    assert (state.status, actions) == ("paused", (Release("admin"),)), "it waits for the party that is away"
    state, actions = step(state, PartyBack(RUN, T0, "card"))
    assert actions == tuple(StartPhase(name, "train", 27) for name in NAMES)


def test_a_resumption_before_the_stop_begins_training_anew_from_the_records() -> None:
    state, _ = step(training(), Paused(RUN, T0, "sat", ""))
    state, actions = step(state, Resumed(RUN, T0, "sat"))
    assert actions[2:] == tuple(StartPhase(name, "train", 2) for name in NAMES)
    assert step(state, PhaseHeld(RUN, T0, "bank", "train", 1)) == (state, ()), "its word came late"


def test_other_phases_end_and_what_follows_does_not_begin() -> None:
    for phase, after_it in (("approve", "align"), ("align", "train"), ("value", "export"), ("export", "settle")):
        state, todo = after()
        while state.phase != phase:
            state, new = step(state, _answer(state, todo[0]))
            todo = (*todo[1:], *new)
        state, actions = step(state, Paused(RUN, T0, "card", ""))
        assert actions == (Stop(),)
        while todo:
            state, actions = step(state, _answer(state, todo[0]))
            validate_state(state)
            todo = (*todo[1:], *actions)
        assert (state.phase, state.status, state.halted) == (after_it, "paused", True)
        state, actions = step(state, Resumed(RUN, T0, "card"))
        assert len(actions) > 1
    with pytest.raises(EventRefused, match="being settled"):
        step(state, Paused(RUN, T0, "admin", ""))


def test_a_run_that_others_go_on_from_is_closed_with_that_reason() -> None:
    state, _ = step(training(), PartyLost(RUN, T0, "card", 31.0))
    state, actions = step(state, Continued(RUN, T0, "1" * 64, ("card",)))
    validate_state(state)
    assert (state.status, state.culprit) == ("aborted", "card")
    assert actions == (Abort("the others go on without card, as run 111111111111"),)


def test_a_restarted_node_takes_an_approved_run_up_again() -> None:
    assert step(after()[0], PartyRestarted(RUN, T0, "sat"))[1] == ()
    state, actions = step(training(), PartyRestarted(RUN, T0, "sat"))
    assert actions == (Interrupt("sat's node restarted during train"),)
    state, actions = step(state, PartyBack(RUN, T0, "sat"))
    assert actions == tuple(StartPhase(name, "train", 2) for name in NAMES)


def test_a_lost_link_is_tried_again_and_a_fault_is_not() -> None:
    lost = PhaseFailed(RUN, T0, "bank", "train", 1, "sat is gone", "sat", lost=True)
    state, actions = step(training(), lost)
    assert (state.status, state.absent, len(actions)) == ("paused", ("sat",), 1)
    state, actions = step(state, PartyBack(RUN, T0, "sat"))
    assert StartPhase("sat", "train", 2) in actions
    state, actions = step(state, PhaseFailed(RUN, T0, "bank", "train", 2, "the coordinator?", "coordinator", lost=True))
    assert StartPhase("sat", "train", 3) in actions, "nobody is away"
    state, actions = step(state, PhaseFailed(RUN, T0, "sat", "train", 3, "disk full"))
    assert state.reason == "sat stopped in train: disk full"


def test_attempts_come_to_an_end() -> None:
    state = training()
    for attempt in range(1, 20):
        state, _ = step(state, PhaseFailed(RUN, T0, "bank", "train", attempt, "no answer", "coordinator", lost=True))
        assert state.span.attempt == attempt + 1
    state, actions = step(state, PhaseFailed(RUN, T0, "bank", "train", 20, "no answer", "coordinator", lost=True))
    assert state.reason == "bank stopped in train: no answer (the 20th attempt at train)"
    assert actions == (Abort(state.reason),)


def test_a_restarted_coordinator_waits_for_everyone_who_is_needed() -> None:
    state, _ = step(training(), Interrupted(RUN, T0, "the coordinator restarted during train"))
    assert (state.status, state.absent) == ("paused", NAMES)
    for name in NAMES:
        state, actions = step(state, PartyBack(RUN, T0, name))
    assert actions == tuple(StartPhase(name, "train", 2) for name in NAMES)
    asked = after(signed("bank"))[0]
    assert step(asked, Interrupted(RUN, T0, "")) == (asked, ()), "it goes on waiting for signatures"
    settling = next(state for state, _ in finish(*after()) if state.phase == "settle")
    assert step(settling, Interrupted(RUN, T0, "")) == (settling, ())


def test_a_party_no_longer_needed_may_go() -> None:
    for state, new in finish(*after()):
        if state.phase == "export" and new:
            assert step(state, PartyLost(RUN, T0, "card", 99.0)) == (state, ())
            assert step(state, PartyLost(RUN, T0, "sat", 99.0))[0].status == "paused"
            return
    raise AssertionError


def test_expiry_names_who_was_waited_for_and_only_ends_unapproved_runs() -> None:
    state, _ = after(signed("bank"), Expired(RUN, T0))
    assert state.reason == "the agreement expired while waiting for sat, card"
    assert step(training(), Expired(RUN, T0)) == (training(), ())


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (PhaseDone("0" * 64, T0, "bank", "train", 1), "an event of run 000000000000"),
        (PhaseDone(RUN, T0, "stranger", "train", 1), "stranger has no part in run"),
        (PhaseDone(RUN, T0, "sat", "evaluate", 1), "sat reports evaluate attempt 1 while"),
        (PhaseDone(RUN, T0, "sat", "train", 2), "sat reports train attempt 2 while"),
        (CoordinatorDone(RUN, T0, "train", 1), "coordinator has no part in train"),
        (Rejected(RUN, T0, "sat", "late"), "cancel it instead"),
    ],
)
def test_misplaced_events_are_refused_by_name(event: Event, words: str) -> None:
    with pytest.raises(EventRefused, match=words):
        step(training(), event)


def test_before_its_proposal_a_run_is_unknown() -> None:
    with pytest.raises(EventRefused, match="never proposed"):
        step(None, signed("bank"))
    with pytest.raises(EventRefused, match="does not hash"):
        step(None, Proposed("0" * 64, T0, agreement().canonical().decode()))
    with pytest.raises(EventRefused, match="not valid"):
        step(None, Proposed("0" * 64, T0, "{}"))
    with pytest.raises(EventRefused, match="signing it"):
        step(after()[0], PhaseDone(RUN, T0, "bank", "approve", 1))


def test_late_and_repeated_reports_change_nothing() -> None:
    state = training()
    done = PhaseDone(RUN, T0, "sat", "train", 1, {"rows": 1})
    state, _ = step(state, done)
    for late in (
        done,
        PhaseDone(RUN, T0, "sat", "train", 1, {"rows": 2}),
        PhaseDone(RUN, T0, "sat", "align", 1),
        PhaseFailed(RUN, T0, "sat", "align", 1, "late"),
        signed("sat"),
        proposed(),
        PartyBack(RUN, T0, "sat"),
    ):
        assert step(state, late) == (state, ())


PARTY = st.sampled_from([*NAMES, "stranger"])
HOLDER = st.sampled_from([*NAMES, "admin", "stranger"])
PHASE = st.sampled_from(PHASES)
ATTEMPT = st.integers(1, 2)
RUNS = st.sampled_from([RUN, RUN, RUN, RUN, "0" * 64])
NOW = st.just(T0)
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.just(proposed()),
    st.builds(Signed, RUNS, NOW, PARTY, st.just("ab" * 64)),
    st.builds(PhaseDone, RUNS, NOW, PARTY, PHASE, ATTEMPT),
    st.builds(CoordinatorDone, RUNS, NOW, PHASE, ATTEMPT),
    st.builds(PartyBack, RUNS, NOW, PARTY),
    st.builds(Paused, RUNS, NOW, HOLDER, st.just("a while")),
    st.builds(Resumed, RUNS, NOW, HOLDER),
    st.builds(PhaseHeld, RUNS, NOW, PARTY, PHASE, ATTEMPT),
    st.one_of(
        st.builds(Rejected, RUNS, NOW, PARTY, st.just("no")),
        st.builds(PhaseFailed, RUNS, NOW, PARTY, PHASE, ATTEMPT, st.just("broken"), st.just(""), st.booleans()),
        st.builds(CoordinatorFailed, RUNS, NOW, PHASE, ATTEMPT, st.just("broken"), PARTY, st.booleans()),
        st.builds(PartyLost, RUNS, NOW, PARTY, st.just(31.0)),
        st.builds(PartyRestarted, RUNS, NOW, PARTY),
        st.builds(Cancelled, RUNS, NOW, st.just("admin"), st.just("stop")),
        st.builds(Continued, RUNS, NOW, st.just("1" * 64), st.just(("card",))),
        st.builds(Expired, RUNS, NOW),
        st.builds(Interrupted, RUNS, NOW, st.just("")),
    ),
)


@settings(max_examples=150, deadline=None)
@given(noise=st.lists(st.tuples(EVENTS, st.integers(0, 4)), max_size=40))
@example(noise=[(Paused(RUN, T0, "sat", ""), 0), (Paused(RUN, T0, "card", ""), 0), (Resumed(RUN, T0, "sat"), 0)])
def test_whatever_arrives_the_run_stays_legal_and_ends_at_most_once(noise: list[tuple[Event, int]]) -> None:
    """Random events among honest progress: legal after each, replay agrees, one end, nothing after it."""
    log: list[Event] = [proposed()]
    state, pending = step(None, log[0])
    ends = 0
    todo = list(pending)
    for event, honest in noise:
        batch: list[Event] = [event]
        batch.extend(_answer(state, todo.pop(0)) for _ in range(min(honest, len(todo))))
        for one in batch:
            before = state
            try:
                state, actions = step(state, one)
            except EventRefused:
                assert state is before
                continue
            validate_state(state)
            if before.ended:
                assert (state, actions) == (before, ())
            if state == before:
                assert actions == ()
            else:
                log.append(one)
            ends += sum(isinstance(a, Abort | Finish) for a in actions)
            todo.extend(a for a in actions if not isinstance(a, Abort | Finish | Interrupt | Stop | Release))
            assert step(state, one) == (state, ()) or isinstance(one, Rejected)
    assert ends == int(state.ended)
    assert replay(log) == state
    assert replay(event_from_json(json.loads(json.dumps(event_to_json(e)))) for e in log) == state


def _answer(state: RunState, action: Action) -> Event:
    if isinstance(action, AskApproval):
        return Signed(RUN, T0, action.party, "ab" * 64)
    if isinstance(action, StartPhase):
        return PhaseDone(RUN, T0, action.party, action.phase, action.attempt)
    assert not isinstance(action, Abort | Finish | Interrupt | Stop | Release)
    phase: PhaseName = {RunMatching: "align", ReceiveBundle: "export", Settle: "settle"}[type(action)]  # type: ignore[assignment]
    return CoordinatorDone(RUN, T0, phase, action.attempt)


def test_blame_waits_for_the_blamed_and_then_follows_the_chain() -> None:
    def failed(party: str, peer: str, run: str = RUN) -> PhaseFailed:
        return PhaseFailed(run, T0, party, "train", 1, "why", peer)

    blames = HeldFailures()
    blames.hold(failed("bank", "sat"), 10.0)
    blames.hold(failed("sat", "card"), 11.0)
    blames.hold(failed("bank", "sat", "0" * 64), 12.0)
    assert blames.due(10.0 + GRACE_SECONDS - 0.01) == []
    for _ in range(2):
        assert blames.due(10.0 + GRACE_SECONDS) == [failed("sat", "card")], "due until it is taken in"
    blames.forget(RUN)
    assert blames.due(12.0 + GRACE_SECONDS) == [failed("bank", "sat", "0" * 64)]
    blames.hold(failed("bank", "sat"), 20.0)
    blames.forget(RUN)
    blames.forget("0" * 64)
    assert blames.due(99.0) == []
