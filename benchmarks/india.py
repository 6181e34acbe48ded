"""The India example's terms, and what they were chosen among: ``python -m benchmarks.india DIR [--trials N]``.

In plain numbers (the float twin). Terms are chosen on the quarters 2019Q2 to 2020Q2, with the expansions fitted and
the first labels taken on the three quarters before; the later quarters are reported with the example's own warm-up.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._pooled import Pooled, load
from parties.settings.consortium import ConsortiumSettings
from vfl.factors.evaluate import evaluation_window
from vfl.terms import SealedModel

__all__ = ["main"]

F64 = NDArray[np.float64]

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "india_districts" / "consortium.toml"
EARLY, LATE = ("2019Q2", "2020Q2"), ("2020Q3", "2022Q4")
FIRST_QUARTERS = 3
CHEAPER: Mapping[str, Any] = {"threshold": 2.25, "steps": 8, "warmup_steps": 8}


def earlier(settings: ConsortiumSettings) -> ConsortiumSettings:
    """The example with its expansions fitted, and its warm-up, on the first quarters alone."""
    return _expanded(settings, FIRST_QUARTERS).model_copy(
        update={"walk_forward": settings.walk_forward.model_copy(update={"warmup": FIRST_QUARTERS})}
    )


def unexpanded(settings: ConsortiumSettings) -> ConsortiumSettings:
    """The parties' columns as they are."""
    return settings.model_copy(
        update={"party": [party.model_copy(update={"expand": None}) for party in settings.party]}
    )  # fmt: skip


def _expanded(settings: ConsortiumSettings, quarters: int) -> ConsortiumSettings:
    parties = []
    for party in settings.party:
        expand = None if party.expand is None else party.expand.model_copy(update={"fit_periods": quarters})
        parties.append(party.model_copy(update={"expand": expand}))
    return settings.model_copy(update={"party": parties})


def mean(pooled: Pooled, ics: F64, quarters: tuple[str, str]) -> float:
    """Mean rank IC of these quarters."""
    return float(np.nanmean(ics[evaluation_window(pooled.periods, *quarters)]))


def spread(pooled: Pooled, terms: SealedModel, quarters: tuple[str, str], starts: int) -> str:
    """Lowest and highest mean rank IC over the starts."""
    found = [mean(pooled, pooled.sealed(terms, start).whole, quarters) for start in range(starts)]
    return f"{min(found):.3f} to {max(found):.3f}"


def shuffled(pooled: Pooled) -> Pooled:
    """The same with labels shuffled within quarters."""
    generator, label = np.random.default_rng(0), pooled.label.label.copy()
    for row in label:
        known = np.flatnonzero(np.isfinite(row))
        row[known] = row[generator.permutation(known)]
    return Pooled(pooled.settings, pooled.panels, replace(pooled.label, label=label), pooled.periods)


def drawn(generator: np.random.Generator, terms: SealedModel) -> SealedModel:
    """Random width, rates, penalties, steps and batch."""
    steps = int(generator.choice([4, 8, 16]))
    return terms.model_copy(
        update={
            "width": int(generator.choice([4, 8, 16])),
            "linear_rate": 2.0 ** -int(generator.integers(4, 8)),
            "square_rate": 2.0 ** -int(generator.integers(1, 6)),
            "threshold": float(generator.choice([1, 1.5, 2, 2.25, 3])),
            "alpha": float(generator.choice([300, 1000, 3000])),
            "batch_rows": int(generator.choice([512, 1024, 2048])),
            "steps": steps,
            "warmup_steps": steps,
        }
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="where satellite_viirs_monthly.csv.gz and its kin are")
    parser.add_argument("--starts", type=int, default=4)
    parser.add_argument("--trials", type=int, default=0, help="random settings, ranked by the earlier quarters alone")
    asked = parser.parse_args(arguments)
    if asked.folder is None:
        print("no data: name the folder of the India example's files")
        return
    early, late = load(EXAMPLE, asked.folder, earlier), load(EXAMPLE, asked.folder)
    chosen = late.settings.model
    assert isinstance(chosen, SealedModel), "the example is sealed"
    for name, terms in (("chosen", chosen), ("cheaper", chosen.model_copy(update=CHEAPER))):
        before, after = spread(early, terms, EARLY, asked.starts), spread(late, terms, LATE, asked.starts)
        print(f"{name}: {before} in {' to '.join(EARLY)}, {after} in {' to '.join(LATE)}", flush=True)
    raw = load(EXAMPLE, asked.folder, unexpanded)
    for name, pooled in (("expanded columns", late), ("columns themselves", raw)):
        found = [f"{alpha:g}: {mean(pooled, pooled.ridge(alpha), LATE):.3f}" for alpha in (100.0, 300.0, 1000.0)]
        print(f"joint ridge on the {name}, by alpha: {', '.join(found)}")
    print(f"labels shuffled within quarters: {spread(shuffled(late), chosen, LATE, asked.starts)}")
    generator, trials = np.random.default_rng(0), []
    for _ in range(asked.trials):
        terms = drawn(generator, chosen)
        trials.append((mean(early, early.sealed(terms, 0).whole, EARLY), terms))
    for score, terms in sorted(trials, key=lambda trial: -trial[0])[:10]:
        print(f"  {score:.3f}  {terms.model_dump(exclude_defaults=True)}")


if __name__ == "__main__":
    main()
