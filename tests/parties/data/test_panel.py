from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from parties.data.check import coverage_report, row_faults
from parties.data.entities import party_entities
from parties.data.panel import as_of, build_feature_panel, build_label_panel, feature_panel_of
from parties.data.query import Observations
from parties.data.universe import label_universe_line
from parties.errors import ConfigError, DataError
from parties.settings.consortium import LabelSettings, PartySettings
from vfl.factors.panel import Calendar

DAY = np.timedelta64(1, "D")


def quarters(count: int = 3) -> Calendar:
    ends = pd.period_range("2020Q1", periods=count, freq="Q").end_time.to_numpy().astype("datetime64[ns]")
    return Calendar(tuple(f"2020Q{i + 1}" for i in range(count)), ends, ends + 15 * DAY)


def party(**changes: Any) -> PartySettings:
    return PartySettings.model_validate(
        {"name": "sat", "role": "feature", "query": "q.sql", "columns": ("x",), "whiten": False, "winsorise": 0.0}
        | changes
    )


@st.composite
def histories(draw: st.DrawFn) -> tuple[Any, ...]:
    count = draw(st.integers(0, 25))
    day = st.integers(0, 12)
    rows = draw(
        st.lists(st.tuples(st.integers(-1, 3), day, st.integers(0, 8)), min_size=count, max_size=count, unique=True)
    )
    cutoffs = sorted(draw(st.sets(st.integers(0, 20), min_size=1, max_size=6)))
    age = draw(st.none() | st.integers(1, 9))
    return rows, cutoffs, age


def slow_oracle(rows: Any, cutoffs: Any, age: int | None, entities: int) -> list[list[int]]:
    table = []
    for cutoff in cutoffs:
        line = []
        for wanted in range(entities):
            known = [
                (period, period + lag, index)
                for index, (entity, period, lag) in enumerate(rows)
                if entity == wanted and period + lag <= cutoff
            ]
            best = max(known, default=None)
            stale = best is not None and age is not None and cutoff - best[0] > age
            line.append(-1 if best is None or stale else best[2])
        table.append(line)
    return table


@given(histories())
@settings(max_examples=300, deadline=None)
def test_the_as_of_join_is_what_a_slow_reader_would_pick(history: Any) -> None:
    rows, cutoffs, age = history
    start = np.datetime64("2020-01-01", "ns")
    entity = np.array([r[0] for r in rows], dtype=np.int64)
    period = start + np.array([r[1] for r in rows], dtype=np.int64) * DAY
    known = start + np.array([r[1] + r[2] for r in rows], dtype=np.int64) * DAY
    chosen = as_of(
        entity,
        period.astype("datetime64[ns]"),
        known.astype("datetime64[ns]"),
        (start + np.array(cutoffs) * DAY).astype("datetime64[ns]"),
        4,
        None if age is None else age * DAY,
    )
    assert chosen.tolist() == slow_oracle(rows, cutoffs, age, 4)


def home_with(tmp_path: Path, rows: str, label_rows: str = "") -> Path:
    (tmp_path / "q.sql").write_text(
        "SELECT e AS entity, p::DATE AS period, k::DATE AS available_at, x::DOUBLE AS x"
        f" FROM (VALUES {rows}) t(e, p, k, x)"
    )
    if label_rows:
        (tmp_path / "label.sql").write_text(
            "SELECT e AS entity, p::DATE AS period, k::DATE AS label_available_at, y::DOUBLE AS label"
            f" FROM (VALUES {label_rows}) t(e, p, k, y)"
        )
    return tmp_path


FOUR = ("AA", "BB", "CC", "DD")


def test_a_revision_counts_from_the_cutoff_after_it(tmp_path: Path) -> None:
    rows = (
        "('AA','2020-03-31','2020-04-10',1), ('AA','2020-03-31','2020-07-10',9), ('BB','2020-03-31','2020-04-10',2), "
        "('CC','2020-03-31','2020-04-20',3), ('AA','2020-09-30','2020-10-01',4), ('AA','2020-03-31','2020-10-02',7)"
    )
    panel = build_feature_panel(party(), home_with(tmp_path, rows), tmp_path, quarters(), FOUR)
    known = panel.available_at.astype("datetime64[D]").astype(str)
    assert known[:, 0].tolist() == ["2020-04-10", "2020-07-10", "2020-10-01"]
    assert panel.asof[:, 0].astype("datetime64[D]").astype(str).tolist() == ["2020-03-31", "2020-03-31", "2020-09-30"]
    assert panel.covered.tolist() == [[True, True, False, False]] + [[True, True, True, False]] * 2
    # +-1: the z-scores of two values; AA is the smaller before its revision, the larger of three after.
    assert panel.values[0, :, 0].tolist() == pytest.approx([-1, 1, 0, 0])
    assert panel.values[1, 0, 0] > panel.values[1, 2, 0] > panel.values[1, 1, 0]
    assert np.isnat(panel.asof[:, 3]).all()
    assert np.isnat(panel.available_at[:, 3]).all()


def test_old_observations_go_missing(tmp_path: Path) -> None:
    rows = "('AA','2020-03-31','2020-04-10',1), ('BB','2020-03-31','2020-04-10',2)"
    home = home_with(tmp_path, rows)
    panel = build_feature_panel(party(largest_age_days=110), home, tmp_path, quarters(), FOUR)
    assert panel.covered[:, 0].tolist() == [True, True, False]
    assert (panel.values[2] == 0).all()


def test_a_planted_future_value_never_enters(tmp_path: Path) -> None:
    """What becomes known after a cutoff changes nothing at or before it, whitening and winsorising included."""
    rng = np.random.default_rng(3)
    days = pd.date_range("2019-11-30", periods=12, freq="ME").to_numpy().astype("datetime64[ns]")
    entity, month = np.repeat(np.arange(8), 12), np.tile(np.arange(12), 8)
    values = rng.normal(size=(96, 3))
    values[rng.random((96, 3)) < 0.1] = np.nan
    names = np.array([f"E{i}" for i in range(8)], dtype=object)
    terms = party(columns=("x", "y", "z"), missing_indicators=("y",), whiten=True, winsorise=0.1)
    calendar = quarters()

    def panel(planted: float) -> Any:
        future = days[month] + 20 * DAY > calendar.cutoffs[1]
        seen = np.where(future[:, None], planted, values)
        observed = Observations("q", names[entity], days[month], days[month] + 20 * DAY, ("x", "y", "z"), seen)
        return feature_panel_of(terms, observed, observed.entity, calendar, tuple(names))

    one, two = panel(1e6), panel(-3.0)
    assert one.values.shape == (3, 8, 4)
    assert np.array_equal(one.values[:2], two.values[:2])
    assert np.abs(one.values[:2]).max() > 0
    assert (one.available_at <= calendar.cutoffs[:, None]).all()


def test_a_row_given_twice_is_named(tmp_path: Path) -> None:
    rows = "('AA','2020-03-31','2020-04-10',1), ('BB','2020-03-31','2020-04-10',2), ('AA','2020-03-31','2020-04-10',1)"
    named = r"q\.sql: rows 1 and 3 are both entity 'AA', period 2020-03-31, known at the same time; "
    with pytest.raises(DataError, match=named + r"1 of 3 rows repeat another whole: write SELECT DISTINCT in q\.sql"):
        build_feature_panel(party(), home_with(tmp_path, rows), tmp_path, quarters(), FOUR)
    with pytest.raises(DataError, match=named + "keep one, or give the revision its own available_at"):
        build_feature_panel(party(), home_with(tmp_path, rows[:-2] + "9)"), tmp_path, quarters(), FOUR)


def test_two_names_of_one_entity_collide_only_on_one_date(tmp_path: Path) -> None:
    rows = "('FB','2020-03-31','2020-04-10',1), ('AA','2020-06-30','2020-07-10',2), ('BB','2020-06-30','2020-07-10',5)"
    home = home_with(tmp_path, rows)
    (home / "a.csv").write_text("alias,entity\nFB,AA\n")
    panel = build_feature_panel(party(aliases="a.csv"), home, tmp_path, quarters(), FOUR)
    assert panel.covered[:, 0].all()
    home_with(tmp_path, rows.replace("'FB','2020-03-31','2020-04-10'", "'FB','2020-06-30','2020-07-10'"))
    with pytest.raises(DataError, match="rows 1 and 2 are both entity 'AA'"):
        build_feature_panel(party(aliases="a.csv"), home, tmp_path, quarters(), FOUR)


LABEL = LabelSettings(name="growth", definition="d", query="label.sql")
FEATURES = "('AA','2020-03-31','2020-04-10',1)"


def label_panel(tmp_path: Path, label_rows: str, **changes: Any) -> Any:
    home = home_with(tmp_path, FEATURES, label_rows)
    return build_label_panel(party(**changes), LABEL, home, tmp_path, quarters(), FOUR)


def test_labels_are_dated_standardised_and_known_when_they_resolve(tmp_path: Path) -> None:
    panel = label_panel(
        tmp_path,
        "('AA','2020-02-10','2020-06-30',1), ('BB','2020-03-31','2020-07-15',3), ('CC','2020-01-01','2020-10-16',8), "
        "('AA','2020-06-30',NULL,NULL), ('AA','2019-12-31','2020-07-01',5), ('AA','2021-01-01','2021-07-01',5)",
    )
    assert panel.known_from.tolist() == [[1, 1, 3, 3], [3, 3, 3, 3], [3, 3, 3, 3]]
    # CC resolves later, so AA's and BB's scores are made without it.
    assert panel.label[0, :2].tolist() == pytest.approx([-1, 1])
    assert panel.label[0, 2] == pytest.approx((8 - 4) / np.std([1, 3, 8]))
    assert np.isnan(panel.label[0, 3])
    assert np.isnan(panel.label[1:]).all()
    assert panel.universe.all()
    assert panel.features.covered[:, 0].all()


def test_a_label_outside_the_universe_is_not_one(tmp_path: Path) -> None:
    home = home_with(tmp_path, FEATURES)
    (home / "label.sql").write_text(
        "SELECT e AS entity, DATE '2020-03-31' AS period, DATE '2020-06-30' AS label_available_at, y AS label, "
        "u AS in_universe FROM (VALUES ('AA', 1, true), ('BB', 2, true), ('CC', 900, false)) t(e, y, u)"
    )
    panel = build_label_panel(party(), LABEL, home, tmp_path, quarters(), FOUR)
    assert panel.universe.tolist() == [[True, True, False, False], [False] * 4, [False] * 4]
    assert panel.label[0, :2].tolist() == pytest.approx([-1, 1])
    assert np.isnan(panel.label[0, 2:]).all()


def test_the_first_vintage_of_a_label_counts(tmp_path: Path) -> None:
    panel = label_panel(
        tmp_path,
        "('AA','2020-03-31','2020-10-01',9), ('AA','2020-03-31','2020-06-01',1), ('BB','2020-03-31','2020-06-01',3)",
    )
    assert panel.known_from[0, 0] == 1
    assert panel.label[0, :2].tolist() == pytest.approx([-1, 1])


def test_a_label_known_at_its_cutoff_is_no_prediction(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"label\.sql: row 1 \(entity 'AA', period 2020-03-31\).*nothing to predict"):
        label_panel(tmp_path, "('AA','2020-03-31','2020-04-15',1)")
    assert label_panel(tmp_path, "('AA','2020-03-31','2020-04-16',1)").known_from[0, 0] == 1


def test_two_labels_in_one_period_are_named(tmp_path: Path) -> None:
    rows = "('AA','2020-03-31','2020-06-01',1), ('AA','2020-02-29','2020-06-01',2)"
    with pytest.raises(DataError, match=r"label\.sql: rows 1 and 2 give entity 'AA' two labels in 2020Q1"):
        label_panel(tmp_path, rows)


def test_an_aligned_entity_listed_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'AA' is listed twice"):
        build_feature_panel(party(), home_with(tmp_path, FEATURES), tmp_path, quarters(), ("AA", "AA"))


def test_further_labels_come_from_their_own_queries(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "rows.csv").write_text(
        "entity,period,x,y,slow\n"
        + "\n".join(f"{e},2020-0{3 * q}-15,{q},{k + q},{10 - k}" for q in (1, 2, 3) for k, e in enumerate("ABC"))
    )
    (tmp_path / "q.sql").write_text("SELECT entity, period::DATE AS period, x FROM '${data}/rows.csv'")
    for name, column in (("y", "y"), ("slow", "slow")):
        text = f"SELECT entity, period::DATE AS period, {column} AS label FROM '${{data}}/rows.csv'"
        (tmp_path / f"{name}.sql").write_text(text)
    label = LabelSettings.model_validate(
        {
            "name": "y", "definition": "y", "query": "y.sql", "lag_days": 120,
            "horizons": {"slow": {"query": "slow.sql", "lag_days": 210}},
        }
    )  # fmt: skip
    held = party(role="label", lag_days=1)
    panel = build_label_panel(held, label, tmp_path, data, quarters(), ("A", "B", "C"), ("slow",))
    assert panel.known_from[0].tolist() == [1, 1, 1]
    assert panel.further_known[0][0].tolist() == [2, 2, 2]
    assert panel.further_known[0][1].tolist() == [3, 3, 3]
    np.testing.assert_allclose(panel.further[0][0], -panel.label[0], atol=1e-12)
    with pytest.raises(ConfigError, match=r"label\.horizons\.fast"):
        build_label_panel(held, label, tmp_path, data, quarters(), ("A", "B", "C"), ("fast",))


def test_a_label_party_may_bring_labels_alone(tmp_path: Path) -> None:
    """Without a query and columns of its own it has no features, and its entities are those with labels."""
    alone = PartySettings(name="bank", role="label")
    label = LabelSettings(name="r", definition="", query="l.sql", lag_days=20)
    (tmp_path / "l.sql").write_text("SELECT * FROM read_csv('${data}/l.csv')")
    rows = "a,2020-03-31,0.5\nb,2020-03-31,-0.5\nb,2020-06-30,0.25\nc,2020-06-30,\n"
    (tmp_path / "l.csv").write_text("entity,period,label\n" + rows)
    names = party_entities(alone, tmp_path, tmp_path, label)
    assert names == ("A", "B", "C")
    panel = build_label_panel(alone, label, tmp_path, tmp_path, quarters(), names)
    assert panel.features.columns == ()
    assert panel.features.rows.shape == (9, 0)
    assert not panel.features.covered.any()
    assert np.isfinite(panel.label).tolist() == [[True, True, False], [False, True, False], [False] * 3]
    report = coverage_report(alone, tmp_path, tmp_path, quarters(), label)
    assert (report.rows, report.entities, report.labels, report.covered) == (4, 3, (2, 1, 0), ())
    told = "l.sql: 4 rows, 3 ids, 2020-03-31 to 2020-06-30; labels not known yet: 1; known 20 days after"
    assert report.readings[0].startswith(told)
    assert row_faults(alone, tmp_path, tmp_path) == ()


def test_data_that_ended_before_the_calendar_does_are_noted(tmp_path: Path) -> None:
    def notes(quarters_there: list[int], **changes: Any) -> list[str]:
        ends = pd.period_range("2020Q1", periods=8, freq="Q").end_time
        rows = ", ".join(f"('AA','{ends[k]:%Y-%m-%d}','{ends[k]:%Y-%m-%d}',{k})" for k in quarters_there)
        report = coverage_report(party(**changes), home_with(tmp_path, rows), tmp_path, quarters(8))
        return [note for note in report.notes if "no row is newer" in note]

    told = "no row is newer than 2020-12-31: 4 of 8 periods after it use older ones; end the calendar earlier"
    assert [note[: len(told)] for note in notes([0, 1, 2, 3])] == [told]
    assert notes([0, 1, 2, 3], largest_age_days=30) == []
    assert notes(list(range(7))) == [], "the last one may be late"
    assert notes([0, 3, 5]) == [], "as long a stretch as before"
    assert notes([0]) == [], "what is said once and for all"


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"columns": ()}, "a feature party needs a query, and columns"),
        ({"query": ""}, "a feature party needs a query, and columns"),
        ({"role": "label", "columns": ()}, "name both, or neither for a party of labels alone"),
        ({"role": "label", "query": ""}, "name both, or neither"),
        ({"role": "label", "query": "", "columns": (), "expand": {"hinges": True}}, "encoder and expand make columns"),
    ],
)
def test_query_and_columns_go_together(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        party(**changes)


def test_rows_out_of_the_universe_are_counted_as_the_panel_leaves_them_out(tmp_path: Path) -> None:
    alone, label = PartySettings(name="bank", role="label"), LabelSettings(name="r", definition="", query="l.sql")
    (tmp_path / "l.sql").write_text("SELECT * FROM read_csv('${data}/l.csv')")
    rows = [
        "entity,period,label,label_available_at,in_universe",
        "a,2020-03-31,0.5,2020-04-20,true",
        "a,2020-03-31,0.6,2020-04-25,false",  # a later vintage does not count
        "b,2020-03-31,-0.5,2020-04-20,false",
        "b,2020-06-30,,,true",  # to be predicted before its label is known
        "c,2021-12-31,1.0,2022-01-20,true",  # outside the calendar
    ]
    (tmp_path / "l.csv").write_text("\n".join(rows) + "\n")
    names = party_entities(alone, tmp_path, tmp_path, label)
    panel = build_label_panel(alone, label, tmp_path, tmp_path, quarters(), names)
    told = label_universe_line(alone, label, tmp_path, tmp_path, quarters(), names)
    assert (panel.universe.sum(), panel.universe.size) == (2, 9)
    assert told.startswith(
        "2 of 9 rows (period and entity) are in the universe; 1 are out since in_universe is false, "
    )
    assert "6 since l.sql has no row of them" in told
    (tmp_path / "l.sql").write_text("SELECT * EXCLUDE in_universe FROM read_csv('${data}/l.csv') WHERE label <> 0.6")
    told = label_universe_line(alone, label, tmp_path, tmp_path, quarters(), names)
    assert told == "all 9 rows are in the universe, since l.sql has no column in_universe"
    assert build_label_panel(alone, label, tmp_path, tmp_path, quarters(), names).universe.all()
