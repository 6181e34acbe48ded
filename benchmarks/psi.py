"""Speed of entity alignment: ``python -m benchmarks.psi --ids 10000 --parties 4``.

All parties run in this process; each one's own computing time is added up apart, so the figure is that of a party
on a core of its own, without the network.
"""

from __future__ import annotations

import argparse
import hashlib
import secrets
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from typing import Any

from psi.commitment import AlignmentLimits
from psi.flow import Flow, Send, run_local
from psi.group import Scalar, hash_block, is_element
from psi.ring import PoolMap, align_party, match_tokens

__all__ = ["main", "measure", "primitives"]

COORDINATOR = "coordinator"


def timed(flow: Flow[Any], name: str, seconds: dict[str, float], sent: dict[str, int]) -> Flow[Any]:
    """The same flow, its computing time and its points' bytes added up under ``name``."""
    value: Any = None
    while True:
        start = time.perf_counter()
        try:
            effect = flow.send(value)
        except StopIteration as stop:
            return stop.value
        finally:
            seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start
        if isinstance(effect, Send):
            sent[name] = sent.get(name, 0) + len(getattr(effect.message, "points", b""))
        value = yield effect


def measure(ids: int, parties: int, pool_map: PoolMap = map) -> tuple[dict[str, float], dict[str, int], int]:
    """Align ``parties`` sets of ``ids`` entities, four fifths of them common: seconds and bytes sent by process."""
    names = [f"party{i}" for i in range(parties)]
    limits = AlignmentLimits(1, max(ids, 1), 0.25)
    common = [f"COMMON{i}" for i in range(ids * 4 // 5)]
    seconds: dict[str, float] = {}
    sent: dict[str, int] = {}
    flows: dict[str, Flow[Any]] = {
        name: align_party(
            name,
            names,
            COORDINATOR,
            common + [f"{name}X{i}".upper() for i in range(ids - len(common))],
            run=b"benchmark",
            limits=limits,
            randomness=secrets,
            sign=lambda data: hashlib.sha512(data).digest(),
            verify=lambda _, data, signature: hashlib.sha512(data).digest() == signature,
            pool_map=pool_map,
        )
        for name in names
    }
    flows[COORDINATOR] = match_tokens(COORDINATOR, names, limits=limits)
    report = run_local({name: timed(flow, name, seconds, sent) for name, flow in flows.items()})[COORDINATOR]
    return seconds, sent, report.n_common


def primitives(count: int = 3000) -> dict[str, float]:
    """Microseconds per point of each operation."""
    figures = {}
    start = time.perf_counter()
    points = hash_block(b"benchmark", [f"ID{i}" for i in range(count)])
    figures["hash to group"] = time.perf_counter() - start
    multiplier = Scalar.random(secrets).multiplier()
    start = time.perf_counter()
    multiplier(points)
    figures["multiply"] = time.perf_counter() - start
    start = time.perf_counter()
    assert all(map(is_element, points))
    figures["validate"] = time.perf_counter() - start
    return {name: value / count * 1e6 for name, value in figures.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.psi", description=__doc__)
    parser.add_argument("--ids", type=int, default=10_000, help="entities per party")
    parser.add_argument("--parties", type=int, default=4)
    parser.add_argument("--workers", type=int, default=0, help="worker processes a party computes in; 0: none")
    options = parser.parse_args(arguments)
    for name, microseconds in primitives().items():
        print(f"{name:<16}{microseconds:8.1f} us per point")
    with ExitStack() as stack:
        pool_map: PoolMap = map
        if options.workers:
            pool = stack.enter_context(ProcessPoolExecutor(options.workers, get_context("spawn")))
            list(pool.map(abs, range(options.workers)))
            pool_map = pool.map
        seconds, sent, common = measure(options.ids, options.parties, pool_map)
    slowest = max(seconds[name] for name in seconds if name != COORDINATOR)
    print(f"{options.parties} parties of {options.ids} entities, {common} common, {options.workers} workers")
    for name, value in seconds.items():
        print(f"{name:<16}{value:8.2f} s computing, {sent.get(name, 0) / 1e6:8.2f} MB of points sent")
    print(f"{'slowest party':<16}{options.ids / slowest:8.0f} entities/s")


if __name__ == "__main__":
    main()
