"""What each horizon's own output is worth against its own label, where an agreement names several."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vfl.factors.evaluate import ic_by_period
from vfl.factors.findings import Findings, Number, hac_numbers
from vfl.factors.hac import hac_mean

__all__ = ["horizon_findings"]

Floats = NDArray[np.float64]


def horizon_findings(
    scores: Floats, exported: Floats, labels: Sequence[Floats], periods: Sequence[int], names: Sequence[str]
) -> Findings:
    """Mean rank IC of each output f0, f1, ... and of the exported score with that horizon's label.

    scores: float64 (T, n, H). exported, labels: float64 (T, n), NaN where there is none. periods: until each label is
    known, which is the lag of its Newey-West t. Raises ValueError where the counts differ.
    """
    if not scores.shape[-1] == len(labels) == len(periods) == len(names):
        raise ValueError(f"{scores.shape[-1]} outputs, {len(labels)} labels, {len(periods)} horizons: one of each")
    numbers: dict[str, Number] = {}
    for place, (label, length, name) in enumerate(zip(labels, periods, names, strict=True)):
        horizon = max(length, 1)
        for key, values in ((f"f{place}", scores[:, :, place]), (f"score_on_f{place}", exported)):
            mean = hac_mean(ic_by_period(values, label), horizon=horizon)
            told = f"mean rank IC of {key.partition('_on_')[0]} with the label {name!r}, {length} periods ahead"
            numbers |= hac_numbers(f"{key}_rank_ic", mean, told, "correlation")
    return Findings({"horizons": numbers})
