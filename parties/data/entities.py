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
from numpy.typing import NDArray

from parties.data.naming import Alias, Naming
from parties.data.query import read_label_rows, read_observations, run_query
from parties.data.result_columns import ResultColumns, text_column
from parties.data.text_query import read_texts, text_names
from parties.errors import ConfigError, DataError
from parties.files.columns import Wanted
from parties.files.days import is_day
from parties.files.table import read_table
from parties.settings.consortium import LabelSettings, PartySettings
from psi.identifiers import IdentifierError

__all__ = ["Named", "Readers", "canonical_entities", "has_periods", "listed_names", "party_entities", "read_naming"]

Texts = NDArray[np.object_]


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
    naming = read_naming(settings, folder, data)
    if not settings.own_columns:
        assert label is not None
        rows = readers.label(settings, label, folder, data)
        return tuple(sorted(set(canonical_entities(rows, naming))))
    found: set[str] = set()
    if settings.columns:
        found |= set(canonical_entities(readers.columns(settings, folder, data), naming))
    if settings.text is not None:
        found |= _in_texts(settings, folder, data, naming)
    if label is not None:
        rows = readers.label(settings, label, folder, data)
        found &= set(canonical_entities(rows, naming))
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


def read_naming(settings: PartySettings, folder: Path, data: Path) -> Naming:
    """How the party's spellings become ids: its profile, and its alias table where it has one.

    The table comes from the CSV ``aliases`` or the SQL file ``alias_query``, either with columns alias and entity; the
    CSV may have from and until. Raises :class:`ConfigError` or :class:`DataError`.
    """
    if settings.aliases and settings.alias_query:
        raise ConfigError(f"party {settings.name!r} has both aliases and alias_query; keep one")
    rows: Sequence[Alias] = ()
    source = ""
    if settings.aliases:
        source, rows = Path(settings.aliases).name, _csv_aliases(folder / settings.aliases)
    elif settings.alias_query:
        source = Path(settings.alias_query).name
        rows = [Alias(*pair) for pair in _query_pairs(folder / settings.alias_query, data, settings)]
    for row, one in enumerate(rows, start=1):
        if not (one.alias.strip() and one.entity.strip()):
            raise DataError(
                f"{source}: row {row}: alias {one.alias!r} of entity {one.entity!r}: both need text; fill it in"
            )
        for column, day in (("from", one.first), ("until", one.last)):
            if day and not is_day(day):
                raise DataError(f"{source}: row {row}: {column} is {day[:40]!r}, no day such as 2024-01-31; mend it")
    naming = Naming(tuple(rows), tuple(settings.identifier.split("|")), settings.duplicates != "error")
    try:
        naming.check()
    except IdentifierError as error:
        raise DataError(f"{source}: {error}") from None
    return naming


def _in_texts(settings: PartySettings, folder: Path, data: Path, naming: Naming) -> set[str]:
    """Canonical ids that the party's texts are about; the texts are read where aliases hold for a time."""
    assert settings.text is not None
    if naming.dated:
        return set(canonical_entities(read_texts(settings, folder, data), naming))
    try:
        return set(naming.ids(text_names(settings, folder, data)))
    except IdentifierError as error:
        raise DataError(f"{Path(settings.text.query).name}: {error}") from None


def canonical_entities(rows: Named, naming: Naming) -> Texts:
    """Canonical id of each row, object (N,); rows with periods, or texts with times, name
    entities as of them.

    Raises :class:`DataError` when two spellings fall together without the alias table saying so, since
    they may be two entities, and for a spelling of which nothing is left.
    """
    try:
        return naming.ids(rows.entity, getattr(rows, "period", getattr(rows, "known", None)))
    except IdentifierError as error:
        raise DataError(f"{rows.source}: {error}") from None


def _csv_aliases(path: Path) -> Sequence[Alias]:
    def columns(names: Sequence[str]) -> Sequence[Wanted]:
        return [Wanted(name, "text") for name in ("alias", "entity", *(n for n in ("from", "until") if n in names))]

    hint = "the header must have alias and entity"
    table = read_table(path, columns, path.name, hint=hint, may_be_empty=True)
    text = {name: [column.texts[code] for code in column.codes] for name, column in table.texts.items()}
    none = [""] * len(text["alias"])
    every = zip(text["alias"], text["entity"], text.get("from", none), text.get("until", none), strict=True)
    return [Alias(*row) for row in every]


def _query_pairs(path: Path, data: Path, settings: PartySettings) -> Sequence[tuple[str, str]]:
    def expressions(result: ResultColumns) -> list[str]:
        for name in ("alias", "entity"):
            if result.types.get(name) != "VARCHAR":
                found = result.types.get(name, "missing")
                raise DataError(f"{path.name}: column {name!r} is {found}, not text; select alias and entity as text")
        return ["coalesce(alias, '') AS alias", "coalesce(entity, '') AS entity"]

    table = run_query(path, data, expressions, postgres=settings.postgres, s3=settings.s3)
    return list(zip(table["alias"].to_pylist(), table["entity"].to_pylist(), strict=True))
