"""What a row of a sealed run costs in a small panel and in a large one: ``python -m benchmarks.growth``.

For each of ``--rows`` the label party and one feature party, the anchor, run the last ``--periods`` periods of a
walk-forward schedule over a panel of that many rows, each in a process of its own over mutual TLS: all earlier rows
have labels and are trained on in cycles, so this is the dearest end of a run. Processor time, since wall-clock time
says more about the machine's other work; the least of ``--repeats``. Peaks are VmHWM, with the panel as float64.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parties.bench.session import Part, run_session
from parties.node.zero_supply import PreparedZeros
from psi.flow import Flow, Progress, Role
from vfl.arithmetic.randomness import SecretStream
from vfl.factors.panel import FeaturePanel, LabelPanel
from vfl.models.sealed.anchor import SealedAnchor
from vfl.models.sealed.columns import SealedColumns
from vfl.models.sealed.ends import coefficient_key, slot_key
from vfl.models.sealed.initial import sealed_start
from vfl.models.sealed.label import LabelKeys, SealedLabel
from vfl.models.sealed.messages import Members
from vfl.models.sealed.walk import sealed_walk_forward
from vfl.protocols.opening_budget import OpeningBudget
from vfl.terms import FixedPoint, SealedModel, WalkForward
from vfl.walk.cycles import cyclic

__all__ = ["Size", "main", "measured"]

FIXED = FixedPoint()
LABEL, FEATURE = "label", "feature"


@dataclass(frozen=True)
class Size:
    """periods: of the schedule's end that is run."""

    rows: int
    columns: int
    hidden: int
    entities: int
    periods: int

    @property
    def calendar(self) -> int:
        return max(self.rows // self.entities, self.periods + 2)

    @property
    def terms(self) -> SealedModel:
        return SealedModel(width=self.hidden, warmup_steps=1)

    @property
    def walk(self) -> WalkForward:
        return WalkForward(warmup=self.calendar - self.periods)

    @property
    def members(self) -> Members:
        return Members(LABEL, FEATURE, {FEATURE: self.columns}, 0)

    @property
    def touched(self) -> int:
        """Rows trained and predicted."""
        return self.periods * (self.terms.batch_rows + self.entities)


@dataclass(frozen=True)
class Spent:
    """Processor seconds of what is done once for a panel, such as all ranks of labels, and of a row in the steps."""

    once: float
    row: float


def measured(size: Size) -> tuple[dict[str, Spent], dict[str, float]]:
    """What each process spent, and its peak in MiB."""
    parts = {
        LABEL: Part(Role.LABEL, _label_party, {"size": size}),
        FEATURE: Part(Role.FEATURE, _feature_party, {"size": size}),
    }
    found = run_session(parts)
    return {name: m.result for name, m in found.items()}, {name: m.peak_rss_mb for name, m in found.items()}


def _label_party(name: str, size: Size) -> Flow[Spent]:
    del name
    panel, terms, walk = _label_panel(size), size.terms, size.walk
    began = time.process_time()
    steps = tuple(cyclic(terms, walk, panel.known_from, panel.label, panel.universe))
    weights = {FEATURE: sealed_start(os.urandom(32), size.columns, terms, size.columns)}
    own = SealedColumns(panel.features.rows, terms, FIXED)
    keys = LabelKeys(coefficient_key(), slot_key())
    side = SealedLabel(size.members, own, weights, terms, FIXED, keys, session="growth-1")
    flow, marks = sealed_walk_forward(side, steps, panel, walk), []
    event = next(flow)
    with contextlib.suppress(StopIteration):
        while True:
            if isinstance(event, Progress):
                marks.append(time.process_time())
            event = flow.send((yield event))
    assert sum(len(step.rows) for step in steps) == size.touched
    return Spent(marks[0] - began, (marks[-1] - marks[0]) / (size.touched - len(steps[0].rows)))


def _feature_party(name: str, size: Size) -> Flow[Spent]:
    del name
    rows = size.calendar * size.entities
    values = np.empty((rows, size.columns))
    generator = np.random.default_rng(1)
    for start in range(0, rows, 1 << 16):
        part = values[start : start + (1 << 16)]
        generator.standard_normal(out=part)
    began = time.process_time()
    weights = {FEATURE: sealed_start(os.urandom(32), size.columns, size.terms, size.columns)}
    side = SealedAnchor(
        size.members, SealedColumns(values, size.terms, FIXED), weights, size.terms, FIXED, coefficient_key(),
        OpeningBudget(rows, 1), SecretStream(os.urandom(32)), session="growth-1", supply=PreparedZeros,
    )  # fmt: skip
    ready = time.process_time()
    yield from side.serve()
    return Spent(ready - began, (time.process_time() - ready) / size.touched)


def _label_panel(size: Size) -> LabelPanel:
    """Random labels, each known a period later; no columns."""
    shape = (size.calendar, size.entities)
    times: NDArray[np.datetime64] = np.broadcast_to(np.datetime64("2020-01-01", "ns"), shape)
    own = FeaturePanel((), np.zeros((*shape, 0)), np.ones(shape, dtype=bool), times, times)
    known = np.broadcast_to(np.arange(size.calendar)[:, None] + 1, shape)
    return LabelPanel(own, np.random.default_rng(0).standard_normal(shape), known, np.ones(shape, dtype=bool))


def report(sizes: list[Size], repeats: int) -> None:
    """Each size in turn, ``repeats`` times over, so that the machine's other work meets them alike."""
    found = [[measured(size) for size in sizes] for _ in range(repeats)]
    for place, size in enumerate(sizes):
        spent = [each[place][0] for each in found]
        least = {name: min(each[name].row for each in spent) for name in spent[0]}
        once = {name: min(each[name].once for each in spent) for name in spent[0]}
        peaks = {name: max(each[place][1][name] for each in found) for name in spent[0]}
        print(
            f"{size.rows:,} rows x {size.columns} columns, width {size.hidden}: "
            f"{1e6 * sum(least.values()):.1f} us of a processor a row trained or predicted "
            + ", ".join(f"({name} {1e6 * value:.1f}" for name, value in least.items()).replace(", (", ", ")
            + "), once "
            + ", ".join(f"{name} {value:.1f} s" for name, value in once.items())
            + "; peak "
            + ", ".join(f"{name} {value:,.0f} MiB" for name, value in peaks.items())
        )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 5_000_000])
    parser.add_argument("--columns", type=int, default=32)
    parser.add_argument("--hidden", type=int, default=8)
    parser.add_argument("--entities", type=int, default=3000)
    parser.add_argument("--periods", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=2)
    asked = parser.parse_args(arguments)
    sizes = [Size(rows, asked.columns, asked.hidden, asked.entities, asked.periods) for rows in asked.rows]
    report(sizes, asked.repeats)


if __name__ == "__main__":
    main()
