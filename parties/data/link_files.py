"""Link files of vendors, read into alias tables: SEC company tickers, OpenFIGI answers, CRSP names.

Each yields aliases of one key: the SEC's CIK, the share class FIGI, CRSP's PERMNO. What a file says of a time is kept,
so that a ticker that changed hands leads to two entities. Nothing is fetched: the files are the party's own copies.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from parties.data.naming import Alias
from parties.errors import ConfigError, DataError, StorageError
from parties.files.columns import Wanted
from parties.files.days import is_day
from parties.files.table import read_table
from parties.private_files import write_new

__all__ = ["LINK_FILES", "read_links", "write_links"]

_STAMP = len("2024-01-31")


def _sec(path: Path) -> Iterator[Alias]:
    """company_tickers.json of the SEC, or a CSV with CIK and Ticker: ticker to CIK, ten digits."""
    if path.suffix.lower() == ".json":
        body = _json(path)
        rows = body.values() if isinstance(body, Mapping) else body
        for number, row in enumerate(rows, start=1):
            yield Alias(_field(path, number, row, "ticker"), _field(path, number, row, "cik_str").zfill(10))
        return
    for cik, ticker in _columns(path, "CIK", "Ticker"):
        yield Alias(ticker, cik.zfill(10))


def _openfigi(path: Path) -> Iterator[Alias]:
    """A JSON list of {"idValue": ..., "data": [...]}: each job beside its answer, as OpenFIGI's mapping gives it."""
    jobs = _json(path)
    for number, job in enumerate(jobs if isinstance(jobs, list) else [], start=1):
        if not isinstance(job, Mapping) or "data" not in job:
            continue  # OpenFIGI answers {"warning": ...} for what it does not know
        asked = str(job.get("idValue") or job.get("job", {}).get("idValue", ""))
        classes = {str(one["shareClassFIGI"]) for one in job["data"] if one.get("shareClassFIGI")}
        if len(classes) > 1:
            raise DataError(
                f"{path}: answer {number} ({asked!r}) names {len(classes)} share classes: ask OpenFIGI with exchCode "
                "or micCode, or keep one"
            )
        for key in classes:
            names = {asked} | {
                str(one[name]) for one in job["data"] for name in ("figi", "compositeFIGI") if one.get(name)
            }
            yield from (Alias(name, key) for name in sorted(names - {"", key}))


def _crsp(path: Path) -> Iterator[Alias]:
    """CRSP's stocknames as CSV: ticker to PERMNO, from namedt until nameenddt or nameendt."""

    def columns(names: Sequence[str]) -> Sequence[Wanted]:
        by_name = {name.casefold(): name for name in names}
        end = next((by_name[name] for name in ("nameenddt", "nameendt") if name in by_name), "nameenddt")
        found = (by_name.get(name, name) for name in ("permno", "ticker", "namedt"))
        return [Wanted(name, "text") for name in (*found, end)]

    table = read_table(path, columns, hint="CRSP's stocknames have permno, ticker, namedt and nameenddt")
    text = [[column.texts[code] for code in column.codes] for column in table.texts.values()]
    for number, (permno, ticker, first, last) in enumerate(zip(*text, strict=True), start=1):
        days = [day[:_STAMP] for day in (first, last)]
        if not all(not day or is_day(day) for day in days):
            raise DataError(f"{path}: row {number}: {first!r} to {last!r} are no days such as 2024-01-31; mend them")
        if ticker:
            yield Alias(ticker, permno.removesuffix(".0"), *days)


LINK_FILES: Mapping[str, Callable[[Path], Iterator[Alias]]] = {"sec": _sec, "openfigi": _openfigi, "crsp": _crsp}


def read_links(kind: str, path: Path) -> tuple[Alias, ...]:
    """The aliases of a link file, without repeats. Raises :class:`ConfigError` or :class:`DataError`."""
    found = tuple(dict.fromkeys(LINK_FILES[kind](path)))
    if not found:
        raise DataError(f"{path}: names no link; look whether it is a file of {kind}")
    return found


def write_links(path: Path, aliases: Sequence[Alias]) -> None:
    """A new alias table. Raises :class:`ConfigError` where the file is there."""
    text, dated = io.StringIO(newline=""), any(one.dated for one in aliases)
    out = csv.writer(text)
    out.writerow(("alias", "entity", "from", "until") if dated else ("alias", "entity"))
    out.writerows((one.alias, one.entity, one.first, one.last) if dated else (one.alias, one.entity) for one in aliases)
    try:
        write_new(path, text.getvalue().encode())
    except FileExistsError:
        raise ConfigError(f"{path}: exists already; name a new file, and merge by hand") from None
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); name another place") from None


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; name the link file") from None
    except (OSError, ValueError):
        raise DataError(f"{path}: is no JSON in UTF-8; fetch it anew") from None


def _field(path: Path, number: int, row: Any, name: str) -> str:
    if not isinstance(row, Mapping) or not str(row.get(name, "")).strip():
        raise DataError(f"{path}: entry {number} has no {name}; fetch the file anew")
    return str(row[name])


def _columns(path: Path, *names: str) -> Iterator[tuple[str, ...]]:
    table = read_table(path, [Wanted(name, "text") for name in names])
    text = [[table.texts[name].texts[code] for code in table.texts[name].codes] for name in names]
    yield from zip(*text, strict=True)
