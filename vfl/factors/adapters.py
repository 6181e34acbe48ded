"""A factor in the shapes that research libraries read: Parquet, alphalens, Numerai Signals, qlib, zipline.

Functions take the factor as a frame and return the bytes of one file; the same frame gives the same bytes.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import stats

from vfl.factors.csv_cells import inert

__all__ = [
    "SIGNALS_ID_COLUMNS",
    "SIGNALS_LEAST_IDS",
    "NotApplicable",
    "alphalens_csv",
    "parquet",
    "qlib_parquet",
    "signals_csv",
    "zipline_wide",
]

SIGNALS_ID_COLUMNS = ("numerai_ticker", "ticker", "sedol", "bloomberg_ticker", "composite_figi")
SIGNALS_LEAST_IDS = 100


class NotApplicable(Exception):
    """This factor has no such file; the message is the reason."""


def parquet(frame: pd.DataFrame) -> bytes:
    """The frame as one Parquet file, index included. Strings are plain, times nanoseconds.

    The writer's options are pinned; the file names the Arrow version that wrote it, so bytes are equal for
    equal inputs under equal library versions.
    """
    table = pa.Table.from_pandas(frame)
    plain = [field.with_type(pa.string()) if pa.types.is_large_string(field.type) else field for field in table.schema]
    sink = io.BytesIO()
    pq.write_table(
        table.cast(pa.schema(plain, metadata=table.schema.metadata)),
        sink,
        version="2.6",
        data_page_version="1.0",
        compression="zstd",
        compression_level=3,
        row_group_size=1 << 20,
        use_dictionary=True,
        write_statistics=True,
        store_schema=True,
    )
    return sink.getvalue()


def alphalens_csv(frame: pd.DataFrame) -> bytes:
    """``date,asset,factor`` from a frame with index (datetime, instrument) and a ``score``.

    Read it with ``dtype={"asset": str}, keep_default_na=False``: NA and 007 are tickers, not gaps and numbers.
    """
    dates = pd.DatetimeIndex(frame.index.get_level_values("datetime")).strftime("%Y-%m-%d")
    assets = frame.index.get_level_values("instrument")
    scores = frame["score"].to_numpy(dtype=np.float64)
    return _csv(("date", "asset", "factor"), zip(dates, assets, (repr(float(s)) for s in scores), strict=True))


def qlib_parquet(frame: pd.DataFrame) -> bytes:
    """The scores for qlib's ``StaticDataLoader("x.parquet")``: index (datetime, instrument), columns ("feature", name).

    The two column levels let ``DataHandler.fetch(col_set="feature")`` find them. A column called ``factor`` is refused:
    qlib takes that name for the price adjustment. Raises ValueError on one.
    """
    if "factor" in frame.columns:
        raise ValueError('qlib reads a column "factor" as its price adjustment: give it another name')
    columns = pd.MultiIndex.from_product([["feature"], frame.columns])
    return parquet(frame.set_axis(columns, axis="columns"))


def signals_csv(frame: pd.DataFrame, id_column: str = SIGNALS_ID_COLUMNS[0]) -> tuple[str, bytes]:
    """A Numerai Signals submission of the latest period: file name and bytes.

    ``signal`` is (rank - 0.5) / n, ties by average rank, so it lies strictly between 0 and 1. Raises ValueError on an
    ``id_column`` Numerai does not know, :class:`NotApplicable` with too few ids or scores that do not vary.
    """
    if id_column not in SIGNALS_ID_COLUMNS:
        known = ", ".join(SIGNALS_ID_COLUMNS)
        raise ValueError(f"Numerai Signals knows no id column {id_column!r}; use one of {known}")
    latest = frame.index.get_level_values("datetime").max()
    scores = frame["score"].xs(latest, level="datetime")
    if len(scores) < SIGNALS_LEAST_IDS:
        raise NotApplicable(
            f"Numerai Signals needs at least {SIGNALS_LEAST_IDS} ids; the latest period has {len(scores)}"
        )
    values = scores.to_numpy(dtype=np.float64)
    if values.min() == values.max():
        raise NotApplicable("Numerai Signals refuses a constant signal; all scores of the latest period are equal")
    signal = (stats.rankdata(values) - 0.5) / len(values)
    rows = zip(scores.index, (repr(float(s)) for s in signal), strict=True)
    return f"signals_{latest:%Y%m%d}.csv", _csv((id_column, "signal"), rows)


def zipline_wide(frame: pd.DataFrame, available_at: pd.Series) -> bytes:
    """Scores as a wide Parquet table for ``DataFrameLoader``: rows are sessions, columns instruments.

    ``available_at`` holds a UTC time per row of ``frame``. A session is the first weekday whose midnight (UTC) is at or
    after the score's availability, because a pipeline labels data by the session that opens with it. Holidays are
    unknown here, and columns stay instrument names: the asset database of the reader maps them to int64 sids.
    """
    ready = pd.DatetimeIndex(available_at).tz_convert(None).ceil("D").to_numpy().astype("datetime64[D]")
    sessions = np.busday_offset(ready, 0, roll="forward").astype("datetime64[ns]")
    long = pd.DataFrame(
        {
            "session": sessions,
            "instrument": frame.index.get_level_values("instrument"),
            "score": frame["score"].to_numpy(dtype=np.float64),
        }
    )
    # two decisions of one weekend meet on the same Monday, where only the later one is still current
    current = long.drop_duplicates(["session", "instrument"], keep="last")
    wide = current.pivot(index="session", columns="instrument", values="score").sort_index().sort_index(axis=1)
    wide.columns.name = None
    return parquet(wide)


def _csv(header: Sequence[str], rows: zip[tuple[str, ...]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(tuple(map(inert, row)) for row in rows)
    return text.getvalue().encode("utf-8")
