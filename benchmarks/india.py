"""The sealed network's terms of the India example, and how they were chosen: ``python -m benchmarks.india DATA``.

In plain numbers (the float twin, within 1e-3 score deviations of a run). Earlier: the calendar ends with 2020Q2,
expansions and warm-up take its first 3 quarters, and 2019Q2 to 2020Q2 are predicted. Later: the example as it stands,
2020Q3 to 2022Q4. ``--trials N`` ranks N random settings by the earlier quarters alone and prints both (minutes).
``DATA`` is the folder that the example's README describes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._pooled import Pooled, joined
from parties.data.calendar import calendar_of, calendar_terms
from parties.settings.consortium import load_consortium
from psi.flow import LocalProtocolError
from vfl.models.sealed.initial import sealed_draw
from vfl.models.sealed.scales import check_ranges
from vfl.models.sealed.twin import float_twin_scores, integer_twin
from vfl.terms import SealedModel

__all__ = ["main"]

EXAMPLE = Path(__file__).parents[1] / "examples" / "india_districts"
EARLIER, LATER = (3, date(2020, 6, 30)), (7, date(2022, 12, 31))
HALF = {"steps": 8}
ALPHA = 100.0
FINALISTS = 20


def panels(data: Path, warmup: int, last: date) -> Pooled:
    """The example, but that expansions and warm-up take ``warmup`` quarters and that the calendar ends at ``last``."""
    settings = load_consortium(EXAMPLE / "consortium.toml")
    assert settings.calendar is not None
    parties = tuple(
        party.model_copy(update={"expand": party.expand and party.expand.model_copy(update={"fit_periods": warmup})})
        for party in settings.party
    )
    change = {
        "party": parties,
        "calendar": settings.calendar.model_copy(update={"last": last}),
        "walk_forward": settings.walk_forward.model_copy(update={"warmup": warmup}),
    }
    return joined(settings.model_copy(update=change), EXAMPLE, data)


def drawn(generator: np.random.Generator, columns: int, pooled: Pooled) -> SealedModel:
    """Random settings around the example's, all of which fit the ring."""
    while True:
        terms = SealedModel(
            width=int(generator.choice([4, 8, 16])),
            batch_rows=int(generator.choice([1024, 2048, 4096])),
            warmup_steps=int(generator.choice([4, 8, 16, 32])),
            steps=int(generator.choice([2, 4, 8, 16])),
            linear_rate=2.0 ** -int(generator.integers(2, 7)),
            square_rate=2.0 ** -int(generator.integers(1, 6)),
            alpha=float(generator.choice([300, 1000, 3000])),
            threshold=float(generator.choice([1, 1.5, 2, 2.25, 2.5, 3])),
        )
        try:
            check_ranges(terms, pooled.settings.fixed_point, terms.batch_rows, columns)
        except LocalProtocolError:
            continue
        return terms


def judged(pooled: Pooled, ics: NDArray[np.float64]) -> float:
    """The mean over the quarters that the example evaluates, or over all where the calendar ends before them."""
    settings = pooled.settings
    assert settings.calendar is not None
    periods = calendar_of(calendar_terms(settings.calendar)).periods
    first = settings.evaluation.first
    return float(np.nanmean(ics[periods.index(first) if first in periods else 0 :]))


def spread(values: list[float]) -> str:
    """The lowest and the highest of some starts' figures."""
    return f"{min(values):.3f} to {max(values):.3f}"


def report(name: str, of: Callable[[Pooled, int], float], earlier: Pooled, later: Pooled, starts: int) -> None:
    """One line of a table: a setting's mean rank IC over the earlier quarters, and over the later ones."""
    figures = [spread([of(pooled, start) for start in range(starts)]) for pooled in (earlier, later)]
    print(f"{name}: {figures[0]} earlier, {figures[1]} later", flush=True)


def sealed(terms: SealedModel) -> Callable[[Pooled, int], float]:
    """The mean rank IC of the sealed network with these terms."""
    return lambda pooled, start: judged(pooled, pooled.sealed(terms, start).whole)


def steady(terms: SealedModel, pooled: Pooled, starts: int) -> list[float]:
    """Rank ICs from some initial weights; empty where training diverges from any of them."""
    try:
        with np.errstate(over="raise", invalid="raise"):
            return [sealed(terms)(pooled, start) for start in range(starts)]
    except FloatingPointError:
        return []


def rounding(terms: SealedModel, pooled: Pooled) -> float:
    """The largest difference of a score of the twin that rounds as a run does, in the plain scores' deviations."""
    walk, fixed, label, panels = pooled.settings.walk_forward, pooled.settings.fixed_point, pooled.label, pooled.panels
    columns, seeds = pooled.values.shape[2], (bytes([1]) * 32, bytes([2]) * 32)
    weight = sum(sealed_draw(seed, columns, terms, columns) for seed in seeds)
    plain = float_twin_scores([*(p.rows for p in panels), label.features.rows], label, terms, walk, fixed, seeds)
    rounded = integer_twin(panels, label, terms, walk, fixed, np.asarray(weight))
    return float(np.nanmax(np.abs(rounded - plain)) / np.nanstd(plain))


def shuffled(pooled: Pooled) -> Pooled:
    """The same with each quarter's labels given to other districts."""
    generator, labels = np.random.default_rng(0), pooled.label.label.copy()
    for row in labels:
        known = np.flatnonzero(np.isfinite(row))
        row[known] = row[generator.permutation(known)]
    return Pooled(pooled.settings, pooled.panels, replace(pooled.label, label=labels))


def report_trials(earlier: Pooled, later: Pooled, count: int, starts: int) -> None:
    """Random settings from one start each; the best of them judged by the worst of several starts, earlier only."""
    generator, columns = np.random.default_rng(0), earlier.values.shape[2]
    first = []
    for _ in range(count):
        terms = drawn(generator, columns, earlier)
        first += [(found[0], terms) for found in [steady(terms, earlier, 1)] if found]
    best = sorted(first, key=lambda trial: -trial[0])[:FINALISTS]
    again = [(found, terms) for _, terms in best for found in [steady(terms, earlier, starts)] if found]
    print(f"of {count} random settings {count - len(first)} diverge; the best by their worst of {starts} starts:")
    for before, terms in sorted(again, key=lambda trial: -min(trial[0]))[:10]:
        after = steady(terms, later, starts)
        said = f"{spread(after)}, rounding {rounding(terms, later):.1e}" if after else "diverges"
        print(f"  {spread(before)}; later {said}  {terms.model_dump(exclude_defaults=True)}", flush=True)


def main(arguments: list[str] | None = None) -> None:
    """Print the table of docs/models.md, or trials."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.india", description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--starts", type=int, default=4)
    parser.add_argument("--trials", type=int)
    asked: Any = parser.parse_args(arguments)
    earlier, later = panels(asked.data, *EARLIER), panels(asked.data, *LATER)
    if asked.trials:
        report_trials(earlier, later, asked.trials, asked.starts)
        return
    terms = later.settings.model
    if not isinstance(terms, SealedModel):
        raise SystemExit(f"{EXAMPLE / 'consortium.toml'}: [model] kind is not sealed")
    report("the example's terms", sealed(terms), earlier, later, asked.starts)
    print(f"  rounding: at most {rounding(terms, later):.1e} score deviations")
    report("half the cost", sealed(terms.model_copy(update=HALF)), earlier, later, asked.starts)
    report("labels shuffled within quarters", sealed(terms), shuffled(earlier), shuffled(later), asked.starts)
    report("joint ridge", lambda pooled, _: judged(pooled, pooled.ridge(ALPHA)), earlier, later, 1)


if __name__ == "__main__":
    main()
