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

    missed: rounds may be missing, for the coordinator was not there when they went on. begun: rounds that have begun
    and are not known to have opened, one of each group at most, with everybody who may be in it.
    """

    model_config = ConfigDict(frozen=True)

    stretches: tuple[Stretch, ...] = ()
    missed: bool = False
    begun: tuple[Stretch, ...] = ()

    def begins(self, phase: str, attempt: int, names: Sequence[str]) -> RoundRecord:
        """With a round that may open now. One that began before and is not known to have opened counts as if it had."""
        here, new = self, Stretch(phase=phase, attempt=attempt, names=tuple(names))
        others: list[Stretch] = []
        for one in self.begun:
            if (one.phase, one.attempt) == (phase, attempt) and not set(one.names) & set(names):
                others.append(one)  # another group's, whose turn comes
            else:
                here = here._with(one)
        return here.model_copy(update={"begun": (*others, new)})

    def opened(self, phase: str, attempt: int, names: Sequence[str]) -> RoundRecord:
        """With one more round."""
        here = self._with(Stretch(phase=phase, attempt=attempt, names=tuple(names)))
        left = tuple(one for one in self.begun if not set(names) <= set(one.names))
        return here.model_copy(update={"begun": left})

    def _with(self, new: Stretch) -> RoundRecord:
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

    def taken(self, but: tuple[str, int] | None = None) -> dict[str, int]:
        """Rounds that each member was in, or may have been, of all trainings; but: without this phase's attempt."""
        counted: Counter[str] = Counter()
        for one in (*self.stretches, *self.begun):
            if (one.phase, one.attempt) != but:
                counted.update(dict.fromkeys(one.names, one.rounds))
        return dict(counted)
