"""Which of a party's entities enter an overlap estimate: all, those of a year's rows, or those of a sector."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from parties.agreement.overlap import OverlapProposal
from parties.data.entities import canonical_entities, party_entities, read_naming
from parties.data.query import read_label_rows
from parties.data.sources import party_sources
from parties.errors import ConfigError, DataError
from parties.files.columns import Wanted
from parties.files.table import read_table
from parties.node.settings import NodeSettings
from psi.identifiers import IdentifierError, normalise

__all__ = ["overlap_sets"]


def overlap_sets(
    proposal: OverlapProposal, settings: NodeSettings, folder: Path
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Part and canonical ids, in the proposal's order. Raises ConfigError or DataError, for this party's operators."""
    queries, data = folder / settings.queries, folder / settings.data
    ids = party_entities(settings.party, queries, data, settings.label)
    if proposal.by == "all":
        yield "", ids
        return
    found = _by_year(settings, queries, data) if proposal.by == "year" else _by_sector(settings, folder)
    for part in proposal.parts:
        yield part, tuple(sorted(found.get(part.casefold(), set()) & set(ids)))


def _by_year(settings: NodeSettings, queries: Path, data: Path) -> dict[str, set[str]]:
    """Entities with a row whose period ends in a year."""
    party, found = settings.party, dict[str, set[str]]()
    if party.own_columns:
        sources = [(one.observed.period, one.canonical) for one in party_sources(party, queries, data)]
    else:
        assert settings.label is not None
        rows = read_label_rows(party, settings.label, queries, data)
        sources = [(rows.period, canonical_entities(rows, read_naming(party, queries, data)))]
    for period, names in sources:
        years = period.astype("datetime64[Y]").astype(str)
        for year in np.unique(years):
            found.setdefault(str(year), set()).update(names[years == year])
    return found


def _by_sector(settings: NodeSettings, folder: Path) -> dict[str, set[str]]:
    """Entities of a sector, by the CSV that node.toml names."""
    if not settings.sectors:
        raise ConfigError("node.toml: the proposal asks by sector; set sectors to a CSV with columns entity and sector")
    path = folder / settings.sectors
    table = read_table(path, [Wanted("entity", "id"), Wanted("sector", "id")], hint="entity and sector")
    names, sectors = table.texts["entity"], table.texts["sector"]
    found: dict[str, set[str]] = {}
    placed: dict[str, str] = {}
    for entity, sector in zip(names.codes, sectors.codes, strict=True):
        try:
            name, part = normalise(names.texts[entity]), sectors.texts[sector].casefold()
        except IdentifierError as error:
            raise DataError(f"{path}: {error}") from None
        if placed.setdefault(name, part) != part:
            raise DataError(f"{path}: {name!r} stands in two sectors, and its epsilon holds for one; keep one row")
        found.setdefault(part, set()).add(name)
    return found
