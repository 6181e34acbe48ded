"""Valuation of the coalitions of sealed trees, whose scores both holders have had shares of since training.

What is computed and what opens: :mod:`vfl.models.sealed.coalitions`. Feature parties beside the anchor have no part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow
from vfl.arithmetic.he import Evaluator
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.zero_supply import FreshZeros, ZeroSupply
from vfl.models.sealed.coalitions import Piece, ValuedRows, valued_coalitions
from vfl.models.sealed.ends import take_slots
from vfl.models.sealed.label import LabelKeys
from vfl.models.sealed.messages import Members
from vfl.models.sealed.numbers import AnchorNumbers, CoalitionScores, LabelNumbers, NumbersSide
from vfl.models.sealed.records import StepRecord
from vfl.models.trees.scales import RESIDUAL_BITS
from vfl.models.trees.shares import FitShares
from vfl.protocols.slots import SlotEvaluator
from vfl.protocols.spread import Workers
from vfl.tree_terms import TreesModel

__all__ = ["AnchorTreesValuation", "LabelTreesValuation"]

U64 = NDArray[np.uint64]


class _TreesSide(NumbersSide):
    """What both holders bring: members, terms, and their records of every prediction, by step. rows: of the run."""

    def __init__(self, members: Members, rows: int, records: Mapping[int, StepRecord], terms: TreesModel) -> None:
        self.members, self.score_bits, self.label_clip = members, RESIDUAL_BITS, terms.label_clip
        self.coalitions = valued_coalitions(tuple(members.features))
        self.predicted = {step: record.rows for step, record in records.items()}
        self._rows, self._records = rows, records

    def held(self, pieces: Sequence[Piece]) -> dict[tuple[str, ...], U64]:
        """Its share of each coalition's scores of these rows, in order."""
        parts = []
        for piece in pieces:
            fits = FitShares.read(self._rows, self._records[piece.step].arrays, len(self.coalitions))
            parts.append(fits.of_coalitions(piece.rows))
        return dict(zip(self.coalitions, np.concatenate(parts, axis=1), strict=True))

    @staticmethod
    def _at_hand(held: Mapping[tuple[str, ...], U64], name: str, coalition: tuple[str, ...]) -> Flow[U64]:
        del name
        yield from ()
        return held[coalition]


class LabelTreesValuation(_TreesSide, LabelNumbers):
    """The label party's side."""

    @property
    def told(self) -> tuple[str, ...]:
        return (self.members.anchor,)

    def _begin(self, keys: LabelKeys) -> Flow[None]:
        yield from ()

    def _scores(self, number: int, pieces: Sequence[Piece], keys: LabelKeys) -> Flow[CoalitionScores]:
        yield from ()
        return partial(self._at_hand, self.held(pieces))


class AnchorTreesValuation(_TreesSide, AnchorNumbers):
    """The anchor's side. stream: secret randomness, new in every attempt. supply, workers: as in training."""

    def __init__(
        self,
        members: Members,
        rows: int,
        records: Mapping[int, StepRecord],
        terms: TreesModel,
        stream: SecretStream,
        *,
        supply: Callable[[Evaluator], ZeroSupply] = FreshZeros,
        workers: Workers | None = None,
    ) -> None:
        super().__init__(members, rows, records, terms)
        self._stream, self._supply, self._workers = stream, supply, workers

    def _begin(self) -> Flow[SlotEvaluator]:
        return take_slots(self.members.label, self._stream, self._supply, self._workers)

    def _end(self) -> None:
        """Nothing was taken but the slots."""

    def _scores(self, announced: ValuedRows, pieces: Sequence[Piece], slots: SlotEvaluator) -> Flow[CoalitionScores]:
        yield from ()
        return partial(self._at_hand, self.held(pieces))
