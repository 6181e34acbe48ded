"""Quality of the sealed network's defaults on simulated consortia: ``python -m benchmarks.quality``.

In plain numbers (the float twin, within 1e-3 score deviations of a run), on the demo's simulation and on one whose
whole signal lies in products of two parties' columns, beside the joint ridge and a pooled network: scikit-learn's MLP
on everybody's columns, its size, penalty and passes tuned on the 20 weeks before it is judged.
``--changes`` measures what one changed setting does; ``--trials N`` ranks N random settings and says where the
defaults stand among them; ``--network`` (minutes a panel) tunes and runs the pooled network.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from benchmarks._pooled import Pooled, load
from parties.data.simulate import Signal, simulate
from psi.flow import LocalProtocolError
from vfl.models.sealed.scales import check_ranges
from vfl.terms import FixedPoint, SealedModel

__all__ = ["main", "simulated", "tuned_network"]

F64 = NDArray[np.float64]

ALPHA = 1000.0
"""Of the joint ridge, as the linear column's."""

CHANGES: tuple[Mapping[str, Any], ...] = (
    {},
    *({"threshold": value} for value in (1.0, 2.0, 2.5, 3.0, 4.0)),
    {"alpha": 2000.0},
    {"start": 0.4},
    {"momentum": 0.0, "linear_rate": 2.0**-3, "square_rate": 1.0},
    {"momentum": 0.0, "linear_rate": 2.0**-3, "square_rate": 2.0**-2},
    {"momentum": 0.875, "linear_rate": 2.0**-6, "square_rate": 2.0**-3},
    *({"width": value} for value in (2, 8)),
    {"steps": 2},
    {"batch_rows": 2048},
    {"warmup_steps": 16},
)


def grid(penalties: Sequence[float], passes: Sequence[int]) -> list[Mapping[str, Any]]:
    """Settings of the pooled network that are tried."""
    fixed = {"batch_size": 500, "learning_rate_init": 2e-3}
    return [
        {"hidden_layer_sizes": (size,), "alpha": penalty, "max_iter": count} | fixed
        for size, penalty, count in product((16, 32, 64), penalties, passes)
    ]


def simulated(signal: Signal, seed: int, *, entities: int = 500, periods: int = 104, ic: float = 0.18) -> Pooled:
    """The panels of a simulated consortium of three feature parties."""
    with tempfile.TemporaryDirectory() as folder:
        made = simulate(Path(folder), entities=entities, periods=periods, seed=seed, signal=signal, ic=ic)
        return load(made.config, made.data)


def tuned_network(
    pooled: Pooled, begin: int, first: int, tried: Sequence[Mapping[str, Any]], *, every: int = 4
) -> tuple[Mapping[str, Any], F64]:
    """The settings with the best rank IC in periods ``begin`` to ``first``, and rank ICs (T,) from ``first`` on."""
    best = max(tried, key=lambda settings: float(np.nanmean(pooled.network(settings, begin, first, 10))))
    return best, pooled.network(best, first, len(pooled.label.label), every)


def drawn(generator: np.random.Generator) -> SealedModel:
    """Random settings, all of which fit the ring."""
    while True:
        terms = SealedModel(
            width=int(generator.choice([2, 4, 8])),
            batch_rows=int(generator.choice([1024, 2048, 4096, 8192])),
            warmup_steps=int(generator.choice([4, 8, 16, 32])),
            steps=int(generator.choice([1, 2, 4])),
            linear_rate=2.0 ** -int(generator.integers(2, 9)),
            square_rate=2.0 ** -int(generator.integers(0, 7)),
            momentum=float(generator.choice([0, 0.5, 0.75, 0.875])),
            alpha=float(generator.choice([300, 1000, 3000])),
            threshold=float(generator.choice([1, 1.5, 2, 2.25, 2.5, 3, 4])),
            start=float(generator.choice([0.1, 0.2, 0.4])),
        )
        try:
            check_ranges(terms, FixedPoint(), terms.batch_rows, 40)
        except LocalProtocolError:
            continue
        return terms


def mean(ics: F64, first: int = 0) -> float:
    """Mean rank IC of the periods from ``first`` on."""
    return float(np.nanmean(ics[first:]))


def report_panel(
    name: str, pooled: Pooled, starts: int, begin: int, first: int, tried: Sequence[Mapping[str, Any]]
) -> None:
    """One panel: the sealed defaults over all starts, beside the joint ridge and, where tried, a pooled network."""
    found = [pooled.sealed(SealedModel(), start) for start in range(starts)]
    whole = [mean(each.whole) for each in found]
    linear = float(np.mean([mean(each.linear) for each in found]))
    print(
        f"{name}: all predicted weeks: sealed {np.mean(whole):.4f} (worst of {starts} starts {min(whole):.4f}), "
        f"its linear column {linear:.4f}, joint ridge {mean(pooled.ridge(ALPHA)):.4f}"
    )
    if not tried:
        return
    best, ics = tuned_network(pooled, begin, first, tried)
    late = [mean(each.whole, first) for each in found]
    print(
        f"{name}: from week {first}: sealed {np.mean(late):.4f} (worst {min(late):.4f}), joint ridge "
        f"{mean(pooled.ridge(ALPHA), first):.4f}, pooled network {mean(ics, first):.4f} with {best}: "
        f"{np.mean(late) / mean(ics, first):.2f} of it",
        flush=True,
    )


def total(panels: Mapping[str, Pooled], terms: SealedModel, starts: int) -> float:
    """Sum over the panels of the mean rank IC over starts."""
    return sum(
        float(np.mean([mean(pooled.sealed(terms, start).whole) for start in range(starts)]))
        for pooled in panels.values()
    )


def report_changes(panels: Mapping[str, Pooled], starts: int) -> None:
    """What a change of one setting makes of the sum of all panels' rank ICs."""
    print(f"sum of the rank ICs of {len(panels)} panels, mean of {starts} starts:")
    for change in CHANGES:
        print(f"  {total(panels, SealedModel(**change), starts):.3f}  {dict(change) or 'defaults'}", flush=True)


def report_trials(panels: Mapping[str, Pooled], count: int) -> None:
    """Random settings by the sum of all panels' rank ICs, one start each; the rank of the defaults among them."""
    generator, kept = np.random.default_rng(0), total(panels, SealedModel(), 1)
    trials = sorted(_trials(panels, generator, count), key=lambda trial: -trial[0])
    better = sum(score > kept for score, _ in trials)
    print(f"defaults {kept:.3f}; of {count} random settings {better} are above, these first:")
    for score, terms in trials[:10]:
        print(f"  {score:.3f}  {terms.model_dump(exclude_defaults=True)}")


def _trials(
    panels: Mapping[str, Pooled], generator: np.random.Generator, count: int
) -> Iterator[tuple[float, SealedModel]]:
    with np.errstate(all="ignore"):  # some diverge, and score nothing
        for _ in range(count):
            terms = drawn(generator)
            score = total(panels, terms, 1)
            yield (score if np.isfinite(score) else 0.0), terms


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9])
    parser.add_argument("--signals", nargs="+", choices=get_args(Signal), default=list(get_args(Signal)))
    parser.add_argument("--entities", type=int, default=500)
    parser.add_argument("--periods", type=int, default=104)
    parser.add_argument("--starts", type=int, default=4, help="initial weights of each panel")
    parser.add_argument("--tune", type=int, nargs=2, default=[25, 45], help="weeks that the pooled network is tuned on")
    parser.add_argument("--network", action="store_true")
    parser.add_argument("--penalties", type=float, nargs="+", default=[3.0, 10.0], help="tried for the pooled network")
    parser.add_argument("--passes", type=int, nargs="+", default=[40, 80], help="likewise")
    parser.add_argument("--changes", action="store_true")
    parser.add_argument("--trials", type=int, default=0)
    asked = parser.parse_args(arguments)
    began = time.monotonic()
    panels = {
        f"{signal}, seed {seed}": simulated(signal, seed, entities=asked.entities, periods=asked.periods)
        for signal in asked.signals
        for seed in asked.seeds
    }
    if asked.changes:
        report_changes(panels, asked.starts)
    if asked.trials:
        report_trials(panels, asked.trials)
    if not asked.changes and not asked.trials:
        begin, first = asked.tune
        tried = grid(asked.penalties, asked.passes) if asked.network else []
        for name, pooled in panels.items():
            report_panel(name, pooled, asked.starts, begin, first, tried)
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
