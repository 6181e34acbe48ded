"""A coordinator that meets what it did not expect: its clock goes on, its own parts end in an event, and it says so."""

from __future__ import annotations

import ast
import inspect
import logging
import threading
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from parties.coordinator import service
from parties.coordinator.desk import drafts, factors, trust
from parties.coordinator.engine import Engine
from parties.coordinator.events import CoordinatorFailed
from parties.coordinator.own_phases import FAULT, OwnPhases
from parties.coordinator.service import Coordinator
from parties.errors import StorageError
from tests.parties.coordinator_rig import PARTIES, Consortium, FakeNode, wait_for_status, wait_until

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def consortium(tmp_path: Path) -> Consortium:
    return Consortium(tmp_path)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_TROUBLE_SECONDS", 0.1)


def clock_of(running: Coordinator) -> threading.Thread:
    return running._clock


@pytest.mark.parametrize("error", [RuntimeError("injected"), AssertionError("injected"), StorageError("a full disk")])
def test_the_clock_survives_what_it_did_not_expect_and_says_so(
    error: Exception, consortium: Consortium, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A party that falls silent afterwards is still noticed."""
    broken, ticks = threading.Event(), Engine.tick

    def fails(engine: Engine) -> None:
        if broken.is_set():
            raise error
        ticks(engine)

    monkeypatch.setattr(Engine, "tick", fails)
    with consortium.coordinator() as running, consortium.client() as client, caplog.at_level(logging.ERROR):
        broken.set()
        wait_until(lambda: running.trouble != "", "the trouble is told")
        expected = "a full disk" if isinstance(error, StorageError) else "its clock met what it did not expect"
        assert expected in running.trouble
        broken.clear()
        wait_until(lambda: running.trouble == "", "it is over")
        assert clock_of(running).is_alive()
        with FakeNode(consortium, "bank"), FakeNode(consortium, "sat"):
            with FakeNode(consortium, "card", lambda node, command: command.kind == "start"):
                run_id = client.propose(consortium.agreement(silence_seconds=1))
                wait_until(lambda: client.run(run_id).phase == "align", "align under way")
            assert wait_for_status(client, run_id, "paused").waiting_for == ("card",)
    assert any(record.levelno >= logging.ERROR for record in caplog.records)


def test_one_runs_fault_stops_no_other_runs_clock(consortium: Consortium, monkeypatch: pytest.MonkeyPatch) -> None:
    from parties.coordinator import engine as engine_module

    due, marked = engine_module.due, []

    def breaks(known: Any, *rest: Any) -> Any:
        if known.state.run in marked:
            yield CoordinatorFailed("ff" * 32, known.state.proposed_at, "align", 1, "of no run")  # refused
            yield mock.Mock(run=known.state.run)  # no event at all
        yield from due(known, *rest)

    monkeypatch.setattr(engine_module, "due", breaks)
    with consortium.coordinator() as running, consortium.client() as client, FakeNode(consortium, "bank"):
        marked.append(client.propose(consortium.agreement("1")))
        second = client.propose(consortium.agreement("2", silence_seconds=1))
        wait_until(lambda: "did not expect" in running.trouble, "the trouble is told")
        wait_until(lambda: set(client.run(second).waiting_for) == {"sat", "card"}, "who is away from the other run")
        assert clock_of(running).is_alive()


def test_a_part_whose_event_cannot_be_taken_is_tried_again_and_ends(
    consortium: Consortium, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The matching breaks in a way nobody thought of, and so does taking its event in: the run ends with a reason."""
    take, broken = Engine.take, [RuntimeError("injected"), StorageError("a full disk")]

    def match(self: OwnPhases, *_: Any) -> Any:
        raise MemoryError("injected")

    def refuses(engine: Engine, event: Any) -> bool:
        if isinstance(event, CoordinatorFailed) and broken:
            raise broken.pop()
        return take(engine, event)

    monkeypatch.setattr(OwnPhases, "match", match)
    monkeypatch.setattr(Engine, "take", refuses)
    nodes = [FakeNode(consortium, name, lambda node, command: command.kind == "start") for name in PARTIES]
    with consortium.coordinator(), consortium.client() as client, nodes[0], nodes[1], nodes[2]:
        for nonce in ("1", "2", "3"):
            run = wait_for_status(
                client, client.propose(consortium.agreement(nonce, alignment={"policy": "psi"})), "aborted"
            )
            assert run.reason == f"coordinator stopped in align: {FAULT}"
        assert broken == []


def test_many_runs_leave_no_thread_at_the_coordinator(consortium: Consortium) -> None:
    with consortium.coordinator(), consortium.client() as client:
        nodes = [FakeNode(consortium, name) for name in PARTIES]
        with nodes[0], nodes[1], nodes[2]:
            counts = []
            for number in range(20):
                run_id = client.propose(consortium.agreement(str(number)))
                assert wait_for_status(client, run_id, "settled", "aborted").reason == ""
                counts.append(sorted(t.name for t in threading.enumerate() if t.name != "exchange"))
            assert counts[-1] == counts[0]


def test_the_engines_lock_is_the_engines_own() -> None:
    """No module but the engine's own names its lock or its lines: the others ask for snapshots."""
    found = set()
    for path in (ROOT / "parties" / "coordinator").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in ("_lock", "lock", "_lines", "lines"):
                owner = ast.unparse(node.value)
                if owner.endswith("engine"):
                    found.add(path.name)
    assert found == set()
    assert not hasattr(Engine, "lock")
    for module in (drafts, factors, trust):
        assert "engine.lock" not in inspect.getsource(module)
