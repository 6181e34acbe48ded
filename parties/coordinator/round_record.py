"""Rounds of a federated run that have opened, as the coordinator that opened them counts: who was in each. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from pydantic import BaseModel, ConfigDict

__all__ = ["RoundRecord", "Stretch"]


class Stretch(BaseModel):
    """Rounds one after the other over the same members. phase, attempt: of the training; value: of coalitions."""

    model_config = ConfigDict(frozen=True)

    phase: str
    attempt: int
    names: tuple[str, ...]
    rounds: int = 1


class RoundRecord(BaseModel):
    """Every round that opened, in order, those of abandoned attempts too: what was told stays told.

    missed: rounds may be missing, for the coordinator was not there when they went on.
    """

    model_config = ConfigDict(frozen=True)

    stretches: tuple[Stretch, ...] = ()
    missed: bool = False

    def opened(self, phase: str, attempt: int, names: Sequence[str]) -> RoundRecord:
        """With one more round."""
        new = Stretch(phase=phase, attempt=attempt, names=tuple(names))
        before, last = self.stretches[:-1], self.stretches[-1:]
        if last and last[0].model_copy(update={"rounds": 1}) == new:
            new = last[0].model_copy(update={"rounds": last[0].rounds + 1})
            return self.model_copy(update={"stretches": (*before, new)})
        return self.model_copy(update={"stretches": (*self.stretches, new)})

    def training(self, attempt: int) -> tuple[tuple[str, ...], ...]:
        """Who was in each round of one attempt at the training, in order."""
        return self._rounds("train", attempt)

    def encoding(self, attempt: int, group: Collection[str]) -> tuple[tuple[str, ...], ...]:
        """The same of the encoder of a group, whose members are in no other."""
        return tuple(names for names in self._rounds("encode", attempt) if set(names) <= set(group))

    def _rounds(self, phase: str, attempt: int) -> tuple[tuple[str, ...], ...]:
        of = (one for one in self.stretches if (one.phase, one.attempt) == (phase, attempt))
        return tuple(one.names for one in of for _ in range(one.rounds))

    def taken(self) -> dict[str, int]:
        """Rounds that each member was in, of all trainings."""
        counted: Counter[str] = Counter()
        for one in self.stretches:
            counted.update(dict.fromkeys(one.names, one.rounds))
        return dict(counted)
