"""The event log: durable, in order, chained; and the progress kept beside it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from parties.control.phase_reports import PartReport
from parties.control.reports import ProgressBody
from parties.coordinator.events import Cancelled, Event, Interrupted, PhaseDone
from parties.coordinator.progress import RunProgress
from parties.coordinator.settings import CoordinatorSettings, load_coordinator_settings
from parties.coordinator.store import GENESIS, LARGEST_PROGRESS, EventLog
from parties.errors import ConfigError, StorageError
from parties.process.database import open_engine
from tests.conformance.test_ledger_store import addresses, postgresql  # noqa: F401 - a fixture

T0 = datetime(2026, 1, 5, 12, 30, 0, 123456, tzinfo=UTC)
EVENTS: tuple[Event, ...] = (
    Cancelled("a" * 64, T0, "admin", "naïve “why” 😀"),
    PhaseDone("b" * 64, T0, "sat", "train", 1, {"seconds": 0.1, "rows": 3, "points": [{"period": "2020Q1"}]}),
    Interrupted("a" * 64, T0, "restart"),
    Cancelled("b" * 64, T0, "sat", ""),
)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with addresses(request.param, request) as fresh:
        yield fresh()


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'coordinator.db'}"


def written(url: str) -> EventLog:
    log = EventLog(open_engine(url))
    for event in EVENTS:
        log.append(event)
    return log


def test_what_is_appended_is_read_again_in_order(url: str) -> None:
    log = written(url)
    log.close()
    again = EventLog(open_engine(url))
    entries = list(again.read())
    assert [entry.event for entry in entries] == list(EVENTS)
    assert [entry.sequence for entry in entries] == [1, 2, 3, 4]
    assert [entry.event for entry in again.read(run_id="a" * 64)] == [EVENTS[0], EVENTS[2]]
    assert [entry.sequence for entry in again.read(after=1, limit=2)] == [2, 3]
    more = again.append(EVENTS[0])
    assert more.sequence == 5
    assert [entry.hash for entry in again.read()] == [*(e.hash for e in entries), more.hash]
    assert len({GENESIS, *(entry.hash for entry in again.read())}) == 6
    again.close()


@pytest.mark.parametrize(
    ("change", "first"),
    [
        ("UPDATE run_events SET body = replace(body, 'restart', 'reboot') WHERE sequence = 3", 3),
        ("UPDATE run_events SET body = 'null' WHERE sequence = 2", 2),
        ("UPDATE run_events SET body = '{' WHERE sequence = 2", None),
        ("UPDATE run_events SET run_id = 'x' WHERE sequence = 4", 4),
        ("UPDATE run_events SET hash = 'x' WHERE sequence = 1", 1),
        ("DELETE FROM run_events WHERE sequence = 2", 3),
        ("DELETE FROM run_events WHERE sequence = 1", 2),
        ("UPDATE run_events SET sequence = sequence + 10 WHERE sequence = 4", 14),
    ],
)
def test_an_altered_log_is_refused(sqlite: str, change: str, first: int | None) -> None:
    written(sqlite).close()
    engine = create_engine(sqlite)
    with engine.begin() as connection:
        connection.execute(text(change))
    engine.dispose()
    words = "cannot be read" if first is None else f"entry {first} does not follow"
    with pytest.raises(StorageError, match=words):
        EventLog(open_engine(sqlite))


def test_sqlite_is_durable(sqlite: str) -> None:
    engine = open_engine(sqlite)
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar_one() == 2
    engine.dispose()


def test_two_writers_cannot_fork_the_log(sqlite: str) -> None:
    first, second = written(sqlite), EventLog(open_engine(sqlite))
    first.append(EVENTS[0])
    with pytest.raises(StorageError, match="cannot be written"):
        second.append(EVENTS[1])
    first.close()
    second.close()
    assert len(list(EventLog(open_engine(sqlite)).read())) == 5


@pytest.mark.parametrize("bad", ["mysql://x@y/z", "nonsense", "sqlite:////nowhere/at/all.db"])
def test_bad_databases_are_named(bad: str) -> None:
    with pytest.raises((ConfigError, StorageError), match=r"event log"):
        EventLog(open_engine(bad))


def test_settings_name_their_fault(tmp_path: Path) -> None:
    assert load_coordinator_settings(tmp_path) == CoordinatorSettings()
    for content, words in (("listen = 3", "listen"), ("colour = 'red'", "colour"), ("= 1", "not valid TOML")):
        (tmp_path / "coordinator.toml").write_text(content)
        with pytest.raises(ConfigError, match=words):
            load_coordinator_settings(tmp_path)


def body(done: int, **more: object) -> ProgressBody:
    return ProgressBody.model_validate({"phase": "train", "attempt": 1, "done": done, "total": 1000, **more})


def test_progress_knows_its_speed_and_survives_the_database(sqlite: str) -> None:
    progress = RunProgress("bank", ("2020Q1", "2020Q2"))
    for second in range(30):
        progress.heard("bank", body(second * 20, metrics={"period": float(second % 2), "loss": 0.5}), T0, float(second))
    (view,) = progress.of_phase("train")
    assert view.per_second == pytest.approx(20.0)
    assert view.eta_seconds == pytest.approx((1000 - 580) / 20.0)
    assert view.fraction == 0.58
    assert [(p.period, p.loss) for p in progress.series()] == [("2020Q1", 0.5), ("2020Q2", 0.5)]

    progress.heard("bank", body(10), T0, 31.0)
    assert progress.of_phase("train")[0].per_second is None, "a phase that begins anew has no speed yet"
    progress.closed("bank", "train", PartReport(peak_rss_mb=12.5), T0 + timedelta(seconds=1))
    assert progress.of_phase("train")[0].fraction == 1.0

    log = EventLog(open_engine(sqlite))
    log.save_progress("a" * 64, {"old": True})
    log.save_progress("a" * 64, progress.to_json())
    log.save_progress("a" * 64, {"too long": "x" * LARGEST_PROGRESS})
    restored = RunProgress("bank", ("2020Q1", "2020Q2"))
    restored.restore(log.load_progress("a" * 64))
    assert restored.to_json() == progress.to_json()
    assert restored.memory() == {"bank": 12.5}
    assert log.load_progress("b" * 64) == {}
    log.close()


def test_only_the_label_party_writes_the_series_and_only_for_agreed_periods() -> None:
    progress = RunProgress("bank", ("2020Q1",))
    point = {"period": "2020Q1", "ic_joint": 0.1}
    progress.heard("sat", body(1, points=[point], metrics={"period": 0.0, "loss": 9.0}), T0, 0.0)
    progress.heard("bank", body(1, points=[{"period": "1999Q9", "ic_joint": 1.0}]), T0, 0.0)
    for wild in (-1.0, 1.0, 1e18):
        progress.heard("bank", body(1, metrics={"period": wild, "loss": 9.0}), T0, 0.0)
    assert progress.series() == ()
    progress.heard("bank", body(2, points=[point]), T0, 0.0)
    assert [p.ic_joint for p in progress.series()] == [0.1]
