"""Declared columns, tables of a PostgreSQL, faults counted all at once, and names matched against a public list."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, text

from parties.cli import run
from parties.data.check import row_faults
from parties.data.matching import match_names, read_reference, write_aliases
from parties.data.query import read_observations
from parties.errors import ConfigError, DataError
from parties.settings.consortium import PartySettings
from parties.settings.toml_text import to_toml
from tests.conformance.test_ledger_store import postgresql  # noqa: F401
from tests.places import SHARED_DATA

SQL = "SELECT entity, CAST(period AS DATE) AS period, CAST(known AS DATE) AS available_at, lots FROM {source}"
CSV = "entity,period,known,lots\nAA,2024-01-05,2024-01-06,3\nBB,2024-01-05,2024-01-06,7\n"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "lots.csv").write_text(CSV)
    (tmp_path / "q.sql").write_text(SQL.format(source="'${data}/lots.csv'"))
    return tmp_path


def party(**changes: Any) -> PartySettings:
    return PartySettings.model_validate(
        {"name": "sat", "role": "feature", "query": "q.sql", "columns": ("lots",)} | changes
    )


def read(home: Path, **changes: Any) -> Any:
    return read_observations(party(**changes), home, home / "data")


def test_values_within_the_declared_range_pass(home: Path) -> None:
    rules = {"lots": {"unit": "cars", "minimum": 3, "maximum": 7, "required": True}}
    assert read(home, schema=rules).values[:, 0].tolist() == [3, 7]


@pytest.mark.parametrize(
    ("rules", "fault"),
    [
        ({"minimum": 4, "unit": "cars"}, r"row 1 .*'lots' is below its declared minimum 4 cars"),
        ({"maximum": 6.5}, r"row 2 .*'lots' is above its declared maximum 6\.5"),
    ],
)
def test_a_value_outside_names_its_column_and_row(home: Path, rules: dict[str, Any], fault: str) -> None:
    with pytest.raises(DataError, match=fault) as caught:
        read(home, schema={"lots": rules})
    assert caught.value.column == "lots"


def test_a_required_column_may_not_be_empty(home: Path) -> None:
    (home / "data" / "lots.csv").write_text(CSV + "CC,2024-01-05,2024-01-06,\n")
    assert len(read(home)) == 3
    with pytest.raises(DataError, match=r"row 3 .*column 'lots' is empty"):
        read(home, schema={"lots": {"required": True}})


def test_drift_names_the_agreed_column(home: Path) -> None:
    (home / "data" / "lots.csv").write_text(CSV.replace("lots", "lot_count"))
    (home / "q.sql").write_text("SELECT entity, period, known AS available_at, lot_count FROM '${data}/lots.csv'")
    with pytest.raises(DataError, match="column 'lots' is missing") as caught:
        read(home)
    assert caught.value.column == "lots"
    (home / "q.sql").write_text("SELECT entity, period, known AS available_at, 'x' AS lots FROM '${data}/lots.csv'")
    with pytest.raises(DataError, match="'lots' is VARCHAR, not a number") as caught:
        read(home)
    assert caught.value.column == "lots"


def test_rules_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown columns"):
        party(schema={"cars": {}})
    with pytest.raises(ValueError, match="minimum is above maximum"):
        party(schema={"lots": {"minimum": 2, "maximum": 1}})
    with pytest.raises(ValueError, match="plain names"):
        party(postgres={"url": "postgresql://x/y", "tables": {"a b": "SELECT 1"}})


def test_all_faulty_rows_are_found_at_once(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = "AA,2024-01-05,2024-01-06,4\nCC,2024-01-05,2024-01-01,4\nDD,2024-01-05,2023-12-31,4\n"
    (home / "data" / "lots.csv").write_text(CSV + more)
    faults = row_faults(party(), home, home / "data")
    assert [(fault.what, fault.row) for fault in faults] == [("look-ahead", 4), ("look-ahead", 5), ("duplicate", 3)]
    assert "known on 2024-01-01" in faults[0].detail
    node = {"listen": "127.0.0.1:1", "data": "data", "party": party().model_dump(exclude_unset=True)}
    (home / "node.toml").write_text(to_toml(node))
    terms = 'name = "T"\n[calendar]\nfrequency = "W-FRI"\nfirst = 2024-01-01\nlast = 2024-01-31\n'
    terms += '[label]\nname = "y"\ndefinition = "d"\nquery = "l.sql"\n'
    terms += '[[party]]\nname = "fund"\nrole = "label"\nquery = "f.sql"\ncolumns = ["a"]\n'
    (home / "consortium.toml").write_text(terms)
    command = ["data", "check", "--home", str(home), "--config", str(home / "consortium.toml")]
    assert run(command) == DataError.exit_code
    said = capsys.readouterr()
    assert "Look-ahead: 2. Duplicates: 1." in said.out
    assert "3 rows would stop every run" in said.err
    (home / "data" / "lots.csv").write_text(CSV)
    assert run(command) == 0
    said = capsys.readouterr()
    assert "Look-ahead: none. Duplicates: none." in said.out
    assert "Cross-section at 2024-02-02, raw values" in said.out


def test_tables_of_postgresql_are_relations_in_the_query(home: Path, postgresql: str) -> None:  # noqa: F811
    engine = create_engine(postgresql)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS parking"))
        connection.execute(text("CREATE TABLE parking (id text, day date, known timestamptz, lots numeric, n int)"))
        connection.execute(
            text(
                "INSERT INTO parking VALUES ('00AA', '2024-01-05', '2024-01-06 12:00+02', 3.5, 1), "
                "('BB', '2024-01-05', '2024-01-06 12:00Z', NULL, 2)"
            )
        )
    sql = "SELECT id AS entity, day AS period, known AS available_at, lots FROM parking WHERE n < 3"
    (home / "q.sql").write_text(sql)
    got = read(home, postgres={"url": postgresql, "tables": {"parking": "SELECT * FROM parking"}})
    assert got.entity.tolist() == ["00AA", "BB"]
    assert str(got.available_at[0]).startswith("2024-01-06T10:00")
    assert got.values[0, 0] == 3.5
    assert got.values[1, 0] != got.values[1, 0]
    with pytest.raises(DataError, match=r"postgres\.tables\.parking: PostgreSQL refuses .*read-only"):
        read(home, postgres={"url": postgresql, "tables": {"parking": "DELETE FROM parking RETURNING *"}})
    with pytest.raises(DataError, match="'x' has a type that is not taken over"):
        read(home, postgres={"url": postgresql, "tables": {"parking": "SELECT '{}'::json AS x"}})
    with pytest.raises(ConfigError, match="must begin with postgresql"):
        read(home, postgres={"url": "sqlite://", "tables": {"parking": "SELECT 1"}})
    with engine.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM parking")).scalar_one() == 2
        connection.execute(text("DROP TABLE parking"))
    engine.dispose()


REFERENCE = (
    "Apple Inc.",
    "Alphabet Inc. Class A",
    "Alphabet Inc. Class C",
    "Berkshire Hathaway",
    "Nestlé S.A.",
    "3M Company",
)


def verdicts(*names: str) -> dict[str, tuple[str, str]]:
    return {match.name: (match.kind, match.reference) for match in match_names(names, REFERENCE)}


def test_names_are_matched_as_a_person_would() -> None:
    assert verdicts("APPLE INCORPORATED", "Nestle SA", "Berkshire Hathway", "Apple Inc.", "Zebra Farms") == {
        "APPLE INCORPORATED": ("exact", "Apple Inc."),
        "Nestle SA": ("exact", "Nestlé S.A."),
        "Berkshire Hathway": ("close", "Berkshire Hathaway"),
        "Apple Inc.": ("same", "Apple Inc."),
        "Zebra Farms": ("none", ""),
    }


def test_doubt_is_said_not_guessed() -> None:
    assert verdicts("Alphabet Inc. Class B")["Alphabet Inc. Class B"][0] == "ambiguous"
    rivals = verdicts("Berkshire Hathawy", "Berkshire Hathway")
    assert {kind for kind, _ in rivals.values()} == {"ambiguous"}


@given(st.lists(st.text(min_size=1, max_size=20), max_size=8), st.lists(st.text(min_size=1, max_size=20), max_size=8))
def test_every_name_gets_one_verdict_and_nothing_is_claimed_closely_twice(names: list[str], listed: list[str]) -> None:
    found = match_names(names, listed)
    assert [match.name for match in found] == list(dict.fromkeys(names))
    assert all(match.reference in listed for match in found if match.kind != "none")
    claims = Counter(match.reference for match in found if match.kind in ("same", "exact", "close"))
    closely = {match.reference for match in found if match.kind == "close"}
    assert all(claims[reference] == 1 for reference in closely)


def test_aliases_are_written_only_to_a_new_file(tmp_path: Path) -> None:
    path = tmp_path / "reference.csv"
    path.write_text("code,name\n1,Apple Inc.\n2,Nestlé S.A.\n", encoding="utf-8")
    listed = read_reference(path, "name")
    assert listed == ("Apple Inc.", "Nestlé S.A.")
    assert read_reference(path) == ("1", "2")
    matches = match_names(["apple", "Nestlé S.A.", "nobody at all"], listed)
    assert write_aliases(tmp_path / "aliases.csv", matches) == 1
    assert (tmp_path / "aliases.csv").read_text().splitlines() == ["alias,entity", "apple,Apple Inc."]
    with pytest.raises(ConfigError, match="exists already"):
        write_aliases(tmp_path / "aliases.csv", matches)
    with pytest.raises(DataError, match="no column 'title'"):
        read_reference(path, "title")


def test_the_command_proposes_and_writes_nothing_unasked(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node = {"listen": "127.0.0.1:1", "data": "data", "party": party().model_dump(exclude_unset=True)}
    (home / "node.toml").write_text(to_toml(node))
    (home / "list.csv").write_text("name\nAA Corp.\nBBB\n")
    before = sorted(path.name for path in home.iterdir())
    command = ["entities", "check", "--home", str(home), "--reference", str(home / "list.csv")]
    assert run(command) == 0
    assert "Nothing was written" in capsys.readouterr().out
    assert sorted(path.name for path in home.iterdir()) == before
    assert run([*command, "--write", str(home / "aliases.csv")]) == 0
    assert (home / "aliases.csv").read_text().splitlines() == ["alias,entity", "AA,AA Corp."]


@pytest.mark.data
def test_on_real_district_names_every_proposal_is_right() -> None:
    path = SHARED_DATA / "india_districts" / "truth_crosswalk.csv"
    if not path.is_file():
        pytest.skip("the public data sets are not beside this checkout")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))

    def spelled(row: dict[str, str]) -> str:
        return f"{row['raw_district']}, {row['raw_state']}"

    listed = {spelled(row): row["entity_id"] for row in rows if row["source"] == "rbi"}
    for source in ("pulse", "viirs"):
        truth = {spelled(row): row["entity_id"] for row in rows if row["source"] == source}
        proposed = [m for m in match_names(list(truth), list(listed)) if m.kind in ("same", "exact", "close")]
        assert all(listed[match.reference] == truth[match.name] for match in proposed)
        assert len(proposed) >= 0.95 * sum(entity in set(listed.values()) for entity in truth.values())
