"""Thousands of mangled tables whose truth is known: read right, or refused by file, column and row. Never wrong."""

from __future__ import annotations

import datetime as dt
import re
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from parties.errors import DataError
from parties.factor.fund_tables import read_values
from psi.identifiers import normalise
from tests.parties.files.mangled import HEADER, RIGHT, WRONG, Mangled, plain
from tests.places import ROOT

TABLES = 40
"""Of each kind: with 78 kinds, more than three thousand."""


def rows_of(path: Path) -> list[tuple[object, str, float | None]]:
    found = read_values(path, "label")
    table = found.table
    days, texts = table.days["datetime"], table.texts["instrument"]
    values = table.numbers[found.column].values
    return [
        (days.days[day].item(), found.names[name], None if np.isnan(value) else float(value))
        for day, name, value in zip(days.codes, texts.codes, values, strict=True)
    ]


def truth_of(table: Mangled) -> list[tuple[object, str, float | None]]:
    return [(day, normalise(name), value) for day, name, value in table.truth]


def held(path: Path, table: Mangled, kind: str) -> None:
    """The reader gives the truth, or refuses in one line with the words that name the place."""
    path.write_bytes(table.content())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if table.refused:
            with pytest.raises(DataError) as caught:
                rows_of(path)
            said = str(caught.value)
            assert said.startswith(f"{path}: "), kind
            assert "\n" not in said, kind
            assert all(word in said for word in table.refused), (kind, said, table.refused)
        else:
            assert rows_of(path) == truth_of(table), kind


@pytest.mark.parametrize("kind", [*RIGHT, *WRONG])
def test_a_mangled_table_is_right_or_refused(kind: str, tmp_path: Path) -> None:
    for seed in range(TABLES):
        rng = np.random.default_rng((seed, len(kind), sum(map(ord, kind))))
        table = plain(rng)
        (RIGHT | WRONG)[kind](table, rng)
        held(tmp_path / "labels.csv", table, f"{kind}, seed {seed}")


HIDDEN = {
    "comma at the end": ("shorter row",),
    "another column": ("shorter row", "longer row"),
    "blanks": ("shorter row",),
}
"""Rows that are not shorter any more, or that the layout's own change does not fit."""
LAYOUTS = (
    "mark",
    "UTF-16",
    "CR",
    "CRLF",
    "comma at the end",
    "index in front",
    "another column",
    "blanks",
    "lower case",
)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_fault_is_found_under_any_layout(layout: str, tmp_path: Path) -> None:
    """Manglings of the whole file do not hide those of one cell, nor move the row that is named."""
    for k, kind in enumerate(WRONG):
        rng = np.random.default_rng(k)
        table = plain(rng)
        WRONG[kind](table, rng)
        if (
            table.encoding != "utf-8"
            or table.separator != ","
            or table.header != list(HEADER)
            or not table.cells
            or table.tail
        ):
            continue
        if kind in HIDDEN.get(layout, ()):
            continue
        said = table.refused
        RIGHT[layout](table, rng)
        table.refused = said if "fields" not in " ".join(said) else (said[0], "fields", "header has")
        held(tmp_path / "labels.csv", table, f"{layout}, {kind}")


def test_no_bytes_at_all_make_a_traceback(tmp_path: Path) -> None:
    """Cut, doubled and flipped bytes: whatever they do, it is one sentence, or rows that a reader can count."""
    path = tmp_path / "labels.csv"
    for seed in range(600):
        rng = np.random.default_rng(seed)
        content = bytearray(plain(rng).content())
        for _ in range(int(rng.integers(1, 6))):
            place = int(rng.integers(len(content)))
            match int(rng.integers(4)):
                case 0:
                    content[place] = int(rng.integers(256))
                case 1:
                    del content[place : place + int(rng.integers(1, 8))]
                case 2:
                    content[place:place] = content[: int(rng.integers(1, 20))]
                case _:
                    content[place:place] = bytes(rng.choice(list(b',"\n\r;%0-/'), size=2).tolist())
            if not content:
                break
        path.write_bytes(bytes(content))
        said, rows = "", []
        try:
            rows = rows_of(path)
        except DataError as fault:
            said = str(fault)
        assert "\n" not in said
        assert bool(said) != bool(rows)
        assert all(value is None or np.isfinite(value) for _, _, value in rows)


def typed(table: Mangled, zone: str | None) -> pd.DataFrame:
    days = pd.DatetimeIndex([pd.Timestamp(day) for day, _, _ in table.truth])
    return pd.DataFrame(
        {
            "datetime": days if zone is None else days.tz_localize(zone, nonexistent="shift_forward"),
            "instrument": [name for _, name, _ in table.truth],
            "label": [np.nan if value is None else value for _, _, value in table.truth],
        }
    )


ZONES = (
    None,
    "UTC",
    "Asia/Kolkata",
    "Asia/Shanghai",
    "Asia/Tokyo",
    "Europe/Berlin",
    "America/New_York",
    "Pacific/Apia",
)


@pytest.mark.parametrize("zone", ZONES)
def test_local_midnight_in_parquet_is_its_own_day(zone: str | None, tmp_path: Path) -> None:
    path = tmp_path / "labels.parquet"
    for seed in range(6):
        table = plain(np.random.default_rng(seed))
        frame = typed(table, zone)
        frame.to_parquet(path, index=False)
        assert rows_of(path) == truth_of(table)
        frame.set_index(["datetime", "instrument"]).to_parquet(path)
        assert rows_of(path) == truth_of(table)
        frame["datetime"] = frame["datetime"] + pd.Timedelta(hours=9)
        frame.to_parquet(path, index=False)
        with pytest.raises(DataError, match=r"row 1: column datetime: .* is a moment, not a day"):
            rows_of(path)


def test_a_day_whose_midnight_summer_time_skips_is_a_day(tmp_path: Path) -> None:
    days = pd.DatetimeIndex(["2024-04-25", "2024-04-26", "2024-04-27"]).tz_localize(
        "Africa/Cairo", nonexistent="shift_forward"
    )
    assert days[1].hour == 1
    pd.DataFrame({"datetime": days, "instrument": "A", "label": 1.0}).to_parquet(tmp_path / "l.parquet", index=False)
    assert [str(row[0]) for row in rows_of(tmp_path / "l.parquet")] == ["2024-04-25", "2024-04-26", "2024-04-27"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"instrument": [1001, 1002]}, "row 1: column instrument is int64, not text, and numbers lose leading zeros"),
        ({"instrument": [1001.0, 1002.0]}, "column instrument is float64, not text"),
        ({"instrument": ["A", None]}, "row 2: column instrument is empty"),
        ({"datetime": [pd.Timestamp("2024-01-01"), pd.NaT]}, "row 2: column datetime is empty"),
        ({"datetime": [44960, 44961]}, "row 1: column datetime holds numbers: 44960 may be a spreadsheet's day number"),
        ({"label": [1.0, np.inf]}, r"row 2 .*: column label: inf is not finite"),
        ({"label": ["1.5", "1,500.25"]}, r"row 2 .*: column label: '1,500.25' has a thousands separator"),
        ({"label": [[1.0], [2.0]]}, "row 1 .*: column label holds .*, not numbers"),
        (
            {"datetime": [pd.Timestamp("1600-01-01"), pd.Timestamp("2024-01-01")]},
            "row 1: column datetime.*1900 to 2199",
        ),
    ],
)
def test_typed_columns_are_held_to_the_same_rules(change: dict[str, list], said: str, tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"datetime": ["2024-01-01", "2024-01-02"], "instrument": ["A", "B"], "label": [1.0, 2.0]} | change
    )
    frame.to_parquet(tmp_path / "l.parquet", index=False)
    with pytest.raises(DataError, match=said):
        rows_of(tmp_path / "l.parquet")


def test_numbers_that_are_dates_beyond_doubt_are_read(tmp_path: Path) -> None:
    frame = pd.DataFrame({"datetime": [20240101, 20240102], "instrument": ["A", "B"], "label": ["1", None]})
    frame.to_parquet(tmp_path / "l.parquet", index=False)
    assert [(str(day), value) for day, _, value in rows_of(tmp_path / "l.parquet")] == [
        ("2024-01-01", 1.0),
        ("2024-01-02", None),
    ]


def documented() -> list[tuple[str, str, str]]:
    """What docs/data.md says of each example of a day or number: its kind, the example, and the verdict."""
    found = []
    for line in (ROOT / "docs" / "data.md").read_text(encoding="utf-8").splitlines():
        kind, _, rest = line.removeprefix("| ").partition(" ")
        if line.startswith("| ") and kind.rstrip(",") in ("day", "number") and " and no proof" not in line:
            cells = rest.split(" | ")
            found += [
                (kind.rstrip(","), example, cells[1].split()[0].strip(":,"))
                for example in re.findall(r"`([^`]+)`", cells[0])
            ]
    return found


def test_the_table_of_the_documentation_has_examples() -> None:
    assert len(documented()) > 25
    assert {verdict for _, _, verdict in documented()} == {"read", "refused", "missing"}


@pytest.mark.parametrize(("kind", "example", "verdict"), documented())
def test_the_table_of_the_documentation_is_true(kind: str, example: str, verdict: str, tmp_path: Path) -> None:
    quoted = f'"{example}"'
    row = f"{quoted},A,1" if kind == "day" else f"2024-01-31,A,{quoted}"
    (tmp_path / "labels.csv").write_text(f"datetime,instrument,label\n{row}\n", encoding="utf-8")
    if verdict == "refused":
        with pytest.raises(DataError, match="row 1"):
            rows_of(tmp_path / "labels.csv")
    else:
        ((day, _, value),) = rows_of(tmp_path / "labels.csv")
        assert str(day) == "2024-01-31"
        assert (value is None) == (verdict == "missing")


def taken(path: Path, rows: int) -> int:
    """Bytes at most that reading so many rows of long text takes."""
    with path.open("w", encoding="utf-8") as file:
        file.write("datetime,instrument,note,label\n")
        days = [dt.date(2020, 1, 1) + dt.timedelta(days=k) for k in range(100)]
        note = "x" * 150
        file.writelines(f"{days[k // 400]} 00:00:00Z,LONG-NAME-{k % 400},{note},{k / 7}\n" for k in range(rows))
    tracemalloc.start()
    assert read_values(path, "label").table.rows == rows
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_what_a_table_takes_follows_its_rows_and_not_its_text(tmp_path: Path) -> None:
    few, many = taken(tmp_path / "few.csv", 20_000), taken(tmp_path / "many.csv", 40_000)
    assert (many - few) / 20_000 < 80, "bytes a row, of the file's 220"
