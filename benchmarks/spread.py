"""The evaluator's work of sealed steps on a party's own workers: ``python -m benchmarks.spread``.

Training steps between a label party and one feature party, the anchor, each in a process of its own over mutual TLS;
the anchor's matrix products and slot products go to ``--workers`` processes of each backend: loky, a local Ray cluster
and a local Dask cluster, both started here. Told are the steps' wall-clock time, the processor time that the anchor's
own process spends, and that of its workers, by kind of product and by process. On a machine with fewer free cores than
workers the steps do not get faster: look at where the work is done.
"""

from __future__ import annotations

import argparse
from typing import get_args

from benchmarks._spread import Backend, Task, measured

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backends", nargs="+", choices=get_args(Backend), default=list(get_args(Backend)))
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--columns", type=int, default=32)
    parser.add_argument("--hidden", type=int, default=8)
    parser.add_argument("--steps", type=int, default=5)
    asked = parser.parse_args(arguments)
    print(f"batch {asked.batch}, {asked.columns} columns -> {asked.hidden} + 1, {asked.steps} steps after one more")
    for backend in asked.backends:
        task = Task(backend, asked.workers, asked.batch, asked.columns, asked.hidden, asked.steps)
        seconds, spent = measured(task)
        each = 1000 / (task.steps + 1)
        told = [f"{kind} {each * value:.0f} ms" for kind, value in sorted(spent.kinds.items())]
        shares = sorted(value / max(sum(spent.processes.values()), 1e-9) for value in spent.processes.values())
        print(
            f"{backend:>5}: {1000 * seconds / task.steps:6.0f} ms a step; processor time a step: anchor's process "
            f"{each * spent.own:.0f} ms, {len(shares)} worker processes "
            + (", ".join(told) + "; shares " + ", ".join(f"{share:.0%}" for share in shares) if told else "(none)"),
            flush=True,
        )


if __name__ == "__main__":
    main()
