"""The S&P 500 example in the clear: each fund's own SQL, the plaintext twin of its two runs, and the battery over both.

What it asserts of the twin holds for the sealed run, which stays within 1e-4 score deviations of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from parties.data.calendar import calendar_of, calendar_terms
from parties.data.panel import feature_panel_of, label_panel_of
from parties.data.query import LabelRows, Observations, read_label_rows, read_observations
from parties.settings.consortium import ConsortiumSettings, load_consortium
from tests.places import ROOT, SHARED_DATA
from tests.vfl.direct import agrees_with_libraries
from vfl.factors.evaluate import evaluation_window, ic_by_period
from vfl.factors.findings import Findings
from vfl.factors.panel import Calendar, FeaturePanel, LabelPanel
from vfl.factors.validation import Subject, battery
from vfl.models.split.twin import alone, train_in_the_clear
from vfl.walk.result import TrainingResult

EXAMPLE = ROOT / "examples" / "sp500_daily"
STOCKS = SHARED_DATA / "sp500_daily"
FIELDS = ("model", "walk_forward", "openings", "evaluation", "calendar", "alignment")

pytestmark = pytest.mark.skipif(not STOCKS.is_dir(), reason=f"no data at {STOCKS}; set ENTENTE_SHARED_DATA")


@dataclass(frozen=True)
class Cast:
    settings: ConsortiumSettings
    calendar: Calendar
    names: tuple[str, ...]
    panels: dict[str, FeaturePanel]
    label: LabelPanel
    read: dict[str, Observations]
    labels: LabelRows

    def joint(self, label: LabelPanel) -> TrainingResult:
        """The twin of the encrypted run. A ridge has no initial weights, so there is one."""
        terms = self.settings
        limit = terms.openings.limit_per_row
        result, _ = train_in_the_clear(
            list(self.panels.values()), label, terms.model, terms.walk_forward, row_limit=limit, reserved=3, weights=[]
        )
        return result

    def truth(self, label: LabelPanel) -> np.ndarray:
        """Labels that count: in the universe and in the evaluated weeks."""
        terms = self.settings.evaluation
        window = evaluation_window(self.calendar.periods, terms.first, terms.last)
        return np.where(label.universe & window[:, None], label.label, np.nan)

    def judged(self, label: LabelPanel) -> Findings:
        result, own = self.joint(label), self.alone(None, label)
        subject = Subject(
            self.calendar.periods,
            result.scores,
            self.truth(label),
            self.settings.walk_forward.horizon,
            known_from=label.known_from,
            own=np.where(np.isfinite(result.scores), own, np.nan),
            embeddings=result.embeddings,
        )
        return battery(subject)

    def alone(self, name: str | None, label: LabelPanel) -> np.ndarray:
        panel, weights = (None, None) if name is None else (self.panels[name], np.zeros((0, 1)))
        return alone(panel, label, self.settings.model, self.settings.walk_forward, weights=weights).scores


@pytest.fixture(scope="module")
def cast() -> Cast:
    settings = load_consortium(EXAMPLE / "consortium.toml")
    calendar = calendar_of(calendar_terms(settings.calendar))
    (holder,) = (party for party in settings.party if party.role == "label")
    read = {party.name: read_observations(party, EXAMPLE, STOCKS) for party in settings.party}
    labels = read_label_rows(holder, settings.label, EXAMPLE, STOCKS)
    names = tuple(sorted(set.intersection(*(set(rows.entity) for rows in (*read.values(), labels)))))
    panels = {
        party.name: feature_panel_of(party, read[party.name], read[party.name].entity, calendar, names)
        for party in settings.party
    }
    label = label_panel_of(holder, labels, labels.entity, panels.pop(holder.name), calendar, names)
    return Cast(settings, calendar, names, panels, label, read, labels)


@pytest.fixture(scope="module")
def joint(cast: Cast) -> TrainingResult:
    return cast.joint(cast.label)


@pytest.fixture(scope="module")
def report(cast: Cast) -> Findings:
    return cast.judged(cast.label)


def test_the_joint_factor_reaches_the_pooled_score_and_beats_every_fund(cast, joint, report) -> None:
    assert len(cast.names) == 503
    truth = cast.truth(cast.label)
    single = {name: np.nanmean(ic_by_period(cast.alone(name, cast.label), truth)) for name in cast.panels}
    assert max(single, key=single.__getitem__) == "range"
    assert single["range"] == pytest.approx(0.736, abs=0.003)
    assert report.value("ic", "rank_ic") == pytest.approx(0.749, abs=0.003)
    assert report.value("ic", "rank_ic") > 0.741, "the pooled score of the data's README"
    assert report.value("uplift", "rank_ic_difference") == pytest.approx(0.049, abs=0.004)
    assert report.value("uplift", "rank_ic_difference_t") > 3
    assert joint.openings.max() + 3 <= cast.settings.openings.limit_per_row


def test_no_row_is_trained_on_before_its_month_is_over(cast, joint) -> None:
    """21 market days reach into the fifth week: labels of the four weeks before overlap, and none of them is used."""
    labelled = np.isfinite(cast.label.label)
    late = cast.label.known_from - np.arange(len(cast.calendar))[:, None]
    assert set(late[labelled]) == {cast.settings.walk_forward.horizon}
    count = len(cast.names)
    for step in joint.steps:
        if step.kind == "train":
            assert (step.rows // count).max() + cast.settings.walk_forward.horizon <= step.period
    for panel in (*cast.panels.values(), cast.label.features):
        assert not (panel.available_at[panel.covered] > np.repeat(cast.calendar.cutoffs, count).reshape(
            panel.covered.shape)[panel.covered]).any()  # fmt: skip


def test_the_battery_over_it_agrees_with_the_libraries_called_directly(cast, joint, report) -> None:
    own = np.where(np.isfinite(joint.scores), cast.alone(None, cast.label), np.nan)
    horizon = cast.settings.walk_forward.horizon
    assert agrees_with_libraries(report, joint.scores, cast.truth(cast.label), own, cast.names, horizon) == 79


def test_forward_returns_end_in_the_report_as_noise(cast) -> None:
    settings = load_consortium(EXAMPLE / "returns.toml")
    for field in FIELDS:
        assert getattr(settings, field) == getattr(cast.settings, field), f"{field}: the two runs differ in their label"
    assert settings.reward.pot == 0
    (holder,) = (party for party in settings.party if party.role == "label")
    rows = read_label_rows(holder, settings.label, EXAMPLE, STOCKS)
    label = label_panel_of(holder, rows, rows.entity, cast.label.features, cast.calendar, cast.names)
    found = cast.judged(label)
    assert abs(found.value("ic", "rank_ic_t")) < 2
    assert found.warned("noise")
    assert found.value("significance", "hurdle") == 0


def test_the_funds_sql_says_what_pandas_says(cast) -> None:
    """One feature of each fund and the label, for one member, computed anew by pandas."""
    table = pd.read_parquet(STOCKS / "ohlcv.parquet").query("ticker == 'AAPL'").set_index("date")
    table.index = pd.DatetimeIndex(table.index)
    close, dollars = table["close"].astype(float), table["close"].astype(float) * table["volume"]
    returns = np.log(close).diff()
    mine = {
        "mom_63": np.log(close).diff(63),
        "vol_21": np.log(returns.rolling(21).std()),
        "rng_5": np.log(np.log(table["high"].astype(float) / table["low"].astype(float)).rolling(5).mean()),
        "amihud_126": np.log((returns.abs() / dollars).rolling(126).mean()),
    }
    for party in cast.settings.party:
        read = cast.read[party.name]
        chosen = (read.entity == "AAPL") & (read.period >= np.datetime64("2014-06-01"))
        days = pd.DatetimeIndex(read.period[chosen]).normalize()
        for name in set(party.columns) & set(mine):
            theirs = read.values[chosen, party.columns.index(name)]
            np.testing.assert_allclose(theirs, mine.pop(name)[days], rtol=1e-6)
        if party.role == "label":
            labels = cast.labels
            kept = (labels.entity == "AAPL") & np.isfinite(labels.label)
            at = pd.DatetimeIndex(labels.period[kept]).normalize()
            ahead = np.log(returns.abs().rolling(21).mean().shift(-21))
            np.testing.assert_allclose(labels.label[kept], ahead[at], rtol=1e-6)
    assert not mine
