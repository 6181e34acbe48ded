"""A public security list, valid in time: which entities there are, and between which days each is listed.

A CSV with a column ``entity``, and with ``from`` and ``until`` where entities enter and leave: the first and the last
day on which one is listed, empty where that is open. An entity that comes back has one row for each time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parties.data.identifier_profiles import unprofiled
from parties.errors import DataError
from parties.files.columns import Wanted
from parties.files.days import is_day
from parties.files.table import read_table
from psi.identifiers import DuplicateIdentifier, IdentifierError, universe_alignment, universe_digest
from vfl.factors.panel import Calendar, LabelPanel

__all__ = ["SecurityList", "Spell", "read_security_list", "within_list"]


@dataclass(frozen=True, order=True, slots=True)
class Spell:
    """One entity from its first to its last listed day; "" where that is open."""

    entity: str
    first: str = ""
    last: str = ""


@dataclass(frozen=True)
class SecurityList:
    """Spells in the order of entity and first day."""

    spells: tuple[Spell, ...]

    @classmethod
    def of(cls, spells: Iterable[Spell]) -> SecurityList:
        """Check and sort. Raises :class:`IdentifierError` for an entity that is listed twice at one time."""
        made = tuple(sorted(spells))
        for one, other in pairwise(made):
            if one.entity == other.entity and not (one.last and other.first and one.last < other.first):
                raise DuplicateIdentifier(
                    f"{one.entity!r} is listed twice at one time ({one.first or 'always'} to {one.last or 'open'}, "
                    f"{other.first or 'always'} to {other.last or 'open'}): keep one row, or end the first earlier"
                )
        found = cls(made)
        universe_alignment(found.ids)
        return found

    @property
    def ids(self) -> tuple[str, ...]:
        """Every entity that is listed at any time, sorted: the shared row order."""
        return tuple(sorted({spell.entity for spell in self.spells}))

    @property
    def digest(self) -> bytes:
        """SHA-256 that parties compare. That of a list without days is :func:`universe_digest` of its ids."""
        if not any(spell.first or spell.last for spell in self.spells):
            return universe_digest(self.ids)
        digest = hashlib.sha256(b"entente/universe/2\x00")
        for spell in self.spells:
            for part in (spell.entity, spell.first, spell.last):
                data = part.encode()
                digest.update(len(data).to_bytes(4, "big") + data)
        return digest.digest()

    def listed(self, calendar: Calendar, entities: Sequence[str]) -> NDArray[np.bool_]:
        """Whether an entity is listed on the day of a period's cutoff: bool (T, n)."""
        days = calendar.cutoffs.astype("datetime64[D]")
        place = {name: i for i, name in enumerate(entities)}
        found = np.zeros((len(days), len(entities)), dtype=np.bool_)
        for spell in self.spells:
            at = place.get(spell.entity)
            if at is not None:
                after = days >= np.datetime64(spell.first) if spell.first else True
                before = days <= np.datetime64(spell.last) if spell.last else True
                found[:, at] |= np.logical_and(after, before)
        return found


def read_security_list(path: Path) -> SecurityList:
    """Read and check a list. Raises ConfigError for no file, DataError naming file, row and remedy."""

    def columns(names: Sequence[str]) -> Sequence[Wanted]:
        days = [Wanted(name, "text") for name in ("from", "until") if name in names]
        return [Wanted("entity", "id"), *days]

    table = read_table(path, columns, hint="it needs entity, and from and until where entities come and go")
    text = {name: [column.texts[code] for code in column.codes] for name, column in table.texts.items()}
    rows = len(text["entity"])
    first, last = (_days(path, name, text.get(name, [""] * rows)) for name in ("from", "until"))
    for row, (one, other) in enumerate(zip(first, last, strict=True), start=1):
        if one and other and other < one:
            raise DataError(f"{path}: row {row}: until ({other}) is before from ({one}); swap them or mend one")
    try:
        names = [unprofiled(name) for name in text["entity"]]
        return SecurityList.of(Spell(*spell) for spell in zip(names, first, last, strict=True))
    except IdentifierError as error:
        raise DataError(f"{path}: {error}") from None


def _days(path: Path, column: str, texts: Sequence[str]) -> list[str]:
    for row, text in enumerate(texts, start=1):
        if text and not is_day(text):
            raise DataError(f"{path}: row {row}: {column} is {text[:40]!r}, no day such as 2024-01-31; mend it")
    return list(texts)


def within_list(panel: LabelPanel, listed: NDArray[np.bool_]) -> LabelPanel:
    """The panel without rows that are not ``listed``, bool (T, n): neither trained on nor predicted."""
    return replace(panel, universe=panel.universe & listed)
