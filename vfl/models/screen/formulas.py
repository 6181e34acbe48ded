"""The formulas of a screen: every terminal, and every product of two parties' terminals, each a trial with a series."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vfl.models.screen.label import Screened
from vfl.models.screen.numbers import FEWEST_LABELS, LABEL_TOP, RANK_TOP

__all__ = ["Formula", "Trials", "trials_of"]

F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Formula:
    """A terminal of ``party``, or its product with one of ``other``; each by its owner's number, which says nothing."""

    party: str
    number: int
    other: str = ""
    other_number: int = -1

    def __str__(self) -> str:
        alone = f"{self.party}#{self.number}"
        return f"{alone} x {self.other}#{self.other_number}" if self.other else alone

    def mine(self, party: str) -> tuple[int, str, int] | None:
        """The party's own number in it, and whose which other it is multiplied by; None where it has no part."""
        if party == self.party:
            return self.number, self.other, self.other_number
        return (self.other_number, self.party, self.number) if party == self.other else None


@dataclass(frozen=True)
class Trials:
    """series: float64 (T, trials), the mean product of label and formula in units of a correlation, NaN where unknown.

    lost: numbers that were left out because their window wrapped.
    """

    formulas: tuple[Formula, ...]
    series: F64
    lost: int


def trials_of(found: Screened, label: str, labels: NDArray[np.int64]) -> Trials:
    """Everything that opened, as trials. labels: int64 (T, n), what was encrypted."""
    counts = (labels != 0).sum(axis=1)
    spread = np.sqrt(np.square(labels / LABEL_TOP).sum(axis=1) / np.maximum(counts, 1))
    unit = np.where(counts >= FEWEST_LABELS, LABEL_TOP * spread * counts, np.nan)[:, None]
    rank = RANK_TOP / math.sqrt(3)
    formulas: list[Formula] = []
    series: list[F64] = []
    for formula_of, sums, factors in _tables(found, label):
        flat = sums.reshape(len(sums), -1)
        formulas += formula_of
        series.append(flat / unit / rank**factors)
    whole = np.concatenate(series, axis=1)
    known = np.isfinite(unit[:, 0])
    return Trials(tuple(formulas), whole, int(np.isnan(whole[known]).sum()))


def _tables(found: Screened, label: str) -> Iterator[tuple[list[Formula], F64, int]]:
    for name, sums in found.alone.items():
        yield [Formula(name, i) for i in range(sums.shape[1])], sums, 1
    for name, sums in found.own.items():
        yield [Formula(name, i, label, k) for i in range(sums.shape[1]) for k in range(sums.shape[2])], sums, 2
    for (name, other), sums in found.pairs.items():
        yield [Formula(name, i, other, j) for i in range(sums.shape[1]) for j in range(sums.shape[2])], sums, 2
