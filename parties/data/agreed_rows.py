"""The rows of a run as its agreement has them: periods of a calendar, or the two parts of data without one.

Whoever builds panels asks this and need not know which of the two it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from parties.agreement.document import Agreement
from parties.agreement.terms import StaticTerms
from parties.data.calendar import calendar_of
from parties.data.entities import Readers, canonical_entities, party_entities, read_naming
from parties.data.joint_fit import JointFit
from parties.data.panel import build_feature_panel, build_label_panel
from parties.data.residual_label import residual_panel
from parties.data.static_panel import static_features, static_label_panel
from parties.data.static_query import label_reader, read_static_rows
from parties.settings.consortium import LabelSettings, PartySettings
from psi.padding import is_foreign
from vfl.factors.panel import Calendar, FeaturePanel, LabelPanel

__all__ = ["AgreedRows", "DatedRows", "UndatedRows", "rows_of"]


class AgreedRows(Protocol):
    """folder: where the SQL lies. entities: canonical ids in the agreed order. All raise ConfigError or DataError."""

    def entities(
        self, settings: PartySettings, folder: Path, data: Path, label: LabelSettings | None = None
    ) -> tuple[str, ...]:
        """Distinct canonical ids of the party's data, sorted: what it brings to alignment."""

    def features(
        self,
        settings: PartySettings,
        folder: Path,
        data: Path,
        entities: Sequence[str],
        joint: JointFit | None = None,
    ) -> FeaturePanel:
        """The party's features over the run's periods and these entities. joint: what its group made."""

    def labels(
        self, settings: PartySettings, label: LabelSettings, folder: Path, data: Path, entities: Sequence[str]
    ) -> LabelPanel:
        """The label party's own features and its label."""


@dataclass(frozen=True)
class DatedRows:
    """Observations as of each cutoff of a calendar. horizons: names of further labels.

    residual: own columns of the label party that its labels are neutralised by.
    """

    calendar: Calendar
    horizons: tuple[str, ...] = ()
    residual: tuple[str, ...] = ()

    def entities(
        self, settings: PartySettings, folder: Path, data: Path, label: LabelSettings | None = None
    ) -> tuple[str, ...]:
        return party_entities(settings, folder, data, label)

    def features(
        self,
        settings: PartySettings,
        folder: Path,
        data: Path,
        entities: Sequence[str],
        joint: JointFit | None = None,
    ) -> FeaturePanel:
        return build_feature_panel(settings, folder, data, self.calendar, entities, joint)

    def labels(
        self, settings: PartySettings, label: LabelSettings, folder: Path, data: Path, entities: Sequence[str]
    ) -> LabelPanel:
        panel = build_label_panel(settings, label, folder, data, self.calendar, entities, self.horizons)
        panel = residual_panel(panel, self.residual)
        held = [not is_foreign(name) for name in entities]
        return panel if all(held) else replace(panel, universe=panel.universe & np.array(held))


@dataclass(frozen=True)
class UndatedRows:
    """One row an entity, in one of two parts."""

    terms: StaticTerms

    def entities(
        self, settings: PartySettings, folder: Path, data: Path, label: LabelSettings | None = None
    ) -> tuple[str, ...]:
        return party_entities(settings, folder, data, label, Readers(read_static_rows, label_reader(self.terms)))

    def features(
        self,
        settings: PartySettings,
        folder: Path,
        data: Path,
        entities: Sequence[str],
        joint: JointFit | None = None,
    ) -> FeaturePanel:
        assert joint is None, "groups read a history"
        return static_features(settings, folder, data, entities)

    def labels(
        self, settings: PartySettings, label: LabelSettings, folder: Path, data: Path, entities: Sequence[str]
    ) -> LabelPanel:
        rows = label_reader(self.terms)(settings, label, folder, data)
        canonical = canonical_entities(rows, read_naming(settings, folder, data))
        features = static_features(settings, folder, data, entities)
        return static_label_panel(rows, canonical, features, entities, self.terms)


def rows_of(agreement: Agreement) -> AgreedRows:
    """How the rows of this run are read."""
    if agreement.static is not None:
        return UndatedRows(agreement.static)
    horizons = tuple(horizon.name for horizon in agreement.walk_forward.horizons)
    return DatedRows(calendar_of(agreement.dated), horizons, agreement.label.residual)
