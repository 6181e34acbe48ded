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
from parties.agreement.static_terms import TEST
from parties.data.agreed_rows import rows_of
from parties.data.calendar import calendar_of
from parties.data.security_list import within_list
from parties.demo.anchored_twins import AnchoredTwins
from parties.demo.class_measures import class_measures, class_parity
from parties.demo.federated_twin import compare_members
from parties.demo.parity import Parity, found_parity
from parties.demo.screen_twin import compare_screen
from parties.demo.static_measures import static_measures
from parties.errors import DataError
from parties.node.align import listed_universe
from parties.node.context import node_secret
from parties.node.group_encoder import as_served, joint_fit
from parties.node.group_order import names_served
from parties.node.home import NodeHome
from parties.node.own_rows import kept_own_rows, served_values, withheld_of
from parties.node.sealed_trials import chosen_in_the_clear
from parties.node.search import searched_in_the_clear
from vfl.arithmetic.randomness import SecretStream
from vfl.contribution import ContributionReport, coalitions, exact_shapley
from vfl.contribution.retrained_scores import retrained_scores
from vfl.factors.bundle_metadata import SCORES
from vfl.factors.evaluate import Evaluation, evaluate, evaluation_window, ic_by_period
from vfl.factors.panel import FeaturePanel, LabelPanel
from vfl.models.ridge.basis import secret_rotation
from vfl.models.sealed.twin import float_twin
from vfl.models.split.initial import turned_columns
from vfl.models.split.twin import alone, initial_weights, train_in_the_clear
from vfl.protocols.opened_numbers import ClearNoise, OpenedNumbers, RowNoise
from vfl.terms import AnchoredModel, FederatedModel, ScreenModel, SealedModel, SplitModel

__all__ = ["TWIN_FILE", "Pooled", "compare", "write_comparison"]

TWIN_FILE = "twin.json"

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Pooled:
    """All parties' data in one place, which no real run ever has. ``panels`` are in agreed feature-party order."""

    agreement: Agreement
    homes: dict[str, NodeHome]
    entities: tuple[str, ...]
    panels: dict[str, FeaturePanel]
    label: LabelPanel

    @classmethod
    def load(cls, out: Path) -> Pooled:
        """Align in the clear and build every panel, from the homes below ``out``."""
        agreement = Agreement.model_validate_json((out / "agreement.json").read_bytes())
        rows = rows_of(agreement)
        homes = {party.name: NodeHome(out / "parties" / party.name) for party in agreement.parties}
        brought = {
            name: set(rows.entities(home.settings.party, _queries(home), _data(home), home.settings.label))
            for name, home in homes.items()
        }
        held = homes[agreement.label.party]
        public = None
        if agreement.alignment.policy == "universe":
            public = listed_universe(agreement, held.settings, held.folder)
            common = set(public.ids)
        elif agreement.alignment.hides_coverage:
            # over a union the factor has every entity of the label party
            common = brought[agreement.label.party]
        else:
            common = set.intersection(*brought.values())
        entities = tuple(sorted(common))
        runs = {name: home.folder / "runs" / agreement.run_id for name, home in homes.items()}
        panels = {
            party.name: rows.features(
                as_served(agreement, homes[party.name].settings.party),
                _queries(homes[party.name]),
                _data(homes[party.name]),
                names_served(agreement, party.name, runs[party.name], entities),
                joint_fit(agreement, party.name, runs[party.name]),
            )
            for party in agreement.features
        }
        assert held.settings.label is not None
        label = rows.labels(held.settings.party, held.settings.label, _queries(held), _data(held), entities)
        if public is not None and agreement.calendar is not None:
            label = within_list(label, public.listed(calendar_of(agreement.dated), entities))
        return cls(agreement, homes, entities, panels, label)._searched()

    def _searched(self) -> Pooled:
        """The same under the configuration that the run's search chooses in the clear; as it is without such a one."""
        agreement, names = self.agreement, [party.name for party in self.agreement.features]
        walk, fixed = agreement.walk_forward, agreement.fixed_point

        def scored(model: SealedModel) -> Floats:
            panels, weight = [self.panels[name] for name in names], self.anchored.weights(model, names)
            return float_twin(panels, self.label, model, walk, fixed, weight, self.anchored.heads(names))

        chosen = chosen_in_the_clear(agreement, self.label, scored)
        return self if chosen is None else replace(self, agreement=agreement.model_copy(update={"model": chosen}))

    def scores(self, folder: Path) -> Floats:
        """The exported factor as float64 (T, n), NaN where it has none. Raises :class:`DataError` for foreign rows."""
        listed = pd.Index(self.entities, dtype=object)
        if self.label.scale is not None:
            table = pd.read_parquet(folder / SCORES)
            centre, spread = self.label.scale
            period = np.where(table["part"] == TEST, 1, 0)
            entity = listed.get_indexer(pd.Index(table["entity"], dtype=object))
            values = (table["score"].to_numpy() - centre) / spread
        else:
            factor = pd.read_parquet(folder / "factor.parquet")["score"]
            sessions = pd.DatetimeIndex(calendar_of(self.agreement.dated).cutoffs).normalize()
            period = sessions.get_indexer(pd.DatetimeIndex(factor.index.get_level_values(0)).as_unit("ns"))
            entity = listed.get_indexer(factor.index.get_level_values(1).astype(object))
            values = factor.to_numpy()
        if (period < 0).any() or (entity < 0).any():
            raise DataError(f"{folder}: the factor has rows that the parties do not share: alignment went wrong")
        scores = np.full(self.label.label.shape, np.nan)
        scores[period, entity] = values
        return scores

    def parity(self, scores: Floats) -> Parity:
        """``scores`` (T, n) of the run beside those of the same run without encryption, from the same weights."""
        agreement = self.agreement
        names = [party.name for party in agreement.features]
        if isinstance(agreement.model, AnchoredModel):
            return self.anchored.parity(agreement.model, scores)
        panels, weights = [self._columns(name) for name in names], self._initial_weights(names)
        if agreement.search is not None:
            return found_parity(
                scores, searched_in_the_clear(agreement, panels, self.label, weights, self._noise(names)), None
            )
        made = [
            train_in_the_clear(
                panels,
                self.label,
                agreement.model,
                agreement.walk_forward,
                row_limit=agreement.openings_left,
                reserved=agreement.needed_openings - 1 - agreement.model.epochs,
                weights=weights,
                fixed_point=fixed,
                noise=self._noise(names),
            )[0]
            for fixed in (None, agreement.fixed_point)
        ]
        fixed = agreement.fixed_point
        clipped = sum(int((np.abs(panel.rows) > fixed.clip).sum()) for panel in panels)
        room = 2.0 ** (fixed.ring_bits - 1 - fixed.feature_bits - fixed.weight_bits)
        largest = float(np.nanmax(np.abs(made[0].embeddings), initial=0.0))
        over = f"an embedding of {largest:.3g} does not fit the ring's {room:.3g}, lower model.source_learning_rate"
        return found_parity(
            scores, made[0].scores, made[1].scores, overflow=over if largest >= room else "", clipped=clipped
        )

    @property
    def anchored(self) -> AnchoredTwins:
        """Twins of a model on shares."""
        return AnchoredTwins(self.agreement, self.homes, self.panels, self.label)

    def _noise(self, names: Sequence[str]) -> ClearNoise:
        """What every feature party added to its part of what opened."""
        numbers = OpenedNumbers(self.agreement.openings.deviation)
        purpose = f"noise/{self.agreement.run_id}"
        return ClearNoise(numbers, [RowNoise(node_secret(self.homes[name].seed, purpose), numbers) for name in names])

    def _columns(self, name: str) -> FeaturePanel:
        """What a model that opens rows worked on: what a party served, where it is turned in its secret basis."""
        agreement, panel, home = self.agreement, self.panels[name], self.homes[name]
        run = home.folder / "runs" / agreement.run_id
        absent = node_secret(home.seed, f"absent/{agreement.run_id}")
        served = served_values(panel, withheld_of(run, panel), absent)
        panel = replace(panel, values=served.reshape(panel.values.shape))
        own = kept_own_rows(run)
        mixed = own is not None and bool(own.discrete)
        if not isinstance(agreement.model, SplitModel) or not (mixed or agreement.model.warm_start == "ridge"):
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
        scores = self._retrained_scores(names)
        terms = agreement.evaluation
        window = evaluation_window(self.agreement.periods, terms.first, terms.last)
        labels = np.where(self.label.universe, self.label.label, np.nan)[window]
        game = {c: ic_by_period(s[window], labels, "rank", when_constant=0.0) for c, s in scores.items()}
        return exact_shapley(
            game,
            parties=names,
            method="retrain",
            horizon=max(agreement.walk_forward.horizon, 1),
            entities={party.name: party.legal_entity for party in agreement.features},
        )

    def _retrained_scores(self, names: Sequence[str]) -> dict[frozenset[str], Floats]:
        agreement, model, walk = self.agreement, self.agreement.model, self.agreement.walk_forward
        wanted = coalitions(names)
        if isinstance(model, AnchoredModel):
            return {coalition: self.anchored.of_coalition(model, coalition) for coalition in wanted}
        joint = self._initial_weights(names)
        return retrained_scores(
            {name: self._columns(name) for name in names},
            self.label,
            wanted,
            model,
            walk,
            row_limit=agreement.schedule_limit,
            reserved=agreement.reserved_openings,
            weights=dict(zip(names, joint, strict=True)),
        )

    def alone(self, name: str) -> Floats:
        """What one party's features reach without anyone else's, float64 (T, n)."""
        model, walk = self.agreement.model, self.agreement.walk_forward
        if isinstance(model, AnchoredModel):
            return self.anchored.alone(model, name)
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
            self.agreement.periods,
            horizon=max(self.agreement.walk_forward.horizon, 1),
            first=terms.first,
            last=terms.last,
        )


def compare(out: Path, folder: Path, *, parity: bool, retrain: bool = False) -> dict[str, Any]:
    """The record that goes into twin.json. ``folder``: the exported bundle.

    single: rank IC of each feature party trained alone. rank_ic: per model and period; of static data what
    :func:`parties.demo.static_measures.static_measures` has instead. parity: largest absolute score
    difference between the run and its plaintext twin, in standard deviations of the period's scores. rounded: to the
    twin that rounds alike. cause: of a parity above 1e-3, "" where it is below. within: whether that is no more than
    the last places of what opens.
    """
    agreement = Agreement.model_validate_json((out / "agreement.json").read_bytes())
    if isinstance(agreement.model, FederatedModel):
        return compare_members(out, agreement, folder, parity=parity)
    pooled = Pooled.load(out)
    names = [party.name for party in pooled.agreement.features]
    static = pooled.agreement.static
    if static is not None and static.classes is not None:
        twins, entities = pooled.anchored, pooled.entities
        far = class_parity(twins, entities, folder) if parity else None
        return _record(pooled, class_measures(twins, entities, folder, names), far)
    joint = pooled.scores(folder)
    scores = {"joint": joint} | {name: pooled.alone(name) for name in names}
    own = pooled.agreement.label.party
    if pooled.label.features.columns:
        scores[own] = pooled.alone(own)
    near = pooled.parity(joint) if parity else None
    quality = (
        _by_period(pooled, scores, names)
        if static is None
        else static_measures(static, pooled.label, {name: one[1] for name, one in scores.items()}, names)
    )
    return _record(pooled, quality, near, pooled.retrained().record() if retrain else None)


def _record(
    pooled: Pooled, quality: dict[str, Any], near: Parity | None, retrain: dict[str, Any] | None = None
) -> dict[str, Any]:
    return quality | {
        "n_common": len(pooled.entities),
        "parity": None if near is None else near.floats,
        "rounded": None if near is None else near.rounded,
        "cause": "" if near is None else near.cause,
        "within": near is None or near.within or not near.cause,
        "retrain": retrain,
    }


def _by_period(pooled: Pooled, scores: dict[str, Floats], names: Sequence[str]) -> dict[str, Any]:
    """Rank ICs of each model."""
    found = pooled.evaluate(scores)
    return {
        "single": {name: _or_none(found.summaries[name]["rank"].mean) for name in names},
        "periods": list(found.periods),
        "rank_ic": {name: [_or_none(value) for value in by["rank"]] for name, by in found.ics.items()},
        "better_than": {name: gain["rank"].better for name, gain in found.uplifts.items()},
    }


def _queries(home: NodeHome) -> Path:
    return home.folder / home.settings.queries


def _data(home: NodeHome) -> Path:
    return home.folder / home.settings.data


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def write_comparison(out: Path, folder: Path, *, parity: bool, retrain: bool = False) -> None:
    """Compare and leave the record in ``out/twin.json``."""
    agreement = Agreement.model_validate_json((out / "agreement.json").read_bytes())
    if isinstance(agreement.model, ScreenModel):
        record = compare_screen(out, folder, parity=parity)
    else:
        record = compare(out, folder, parity=parity, retrain=retrain)
    (out / TWIN_FILE).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
