"""What files of a gigabyte take: ``python -m benchmarks.large_files [--bytes 1000000000]``.

A table of labels as a fund would hand it to ``entente factors uplift`` (CSV: dates, instruments, a note, labels), and a
vendor's file behind a party's query that sums it up by instrument and day (CSV and Parquet, read by DuckDB). Each is
read in a process of its own; the peak is VmHWM less that of a process that has imported as much and read nothing.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from parties.data.query import read_observations
from parties.factor.fund_tables import read_values
from parties.settings.consortium import PartySettings

__all__ = ["READERS", "main", "write_table"]

_INSTRUMENTS, _NOTE = 3000, "as received from the custodian before corrections "
_QUERY = """SELECT instrument AS entity, CAST(datetime AS DATE) AS period, avg(label) AS label, count(*) AS visits
FROM {source} GROUP BY ALL"""


def _lines() -> Iterator[str]:
    """Rows without end: 3,000 instruments a day, each row with a note."""
    rng, day = np.random.default_rng(0), np.datetime64("1990-01-01")
    while True:
        values = rng.normal(size=_INSTRUMENTS)
        for number, value in enumerate(values):
            yield f"{day},INSTRUMENT-{number:04d},{_NOTE}{number % 97},{value:.6f}\n"
        day += 1


def write_table(path: Path, size: int) -> int:
    """A CSV of about ``size`` bytes; its rows."""
    rows, written = 0, 0
    with path.open("w", encoding="utf-8") as file:
        file.write("datetime,instrument,note,label\n")
        for line in _lines():
            file.write(line)
            rows, written = rows + 1, written + len(line)
            if written >= size and rows % _INSTRUMENTS == 0:
                return rows
    raise AssertionError


def _labels(path: Path) -> int:
    return read_values(path, "label").table.rows


def _query(path: Path) -> int:
    folder = path.parent
    source = f"read_{path.suffix[1:]}('${{data}}/{path.name}')"
    (folder / "q.sql").write_text(_QUERY.format(source=source), encoding="utf-8")
    party = PartySettings(name="vendor", role="feature", query="q.sql", columns=("label", "visits"), lag_days=0)
    return len(read_observations(party, folder, folder))


READERS: dict[str, Callable[[Path], int]] = {"labels": _labels, "query": _query, "nothing": lambda _: 0}


def _peak() -> int:
    """VmHWM of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise OSError("this system does not tell VmHWM")


def _apart(reader: str, path: Path) -> tuple[int, int]:
    """Rows and peak bytes of a reader in a process of its own."""
    call = [sys.executable, "-m", "benchmarks.large_files", "--read", reader, str(path)]
    rows, peak = subprocess.run(call, check=True, capture_output=True, text=True).stdout.split()
    return int(rows), int(peak)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bytes", type=int, default=10**9)
    parser.add_argument("--read", nargs=2, metavar=("READER", "FILE"), help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.read:
        print(READERS[asked.read[0]](Path(asked.read[1])), _peak())
        return
    with tempfile.TemporaryDirectory() as made:
        table = Path(made) / "labels.csv"
        rows = write_table(table, asked.bytes)
        packed = table.with_suffix(".parquet")
        import duckdb

        duckdb.sql(f"COPY (FROM read_csv('{table}')) TO '{packed}' (FORMAT parquet)")
        sizes = [f"{path.stat().st_size / 1e9:.2f} GB" for path in (table, packed)]
        print(f"{rows:,} rows: {sizes[0]} as CSV, {sizes[1]} as Parquet")
        _, idle = _apart("nothing", table)
        for reader, path in (("labels", table), ("query", table), ("query", packed)):
            began = time.monotonic()
            got, peak = _apart(reader, path)
            took, extra = time.monotonic() - began, peak - idle
            told = f"{extra / 2**20:,.0f} MiB, {extra / rows:.0f} bytes a row of the file, {took:.0f} s"
            print(f"{reader} of {path.name}: {got:,} rows, {told}")


if __name__ == "__main__":
    main()
