"""Sealed trees' terms of the India example, and how they were chosen: ``python -m benchmarks.trees_india DATA``.

In the twin, which grows the trees that a run grows of the same seeds. Earlier: the calendar ends with 2020Q2, the
warm-up takes its first 3 quarters, and 2019Q2 to 2020Q2 are predicted. Later: the example as it stands, 2020Q3 to
2022Q4. The example takes the best of ``TRIED`` by the earlier quarters. ``DATA`` is the folder that the example's
README describes. It takes half an hour.
"""

from __future__ import annotations

import argparse
from datetime import date
from pathlib import Path

import numpy as np

from benchmarks._pooled import Pooled, joined
from benchmarks.india import EARLIER, EXAMPLE, LATER, judged, shuffled, spread
from parties.settings.consortium import load_consortium
from vfl.factors.evaluate import ic_by_period
from vfl.models.trees.columns import tree_columns
from vfl.models.trees.twin import twin_scores
from vfl.tree_terms import TreesModel

__all__ = ["main"]

TRIED = (
    {"trees": 150, "rate": 0.2, "refit_every": 5},
    {"trees": 150, "rate": 0.2, "refit_every": 3},
    {"trees": 100, "rate": 0.4, "refit_every": 3},
    {"trees": 150, "rate": 0.3, "depth": 5, "refit_every": 3},
    {"trees": 50, "rate": 0.3, "depth": 4, "candidates": 8, "refit_every": 2},
    {"trees": 60, "rate": 0.4},
    {"trees": 60, "rate": 0.3, "smallest_leaf": 5, "reg_lambda": 5.0},
    {"trees": 100, "rate": 0.3},
)
"""Changes to the example's terms: all have at most 1,100 trees over the ten quarters and the one before."""

FEWER = {"trees": 27, "candidates": 8, "rate": 0.4, "reg_lambda": 5.0, "smallest_leaf": 1}
"""297 trees: of a hundred random settings the best of at most 8 candidates, by four starts on the earlier quarters."""

LARGER = {"trees": 300, "rate": 0.2}
"""Three times as long; the best of 13 random settings on the earlier quarters."""


def panels(data: Path, warmup: int, last: date) -> Pooled:
    """The example, but that the warm-up takes ``warmup`` quarters and that the calendar ends at ``last``."""
    settings = load_consortium(EXAMPLE / "trees.toml")
    assert settings.calendar is not None
    change = {
        "calendar": settings.calendar.model_copy(update={"last": last}),
        "walk_forward": settings.walk_forward.model_copy(update={"warmup": warmup}),
    }
    return joined(settings.model_copy(update=change), EXAMPLE, data)


def mean_ic(terms: TreesModel, pooled: Pooled, start: int) -> float:
    """Mean rank IC of trees whose candidates come from this start."""
    columns = {f"party {place}": tree_columns(panel) for place, panel in enumerate(pooled.panels)}
    columns["label"] = tree_columns(pooled.label.features)
    draw = np.random.default_rng(start)
    seeds = {name: draw.bytes(32) for name in columns}
    found = twin_scores(columns, pooled.label, terms, pooled.settings.walk_forward, seeds)
    return judged(pooled, ic_by_period(found, np.where(pooled.label.universe, pooled.label.label, np.nan)))


def main(arguments: list[str] | None = None) -> None:
    """Print what was tried, and the example's terms on shuffled labels."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--starts", type=int, default=1)
    asked = parser.parse_args(arguments)
    earlier, later = (panels(asked.data, *what) for what in (EARLIER, LATER))
    own = load_consortium(EXAMPLE / "trees.toml").model
    assert isinstance(own, TreesModel)
    for change in (*TRIED, FEWER, LARGER):
        terms = own.model_copy(update=change)
        figures = [spread([mean_ic(terms, each, start) for start in range(asked.starts)]) for each in (earlier, later)]
        print(f"{change}: {figures[0]} earlier, {figures[1]} later", flush=True)
    noise = [mean_ic(own, shuffled(later), start) for start in range(asked.starts)]
    print(f"labels shuffled within quarters: {spread(noise)} later", flush=True)


if __name__ == "__main__":
    main()
