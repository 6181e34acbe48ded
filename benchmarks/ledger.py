"""Speed of the ledger: ``python -m benchmarks.ledger --postings 100000`` on SQLite, ``--url`` for another database.

Every transaction has two postings. "one by one" commits each to disk before the next, as a settlement does;
"in batches" commits ``--batch`` at a time, as an import does. "check" replays all, verifies the hashes and balances.
"backup" writes everything to one file; "restore" judges and writes every entry of it anew, in SQLite.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from parties.ledger.backup import restore_backup, write_backup
from parties.ledger.core import Posting, Transaction, Unit
from parties.ledger.settlement import CASH, SUBSCRIPTIONS, chart_of_accounts
from parties.ledger.store import LedgerStore

__all__ = ["main", "measure"]

START = datetime(2026, 1, 1, tzinfo=UTC)


def transactions(prefix: str, count: int) -> list[Transaction]:
    """``count`` subscriptions of two postings."""
    return [
        Transaction(
            f"{prefix}/{i}",
            START + timedelta(seconds=i),
            "benchmark",
            (Posting(CASH, 1 + i), Posting(SUBSCRIPTIONS, -1 - i)),
        )
        for i in range(count)
    ]


def seconds(work: Callable[[], object]) -> float:
    """How long ``work`` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(url: str, postings: int, batch: int, single: int) -> dict[str, float]:
    """Postings per second of each way to write, and of a check of everything written."""
    prefix = f"benchmark/{time.time_ns()}"
    apart, together = transactions(f"{prefix}/a", single), transactions(f"{prefix}/b", postings // 2)
    with LedgerStore(url) as store:
        store.open_accounts(chart_of_accounts(Unit("USD", 2), ["orbit"]), START)
        rates = {"one by one": 2 * single / seconds(lambda: [store.append(t) for t in apart])}
        chunks = [together[i : i + batch] for i in range(0, len(together), batch)]
        rates["in batches"] = 2 * len(together) / seconds(lambda: [store.append_all(chunk) for chunk in chunks])
        rates["read back"] = 2 * (single + len(together)) / seconds(store.journal)
        start = time.perf_counter()
        report = store.check()
        rates["check"] = report.postings / (time.perf_counter() - start)
        with tempfile.TemporaryDirectory() as folder, LedgerStore(Path(folder) / "restored.db") as restored:
            file = Path(folder) / "backup"
            rates["backup"] = report.postings / seconds(lambda: write_backup(store, file))
            rates["restore"] = report.postings / seconds(lambda: restore_backup(file, restored))
    if not report.ok:
        raise SystemExit(f"the ledger is not sound: {report.faults[0]}")
    return rates


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ledger", description=__doc__)
    parser.add_argument("--postings", type=int, default=100_000, help="postings written in batches")
    parser.add_argument("--batch", type=int, default=1000, help="transactions per commit")
    parser.add_argument("--single", type=int, default=2000, help="transactions committed one by one")
    parser.add_argument("--url", default="", help="database; a new SQLite file in the temporary folder by default")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ledger.db"
        rates = measure(options.url or f"sqlite:///{file}", options.postings, options.batch, options.single)
        size = file.stat().st_size if file.exists() else 0
    for name, rate in rates.items():
        print(f"{name:<12}{rate:>10,.0f} postings/s")
    if size:
        print(f"{'on disk':<12}{size / (options.postings + 2 * options.single):>10,.0f} bytes per posting")


if __name__ == "__main__":
    main()
