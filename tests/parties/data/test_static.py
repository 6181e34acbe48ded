"""Data without a calendar: one row an entity, read and checked, and dealt into training and test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parties.agreement.terms import StaticTerms
from parties.data.agreed_rows import UndatedRows
from parties.data.static_panel import drawn_into_test
from parties.errors import ConfigError, DataError
from parties.settings.consortium import LabelSettings, PartySettings
from vfl.models.classes.rest import against_the_rest, class_scores
from vfl.models.sealed.columns import fitted_labels
from vfl.models.sealed.walk import shown_scores
from vfl.protocols.opening_budget import BudgetExceededError, OpeningBudget
from vfl.terms import WalkForward
from vfl.walk.schedule import first_prediction, resolved_at

LABEL = LabelSettings(name="y", definition="", query="label.sql")
THREE = StaticTerms(label="classes", classes=3, test_share=0.4, seed=7)
DRAWN = StaticTerms(label="binary", test_share=0.4, seed=7)
NAMES = tuple(f"P{i:03d}" for i in range(100))


def party(role: str = "label", **changes: Any) -> PartySettings:
    return PartySettings.model_validate(
        {"name": "bank", "role": role, "query": "q.sql", "columns": ("x", "z"), "whiten": False} | changes
    )


def home(folder: Path, labels: str = "", columns: str = "") -> Path:
    """Queries over a hundred people, of whom one in three has label 1."""
    people = "SELECT printf('P%03d', i) AS entity, i FROM range(100) AS r(i)"
    columns = columns or "sin(i) AS x, CASE WHEN i = 5 THEN NULL ELSE cos(i) END AS z"
    (folder / "q.sql").write_text(f"SELECT entity, {columns} FROM ({people})")
    (folder / "label.sql").write_text(f"SELECT entity, {labels or '(i % 3 = 0)::INT AS label'} FROM ({people})")
    return folder


def test_parts_are_periods_and_no_label_of_the_test_is_known(tmp_path: Path) -> None:
    where, rows = home(tmp_path), UndatedRows(DRAWN)
    assert rows.entities(party(), where, where, LABEL) == NAMES
    panel = rows.labels(party(), LABEL, where, where, NAMES)
    test = drawn_into_test(NAMES, DRAWN)
    assert panel.universe.tolist() == [(~test).tolist(), test.tolist()]
    raw = np.arange(100) % 3 == 0
    assert panel.scale is not None
    centre, spread = panel.scale
    assert (centre, spread) == pytest.approx((raw[~test].mean(), raw[~test].std())), "of training rows alone"
    assert np.allclose(panel.label[0, ~test] * spread + centre, raw[~test])
    assert np.array_equal(panel.features.values[0], panel.features.values[1])
    assert panel.features.missing is not None
    assert panel.features.missing[:, 5, 1].all()
    walk = WalkForward(horizon=1, warmup=1)
    resolved = resolved_at(walk, panel.known_from, panel.label, panel.universe)
    assert first_prediction(walk, resolved) == 1
    assert np.array_equal(resolved < 2, np.stack([~test, np.zeros(100, dtype=bool)])), "training rows, and they alone"


def test_labels_are_fitted_as_they_are_and_scores_shown_so(tmp_path: Path) -> None:
    where, terms = home(tmp_path, "i * i AS label"), StaticTerms(label="regression", test_share=0.4, seed=7)
    panel = UndatedRows(terms).labels(party(), LABEL, where, where, NAMES)
    chosen = np.flatnonzero(panel.universe[0])
    walk = WalkForward(horizon=1, warmup=1)
    assert np.array_equal(fitted_labels(panel, walk).at(1, chosen), panel.label[0, chosen])
    scores = np.linspace(1.0, 3.0, 200)
    assert np.array_equal(shown_scores(panel, scores).reshape(-1), scores), "no mean of the test rows is taken away"


def test_a_class_is_fitted_against_the_rest_by_the_training_rows_alone(tmp_path: Path) -> None:
    where = home(tmp_path, "i % 3 AS label")
    panel = UndatedRows(THREE).labels(party(), LABEL, where, where, NAMES)
    assert panel.scale == (0.0, 1.0)
    trained, raw = panel.universe[0], np.arange(100) % 3
    one = against_the_rest(panel, 2)
    assert one.scale == pytest.approx(((raw[trained] == 2).mean(), (raw[trained] == 2).std()))
    assert np.allclose(class_scores([one], [one.label])[0][trained, 0], raw[trained] == 2)
    assert np.array_equal(np.isnan(one.label), np.isnan(panel.label))


def test_an_entity_is_in_the_same_part_of_every_run_of_a_seed() -> None:
    flags = drawn_into_test(NAMES, DRAWN)
    assert np.array_equal(drawn_into_test(NAMES[::-1], DRAWN), flags[::-1])
    assert np.array_equal(drawn_into_test(NAMES[:10], DRAWN), flags[:10])
    assert not np.array_equal(drawn_into_test(NAMES, DRAWN.model_copy(update={"seed": 8})), flags)
    many = drawn_into_test([str(i) for i in range(20_000)], DRAWN)
    assert many.mean() == pytest.approx(0.4, abs=0.02)


def test_the_label_party_may_say_the_part_and_leave_labels_out(tmp_path: Path) -> None:
    where = home(
        tmp_path,
        "CASE WHEN i >= 90 THEN NULL ELSE i % 2 END AS label, CASE WHEN i < 50 THEN 'Training' ELSE 'test' END AS part",
    )
    panel = UndatedRows(StaticTerms(label="binary")).labels(party(), LABEL, where, where, NAMES)
    assert panel.universe[0].tolist() == [i < 50 for i in range(100)]
    assert panel.universe[1].tolist() == [i >= 50 for i in range(100)]
    assert np.isnan(panel.label[1, 90:]).all()
    assert np.isfinite(panel.label[1, 50:90]).all()


@pytest.mark.parametrize(
    ("labels", "terms", "sentence"),
    [
        ("i % 3 AS label", DRAWN, "row 3 .entity 'P002'.*label 2 is neither 0 nor 1"),
        ("1 AS label", DRAWN, "every label of the training part is 1"),
        ("i % 4 AS label", THREE, "row 4 .entity 'P003'.*label 3 is none of the 3 agreed classes; write whole numbers"),
        ("i % 3 + 0.5 AS label", THREE, "label 0.5 is none of the 3 agreed classes"),
        ("i % 2 AS label", THREE, "0 of the 6[0-9] training rows are of class 2, and a class needs 5"),
        ("i % 2 AS label", StaticTerms(label="binary"), "column 'part' is missing.*static.test_share"),
        ("i % 2 AS label, 'dev' AS part", StaticTerms(label="binary"), "part 'dev' is neither 'training' nor 'test'"),
        ("i % 2 AS label, 'test' AS part", StaticTerms(label="binary"), "0 of the 100 common rows are in the training"),
    ],
)
def test_labels_that_cannot_be_used_are_named(tmp_path: Path, labels: str, terms: StaticTerms, sentence: str) -> None:
    where = home(tmp_path, labels)
    with pytest.raises(DataError, match=sentence):
        UndatedRows(terms).labels(party(), LABEL, where, where, NAMES)


def test_two_rows_of_one_entity_are_refused_with_a_way_out(tmp_path: Path) -> None:
    where = home(tmp_path)
    (where / "q.sql").write_text("SELECT 'A' AS entity, i AS x, i AS z FROM range(2) AS r(i)")
    with pytest.raises(DataError, match=r"rows 1 and 2 are both entity 'A'.*group the query by entity"):
        UndatedRows(DRAWN).features(party("feature"), where, where, ("A",))


def test_what_is_fitted_on_first_periods_is_refused_and_hinges_are_made(tmp_path: Path) -> None:
    where, rows = home(tmp_path), UndatedRows(DRAWN)
    with pytest.raises(ConfigError, match=r"keep expand.hinges alone"):
        rows.features(party("feature", expand={"bins": 4}), where, where, NAMES)
    made = rows.features(party("feature", expand={"hinges": True}), where, where, NAMES)
    assert made.values.shape == (2, 100, 6)


def test_of_an_entity_one_row_can_open() -> None:
    budget = OpeningBudget(6, 4, closed=np.arange(6) < 3)
    budget.charge("scores/1", np.array([4, 5]), 1)
    with pytest.raises(BudgetExceededError, match="1 rows, the first row 2, never open"):
        budget.charge("scores/2", np.array([2, 4]), 1)
    assert budget.counts.tolist() == [0, 0, 0, 0, 1, 1]
