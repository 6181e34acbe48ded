"""All parties' panels of a consortium in one place, and plain models on them: what no real run ever has."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parties.data.calendar import calendar_of, calendar_terms
from parties.data.entities import party_entities
from parties.data.panel import build_feature_panel, build_label_panel
from parties.settings.consortium import ConsortiumSettings, load_consortium
from vfl.factors.evaluate import ic_by_period
from vfl.factors.panel import FeaturePanel, LabelPanel
from vfl.models.ridge.walk import ridge_in_the_clear
from vfl.models.sealed.columns import SealedLabels, sealed_columns
from vfl.models.sealed.initial import sealed_draw
from vfl.models.sealed.scales import WEIGHT_BITS
from vfl.models.sealed.twin import FloatTwin, run_twin
from vfl.terms import RidgeModel, SealedModel
from vfl.walk.cycles import cyclic
from vfl.walk.schedule import Step, resolved_at

__all__ = ["Found", "Pooled", "joined", "load"]

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Found:
    """Rank ICs (T,) of a sealed network's scores, and of its linear column's alone; NaN where nothing is predicted."""

    whole: F64
    linear: F64


@dataclass
class Pooled:
    """panels: the feature parties' in agreed order; ``label`` brings the label party's own columns."""

    settings: ConsortiumSettings
    panels: Sequence[FeaturePanel]
    label: LabelPanel
    _encoded: dict[float, F64] = field(default_factory=dict, init=False)

    @property
    def values(self) -> F64:
        """Everybody's columns, float64 (T, n, d), the label party's last."""
        return np.concatenate([*(panel.values for panel in self.panels), self.label.features.values], axis=2)

    @property
    def resolved(self) -> NDArray[np.int64]:
        """First decision period (T, n) at which a row may be trained on."""
        label = self.label
        return resolved_at(self.settings.walk_forward, label.known_from, label.label, label.universe)

    def ics(self, scores: F64) -> F64:
        """Rank IC of each period."""
        return ic_by_period(scores, np.where(self.label.universe, self.label.label, np.nan))

    def sealed(self, terms: SealedModel, start: int) -> Found:
        """The float twin from the ``start``-th initial weights."""
        label, walk, features = self.label, self.settings.walk_forward, self._columns(terms)
        columns = features.shape[1]
        weight = sum(sealed_draw(bytes([start, side]) * 16, columns, terms, columns) for side in (1, 2))
        twin = _Watched(features, np.ldexp(np.float64(weight), -WEIGHT_BITS), terms)
        labels = SealedLabels(label.label, self.resolved)
        steps = tuple(cyclic(terms, walk, label.known_from, label.label, label.universe))
        scores = run_twin(twin, steps, lambda step: labels.at(step.period, step.rows))
        return Found(self.ics(scores.reshape(label.label.shape)), self.ics(twin.linear.reshape(label.label.shape)))

    def _columns(self, terms: SealedModel) -> F64:
        if terms.row_clip not in self._encoded:
            fixed = self.settings.fixed_point
            sides = [*(panel.rows for panel in self.panels), self.label.features.rows]
            whole = np.concatenate([sealed_columns(rows, terms, fixed) for rows in sides if rows.shape[1]], axis=1)
            self._encoded[terms.row_clip] = np.ldexp(whole.astype(np.float64), -fixed.feature_bits)
        return self._encoded[terms.row_clip]

    def ridge(self, alpha: float) -> F64:
        """Rank ICs of the joint ridge, solved anew at every period."""
        terms, columns = RidgeModel(alpha=alpha, rows_per_column=2), self.values.shape[2]
        result, _ = ridge_in_the_clear(self.panels, self.label, terms, self.settings.walk_forward, columns)
        return self.ics(result.scores)

    def network(self, settings: Mapping[str, Any], first: int, last: int, every: int) -> F64:
        """Rank ICs of scikit-learn's MLP on the pooled columns, periods ``first`` to ``last``, refitted ``every``."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPRegressor

        values, due, labels = self.values, self.resolved.reshape(-1), SealedLabels(self.label.label, self.resolved)
        flat, scores = values.reshape(-1, values.shape[2]), np.full(self.label.label.shape, np.nan)
        model = MLPRegressor(random_state=0, **settings)
        for period in range(first, last):
            if (period - first) % every == 0:
                rows = np.flatnonzero(due <= period).astype(np.int64)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ConvergenceWarning)  # passes are one of the settings tuned
                    model.fit(flat[rows], labels.at(period, rows))
            scores[period] = model.predict(values[period])
        return self.ics(scores)


class _Watched(FloatTwin):
    """A float twin that also keeps what its linear column alone predicts."""

    def __init__(self, features: F64, weight: F64, terms: SealedModel) -> None:
        super().__init__(features, weight, terms)
        self.linear = np.full(len(features), math.nan)

    def predict(self, step: Step) -> F64:
        self.linear[step.rows] = self.features[step.rows] @ self.weight[:, 0]
        return super().predict(step)


def load(config: Path, data: Path) -> Pooled:
    """Every party's panel of the consortium ``config``, on the entities that all of them have."""
    return joined(load_consortium(config), config.parent, data)


def joined(settings: ConsortiumSettings, folder: Path, data: Path) -> Pooled:
    """As :func:`load`, of settings in hand; ``folder`` has their queries."""
    assert settings.calendar is not None
    calendar = calendar_of(calendar_terms(settings.calendar))
    (fund,) = (party for party in settings.party if party.role == "label")
    entities = [party_entities(p, folder, data, settings.label if p is fund else None) for p in settings.party]
    common = tuple(sorted(set.intersection(*map(set, entities))))
    panels = [build_feature_panel(p, folder, data, calendar, common) for p in settings.party if p is not fund]
    return Pooled(settings, panels, build_label_panel(fund, settings.label, folder, data, calendar, common))
