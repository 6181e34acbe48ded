"""A public list that is valid in time: what is listed when, and what its fingerprint holds to."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from parties.data.calendar import calendar_of, calendar_terms
from parties.data.security_list import read_security_list, within_list
from parties.errors import DataError
from parties.settings.consortium import CalendarSettings
from psi.identifiers import universe_digest
from vfl.factors.panel import FeaturePanel, LabelPanel

CALENDAR = calendar_of(calendar_terms(CalendarSettings(frequency="M", first=date(2022, 4, 1), last=date(2022, 8, 31))))


def written(folder: Path, text: str) -> Path:
    path = folder / "list.csv"
    path.write_text(text)
    return path


def test_an_entity_enters_leaves_and_comes_back(tmp_path: Path) -> None:
    found = read_security_list(
        written(
            tmp_path, "entity,from,until\nFB,,2022-06-08\nMETA,2022-06-09,\nXOM,,2022-05-15\nxom,2022-08-01,\nNA,,\n"
        )
    )
    assert found.ids == ("FB", "META", "NA", "XOM")
    listed = found.listed(CALENDAR, [*found.ids, "UNKNOWN"]).T.astype(int).tolist()
    assert listed == [[1, 1, 0, 0, 0], [0, 0, 1, 1, 1], [1, 1, 1, 1, 1], [1, 0, 0, 0, 1], [0, 0, 0, 0, 0]]
    shape = (5, 4)
    never = np.full(shape, np.datetime64("NaT", "ns"))
    features = FeaturePanel((), np.zeros((5, 4, 0)), np.zeros(shape, dtype=bool), never, never)
    panel = LabelPanel(features, np.zeros(shape), np.zeros(shape, dtype=np.int64), np.ones(shape, dtype=bool))
    assert within_list(panel, found.listed(CALENDAR, found.ids)).universe.sum() == 12


def test_the_fingerprint_holds_every_day_and_no_order_and_is_the_old_one_without_days(tmp_path: Path) -> None:
    plain = read_security_list(written(tmp_path, "entity\nXOM\nbrk-b\n"))
    assert plain.digest == universe_digest(["BRK.B", "XOM"])
    dated = [
        read_security_list(written(tmp_path, f"entity,from,until\n{rows}")).digest
        for rows in ("A,,\nB,2020-01-01,\n", "B,2020-01-01,\nA,,\n", "A,,\nB,2020-01-02,\n", "A,,\nB,,2020-01-01\n")
    ]
    assert dated[0] == dated[1]
    assert len(set(dated)) == 3


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ("A,,\na,,\n", "'A' is listed twice at one time"),
        ("A,,2020-01-05\nA,2020-01-05,\n", "'A' is listed twice at one time"),
        ("A,2020-02-01,2020-01-01\n", r"row 1: until \(2020-01-01\) is before from"),
        ("A,,\nB,01/02/2020,\n", "row 2: from is '01/02/2020', no day such as 2024-01-31"),
        ("A,20200101,\n", "row 1: from is '20200101', no day"),
        ("\N{ZERO WIDTH SPACE},,\n", "is empty"),
    ],
)
def test_a_list_that_contradicts_itself_is_refused_by_row(tmp_path: Path, rows: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        read_security_list(written(tmp_path, f"entity,from,until\n{rows}"))
