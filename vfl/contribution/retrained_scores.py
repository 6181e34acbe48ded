"""The retrain way, where one process may hold all data: a training per coalition on pooled features.

It is the oracle of the masked way on simulated and demo data. Between real parties nobody may do this: there, a
coalition is a run of its own, proposed with only its members as feature parties (docs/incentives.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from vfl.factors.panel import FeaturePanel, LabelPanel
from vfl.models.split.twin import alone, train_in_the_clear
from vfl.terms import RidgeModel, SplitModel, WalkForward

__all__ = ["retrained_scores"]

Floats = NDArray[np.float64]


def retrained_scores(
    panels: Mapping[str, FeaturePanel],
    label_panel: LabelPanel,
    wanted: Iterable[frozenset[str]],
    terms: SplitModel | RidgeModel,
    walk: WalkForward,
    *,
    row_limit: int,
    reserved: int = 0,
    weights: Mapping[str, Floats],
) -> dict[frozenset[str], Floats]:
    """Scores (T, n) of a model trained anew by each ``wanted`` coalition of feature parties with the label party.

    weights: initial weights (d_k, h) per party, the same in every coalition, so that only membership differs.
    row_limit, reserved: as in ``prequential``, so that the schedule is the joint run's. The empty coalition trains on
    the label party's own features; without any it scores nobody: 0 where the others predict. Raises ValueError on an
    unknown party.
    """
    scores: dict[frozenset[str], Floats] = {}
    for coalition in wanted:
        strangers = coalition - set(panels)
        if strangers:
            raise ValueError(f"no panel of {', '.join(sorted(strangers))}: give one for every party of a coalition")
        members = [name for name in panels if name in coalition]
        if members:
            result, _ = train_in_the_clear(
                [panels[name] for name in members],
                label_panel,
                terms,
                walk,
                row_limit=row_limit,
                reserved=reserved,
                weights=[weights[name] for name in members],
            )
            scores[coalition] = result.scores
        elif label_panel.features.values.shape[-1]:
            scores[coalition] = alone(None, label_panel, terms, walk).scores
        else:
            scores[coalition] = np.where(label_panel.universe, 0.0, np.nan)
    return scores
