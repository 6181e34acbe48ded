"""What a party's own static data looks like before it takes part: sentences for ``entente data check`` and a review."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from parties.agreement.static_terms import PARTS
from parties.agreement.terms import StaticTerms
from parties.data.agreed_rows import UndatedRows
from parties.data.static_query import read_static_rows
from parties.settings.consortium import LabelSettings, PartySettings

__all__ = ["parts_line", "static_lines"]


def static_lines(
    settings: PartySettings, folder: Path, data: Path, terms: StaticTerms, label: LabelSettings | None = None
) -> Iterator[str]:
    """What was read, column by column, and how the label's rows fall into parts. Raises what reading raises."""
    entities = UndatedRows(terms).entities(settings, folder, data, label)
    yield f"{settings.name}: {len(entities):,} entities, one row each; static data, so nothing is asked of dates"
    if settings.columns:
        rows = read_static_rows(settings, folder, data)
        for place, name in enumerate(settings.columns):
            values = rows.values[:, place]
            known = values[np.isfinite(values)]
            spread = f"from {known.min():g} to {known.max():g}, mean {known.mean():.4g}" if len(known) else "no value"
            yield f"{name}: {1 - len(known) / len(values):.1%} missing; {spread}"
    if label is not None:
        yield f"{Path(label.query).name}: {parts_line(settings, folder, data, terms, label)}"


def parts_line(settings: PartySettings, folder: Path, data: Path, terms: StaticTerms, label: LabelSettings) -> str:
    """How the label party's rows fall into parts, if all of its entities are common."""
    rows = UndatedRows(terms)
    entities = rows.entities(settings, folder, data, label)
    panel = rows.labels(settings, label, folder, data, entities)
    assert panel.scale is not None
    centre, spread = panel.scale
    told = []
    for part, inside, values in zip(PARTS, panel.universe, panel.label, strict=True):
        known = values[inside & np.isfinite(values)] * spread + centre
        mean = f", mean label {known.mean():.4g}" if len(known) else ""
        told.append(f"{int(inside.sum()):,} rows are in the {part} part, {len(known):,} with a label{mean}")
    return "; ".join(told)
