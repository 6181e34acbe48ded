"""Whose reason ends a run when several parties fail at once.

When one party stops, its peers see only that it stopped, and their reports often arrive first. A failure that holds
someone else responsible is therefore held back for a moment, so that the other's own words can come before it.
"""

from __future__ import annotations

from parties.coordinator.events import CoordinatorFailed, PhaseFailed
from parties.names import COORDINATOR

__all__ = ["GRACE_SECONDS", "HeldFailures", "Failure", "reporter"]

GRACE_SECONDS = 1.5

Failure = PhaseFailed | CoordinatorFailed


def reporter(event: Failure) -> str:
    """Who reports the failure."""
    return event.party if isinstance(event, PhaseFailed) else COORDINATOR


class HeldFailures:
    """Failures that wait, by run. ``clock`` is monotonic seconds. The caller serialises access."""

    def __init__(self) -> None:
        self._held: dict[str, list[Failure]] = {}
        self._until: dict[str, float] = {}

    def hold(self, event: Failure, clock: float) -> None:
        """Keep a failure that names someone else; the run's first one starts the wait."""
        self._held.setdefault(event.run, []).append(event)
        self._until.setdefault(event.run, clock + GRACE_SECONDS)

    def forget(self, run: str) -> None:
        """The run has ended."""
        self._held.pop(run, None)
        self._until.pop(run, None)

    def due(self, clock: float) -> list[Failure]:
        """The failure to believe of each run whose wait is over: the last in a chain of blame, else the first.

        They stay due until :meth:`forget`: taking one in may fail, as when the disk is full.
        """
        over = [run for run, until in self._until.items() if until <= clock]
        chosen = []
        for run in over:
            held = self._held[run]
            named = {event.peer for event in held}
            chosen.append(next((event for event in held if reporter(event) in named), held[0]))
        return chosen
