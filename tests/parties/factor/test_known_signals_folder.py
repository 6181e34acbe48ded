"""A folder of published signals: laid on the factor's dates as known then, or refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from parties.errors import ConfigError, DataError
from parties.factor.known_signals import read_links, read_signals

DATES = pd.DatetimeIndex(["2020-01-30", "2020-01-31", "2020-02-28", "2020-02-29", "2020-06-30"])
NAMES = ("AAA", "BBB", "CCC")


def folder(tmp_path: Path, **files: str) -> Path:
    for name, text in files.items():
        (tmp_path / f"{name}.csv").write_text(text)
    return tmp_path


def test_months_are_known_at_their_end_and_not_for_ever(tmp_path: Path) -> None:
    place = folder(
        tmp_path, bm="permno,yyyymm,BM,Mom12m\nAAA,202001,1,10\nBBB,202001,2,\nAAA,202002,3,30\nZZZ,202002,9,9\n"
    )
    found = read_signals(place, DATES, NAMES)
    assert set(found.signals) == {"BM", "Mom12m"}
    bm = found.signals["BM"]
    assert np.isnan(bm[0]).all(), "January is not known on the 30th"
    assert bm[1, :2].tolist() == [1, 2]
    assert bm[2, :2].tolist() == [1, 2], "February is not known on the 28th of a leap year"
    assert bm[3, 0] == 3
    assert np.isnan(bm[3, 1])
    assert np.isnan(bm[4]).all(), "what is older than 45 days is not used"
    assert np.isnan(found.signals["Mom12m"][1, 1])
    [said] = found.said
    assert said == "bm.csv: 2 signals, 2 of the factor's 3 instruments, known at 3 of its 5 dates"
    later = read_signals(place, DATES, NAMES, lag_days=10, oldest_days=200).signals["BM"]
    assert np.isnan(later[1]).all()
    assert later[2, 0] == 1
    assert later[4, 0] == 3


def test_dates_parquet_and_links_are_read_too(tmp_path: Path) -> None:
    frame = pd.DataFrame({"date": ["2020-01-31"] * 2, "permno": ["10001", "10002"], "accruals": [0.5, -0.5]})
    frame.to_parquet(tmp_path / "daily.parquet")
    links = tmp_path / "links" / "ids.csv"
    links.parent.mkdir()
    links.write_text("instrument,id\nAAA,10002\nbbb,10001\n")
    known = read_links(links)
    assert known == {"10002": "AAA", "10001": "BBB"}
    values = read_signals(tmp_path, DATES, NAMES, links=known).signals["accruals"]
    assert values[1, :2].tolist() == [-0.5, 0.5]
    with pytest.raises(DataError, match="link ids with --ids FILE"):
        read_signals(tmp_path, DATES, NAMES)
    links.write_text("instrument,id\nAAA,1\nBBB,1\n")
    with pytest.raises(DataError, match="row 2: id 1 is of AAA in an earlier row"):
        read_links(links)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("permno,yyyymm,x\nAAA,202013,1\n", "column yyyymm: 202013 is no month; write 202001 for January 2020"),
        ("permno,yyyymm,x\nAAA,202001,1\naaa,202001,2\n", "AAA has two rows on 2020-01-31; keep one"),
        ("permno,x\nAAA,1\n", "a file of signals needs a date"),
        ("permno,yyyymm\nAAA,202001\n", "has no signal beside yyyymm and permno"),
        ("permno,yyyymm,x\nAAA,202001,high\n", "column x"),
    ],
)
def test_a_bad_file_is_one_sentence_that_names_it(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(DataError) as refused:
        read_signals(folder(tmp_path, bad=text), DATES, NAMES)
    assert says in str(refused.value)
    assert "bad.csv" in str(refused.value)


def test_a_signal_comes_from_one_file_and_a_folder_holds_some(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no \.csv or \.parquet file"):
        read_signals(tmp_path, DATES, NAMES)
    with pytest.raises(ConfigError, match="no such folder"):
        read_signals(tmp_path / "none", DATES, NAMES)
    text = "permno,yyyymm,x\nAAA,202001,1\n"
    with pytest.raises(DataError, match=r"two\.csv: signal 'x' is in .*one\.csv already"):
        read_signals(folder(tmp_path, one=text, two=text), DATES, NAMES)
