"""What DuckDB says about a query, as one sentence: the data file, the line, what is wrong there, and a remedy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from parties.errors import DataError
from parties.files.days import is_blank
from parties.files.numbers import MISSING, NumberFault, numbers_of_texts
from parties.files.text import many_bytes_a_letter

__all__ = ["told"]

_LINE = re.compile(r"CSV Error on Line: (\d+)")
_CONVERT = re.compile(
    r'converting column "(?P<column>.*)"\. Could not convert string "(?P<text>.*)" to \'(?P<kind>\w+)'
)
_NOISE = ("Original Line", "Possible Solution", "Possible solutions", "* ", "This type was", "Column ")
_SETTING = re.compile(r"\w+ = ")
_ORDER = re.compile(r"(?P<one>\d{1,2})(?P<sign>[-/.])(?P<two>\d{1,2})(?P=sign)(?P<year>\d{4}|\d{2})(?!\d)", re.ASCII)
_SAMPLE = 65_536


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
        names = next((line.partition(": ")[2] for line in lines[1:] if line.startswith("Candidate bindings: ")), "")
        there = f" there is {names};" if names else ""
        if '"column0"' in names.split(", "):
            named = f"DuckDB refuses the query ({first}):{there} the file's first line is taken for a row"
            return f"{named}; name its columns, read_csv(..., names = ['ticker', ...])"
        if re.search(r'"[^"]*[,;|\t][^"]*"', names):
            why = "its rows do not have the same number of fields, so each is taken for one column"
            return f"DuckDB refuses the query ({first}):{there} {why}; mend the rows that differ from the header"
        if "required extension" in first or "Loading external extensions" in first:
            found = re.search(r"extension '(\w+)", first)
            named = f"DuckDB's extension {found[1]}" if found else "an extension of DuckDB"
            return f"the query needs {named}, a download, and none is made: save the data as CSV or Parquet"
        if "No function matches" in first and "VARCHAR" in first:
            remedy = "give its reader thousands, decimal_separator and types = {'COLUMN': 'DOUBLE'}, or CAST it"
            return f"DuckDB refuses the query ({first}{place}); a column that is text there is no number: {remedy}"
        return f"DuckDB refuses the query ({first}{place});{there} mend the SQL or the file it reads" if first else ""
    file = next((line.partition("= ")[2] for line in lines if line.startswith("file = ")), "")
    said = [line.rstrip(".") for line in lines[1:] if not line.startswith(_NOISE) and not _SETTING.match(line)]
    what = said[0] if said else first
    where = f"{Path(file).name}, line {at[1]}" if file else f"line {at[1]}"
    found = _CONVERT.search(what)
    if found is not None:
        shown = f"could not convert {found['text']!r} to {found['kind']} in column {found['column']}"
        return f"{where}: {shown}; {_conversion(found['text'], found['kind'], found['column'])}"
    if "unicode" in what.lower():
        named = _encoding(file)
        remedy = f", or name its encoding: read_csv(..., encoding = {named})" if named else " where it was made"
        return f"{where}: {what}; save it as UTF-8{remedy}"
    return f"{where}: {what}; mend that line of the file"


def _encoding(file: str) -> str:
    """What DuckDB calls a file's encoding: UTF-16 has a mark, and Latin-1 is offered where its letters stand alone.

    DuckDB reads no encoding of two bytes a letter, and read as Latin-1 its names would be others, without a word.
    """
    try:
        with Path(file).open("rb") as content:
            head = content.read(_SAMPLE)
            if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
                return "'utf-16'"
            return "" if many_bytes_a_letter(head) or any(map(many_bytes_a_letter, content)) else "'latin-1'"
    except OSError:
        return "'latin-1'"


def _conversion(text: str, kind: str, column: str) -> str:
    """An option of read_csv, or an expression, under which the file is read."""
    if kind in ("DATE", "TIMESTAMP"):
        if re.fullmatch(r"\d{8}", text):
            return f"read it with strptime(CAST({column} AS VARCHAR), '%Y%m%d')"
        if is_blank(text):
            return f"read_csv(..., nullstr = ['', '{text}'])"
        found = _ORDER.match(text.strip())
        if found is None:
            return "mend that line of the file, or leave it out"
        sign, year = found["sign"], "%Y" if len(found["year"]) == 4 else "%y"
        year += {0: "", 1: " %H:%M"}.get(text.count(":"), " %H:%M:%S")
        ways = [f"'%d{sign}%m{sign}{year}'"] * (int(found["two"]) <= 12)
        ways += [f"'%m{sign}%d{sign}{year}'"] * (int(found["one"]) <= 12)
        option = "dateformat" if kind == "DATE" else "timestampformat"
        return f"name the order of the dates: read_csv(..., {option} = {' or '.join(ways)})"
    if text.strip().casefold() in MISSING:
        return f"read_csv(..., nullstr = ['', '{text}'])"
    try:
        numbers_of_texts([text])
    except NumberFault as fault:
        plain = text.strip()
        if "thousands" in str(fault) and fault.instead:
            comma = re.fullmatch(r"[+-]?(?:[\d.' ]*,\d*|\d+(?:\.\d{3}){2,})", plain) and len(fault.instead) == 1
            sign = next((one for one in "' " if one in plain), "." if comma else ",")
            thousands = f"thousands = '{sign.replace(chr(39), chr(39) * 2)}'"
            options = f"decimal_separator = ',', {thousands}" if comma else thousands
            return f"read_csv(..., {options})"
    return f"read the column as text, read_csv(..., types = {{'{column}': 'VARCHAR'}}), and mend its values"
