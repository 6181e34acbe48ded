"""The first bytes of a CSV that a party's SQL names: text or not, its line ends, and each column once in its header.

DuckDB takes a workbook for a table of one column, renames the second of two columns of one name, and says of mixed line
ends only that it cannot tell the dialect.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection
from pathlib import Path

from parties.errors import DataError
from parties.files.text import encoding_of

__all__ = ["csv_head", "refuse_mixed_ends", "refuse_twice"]

_SAMPLE = 65_536


def csv_head(path: str, where: str, options: Collection[str]) -> bytes:
    """A local file's first bytes, b"" of one that cannot be read as plain bytes. Refuses what is empty or no text."""
    if path.endswith((".gz", ".zst")) or {"compression", "encoding"} & set(options) or "://" in path:
        return b""
    try:
        with Path(path).open("rb") as file:
            head = file.read(_SAMPLE)
    except OSError:
        return b""
    if not head.strip():
        raise DataError(f"{where}: is empty; it must have a header and rows")
    encoding_of(head, where)
    return head


def refuse_mixed_ends(head: bytes, where: str) -> None:
    """Raise :class:`DataError` where some lines end in CR LF and others in LF, as in files that were joined."""
    if b"\r\n" in head and re.search(rb"(?<!\r)\n", head):
        raise DataError(f"{where}: some of its lines end in CR LF and others in LF; make them alike (dos2unix)")


def refuse_twice(head: bytes, where: str, skipped: int, separator: str, sql: str) -> None:
    """Raise :class:`DataError` where the query names a column that the header has twice: the first would be taken."""
    lines = head.decode("utf-8-sig", errors="replace").splitlines()[skipped : skipped + 1]
    if len(separator) != 1 or not lines:
        return
    names = [name.strip().casefold() for name in next(csv.reader(lines, delimiter=separator), [])]
    for name in names:
        if name and names.count(name) > 1 and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", sql.casefold()):
            raise DataError(
                f"{where}: column {name!r} appears twice in the header, and its first would be taken; rename one in "
                f"the file, or name all {len(names)}: read_csv(..., header = true, names = [...])"
            )
