"""What is left of a factor beside what is known: sectors, size, beta, styles, a library of factors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vfl.factors.evaluate import MINIMUM_ROWS, ic_by_period
from vfl.factors.findings import Findings, Number, Series, hac_numbers
from vfl.factors.hac import hac_mean
from vfl.factors.market import MarketData

__all__ = ["library_findings", "neutral_findings", "neutralised", "r_squared"]

Floats = NDArray[np.float64]


def neutralised(scores: Floats, exposures: Sequence[Floats], sectors: NDArray[np.int64] | None = None) -> Floats:
    """Each period's scores less their least-squares fit on a constant, the exposures and sector dummies; (T, n).

    exposures: float64 (T, n) each. sectors: int64 (T, n), -1 unknown. An instrument lacking any of them has no
    neutralised score; nor has a period with fewer than :data:`MINIMUM_ROWS` more instruments than columns.
    """
    return _fit(scores, exposures, sectors)[0]


def r_squared(scores: Floats, exposures: Sequence[Floats]) -> Floats:
    """Share of each period's score variance explained by the exposures, adjusted for their number; (T,)."""
    return _fit(scores, exposures, None)[1]


def _fit(scores: Floats, exposures: Sequence[Floats], sectors: NDArray[np.int64] | None) -> tuple[Floats, Floats]:
    left = np.full(scores.shape, np.nan)
    explained = np.full(len(scores), np.nan)
    for t, row in enumerate(scores):
        present = ~np.isnan(row)
        for exposure in exposures:
            present &= ~np.isnan(exposure[t])
        if sectors is not None:
            present &= sectors[t] >= 0
        columns = [np.ones(int(present.sum()))]
        columns += [_standard(exposure[t, present]) for exposure in exposures]
        if sectors is not None:
            found = np.unique(sectors[t, present])
            columns += [(sectors[t, present] == sector).astype(np.float64) for sector in found[1:]]
        if len(columns[0]) < len(columns) + MINIMUM_ROWS:
            continue
        design = np.column_stack(columns)
        y = row[present]
        solution, _, rank, _ = np.linalg.lstsq(design, y, rcond=None)
        rest = y - design @ solution
        spread = float(((y - y.mean()) ** 2).sum())
        # what remains of a score that the exposures spell out is rounding, and rounding has no rank
        exact = float(rest @ rest) <= 1e-20 * max(spread, float(np.finfo(np.float64).tiny))
        left[t, present] = 0.0 if exact else rest
        if spread > 0:
            explained[t] = 1 - (float(rest @ rest) / (len(y) - rank)) / (spread / (len(y) - 1))
    return left, explained


def _standard(values: Floats) -> Floats:
    """Zero mean and unit variance, so that least squares is well scaled; constant stays zero."""
    if not len(values):
        return values
    centred: Floats = values - values.mean()
    spread = float(centred.std())
    return centred / spread if spread > 0 else centred


def neutral_findings(scores: Floats, labels: Floats, market: MarketData, *, horizon: int) -> Findings:
    """Rank IC after neutralising sector, size, beta, styles, and all that were given at once."""
    size = None
    if market.caps is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            size = np.log(market.caps)
        size = np.where(np.isfinite(size), size, np.nan)
    single: dict[str, list[Floats]] = {}
    left_out: dict[str, str] = {}
    for name, values, missing in (
        ("size", size, "no market capitalisations"),
        ("beta", market.betas, "no betas"),
    ):
        if values is None:
            left_out[f"neutral_{name}"] = f"{missing} were given"
        else:
            single[name] = [values]
    if market.styles:
        single["style"] = list(market.styles.values())
    else:
        left_out["neutral_style"] = "no style exposures were given"
    sectors = market.sectors
    if sectors is None:
        left_out["neutral_sector"] = "no sectors were given"
    ways: dict[str, tuple[list[Floats], NDArray[np.int64] | None]] = {}
    if sectors is not None:
        ways["sector"] = ([], sectors)
    ways |= {name: (columns, None) for name, columns in single.items()}
    if len(ways) > 1:
        ways["all"] = ([column for columns in single.values() for column in columns], sectors)
    numbers: dict[str, Number] = {}
    names: list[str] = []
    bands = []
    for name, (columns, groups) in ways.items():
        ics = ic_by_period(neutralised(scores, columns, groups), labels)
        mean = hac_mean(ics, horizon=horizon)
        definition = f"rank IC of the score's least-squares residual on {_named(name, market)} per period"
        numbers |= hac_numbers(f"rank_ic_{name}", mean, definition, "correlation")
        names.append(name)
        bands.append(mean)
    if not ways:
        return Findings(left_out=left_out)
    drawn = Series(
        tuple(names),
        tuple(b.mean for b in bands),
        "rank IC after neutralising, with 95 % Newey-West intervals",
        "correlation",
        tuple(b.low for b in bands),
        tuple(b.high for b in bands),
    )
    return Findings({"neutralised": numbers}, {"neutralised": drawn}, left_out)


def _named(way: str, market: MarketData) -> str:
    styles = ", ".join(market.styles)
    if way == "all":
        parts = [
            text
            for text, given in (
                ("sector dummies", market.sectors is not None),
                ("log size", market.caps is not None),
                ("beta", market.betas is not None),
                (f"styles ({styles})", bool(market.styles)),
            )
            if given
        ]
        return " and ".join(parts)
    return {"sector": "sector dummies", "size": "log size", "beta": "beta"}.get(way, f"styles ({styles})")


def library_findings(scores: Floats, labels: Floats, market: MarketData, *, horizon: int) -> Findings:
    """Mean rank correlation with each known factor, R2 on all of them, and the rank IC that they leave."""
    if not market.library:
        return Findings(left_out={"library": "no known factors were given"})
    factors = dict(market.library)
    numbers: dict[str, Number] = {}
    bands = []
    for name, values in factors.items():
        mean = hac_mean(ic_by_period(scores, values), horizon=1)
        numbers[f"correlation_{name}"] = Number(
            mean.mean, f"mean Spearman correlation of the score with {name} per period", "correlation", mean.n_periods
        )
        bands.append(mean)
    explained = hac_mean(r_squared(scores, [*factors.values()]), horizon=1)
    numbers["r_squared"] = Number(
        explained.mean,
        f"mean over periods of adjusted R2 of the score on {len(factors)} known factors at once",
        "share of variance",
        explained.n_periods,
    )
    left = hac_mean(ic_by_period(neutralised(scores, [*factors.values()]), labels), horizon=horizon)
    numbers |= hac_numbers("rank_ic_left", left, "rank IC of the residual on all known factors", "correlation")
    drawn = Series(
        tuple(factors),
        tuple(b.mean for b in bands),
        "mean Spearman correlation of the score with known factors, with 95 % Newey-West intervals",
        "correlation",
        tuple(b.low for b in bands),
        tuple(b.high for b in bands),
    )
    return Findings({"library": numbers}, {"library": drawn})
