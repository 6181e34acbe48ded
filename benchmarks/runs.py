"""Pages of a long list of runs: ``python -m benchmarks.runs --runs 10000``.

Made-up runs of a weekly calendar, finished in every way, lie in memory as the coordinator holds them. Each question
goes through the desk's door and comes back as the bytes that a client gets. "first" fills the index, as after a
restart; "page" is the newest 25; "search" is two words and a party; "sorted" is a page in the middle, by rank IC;
"export" is every run as CSV; "all summaries" is what a page would cost if each run's summary were built for it.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from parties.agreement.document import Agreement
from parties.control.phases import Plan
from parties.coordinator.desk.doors import Caller, Doors, pass_through
from parties.coordinator.desk.runs import doors
from parties.coordinator.desk.sessions import Sessions
from parties.coordinator.known_run import KnownRun
from parties.coordinator.progress import RunProgress
from parties.coordinator.run import PhaseSpan, RunFacts, RunState
from parties.coordinator.run_views import run_summary

__all__ = ["RunsInMemory", "main", "measure"]

START = datetime(2020, 1, 3, tzinfo=UTC)
PARTIES = ("fund", "satellite", "social", "cards")
PHASES = ("approve", "align", "train", "evaluate", "value", "export", "settle")


class RunsInMemory:
    """As much of an engine as the runs' doors use."""

    def __init__(self, runs: list[KnownRun]) -> None:
        self.lock = threading.RLock()
        self._runs = runs

    def all_runs(self) -> list[KnownRun]:
        return list(self._runs)


def agreement(periods: int) -> Agreement:
    """Four parties, ``periods`` weeks."""
    ends = [START + timedelta(weeks=i) for i in range(periods)]
    party: dict[str, Any] = {"address": "127.0.0.1:1", "identity_key": "00" * 32, "certificate_sha256": "00" * 32}
    columns = {name: [f"{name}_{i}" for i in range(10)] for name in PARTIES}
    return Agreement.model_validate(
        {
            "consortium": "Made-up funds", "purpose": "", "proposed_at": START, "expires_at": ends[-1], "nonce": "1",
            "coordinator_certificate_sha256": "00" * 32, "coordinator_address": "127.0.0.1:1",
            "parties": [
                {"name": name, "role": "feature" if i else "label", "columns": columns[name], **party}
                for i, name in enumerate(PARTIES)
            ],
            "label": {"name": "y", "definition": "next week's return", "party": PARTIES[0]},
            "calendar": {"frequency": "W", "periods": [f"{e:%Y-%m-%d}" for e in ends], "period_ends": ends,
                         "cutoffs": ends},
            "recipients": PARTIES, "code_version": "0",
        }
    )  # fmt: skip


def runs(count: int, periods: int) -> Iterator[KnownRun]:
    """Newest first: two in three settled, the others aborted, each with its own name, time and rank ICs."""
    terms = agreement(periods)
    document, plan, facts = terms.canonical().decode(), Plan.of(terms), RunFacts.of(terms)
    for i in reversed(range(count)):
        at = START + timedelta(hours=i)
        numbers = {"ic_joint": (i * 7919 % 1000) / 5000, "ic_own": (i * 104_729 % 1000) / 6000, "n_periods": 90}
        reports: dict[str, dict[str, dict[str, Any]]] = {
            "align": {"coordinator": {"n_common": 300 + i % 200}},
            "evaluate": {PARTIES[0]: {"evaluation": numbers}},
        }
        settled = i % 3 > 0
        phases = PHASES if settled else PHASES[:3]
        spans = tuple(
            PhaseSpan(name, 1, at, at + timedelta(minutes=k + 1), "done", reports.get(name, {}))  # type: ignore[arg-type]
            for k, name in enumerate(phases)
        )
        if not settled:
            spans = (*spans[:-1], replace(spans[-1], outcome="failed"))
        state = RunState(
            run=hashlib.sha256(str(i).encode()).hexdigest(), agreement=document, by="admin", plan=plan,
            proposed_at=at, spans=spans, ended_at=at + timedelta(minutes=9),
            reason="" if settled else "cards: has been silent for 60 s",
        )  # fmt: skip
        about = replace(facts, purpose=f"Factor {i % 400} of sector {i % 11}")
        yield KnownRun(state, terms, about, RunProgress(plan.label, facts.periods))


def timed(work: Callable[[], object], times: int) -> tuple[float, float]:
    """Median and worst milliseconds of ``times`` calls."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        took.append(1000 * (time.perf_counter() - began))
    return statistics.median(took), max(took)


def measure(count: int, periods: int = 104, times: int = 50) -> dict[str, tuple[float, float]]:
    """(median, worst) milliseconds of each question."""
    engine = RunsInMemory(list(runs(count, periods)))
    with tempfile.TemporaryDirectory(prefix="entente-runs-") as folder:
        day = timedelta(days=1)
        database = f"sqlite:///{folder}/coordinator.db"
        with contextlib.closing(Sessions(database, lambda: START, idle=day, longest=day)) as sessions:
            return ask_all(engine, doors(engine, sessions), times)  # type: ignore[arg-type]


def ask_all(engine: RunsInMemory, opened: Doors, times: int) -> dict[str, tuple[float, float]]:
    """(median, worst) milliseconds of each question at ``opened``."""
    caller = Caller("admin", "admin")

    def ask(what: str = "runs/page", **arguments: Any) -> Callable[[], object]:
        return lambda: pass_through(opened, what, arguments, caller)

    middle: dict[str, Any] = {"order": "ic", "offset": len(engine.all_runs()) // 2}
    return {
        "first": timed(ask(), 1),
        "page": timed(ask(), times),
        "search": timed(ask(text="factor 17 sector", party="cards"), times),
        "sorted": timed(ask(**middle), times),
        "export": timed(ask("runs/export"), 5),
        "all summaries": timed(lambda: [run_summary(known).model_dump_json() for known in engine.all_runs()], 3),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--periods", type=int, default=104)
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    options = parser.parse_args(arguments)
    found = measure(options.runs, options.periods)
    if options.json:
        print(json.dumps(found))
        return
    print(f"{options.runs:,} runs of {options.periods} periods: milliseconds, median and worst")
    for name, (middle, worst) in found.items():
        print(f"  {name:14} {middle:8.1f} {worst:8.1f}")


if __name__ == "__main__":
    main()
