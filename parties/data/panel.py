"""The point-in-time panel: what a party knew at each cutoff, and nothing it learned later.

For every (entity, cutoff) the panel takes the latest observation by period, and of that period the
latest vintage, among those with ``available_at <= cutoff``. A revision is a vintage: it replaces the
earlier one only from the cutoffs that come after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from parties.data.calendar import period_index
from parties.data.entities import canonical_entities, read_naming
from parties.data.joint_fit import JointFit
from parties.data.preprocess import cross_sectional_scores, model_ready, winsorised
from parties.data.query import LabelRows, Observations, read_label_rows
from parties.data.row_contents import column_bits, row_contents, value_bits
from parties.data.sources import Source, party_sources
from parties.errors import DataError
from parties.settings.consortium import LabelSettings, PartySettings
from vfl.factors.panel import Calendar, FeaturePanel, LabelPanel

__all__ = [
    "RawPanel",
    "as_of",
    "build_feature_panel",
    "build_label_panel",
    "feature_panel_of",
    "label_panel_of",
    "raw_panel",
]

Times = NDArray[np.datetime64]
Ints = NDArray[np.int64]

_NEVER = np.datetime64("NaT", "ns")


def build_feature_panel(
    settings: PartySettings,
    folder: Path,
    data: Path,
    calendar: Calendar,
    entities: Sequence[str],
    joint: JointFit | None = None,
) -> FeaturePanel:
    """Run the party's query and make its features over (calendar, aligned entities).

    folder: where consortium.toml (or node.toml) and the SQL lie. entities: canonical ids in the
    agreed order; one the party has no data for is never covered. joint: what its group trained and fitted; None:
    nothing yet, and no codes. Raises ConfigError or DataError.
    """
    first, *more = party_sources(settings, folder, data)
    return feature_panel_of(settings, first.observed, first.canonical, calendar, entities, more, joint)


def build_label_panel(
    settings: PartySettings,
    label: LabelSettings,
    folder: Path,
    data: Path,
    calendar: Calendar,
    entities: Sequence[str],
    horizons: Sequence[str] = (),
) -> LabelPanel:
    """The label party's own features, built as any other party's, its label, and those of further ``horizons``."""
    if settings.own_columns:
        features = build_feature_panel(settings, folder, data, calendar, entities)
    else:
        features = _no_features(len(calendar), len(entities))
    naming = read_naming(settings, folder, data)

    def labelled(one: LabelSettings) -> LabelPanel:
        rows = read_label_rows(settings, one, folder, data)
        canonical = canonical_entities(rows, naming)
        return label_panel_of(settings, rows, canonical, features, calendar, entities)

    first, others = labelled(label), [labelled(label.at(name)) for name in horizons]
    return replace(
        first,
        further=tuple(np.where(first.universe, other.label, np.nan) for other in others),
        further_known=tuple(other.known_from for other in others),
    )


def feature_panel_of(
    settings: PartySettings,
    observed: Observations,
    canonical: NDArray[np.object_],
    calendar: Calendar,
    entities: Sequence[str],
    more: Sequence[Source] = (),
    joint: JointFit | None = None,
) -> FeaturePanel:
    """The same from observations already read, with the canonical id of each; ``more``: further sources of columns."""
    seen = raw_panel(settings, (Source(observed, canonical), *more), calendar, entities)
    raw, covered = seen.values, seen.covered
    contents = row_contents(raw, covered)
    made: list[NDArray[np.float64]] = []
    if settings.encoder is not None and settings.encoder.group:
        from parties.data.group_encoder import group_codes

        shape, columns = settings.encoder.shape, settings.own_columns
        weights = None if joint is None else joint.encoder
        made.append(group_codes(raw, shape, columns, weights, winsorise=settings.winsorise))
    elif settings.encoder is not None:
        # torch, which a feature party does without otherwise
        from parties.data.encoder import encoded

        codes = encoded(raw, settings.encoder, settings.own_columns, winsorise=settings.winsorise, who=settings.name)
        made.append(codes)
    if settings.expand is not None and settings.expand.group:
        from parties.data.group_expansion import group_expanded

        fitted, terms = None if joint is None else joint.expansion, settings.expand.shape
        made.append(group_expanded(raw, terms, settings.own_columns, fitted, winsorise=settings.winsorise))
    elif settings.expand is not None:
        from parties.data.expansion import expanded

        made.append(expanded(raw, settings.expand, settings.own_columns, winsorise=settings.winsorise))
    if settings.terminals.keep:
        from parties.data.terminals import kept_terminals

        made.append(kept_terminals(raw, settings.own_columns, settings.terminals))
    raw = np.concatenate([raw, *made], axis=2)
    indicators = [settings.own_columns.index(name) for name in settings.missing_indicators]
    values = model_ready(
        raw,
        indicators,
        winsorise=settings.winsorise,
        whiten=settings.whiten,
    )
    assert not (seen.available_at > calendar.cutoffs[:, None]).any()
    return FeaturePanel(
        columns=settings.output_columns,
        values=values,
        covered=covered,
        asof=seen.asof,
        available_at=seen.available_at,
        contents=contents.digests,
        row_bits=float(column_bits(raw[..., : len(settings.own_columns)]).sum()),
        missing=None if settings.whiten else _missing(raw, values.shape[2]),
        value_bits=tuple(value_bits(raw, indicators).tolist()),
    )


@dataclass(frozen=True)
class RawPanel:
    """Values as of each cutoff, before anything is made of them: float64 (T, n, d), NaN where missing.

    covered: bool (T, n), whether any source knows of the entity. asof, available_at: datetime64[ns] (T, n), the latest
    of what was used, NaT where nothing was.
    """

    values: NDArray[np.float64]
    covered: NDArray[np.bool_]
    asof: Times
    available_at: Times


def raw_panel(
    settings: PartySettings, sources: Sequence[Source], calendar: Calendar, entities: Sequence[str]
) -> RawPanel:
    """What each source knew at each cutoff, side by side. Raises :class:`DataError` for a row that is there twice."""
    age = None if settings.largest_age_days is None else np.timedelta64(settings.largest_age_days, "D")
    shape = (len(calendar), len(entities))
    values, covered = [], np.zeros(shape, dtype=np.bool_)
    asof, available = np.full(shape, _NEVER), np.full(shape, _NEVER)
    for source in sources:
        seen = source.observed
        entity = _positions(source.canonical, entities)
        _refuse_twice(seen.source, source.canonical, seen.period, seen.available_at, seen.values)
        oldest = None if seen.windowed else age
        chosen = as_of(entity, seen.period, seen.available_at, calendar.cutoffs, len(entities), oldest)
        used = chosen >= 0
        if not len(seen):
            values.append(np.full((*shape, len(seen.columns)), np.nan))
            continue
        values.append(np.where(used[:, :, None], seen.values[chosen], np.nan))
        covered |= used
        # NaT is passed over: the later of the two that are known
        asof = np.fmax(asof, np.where(used, seen.period[chosen], _NEVER))
        available = np.fmax(available, np.where(used, seen.available_at[chosen], _NEVER))
    return RawPanel(np.concatenate(values, axis=2), covered, asof, available)


def _no_features(periods: int, entities: int) -> FeaturePanel:
    """Of a label party that brings labels alone."""
    never = np.full((periods, entities), _NEVER)
    return FeaturePanel((), np.zeros((periods, entities, 0)), np.zeros(never.shape, dtype=np.bool_), never, never)


def _missing(raw: NDArray[np.float64], columns: int) -> NDArray[np.bool_]:
    """Which of the model's columns are missing; was-it-missing companions, which come last, never are."""
    found = np.zeros((*raw.shape[:2], columns), dtype=np.bool_)
    found[:, :, : raw.shape[2]] = np.isnan(raw)
    return found


def as_of(
    entity: Ints, period: Times, available_at: Times, cutoffs: Times, entities: int, largest_age: np.timedelta64 | None
) -> Ints:
    """Which observation (0..N-1) each (cutoff, entity) may use; int64 (T, entities), -1 where none.

    entity: int64 (N,), -1 for rows of no listed entity. Per entity and cutoff: among rows with
    available_at <= cutoff the greatest (period, available_at); none if it is older than largest_age.
    """
    first_cutoff = np.searchsorted(cutoffs, available_at, side="left")
    usable = np.flatnonzero((entity >= 0) & (first_cutoff < len(cutoffs)))
    order = usable[np.lexsort((period[usable], available_at[usable], entity[usable]))]
    # In order of becoming known, a row displaces what came before only if its period is as late as any before it.
    frame = pd.DataFrame({"entity": entity[order], "period": period[order]})
    latest = frame.groupby("entity")["period"].cummax().to_numpy() == frame["period"].to_numpy()
    records = order[latest]
    place = np.full((entities, len(cutoffs)), -1, dtype=np.int64)
    # Positions rise within an entity, so the running maximum carries the newest record forward.
    np.maximum.at(place, (entity[records], first_cutoff[records]), np.arange(len(records)))
    place = np.maximum.accumulate(place, axis=1)
    chosen = np.where(place >= 0, records[place] if len(records) else -1, -1).T
    if largest_age is not None and len(records):
        chosen[(chosen >= 0) & (cutoffs[:, None] - period[chosen] > largest_age)] = -1
    return np.ascontiguousarray(chosen)


def label_panel_of(
    settings: PartySettings,
    rows: LabelRows,
    canonical: NDArray[np.object_],
    features: FeaturePanel,
    calendar: Calendar,
    entities: Sequence[str],
) -> LabelPanel:
    """Labels over (calendar, entities): matched by period, dated by availability, standardised.

    Of several vintages of one label the first counts, since it is what was known first. Raises
    :class:`DataError` for a label known at its own cutoff and for two labels of one entity and period.
    """
    _refuse_twice(rows.source, canonical, rows.period, rows.available_at, rows.label)
    entity, when = _positions(canonical, entities), period_index(calendar, rows.period)
    used = np.flatnonzero((entity >= 0) & (when >= 0))
    early = used[rows.available_at[used] <= calendar.cutoffs[when[used]]]
    if early.size:
        index = int(early[0])
        known = str(rows.available_at[index])[:16].replace("T", " ")
        raise DataError(
            f"{rows.source}: row {index + 1} (entity {canonical[index]!r}, period {_day(rows.period[index])}): the "
            f"label is known at {known} UTC, by the cutoff of {calendar.periods[when[index]]}, so there "
            "is nothing to predict; date it by the period it follows, or mend label_available_at"
        )
    used = used[np.lexsort((rows.available_at[used], when[used], entity[used]))]
    cell = when[used] * len(entities) + entity[used]
    first = np.r_[True, cell[1:] != cell[:-1]] if used.size else np.zeros(0, dtype=bool)
    leading = used[first][np.cumsum(first) - 1]
    other = np.flatnonzero(rows.period[used] != rows.period[leading])
    if other.size:
        one, two = int(leading[other[0]]), int(used[other[0]])
        raise DataError(
            f"{rows.source}: rows {one + 1} and {two + 1} give entity {canonical[one]!r} two labels in "
            f"{calendar.periods[when[one]]} ({_day(rows.period[one])}, {_day(rows.period[two])}); keep one per period"
        )
    shape = (len(calendar), len(entities))
    kept, at = used[first], (when[used[first]], entity[used[first]])
    universe = np.full(shape, rows.universe is None)
    if rows.universe is not None:
        universe[at] = rows.universe[kept]
    raw = np.full(shape, np.nan)
    raw[at] = rows.label[kept]
    known_from = np.full(shape, len(calendar), dtype=np.int64)
    known_from[at] = np.where(
        np.isnan(rows.label[kept]),
        len(calendar),
        np.searchsorted(calendar.cutoffs, rows.available_at[kept], side="left"),
    )
    raw[~universe] = np.nan
    return LabelPanel(features, _standardised(raw, known_from, settings.winsorise), known_from, universe)


def _standardised(raw: NDArray[np.float64], known_from: Ints, share: float) -> NDArray[np.float64]:
    """Labels (T, n) winsorised and z-scored per period; a row sees only labels known when its own is."""
    out = np.full(raw.shape, np.nan)
    for t in range(len(raw)):
        labelled = np.isfinite(raw[t])
        for moment in np.unique(known_from[t][labelled]):
            cross_section = np.where(labelled & (known_from[t] <= moment), raw[t], np.nan)[None, :, None]
            scores, _ = cross_sectional_scores(winsorised(cross_section, share))
            mine = labelled & (known_from[t] == moment)
            out[t][mine] = scores[0, mine, 0]
    return out


def _positions(canonical: NDArray[np.object_], entities: Sequence[str]) -> Ints:
    """Index of each canonical id in the agreed order, -1 where it is not aligned."""
    listed = pd.Index(list(entities), dtype=object)
    if not listed.is_unique:
        raise DataError(f"aligned entity {listed[listed.duplicated()][0]!r} is listed twice; list each once")
    positions: Ints = listed.get_indexer(pd.Index(canonical, dtype=object)).astype(np.int64)
    return positions


def _refuse_twice(
    source: str, canonical: NDArray[np.object_], period: Times, available_at: Times, values: NDArray[np.float64]
) -> None:
    """One entity, period and moment of availability may have one row."""
    keys = pd.DataFrame({"entity": pd.factorize(canonical)[0], "period": period, "available_at": available_at})
    twice = np.flatnonzero(keys.duplicated().to_numpy())
    if twice.size:
        again = int(twice[0])
        first = int(np.flatnonzero((keys == keys.iloc[again]).all(axis=1).to_numpy())[0])
        alike = pd.concat([keys, pd.DataFrame(values)], axis=1).duplicated().to_numpy()[twice].all()
        remedy = (
            f"{twice.size} of {len(keys)} rows repeat another whole: write SELECT DISTINCT in {source}"
            if alike
            else "keep one, or give the revision its own available_at"
        )
        raise DataError(
            f"{source}: rows {first + 1} and {again + 1} are both entity {canonical[again]!r}, period "
            f"{_day(period[again])}, known at the same time; {remedy}"
        )


def _day(instant: np.datetime64) -> str:
    return str(instant.astype("datetime64[D]"))
