"""A party's texts as its query yields them: who is spoken of, when it was known, and the words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from parties.data.calendar import END_OF_DAY
from parties.data.plain_text import decoded
from parties.data.query import run_query
from parties.data.result_columns import ResultColumns, quoted, rules_of, text_column, time_column
from parties.data.row_checks import check_frame
from parties.errors import ConfigError, DataError
from parties.plurals import things
from parties.settings.consortium import PartySettings
from parties.settings.text import TextSettings

__all__ = ["TextRows", "read_texts", "text_names"]

_WRITTEN = {"VARCHAR", "BLOB"}


@dataclass(frozen=True)
class TextRows:
    """N texts, in the query's order. entity: object (N,), raw spellings. known: datetime64[ns] (N,), UTC.

    texts: as they came, cut at the agreed length. rules: how they were read, a phrase each.
    """

    source: str
    entity: NDArray[np.object_]
    known: NDArray[np.datetime64]
    texts: list[str]
    rules: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)


def read_texts(settings: PartySettings, folder: Path, data: Path) -> TextRows:
    """Run the query of ``[party.text]`` and check its rows.

    A text is known from available_at, or its time and the lag. Raises :class:`ConfigError` with neither, and
    :class:`DataError` for a row that cannot be trusted.
    """
    terms = settings.text
    assert terms is not None
    path = folder / terms.query
    source, lag = path.name, settings.lag_days if terms.lag_days is None else terms.lag_days
    kinds: dict[str, str] = {}

    def expressions(result: ResultColumns) -> list[str]:
        kinds.update(result.types)
        return _expressions(source, settings.name, terms, lag, result)

    table = run_query(path, data, expressions, postgres=settings.postgres, s3=settings.s3)
    names = [name for name in table.column_names if name != "text"]
    frame = pd.DataFrame(
        {n: np.array(table[n].to_pylist(), dtype=object) if n == "entity" else table[n].to_numpy() for n in names}
    )
    frame["entity"] = frame["entity"].astype(object)
    check_frame(frame, source, dict.fromkeys(("time", "available_at"), "known"))
    known = _known(source, frame, kinds, lag)
    texts, foreign, empty = _written(table["text"].to_pylist(), terms.most_characters)
    rules = [f"{len(texts):,} texts, {empty:,} of them empty", *_rules(kinds, lag)]
    if foreign:
        rules.append(f"{foreign:,} texts were bytes that are not UTF-8, and were read as Windows-1252")
    return TextRows(source, frame["entity"].to_numpy(dtype=object), known, texts, tuple(rules))


def text_names(settings: PartySettings, folder: Path, data: Path) -> NDArray[np.object_]:
    """Different raw spellings of the entities that the texts are about."""
    assert settings.text is not None
    path = folder / settings.text.query

    def expressions(result: ResultColumns) -> list[str]:
        if "entity" not in result.types:
            raise DataError(f"{path.name}: column 'entity' is missing from the result; add it to the SELECT")
        return [text_column(path.name, "entity", result)]

    table = run_query(path, data, expressions, postgres=settings.postgres, s3=settings.s3)
    return np.array(table["entity"].unique().drop_null().to_pylist(), dtype=object)


def _expressions(source: str, party: str, terms: TextSettings, lag: int | None, result: ResultColumns) -> list[str]:
    types = result.types
    missing = [name for name in ("entity", "time", "text") if name not in types]
    if missing:
        raise DataError(
            f"{source}: column {missing[0]!r} is missing from the result; add it to the SELECT (it has "
            f"{', '.join(types)})"
        )
    if "available_at" not in types and lag is None:
        raise ConfigError(
            f"{source}: nothing says when a text of party {party!r} became known; add a column available_at to the "
            "query or lag_days to [party.text]: 0 for texts that are read as they appear"
        )
    if types["text"] not in _WRITTEN:
        raise DataError(
            f"{source}: column 'text' is {types['text']}, not text; select CAST(... AS VARCHAR) or the bytes (BLOB) "
            "for it"
        )
    # of bytes the length in characters is not known yet
    cut = f"left({quoted('text')}, {terms.most_characters})" if types["text"] == "VARCHAR" else quoted("text")
    times = ["time", *(["available_at"] if "available_at" in types else [])]
    return [
        text_column(source, "entity", result),
        *(time_column(source, name, result) for name in times),
        f"{cut} AS {quoted('text')}",
    ]


def _known(source: str, frame: pd.DataFrame, kinds: dict[str, str], lag: int | None) -> NDArray[np.datetime64]:
    """When each text was known, by the rule that the rows of a query have: a plain date is the end of that day."""

    def moment(name: str) -> NDArray[np.datetime64]:
        end = END_OF_DAY if kinds[name] == "DATE" else np.timedelta64(0, "ns")
        times: NDArray[np.datetime64] = frame[name].to_numpy().astype("datetime64[ns]")
        return times + end

    written = frame["time"].to_numpy().astype("datetime64[D]")
    if "available_at" not in frame:
        assert lag is not None
        return moment("time") + np.timedelta64(lag, "D")
    known = moment("available_at")
    early = np.flatnonzero(known.astype("datetime64[D]") < written)
    if early.size:
        row = int(early[0])
        raise DataError(
            f"{source}: row {row + 1} (entity {frame['entity'].iloc[row]!r}) claims to be known on "
            f"{known[row].astype('datetime64[D]')}, before it was written on {written[row]}; mend available_at"
        )
    return known


def _rules(kinds: dict[str, str], lag: int | None) -> list[str]:
    """How times were read, in words."""
    stated = rules_of("time", {"period": "DATE", "time": kinds["time"]}, None)
    if "available_at" in kinds:
        return [*stated, *rules_of("available_at", kinds | {"period": "DATE"}, None)]
    return [*stated, f"known {things(lag or 0, 'days')} after time (lag_days)"]


def _written(column: list[Any], most: int) -> tuple[list[str], int, int]:
    """Texts as strings; how many were bytes of an older encoding, and how many hold nothing."""
    foreign, texts = 0, []
    for value in column:
        if isinstance(value, bytes):
            text, guessed = decoded(value, most)
            foreign += guessed
        else:
            text = value or ""
        texts.append(text)
    return texts, foreign, sum(not text.strip() for text in texts)
