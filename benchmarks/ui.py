"""How soon the web page answers: ``python -m benchmarks.ui --sessions 10``, on a real coordinator with a running run.

The coordinator (mutual TLS, ``--runs`` finished runs in its memory) and nodes that report progress five times a second
run in this process, Streamlit serves the real site in another, and each session is a signed-in visitor's websocket that
does what a browser does: it opens its page, obeys every fragment's timer, and comes back to the whole page every
``--every`` seconds. A rerun's time is from sending it to Streamlit's word that it is finished; drawing in the browser
is not in it. Three in five sessions watch the running run, the others the list of runs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from benchmarks.runs import runs
from parties.client import DESK
from parties.control.reports import ProgressBody
from tests.parties.coordinator_rig import FEATURES, LABEL, PARTIES, Consortium, FakeNode, free_port, wait_until

__all__ = ["main", "measure"]

Times = dict[str, list[float]]


class Visitor:
    """One session: its websocket, its fragments' timers, and how long each rerun took."""

    def __init__(self, port: int, secret: str, page: str, query: str, every: float) -> None:
        self._port, self._secret, self._page, self._query, self._every = port, secret, page, query, every
        self._timers: dict[str, tuple[float, float]] = {}
        self.times: Times = defaultdict(list)

    async def visit(self, until: float) -> None:
        address = f"ws://127.0.0.1:{self._port}/_stcore/stream"
        cookie = {"Cookie": f"entente-session-{self._port}={self._secret}"}
        async with connect(
            address,
            subprotocols=[Subprotocol("streamlit")],
            additional_headers=cookie,
            max_size=None,
            proxy=None,
        ) as line:
            await self._rerun(line, "")
            whole = time.monotonic() + self._every
            while (now := time.monotonic()) < until:
                if now >= whole:
                    whole = now + self._every
                    await self._rerun(line, "")
                    continue
                due = min(self._timers.items(), key=lambda item: item[1][0], default=None)
                if due is None or due[1][0] > now:
                    await asyncio.sleep(min(0.05, whole - now))
                    continue
                fragment, (_, interval) = due
                self._timers[fragment] = (now + interval, interval)
                await self._rerun(line, fragment)

    async def _rerun(self, line: Any, fragment: str) -> None:
        asked = BackMsg()
        state = asked.rerun_script
        state.query_string, state.page_name, state.fragment_id = self._query, self._page, fragment
        state.is_auto_rerun = bool(fragment)
        if not fragment:
            self._timers.clear()
        began = time.monotonic()
        await line.send(asked.SerializeToString())
        while True:
            told = ForwardMsg.FromString(await asyncio.wait_for(line.recv(), 120))
            kind = told.WhichOneof("type")
            if kind == "auto_rerun":
                interval = told.auto_rerun.interval
                self._timers.setdefault(told.auto_rerun.fragment_id, (time.monotonic() + interval, interval))
            elif kind == "delta" and told.delta.new_element.WhichOneof("type") == "exception":
                raise RuntimeError(told.delta.new_element.exception.message)
            elif kind == "script_finished":
                break
        name = f"{self._page} page, {'a refresh' if fragment else 'whole'}"
        self.times[name].append(1000 * (time.monotonic() - began))


class Training(FakeNode):
    """A node that trains for as long as it is watched: progress five times a second."""

    def __init__(self, consortium: Consortium, name: str, periods: tuple[str, ...]) -> None:
        super().__init__(
            consortium,
            name,
            on=Training._began,  # type: ignore[arg-type]
            introduction=consortium.offer(name),
        )
        self._periods = periods
        self._over = threading.Event()

    def _began(self, command: Any) -> bool:
        if command.kind != "start" or command.body["phase"] != "train":
            return False
        threading.Thread(target=self._report, args=(command,), daemon=True).start()
        return True

    def _report(self, command: Any) -> None:
        traffic = {"product.answer": {"payload": "ciphertext", "bytes": 10**8, "messages": 900}}
        for i in range(10**6):
            if self._over.wait(0.2):
                return
            at = min(i, len(self._periods) - 1) if i > 5 else len(self._periods) - 1
            points = [
                {"period": name, "ic_joint": 0.1, "ic_own": 0.05, "loss": 1.0} for name in self._periods[: at + 1]
            ]
            body: dict[str, Any] = {"phase": "train", "attempt": command.body["attempt"], "done": i, "total": 10**5}
            body |= {"traffic": traffic, "peak_rss_mb": 400.0}
            if self.name == LABEL:
                # everything once, then one period at a time, as a label party's reports grow
                body["points"] = points if i < 3 else [points[at]]
                body["metrics"] = {"period": float(at), "loss": 1.0 + 0.001 * i}
            else:
                body["openings"] = {"limit": 6, "max_used": min(6, 1 + i // 50)}
            self.line.progress(command.run_id, ProgressBody.model_validate(body))

    def __exit__(self, *_: object) -> None:
        self._over.set()
        super().__exit__()


def terms(periods: int) -> dict[str, Any]:
    """A calendar of so many days, and the public list, so that nobody has to align."""
    ends = [datetime(2010, 1, 1, tzinfo=UTC) + timedelta(days=i) for i in range(periods)]
    calendar = {"frequency": "D", "periods": [f"{e:%Y-%m-%d}" for e in ends], "period_ends": ends, "cutoffs": ends}
    return {"calendar": calendar, "purpose": "The run that everybody watches"}


@contextmanager
def site(consortium: Consortium, address: str, log: Path) -> Iterator[tuple[int, psutil.Process]]:
    """The real site in a process of its own; gives its port and the process."""
    port = free_port()
    options = [f"--server.port={port}", "--server.address=127.0.0.1", "--server.headless=true"]
    options += ["--browser.gatherUsageStats=false", "--server.fileWatcherType=none"]
    place = Path(__file__).parents[1] / "ui" / "website.py"
    known = {"ENTENTE_COORDINATOR": address, "ENTENTE_DESK": str(consortium.home(DESK)), "OMP_NUM_THREADS": "1"}
    known["PYTHONPATH"] = os.pathsep.join(filter(None, (str(place.parents[1]), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-P", "-m", "streamlit", "run", str(place), *options]
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **known}, cwd=place.parent)
    try:
        wait_until(lambda: _answers(port) or server.poll() is not None, "the site answers", 60)
        if server.poll() is not None:
            raise RuntimeError(log.read_text())
        yield port, psutil.Process(server.pid)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=20)


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2):
            return True
    except OSError:
        return False


def measure(sessions: int, seconds: float, *, history: int, periods: int, every: float) -> tuple[Times, float]:
    """Milliseconds of every rerun, by page and kind, and the server's processor time of one, in milliseconds.

    The first ten seconds, which load everything, are left out.
    """
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        consortium = Consortium(Path(folder))
        coordinator = stack.enter_context(consortium.coordinator())
        engine: Any = coordinator.desk.engine
        for known in reversed(list(runs(history, 104))):
            engine._runs[known.state.run] = known
        made = terms(periods)
        for name in PARTIES:
            stack.enter_context(Training(consortium, name, tuple(made["calendar"]["periods"])))
        client = stack.enter_context(consortium.client())
        run_id = client.propose(consortium.agreement(recipients=FEATURES, **made))
        wait_until(lambda: len(client.run(run_id).series) >= periods, "the run trains", 60)
        desk = stack.enter_context(consortium.desk())
        port, server = stack.enter_context(site(consortium, coordinator.address, Path(folder) / "site.log"))
        visitors = []
        for i in range(sessions):
            page, query = ("run", f"run={run_id}") if i % 5 < 3 else ("runs", "")
            visitors.append(Visitor(port, desk.sign_in(consortium.token()), page, query, every))
        asyncio.run(_visit(visitors, 10.0))
        for visitor in visitors:
            visitor.times.clear()
        before = server.cpu_times()
        asyncio.run(_visit(visitors, seconds))
        after = server.cpu_times()
    times: Times = defaultdict(list)
    for visitor in visitors:
        for name, took in visitor.times.items():
            times[name] += took
    spent = after.user + after.system - before.user - before.system
    return times, 1000 * spent / max(1, sum(map(len, times.values())))


async def _visit(visitors: Sequence[Visitor], seconds: float) -> None:
    until = time.monotonic() + seconds
    await asyncio.gather(*(visitor.visit(until) for visitor in visitors))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--runs", type=int, default=10_000, help="finished runs that the coordinator holds")
    parser.add_argument("--periods", type=int, default=520, help="of the running run's calendar")
    parser.add_argument("--every", type=float, default=10.0, help="seconds between whole reruns of a session")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    options = parser.parse_args(arguments)
    times, processor = measure(
        options.sessions, options.seconds, history=options.runs, periods=options.periods, every=options.every
    )
    found = {name: (len(t), statistics.median(t), sorted(t)[int(0.95 * len(t))], max(t)) for name, t in times.items()}
    if options.json:
        print(json.dumps({"processor": processor, **found}))
        return
    print(f"{options.sessions} sessions, {options.runs:,} runs, {options.periods} periods: milliseconds of a rerun")
    print(f"  {'':26} {'count':>6} {'median':>8} {'95 %':>8} {'worst':>8}")
    for name, (count, middle, most, worst) in sorted(found.items()):
        print(f"  {name:26} {count:6d} {middle:8.0f} {most:8.0f} {worst:8.0f}")
    print(f"  processor time of the server: {processor:.0f} a rerun")


if __name__ == "__main__":
    main()
