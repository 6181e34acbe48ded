"""A simulated consortium valued as the product values it, in one process: whose pay moves, and why.

The model is trained by the product's plain twin; coalitions, blends, Shapley values and record are the product's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parties.agreement.document import Agreement
from parties.data.calendar import calendar_of, calendar_terms
from parties.data.entities import party_entities
from parties.data.panel import build_feature_panel, build_label_panel
from parties.data.simulate import simulate
from parties.members.keys import create_identity
from parties.members.roster import Roster
from parties.names import COORDINATOR
from parties.proposing.drafting import agreement_of
from parties.settings.consortium import load_consortium
from parties.settlement.contribution import ContributionRecord
from psi.flow import run_alone
from vfl.contribution import coalitions, exact_shapley, refit_with_own
from vfl.factors.evaluate import ic_by_period
from vfl.factors.panel import FeaturePanel, LabelPanel
from vfl.models.split.top import LabelHead
from vfl.models.split.training import score_coalition, walk_forward
from vfl.models.split.twin import PlainSource, alone
from vfl.walk.schedule import prequential

F64 = NDArray[np.float64]
Panels = Mapping[str, FeaturePanel]


class ValuedConsortium:
    """Panels of everybody, and what a run over them leaves: record, scores, each party's own embeddings."""

    def __init__(self, folder: Path, entities: int = 150, periods: int = 70, seed: int = 7) -> None:
        made = simulate(folder / "data", entities=entities, periods=periods, parties=3, seed=seed, model="split")
        self.settings = settings = load_consortium(made.config)
        calendar = calendar_of(calendar_terms(settings.calendar))
        where = (made.config.parent, made.data)
        sets = [
            set(party_entities(party, *where, settings.label if party.role == "label" else None))
            for party in settings.party
        ]
        self.entities = tuple(sorted(set.intersection(*sets)))
        self.panels: dict[str, FeaturePanel] = {
            party.name: build_feature_panel(party, *where, calendar, self.entities)
            for party in settings.party
            if party.role == "feature"
        }
        label = next(party for party in settings.party if party.role == "label")
        self.label = build_label_panel(label, settings.label, *where, calendar, self.entities)
        self.names = tuple(self.panels)
        names = (COORDINATOR, *(party.name for party in settings.party))
        self.identities = {name: create_identity(name, folder / name / "keys", hosts=["127.0.0.1"]) for name in names}
        self.roster = Roster({name: one.member("127.0.0.1:1") for name, one in self.identities.items()})

    def agreement(self, **reward: Any) -> Agreement:
        """The consortium's terms at the shipped reward defaults, less what ``reward`` changes."""
        settings = self.settings
        terms = type(settings.reward).model_validate({"pot": 1_000_000} | reward)
        changed = settings.model_copy(update={"reward": terms})
        return agreement_of(changed, self.roster, self.label_times[0])

    @property
    def label_times(self) -> tuple[Any, ...]:
        """The calendar's cutoffs."""
        return calendar_terms(self.settings.calendar).cutoffs

    def value(
        self, panels: Panels | None = None, label: LabelPanel | None = None, seed: int = 1
    ) -> tuple[dict[str, Any], F64, dict[str, F64]]:
        """The label party's record, the joint scores (T, n), and each party's own embeddings (T, n, h)."""
        panels, label = panels or self.panels, label or self.label
        settings, names = self.settings, self.names
        terms, walk = settings.model.model_copy(update={"seed": seed}), settings.walk_forward
        rng, width = np.random.default_rng(seed), settings.model.embedding_width
        total = sum(panel.values.shape[-1] for panel in panels.values())
        steps = tuple(prequential(terms, walk, label.known_from, label.label, label.universe, 6, 3))
        weights = [rng.normal(size=(panels[n].values.shape[-1], width)) * 0.3 / total**0.5 for n in names]
        keep = [step.number for step in steps if step.kind == "predict"]
        source = PlainSource([panels[name].rows for name in names], weights, width=width, keep=keep)
        head = LabelHead(terms, label.features.values.shape[-1])
        result = run_alone(walk_forward(source, head, steps, label))
        rows = np.concatenate([step.rows for step in result.predictions])
        shape = result.embeddings.shape
        labels = np.where(label.universe, label.label, np.nan)
        game = {}
        for members in coalitions(names):
            embeddings = np.full((shape[0] * shape[1], shape[2]), np.nan)
            places = [names.index(name) for name in names if name in members]
            embeddings[rows] = source.coalition(places, result.predictions) if places else 0.0
            scores = score_coalition(head, result, label, embeddings.reshape(shape))
            game[members] = ic_by_period(refit_with_own(scores, label, walk), labels, when_constant=0.0)
        report = exact_shapley(game, parties=names, refitted=True)
        own = np.where(np.isnan(result.scores), np.nan, alone(None, label, terms, walk).scores)
        gap = ic_by_period(result.scores, labels) - ic_by_period(own, labels)
        record = report.record() | {
            "periods": list(calendar_terms(settings.calendar).periods),
            "uplift_by_period": [float(value) if np.isfinite(value) else None for value in gap],
        }
        single = {
            name: np.nan_to_num(result.in_place(source.coalition([place], result.predictions)))
            for place, name in enumerate(names)
        }
        return record, result.scores, single


def recorded(record: dict[str, Any]) -> ContributionRecord:
    """The record as the coordinator and every node read it."""
    return ContributionRecord.model_validate(record)


def widened(panel: FeaturePanel, extra: F64, name: str) -> FeaturePanel:
    """The panel with further columns (T, n, k), standardised per period."""
    centred = extra - extra.mean(axis=1, keepdims=True)
    spread = extra.std(axis=1, keepdims=True)
    columns = np.where(spread > 1e-12, centred / np.where(spread > 1e-12, spread, 1), 0.0)
    named = tuple(f"{name}{place}" for place in range(extra.shape[-1]))
    values = np.clip(np.concatenate([panel.values, columns], axis=2), -8, 8)
    return replace(panel, columns=(*panel.columns, *named), values=values)
