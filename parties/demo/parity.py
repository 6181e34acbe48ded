"""How far a demo's run is from the same run without encryption, and why where it is far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parties.errors import DataError
from parties.plurals import things
from vfl.models.ensemble.average import ranked

__all__ = [
    "FAR",
    "Parity",
    "Part",
    "ensemble_parity",
    "found_parity",
    "largest_difference",
    "told",
    "trees_parity",
    "wrong_sums",
]

Floats = NDArray[np.float64]

FAR = 1e-3
"""Score standard deviations from which a difference is named, with its cause."""


MOST_WRAPPED = 2
"""Opened numbers of a run of trees that may be anything: of one in 2**27 the shares wrap."""


@dataclass(frozen=True)
class Parity:
    """floats: largest difference to the plain run in floats, in standard deviations of the period's scores.

    rounded: to the run in plain numbers that rounds alike; None where there is none. cause: of a difference above FAR;
    "" where there is none. within: it is no more than the last places of what opens, so the run is as it should be.
    """

    floats: float
    rounded: float | None = None
    cause: str = ""
    within: bool = False


def largest_difference(scores: Floats, others: Floats) -> float:
    """Max |difference| of float64 (T, n) over each period's standard deviation of ``scores``; same rows scored."""
    if not np.array_equal(np.isnan(scores), np.isnan(others)):
        raise DataError("the run and its plaintext twin predicted different rows: their schedules differ")
    worst = 0.0
    for period in np.flatnonzero(np.isfinite(scores).any(axis=1)):
        inside = np.isfinite(scores[period])
        spread = float(scores[period, inside].std()) or 1.0
        worst = max(worst, float(np.abs(scores[period, inside] - others[period, inside]).max()) / spread)
    return worst


def found_parity(
    scores: Floats, plain: Floats, rounded: Floats | None, *, overflow: str = "", clipped: int = 0, unit: float = 0.0
) -> Parity:
    """Compare ``scores`` (T, n) with the twins.

    rounded: of the twin that rounds and clips alike. overflow: why that twin could not hold the numbers, "" where it
    could. clipped: values that the encoding clips and the plain run does not. unit: of an opened score's last bit.
    """
    far = largest_difference(scores, plain)
    near = None if rounded is None else largest_difference(scores, rounded)
    if far <= FAR and (near is None or near <= FAR) and not overflow:
        return Parity(far, near)
    if overflow:
        return Parity(far, near, f"overflow: {overflow}")
    if far <= _last_places(scores, unit) and (near is None or near <= _last_places(scores, unit)):
        return Parity(far, near, "the last bits that an opened score has", within=True)
    if near is not None and near <= FAR and clipped:
        return Parity(far, near, f"clipping: {clipped} values are beyond fixed_point.clip, raise it")
    if near is not None and near > FAR and far > 1.0:
        return Parity(far, near, "overflow: numbers left the ring, lower the rates of [model]")
    return Parity(far, near, "rounding that the rates of [model] amplify: lower them, or train in fewer steps")


def trees_parity(
    scores: Floats, plain: Floats, same: Floats, *, beyond: int, others: int, levels: int, unit: float
) -> Parity:
    """Compare ``scores`` (T, n) of sealed trees with their twin, which is in whole numbers itself.

    plain: of the twin that rounds sums to the nearest. same: of the twin into which the run's opened numbers are put.
    beyond: how many of these are further off the twin's exact sums than rounding is. others: splits, of ``levels``,
    that sums rounded to the nearest would not have taken. unit: of an opened score's last bit.
    """
    far, near, least = largest_difference(scores, plain), largest_difference(scores, same), _last_places(scores, unit)
    if wrong_sums(beyond):
        return Parity(far, near, wrong_sums(beyond))
    if near > max(FAR, least):
        return Parity(far, near, "scores that do not follow from the numbers that opened: a fault")
    if max(far, near) <= FAR:
        return Parity(far, near)
    if far <= least:
        return Parity(far, near, "the last bits that an opened score has", within=True)
    ties = f"the rounding of what opened, by which {others} of {levels} splits fell to another candidate of nearly "
    ties += f"equal gain; on the numbers that opened it is {near:.1e}"
    kept = f"the rounding of what opened, which leaf values carry on; on the numbers that opened it is {near:.1e}"
    return Parity(far, near, ties if others else kept, within=True)


def wrong_sums(beyond: int) -> str:
    """What is wrong where so many opened numbers are not the sums of the data; "" where shares may have wrapped."""
    return (
        f"{things(beyond, 'numbers')} that opened and are not the sums of these data: a fault"
        if beyond > MOST_WRAPPED
        else ""
    )


@dataclass(frozen=True)
class Part:
    """One model of an ensemble in the clear. plain: as :func:`trees_parity` or in floats. same: (T, n), as it rounds.

    unit: of an opened score's last bit. fault: what is wrong with what opened, "" where nothing is.
    """

    plain: Floats
    same: Floats
    unit: float
    fault: str = ""

    def ranks(self) -> tuple[Floats, Floats]:
        """The lowest and the highest ranks (T, n) that scores so near to ``same`` can have, as they are averaged."""
        low, high = np.full(self.same.shape, np.nan), np.full(self.same.shape, np.nan)
        slack = 2 * np.maximum(FAR * np.nanstd(self.same), 4 * self.unit)
        for period, row in enumerate(self.same):
            here = np.isfinite(row)
            found, count = np.sort(row[here]), int(here.sum())
            middle = (count + 1) / 2
            low[period, here] = (np.searchsorted(found, row[here] - slack) + 1 - middle) / max(count, 1)
            high[period, here] = (np.searchsorted(found, row[here] + slack, side="right") - middle) / max(count, 1)
        return low, high


def ensemble_parity(scores: Floats, parts: Sequence[Part], weights: Sequence[float]) -> Parity:
    """Compare ``scores`` (T, n) of an ensemble, whose ranks turn where two rows score alike, with its parts' twins."""
    kept, each = np.isfinite(scores), [(ranked(part.plain), *part.ranks()) for part in parts]
    plain, low, high = (
        np.where(kept, np.sum([weight * one for weight, one in zip(weights, ranks, strict=True)], axis=0), np.nan)
        for ranks in zip(*each, strict=True)
    )
    far, near = largest_difference(scores, plain), largest_difference(scores, np.clip(scores, low, high))
    fault = next((part.fault for part in parts if part.fault), "")
    if fault or near > FAR:
        return Parity(far, near, fault or "ranks that do not follow from the parts' scores: a fault")
    ties = "rows that score alike but for the last bits, or for splits that rounding decided, and change ranks"
    return Parity(far, near, ties if far > FAR else "", within=far > FAR)


def _last_places(scores: Floats, unit: float) -> float:
    """Four units in the last place of an opened score, in deviations: its truncation, and those before it."""
    spreads = [float(row[np.isfinite(row)].std()) for row in scores if np.isfinite(row).any()]
    return 4 * unit / min((spread for spread in spreads if spread), default=1.0)


def told(parity: float, cause: str) -> str:
    """The sentence for people."""
    said = f"Largest difference to the same run without encryption: {parity:.1e} score standard deviations"
    return f"{said}; above {FAR:g}, because of {cause}" if cause else said
