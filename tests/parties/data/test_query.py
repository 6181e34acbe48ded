from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from parties.data.entities import canonical_entities, party_entities, read_naming
from parties.data.naming import Alias, Naming
from parties.data.query import read_label_rows, read_observations, sql_text
from parties.errors import ConfigError, DataError
from parties.settings.consortium import LabelSettings, PartySettings

CSV = """id,day,known,lots,light
AA,2020-03-31,2020-04-10,3,0.5
NA,2020-03-31,2020-04-11,,0.25
TRUE,2020-03-31,2020-04-12,5,
"""
SELECT = """-- ${data} holds what the vendor sent; it's ours
SELECT id AS entity, CAST(day AS DATE) AS period, CAST(known AS DATE) AS available_at,
       TRY_CAST(lots AS INTEGER) AS lots, CAST(light AS DECIMAL(9, 4)) AS light
FROM read_csv('${data}/lots.csv', all_varchar = true)
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "lots.csv").write_text(CSV)
    (tmp_path / "q.sql").write_text(SELECT)
    return tmp_path


def party(**changes: Any) -> PartySettings:
    return PartySettings.model_validate(
        {"name": "sat", "role": "feature", "query": "q.sql", "columns": ("lots", "light")} | changes
    )


def read(home: Path, sql: str | None = None, **changes: Any) -> Any:
    if sql is not None:
        (home / "q.sql").write_text(sql)
    return read_observations(party(**changes), home, home / "data")


def test_rows_come_back_typed_and_in_order(home: Path) -> None:
    got = read(home)
    assert got.entity.tolist() == ["AA", "NA", "TRUE"]
    assert got.period.tolist() == np.array(["2020-03-31"] * 3, dtype="datetime64[ns]").tolist()
    assert got.available_at[0] == np.datetime64("2020-04-10T23:59:59.999999", "ns")
    assert np.array_equal(got.values, [[3, 0.5], [np.nan, 0.25], [5, np.nan]], equal_nan=True)


def test_a_lag_dates_rows_that_do_not_say(home: Path) -> None:
    sql = SELECT.replace("CAST(known AS DATE) AS available_at,", "")
    assert read(home, sql, lag_days=5).available_at[0] == np.datetime64("2020-04-05T23:59:59.999999", "ns")
    with pytest.raises(ConfigError, match=r"q\.sql: nothing says when .* became known; add a column available_at"):
        read(home, sql)


def test_a_stated_time_wins_over_the_lag_and_zones_become_utc(home: Path) -> None:
    sql = SELECT.replace("CAST(known AS DATE)", "CAST(known || ' 02:00:00+05:30' AS TIMESTAMPTZ)")
    assert read(home, sql, lag_days=5).available_at[0] == np.datetime64("2020-04-09T20:30:00", "ns")


ONE = "SELECT 'AA' AS entity, DATE '2020-03-31' AS period, DATE '2020-04-01' AS available_at, 1 AS lots, true AS light"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("'AA' AS entity", "1001 AS entity"), r"column 'entity' is INTEGER, not text, and numbers lose leading zeros"),
        (("'AA' AS entity", "NULL::VARCHAR AS entity"), r"row 1: column 'entity' is empty"),
        (("'AA' AS entity", "'  ' AS entity"), r"row 1: column 'entity' is blank"),
        (("DATE '2020-03-31'", "'2020-03-31'"), r"column 'period' is VARCHAR, not a date"),
        (("DATE '2020-03-31'", "NULL::DATE"), r"row 1: column 'period' is empty"),
        (("DATE '2020-03-31'", "DATE '0020-03-31'"), r"row 1 .*column 'period' lies outside 1900 to 2199"),
        (("DATE '2020-03-31'", "'infinity'::TIMESTAMP"), r"row 1 .*outside 1900 to 2199"),
        (
            ("DATE '2020-04-01'", "NULL::DATE"),
            r"row 1 \(entity 'AA', period 2020-03-31\): .*'available_at' is empty",
        ),
        (
            ("DATE '2020-04-01'", "DATE '2020-03-30'"),
            r"row 1 .* known on 2020-03-30, before its own period",
        ),
        (("1 AS lots", "'1' AS lots"), r"column 'lots' is VARCHAR, not a number"),
        (("1 AS lots", "[1] AS lots"), r"column 'lots' is INTEGER\[\], not a number"),
        (("1 AS lots", "'inf'::DOUBLE AS lots"), r"row 1 \(entity 'AA'.*column 'lots' is infinite"),
        (("1 AS lots", "1 AS cars"), r"column 'lots' is missing from the result; add it to the SELECT \(it has entity"),
        (("1 AS lots", "1 AS lots, 2 AS lots"), r"column 'lots' appears twice"),
        (("true AS light", "true AS light WHERE false"), r"yields no rows"),
        (("true AS light", "true AS light FROM nowhere"), r"q\.sql: DuckDB refuses the query \(Catalog Error"),
        (("true AS light", "true AS light FROM"), r"q\.sql: DuckDB refuses the query \(Parser Error"),
        (
            ("true AS light", "true AS light FROM sqlite_scan('a.db', 't')"),
            r"extension sqlite_scanner, a .* CSV or Parquet",
        ),
        (
            ("1 AS lots", "CAST('1' AS VARCHAR) / CAST('2' AS VARCHAR) AS lots"),
            r"text there is no number: give .*types",
        ),
        (("1 AS lots", "CAST('x' AS INTEGER) AS lots"), r"q\.sql: DuckDB refuses the query \(Conversion Error"),
    ],
)
def test_a_fault_is_one_sentence_naming_file_and_place(home: Path, change: tuple[str, str], message: str) -> None:
    assert change[0] in ONE
    with pytest.raises(DataError, match=message) as caught:
        read(home, ONE.replace(*change))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("q.sql: ")


def test_numbers_of_every_kind_are_features(home: Path) -> None:
    got = read(home, ONE.replace("1 AS lots", "7::UTINYINT AS lots"))
    assert got.values.tolist() == [[7.0, 1.0]]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT '${datum}' AS entity", r"unknown placeholder \$\{datum\}"),
        ("SELECT '${}' AS entity", r"unknown placeholder"),
        ("SELECT * FROM read_csv(${data})", r"must open a quoted path"),
        (ONE + "; " + ONE, "exactly one SELECT"),
        ("COPY (SELECT 1) TO '${data}/out.csv'", "exactly one SELECT"),
        ("ATTACH '${data}/x.db'", "exactly one SELECT"),
    ],
)
def test_a_query_may_only_read(home: Path, sql: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(home, sql)
    assert sorted(p.name for p in (home / "data").iterdir()) == ["lots.csv"]


def test_nothing_outside_the_data_folder_is_read(home: Path) -> None:
    (home / "secret.csv").write_text(CSV)
    for path in (f"{home}/secret.csv", "${data}/../secret.csv", "/etc/hostname", "https://example.org/x.csv"):
        with pytest.raises(DataError, match="DuckDB refuses the query"):
            read(home, SELECT.replace("${data}/lots.csv", path))


def test_an_odd_folder_name_is_quoted(tmp_path: Path) -> None:
    home = tmp_path / "it's; --'"
    (home / "data").mkdir(parents=True)
    (home / "data" / "lots.csv").write_text(CSV)
    (home / "q.sql").write_text(SELECT)
    assert len(read(home)) == 3
    assert "it''s" in sql_text(home / "q.sql", home / "data")


def test_missing_files_and_folders_are_named(home: Path) -> None:
    with pytest.raises(ConfigError, match=r"other\.sql: no such file"):
        read(home, query="other.sql")
    with pytest.raises(ConfigError, match="no such data folder"):
        sql_text(home / "q.sql", home / "nowhere")
    (home / "a[b]").mkdir()
    with pytest.raises(ConfigError, match="DuckDB expands"):
        sql_text(home / "q.sql", home / "a[b]")


LABEL = LabelSettings(name="growth", definition="next quarter", query="label.sql")
LABELS = (
    "SELECT * FROM (VALUES ('AA', DATE '2020-03-31', 0.1, DATE '2020-07-01', true), "
    "('BB', DATE '2020-03-31', NULL, NULL, false)) t(entity, period, label, label_available_at, in_universe)"
)


def test_an_unknown_label_needs_no_date(home: Path) -> None:
    (home / "label.sql").write_text(LABELS)
    got = read_label_rows(party(), LABEL, home, home / "data")
    assert got.label[0] == 0.1
    assert np.isnan(got.label[1])
    assert np.isnat(got.available_at).tolist() == [False, True]
    assert got.universe is not None
    assert got.universe.tolist() == [True, False]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("DATE '2020-07-01'", "NULL::DATE"), r"row 1 .* has a label but no label_available_at"),
        (("0.1", "'inf'::DOUBLE"), r"column 'label' is infinite"),
        (("true)", "NULL)"), r"column 'in_universe' is empty"),
        (("DATE '2020-07-01'", "DATE '2020-03-01'"), r"before its own period"),
    ],
)
def test_a_faulty_label_row_is_named(home: Path, change: tuple[str, str], message: str) -> None:
    (home / "label.sql").write_text(LABELS.replace(*change))
    with pytest.raises(DataError, match=message):
        read_label_rows(party(), LABEL, home, home / "data")


def test_a_label_needs_a_date_or_a_lag(home: Path) -> None:
    (home / "label.sql").write_text("SELECT 'AA' AS entity, DATE '2020-03-31' AS period, 1 AS label")
    with pytest.raises(ConfigError, match="add a column label_available_at to the query, or lag_days"):
        read_label_rows(party(), LABEL, home, home / "data")
    later = LABEL.model_copy(update={"lag_days": 60})
    got = read_label_rows(party(), later, home, home / "data")
    assert got.available_at[0] == np.datetime64("2020-05-30T23:59:59.999999", "ns")
    assert got.universe is None


def test_aliases_keep_names_that_look_like_something_else(home: Path) -> None:
    (home / "aliases.csv").write_text("alias,entity\nNA,NAN\n$true,TRUE\n001,01\n")
    got = read_naming(party(aliases="aliases.csv"), home, home / "data")
    assert dict(got.pairs) == {"NA": "NAN", "$true": "TRUE", "001": "01"}
    assert (len(got), got.met(np.array(["AA", "na", "TRUE", "1"], dtype=object))) == (3, 2), "not all occur"
    assert party_entities(party(aliases="aliases.csv"), home, home / "data") == ("AA", "NAN", "TRUE")


def test_aliases_may_come_from_sql(home: Path) -> None:
    (home / "alias.sql").write_text("SELECT 'AA' AS alias, 'A2' AS entity")
    assert party_entities(party(alias_query="alias.sql"), home, home / "data") == ("A2", "NA", "TRUE")
    (home / "alias.sql").write_text("SELECT 1 AS alias, 'A2' AS entity")
    with pytest.raises(DataError, match=r"alias\.sql: column 'alias' is INTEGER, not text"):
        read_naming(party(alias_query="alias.sql"), home, home / "data")
    with pytest.raises(ConfigError, match="both aliases and alias_query"):
        read_naming(party(alias_query="alias.sql", aliases="a.csv"), home, home / "data")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("alias,entity\nA,B\nA,C\n", r"a\.csv: .*'A' stands for both 'B' and 'C'"),
        ("alias,entity\nA,B\nB,A\n", r"a\.csv: .*circle"),
        ("alias,entity\nA,\n", r"a\.csv: row 1: .*need text"),
        ("alias,name\nA,B\n", r"a\.csv: no column 'entity'"),
        ("", r"a\.csv: is empty"),
    ],
)
def test_a_faulty_alias_table_is_named(home: Path, text: str, message: str) -> None:
    (home / "a.csv").write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_naming(party(aliases="a.csv"), home, home / "data")
    assert "\n" not in str(caught.value)


def test_no_alias_file_is_a_config_error(home: Path) -> None:
    with pytest.raises(ConfigError, match=r"a\.csv: no such file"):
        read_naming(party(aliases="a.csv"), home, home / "data")


def test_a_rename_is_one_entity_only_through_the_table() -> None:
    raw = np.array(["FB", "META", "FB", "brk-b"], dtype=object)
    rows = SimpleNamespace(source="q.sql", entity=raw)
    assert canonical_entities(rows, Naming((Alias("FB", "META"),))).tolist() == ["META", "META", "META", "BRK.B"]
    with pytest.raises(DataError, match=r"q\.sql: .*'BRK\.B' and 'brk-b'"):
        canonical_entities(SimpleNamespace(source="q.sql", entity=np.array(["BRK.B", "brk-b"], dtype=object)), Naming())


def test_the_label_party_brings_what_it_has_both_for(home: Path) -> None:
    (home / "label.sql").write_text(LABELS)
    assert party_entities(party(), home, home / "data", LABEL) == ("AA",)
    (home / "label.sql").write_text(LABELS.replace("'AA'", "'ZZ'"))
    with pytest.raises(DataError, match=r"label\.sql and q\.sql share no entity"):
        party_entities(party(), home, home / "data", LABEL)
