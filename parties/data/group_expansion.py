"""A member's part of its group's expansion: the scores that it is fitted on, and its columns under the opened sums.

What is fitted saw the first ``fit_periods`` of every member and makes no columns for these; a score is of the member's
own cross-section of its period, as everywhere. Sources: those of :mod:`vfl.federated.expansion`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from parties.data.expansion import bent, filled_scores
from parties.errors import DataError
from vfl.expansion_terms import ExpansionShape
from vfl.federated.expansion import ExpansionPlan, whitened

__all__ = ["expansion_rows", "group_expanded"]

Floats = NDArray[np.float64]


def expansion_rows(
    raw: Floats, shape: ExpansionShape, columns: tuple[str, ...], *, winsorise: float, who: str
) -> Floats:
    """Scores (n, d) of a member's first periods, of raw as-of values (T, n, d) with NaN where missing.

    Raises :class:`DataError` where it has none.
    """
    filled, known = filled_scores(raw, shape, columns, winsorise=winsorise)
    rows: Floats = filled[: shape.fit_periods][known[: shape.fit_periods]]
    if not len(rows):
        raise DataError(
            f"{who} has no value in the first {shape.fit_periods} periods, on which its group fits the expansion: "
            "propose a larger expand.fit_periods, a later calendar, or the group without it"
        )
    return rows


def group_expanded(
    raw: Floats,
    shape: ExpansionShape,
    columns: tuple[str, ...],
    fitted: tuple[ExpansionPlan, Floats] | None,
    *,
    winsorise: float,
) -> Floats:
    """Made columns (T, n, m) as :func:`parties.data.expansion.expanded` has them, under a group's plan and its sums.

    None: before the sums are opened what is fitted makes no column.
    """
    filled, known = filled_scores(raw, shape, columns, winsorise=winsorise)
    made = [bent(filled, known)] if shape.hinges else []
    if shape.fits:
        found = np.full((*filled.shape[:2], shape.outputs), np.nan)
        if fitted is not None:
            plan, sums = fitted
            edges, means, directions = whitened(plan, sums)
            for period in range(shape.fit_periods, len(filled)):
                rows = filled[period, known[period]]
                found[period, known[period]] = (plan.features(rows, edges) - means) @ directions
        made.append(found)
    out: Floats = np.concatenate(made, axis=2)
    return out
