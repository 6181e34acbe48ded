"""Faults of files that people bring, and the remedy that each message names: carried out, it takes the rows in."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parties.data.calendar import calendar_of, calendar_terms
from parties.data.check import coverage_report, mended, row_faults
from parties.data.query import read_observations
from parties.errors import DataError
from parties.settings.consortium import CalendarSettings, PartySettings
from psi.identifiers import DuplicateIdentifier, canonical_ids

CALENDAR = calendar_of(
    calendar_terms(CalendarSettings(frequency="W-FRI", first=date(2024, 1, 5), last=date(2024, 2, 9)))
)
SQL = "SELECT id AS entity, day AS period, cars FROM read_csv('${data}/rows.csv')"
TEXT_DAYS = SQL.replace("csv')", "csv', types = {'day': 'VARCHAR'})")


def party(**changes: Any) -> PartySettings:
    return PartySettings.model_validate(
        {"name": "sat", "role": "feature", "query": "q.sql", "columns": ("cars",), "lag_days": 0} | changes
    )


def files(folder: Path, *rows: str, sql: str = SQL) -> Path:
    (folder / "rows.csv").write_text("id,day,cars\n" + "".join(f"{row}\n" for row in rows))
    (folder / "q.sql").write_text(sql)
    return folder


def test_dates_in_two_forms_are_shown_by_row_with_what_takes_both(tmp_path: Path) -> None:
    home = files(tmp_path, "A,2024-01-05,1", "B,2024-01-05,2", "A,01/12/2024,3", "B,01/19/2024,4", sql=TEXT_DAYS)
    with pytest.raises(DataError, match=r"'2024-01-05', and row 3 is '01/12/2024'; put around the query") as refused:
        read_observations(party(), home, home)
    around = str(refused.value).split("put around the query ")[1].split(", or ")[0]
    observed = read_observations(
        party(), files(home, *rows_of(home), sql=around.replace("(...)", f"({TEXT_DAYS})")), home
    )
    assert [str(day)[:10] for day in observed.period] == ["2024-01-05", "2024-01-05", "2024-01-12", "2024-01-19"]
    files(home, "A,2024-01-05,1", "A,some day,2", sql=TEXT_DAYS)
    with pytest.raises(DataError, match="row 2 is 'some day'; write dates as YYYY-MM-DD in the data"):
        read_observations(party(), home, home)


def rows_of(home: Path) -> list[str]:
    return (home / "rows.csv").read_text().splitlines()[1:]


def test_a_repeated_row_is_told_from_one_that_says_something_else(tmp_path: Path) -> None:
    home = files(tmp_path, "A,2024-01-05,1", "A,2024-01-05,1")
    (fault,) = row_faults(party(), home, home)
    assert (fault.row, fault.same) == (2, True)
    assert mended([fault], "q.sql").startswith("write SELECT DISTINCT in q.sql, or")
    assert row_faults(party(), files(home, *rows_of(home), sql=SQL.replace("SELECT", "SELECT DISTINCT")), home) == ()
    assert row_faults(party(duplicates="latest"), files(home, *rows_of(home)), home) == ()
    files(home, "A,2024-01-05,1", "A,2024-01-05,2")
    faults = row_faults(party(), home, home)
    assert not faults[0].same
    assert mended(faults, "q.sql") == "mend it, or filter it out in q.sql"
    files(home, "A,2024-01-05,1", "Acme,2024-01-05,1")
    (home / "aliases.csv").write_text("alias,entity\nAcme,A\n")
    (fault,) = row_faults(party(aliases="aliases.csv"), home, home)
    assert not fault.same, "SELECT DISTINCT would keep both"


def test_spellings_that_differ_in_case_and_blanks_are_told_the_expression() -> None:
    with pytest.raises(DuplicateIdentifier, match=re.escape("spelled one way, such as upper(trim(...)) of it")):
        canonical_ids(["AB ", "ab", "CD"], {})
    with pytest.raises(DuplicateIdentifier, match=r"spelled one way$"):
        canonical_ids(["BRK-B", "brk/b"], {})


@pytest.mark.parametrize(("lag", "late"), [(0, ""), (2, "2 days"), (9, "9 days")])
def test_rows_that_are_all_known_too_late_for_their_own_period_are_said(tmp_path: Path, lag: int, late: str) -> None:
    home = files(tmp_path, *(f"{name},{day},{i}" for i, name in enumerate("ABCD") for day in CALENDAR.periods))
    report = coverage_report(party(lag_days=lag), home, home, CALENDAR)
    told = [note for note in report.notes if "no row is known by the cutoff of its own period" in note]
    assert len(told) == bool(late)
    assert all(f"most are known {late} after it" in note for note in told)


def test_a_moment_too_late_is_a_day(tmp_path: Path) -> None:
    """A lag of no days would change nothing."""
    home = files(tmp_path, *(f"{name},{day},{i}" for i, name in enumerate("ABCD") for day in CALENDAR.periods))
    earlier = replace(CALENDAR, cutoffs=CALENDAR.cutoffs - np.timedelta64(1, "us"))
    notes = coverage_report(party(lag_days=0), home, home, earlier).notes
    assert any("most are known 1 day after it: decision_lag_days larger by 1 in" in note for note in notes), notes
