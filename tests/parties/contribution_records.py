"""Records of contributions that agree with themselves, with a mean and a t of choice for each party."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from parties.settlement.contribution import ContributionRecord
from vfl.factors.hac import hac_mean

__all__ = ["record_of", "recorded"]


def recorded(
    periods: Sequence[str], phi: Mapping[str, float], *, errors: float = 0.01, seed: int = 0, horizon: int = 1
) -> dict[str, Any]:
    """A record over ``periods`` in which each party's phi has just this mean and this Newey-West standard error."""
    rng = np.random.default_rng(seed)
    series = {}
    for party, mean in phi.items():
        noise = rng.normal(size=len(periods))
        noise -= noise.mean()
        series[party] = mean + noise * errors / hac_mean(noise, horizon=horizon).standard_error
    record = record_of(periods, series, horizon=horizon)
    for party, mean in phi.items():
        record["parties"][party] |= {"phi": mean, "standard_error": errors}
    return record | {"v_everyone": 0.05 + sum(phi.values())}


def record_of(periods: Sequence[str], series: Mapping[str, np.ndarray], *, horizon: int = 1) -> dict[str, Any]:
    """The record of these contributions by period."""
    parties: dict[str, Any] = {}
    for party, values in series.items():
        mean = hac_mean(values, horizon=horizon)
        parties[party] = {
            "phi": mean.mean,
            "standard_error": None if np.isnan(mean.standard_error) else mean.standard_error,
            "phi_by_period": [None if np.isnan(value) else float(value) for value in values],
        }
    record = {
        "method": "masked",
        "n_periods": int(np.isfinite(next(iter(series.values()))).sum()),
        "v_everyone": 0.05 + sum(one["phi"] for one in parties.values()),
        "v_nobody": 0.05,
        "periods": list(periods),
        "parties": parties,
    }
    ContributionRecord.model_validate(record)
    return record
