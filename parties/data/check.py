"""What a party's own data looks like over a calendar, before it takes part: figures for ``entente data check``.

Everything here stays at home: it names the party's coverage, which no other party may learn.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from parties.data.calendar import period_index
from parties.data.csv_numbers import READ_AS_THOUSANDS, maybe_thousands
from parties.data.delistings import delisting_notes
from parties.data.entities import canonical_entities, read_naming
from parties.data.naming import Naming
from parties.data.panel import build_label_panel, feature_panel_of, label_panel_of, raw_panel
from parties.data.preprocess import cross_sectional_scores, uncut
from parties.data.query import LabelRows, Observations, read_label_rows, read_observations, sql_text
from parties.data.sources import party_sources
from parties.data.stale_rows import stale_end
from parties.data.universe import universe_line
from parties.plurals import things
from parties.settings.consortium import LabelSettings, PartySettings
from vfl.factors.panel import Calendar

__all__ = ["ColumnPreview", "CoverageReport", "Fault", "coverage_report", "mended", "row_faults"]

_SPARSE = 0.5
"""A column missing more often than this is worth a note."""


@dataclass(frozen=True)
class Fault:
    """A row that no run would take. ``row`` counts from 1. ``same``: it repeats an earlier row, values included."""

    what: Literal["look-ahead", "duplicate"]
    row: int
    detail: str
    same: bool = False


@dataclass(frozen=True)
class ColumnPreview:
    """One column over the entities of one cutoff: raw quantiles, and the share of entities with a value."""

    column: str
    unit: str
    filled: float
    least: float
    low: float
    median: float
    high: float
    most: float


def row_faults(settings: PartySettings, folder: Path, data: Path) -> tuple[Fault, ...]:
    """All rows known before their own period, and all that repeat an entity, period and time of availability."""
    if not settings.columns:
        return ()  # rows made of texts repeat nothing, and a text that looks ahead is refused when it is read
    observed = read_observations(settings, folder, data, strict=False)
    naming = read_naming(settings, folder, data)
    canonical = canonical_entities(observed, naming)
    known, period = observed.available_at.astype("datetime64[D]"), observed.period.astype("datetime64[D]")
    faults = [
        Fault("look-ahead", int(i) + 1, f"entity {observed.entity[i]!r}, period {period[i]}: known on {known[i]}")
        for i in np.flatnonzero(known < period)
    ]
    keys = pd.DataFrame({"entity": canonical, "period": observed.period, "known": observed.available_at})
    said = keys.assign(entity=observed.entity)  # two spellings of one entity are no rows that DISTINCT makes one
    same = pd.concat([said, pd.DataFrame(observed.values)], axis=1).duplicated().to_numpy()
    faults += (
        []
        if settings.duplicates != "error"
        else [
            Fault(
                "duplicate",
                int(i) + 1,
                f"entity {observed.entity[i]!r}, period {period[i]}: given before{', the same' * bool(same[i])}",
                same=bool(same[i]),
            )
            for i in np.flatnonzero(keys.duplicated().to_numpy())
        ]
    )
    return tuple(faults)


def mended(faults: Sequence[Fault], query: str) -> str:
    """What takes all these rows out of the way."""
    if all(fault.same for fault in faults):
        return f'write SELECT DISTINCT in {query}, or duplicates = "latest" under [party] in node.toml'
    return f"mend {'it, or filter it' if len(faults) == 1 else 'them, or filter them'} out in {query}"


@dataclass(frozen=True)
class CoverageReport:
    """One party's data in figures; of a party that brings labels alone, all but what is about columns.

    rows: what the query yielded. entities: canonical ids among them. vintages: rows that revise an earlier one.
    first, last: dates of the earliest and latest observation (YYYY-MM-DD). covered: per period, entities with a usable
    observation at its cutoff. age_days: per period, median age of these in days, NaN where none. missing: per
    column, share of those usable observations without a value. labels: per period, labels in the
    universe, empty for a feature party. notes: one sentence each on what deserves a look. readings: per query,
    what was read and by which rules, in a line.
    """

    party: str
    rows: int
    entities: int
    vintages: int
    first: str
    last: str
    periods: tuple[str, ...]
    covered: tuple[int, ...]
    age_days: tuple[float, ...]
    missing: dict[str, float]
    labels: tuple[int, ...]
    notes: tuple[str, ...]
    preview_period: str = ""
    preview: tuple[ColumnPreview, ...] = ()
    readings: tuple[str, ...] = ()


def coverage_report(
    settings: PartySettings, folder: Path, data: Path, calendar: Calendar, label: LabelSettings | None = None
) -> CoverageReport:
    """Run the party's queries and count. Raises what building its panel would raise: the same checks apply."""
    if label is not None and not settings.own_columns:
        return _labels_alone(settings, folder, data, calendar, label)
    first, *more = party_sources(settings, folder, data)
    observed, canonical = first.observed, first.canonical
    naming = read_naming(settings, folder, data)
    entities = sorted({name for source in (first, *more) for name in source.canonical})
    panel = feature_panel_of(settings, observed, canonical, calendar, entities, more)
    seen = raw_panel(settings, (first, *more), calendar, entities)
    raw, usable = seen.values, seen.covered
    used = raw[usable]
    missing = np.isnan(used).mean(axis=0) if len(used) else np.ones(len(settings.own_columns))
    position = np.searchsorted(np.array(entities, dtype=object), canonical).astype(np.int64)
    keys = np.unique(np.stack([position, observed.period.astype(np.int64)]), axis=1)
    inside = period_index(calendar, observed.period)
    readings = [_reading(observed, entities, len(calendar), inside, naming) + _not_cut(settings, raw)]
    readings += [_text_reading(source.observed) for source in more]
    labels: tuple[int, ...] = ()
    left: list[str] = []
    if label is not None:
        rows = read_label_rows(settings, label, folder, data)
        names = canonical_entities(rows, naming)
        readings.append(f"{_label_reading(rows, names, entities)}; {universe_line(rows, names, calendar, entities)}")
        left = delisting_notes(rows, names, calendar)
        known = label_panel_of(settings, rows, names, panel, calendar, entities)
        labels = tuple(int(count) for count in np.isfinite(known.label).sum(axis=1))
    report = CoverageReport(
        party=settings.name,
        rows=len(observed),
        entities=len(entities),
        vintages=len(observed) - keys.shape[1],
        first=str(observed.period.min().astype("datetime64[D]")),
        last=str(observed.period.max().astype("datetime64[D]")),
        periods=calendar.periods,
        covered=tuple(int(count) for count in panel.covered.sum(axis=1)),
        age_days=tuple(
            round(float(np.median((cutoff - panel.asof[t][panel.covered[t]]) / np.timedelta64(1, "D"))), 2)
            if panel.covered[t].any()
            else float("nan")
            for t, cutoff in enumerate(calendar.cutoffs)
        ),
        missing={name: float(share) for name, share in zip(settings.own_columns, missing, strict=True)},
        labels=labels,
        notes=(),
    )
    last = max((t for t in range(len(calendar)) if usable[t].any()), default=None)
    return replace(
        report,
        notes=(
            *_notes(settings, report, calendar, observed.period, canonical),
            *(_tried(observed, folder / settings.query, data) if settings.query else ()),
            *_constant(settings, raw),
            *_maybe_thousands(observed),
            *_late(observed, inside, calendar),
            *stale_end(panel, calendar.periods),
            *left,
        ),
        readings=tuple(readings),
        preview_period="" if last is None else calendar.periods[last],
        preview=() if last is None else _preview(settings, raw[last][usable[last]]),
    )


def _labels_alone(
    settings: PartySettings, folder: Path, data: Path, calendar: Calendar, label: LabelSettings
) -> CoverageReport:
    """The report on a label party without columns of its own: what its rows are is what its labels are."""
    rows = read_label_rows(settings, label, folder, data)
    naming = read_naming(settings, folder, data)
    names = canonical_entities(rows, naming)
    entities = sorted(set(names))
    panel = build_label_panel(settings, label, folder, data, calendar, entities)
    days = rows.period.astype("datetime64[D]")
    keys = pd.DataFrame({"entity": names, "period": rows.period})
    report = CoverageReport(
        party=settings.name,
        rows=len(names),
        entities=len(entities),
        vintages=int(keys.duplicated().sum()),
        first=str(days.min()),
        last=str(days.max()),
        periods=calendar.periods,
        covered=(),
        age_days=(),
        missing={},
        labels=tuple(int(count) for count in np.isfinite(panel.label).sum(axis=1)),
        notes=(),
        readings=(
            f"{_label_reading(rows, names, entities, features=False)}; "
            f"{universe_line(rows, names, calendar, entities)}",
        ),
    )
    left = delisting_notes(rows, names, calendar)
    return replace(report, notes=(*_notes(settings, report, calendar, rows.period, names), *left))


def _maybe_thousands(observed: Observations) -> list[str]:
    """Of columns whose values look as thousands do that were read as decimals; nothing proves it."""
    return [
        f"column {name}: all values are from 1 to 999, most with three decimals; if they come from a CSV whose point "
        f"marks thousands, say read_csv(..., {READ_AS_THOUSANDS})"
        for name, values in zip(observed.columns, observed.values.T, strict=True)
        if maybe_thousands(values)
    ]


def _reading(
    observed: Observations, entities: Sequence[str], periods: int, inside: NDArray[np.int64], naming: Naming
) -> str:
    missing = np.isnan(observed.values).sum(axis=0)
    empty = ", ".join(f"{name} {count:,}" for name, count in zip(observed.columns, missing, strict=True) if count)
    days = observed.period.astype("datetime64[D]")
    what = "days of change" if observed.windowed else "rows"
    facts = [
        f"{len(observed):,} {what}, {things(len(entities), 'ids')}, {days.min()} to {days.max()}",
        f"{things(int((inside >= 0).sum()), 'rows')} lie within the calendar's {things(periods, 'periods')}",
        *([f"{naming.met(observed.entity):,} of {things(len(naming), 'aliases')} were applied"] if len(naming) else []),
        f"values missing: {empty or 'none'}",
        *observed.rules,
    ]
    return f"{observed.source}: {'; '.join(facts)}"


def _text_reading(observed: Observations) -> str:
    """Of columns made of texts, beside a query's."""
    facts = [f"{things(len(observed), 'days')} of change of {len(set(observed.entity)):,} ids", *observed.rules]
    return f"{observed.source}: {'; '.join(facts)}"


def _not_cut(settings: PartySettings, raw: NDArray[np.float64]) -> str:
    """Which columns of raw as-of values (T, n, d) are not winsorised, and in how many periods."""
    counts = uncut(raw, settings.winsorise).sum(axis=0)
    told = [
        f"{name} in {n:,} of {len(raw):,} periods" for name, n in zip(settings.own_columns, counts, strict=True) if n
    ]
    return f"; not winsorised, since of few values: {', '.join(told)}" if told else ""


def _tried(observed: Observations, query: Path, data: Path) -> list[str]:
    """That values may be missing because the query makes missing what it cannot read."""
    missing = int(np.isnan(observed.values).sum())
    if not missing or not re.search(r"\btry(?:_\w+)?\s*\(", sql_text(query, data), re.IGNORECASE):
        return []
    return [
        f"{missing:,} values are missing, and {query.name} has TRY_CAST, which makes missing what it cannot read; with "
        "CAST in its place the first such value is named"
    ]


def _constant(settings: PartySettings, raw: NDArray[np.float64]) -> list[str]:
    """Columns that say nothing in some period in which they have values."""
    usable: NDArray[np.bool_] = np.asarray(np.isfinite(raw).any(axis=1))
    varies = cross_sectional_scores(raw)[1]
    return [
        f"column {name} has one value for all entities in {int(flat.sum())} of {int(there.sum())} periods; the model "
        "sees 0 there"
        for name, there, flat in zip(settings.own_columns, usable.T, (usable & ~varies).T, strict=True)
        if flat.any()
    ]


def _late(observed: Observations, inside: NDArray[np.int64], calendar: Calendar) -> list[str]:
    """That no row is known in time for its own period, so that all are used in a later one."""
    there = inside >= 0
    late = (observed.available_at[there] - calendar.cutoffs[inside[there]]) / np.timedelta64(1, "D")
    if observed.windowed or not late.size or not (late > 0).all():
        return []
    days = max(1, math.ceil(float(np.quantile(late, 0.95)) - 1e-6))  # midnight is a moment after the day's cutoff
    return [
        "no row is known by the cutoff of its own period, so each is used in a later one; most are known "
        f"{things(days, 'days')} after it: decision_lag_days larger by {days} in the run's terms would use them in "
        "their own"
    ]


def _label_reading(
    rows: LabelRows, names: NDArray[np.object_], entities: Sequence[str], *, features: bool = True
) -> str:
    distinct = set(names)
    days = rows.period.astype("datetime64[D]")
    facts = [
        f"{things(len(rows.entity), 'rows')}, {things(len(distinct), 'ids')}, {days.min()} to {days.max()}",
        *(
            [f"{len(distinct & set(entities)):,} of the {things(len(entities), 'ids')} with features have labels"]
            * features
        ),
        f"labels not known yet: {int(np.isnan(rows.label).sum()):,}",
        *rows.rules,
    ]
    return f"{rows.source}: {'; '.join(facts)}"


def _preview(settings: PartySettings, values: NDArray[np.float64]) -> tuple[ColumnPreview, ...]:
    """Quantiles of each column of raw values (entities, columns)."""
    found = []
    for place, name in enumerate(settings.own_columns):
        known = values[~np.isnan(values[:, place]), place]
        points = np.quantile(known, (0, 0.05, 0.5, 0.95, 1)) if known.size else np.full(5, np.nan)
        unit = settings.column_schema[name].unit if name in settings.column_schema else ""
        found.append(ColumnPreview(name, unit, known.size / len(values), *(float(point) for point in points)))
    return tuple(found)


def _between_sessions(calendar: Calendar, dates: NDArray[np.datetime64]) -> NDArray[np.datetime64]:
    """Dates within a calendar of single days, weekends and holidays left out, that are none of its days."""
    days = calendar.ends.astype("datetime64[D]")
    if len(days) < 2 or np.diff(days).min() > np.timedelta64(1, "D"):
        return dates[:0]
    between: NDArray[np.datetime64] = dates[(dates > days[0]) & (dates < days[-1]) & ~np.isin(dates, days)]
    return between


def _notes(
    settings: PartySettings,
    report: CoverageReport,
    calendar: Calendar,
    period: NDArray[np.datetime64],
    canonical: NDArray[np.object_],
) -> list[str]:
    notes = []
    if canonical.size and all(str(name).endswith(".0") for name in canonical):
        notes.append("all ids end in .0: numbers that were read as floats; nobody else spells them so")
    quote = [str(name) for name in canonical if '"' in str(name)]
    if quote:
        notes.append(
            f"{len(quote):,} rows have an id with a quote, such as {quote[0][:40]!r}; is one not closed in the file?"
        )
    dates = np.unique(period.astype("datetime64[D]"))
    starts = dates == dates.astype("datetime64[M]").astype("datetime64[D]")
    if len(dates) > 1 and starts.all():
        notes.append("every observation is dated the first of a month; period must be the last day it covers")
    between = _between_sessions(calendar, dates)
    if len(between):
        notes.append(
            f"{things(len(between), 'dates')}, the first {between[0]}, between two sessions of the calendar: counted "
            "for the one that follows"
        )
    if (period_index(calendar, period) < 0).all():
        notes.append(f"no observation is dated inside the calendar ({calendar.periods[0]} to {calendar.periods[-1]})")
    empty = [name for name, count in zip(report.periods, report.covered, strict=False) if count == 0]
    if empty:
        notes.append(f"{_so_many(empty, report)} no usable observation, the first {empty[0]}")
    bare = [name for name, count in zip(report.periods, report.labels, strict=False) if count == 0]
    if bare:
        notes.append(f"{_so_many(bare, report)} no label, the first {bare[0]}")
    for name, share in report.missing.items():
        if share > _SPARSE and name not in settings.missing_indicators:
            notes.append(f"column {name} is missing in {share:.0%} of usable observations; consider missing_indicators")
    return notes


def _so_many(some: Sequence[str], report: CoverageReport) -> str:
    return f"{len(some)} of {len(report.periods)} periods {'has' if len(some) == 1 else 'have'}"
