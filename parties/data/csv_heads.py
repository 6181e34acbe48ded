"""A CSV that a party's SQL names, before it is read: text or not, its line ends, its header, and quotes that are open.

DuckDB takes a workbook for a table of one column, renames the second of two columns of one name, and says of mixed line
ends only that it cannot tell the dialect. Where one quote is not closed, it takes all of them for letters.
"""

from __future__ import annotations

import csv
import mmap
import re
from collections.abc import Collection
from pathlib import Path

from parties.errors import DataError
from parties.files.text import encoding_of

__all__ = ["csv_head", "refuse_mixed_ends", "refuse_quotes", "refuse_twice"]

_SAMPLE = 65_536
_QUOTED = "read_csv(..., quote = '\"')"
_LETTERS = "read_csv(..., quote = '')"


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


def refuse_quotes(path: str, where: str, separator: str) -> None:
    """Raise :class:`DataError` where a field begins with a quote, in a file that DuckDB reads as one without quotes."""
    begins = re.compile(rb"(?:^|[\r\n]|" + re.escape(separator.encode()) + rb')[ ]*"')
    with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        place, first = 0, 0
        while (found := begins.search(content, place)) is not None:
            start, place = _line_around(content, found.end() - 1)
            first = first or _number(content, start)
            if content[start:place].count(b'"') % 2:
                raise DataError(
                    f"{where}: line {_number(content, start)}: a quote is not closed, so all quotes would be read as "
                    "letters; close it, and write a quote within quotes twice; or, where the field goes on in the next "
                    f"line: {_QUOTED}; or, where they are letters: {_LETTERS}"
                )
    if first:
        raise DataError(
            f"{where}: line {first}: fields in quotes would be read with their quotes, because they come late or one "
            f"of them goes on after its quote; say how fields are quoted: {_QUOTED}; or, where quotes are letters: "
            f"{_LETTERS}"
        )


def _line_around(content: mmap.mmap, at: int) -> tuple[int, int]:
    """Where the line with this byte begins, and where it ends."""
    start = max(content.rfind(b"\n", 0, at), content.rfind(b"\r", 0, at)) + 1
    ends = (content.find(b"\n", at), content.find(b"\r", at))
    return start, min((end for end in ends if end >= 0), default=len(content))


def _number(content: mmap.mmap, start: int) -> int:
    """The number of the line that begins there, the header being line 1."""
    before = content[:start]
    return before.count(b"\n") + before.count(b"\r") - before.count(b"\r\n") + 1
