"""Speed of the ledger's pages: ``python -m benchmarks.journal --postings 1000000``, ``--url`` for another database.

Makes a ledger of subscriptions and settlements (some pending, some voided) in ``--keep FILE`` or a temporary file,
opens it as a coordinator does, and times the pages and searches that the web page asks for: the first page, a page deep
inside, and the slowest search, which finds nothing. "checked" is the verification of the whole chain in slices, and
"peak memory" the most that this process held. A ledger made in the same process counts in it.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import psutil

from parties.coordinator.bookkeeping import Bookkeeper
from parties.ledger.core import Transaction, Unit
from parties.ledger.search import Criteria
from parties.ledger.settlement import (
    chart_of_accounts,
    final_settlement,
    settlement_transactions,
    subscription,
    void_settlement,
)
from parties.ledger.store import LedgerStore

__all__ = ["main", "make", "measure"]

START = datetime(2020, 1, 1, tzinfo=UTC)
PARTIES = ("orbit", "chatter", "till", "harbor")
_PER_RUN = 8
_BATCH = 2000


def entries(postings: int) -> Iterator[Transaction]:
    """Runs of a subscription each week and a settlement, until so many postings are made."""
    made, number = 0, 0
    while made < postings:
        at = START + timedelta(minutes=17 * number)
        run = hashlib.sha256(f"run {number}".encode()).hexdigest()
        for i in range(_PER_RUN):
            amount = 10_000 + (7919 * (number + i)) % 90_001
            one = subscription(f"{number}/{i}", amount, at, f"Subscription {number}.{i}")
            made += len(one.postings)
            yield one
        shares = {party: 100 + (number * (i + 3)) % 997 for i, party in enumerate(PARTIES[:3])}
        [pending] = settlement_transactions(run, shares, at + timedelta(minutes=5))
        made += len(pending.postings)
        yield pending
        if number % 50:
            later = at + timedelta(minutes=9)
            done = final_settlement(pending, later) if number % 70 else void_settlement(pending, later, "never live")
            made += len(done.postings)
            yield done
        number += 1


def make(url: str, postings: int) -> None:
    """Fill an empty ledger."""
    with LedgerStore(url) as store:
        store.open_accounts(chart_of_accounts(Unit("USD", 2), PARTIES), START)
        batch: list[Transaction] = []
        for one in entries(postings):
            batch.append(one)
            if len(batch) == _BATCH:
                store.append_all(batch)
                batch = []
        store.append_all(batch)


def milliseconds(work: Callable[[], object], times: int = 9) -> tuple[float, float]:
    """Median and worst of several calls."""
    took = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        took.append(1000 * (time.perf_counter() - start))
    return statistics.median(took), max(took)


def measure(store: LedgerStore) -> dict[str, tuple[float, float]]:
    """Milliseconds (median, worst) of each question at a ledger's pages."""
    middle = store.head().sequence // 2
    run = next(e.transaction.run_id for e in store.search(Criteria(text="final", limit=1)).entries)
    deep = store.search(Criteria(order="date", until=START + timedelta(days=100), limit=1)).following
    questions = {
        "first page": Criteria(),
        "a page deep inside": Criteria(after=str(middle)),
        "by date, deep inside": Criteria(order="date", after=deep),
        "by amount": Criteria(order="amount"),
        "one account": Criteria(accounts=("Liabilities:Party:till:Payable",), after=str(middle)),
        "one party": Criteria(accounts=tuple(f"Liabilities:Party:orbit:{k}" for k in ("Stake", "Pending", "Payable"))),
        "what is pending": Criteria(state="pending"),
        "one run": Criteria(run_id=run[:12]),
        "text, common": Criteria(text="subscription"),
        "text, rare": Criteria(text="reward of run 0123"),
        "text, found nowhere": Criteria(text="no such words"),
        "text in one account, nowhere": Criteria(text="no such", accounts=("Liabilities:Party:till:Payable",)),
        "one account in an order of another, nowhere": Criteria(
            order="amount", accounts=("Liabilities:Party:harbor:Stake",)
        ),
    }  # fmt: skip
    found = {name: milliseconds(partial(store.search, asked)) for name, asked in questions.items()}
    found["balances"] = milliseconds(store.balances)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.journal", description=__doc__)
    parser.add_argument("--postings", type=int, default=1_000_000, help="postings to make")
    parser.add_argument("--keep", type=Path, default=None, help="SQLite file to make, or to use again where it exists")
    parser.add_argument("--url", default="", help="database; a new SQLite file in the temporary folder by default")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        url = options.url or f"sqlite:///{options.keep or Path(folder) / 'ledger.db'}"
        if options.keep is None or not options.keep.exists():
            start = time.perf_counter()
            make(url, options.postings)
            print(f"{'made in':<46}{time.perf_counter() - start:>10,.0f} s")
        before = psutil.Process().memory_info().rss
        with LedgerStore(url) as store:
            start = time.perf_counter()
            keeper = Bookkeeper(store, breath=0.0)
            while not keeper.standing().complete:
                keeper.advance(1.0)
            took = time.perf_counter() - start
            standing = keeper.standing()
            if standing.finding:
                raise SystemExit(f"the ledger is not sound: {standing.finding}")
            print(f"{'transactions, postings':<46}{standing.transactions:>10,}  {standing.postings:,}")
            print(f"{'checked':<46}{standing.postings / took:>10,.0f} postings/s")
            print(f"{'checked again, nothing new':<46}{milliseconds(lambda: keeper.advance(1.0))[0]:>10.1f} ms")
            for name, (median, worst) in measure(store).items():
                print(f"{name:<46}{median:>10.1f} ms median, {worst:.1f} ms worst")
        peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(f"{'peak memory, and what this added to it':<46}{peak / 2**20:>10.0f} MiB, {(peak - before) / 2**20:.0f}")


if __name__ == "__main__":
    main()
