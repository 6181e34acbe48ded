"""Data files as people have them, through a party's SQL: right, or refused with a remedy that works when applied."""

from __future__ import annotations

import re
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from parties.data.calendar import calendar_of, calendar_terms
from parties.data.check import coverage_report
from parties.data.csv_numbers import maybe_thousands
from parties.data.entities import read_naming
from parties.data.query import read_observations
from parties.errors import ConfigError, DataError
from parties.settings.consortium import CalendarSettings, PartySettings, load_consortium

SQL = "SELECT ticker AS entity, day AS period, x FROM read_csv('${data}/f.csv') -- the vendor's"
PARQUET = SQL.replace("read_csv('${data}/f.csv')", "read_parquet('${data}/f.parquet')")
HEADER = "ticker,day,x\n"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path


def party(**changes: Any) -> PartySettings:
    told = {"name": "sat", "role": "feature", "query": "q.sql", "columns": ("x",), "lag_days": 0}
    return PartySettings.model_validate(told | changes)


def read(home: Path, sql: str, content: str | bytes | pd.DataFrame) -> Any:
    if isinstance(content, pd.DataFrame):
        content.to_parquet(home / "data" / "f.parquet", index=False)
    else:
        (home / "data" / "f.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    (home / "q.sql").write_text(sql)
    return read_observations(party(), home, home / "data")


def refusal(home: Path, sql: str, content: str | bytes | pd.DataFrame) -> str:
    with pytest.raises(DataError) as caught:
        read(home, sql, content)
    said = str(caught.value)
    assert said.startswith("q.sql: ")
    assert "\n" not in said
    return said


def around(said: str, sql: str, way: int = 0) -> str:
    """The query with the remedy around it, as it is told to be put."""
    found = re.search(
        r'SELECT \* REPLACE \((?P<one>.*?) AS "(?P<name>\w+)"\) FROM \(\.\.\.\)(?:, or (?P<other>[A-Z].*))?', said
    )
    assert found is not None, said
    expression = (found["one"], found["other"])[way]
    return f'SELECT * REPLACE ({expression} AS "{found["name"]}") FROM (\n{sql}\n)'


def days(got: Any) -> list[str]:
    return [str(day)[:10] for day in got.period]


# -- guarantee 5: nothing looks into the future


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "Asia/Shanghai", "Asia/Tokyo", "Europe/Berlin", "America/New_York"])
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_zoned_period_lets_nothing_of_tomorrow_in(home: Path, zone: str, form: str) -> None:
    stamps = pd.DatetimeIndex(["2024-02-02", "2024-02-03"]).tz_localize(zone)
    frame = pd.DataFrame({"ticker": "AB", "day": stamps, "x": [2.0, 3.0]})
    sql, content = (PARQUET, frame) if form == "parquet" else (SQL, frame.to_csv(index=False))
    said = refusal(home, sql, content)
    assert "row 1: column 'period' has a time zone and is 2024-02-0" in said
    assert "2 of 2 rows; a period is a day" in said
    got = read(home, around(said, sql), content)
    assert days(got) == ["2024-02-02", "2024-02-03"]
    terms = calendar_terms(CalendarSettings(frequency="D", first=date(2024, 2, 1), last=date(2024, 2, 3)))
    report = coverage_report(party(query="q.sql"), home, home / "data", calendar_of(terms))
    assert report.covered == (0, 1, 1), "Thursday knows nothing of Friday"


def test_a_period_at_midnight_utc_is_that_day(home: Path) -> None:
    got = read(home, SQL, HEADER + "AB,2024-02-02T00:00:00Z,2\nAB,2024-02-03T00:00:00+00:00,3\n")
    assert days(got) == ["2024-02-02", "2024-02-03"]


def test_a_moment_without_a_zone_is_no_period(home: Path) -> None:
    content = HEADER + "AB,2024-02-01 18:30:00,2\nAB,2024-02-02 18:30:00,3\n"
    said = refusal(home, SQL, content)
    assert "has a time of day" in said
    assert days(read(home, around(said, SQL), content)) == ["2024-02-01", "2024-02-02"]
    there = re.search(r"or (CAST\(.*Asia/Kolkata' AS DATE\)) where it is UTC", said)
    assert there is not None
    other = f'SELECT * REPLACE ({there[1]} AS "period") FROM (\n{SQL}\n)'
    assert days(read(home, other, content)) == ["2024-02-02", "2024-02-03"]


def test_the_last_nanosecond_of_a_day_is_not_tomorrow(home: Path) -> None:
    """As pandas' Period.end_time writes the end of a month."""
    ends = pd.PeriodIndex(["2024-01", "2024-02"], freq="M").end_time
    frame = pd.DataFrame({"ticker": "AB", "day": ends, "x": [1.0, 2.0]})
    said = refusal(home, PARQUET, frame)
    assert "has a time of day and is 2024-01-31 23:59" in said
    assert days(read(home, around(said, PARQUET), frame)) == ["2024-01-31", "2024-02-29"]


def test_an_order_of_day_and_month_is_never_guessed(home: Path) -> None:
    content = HEADER + "AB,03/04/2024,1\nCD,05/06/2024,2\n"
    said = refusal(home, SQL, content)
    assert "f.csv: column day: day and month could be in either order" in said
    for form, first in (("%d/%m/%Y", "2024-04-03"), ("%m/%d/%Y", "2024-03-04")):
        assert f"'{form}'" in said
        got = read(home, SQL.replace("f.csv'", f"f.csv', dateformat = '{form}'"), content)
        assert days(got)[0] == first
    proved = HEADER + "AB,13/04/2024,1\nCD,05/06/2024,2\n"
    assert days(read(home, SQL, proved)) == ["2024-04-13", "2024-06-05"]
    assert days(read(home, SQL, HEADER + "AB,04/04/2024,1\n")) == ["2024-04-04"]
    short = HEADER + "AB,31/01/24,1\nCD,13/02/24,2\n"
    said = refusal(home, SQL, short)
    assert "years of two digits" in said
    assert "dateformat = '%d/%m/%y' or '%y/%m/%d')" in said
    assert days(read(home, SQL.replace("f.csv'", "f.csv', dateformat = '%d/%m/%y'"), short)) == [
        "2024-01-31",
        "2024-02-13",
    ]
    assert "f.csv: column day" in refusal(home, SQL.replace("f.csv", "*.csv"), content)
    as_text = SQL.replace("f.csv'", "f.csv', all_varchar = true").replace(", x FROM", ", CAST(x AS INTEGER) AS x FROM")
    said = refusal(home, as_text, content)
    assert days(read(home, around(said, as_text), content))[0] == "2024-04-03"
    assert days(read(home, around(said, as_text, 1), content))[0] == "2024-03-04"


# -- remedies that work


DAYS = {
    "eight digits": lambda day: f"{day:%Y%m%d}",
    "spreadsheet": lambda day: str((day - date(1899, 12, 30)).days),
    "seconds": lambda day: str((day - date(1970, 1, 1)).days * 86_400),
    "milliseconds": lambda day: str((day - date(1970, 1, 1)).days * 86_400_000),
    "microseconds": lambda day: str((day - date(1970, 1, 1)).days * 86_400_000_000),
    "nanoseconds": lambda day: str((day - date(1970, 1, 1)).days * 86_400_000_000_000),
    "slashes": lambda day: f"{day:%Y/%m/%d}",
    "dots": lambda day: f"{day:%d.%m.%Y}",
    "month named": lambda day: f"{day:%d-%b-%Y}",
    "short year": lambda day: f"{day:%d-%b-%y}",
    "iso": lambda day: f"{day}",
    "iso in India": lambda day: f"{day}T00:00:00+05:30",
}


@pytest.mark.parametrize("form", DAYS)
@pytest.mark.parametrize("kind", ["text", "typed"])
def test_a_date_in_another_form_is_read_by_what_is_told(home: Path, form: str, kind: str) -> None:
    wanted = [date(2024, 1, 31) + timedelta(days=20 * k) for k in range(4)]
    texts = [DAYS[form](day) for day in wanted]
    typed = [int(text) for text in texts] if kind == "typed" and texts[0].isdigit() else texts
    frame = pd.DataFrame({"ticker": "AB", "day": typed, "x": 1.0})
    said = refusal(home, PARQUET, frame)
    assert "column 'period' is " in said
    assert texts[0] in said
    assert days(read(home, around(said, PARQUET), frame)) == [str(day) for day in wanted]


NUMBERS = {
    "thousands": (["1,234.75", "900", "2,000", "850"], [[1234.75, 900, 2000, 850]]),
    "continental": (["1.234,75", "900", "2,5"], [[1234.75, 900, 2.5]]),
    "either": (["1,500", "2,250"], [[1500, 2250], [1.5, 2.25]]),
    "below one": (["0,005", "0,250"], [[0.005, 0.25]]),
    "points below one": (["0.125", "n/a"], [[0.125, np.nan]]),
    "per cent": (["12%", "3.5 %"], [[0.12, 0.035]]),
    "dollars": (["$1.50", "-$2"], [[1.5, -2]]),
    "accounts": (["(1,234.50)", "7"], [[-1234.5, 7]]),
    "long minus": (["\N{MINUS SIGN}3", "4"], [[-3, 4]]),
    "missing": (["#N/A", "4", "", "null"], [[np.nan, 4, np.nan, np.nan]]),
    "as text": (["1.5", "2e3"], [[1.5, 2000]]),
    "points": (["1.234.567", "900"], [[1234567, 900]]),
    "apostrophes": (["1'234'567.5", "-900"], [[1234567.5, -900]]),
    "narrow blanks": (["1\u202f234,5", "2"], [[1234.5, 2]]),
    "thousands and a point": (["1,500", "12.5"], [[1500, 12.5]]),
}


@pytest.mark.parametrize("case", NUMBERS)
def test_numbers_as_text_are_read_by_what_is_told_and_none_is_lost(home: Path, case: str) -> None:
    texts, wanted = NUMBERS[case]
    frame = pd.DataFrame(
        {"ticker": [f"T{k}" for k in range(len(texts))], "day": pd.Timestamp("2024-01-31"), "x": texts}
    )
    said = refusal(home, PARQUET, frame)
    assert "column 'x' is VARCHAR, not a number" in said
    assert "TRY_CAST" not in said
    assert (", or CAST(" in said) == (len(wanted) > 1)
    for way, values in enumerate(wanted):
        got = read(home, around(said, PARQUET, way), frame)
        assert np.allclose(got.values[:, 0], values, equal_nan=True)


@pytest.mark.parametrize("texts", [["1,5", "2.5"], [*["1,500,000"] * 60_000, "2,5"]], ids=["near", "far below"])
def test_numbers_grouped_in_two_ways_are_not_told_one_remedy(home: Path, texts: list[str]) -> None:
    """Either remedy would make 25 of one of them, without a word."""
    frame = pd.DataFrame(
        {"ticker": [f"T{k}" for k in range(len(texts))], "day": pd.Timestamp("2024-01-31"), "x": texts}
    )
    said = refusal(home, PARQUET, frame)
    assert "row 1: column 'x' is VARCHAR, not a number" in said
    assert said.endswith("mend that value, or leave its row out with WHERE")


def test_a_number_that_overflows_is_named(home: Path) -> None:
    frame = pd.DataFrame({"ticker": ["A", "B"], "day": pd.Timestamp("2024-01-31"), "x": [1.0, -1e300]})
    assert "row 2 (entity 'B', period 2024-01-31): column 'x' is too large to compute with" in refusal(
        home, PARQUET, frame
    )


def test_a_word_among_numbers_is_named(home: Path) -> None:
    frame = pd.DataFrame({"ticker": ["A", "B"], "day": pd.Timestamp("2024-01-31"), "x": ["1", "high"]})
    said = refusal(home, PARQUET, frame)
    assert "row 2: column 'x' is VARCHAR, not a number ('high' is no number)" in said
    assert "REPLACE" not in said


def test_the_check_says_that_try_cast_loses_values(home: Path) -> None:
    tried = PARQUET.replace(", x FROM", ", TRY_CAST(x AS DOUBLE) AS x FROM")
    terms = calendar_terms(CalendarSettings(frequency="M", first=date(2024, 1, 1), last=date(2024, 2, 3)))
    for texts, noted in ((["1,234.75", "900"], True), (["1", "900"], False)):
        read(home, tried, pd.DataFrame({"ticker": ["A", "B"], "day": pd.Timestamp("2024-01-31"), "x": texts}))
        notes = coverage_report(party(), home, home / "data", calendar_of(terms)).notes
        assert any("1 values are missing, and q.sql has TRY_CAST" in note for note in notes) is noted


def test_ids_that_became_floats_come_back(home: Path) -> None:
    frame = pd.DataFrame({"ticker": [1001.0, 1002.0], "day": pd.Timestamp("2024-01-31"), "x": [1.0, 2.0]})
    said = refusal(home, PARQUET, frame)
    assert "column 'entity' is DOUBLE, not text" in said
    assert read(home, around(said, PARQUET), frame).entity.tolist() == ["1001", "1002"]
    whole = frame.astype({"ticker": int})
    assert read(home, around(refusal(home, PARQUET, whole), PARQUET), whole).entity.tolist() == ["1001", "1002"]
    read(home, PARQUET.replace("ticker AS", "CAST(ticker AS VARCHAR) AS"), frame)
    terms = calendar_terms(CalendarSettings(frequency="M", first=date(2024, 1, 1), last=date(2024, 2, 3)))
    report = coverage_report(party(), home, home / "data", calendar_of(terms))
    assert any("all ids end in .0" in note for note in report.notes)


def test_the_check_says_what_is_not_winsorised_and_what_is_constant(home: Path) -> None:
    rows = [f"C{i},2024-0{month}-28,{int(i == 0 and month == 1)},{i * month}\n" for month in (1, 2) for i in range(200)]
    sql = SQL.replace(" x FROM", " x, y FROM")
    (home / "q.sql").write_text(sql)
    (home / "data" / "f.csv").write_text("ticker,day,x,y\n" + "".join(rows))
    terms = calendar_terms(CalendarSettings(frequency="M", first=date(2024, 1, 1), last=date(2024, 2, 3)))
    report = coverage_report(party(columns=("x", "y")), home, home / "data", calendar_of(terms))
    assert report.readings[0].endswith("not winsorised, since of few values: x in 1 of 2 periods")
    assert "column x has one value for all entities in 1 of 2 periods; the model sees 0 there" in report.notes
    assert not any("column y" in note for note in report.notes)


def test_days_between_sessions_are_noted(home: Path) -> None:
    (home / "q.sql").write_text(SQL)
    (home / "data" / "f.csv").write_text(
        HEADER + "AB,2024-03-28,1\nAB,2024-03-29,2\nAB,2024-03-30,2\nAB,2024-04-02,3\n"
    )
    for frequency, noted in (
        ("XNYS", "2 dates, the first 2024-03-29"),
        ("B", "1 date, the first 2024-03-30"),
        ("D", ""),
    ):
        terms = calendar_terms(CalendarSettings(frequency=frequency, first=date(2024, 3, 27), last=date(2024, 4, 3)))
        report = coverage_report(party(), home, home / "data", calendar_of(terms))
        told = " ".join(note for note in report.notes if "between two sessions" in note)
        assert told.startswith(noted)
        assert bool(told) == bool(noted)


# -- what DuckDB says


def test_the_cause_and_the_file_are_named_and_the_option_works(home: Path) -> None:
    latin = (HEADER + "M\xfcnchen,2024-01-31,1.5\n").encode("latin-1")
    said = refusal(home, SQL, latin)
    assert said.startswith("q.sql: f.csv, line 2: Invalid unicode")
    assert read(home, SQL.replace("f.csv'", "f.csv', encoding = 'latin-1'"), latin).entity.tolist() == ["München"]
    assert "encoding = 'latin-1'" in said
    wide = (HEADER + "AB,2024-01-31,1.5\n").encode("utf-16")
    said = refusal(home, SQL, wide)
    assert "encoding = 'utf-16'" in said
    assert len(read(home, SQL.replace("f.csv'", "f.csv', encoding = 'utf-16'"), wide)) == 1
    cast = SQL.replace(", x FROM", ", CAST(x AS DOUBLE) AS x FROM")
    content = HEADER + 'AB,2024-01-31,"1,500.25"\nCD,2024-01-31,"900"\n'
    said = refusal(home, cast, content)
    assert "f.csv, line 2: could not convert '1,500.25' to DOUBLE in column x; read_csv(..., thousands = ',')" in said
    assert read(home, cast.replace("f.csv'", "f.csv', thousands = ','"), content).values.tolist() == [
        [1500.25],
        [900.0],
    ]
    content = HEADER.replace(",", ";") + "AB;2024-01-31;1,5\nCD;2024-01-31;1.234,75\n"
    said = refusal(home, cast, content)
    option = said.partition("read_csv(..., ")[2].rpartition(")")[0]
    if "decimal_separator" in option:
        assert read(home, cast.replace("f.csv'", f"f.csv', {option}"), content).values.tolist() == [[1.5], [1234.75]]
    dated = SQL.replace("day AS", "CAST(day AS DATE) AS")
    said = refusal(home, dated, HEADER + "AB,20240131,1\n")
    assert "strptime(CAST(day AS VARCHAR), '%Y%m%d')" in said
    mended = SQL.replace("day AS", "strptime(CAST(day AS VARCHAR), '%Y%m%d') AS")
    assert days(read(home, mended, HEADER + "AB,20240131,1\n")) == ["2024-01-31"]


LATE = "".join(f"A{k},2024-01-31,{k}\n" for k in range(25_000))


def test_an_order_that_is_proved_late_is_the_one_that_is_offered(home: Path) -> None:
    content = HEADER + "".join(f"A{k},02/03/2024,1\n" for k in range(25_000)) + "B,02/13/2024,1\n"
    said = refusal(home, SQL, content)
    assert said.endswith("read_csv(..., dateformat = '%m/%d/%Y')")
    assert days(read(home, SQL.replace("f.csv'", "f.csv', dateformat = '%m/%d/%Y'"), content))[0] == "2024-02-03"
    said = refusal(home, SQL, HEADER + LATE + "B,n/a,1\n")
    assert "could not convert 'n/a' to DATE in column day; read_csv(..., nullstr = ['', 'n/a'])" in said
    assert "mend that line of the file" in refusal(home, SQL, HEADER + LATE + "B,Total,1\n")


def test_what_is_no_csv_is_said_so(home: Path) -> None:
    """DuckDB would say that a column is missing, or offer an encoding that makes other names of these."""
    for content, why in (
        (b"PK\x03\x04sheet", "is a workbook or archive; save the sheet as CSV"),
        (b"", "is empty; it must have a header and rows"),
        ((HEADER + "AB,2024-01-31,1\n").encode("utf-16-le"), "has zero bytes"),
        (b"\x1f\x8b\x08\x00", "is compressed by gzip; unpack it with gunzip"),
        ((HEADER + "AB,2024-01-31,1\nCD,2024-01-31,2\r\n").encode(), "some of its lines end in CR LF and others in LF"),
    ):
        assert f"q.sql: f.csv: {why}" in refusal(home, SQL, content)
    for encoding, name in (("gbk", "中国平安"), ("shift-jis", "中国平安"), ("big5", "臺灣銀行")):
        said = refusal(home, SQL, (HEADER + f"{name},2024-01-31,1\n").encode(encoding))
        assert said.endswith("save it as UTF-8 where it was made"), "latin-1 would read it, as other names"
    assert "more than a header" in refusal(home, SQL, HEADER)
    assert "same number of fields" in refusal(home, SQL, HEADER + "AB,2024-01-31,1\nCD,2024-01-31\nEF,2024-01-31,3\n")
    bare = "AB,2024-01-31,1\nCD,2024-01-31,2\n"
    said = refusal(home, SQL, bare)
    assert 'there is "column0"' in said
    assert "names = ['ticker', ...]" in said
    named = SQL.replace("f.csv'", "f.csv', names = ['ticker', 'day', 'x']")
    assert len(read(home, named, bare)) == 2


def test_a_column_that_the_header_has_twice_is_not_taken_by_its_place(home: Path) -> None:
    content = "ticker;day;X;note;x;note\nAB;2024-01-31;1;a;9;b\n"
    assert "f.csv: column 'x' appears twice in the header" in refusal(home, SQL, content)
    named = SQL.replace("f.csv'", "f.csv', header = true, names = ['ticker', 'day', 'old', 'n1', 'x', 'n2']")
    assert read(home, named, content).values.tolist() == [[9.0]]
    assert len(read(home, SQL, "ticker,day,x,note,note\nAB,2024-01-31,1,a,b\n")) == 1, "nobody reads the note"


def test_rows_may_not_be_left_out_without_a_word(home: Path) -> None:
    content = HEADER + "AB,2024-01-31,1\nCD,2024-01-31,high\n"
    sql = SQL.replace("f.csv'", "f.csv', types = {'x': 'DOUBLE'}, ignore_errors = true")
    assert "read_csv(..., ignore_errors = true) leaves rows out without a word" in refusal(home, sql, content)
    assert "f.csv, line 3: could not convert 'high'" in refusal(
        home, sql.replace(", ignore_errors = true", ""), content
    )


def test_rows_that_would_be_skipped_are_named(home: Path) -> None:
    said = refusal(home, SQL, "made by a vendor\n" + HEADER + "AB,2024-01-31,1\nCD,2024-01-31,2\n")
    assert "f.csv: its first 1 lines" in said
    assert len(read(home, SQL.replace("f.csv'", "f.csv', skip = 1"), (home / "data" / "f.csv").read_bytes())) == 2
    assert "would be skipped" in refusal(home, SQL, HEADER + "AB,2024-01-31,1\nCD,2024-01-31,2,9\n")


def test_a_link_out_of_the_data_folder_is_named(home: Path) -> None:
    (home / "vendor").mkdir()
    (home / "vendor" / "f.csv").write_text(HEADER + "AB,2024-01-31,1\n")
    (home / "data" / "f.csv").symlink_to(home / "vendor" / "f.csv")
    (home / "q.sql").write_text(SQL)
    for sql in (SQL, SQL.replace("read_csv('${data}/f.csv')", "'${data}/f.csv'"), SQL.replace("f.csv", "*.csv")):
        (home / "q.sql").write_text(sql)
        with pytest.raises(
            DataError, match=r"q\.sql: data/f\.csv is a link to .*/vendor/f\.csv, outside the data folder; copy"
        ):
            read_observations(party(), home, home / "data")
    (home / "data" / "f.csv").unlink()
    (home / "data" / "g.csv").write_text(HEADER + "AB,2024-01-31,1\n")
    (home / "data" / "f.csv").symlink_to("g.csv")
    (home / "q.sql").write_text(SQL)
    assert len(read_observations(party(), home, home / "data")) == 1, "a link within the folder is fine"


# -- aliases


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("alias,entity\nFB,META\n", ""),
        ("alias,entity\nFB,META,\n", ""),
        ("alias,entity,note\nFB,META,renamed,\n", ""),
        ("Alias, Entity\nFB, META\n", ""),
        ("\ufeffalias,entity\r\nFB,META\r\n", ""),
        ("alias,entity\nFB,META,2021\n", r"a\.csv: row 1 has 3 fields, the header has 2; quote what holds a comma"),
        ("alias;entity\nFB;META\n", r"a\.csv: is separated by ';'; save it with commas"),
        ("alias,entity\nFB\n", r"a\.csv: row 1 has 1 fields, the header has 2"),
        ("from,to\nFB,META\n", r"a\.csv: no column 'alias' \(it has from, to\)"),
        ('alias,entity\n"FB,META\n', r"a\.csv: row 1: is no row of a CSV file"),
    ],
)
def test_an_alias_table_maps_as_written_or_is_refused(home: Path, text: str, said: str) -> None:
    (home / "a.csv").write_bytes(text.encode())
    if said:
        with pytest.raises(DataError, match=said):
            read_naming(party(aliases="a.csv"), home, home / "data")
    else:
        assert list(read_naming(party(aliases="a.csv"), home, home / "data").pairs) == [("FB", "META")]


# -- the calendar


@pytest.mark.parametrize(
    ("first", "last", "named"),
    [
        ((2024, 1, 1), (9999, 12, 31), "last: 9999-12-31"),
        ((1600, 1, 1), (1700, 1, 1), "first: 1600-01-01"),
        ((2199, 12, 31), (2200, 1, 1), "last: 2200-01-01"),
    ],
)
def test_a_calendar_beyond_what_dates_can_hold_is_named(home: Path, first: Any, last: Any, named: str) -> None:
    text = f'name = "t"\n[calendar]\nfrequency = "M"\nfirst = {date(*first)}\nlast = {date(*last)}\n'
    text += '[label]\nname = "r"\ndefinition = "d"\nquery = "q.sql"\n'
    text += '[[party]]\nname = "bank"\nrole = "label"\nquery = "q.sql"\ncolumns = ["x"]\n'
    (home / "consortium.toml").write_text(text)
    with pytest.raises(ConfigError, match=rf"consortium\.toml: calendar\.{named} lies outside 1900 to 2199; name"):
        load_consortium(home / "consortium.toml")


def test_a_quote_that_is_not_closed_is_found_by_its_line(home: Path) -> None:
    """DuckDB takes every quote for a letter then: the id would be '"A', and '"B"' beside B."""
    few = "".join(f"A{k},2024-01-31,{k}\n" for k in range(30))
    for content, line in (
        (HEADER + '"A,2024-01-31,1\n' + few, 2),
        (HEADER + few + '"A,2024-01-31,1\n', 32),
        (HEADER + '"B",2024-01-31,1\n' + few + 'C,2024-01-31,"1\n' + few, 33),
        (HEADER + few + '"A,2024-01-31,1\r\n', 0),
    ):
        said = refusal(home, SQL, content)
        assert f"f.csv: line {line}: a quote is not closed" in said if line else "CR LF" in said
    letters = SQL.replace("f.csv'", "f.csv', quote = ''")
    assert read(home, letters, HEADER + '5" pipe,2024-01-31,1\n"A,2024-01-31,1\n').entity.tolist() == ['5" pipe', '"A']
    assert read(home, SQL, HEADER + '5" pipe,2024-01-31,1\n').entity.tolist() == ['5" pipe'], "no field begins with it"
    quoted = SQL.replace("f.csv'", "f.csv', quote = '\"'")
    late, beyond = HEADER + LATE, LATE.count("\n") + 2
    told = f"f.csv: line {beyond}: fields in quotes would be read with their quotes"
    assert told in refusal(home, SQL, late + '"B",2024-01-31,1\n')
    assert read(home, quoted, late + '"B",2024-01-31,1\n').entity[-1] == "B"
    said = refusal(home, SQL, late + '"B\nC",2024-01-31,1\n')
    assert f"line {beyond}: a quote is not closed" in said
    assert "goes on in the next line: read_csv(..., quote = '\"')" in said
    assert read(home, quoted, late + '"B\nC",2024-01-31,1\n').entity[-1] == "B\nC"
    said = refusal(home, SQL, HEADER + few + '"The" Co,2024-01-31,1\n')
    assert "line 32: fields in quotes" in said
    assert "where quotes are letters: read_csv(..., quote = '')" in said
    assert read(home, letters, HEADER + few + '"The" Co,2024-01-31,1\n').entity[-1] == '"The" Co'


def test_points_that_can_only_mark_thousands_are_refused_with_what_reads_them(home: Path) -> None:
    rows = ("1.500", "12.250", "950", "-1.000")
    content = HEADER + "".join(f"A{k},2024-01-31,{value}\n" for k, value in enumerate(rows))
    said = refusal(home, SQL, content)
    assert "f.csv: column x: -1.000 and every other number with a point has three digits after it" in said
    told = re.findall(r"read_csv\(\.\.\., ([^)]*)\)", said)
    thousands, decimals = (read(home, SQL.replace("f.csv'", f"f.csv', {one}"), content).values[:, 0] for one in told)
    assert thousands.tolist() == [1500, 12250, 950, -1000]
    assert decimals.tolist() == [1.5, 12.25, 950, -1]
    for other in ("0.250", "1.5", "12.2500"):  # each shows that points mark decimals
        assert read(home, SQL, content + f"B,2024-01-31,{other}\n").values[0, 0] == 1.5
    fixed = HEADER + "".join(f"A{k},2024-01-31,{value}\n" for k, value in enumerate(("1.500", "12.250", "950.000")))
    assert read(home, SQL, fixed).values[:, 0].tolist() == [1.5, 12.25, 950], "as one prints three decimals"


def test_columns_selected_without_their_names_are_not_guessed_either(home: Path) -> None:
    """A star takes every column, in a query within too; one over columns that are named takes those alone."""
    points, days_first = (
        "entity,period,x,views\n" + "".join(f"A{one},{day},{one},{value}\n" for one, value in enumerate(values))
        for day, values in (("2024-01-31", ("1.500", "12.250", "950")), ("03/04/2024", ("1", "2", "3")))
    )
    of = "read_csv('${data}/f.csv')"
    for query in (f"SELECT * FROM {of}", f"SELECT entity, period, * FROM {of}", f"FROM (SELECT t.* FROM {of} t)"):
        assert "f.csv: column views: 1.500 and every other number with a point" in refusal(home, query, points)
        assert "f.csv: column period: day and month could be in either order" in refusal(home, query, days_first)
    named = f"WITH t AS (SELECT entity, period, x FROM {of}) SELECT * FROM t"
    assert read(home, named, points).values[:, 0].tolist() == [0, 1, 2]


def test_a_type_that_the_query_gives_says_nothing_of_the_mark(home: Path) -> None:
    content = HEADER + "".join(f"A{k},2024-01-31,{value}\n" for k, value in enumerate(("1.500", "12.250", "950")))
    for types in ("types = {'x': 'DOUBLE'}", "dtypes = {'day': 'DATE'}"):
        typed = SQL.replace("f.csv'", f"f.csv', {types}")
        assert "column x: 1.500 and every other number with a point" in refusal(home, typed, content)
        said = typed.replace(types, f"{types}, decimal_separator = '.'")
        assert read(home, said, content).values[:, 0].tolist() == [1.5, 12.25, 950]


def test_what_a_pivot_reads_is_not_guessed_and_one_without_its_values_is_refused(home: Path) -> None:
    rows = enumerate(("1.500", "12.250", "950"))
    long = "entity,period,kind,value\n" + "".join(f"A{k},2024-01-31,x,{value}\n" for k, value in rows)
    of = "read_csv('${data}/f.csv')"
    listed = (
        f"PIVOT {of} ON kind IN ('x') USING sum(value)",
        f"SELECT entity, period, x FROM {of} PIVOT (sum(value) FOR kind IN ('x'))",
        f"WITH p AS (PIVOT {of} ON kind IN ('x') USING sum(value) GROUP BY entity, period) SELECT * FROM p",
        f"SELECT entity, period, v AS x FROM (FROM {of}) UNPIVOT (v FOR k IN (COLUMNS('val.*')))",
    )
    for query in listed:
        assert "f.csv: column value: 1.500 and every other number" in refusal(home, query, long), query
        meant = query.replace("f.csv'", "f.csv', thousands = '.', decimal_separator = ','")
        assert read(home, meant, long).values.max() == 12250
    (home / "q.sql").write_text(f"WITH p AS (PIVOT {of} ON kind USING sum(value)) SELECT * FROM p")
    with pytest.raises(ConfigError, match=r"list the values: PIVOT \.\.\. ON kind IN"):
        read_observations(party(), home, home / "data")


def test_what_only_looks_like_thousands_is_worth_a_note() -> None:
    odd = np.array([1 + k + (k % 9 + 1) / 1000 for k in range(40)])
    assert maybe_thousands(odd)
    for other in (odd[:10], odd / 10, odd * 100, np.round(odd, 2), odd + 0.00005):
        assert not maybe_thousands(other)
