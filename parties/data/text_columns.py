"""Columns made of a party's texts at home: how many there are, how new their words are, and how they sound.

A row speaks of one entity and one UTC day: of the texts that were known by the end of that day and not before its
window. Cutoffs are ends of days, so nothing is lost by that. A text is compared with texts that were known before it,
and a day's row with nothing after it: no later text changes an earlier row. All sums are of whole numbers, so that
they are the same in whatever order the texts came.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from parties.data.calendar import END_OF_DAY
from parties.data.plain_text import plain_text
from parties.data.query import Observations
from parties.data.text_query import TextRows
from parties.data.text_scorer import DECIMALS, Scorer, pinned_scorer
from parties.settings.text import TextSettings

__all__ = ["TextFigures", "text_figures", "text_observations"]

_LOG = logging.getLogger(__name__)

_MOST_REMEMBERED = 500_000
"""Runs of words of one entity; beyond, those too old to matter are dropped."""

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class TextFigures:
    """Of N texts that hold words and are no repetition: entity, object (N,), and day, int64 (N,), sorted by both.

    new: share of its runs of words that are new, int64 (N,), in 10**-DECIMALS; score: in the same.
    """

    entity: NDArray[np.object_]
    day: Ints
    new: Ints
    score: Ints


def text_observations(
    terms: TextSettings, rows: TextRows, canonical: NDArray[np.object_], folder: Path, who: str
) -> Observations:
    """The texts as observations: one a day on which an entity's columns change. ``who`` is for the log.

    canonical: the id of each text's entity, (N,). Raises :class:`ConfigError` or :class:`DataError`, by name where the
    scorer is not the agreed one.
    """
    began = time.monotonic()
    figures = text_figures(terms, rows, canonical, pinned_scorer(terms, folder, rows.source))
    entity, days, values = [], [], []
    for start, stop in _runs(figures.entity):
        changed, made = _windows(terms, figures.day[start:stop], figures.new[start:stop], figures.score[start:stop])
        entity.append(np.full(len(changed), figures.entity[start], dtype=object))
        days.append(changed)
        values.append(made)
    took = time.monotonic() - began
    _LOG.info("%s: %d of %d texts made into columns in %.1f s", who, len(figures.day), len(rows), took)
    changes = np.concatenate([np.zeros(0, dtype=np.int64), *days])
    day: NDArray[np.datetime64] = changes.astype("datetime64[D]").astype("datetime64[ns]")
    return Observations(
        rows.source,
        np.concatenate([np.zeros(0, dtype=object), *entity]),
        day,
        day + END_OF_DAY,
        terms.output_columns,
        np.concatenate([np.zeros((0, len(terms.columns))), *values]),
        rows.rules,
        windowed=True,
    )


def text_figures(terms: TextSettings, rows: TextRows, canonical: NDArray[np.object_], scorer: Scorer) -> TextFigures:
    """What each text is by itself and beside those known before it."""
    codes, names = pd.factorize(canonical, sort=True)
    order = np.lexsort((rows.known, codes))
    moments = rows.known.astype("datetime64[us]").astype(np.int64)
    whose: list[int] = []
    days: list[int] = []
    new: list[int] = []
    scores: list[int] = []
    for start, stop in _runs(codes[order]):
        mine = order[start:stop]
        for moment, share, score in _one_entity(terms, [rows.texts[i] for i in mine], moments[mine].tolist(), scorer):
            whose.append(int(codes[mine[0]]))
            days.append(moment // _DAY)
            new.append(share)
            scores.append(score)
    return TextFigures(
        np.asarray(names, dtype=object)[np.array(whose, dtype=np.int64)],
        np.array(days, dtype=np.int64),
        np.array(new, dtype=np.int64),
        np.array(scores, dtype=np.int64),
    )


_DAY = 86_400_000_000
_UNIT = 10**DECIMALS


def _one_entity(
    terms: TextSettings, texts: list[str], moments: list[int], scorer: Scorer
) -> Iterator[tuple[int, int, int]]:
    """(moment, share of new runs of words, score) of each text of one entity, in order of becoming known.

    Texts known at one moment are not old to each other, and one that is there twice counts once.
    """
    last: dict[tuple[str, ...], int] = {}
    memory, size, most = terms.memory_days * _DAY, terms.words, terms.most_characters
    place = 0
    while place < len(texts):
        moment, together = moments[place], set()
        while place < len(texts) and moments[place] == moment:
            together.add(texts[place])
            place += 1
        oldest, seen = moment - memory, []
        for text in sorted(together) if len(together) > 1 else together:
            plain = plain_text(text, most)
            words = scorer.read(plain)
            if not words:
                continue
            runs = set(zip(*(words[k:] for k in range(size)), strict=False)) or {tuple(words)}
            fresh = len(runs) - sum(1 for run in runs if run in last and last[run] >= oldest)
            score = scorer.score(plain, words) if scorer.score is not None and terms.scores else 0.0
            yield moment, round(_UNIT * fresh / len(runs)), round(_UNIT * score)
            seen.append(runs)
        for runs in seen:
            last.update(dict.fromkeys(runs, moment))
        if len(last) > _MOST_REMEMBERED:
            last = {run: when for run, when in last.items() if when >= oldest}


def _runs(values: NDArray[Any]) -> Iterator[tuple[int, int]]:
    """Where each run of equal values starts and stops."""
    starts = np.flatnonzero(np.r_[True, values[1:] != values[:-1]][: len(values)])
    return pairwise([*starts.tolist(), len(values)])


def _windows(terms: TextSettings, day: Ints, new: Ints, score: Ints) -> tuple[Ints, F64]:
    """Days on which one entity's columns change, rising, and the columns (days, d); NaN where there is none.

    ``day`` rises. Of a window without a text there is a count of 0 and nothing else.
    """
    window, memory = terms.window_days, terms.memory_days
    changed = np.unique(np.concatenate([day, day + window, day + window + memory]))
    before = np.searchsorted(day, changed - window, side="right")
    earlier = np.searchsorted(day, changed - window - memory, side="right")
    upto = np.searchsorted(day, changed, side="right")
    count = upto - before

    def summed(values: Ints) -> F64:
        total = np.r_[0, np.cumsum(values)]
        inside: F64 = (total[upto] - total[before]).astype(np.float64)
        return inside

    some = np.maximum(count, 1)
    mean = summed(score) / some
    spread = np.sqrt(np.maximum(summed(score * score) / some - mean * mean, 0.0))
    usual = (before - earlier) * (window / memory)
    made = {
        "count": np.log1p(count.astype(np.float64)),
        "surge": np.log1p(count.astype(np.float64)) - np.log1p(usual),
        "novelty": np.where(count > 0, summed(new) / some / _UNIT, np.nan),
        "sentiment": np.where(count > 0, mean / _UNIT, np.nan),
        "disagreement": np.where(count > 1, spread / _UNIT, np.nan),
    }
    return changed, np.column_stack([made[name] for name in terms.columns])
