"""Panels of data without a calendar: two periods, the training rows in the first and the test rows in the second.

Every entity stands in both periods with the same values, and in the universe of the one that it is in. So a feature
party does the same for each row, and what is true of a walk holds: labels of the second period enter nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from parties.agreement.static_terms import PARTS
from parties.agreement.terms import StaticTerms
from parties.data.entities import canonical_entities, read_naming
from parties.data.preprocess import model_ready
from parties.data.static_query import StaticLabels, read_static_rows
from parties.errors import ConfigError, DataError
from parties.settings.consortium import PartySettings
from vfl.factors.panel import FeaturePanel, LabelPanel

__all__ = ["TooFewRows", "drawn_into_test", "static_features", "static_label_panel"]

F64 = NDArray[np.float64]
Flags = NDArray[np.bool_]

_FEWEST = 20
"""Rows of a part below which nothing said of it means much."""


_FEWEST_OF_A_CLASS = 5


class TooFewRows(DataError):
    """A part has fewer rows than mean anything."""


def drawn_into_test(entities: Sequence[str], terms: StaticTerms) -> Flags:
    """Which entities the agreed share puts into the test, bool (n,): the same in every run of one seed, whoever else
    is in it."""
    assert terms.test_share is not None
    digests = (hashlib.sha256(f"{terms.seed}/{entity}".encode()).digest()[:8] for entity in entities)
    drawn = np.frombuffer(b"".join(digests), dtype=">u8").astype(np.float64) / 2.0**64
    flags: Flags = drawn < terms.test_share
    return flags


def static_features(settings: PartySettings, folder: Path, data: Path, entities: Sequence[str]) -> FeaturePanel:
    """The party's features of the aligned entities, the same in both parts. No label and no part enters them.

    Raises ConfigError or DataError.
    """
    if not settings.columns:
        return _panel((), np.zeros((1, len(entities), 0)), np.zeros((1, len(entities)), dtype=np.bool_), None)
    rows = read_static_rows(settings, folder, data)
    canonical = canonical_entities(rows, read_naming(settings, folder, data))
    place = _places(rows.source, canonical, entities)
    covered = (place >= 0)[None]
    raw = np.where(covered[..., None], rows.values[place][None], np.nan)
    if settings.terminals.keep:
        raise ConfigError("terminals look back over periods, and static data has none: empty terminals.keep")
    if settings.expand is not None:
        if settings.expand.fits:
            raise ConfigError(
                "expand.trees, expand.fourier and expand.bins are fitted on first periods, and static data has none: "
                "keep expand.hinges alone"
            )
        from parties.data.expansion import expanded

        made = expanded(raw, settings.expand, settings.columns, winsorise=settings.winsorise)
        raw = np.concatenate([raw, made], axis=2)
    indicators = [settings.columns.index(name) for name in settings.missing_indicators]
    values = model_ready(raw, indicators, winsorise=settings.winsorise, whiten=settings.whiten)
    missing = None
    if not settings.whiten:
        missing = np.zeros(values.shape, dtype=np.bool_)
        missing[..., : raw.shape[2]] = np.isnan(raw)
    return _panel(settings.output_columns, values, covered, missing)


def _panel(columns: tuple[str, ...], values: F64, covered: Flags, missing: Flags | None) -> FeaturePanel:
    twice = len(PARTS)
    never = np.full((twice, covered.shape[1]), np.datetime64("NaT", "ns"))
    return FeaturePanel(
        columns=columns,
        values=np.repeat(values, twice, axis=0),
        covered=np.repeat(covered, twice, axis=0),
        asof=never,
        available_at=never,
        missing=None if missing is None else np.repeat(missing, twice, axis=0),
    )


def static_label_panel(
    rows: StaticLabels,
    canonical: NDArray[np.object_],
    features: FeaturePanel,
    entities: Sequence[str],
    terms: StaticTerms,
) -> LabelPanel:
    """Labels of both parts, standardised by the training rows alone; of several classes their numbers.

    Raises :class:`DataError` for an entity with two rows, and for parts that are too small or all alike.
    """
    place = _places(rows.source, canonical, entities)
    label = np.where(place >= 0, rows.label[place], np.nan)
    test = drawn_into_test(entities, terms) if rows.test is None else (place >= 0) & rows.test[place]
    trained, tested = (place >= 0) & ~test & np.isfinite(label), (place >= 0) & test
    for part, flags in zip(PARTS, (trained, tested), strict=True):
        if int(flags.sum()) < _FEWEST:
            raise TooFewRows(
                f"{rows.source}: {int(flags.sum())} of the {len(entities)} common rows are in the {part} part, and it "
                f"needs {_FEWEST}: change static.test_share or the column part, or align more entities"
            )
    known = label[trained]
    _every_class(rows.source, known, terms)
    centre, spread = (0.0, 1.0) if terms.classes is not None else (float(known.mean()), float(known.std()))
    if not spread > 0:
        raise DataError(f"{rows.source}: every label of the training part is {known[0]:g}: there is nothing to learn")
    standard = (label - centre) / spread
    universe = np.stack([trained, tested])
    return LabelPanel(
        features,
        np.where(universe, standard, np.nan),
        np.stack([np.where(trained, 1, 2), np.full(len(entities), 2)]).astype(np.int64),
        universe,
        scale=(centre, spread),
    )


def _every_class(source: str, known: F64, terms: StaticTerms) -> None:
    """Raise :class:`TooFewRows` where a class has too few training rows to be told from the rest."""
    for number in range(terms.classes or 0):
        count = int((known == number).sum())
        if count < _FEWEST_OF_A_CLASS:
            raise TooFewRows(
                f"{source}: {count} of the {len(known)} training rows are of class {number}, and a class needs "
                f"{_FEWEST_OF_A_CLASS}: bring more of it, or join it to another class"
            )


def _places(source: str, canonical: NDArray[np.object_], entities: Sequence[str]) -> NDArray[np.int64]:
    """The row of each aligned entity, int64 (n,), -1 where there is none. One row an entity, else DataError."""
    names = pd.Index(canonical, dtype=object)
    if not names.is_unique:
        again = int(np.flatnonzero(names.duplicated())[0])
        first = int(np.flatnonzero(canonical == canonical[again])[0])
        raise DataError(
            f"{source}: rows {first + 1} and {again + 1} are both entity {canonical[again]!r}, and static data has one "
            "row an entity: group the query by entity, or name a [calendar]"
        )
    found: NDArray[np.int64] = names.get_indexer(pd.Index(list(entities), dtype=object)).astype(np.int64)
    return found
