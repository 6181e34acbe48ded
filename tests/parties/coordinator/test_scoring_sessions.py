"""Scoring sessions at the coordinator: which phases they have, which it takes in, and what it says of them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from parties.agreement.document import Agreement
from parties.agreement.text import agreement_lines
from parties.coordinator.daily_schedule import DailySchedule
from parties.coordinator.daily_views import daily_view
from parties.coordinator.events import Cancelled, CoordinatorDone, PhaseDone, Proposed, Signed
from parties.coordinator.run import RunState, validate_state
from parties.coordinator.run_book import RunBook
from parties.coordinator.state import step
from parties.coordinator.store import EventLog
from parties.data.calendar import calendar_terms
from parties.errors import AgreementError, ConfigError
from parties.names import COORDINATOR
from parties.process.database import open_engine
from parties.proposing.scoring import scoring_of, successor_terms
from parties.settings.consortium import CalendarSettings
from tests.parties.agreement.test_model_terms import agreement

NOW = datetime(2026, 9, 1, tzinfo=UTC)
SEALED = {"kind": "sealed", "anchor": "b"}
CALENDAR = calendar_terms(CalendarSettings(frequency="Q", first=date(2024, 3, 1), last=date(2025, 6, 1)))
TRAINED = Agreement.model_validate(
    agreement(SEALED, contribution="none").model_dump()
    | {"daily": {"scores": 2, "expires": date(2027, 1, 1)}, "calendar": CALENDAR, "expires_at": NOW}
)
NODES: dict[str, Any] = {party.name: party for party in TRAINED.parties} | {
    COORDINATOR: SimpleNamespace(address="h:2", certificate_sha256="00", identity_key="")
}


def session(period: str = "2025Q3", nodes: dict[str, Any] = NODES) -> Agreement:
    return scoring_of(TRAINED, nodes, NOW, timedelta(hours=1), period)


def begun(one: Agreement) -> RunState:
    state, _ = step(None, Proposed(one.run_id, NOW, one.canonical().decode(), "admin"))
    return state


def settled(one: Agreement) -> RunState:
    """The run as it is when everybody has done all of it."""
    state = begun(one)
    for name in state.plan.parties:
        state, _ = step(state, Signed(one.run_id, NOW, name, "signature"))
    while (phase := state.phase) is not None:
        for name in state.plan.participants(phase):
            done = (
                CoordinatorDone(one.run_id, NOW, phase, 1, {})
                if name == COORDINATOR
                else PhaseDone(one.run_id, NOW, name, phase, 1, {"rows": 40} if name == state.plan.label else {})
            )
            state, _ = step(state, done)
        validate_state(state)
    return state


@pytest.fixture
def book(tmp_path: Path) -> RunBook:
    return RunBook(EventLog(open_engine(f"sqlite:///{tmp_path / 'c.db'}")))


def test_a_session_trains_judges_and_exports_nothing() -> None:
    state = settled(session())
    assert state.status == "settled"
    assert [span.phase for span in state.spans if span.outcome == "done"] == ["approve", "train", "settle"]
    served = session().model_copy(update={"recipients": ("a", COORDINATOR)})
    ran = [span.phase for span in settled(served).spans if span.outcome == "done"]
    assert ran == ["approve", "train", "export", "settle"], "the coordinator takes its scores in afterwards"
    lines = " ".join(agreement_lines(session()))
    assert "Scores 2025Q3 under the weights" in lines
    assert "nobody learns any entity" in lines
    trained = " ".join(agreement_lines(TRAINED))
    assert "Up to 2 later periods may be scored" in trained
    assert "17 bits a row and period. b counts every one and refuses more." in trained


def test_each_period_is_taken_in_once_and_only_of_a_settled_run(book: RunBook) -> None:
    with pytest.raises(ConfigError, match="there is no run"):
        book.check_earlier(session())
    book.enter(begun(TRAINED))
    with pytest.raises(AgreementError, match="is not settled: its weights score nothing yet"):
        book.check_earlier(session())
    book.enter(settled(TRAINED))
    book.check_earlier(session())
    first = session()
    book.enter(begun(first))
    with pytest.raises(AgreementError, match=f"2025Q3 is scored by run {first.run_id[:12]} already"):
        book.check_earlier(session())
    book.check_earlier(session("2025Q4"))
    over, _ = step(begun(first), Cancelled(first.run_id, NOW, "admin", "late data"))
    book.enter(over)
    book.check_earlier(session())
    book.enter(settled(session()))
    with pytest.raises(AgreementError, match="nothing opens twice"):
        book.check_earlier(session())


def test_what_is_said_of_daily_use(book: RunBook) -> None:
    known = book.enter(begun(TRAINED))
    roster: Any = NODES
    assert daily_view(known, [known], roster, NOW) is None
    known = book.enter(settled(TRAINED))
    done = book.enter(settled(session()))
    under_way = book.enter(begun(session("2025Q4")))
    found = daily_view(known, [known, done], roster, NOW)
    assert found is not None
    assert (found.scored, found.last_at, found.next_period, found.ended) == (("2025Q3",), NOW, "2025Q4", "")
    assert [(one.period, one.status, one.rows, one.bits) for one in found.sessions] == [("2025Q3", "settled", 40, 681)]
    assert (found.rows, found.bits, found.gone, found.retrain) == (40, 40 * 17 + 1, (), "advice")
    full = daily_view(known, [known, done, under_way], roster, NOW)
    assert full is not None
    assert (full.scored, full.taken, full.next_due) == (("2025Q3",), ("2025Q3", "2025Q4"), None)
    assert full.ended == "all 2 agreed periods were scored"
    gone = {name: node for name, node in NODES.items() if name != "c"}
    lost = daily_view(known, [known], gone, NOW)  # type: ignore[arg-type]
    assert lost is not None
    assert "c has left and took its share of the weights" in lost.ended
    assert lost.gone == ("c",)
    with pytest.raises(ConfigError, match="c has left and took its share"):
        session(nodes=gone)


def test_a_schedule_proposes_what_is_due_once_and_again_an_hour_later(book: RunBook) -> None:
    """At the coordinator, where it is agreed; a refusal is no reason to ask again at once, nor never."""
    daily = {"scores": 2, "expires": date(2027, 1, 1), "schedule": "due"}
    trained = Agreement.model_validate(TRAINED.model_dump() | {"daily": daily})
    assert trained.run_id != TRAINED.run_id, "a schedule is agreed like any other term"
    assert "schedule" not in TRAINED.model_dump(mode="json")["daily"], "runs without one keep their names"
    assert "proposes each of these periods by itself" in " ".join(agreement_lines(trained))
    asked: list[Agreement] = []
    clock = {"now": NOW}

    def propose(one: Agreement, by: str) -> None:
        assert by == COORDINATOR
        asked.append(one)
        state, _ = step(None, Proposed(one.run_id, clock["now"], one.canonical().decode(), by))
        book.enter(state)

    engine: Any = SimpleNamespace(all_runs=book.newest_first, propose=propose)
    schedule = DailySchedule(engine, NODES, lambda: clock["now"])  # type: ignore[arg-type]
    book.enter(begun(trained))
    schedule.look()
    assert not asked, "it is not settled yet"
    book.enter(settled(trained))
    book.enter(settled(TRAINED))
    schedule.look()
    schedule.look()
    assert [one.scores.first for one in asked if one.scores] == ["2025Q3"], "one session at a time"
    late, _ = step(book.known(asked[0].run_id).state, Cancelled(asked[0].run_id, clock["now"], "a", "late data"))
    book.enter(late)
    schedule.look()
    assert [one.scores.first for one in asked if one.scores] == ["2025Q3", "2025Q4"], "late data stops no other period"
    over, _ = step(book.known(asked[1].run_id).state, Cancelled(asked[1].run_id, clock["now"], "a", "late data"))
    book.enter(over)
    schedule.look()
    assert len(asked) == 2
    clock["now"] += timedelta(minutes=61)
    schedule.look()
    assert asked[2].scores is not None
    assert asked[2].scores.first == "2025Q3"
    clock["now"] = datetime(2027, 1, 2, tzinfo=UTC)
    schedule.look()
    assert len(asked) == 3, "nothing after the agreed day"


def test_daily_use_is_of_sealed_networks_over_a_calendar() -> None:
    for model in ({"kind": "ridge"}, {"kind": "trees", "anchor": "b"}):
        body = agreement(model, contribution="none", limit_per_row=2).model_dump()
        with pytest.raises(ValidationError, match=r'daily use is of model\.kind = "sealed" over a calendar'):
            Agreement.model_validate(body | {"daily": {"scores": 2, "expires": date(2027, 1, 1)}})
    with pytest.raises(ValidationError, match="is not after the day of the proposal"):
        Agreement.model_validate(TRAINED.model_dump() | {"daily": {"scores": 2, "expires": date(2025, 1, 1)}})
    terms = successor_terms(TRAINED, NOW)
    assert terms["calendar"]["last"] == "2026-06-30"
    assert terms["daily"]["expires"] == (NOW.date() + (date(2027, 1, 1) - TRAINED.proposed_at.date())).isoformat()
