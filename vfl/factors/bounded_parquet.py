"""Parquet from another organisation: its footer is held against the agreed size before anything is decoded.

A few kilobytes of Parquet can stand for gigabytes in memory, since one value that repeats is written once.
"""

from __future__ import annotations

import io

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["LONGEST_TEXT", "MOST_COLUMNS", "MOST_ROWS", "check_size", "read_frame", "read_table"]

MOST_ROWS = 20_000_000
"""Rows of a factor where no agreement says fewer: 4,000 periods of 5,000 instruments."""
MOST_COLUMNS = 256
LONGEST_TEXT = 4096
_MOST_BYTES = 4 * 2**30  # of all columns before they are compressed, as the footer says


def read_frame(content: bytes, most_rows: int = MOST_ROWS) -> pd.DataFrame:
    """A table as pandas wrote it, index included, of ``most_rows`` at most. Raises ValueError for anything else."""
    table = read_table(content, most_rows)
    try:
        frame: pd.DataFrame = table.to_pandas()
    except (TypeError, KeyError, IndexError, AttributeError, OverflowError, pa.ArrowException) as error:
        # what pandas wrote beside the columns is text of the sender's
        raise ValueError(f"what it says of its columns' kinds cannot be read ({type(error).__name__})") from None
    return frame


def check_size(content: bytes, most_rows: int) -> None:
    """Raise ValueError where the footer of a Parquet file says more than ``most_rows``. Decodes nothing else."""
    try:
        _check_footer(pq.read_metadata(io.BytesIO(content)), most_rows)
    except (pa.ArrowException, OSError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"not a Parquet file that can be read ({first})") from None


def read_table(content: bytes, most_rows: int = MOST_ROWS) -> pa.Table:
    """The table of a Parquet file of ``most_rows`` at most. Raises ValueError before it decodes what is larger."""
    try:
        footer = pq.read_metadata(io.BytesIO(content))
        _check_footer(footer, most_rows)
        leaves = [footer.schema.column(i) for i in range(footer.num_columns)]
        # texts stay in dictionaries until the longest of them is known: rows times its length is what they would take
        texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
        coded = pq.read_table(io.BytesIO(content), read_dictionary=texts, use_threads=False)
        plain = []
        for field in coded.schema:
            _check_texts(field.name, coded.column(field.name))
            plain.append(field.with_type(_plain(field.type)))
        return coded.cast(pa.schema(plain, metadata=coded.schema.metadata))
    except (pa.ArrowException, OSError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"not a Parquet file that can be read ({first})") from None


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type without dictionaries."""
    if pa.types.is_dictionary(kind):
        return kind.value_type
    return pa.list_(_plain(kind.value_type)) if pa.types.is_list(kind) else kind


def _check_footer(footer: pq.FileMetaData, most_rows: int) -> None:
    if footer.num_rows > most_rows:
        raise ValueError(f"its footer says {footer.num_rows:,} rows, more than the {most_rows:,} there can be")
    if footer.num_columns > MOST_COLUMNS:
        raise ValueError(f"its footer says {footer.num_columns:,} columns, more than {MOST_COLUMNS}")
    groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
    if sum(group.num_rows for group in groups) != footer.num_rows:
        raise ValueError("its footer contradicts itself about its rows")
    values = max((group.column(i).num_values for group in groups for i in range(group.num_columns)), default=0)
    if values > most_rows:
        raise ValueError(f"its footer says {values:,} values of a column, more than the {most_rows:,} there can be")
    size = sum(max(0, group.total_byte_size) for group in groups)
    if size > _MOST_BYTES:
        raise ValueError(f"its footer says {size:,} bytes, more than {_MOST_BYTES:,}")


def _check_texts(name: str, column: pa.ChunkedArray) -> None:
    for chunk in column.chunks:
        inner = chunk
        while pa.types.is_list(inner.type):
            inner = inner.values
        if not pa.types.is_dictionary(inner.type):
            continue
        longest = max((len(word) for word in inner.dictionary.to_pylist() if word is not None), default=0)
        if longest > LONGEST_TEXT:
            raise ValueError(f"column {name!r} holds a text of {longest:,} characters, more than {LONGEST_TEXT:,}")
