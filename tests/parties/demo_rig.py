"""Demos as real processes, for tests: started, waited for, and looked into."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from parties.demo.homes import DemoHomes
from parties.demo.processes import environment
from parties.node.home import NodeHome
from parties.settings.toml_text import to_toml

__all__ = ["PATIENCE", "alive", "demo", "let_bits", "logged", "pids_of", "until"]

PATIENCE = 200.0
_PROGRAM = (sys.executable, "-m", "parties.cli")
_SMALL = ("--entities", "60", "--periods", "24", "--parties", "2", "--model", "split")


def _interruptible() -> None:
    """Hear an interrupt even where these tests were started in the background, which ignores it from then on."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def demo(out: Path, *arguments: str, size: tuple[str, ...] = _SMALL) -> Iterator[subprocess.Popen[str]]:
    """``entente demo`` on a small simulation; whatever is left of it is killed."""
    command = [*_PROGRAM, "demo", "--out", str(out), *size, *arguments]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment() | {"COLUMNS": "200"},
        start_new_session=True,
        preexec_fn=_interruptible,
    )
    try:
        yield process
    finally:
        for pid in (process.pid, *pids_of(out).values()):
            try:
                os.killpg(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        process.communicate()


def let_bits(homes: DemoHomes, parties: Iterable[str], bits: float = 1e6) -> None:
    """Let nodes open rows of few bits, or many times, as the operators of a test may."""
    for name in parties:
        path = homes.party(name) / "node.toml"
        record = NodeHome(homes.party(name)).settings.model_dump(mode="json", exclude_unset=True)
        record["limits"] = record.get("limits", {}) | {"bits_per_row": bits}
        path.write_text(to_toml(record), encoding="utf-8")


def pids_of(out: Path) -> dict[str, int]:
    """Process ids of the demo's children, as its logs tell."""
    try:
        pids: dict[str, int] = json.loads((out / "logs" / "pids.json").read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return pids


def alive(pids: dict[str, int]) -> set[str]:
    """Which of these still run; a zombie does not."""
    found = set()
    for name, pid in pids.items():
        try:
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.add(name)
        except psutil.NoSuchProcess:
            continue
    return found


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for it; a test that waits too long says for what."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE:.0f} s for {what}"
        time.sleep(0.05)


def logged(out: Path, name: str, text: str) -> Callable[[], bool]:
    """Whether the child's log has the text by now."""

    def check() -> bool:
        log = out / "logs" / f"{name}.log"
        return log.is_file() and text in log.read_text(errors="replace")

    return check
