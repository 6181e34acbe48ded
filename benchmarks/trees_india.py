"""Sealed trees' twin on the India example: rank IC before 2020Q3, and from it on.

``ENTENTE_SHARED_DATA=FOLDER python -m benchmarks.trees_india`` prints each setting's mean rank IC in the only quarter
before 2020Q3 that the example's warm-up leaves, and over 2020Q3 to 2022Q4. It takes some minutes.
"""

from __future__ import annotations

import numpy as np

from tests.vfl.models.test_india import load
from vfl.factors.evaluate import ic_by_period
from vfl.models.trees.columns import tree_columns
from vfl.models.trees.twin import twin_scores
from vfl.tree_terms import TreesModel

SETTINGS = (
    TreesModel(trees=300, depth=6, candidates=4, rate=0.2, smallest_leaf=10),
    TreesModel(trees=300),
    TreesModel(),
)


def main() -> None:
    """Every setting, with candidates from one seed."""
    pooled = load("split.toml")
    columns = {f"party {place}": tree_columns(panel) for place, panel in enumerate(pooled.panels)}
    columns["label"] = tree_columns(pooled.label.features)
    labels = np.where(pooled.label.universe, pooled.label.label, np.nan)
    first = pooled.calendar.periods.index("2020Q3")
    for terms in SETTINGS:
        draw = np.random.default_rng(0)
        seeds = {name: draw.bytes(32) for name in columns}
        found = ic_by_period(twin_scores(columns, pooled.label, terms, pooled.settings.walk_forward, seeds), labels)
        said = f"{terms.trees} trees of depth {terms.depth}, {terms.candidates} candidates, rate {terms.rate:g}"
        print(f"{said}: {np.nanmean(found[:first]):.3f} before, {np.nanmean(found[first:]):.3f} after", flush=True)


if __name__ == "__main__":
    main()
