from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr

from parties.data.calendar import calendar_of, calendar_terms
from parties.data.check import coverage_report
from parties.data.consortium_files import opening_plan
from parties.data.entities import party_entities
from parties.data.panel import build_feature_panel, build_label_panel
from parties.data.query import read_observations
from parties.data.simulate import Simulated, simulate
from parties.data.vendors import VENDORS
from parties.errors import ConfigError, StorageError
from parties.settings.consortium import ConsortiumSettings, load_consortium
from psi.identifiers import normalise
from tests.places import ROOT
from vfl.factors.panel import Calendar, FeaturePanel, LabelPanel
from vfl.terms import SealedModel


@dataclass(frozen=True)
class Loaded:
    made: Simulated
    settings: ConsortiumSettings
    calendar: Calendar
    entities: dict[str, tuple[str, ...]]
    features: dict[str, FeaturePanel]
    label: LabelPanel

    @property
    def folder(self) -> Path:
        return self.made.config.parent


def load(made: Simulated) -> Loaded:
    settings, folder = load_consortium(made.config), made.config.parent
    calendar = calendar_of(calendar_terms(settings.calendar))
    entities = {
        p.name: party_entities(p, folder, made.data, settings.label if p.role == "label" else None)
        for p in settings.party
    }
    common = sorted(set.intersection(*map(set, entities.values())))
    fund, *others = settings.party
    label = build_label_panel(fund, settings.label, folder, made.data, calendar, common)
    features = {p.name: build_feature_panel(p, folder, made.data, calendar, common) for p in others}
    return Loaded(made, settings, calendar, entities, features, label)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load(simulate(tmp_path_factory.mktemp("sim"), entities=150, periods=60, ic=0.3))


def test_the_parties_share_exactly_the_common_companies(loaded: Loaded) -> None:
    truth = loaded.made.truth
    assert sorted(set.intersection(*map(set, loaded.entities.values()))) == truth["common"]
    assert len(truth["common"]) == truth["n_common"] == 150
    assert {"NA", "NAN", "TRUE", "NULL", "BRK.A", "BRK.B"} <= set(truth["common"])
    assert {name: len(ids) for name, ids in loaded.entities.items()} == truth["coverage"]
    for count in truth["coverage"].values():
        assert 0.8 < count / truth["companies"] < 1
    assert json.loads((loaded.folder / "truth.json").read_text()) == truth


def test_no_two_parties_spell_alike(loaded: Loaded) -> None:
    """Without normal form and alias tables the parties share nothing, and without the tables too little."""
    spellings = {
        p.name: set(read_observations(p, loaded.folder, loaded.made.data).entity) for p in loaded.settings.party
    }
    assert not set.intersection(*spellings.values())
    alike = set.intersection(*({normalise(raw) for raw in raws} for raws in spellings.values()))
    assert len(set(loaded.made.truth["common"]) - alike) >= 150 // 20
    assert loaded.made.truth["renamed"] > 0


def test_panels_are_complete_and_shaped_as_promised(loaded: Loaded) -> None:
    assert loaded.calendar.periods[0] == "2023-01-06"
    assert len(loaded.calendar) == 60
    assert {name: panel.values.shape for name, panel in loaded.features.items()} == {
        "satellite": (60, 150, 9),
        "social": (60, 150, 10),
        "card": (60, 150, 12),
    }
    for panel in (loaded.label.features, *loaded.features.values()):
        assert panel.covered.mean() > 0.9
        assert (
            panel.available_at[panel.covered]
            <= np.broadcast_to(loaded.calendar.cutoffs[:, None], panel.covered.shape)[panel.covered]
        ).all()
    assert loaded.features["satellite"].covered.mean() < 1
    known = loaded.label.known_from[np.isfinite(loaded.label.label)].reshape(-1)
    periods = np.nonzero(np.isfinite(loaded.label.label))[0]
    assert (known == periods + 1).all()
    assert 0.95 < loaded.label.universe.mean() < 1


def rank_ic(score: NDArray[np.float64], label: NDArray[np.float64]) -> float:
    per_date = []
    for one, two in zip(score, label, strict=True):
        good = np.isfinite(one) & np.isfinite(two)
        if good.any():
            per_date.append(spearmanr(one[good], two[good]).statistic)
    return float(np.mean(per_date))


def ridge(features: NDArray[np.float64], label: NDArray[np.float64]) -> NDArray[np.float64]:
    """Expanding ridge: a week is predicted from the weeks whose returns are known at its cutoff."""
    periods, _, columns = features.shape
    gram, moment = 50.0 * np.eye(columns), np.zeros(columns)
    scores = np.full(label.shape, np.nan)
    for t in range(1, periods):
        good = np.isfinite(label[t - 1])
        gram += features[t - 1][good].T @ features[t - 1][good]
        moment += features[t - 1][good].T @ label[t - 1][good]
        if t >= 5:
            scores[t] = features[t] @ np.linalg.solve(gram, moment)
    return scores


def test_together_the_parties_know_more_than_any_alone(loaded: Loaded) -> None:
    label = loaded.label.label
    tables = {name: panel.values for name, panel in loaded.features.items()}
    tables["fund"] = loaded.label.features.values
    alone = {name: rank_ic(ridge(values, label), label) for name, values in tables.items()}
    joint = rank_ic(ridge(np.concatenate(list(tables.values()), axis=2), label), label)
    assert joint > max(alone.values()) + 0.04
    assert min(alone.values()) > 0.02
    assert joint < loaded.made.truth["rank_ic"]["linear"] + 0.03


def test_the_truth_is_of_the_size_that_was_asked_for(loaded: Loaded) -> None:
    ics = loaded.made.truth["rank_ic"]
    assert ics["ideal"] == pytest.approx(0.3, abs=1e-3)
    assert max(ics["parts"].values()) < ics["linear"] < ics["ideal"] - 0.02
    assert {"satellite x social", "social x card"} <= set(ics["parts"])
    shares = loaded.made.truth["variance_share"]
    assert sum(shares.values()) == pytest.approx(1, abs=0.2)


def test_without_interactions_the_ideal_factor_is_linear(tmp_path: Path) -> None:
    truth = simulate(tmp_path, entities=60, periods=20, interaction_share=0.0).truth
    assert truth["rank_ic"]["linear"] == pytest.approx(truth["rank_ic"]["ideal"], abs=1e-5)


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    made = simulate(tmp_path_factory.mktemp("products"), entities=150, periods=60, ic=0.3, signal="products")
    return load(made)


def test_a_signal_of_products_is_seen_by_no_party_and_no_line(products: Loaded) -> None:
    truth = products.made.truth
    assert truth["rank_ic"]["linear"] == 0.0
    assert truth["rank_ic"]["ideal"] == pytest.approx(0.3, abs=1e-3)
    assert set(truth["rank_ic"]["parts"]) == {"satellite x social", "social x card"}
    label = products.label.label
    tables = {name: panel.values for name, panel in products.features.items()}
    tables["fund"] = products.label.features.values
    tables["joint"] = np.concatenate(list(tables.values()), axis=2)
    # 55 scored weeks of 150 companies: the mean of noise has a deviation of 0.011
    for name, values in tables.items():
        assert abs(rank_ic(ridge(values, label), label)) < 0.035, name


def test_a_signal_of_products_is_found_by_a_model_of_products(products: Loaded) -> None:
    label = products.label.label
    values = {name: panel.values for name, panel in products.features.items()}
    crossed = [
        (values[a][..., :, None] * values[b][..., None, :]).reshape(*label.shape, -1)
        for a, b in (("satellite", "social"), ("social", "card"))
    ]
    found = rank_ic(ridge(np.concatenate(crossed, axis=2), label), label)
    assert found > 0.1


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_further_weeks_follow_what_is_there_and_change_nothing_of_it(tmp_path: Path) -> None:
    """A run over them goes on with the same companies and states; terms and truth are those of the weeks before."""
    first = simulate(tmp_path / "a", entities=60, periods=26, ic=0.4)
    longer = simulate(tmp_path / "b", entities=60, periods=26, ic=0.4, further=13)
    assert first.config.read_text() == longer.config.read_text()
    assert first.truth == longer.truth
    for file in sorted(first.data.glob("*.parquet")):
        before, after = pd.read_parquet(file), pd.read_parquet(longer.data / file.name)
        known = after.merge(before, how="left", indicator=True)["_merge"].eq("both")
        assert int(known.sum()) == len(before) < len(after), file.name
        day = "friday" if "friday" in before else "observed"
        assert after[day][~known].min() > before[day].max(), file.name
    closes = pd.read_parquet(longer.data / "prices.parquet").pivot(index="friday", columns="security", values="close")
    moves = closes.pct_change().abs().mean(axis=1)
    assert moves.iloc[-13:].mean() == pytest.approx(moves.iloc[1:-13].mean(), rel=0.3), "no leap where they begin"
    assert moves.iloc[-13] < 0.2


def test_a_seed_gives_the_same_files_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        simulate(tmp_path / name, entities=20, periods=10, seed=seed)
    first, again, other = (contents(tmp_path / name) for name in "abc")
    assert first == again
    assert first.keys() == other.keys()
    assert {name for name in first if first[name] != other[name] and name.startswith("data")} == {
        f"data/{name}.parquet" for name in ("card", "fund", "prices", "satellite", "social")
    }


@pytest.mark.parametrize("parties", [1, 2, 4, 8])
def test_any_number_of_parties_makes_terms_that_hold(tmp_path: Path, parties: int) -> None:
    sealed = load(simulate(tmp_path / "sealed", entities=30, periods=12, parties=parties)).settings
    assert sealed.model == SealedModel()
    assert sealed.openings.contribution != "masked"
    got = load(simulate(tmp_path / "split", entities=30, periods=12, parties=parties, model="split"))
    settings = got.settings
    total = sum(len(p.output_columns) for p in settings.party if p.role == "feature")
    assert len(got.features) == parties
    assert all(8 <= panel.values.shape[2] <= 12 for panel in got.features.values())
    assert settings.openings.limit_per_row * settings.model.embedding_width <= 0.6 * total
    assert settings.openings.single_party == (parties == 1)
    coalitions = 2 ** (parties - 1) - 1 if settings.openings.contribution == "masked" else 0
    assert settings.openings.limit_per_row >= 1 + settings.model.epochs + coalitions


def test_the_default_terms_are_the_agreed_ones() -> None:
    columns = sum(len(v.columns) for v in VENDORS[:3])
    assert opening_plan(columns, 3) == (2, 6, "masked")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"entities": 3}, "3 entities; choose 10"),
        ({"periods": 1}, "1 periods; choose 8"),
        ({"parties": 9}, "9 feature parties; choose 1 to 8"),
        ({"ic": 0.0}, "ic must lie"),
        ({"signal": "sums"}, "no signal is called 'sums'; choose mixed or products"),
        ({"first": date(2023, 1, 7)}, "2023-01-07 is no Friday"),
    ],
)
def test_impossible_worlds_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        simulate(tmp_path / "never", **change)
    assert not (tmp_path / "never").exists()


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write the simulated files"):
        simulate(tmp_path / "file" / "below", entities=10, periods=8)


def test_the_coverage_report_counts_what_is_there(loaded: Loaded) -> None:
    fund, _, _, card = loaded.settings.party
    report = coverage_report(card, loaded.folder, loaded.made.data, loaded.calendar)
    observed = read_observations(card, loaded.folder, loaded.made.data)
    assert report.rows == len(observed) == 2 * report.vintages
    assert report.entities == loaded.made.truth["coverage"]["card"]
    assert len(report.covered) == len(report.age_days) == 60
    assert max(report.covered) <= report.entities
    assert report.age_days[0] == pytest.approx(6.0)
    assert 0 < report.missing["churn"] < 0.05
    assert report.labels == report.notes == ()
    labelled = coverage_report(fund, loaded.folder, loaded.made.data, loaded.calendar, loaded.settings.label)
    assert min(labelled.labels) > 0.9 * labelled.entities


def test_the_coverage_report_notes_what_deserves_a_look(tmp_path: Path, loaded: Loaded) -> None:
    (tmp_path / "q.sql").write_text(
        "SELECT 'AA' AS entity, unnest([DATE '2023-06-01', DATE '2023-07-01']) AS period, "
        "NULL::DOUBLE AS empty, 1 AS full"
    )
    card = loaded.settings.party[3].model_copy(
        update={"query": "q.sql", "columns": ("empty", "full"), "aliases": "", "lag_days": 1}
    )
    notes = coverage_report(card, tmp_path, tmp_path, loaded.calendar).notes
    assert any("dated the first of a month" in note for note in notes)
    assert any("periods have no usable observation, the first 2023-01-06" in note for note in notes)
    assert any("column empty is missing in 100%" in note for note in notes)
    old = tmp_path / "q.sql"
    old.write_text("SELECT 'AA' AS entity, DATE '2001-06-05' AS period, 1 AS empty, 1 AS full")
    assert any(
        "no observation is dated inside" in note
        for note in coverage_report(card, tmp_path, tmp_path, loaded.calendar).notes
    )


def test_the_sizes_in_the_docs_are_those_of_the_default_world(tmp_path: Path) -> None:
    document = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    for name, size in simulate(tmp_path).truth["rank_ic"].items():
        assert f"\n{name} {size}\n" in document
    for name, size in simulate(tmp_path / "products", signal="products").truth["rank_ic"].items():
        assert f"\nproducts: {name} {size}\n" in document
