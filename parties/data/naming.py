"""How a party's spellings become canonical ids: its profile, its alias table, and the days on which an alias holds.

An alias without days holds always. One with ``from`` and ``until`` holds for rows whose period ends between them, so
that a ticker that changed hands is two entities, each in its own time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from parties.data.identifier_profiles import profiled, unprofiled
from psi.identifiers import DuplicateIdentifier, IdentifierError, canonical_ids

__all__ = ["Alias", "Naming"]

Texts = NDArray[np.object_]
Times = NDArray[np.datetime64]


@dataclass(frozen=True, slots=True)
class Alias:
    """One row of an alias table. first, last: days, both included; "" where that is open."""

    alias: str
    entity: str
    first: str = ""
    last: str = ""

    @property
    def dated(self) -> bool:
        """Whether it holds for a time only."""
        return bool(self.first or self.last)


@dataclass(frozen=True)
class Naming:
    """profile: of each part of a key. merges: two spellings of one entity are its rows, and not a fault."""

    aliases: tuple[Alias, ...] = ()
    profile: tuple[str, ...] = ("text",)
    merges: bool = False

    def __len__(self) -> int:
        return len(self.aliases)

    def met(self, raw: Texts) -> int:
        """How many aliases are spellings that occur in ``raw``."""
        seen = {unprofiled(spelling) for spelling in set(raw)}
        return sum(unprofiled(one.alias) in seen for one in self.aliases)

    @property
    def dated(self) -> bool:
        """Whether any alias holds for a time only."""
        return any(one.dated for one in self.aliases)

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Alias and entity of every row."""
        return tuple((one.alias, one.entity) for one in self.aliases)

    def check(self) -> None:
        """Raise :class:`IdentifierError` for a table that contradicts itself at any time."""
        for _, pairs in self._times():
            canonical_ids((), pairs)

    def ids(self, raw: Texts, period: Times | None = None) -> Texts:
        """Canonical id of each raw spelling, object (N,). Raises :class:`IdentifierError`."""
        if not self.dated:
            return self._ids(raw, self.pairs)
        if period is None:
            raise IdentifierError("the alias table has days, and static data has none: leave from and until out")
        made = np.empty(len(raw), dtype=object)
        starts = [start for start, _ in self._times()]
        place = np.searchsorted(np.array(starts[1:], "datetime64[D]"), period.astype("datetime64[D]"), side="right")
        for number, (_, pairs) in enumerate(self._times()):
            rows = place == number
            made[rows] = self._ids(raw[rows], pairs)
        return made

    def _times(self) -> Iterator[tuple[np.datetime64, tuple[tuple[str, str], ...]]]:
        """From which day on which aliases hold, in order; the first reaches back without end."""
        day = np.timedelta64(1, "D")
        starts = {np.datetime64(one.first) for one in self.aliases if one.first}
        starts |= {np.datetime64(one.last) + day for one in self.aliases if one.last}
        for start in (np.datetime64("0001-01-01"), *sorted(starts)):
            yield (
                start,
                tuple(
                    (one.alias, one.entity)
                    for one in self.aliases
                    if (not one.first or np.datetime64(one.first) <= start)
                    and (not one.last or start <= np.datetime64(one.last))
                ),
            )

    def _ids(self, raw: Texts, pairs: Sequence[tuple[str, str]]) -> Texts:
        codes, distinct = pd.factorize(raw)
        forms = {spelling: unprofiled(spelling) for spelling in distinct}
        if self.merges:
            entities = canonical_ids(dict.fromkeys(forms.values()), pairs, many_to_one=True)
            table = {spelling: entities[form] for spelling, form in forms.items()}
        else:
            table = canonical_ids(distinct, pairs, many_to_one=True)
        if self.profile != ("text",):
            table = self._profiled(table, forms)
        return np.array([table[spelling] for spelling in distinct], dtype=object)[codes]

    def _profiled(self, table: dict[str, str], forms: dict[str, str]) -> dict[str, str]:
        """Ids in the spelling of the profile; two forms that it makes one are a fault, unless an alias says so."""
        made, by_id = {}, dict[str, str]()
        for spelling, entity in table.items():
            made[spelling] = profiled(entity, self.profile, spelling)
            if entity == forms[spelling] and not self.merges:
                other = by_id.setdefault(made[spelling], spelling)
                if other != spelling:
                    raise DuplicateIdentifier(
                        f"duplicate identifiers: {other!r} and {spelling!r} are both {made[spelling]!r}: select each "
                        'entity once, spelled one way, or set duplicates = "latest" or "aggregate"'
                    )
        return made
