"""A party's ids: raw spellings, through its own alias table, to the canonical ids that alignment compares.

Aliases are applied locally and never leave the node. An alias is matched by its normalised form,
so ``$rds-b`` in the table covers ``RDS.B`` in the data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from parties.data.query import read_label_rows, read_observations, run_query
from parties.data.result_columns import ResultColumns, text_column
from parties.data.text_query import text_names
from parties.errors import ConfigError, DataError
from parties.files.columns import Wanted
from parties.files.table import read_table
from parties.settings.consortium import LabelSettings, PartySettings
from psi.identifiers import IdentifierError, canonical_ids

__all__ = ["Named", "Readers", "canonical_entities", "has_periods", "listed_names", "party_entities", "read_aliases"]

Texts = NDArray[np.object_]
Aliases = Sequence[tuple[str, str]]


class Named(Protocol):
    """Rows that name entities, and the file that they are of."""

    @property
    def source(self) -> str: ...

    @property
    def entity(self) -> Texts: ...


@dataclass(frozen=True)
class Readers:
    """How a party's queries are read: its columns, and its label."""

    columns: Callable[[PartySettings, Path, Path], Named] = read_observations
    label: Callable[[PartySettings, LabelSettings, Path, Path], Named] = read_label_rows


def party_entities(
    settings: PartySettings, folder: Path, data: Path, label: LabelSettings | None = None, readers: Readers = Readers()
) -> tuple[str, ...]:
    """Distinct canonical ids of the party's data, sorted: what it brings to alignment.

    The label party passes its label too and brings the entities it has both features and labels for, or labels where
    it has no features. readers: by default those of rows with periods.
    Raises :class:`DataError` for unusable spellings (see :func:`canonical_entities`).
    """
    aliases = read_aliases(settings, folder, data)
    if not settings.own_columns:
        assert label is not None
        rows = readers.label(settings, label, folder, data)
        return tuple(sorted(set(canonical_entities(rows.entity, aliases, rows.source))))
    found: set[str] = set()
    if settings.columns:
        observed = readers.columns(settings, folder, data)
        found |= set(canonical_entities(observed.entity, aliases, observed.source))
    if settings.text is not None:
        source = Path(settings.text.query).name
        found |= set(canonical_entities(text_names(settings, folder, data), aliases, source))
    if label is not None:
        rows = readers.label(settings, label, folder, data)
        found &= set(canonical_entities(rows.entity, aliases, rows.source))
        if not found:
            raise DataError(
                f"{rows.source} and {Path(settings.asked).name} share no entity; make both spell entities alike or add "
                "aliases"
            )
    return tuple(sorted(found))


def listed_names(settings: PartySettings, folder: Path, data: Path, label: LabelSettings | None = None) -> list[str]:
    """Different raw spellings in the party's query, or in its label's where it has no columns, sorted.

    Nothing else of a row is looked at, so that it does not matter whether rows have periods.
    """
    asked = settings.asked if settings.own_columns or label is None else label.query

    def expressions(result: ResultColumns) -> list[str]:
        if "entity" not in result.types:
            raise DataError(f"{Path(asked).name}: column 'entity' is missing from the result; add it to the SELECT")
        return [text_column(Path(asked).name, "entity", result)]

    table = run_query(folder / asked, data, expressions, postgres=settings.postgres, s3=settings.s3)
    return sorted({name for name in table["entity"].to_pylist() if name is not None})


def has_periods(settings: PartySettings, folder: Path, data: Path, label: LabelSettings | None = None) -> bool:
    """Whether the party's query, or its label's where it has no columns, yields periods; static data has none."""
    if settings.text is not None:
        return True
    asked, found = settings.query if settings.columns or label is None else label.query, [True]

    def expressions(result: ResultColumns) -> list[str]:
        found[0] = "period" in result.types
        return ["1 AS row"]

    run_query(folder / asked, data, expressions, postgres=settings.postgres, s3=settings.s3)
    return found[0]


def read_aliases(settings: PartySettings, folder: Path, data: Path) -> Aliases:
    """The party's alias table as (alias, entity) pairs; empty where it has none.

    Comes from the CSV ``aliases`` or the SQL file ``alias_query``, either with columns alias and
    entity. Raises :class:`ConfigError` or :class:`DataError`.
    """
    if settings.aliases and settings.alias_query:
        raise ConfigError(f"party {settings.name!r} has both aliases and alias_query; keep one")
    if settings.aliases:
        source, pairs = Path(settings.aliases).name, _csv_pairs(folder / settings.aliases)
    elif settings.alias_query:
        source = Path(settings.alias_query).name
        pairs = _query_pairs(folder / settings.alias_query, data, settings)
    else:
        return ()
    for row, pair in enumerate(pairs, start=1):
        if not all(name.strip() for name in pair):
            raise DataError(f"{source}: row {row}: alias {pair[0]!r} of entity {pair[1]!r}: both need text; fill it in")
    try:
        canonical_ids((), pairs)
    except IdentifierError as error:
        raise DataError(f"{source}: {error}") from None
    return tuple(pairs)


def canonical_entities(raw: Texts, aliases: Aliases, source: str) -> Texts:
    """Canonical id of each raw spelling, object (N,).

    Raises :class:`DataError` when two spellings fall together without the alias table saying so, since
    they may be two entities, and for a spelling of which nothing is left.
    """
    codes, distinct = pd.factorize(raw)
    try:
        canonical = canonical_ids(distinct, aliases, many_to_one=True)
    except IdentifierError as error:
        raise DataError(f"{source}: {error}") from None
    return np.array([canonical[spelling] for spelling in distinct], dtype=object)[codes]


def _csv_pairs(path: Path) -> Sequence[tuple[str, str]]:
    names = ("alias", "entity")
    hint = "the header must have alias and entity"
    table = read_table(path, [Wanted(name, "text") for name in names], path.name, hint=hint, may_be_empty=True)
    left, right = (table.texts[name] for name in names)
    return [(left.texts[one], right.texts[two]) for one, two in zip(left.codes, right.codes, strict=True)]


def _query_pairs(path: Path, data: Path, settings: PartySettings) -> Sequence[tuple[str, str]]:
    def expressions(result: ResultColumns) -> list[str]:
        for name in ("alias", "entity"):
            if result.types.get(name) != "VARCHAR":
                found = result.types.get(name, "missing")
                raise DataError(f"{path.name}: column {name!r} is {found}, not text; select alias and entity as text")
        return ["coalesce(alias, '') AS alias", "coalesce(entity, '') AS entity"]

    table = run_query(path, data, expressions, postgres=settings.postgres, s3=settings.s3)
    return list(zip(table["alias"].to_pylist(), table["entity"].to_pylist(), strict=True))
