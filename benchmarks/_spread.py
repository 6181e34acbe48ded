"""Sealed steps whose evaluator's work goes to workers, and who of them did what (``benchmarks/spread.py``).

A module of its own, since what workers run has to be found by name in their processes.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from parties.bench.session import Part, run_session
from parties.node.zero_supply import PreparedZeros
from parties.process.workers import ComputeSettings, open_workers
from psi.flow import Flow, Role
from vfl.arithmetic.randomness import SecretStream
from vfl.models.sealed.anchor import SealedAnchor
from vfl.models.sealed.columns import SealedColumns
from vfl.models.sealed.ends import coefficient_key, slot_key
from vfl.models.sealed.initial import sealed_start
from vfl.models.sealed.label import LabelKeys, SealedLabel
from vfl.models.sealed.messages import Members
from vfl.protocols.opening_budget import OpeningBudget
from vfl.protocols.spread import Workers
from vfl.terms import FixedPoint, SealedModel
from vfl.walk.schedule import Step

__all__ = ["Backend", "Spent", "Task", "measured"]

Backend = Literal["none", "loky", "ray", "dask"]
FIXED = FixedPoint()
LABEL, ANCHOR = "label", "anchor"
KINDS = {"_part": "matrix products", "_slot_part": "slot products"}


@dataclass(frozen=True)
class Task:
    """workers: processes that compute at once. batch: rows of a step; all of them are the same rows."""

    backend: Backend
    workers: int
    batch: int
    columns: int
    hidden: int
    steps: int

    @property
    def terms(self) -> SealedModel:
        return SealedModel(width=self.hidden, batch_rows=self.batch)

    @property
    def members(self) -> Members:
        return Members(LABEL, ANCHOR, {ANCHOR: self.columns}, 0)


@dataclass
class Spent:
    """own: processor seconds of the anchor's process. kinds, processes: those of its workers' calls."""

    own: float = 0.0
    kinds: Counter[str] = field(default_factory=Counter)
    processes: Counter[int] = field(default_factory=Counter)


class _Watched:
    """Workers that also tell who computed what, and for how long."""

    def __init__(self, workers: Workers, spent: Spent) -> None:
        self._workers, self._spent, self.count = workers, spent, workers.count

    def __call__(self, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        done = self._workers(_timed, [(function, *call) for call in calls])
        for process, seconds, _ in done:
            self._spent.kinds[KINDS[function.__name__]] += seconds
            self._spent.processes[process] += seconds
        return [result for _, _, result in done]


def _timed(function: Callable[..., Any], *call: Any) -> tuple[int, float, Any]:
    began = time.thread_time()
    result = function(*call)
    return os.getpid(), time.thread_time() - began, result


def measured(task: Task) -> tuple[float, Spent]:
    """Seconds of the steps by the label party's clock, and what the anchor's side spent."""
    parts = {
        LABEL: Part(Role.LABEL, _label_party, {"task": task}),
        ANCHOR: Part(Role.FEATURE, _anchor, {"task": task}),
    }
    found = run_session(parts)
    return float(found[LABEL].result), found[ANCHOR].result


def _label_party(name: str, task: Task) -> Flow[float]:
    del name
    weights = {ANCHOR: sealed_start(os.urandom(32), task.columns, task.terms, task.columns)}
    own = SealedColumns(np.zeros((task.batch, 0)), task.terms, FIXED)
    keys = LabelKeys(coefficient_key(), slot_key())
    side = SealedLabel(task.members, own, weights, task.terms, FIXED, keys, session="spread-1")
    rows, labels, began = np.arange(task.batch), np.random.default_rng(0).standard_normal(task.batch), 0.0
    yield from side.start()
    for number in range(task.steps + 1):
        if number == 1:
            began = time.monotonic()
        yield from side.train(Step(number, "train", 0, rows, task.batch), labels)
    seconds = time.monotonic() - began
    yield from side.finish()
    return seconds


def _anchor(name: str, task: Task) -> Flow[Spent]:
    del name
    values, spent = np.random.default_rng(1).standard_normal((task.batch, task.columns)), Spent()
    weights = {ANCHOR: sealed_start(os.urandom(32), task.columns, task.terms, task.columns)}
    with _cluster(task) as settings, open_workers(settings) as workers:
        side = SealedAnchor(
            task.members, SealedColumns(values, task.terms, FIXED), weights, task.terms, FIXED, coefficient_key(),
            OpeningBudget(task.batch, 1), SecretStream(os.urandom(32)), session="spread-1", supply=PreparedZeros,
            workers=None if workers is None else _Watched(workers, spent),
        )  # fmt: skip
        began = time.process_time()
        yield from side.serve()
        spent.own = time.process_time() - began
    return spent


@contextlib.contextmanager
def _cluster(task: Task) -> Iterator[ComputeSettings]:
    """A cluster of this machine's processes where the backend needs one, and the settings that lead to it."""
    settings = ComputeSettings(backend=task.backend, workers=task.workers)
    if task.backend == "dask":
        from distributed import LocalCluster

        with LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=task.workers, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster:
            yield settings.model_copy(update={"address": cluster.scheduler_address})
    elif task.backend == "ray":
        import ray

        local: dict[str, Any] = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
        ray.init("local", num_cpus=task.workers, log_to_driver=False, **local)
        try:
            yield settings
        finally:
            ray.shutdown()
    else:
        yield settings
