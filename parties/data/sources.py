"""What a party observes, by source: the rows of its query, and those made of its texts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parties.data.entities import canonical_entities, read_naming
from parties.data.query import Observations, read_observations
from parties.data.repeats import without_repeats
from parties.settings.consortium import PartySettings

__all__ = ["Source", "party_sources"]


@dataclass(frozen=True)
class Source:
    """Observations and the canonical id of each, object (N,)."""

    observed: Observations
    canonical: NDArray[np.object_]


def party_sources(settings: PartySettings, folder: Path, data: Path, *, strict: bool = True) -> tuple[Source, ...]:
    """Those of a party with columns, the query's first: as :func:`read_observations`, and as the texts' are made."""
    naming = read_naming(settings, folder, data)
    found = []
    if settings.columns:
        observed = read_observations(settings, folder, data, strict=strict)
        found.append(Source(*without_repeats(observed, canonical_entities(observed, naming), settings.duplicates)))
    if settings.text is not None:
        from parties.data.text_columns import text_observations
        from parties.data.text_query import read_texts

        rows = read_texts(settings, folder, data)
        names = canonical_entities(rows, naming)
        made = text_observations(settings.text, rows, names, folder, settings.name)
        found.append(Source(made, made.entity))
    return tuple(found)
