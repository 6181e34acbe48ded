"""What DuckDB says about a query, as one sentence: the data file, the line, what is wrong there, and a remedy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from parties.errors import DataError
from parties.files.numbers import MISSING, NumberFault, numbers_of_texts

__all__ = ["told"]

_LINE = re.compile(r"CSV Error on Line: (\d+)")
_CONVERT = re.compile(
    r'converting column "(?P<column>.*)"\. Could not convert string "(?P<text>.*)" to \'(?P<kind>\w+)'
)
_NOISE = ("Original Line", "Possible Solution", "Possible solutions", "* ", "This type was", "Column ")
_SETTING = re.compile(r"\w+ = ")


@contextmanager
def told(path: Path) -> Iterator[None]:
    """DuckDB's errors as :class:`DataError`, naming the SQL file and, where it is one's fault, the data file."""
    try:
        yield
    except (duckdb.Error, OSError) as error:
        raise DataError(f"{path.name}: {_sentence(str(error)) or type(error).__name__}") from None


def _sentence(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = lines[0].rstrip(".") if lines else ""
    at = _LINE.search(first)
    if at is None:
        place = next((f", at {line}" for line in lines[1:] if line.startswith("LINE ")), "")
        return f"DuckDB refuses the query ({first}{place}); mend the SQL or the file it reads" if first else ""
    file = next((line.partition("= ")[2] for line in lines if line.startswith("file = ")), "")
    said = [line.rstrip(".") for line in lines[1:] if not line.startswith(_NOISE) and not _SETTING.match(line)]
    what = said[0] if said else first
    where = f"{Path(file).name}, line {at[1]}" if file else f"line {at[1]}"
    found = _CONVERT.search(what)
    if found is not None:
        shown = f"could not convert {found['text']!r} to {found['kind']} in column {found['column']}"
        return f"{where}: {shown}; {_conversion(found['text'], found['kind'], found['column'])}"
    if "unicode" in what.lower():
        return f"{where}: {what}; save it as UTF-8, or name its encoding: read_csv(..., encoding = {_encoding(file)})"
    return f"{where}: {what}; mend that line of the file"


def _encoding(file: str) -> str:
    """What DuckDB calls the encoding that the file's first bytes show: UTF-16 has a mark, anything else is a guess."""
    try:
        with Path(file).open("rb") as content:
            head = content.read(4)
    except OSError:
        head = b""
    return "'utf-16'" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "'latin-1'"


def _conversion(text: str, kind: str, column: str) -> str:
    """An option of read_csv, or an expression, under which the file is read."""
    if kind in ("DATE", "TIMESTAMP"):
        if re.fullmatch(r"\d{8}", text):
            return f"read it with strptime(CAST({column} AS VARCHAR), '%Y%m%d')"
        return "name the order of the dates: read_csv(..., dateformat = '%d/%m/%Y')"
    if text.strip().casefold() in MISSING:
        return f"read_csv(..., nullstr = ['', '{text}'])"
    try:
        numbers_of_texts([text])
    except NumberFault as fault:
        plain = text.strip()
        if "thousands" in str(fault) and fault.instead:
            continental = re.fullmatch(r"[+-]?[\d.]*,\d*", plain) is not None and len(fault.instead) == 1
            options = "decimal_separator = ',', thousands = '.'" if continental else "thousands = ','"
            return f"read_csv(..., {options})"
    return f"read the column as text, read_csv(..., types = {{'{column}': 'VARCHAR'}}), and mend its values"
