"""The India example in the clear: real public data, raw files, each party's own SQL, the plaintext twin.

What it asserts of the twin holds for the sealed run, which stays within 1e-3 score deviations of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from parties.data.calendar import calendar_of, calendar_terms
from parties.data.entities import party_entities
from parties.data.panel import build_feature_panel, build_label_panel
from parties.settings.consortium import ConsortiumSettings, PartySettings, load_consortium
from tests.places import ROOT, SHARED_DATA
from tests.vfl.direct import agrees_with_libraries
from vfl.factors.evaluate import evaluation_window, ic_by_period
from vfl.factors.panel import Calendar, FeaturePanel, LabelPanel
from vfl.factors.validation import Subject, battery
from vfl.models.sealed.initial import sealed_draw
from vfl.models.sealed.scales import check_ranges
from vfl.models.sealed.twin import float_twin_scores, integer_twin
from vfl.models.sealed.walk import sealed_result
from vfl.models.split.twin import alone, initial_weights, train_in_the_clear
from vfl.terms import SealedModel, SplitModel
from vfl.walk.result import TrainingResult

EXAMPLE = ROOT / "examples" / "india_districts"
INDIA = SHARED_DATA / "india_districts"

SEEDS = (bytes([1]) * 32, bytes([2]) * 32)

pytestmark = pytest.mark.skipif(not INDIA.is_dir(), reason=f"no data at {INDIA}; set ENTENTE_SHARED_DATA")


@dataclass(frozen=True)
class Pooled:
    settings: ConsortiumSettings
    calendar: Calendar
    common: tuple[str, ...]
    panels: list[FeaturePanel]
    label: LabelPanel
    own: TrainingResult

    @property
    def terms(self) -> SplitModel:
        assert isinstance(self.settings.model, SplitModel)
        return self.settings.model

    def joint(self, start: int, *, label: LabelPanel | None = None) -> TrainingResult:
        """The twin from the ``start``-th random initial weights."""
        generator = np.random.default_rng(start)
        columns = [len(p.columns) for p in self.panels]
        seeds = [(generator.bytes(32), generator.bytes(32)) for _ in columns]
        weights = initial_weights(seeds, columns, self.terms.embedding_width, self.settings.fixed_point)
        result, _ = train_in_the_clear(
            self.panels,
            label or self.label,
            self.terms,
            self.settings.walk_forward,
            row_limit=self.settings.openings.limit_per_row,
            reserved=3,
            weights=weights,
            fixed_point=self.settings.fixed_point,
        )
        return result

    def ics(self, result: TrainingResult) -> NDArray[np.float64]:
        """Rank IC of each evaluated quarter."""
        terms = self.settings.evaluation
        window = evaluation_window(self.calendar.periods, terms.first, terms.last)
        labels = np.where(self.label.universe, self.label.label, np.nan)
        values: NDArray[np.float64] = ic_by_period(result.scores, labels)[window]
        return values


@pytest.fixture(scope="module")
def pooled() -> Pooled:
    return load("split.toml")


def load(file: str) -> Pooled:
    settings = load_consortium(EXAMPLE / file)
    calendar = calendar_of(calendar_terms(settings.calendar))
    features = [p for p in settings.party if p.role == "feature"]
    (bank,) = (p for p in settings.party if p.role == "label")

    def ids(party: PartySettings) -> set[str]:
        return set(party_entities(party, EXAMPLE, INDIA, settings.label if party is bank else None))

    common = tuple(sorted(set.intersection(*map(ids, settings.party))))
    panels = [build_feature_panel(p, EXAMPLE, INDIA, calendar, common) for p in features]
    label = build_label_panel(bank, settings.label, EXAMPLE, INDIA, calendar, common)
    if isinstance(settings.model, SealedModel):
        scores = float_twin_scores(
            [label.features.rows], label, settings.model, settings.walk_forward, settings.fixed_point, SEEDS
        )
        own = sealed_result([], label, {})
        own = replace(own, scores=scores)
    else:
        own = alone(None, label, settings.model, settings.walk_forward)
    return Pooled(settings, calendar, common, panels, label, own)


def test_the_sealed_network_reaches_the_bar_and_every_number_fits_the_ring() -> None:
    """The example's own terms, which were chosen on quarters before 2020Q3, in the twin that rounds as a run does."""
    pooled = load("consortium.toml")
    terms, fixed, walk = pooled.settings.model, pooled.settings.fixed_point, pooled.settings.walk_forward
    assert isinstance(terms, SealedModel)
    columns = sum(p.values.shape[2] for p in (*pooled.panels, pooled.label.features))
    check_ranges(terms, fixed, terms.batch_rows, columns)
    weight = sum(sealed_draw(seed, columns, terms, columns) for seed in SEEDS)
    found = integer_twin(pooled.panels, pooled.label, terms, walk, fixed, weight)
    joint, own = pooled.ics(replace(pooled.own, scores=found)), pooled.ics(pooled.own)
    assert len(joint) == 10
    assert joint.mean() >= 0.38
    assert joint.mean() > own.mean() + 0.05


def test_the_four_parties_share_at_least_650_districts(pooled: Pooled) -> None:
    assert len(pooled.common) >= 650
    assert all(p.covered[pooled.label.universe].mean() > 0.99 for p in pooled.panels)


def test_the_plan_keeps_within_the_default_share_of_linear_forms(pooled: Pooled) -> None:
    columns = sum(len(p.columns) for p in pooled.panels)
    openings = pooled.settings.openings
    assert openings.largest_fraction == 0.6
    assert openings.limit_per_row * pooled.terms.embedding_width <= 0.6 * columns


@pytest.mark.parametrize("start", [0, 1, 2])
def test_joint_beats_the_best_fund_whatever_the_initial_weights(pooled: Pooled, start: int) -> None:
    result = pooled.joint(start)
    joint, own = pooled.ics(result), pooled.ics(pooled.own)
    assert len(joint) == 10
    assert joint.mean() >= 0.285
    assert own.mean() > 0.230, "the bank alone is a stronger rival here than the reference's ridge"
    assert (joint > own).sum() >= 8
    assert result.openings.max() <= pooled.settings.openings.limit_per_row
    assert (result.openings + np.where(np.isfinite(result.scores), 3, 0)).max() <= 6


def test_the_battery_over_it_agrees_with_the_libraries_called_directly(pooled: Pooled) -> None:
    result, terms = pooled.joint(0), pooled.settings.evaluation
    window = evaluation_window(pooled.calendar.periods, terms.first, terms.last)
    labels = np.where(pooled.label.universe & window[:, None], pooled.label.label, np.nan)
    own = np.where(np.isfinite(result.scores), pooled.own.scores, np.nan)
    found = battery(
        Subject(
            pooled.calendar.periods,
            result.scores,
            labels,
            1,
            known_from=pooled.label.known_from,
            own=own,
            embeddings=result.embeddings,
        )
    )
    assert agrees_with_libraries(found, result.scores, labels, own, pooled.common, 1) == 10
    assert not {"noise", "weak", "overfit", "fingerprint", "look-ahead"} & {w.name for w in found.warnings}


def test_no_feature_party_alone_comes_near(pooled: Pooled) -> None:
    for panel in pooled.panels:
        seeds = [(bytes([1]) * 32, bytes([2]) * 32)]
        columns = [len(panel.columns)]
        weights = initial_weights(seeds, columns, pooled.terms.embedding_width, pooled.settings.fixed_point)
        single = alone(panel, pooled.label, pooled.terms, pooled.settings.walk_forward, weights=weights[0])
        assert pooled.ics(single).mean() < 0.230


def test_labels_arrive_a_quarter_late_and_bank_features_too(pooled: Pooled) -> None:
    known = pooled.label.known_from[np.isfinite(pooled.label.label)]
    period = np.nonzero(np.isfinite(pooled.label.label))[0]
    np.testing.assert_array_equal(known, period + 1)
    asof = pooled.label.features.asof[1:][pooled.label.universe[1:]]
    ends = np.broadcast_to(pooled.calendar.ends[:-1, None], pooled.label.universe[1:].shape)[pooled.label.universe[1:]]
    np.testing.assert_array_equal(asof.astype("datetime64[D]"), ends.astype("datetime64[D]"))


def test_shuffled_labels_leave_nothing(pooled: Pooled) -> None:
    generator = np.random.default_rng(0)
    shuffled = pooled.label.label.copy()
    for row in shuffled:
        known = np.flatnonzero(np.isfinite(row))
        row[known] = row[generator.permutation(known)]
    label = replace(pooled.label, label=shuffled)
    ics = ic_by_period(pooled.joint(0, label=label).scores, shuffled)
    assert abs(np.nanmean(ics)) < 0.05
