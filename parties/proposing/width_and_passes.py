"""Which widths and passes the opening budget of a proposed split network allows: one line of a table for each width."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from parties.agreement.bit_plan import bit_plan
from parties.agreement.document import Agreement
from vfl.terms import SplitModel

__all__ = ["WidthRoom", "width_and_passes"]

_MOST_PASSES = 50


@dataclass(frozen=True)
class WidthRoom:
    """What one embedding width leaves room for.

    limit: openings of a row that ``largest_fraction`` allows at this width. passes: over each row that is predicted,
    beside its prediction and what is reserved for contributions, attribution and a search. bits: that these tell of a
    row, most. agreed: whether this is the width of the agreement.
    """

    width: int
    limit: int
    passes: int
    bits: float
    agreed: bool


def width_and_passes(agreement: Agreement) -> tuple[WidthRoom, ...]:
    """From width 1 to the widest with room for a pass; none for a model that is no split network.

    Every line can be proposed: its width, its passes or fewer as ``model.epochs``, its limit as ``limit_per_row``.
    """
    return tuple(_rooms(agreement)) if isinstance(agreement.model, SplitModel) else ()


def _rooms(agreement: Agreement) -> Iterator[WidthRoom]:
    model, plan = agreement.model, bit_plan(agreement)
    assert isinstance(model, SplitModel)
    beside = agreement.needed_openings - model.epochs
    trials = agreement.split_search.source_trials if agreement.split_search is not None else 0
    spent = agreement.row_limit - agreement.openings_left
    width = 1
    while True:
        limit = math.floor(agreement.openings.largest_fraction * agreement.counted_features / width)
        left = limit - spent - beside - trials
        passes = min(left // (1 + trials), _MOST_PASSES)
        if passes < 1:
            return
        room = limit - spent - trials * (1 + passes) - plan.warm
        early = max(1, min(model.warmup_epochs, room))
        told = replace(plan, width=width, passes=passes, early=early).bits
        yield WidthRoom(width, limit, passes, told, width == model.embedding_width)
        width += 1
