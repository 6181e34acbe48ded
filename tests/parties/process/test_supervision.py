"""Supervised threads: what one of them did not expect is survived, handed over, or ends the process loudly."""

from __future__ import annotations

import ast
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import pytest

from parties.process.supervision import EXIT_CODE, start_loop, start_task

ROOT = Path(__file__).resolve().parents[3]
STARTERS = {"parties/process/supervision.py", "parties/transport/threads.py"}
"""Where threads may be made: here, and where a future hands every exception to whoever waits for it."""


def test_a_loop_goes_on_after_what_it_did_not_expect(caplog: pytest.LogCaptureFixture) -> None:
    stopped, again = threading.Event(), threading.Event()
    failures: list[Exception] = []
    outcomes = iter([RuntimeError("one"), KeyError("two")])

    def step() -> None:
        for error in outcomes:
            raise error
        again.set()

    thread = start_loop(step, "beat", stopped, every=0.01, trouble=0.01, failed=failures.append)
    assert again.wait(10)
    assert thread.is_alive()
    stopped.set()
    thread.join(10)
    assert not thread.is_alive()
    assert [type(error) for error in failures] == [RuntimeError, KeyError]
    assert sum("'beat' met what it did not expect" in record.getMessage() for record in caplog.records) == 2


def test_a_step_may_end_its_loop() -> None:
    steps: list[int] = []

    def step() -> bool:
        steps.append(len(steps))
        return len(steps) < 3

    start_loop(step, "three", threading.Event(), every=lambda: 0.001).join(10)
    assert steps == [0, 1, 2]


def test_a_task_hands_its_failure_over(caplog: pytest.LogCaptureFixture) -> None:
    def work() -> None:
        raise RuntimeError("injected")

    failures: list[Exception] = []
    start_task(work, "part", failures.append).join(10)
    assert [str(error) for error in failures] == ["injected"]
    assert any("'part' met what it did not expect" in record.getMessage() for record in caplog.records)


def test_a_thread_that_has_ended_holds_nothing_of_its_work() -> None:
    class Panel:
        def work(self) -> None:
            pass

    panel = Panel()
    seen = weakref.ref(panel)
    thread = start_task(panel.work, "part", print)
    thread.join(10)
    del panel
    assert seen() is None


@pytest.mark.parametrize("work", ["raise SystemExit(3)", "raise RuntimeError('one')"])
def test_what_nobody_can_take_ends_the_process_loudly(work: str) -> None:
    program = f"""
import threading
from parties.process.supervision import start_task
def work():
    {work}
def failed(error):
    raise KeyError("two")
start_task(work, "part", failed)
threading.Event().wait(30)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == EXIT_CODE
    assert "thread 'part' failed and could not go on: this process ends" in ended.stderr
    assert "Error" in ended.stderr or "SystemExit" in ended.stderr


def test_every_thread_has_a_supervisor() -> None:
    """No module makes a thread of its own, under whatever name."""
    found = set()
    for package in ("psi", "vfl", "parties", "ui"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                made = [node.func] if isinstance(node, ast.Call) else getattr(node, "bases", [])
                names = {one.attr if isinstance(one, ast.Attribute) else getattr(one, "id", "") for one in made}
                if names & {"Thread", "Timer", "start_new_thread", "ThreadPoolExecutor"}:
                    found.add(path.relative_to(ROOT).as_posix())
    assert found == STARTERS
