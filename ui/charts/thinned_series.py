"""Long series made short enough to draw: a chart of years weighs no more than one of weeks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from parties.client import SeriesPoint

__all__ = ["MOST_POINTS", "bucketed", "running_sum"]

MOST_POINTS = 400

Pick = Callable[[SeriesPoint], float | None]


def bucketed(series: Sequence[SeriesPoint], pick: Pick, most: int = MOST_POINTS) -> list[tuple[str, float]]:
    """(period, value) of the known values; above ``most`` the mean of each bucket, named by its last period."""
    size = -(-max(len(series), 1) // most)
    found = []
    for start in range(0, len(series), size):
        known = [(point.period, value) for point in series[start : start + size] if (value := pick(point)) is not None]
        if known:
            found.append((known[-1][0], sum(value for _, value in known) / len(known)))
    return found


def running_sum(series: Sequence[SeriesPoint], pick: Pick, most: int = MOST_POINTS) -> list[tuple[str, float]]:
    """(period, sum of all known values up to it); above ``most`` only the last of each bucket, with its exact sum."""
    size = -(-max(len(series), 1) // most)
    found, total, last = [], 0.0, len(series) - 1
    for i, point in enumerate(series):
        value = pick(point)
        if value is not None:
            total += value
        if (size == 1 and value is not None) or (size > 1 and (i % size == size - 1 or i == last)):
            found.append((point.period, total))
    return found
