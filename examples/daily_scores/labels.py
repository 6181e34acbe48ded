"""Write next week's volatility of each member for ``entente factors monitor``: datetime, instrument, label."""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb

SQL = Path(__file__).parents[1] / "formula_screen" / "label.sql"


def main(data: str, out: str) -> None:
    """``data``: the folder of ohlcv.parquet. A score is dated by its Friday, whatever day was the week's last."""
    query = SQL.read_text(encoding="utf-8").replace("${data}", data)
    known = duckdb.sql(query).filter("label IS NOT NULL")
    known.project("CAST(date_trunc('week', period) AS DATE) + 4 AS datetime, entity AS instrument, label").write_csv(
        out
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
