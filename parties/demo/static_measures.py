"""Measures of a demo's run on static data and of each party alone, on the test rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parties.agreement.terms import StaticTerms
from vfl.factors.panel import LabelPanel
from vfl.factors.static_quality import HEADLINE, static_quality

__all__ = ["static_measures"]

F64 = NDArray[np.float64]


def static_measures(
    terms: StaticTerms, label: LabelPanel, scores: Mapping[str, F64], single: Sequence[str]
) -> dict[str, Any]:
    """Of each model, "joint" among them, from standardised scores (n,) of the test rows.

    single: of these feature parties alone the measure that stands for the others.
    """
    assert label.scale is not None
    centre, spread = label.scale
    shown = {name: centre + spread * values for name, values in scores.items()}
    truth = centre + spread * label.label[1]
    found = static_quality(np.rint(truth) if terms.label == "binary" else truth, shown, terms.label, centre)
    measures = {
        name: {what: value if math.isfinite(value) else None for what, value in by.items()}
        for name, by in found.measures.items()
    }
    return {
        "single": {name: measures[name][HEADLINE[terms.label]] for name in single},
        "measures": measures,
        "test_rows": found.rows,
        "better_than": {},
    }
