"""The demo's processes: each its own program in its own group, none outliving the demo, however that ends.

A child leaves when its standard input closes (``--with-parent``), which the kernel sees to even when the demo is
killed outright.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import parties
from parties.errors import StorageError
from parties.private_files import open_private

__all__ = ["PIDS_FILE", "Child", "Processes", "command_line", "environment", "peak_rss_mb"]

_ROOT = Path(parties.__file__).resolve().parents[1]
PIDS_FILE = "pids.json"

_FAULT = re.compile(r"^\S+ ERROR run \w+: (?:\w+ failed|rejected): (.+)$", re.MULTILINE)
_ERROR = re.compile(r"^error: (.+)$", re.MULTILINE)


class Child:
    """One process, and where it writes."""

    def __init__(self, name: str, arguments: Sequence[str], log: Path) -> None:
        self.name = name
        self.log = log
        self.peak_rss_mb = 0.0
        try:
            with open(log, "ab", opener=open_private) as file:
                self.process = subprocess.Popen(
                    command_line(*arguments),
                    stdin=subprocess.PIPE,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    env=environment(),
                    start_new_session=True,
                )
        except OSError as error:
            raise StorageError(f"{name}: its process cannot be started ({error.strerror}); free some memory") from None

    @property
    def pid(self) -> int:
        return self.process.pid

    def ended(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        if self.process.poll() is None:
            self.peak_rss_mb = max(self.peak_rss_mb, peak_rss_mb(self.pid))
        return self.process.returncode

    def how_it_ended(self) -> str:
        """In words, for whoever waits for it."""
        code = self.process.returncode
        if code is None:
            return "still runs"
        if code < 0:
            return f"was killed by signal {-code} ({signal.strsignal(-code)})"
        return f"ended with exit code {code}"

    def own_reason(self) -> str:
        """What its log says of why it could not go on, or ""."""
        try:
            text = self.log.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        found = _FAULT.search(text) or _ERROR.search(text)
        return found[1].strip() if found else ""

    def signal(self, number: int) -> None:
        """Send to it and to whatever it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def close(self) -> None:
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()


class Processes:
    """All children of a demo; leaving the block ends them."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self.children: dict[str, Child] = {}

    def start(self, name: str, *arguments: str) -> Child:
        """Start ``entente ARGUMENTS`` as ``name``; the logs' folder also tells everyone's process id."""
        child = Child(name, (*arguments, "--with-parent"), self._logs / f"{name}.log")
        self.children[name] = child
        pids = {name: child.pid for name, child in self.children.items()}
        (self._logs / PIDS_FILE).write_text(json.dumps(pids) + "\n", encoding="utf-8")
        return child

    def ended(self) -> list[Child]:
        """Those that have ended."""
        return [child for child in self.children.values() if child.ended() is not None]

    def wait(self, names: Sequence[str], seconds: float) -> bool:
        """Wait until these have ended, ``seconds`` at most; whether they have."""
        deadline = time.monotonic() + seconds
        while any(self.children[name].ended() is None for name in names):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def stop(self, seconds: float = 5.0) -> None:
        """Ask all to leave, then make them."""
        for child in self.children.values():
            if child.ended() is None:
                child.signal(signal.SIGTERM)
        self.wait(list(self.children), seconds)
        for child in self.children.values():
            # the group may outlive its leader
            child.signal(signal.SIGKILL)
            child.process.wait()
            child.close()

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


def command_line(*arguments: str) -> list[str]:
    """This very program with other arguments. Children log where an error was raised."""
    return [sys.executable, "-P", "-m", "parties.cli", "--trace", *arguments]


def environment() -> dict[str, str]:
    """Ours, with one thread per process: a small machine has fewer cores than a consortium has processes."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, **threads, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def peak_rss_mb(pid: int) -> float:
    """Most memory the process has held so far, MiB; 0 where the system does not tell."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0.0
    found = re.search(r"^VmHWM:\s*(\d+) kB", status, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0
