"""What a report says of contributions: what each rests on, and which rows nobody could see in time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from vfl.factors.findings import Findings, Number, Warn, hac_numbers
from vfl.factors.hac import hac_mean, one_sided_p
from vfl.factors.joining import UPLIFT_LEVEL

__all__ = ["contribution_findings"]

_T = 2.5
"""Difference of two means over its standard error above which rows look backdated."""


def contribution_findings(
    phi: Mapping[str, NDArray[np.float64]],
    committed: Mapping[str, Sequence[bool]],
    *,
    horizon: int,
    level: float = UPLIFT_LEVEL,
) -> Findings:
    """What joining was worth, each party's phi (T,) with its interval, and both with and without rows in time.

    Warns ``no uplift`` unless the sum, v(all) - v(nobody), is above zero at the one-sided ``level``; ``uncommitted`` of
    a party that had committed to no period's rows; and ``backdated`` of one whose contribution in the periods without
    is above that in the periods with by 2.5 standard errors or more.
    """
    numbers: dict[str, Number] = {}
    warnings: list[Warn] = []
    for party, series in phi.items():
        counted = np.isfinite(series)
        flags = np.array(committed.get(party, ()), dtype=bool)
        flags = flags if len(flags) == len(series) else np.zeros(len(series), dtype=bool)
        whole = hac_mean(series, horizon=horizon)
        numbers |= hac_numbers(f"phi_{party}", whole, f"mean contribution of {party} over the periods", "rank IC")
        share = float(flags[counted].mean()) if counted.any() else 0.0
        numbers[f"committed_{party}"] = Number(
            share, f"share of the periods whose rows {party} had committed in time", "share", int(counted.sum())
        )
        if not share:
            warnings.append(
                Warn(
                    "uncommitted",
                    f"{party} had committed to no period's rows before anybody could know what followed: nothing shows "
                    "that they were not made up afterwards",
                )
            )
        elif share < 1:
            early, late = (hac_mean(series[counted & one], horizon=horizon) for one in (~flags, flags))
            gap = early.mean - late.mean
            error = float(np.hypot(early.standard_error, late.standard_error))
            t = gap / error if error > 0 else np.nan
            if t > _T:
                warnings.append(
                    Warn(
                        "backdated",
                        f"{party} contributed {early.mean:+.4f} in the {early.n_periods} periods whose rows came after "
                        f"the fact and {late.mean:+.4f} in the {late.n_periods} committed in time (t {t:.1f}): look at "
                        "when its rows were made",
                    )
                )
    gain, warned = _uplift(phi, horizon, level)
    return Findings({"contribution": gain | numbers}, warnings=(*warned, *warnings))


def _uplift(
    phi: Mapping[str, NDArray[np.float64]], horizon: int, level: float
) -> tuple[dict[str, Number], tuple[Warn, ...]]:
    """The sum of all contributions: the uplift that the pay rule tests, with its one-sided p."""
    if not phi:
        return {}, ()
    whole = hac_mean(np.sum([*phi.values()], axis=0), horizon=horizon)
    p = one_sided_p(whole)
    numbers = hac_numbers("uplift", whole, "mean of v(all) - v(nobody), which the contributions share out", "IC")
    numbers["uplift_p"] = Number(p, "one-sided p of it against none or less", "probability", whole.n_periods)
    if p < level:
        return numbers, ()
    if not whole.n_periods:
        return numbers, (Warn("no uplift", "no uplift can be computed, since no period was valued: nobody is paid"),)
    told = f"Newey-West t {whole.t:.1f}, one-sided p {p:.2f} of {level:g}" if np.isfinite(p) else whole.told
    said = (
        f"the coalition of all is worth {-whole.mean:.4f} less than the label party alone"
        if whole.mean < 0
        else f"joining is worth {whole.mean:+.4f}, which is not distinguishable from nothing"
    )
    return numbers, (Warn("no uplift", f"{said} over {whole.n_periods} periods ({told}): nobody is paid for it"),)
