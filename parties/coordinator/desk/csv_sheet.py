"""Tables that people take away, written so that a spreadsheet reads text as text."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from vfl.factors.csv_cells import inert

__all__ = ["sheet"]


def sheet(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """CSV in UTF-8 with CRLF line ends. Text that would begin a formula gets an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([inert(name) for name in columns])
    writer.writerows([inert(value) if isinstance(value, str) else value for value in row] for row in rows)
    return out.getvalue().encode()
