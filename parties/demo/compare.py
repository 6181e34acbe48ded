"""What only a demo can know, since it owns every party's data: the plaintext twin of the run, and each fund alone.

It reads the homes below the demo's folder and writes ``twin.json`` there, in a process of its own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from parties.agreement.document import Agreement
from parties.data.calendar import calendar_of
from parties.data.entities import party_entities
from parties.data.panel import build_feature_panel, build_label_panel
from parties.errors import DataError
from parties.node.context import node_secret
from parties.node.home import NodeHome
from parties.node.search import searched_in_the_clear
from vfl.arithmetic.randomness import SecretStream
from vfl.contribution import ContributionReport, coalitions, exact_shapley
from vfl.contribution.retrained_scores import retrained_scores
from vfl.factors.evaluate import Evaluation, evaluate, evaluation_window, ic_by_period
from vfl.factors.panel import Calendar, FeaturePanel, LabelPanel
from vfl.models.ridge.basis import secret_rotation
from vfl.models.split.initial import turned_columns
from vfl.models.split.twin import alone, initial_weights, train_in_the_clear
from vfl.protocols.opened_numbers import ClearNoise, OpenedNumbers, RowNoise
from vfl.terms import SplitModel

__all__ = ["TWIN_FILE", "Pooled", "compare", "largest_difference", "write_comparison"]

TWIN_FILE = "twin.json"

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Pooled:
    """All parties' data in one place, which no real run ever has. ``panels`` are in agreed feature-party order."""

    agreement: Agreement
    homes: dict[str, NodeHome]
    calendar: Calendar
    entities: tuple[str, ...]
    panels: dict[str, FeaturePanel]
    label: LabelPanel

    @classmethod
    def load(cls, out: Path) -> Pooled:
        """Align in the clear and build every panel, from the homes below ``out``."""
        agreement = Agreement.model_validate_json((out / "agreement.json").read_bytes())
        calendar = calendar_of(agreement.calendar)
        homes = {party.name: NodeHome(out / "parties" / party.name) for party in agreement.parties}
        common: set[str] | None = None
        for home in homes.values():
            settings = home.settings
            ids = set(party_entities(settings.party, _queries(home), _data(home), settings.label))
            common = ids if common is None else common & ids
        entities = tuple(sorted(common or ()))
        panels = {
            party.name: build_feature_panel(
                homes[party.name].settings.party,
                _queries(homes[party.name]),
                _data(homes[party.name]),
                calendar,
                entities,
            )
            for party in agreement.features
        }
        held = homes[agreement.label.party]
        assert held.settings.label is not None
        label = build_label_panel(
            held.settings.party,
            held.settings.label,
            _queries(held),
            _data(held),
            calendar,
            entities,
            tuple(horizon.name for horizon in agreement.walk_forward.horizons),
        )
        return cls(agreement, homes, calendar, entities, panels, label)

    def scores(self, folder: Path) -> Floats:
        """The exported factor as float64 (T, n), NaN where it has none. Raises :class:`DataError` for foreign rows."""
        factor = pd.read_parquet(folder / "factor.parquet")["score"]
        sessions = pd.DatetimeIndex(self.calendar.cutoffs).normalize()
        period = sessions.get_indexer(pd.DatetimeIndex(factor.index.get_level_values(0)).as_unit("ns"))
        entity = pd.Index(self.entities, dtype=object).get_indexer(factor.index.get_level_values(1).astype(object))
        if (period < 0).any() or (entity < 0).any():
            raise DataError(f"{folder}: the factor has rows that the parties do not share: alignment went wrong")
        scores = np.full((len(self.calendar), len(self.entities)), np.nan)
        scores[period, entity] = factor.to_numpy()
        return scores

    def twin_scores(self) -> Floats:
        """The same run without encryption, from the same initial weights, float64 (T, n)."""
        agreement = self.agreement
        names = [party.name for party in agreement.features]
        panels, weights = [self._columns(name) for name in names], self._initial_weights(names)
        if agreement.search is not None:
            return searched_in_the_clear(agreement, panels, self.label, weights, self._noise(names))
        result, _ = train_in_the_clear(
            panels,
            self.label,
            agreement.model,
            agreement.walk_forward,
            row_limit=agreement.openings_left,
            reserved=agreement.needed_openings - 1 - agreement.model.epochs,
            weights=weights,
            noise=self._noise(names),
        )
        return result.scores

    def _noise(self, names: Sequence[str]) -> ClearNoise:
        """What every feature party added to its part of what opened."""
        numbers = OpenedNumbers(self.agreement.openings.deviation)
        purpose = f"noise/{self.agreement.run_id}"
        return ClearNoise(numbers, [RowNoise(node_secret(self.homes[name].seed, purpose), numbers) for name in names])

    def _columns(self, name: str) -> FeaturePanel:
        """What the sealed source layer worked on: a warm start has a party's columns in its secret basis."""
        agreement, panel = self.agreement, self.panels[name]
        if not isinstance(agreement.model, SplitModel) or agreement.model.warm_start == "none":
            return panel
        secret = SecretStream(node_secret(self.homes[name].seed, f"rotation/{agreement.run_id}"))
        rotation = secret_rotation(secret, len(panel.columns))
        turned = turned_columns(panel.rows, rotation, agreement.fixed_point.clip)
        return replace(panel, values=turned.reshape(panel.values.shape))

    def _initial_weights(self, names: Sequence[str]) -> list[Floats]:
        """What the sealed run started from, (d_k, h) per party."""
        agreement = self.agreement
        purpose = agreement.initial_purpose
        holder = self.homes[agreement.label.party].seed
        seeds = [
            (node_secret(self.homes[name].seed, purpose), node_secret(holder, f"{purpose}/{name}")) for name in names
        ]
        columns = [len(agreement.party(name).columns) for name in names]
        return initial_weights(seeds, columns, agreement.model.embedding_width, agreement.fixed_point)

    def retrained(self) -> ContributionReport:
        """Contributions by a training per coalition, from the run's initial weights and on its schedule."""
        agreement = self.agreement
        names = [party.name for party in agreement.features]
        joint = self._initial_weights(names)
        scores = retrained_scores(
            {name: self._columns(name) for name in names},
            self.label,
            coalitions(names),
            agreement.model,
            agreement.walk_forward,
            row_limit=agreement.schedule_limit,
            reserved=agreement.reserved_openings,
            weights=dict(zip(names, joint, strict=True)),
        )
        terms = agreement.evaluation
        window = evaluation_window(self.calendar.periods, terms.first, terms.last)
        labels = np.where(self.label.universe, self.label.label, np.nan)[window]
        game = {c: ic_by_period(s[window], labels, "rank", when_constant=0.0) for c, s in scores.items()}
        return exact_shapley(
            game,
            parties=names,
            method="retrain",
            horizon=max(agreement.walk_forward.horizon, 1),
            entities={party.name: party.legal_entity for party in agreement.features},
        )

    def alone(self, name: str) -> Floats:
        """What one party's features reach without anyone else's, float64 (T, n)."""
        model, walk = self.agreement.model, self.agreement.walk_forward
        if name == self.agreement.label.party:
            return alone(None, self.label, model, walk).scores
        panel = self.panels[name]
        seeds = [(node_secret(self.homes[name].seed, "alone/ours"), node_secret(self.homes[name].seed, "alone/theirs"))]
        columns = [len(panel.columns)]
        weights = initial_weights(seeds, columns, model.embedding_width, self.agreement.fixed_point)
        return alone(panel, self.label, model, walk, weights=weights[0]).scores

    def evaluate(self, scores: dict[str, Floats]) -> Evaluation:
        """ICs as the label party measures them: same window, and only rows that the joint factor scores."""
        terms = self.agreement.evaluation
        scored = np.isfinite(scores["joint"])
        return evaluate(
            {name: np.where(scored, values, np.nan) for name, values in scores.items()},
            np.where(self.label.universe, self.label.label, np.nan),
            self.calendar.periods,
            horizon=max(self.agreement.walk_forward.horizon, 1),
            first=terms.first,
            last=terms.last,
        )


def compare(out: Path, folder: Path, *, parity: bool, retrain: bool = False) -> dict[str, Any]:
    """The record that goes into twin.json. ``folder``: the exported bundle.

    single: rank IC of each feature party trained alone. rank_ic: per model and period. parity: largest absolute score
    difference between the run and its plaintext twin, in standard deviations of the period's scores.
    """
    pooled = Pooled.load(out)
    joint = pooled.scores(folder)
    names = [party.name for party in pooled.agreement.features]
    scores = {"joint": joint} | {name: pooled.alone(name) for name in names}
    own = pooled.agreement.label.party
    if pooled.label.features.columns:
        scores[own] = pooled.alone(own)
    found = pooled.evaluate(scores)
    return {
        "n_common": len(pooled.entities),
        "single": {name: _or_none(found.summaries[name]["rank"].mean) for name in names},
        "periods": list(found.periods),
        "rank_ic": {name: [_or_none(value) for value in by["rank"]] for name, by in found.ics.items()},
        "better_than": {name: gain["rank"].better for name, gain in found.uplifts.items()},
        "parity": largest_difference(joint, pooled.twin_scores()) if parity else None,
        "retrain": pooled.retrained().record() if retrain else None,
    }


def largest_difference(scores: Floats, others: Floats) -> float:
    """Max |difference| of float64 (T, n) over each period's standard deviation of ``scores``; same rows scored."""
    if not np.array_equal(np.isnan(scores), np.isnan(others)):
        raise DataError("the run and its plaintext twin predicted different rows: their schedules differ")
    worst = 0.0
    for period in np.flatnonzero(np.isfinite(scores).any(axis=1)):
        inside = np.isfinite(scores[period])
        spread = float(scores[period, inside].std()) or 1.0
        worst = max(worst, float(np.abs(scores[period, inside] - others[period, inside]).max()) / spread)
    return worst


def _queries(home: NodeHome) -> Path:
    return home.folder / home.settings.queries


def _data(home: NodeHome) -> Path:
    return home.folder / home.settings.data


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def write_comparison(out: Path, folder: Path, *, parity: bool, retrain: bool = False) -> None:
    """Compare and leave the record in ``out/twin.json``."""
    record = compare(out, folder, parity=parity, retrain=retrain)
    (out / TWIN_FILE).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
