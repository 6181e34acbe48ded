"""Valuation of coalitions of trees that begin at a line: both parts of a coalition's score are added up on shares.

The line's part is computed anew, as a sealed network's is, from the weights that every side kept when the trees of the
fit began; the trees' part both holders have had shares of since training. What is computed and what opens:
:mod:`vfl.models.sealed.coalitions`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, LocalProtocolError
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.models.sealed.coalitions import Piece, ValuedRows
from vfl.models.sealed.label import LabelKeys
from vfl.models.sealed.numbers import CoalitionScores
from vfl.models.sealed.records import Scored, StepRecord, scored_in
from vfl.models.sealed.scales import EMBEDDING_BITS
from vfl.models.sealed.valuation import AnchorValuation, LabelValuation
from vfl.models.trees.scales import RESIDUAL_BITS
from vfl.models.trees.valuation import AnchorTreesValuation, LabelTreesValuation
from vfl.protocols.slots import SlotEvaluator

__all__ = ["AnchorStackedValuation", "LabelStackedValuation", "line_of"]

U64 = NDArray[np.uint64]

_UP = 1 << (2 * EMBEDDING_BITS - RESIDUAL_BITS)
"""What brings a trees' score to the fractional bits of a line's."""


def line_of(predicted: Mapping[int, StepRecord], kept: Mapping[int, StepRecord]) -> dict[int, Scored]:
    """Of each prediction of the trees its rows, and this side's shares of the line's weights that its fit began at.

    predicted, kept: records of the trees' predictions and of the scores that the line kept, by step. A predicted row is
    first scored by the line for the fit that predicts it. Raises LocalProtocolError where a prediction has no line.
    """
    lines = [scored for _, scored in sorted(scored_in(list(kept.values())).items())]
    found = {}
    for step, record in predicted.items():
        first = next((line for line in lines if len(record.rows) and record.rows[0] in line.rows), None)
        if first is None:
            raise LocalProtocolError(f"no line was kept for the prediction of step {step}")
        found[step] = Scored(record.rows, first.weights)
    return found


def _both(
    line: CoalitionScores, trees: Mapping[tuple[str, ...], U64], name: str, coalition: tuple[str, ...]
) -> Flow[U64]:
    made = yield from line(name, coalition)
    return PRIME_RING.add(made, PRIME_RING.scale(trees[coalition], _UP))


class LabelStackedValuation(LabelValuation):
    """The label party's side: of the line, with ``trees``, its side of those."""

    def __init__(self, *line: Any, trees: LabelTreesValuation, **named: Any) -> None:
        super().__init__(*line, **named)
        self._trees = trees

    def _scores(self, number: int, pieces: Sequence[Piece], keys: LabelKeys) -> Flow[CoalitionScores]:
        line = yield from super()._scores(number, pieces, keys)
        return partial(_both, line, self._trees.held(pieces))


class AnchorStackedValuation(AnchorValuation):
    """The anchor's side, likewise."""

    def __init__(self, *line: Any, trees: AnchorTreesValuation, **named: Any) -> None:
        super().__init__(*line, **named)
        self._trees = trees

    def _scores(self, announced: ValuedRows, pieces: Sequence[Piece], slots: SlotEvaluator) -> Flow[CoalitionScores]:
        line = yield from super()._scores(announced, pieces, slots)
        return partial(_both, line, self._trees.held(pieces))
