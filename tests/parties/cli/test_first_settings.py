"""A party's first node.toml: one that loads whatever the role, from its own SQL, and names what is still to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from parties.cli.first_settings import OwnFiles, from_own_files
from parties.errors import ConfigError, DataError
from parties.node.own_data import data_check
from parties.node.settings import NodeSettings, load_node_settings

ROWS = "company,week,known_on,visits,label,note\n" + "".join(
    f"C{i},2024-01-{5 + 7 * week:02d},2024-01-{6 + 7 * week:02d},{i + week}.5,0.1,x\n"
    for i in range(4)
    for week in range(3)
)
FEATURES = "SELECT company AS entity, week AS period, known_on AS available_at, visits, note FROM '${data}/rows.csv'"
LABEL = "SELECT company AS entity, week AS period, label FROM '${data}/rows.csv'"


def loaded(home: Path, role: str, own: OwnFiles) -> NodeSettings:
    made = from_own_files("sat", role, "127.0.0.1:7401", own, "Fonds Économie & Söhne")
    for name, text in made.beside.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    (home / "node.toml").write_text(made.text)
    return load_node_settings(home / "node.toml")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    place = tmp_path / "mes données"
    place.mkdir()
    (place / "rows.csv").write_text(ROWS)
    (place / "features.sql").write_text(FEATURES)
    (place / "label.sql").write_text(LABEL)
    return place


@pytest.mark.parametrize("role", ["feature", "label"])
def test_the_template_of_each_role_loads_as_it_is(tmp_path: Path, role: str) -> None:
    settings = loaded(tmp_path, role, OwnFiles())
    assert (settings.party.role, settings.party.legal_entity) == (role, "Fonds Économie & Söhne")
    assert (settings.label is not None) == (role == "label")
    assert (tmp_path / "sql" / "features.sql").is_file()
    (tmp_path / "data").mkdir()
    with pytest.raises(DataError, match=r"features\.csv"):  # what is still missing, by name
        data_check(settings, tmp_path)


def test_a_partys_own_sql_says_what_its_columns_are(tmp_path: Path, files: Path) -> None:
    settings = loaded(tmp_path, "feature", OwnFiles(data=files, query=files / "features.sql"))
    assert settings.party.columns == ("visits",), "text is no feature"
    assert data_check(settings, tmp_path) == ("4 entities; the queries run, no look-ahead, no duplicates",)


def test_a_label_party_brings_labels_alone_or_columns_too(tmp_path: Path, files: Path) -> None:
    own = OwnFiles(files, None, (), files / "label.sql", "next_return", "return of the week after", 8)
    settings = loaded(tmp_path, "label", own)
    assert settings.label is not None
    assert (settings.party.columns, settings.label.name, settings.label.lag_days) == ((), "next_return", 8)
    both = OwnFiles(files, files / "features.sql", ("visits",), files / "label.sql", "r", "d", 8)
    settings = loaded(tmp_path, "label", both)
    assert settings.party.columns == ("visits",)
    assert data_check(settings, tmp_path)


def test_what_does_not_fit_is_named(tmp_path: Path, files: Path) -> None:
    with pytest.raises(ConfigError, match="only the label party has --label-query"):
        loaded(tmp_path, "feature", OwnFiles(label_query=files / "label.sql"))
    with pytest.raises(ConfigError, match="no such SQL file"):
        loaded(tmp_path, "feature", OwnFiles(data=files, query=files / "other.sql"))
    with pytest.raises(ConfigError, match="--query needs --data"):
        loaded(tmp_path, "feature", OwnFiles(query=files / "features.sql"))
    (files / "text.sql").write_text("SELECT company AS entity, week AS period, note FROM '${data}/rows.csv'")
    with pytest.raises(ConfigError, match="yields no number beside entity"):
        loaded(tmp_path, "feature", OwnFiles(data=files, query=files / "text.sql"))


def test_a_number_that_is_text_is_not_left_out_without_a_word(tmp_path: Path, files: Path) -> None:
    (files / "marks.csv").write_text(
        'company,week,cars,sector,n\nA,2024-01-05,"1,234",01,3\nB,2024-01-05,"12,345",02,4\n'
    )
    sql = (
        "SELECT company AS entity, CAST(week AS DATE) AS period, cars, sector, n "
        "FROM read_csv('${data}/marks.csv', all_varchar = true)"
    )
    (files / "marks.sql").write_text(sql)
    with pytest.raises(
        DataError, match=r"marks\.sql: row 1: column 'cars' is VARCHAR, not a number .*put around"
    ) as refused:
        loaded(tmp_path, "feature", OwnFiles(data=files, query=files / "marks.sql"))
    around = str(refused.value).split("put around the query ")[1].split(", or ")[0]
    (files / "mended.sql").write_text(around.replace("(...)", f"({sql})"))
    settings = loaded(tmp_path, "feature", OwnFiles(data=files, query=files / "mended.sql", lag_days=1))
    assert settings.party.columns == ("cars",), "codes with zeros in front stay text"


def test_all_numbers_that_are_text_are_told_at_once(tmp_path: Path, files: Path) -> None:
    (files / "de.csv").write_text("company;week;cars;euros\nA;2024-01-05;1.234,5;2.000,25\nB;2024-01-05;12,5;3,75\n")
    sql = "SELECT company AS entity, week AS period, cars, euros FROM read_csv('${data}/de.csv', delim = ';')"
    (files / "de.sql").write_text(sql)
    with pytest.raises(
        DataError, match=r"column 'cars' is VARCHAR, not a number .*, and so is 'euros'; put"
    ) as refused:
        loaded(tmp_path, "feature", OwnFiles(data=files, query=files / "de.sql", lag_days=1))
    around = str(refused.value).split("put around the query ")[1]
    (files / "mended.sql").write_text(around.replace("(...)", f"({sql})"))
    settings = loaded(tmp_path, "feature", OwnFiles(data=files, query=files / "mended.sql", lag_days=1))
    assert settings.party.columns == ("cars", "euros")


@pytest.mark.parametrize(
    ("columns", "lag", "told"),
    [
        ("company AS entity, week AS period, visits", None, r"own\.sql: nothing says when a row .*--lag-days"),
        ("company AS entity, CAST(week AS TIMESTAMPTZ) + INTERVAL 16 HOUR AS period, visits", 1, "has a time zone"),
        ("visits AS entity, week AS period, visits AS n", 1, "column .entity. is DOUBLE, not text"),
    ],
)
def test_days_and_names_are_looked_at_before_the_token_is_used(
    tmp_path: Path, files: Path, columns: str, lag: int | None, told: str
) -> None:
    (files / "own.sql").write_text(f"SELECT {columns} FROM '${{data}}/rows.csv'")
    with pytest.raises((ConfigError, DataError), match=told):
        loaded(tmp_path, "feature", OwnFiles(data=files, query=files / "own.sql", lag_days=lag))


def test_a_label_query_is_read_before_the_token_is_used(tmp_path: Path, files: Path) -> None:
    (files / "label.sql").write_text("SELECT company AS entity, week AS period, note AS label FROM '${data}/rows.csv'")
    with pytest.raises(DataError, match=r"label\.sql: .*column 'label' is VARCHAR"):
        loaded(tmp_path, "label", OwnFiles(files, None, (), files / "label.sql", "r", "d", 8))


def test_a_label_party_without_its_table_is_told_what_is_missing(tmp_path: Path) -> None:
    loaded(tmp_path, "label", OwnFiles())
    whole = (tmp_path / "node.toml").read_text()
    (tmp_path / "node.toml").write_text(whole[: whole.index("[label]")])
    with pytest.raises(ConfigError, match=r"the label party needs a \[label\] table: name, definition and query"):
        load_node_settings(tmp_path / "node.toml")
