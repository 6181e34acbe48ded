"""The bits of a row that a run's plan tells, from the agreement alone: a node holds them against its own columns."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from parties.agreement.document import Agreement
from vfl.protocols.opened_numbers import OpenedNumbers
from vfl.terms import AnchoredModel, RidgeModel, SplitModel

__all__ = ["BitPlan", "bit_plan"]


@dataclass(frozen=True)
class BitPlan:
    """What a run that opens rows tells of one row.

    width: numbers of an opening. passes: over a row that is predicted too. early: over a row before the first
    prediction. per_number: bits that one number tells at most. attributed: whether each predicted row is opened once
    more for attribution. warm: whether a warm start opens early rows once more. trials: trainings of a search before
    the run's own. moments: whether a predicted row enters the moments of a ridge later.
    """

    width: int
    passes: int
    early: int
    per_number: float
    attributed: bool = False
    warm: bool = False
    trials: int = 0
    moments: bool = False

    @property
    def numbers(self) -> int:
        """Most numbers of a row that open, or leave it in a backward product, which tells as much as an opening."""
        predicted, early = self.width * (1 + 2 * self.passes), 2 * self.width * self.early
        extra = (math.ceil(self.width / 5) if self.attributed else 0) + self.moments
        return max(predicted + extra, early + self.warm) + self.trials * max(predicted, early)

    @property
    def bits(self) -> float:
        """Most bits of a row that it tells."""
        return self.numbers * self.per_number

    def fitting(self, most: float) -> tuple[tuple[int, int], ...]:
        """The widths and passes, each no more than now, that tell ``most`` bits at most: the widest for each."""
        found: list[tuple[int, int]] = []
        for passes in range(self.passes, 0, -1):
            early = min(self.early, passes)
            widths = (w for w in range(self.width, 0, -1) if self._bits(w, passes, early) <= most + 1e-9)
            width = next(widths, 0)
            if width and (not found or width > found[-1][0]):
                found.append((width, passes))
        return tuple(found)

    def _bits(self, width: int, passes: int, early: int) -> float:
        return replace(self, width=width, passes=passes, early=early).bits


def bit_plan(agreement: Agreement) -> BitPlan:
    """The plan of an agreement whose model opens rows."""
    model, openings = agreement.model, agreement.openings
    assert not isinstance(model, AnchoredModel), "a sealed model opens no row but its score"
    numbers = OpenedNumbers(openings.deviation).bits
    if isinstance(model, RidgeModel):
        return BitPlan(1, 0, 0, numbers, attributed=openings.attribution, moments=True)
    assert isinstance(model, SplitModel)
    warm = model.warm_start == "ridge"
    return BitPlan(
        width=model.embedding_width,
        passes=max(1, min(model.epochs, agreement.schedule_limit - 1 - agreement.reserved_openings)),
        early=max(1, min(model.warmup_epochs, agreement.schedule_limit - warm)),
        per_number=numbers,
        attributed=openings.attribution,
        warm=warm,
        trials=agreement.split_search.source_trials if agreement.split_search is not None else 0,
    )
