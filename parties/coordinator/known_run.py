"""A run as the engine knows it: agreement, state, progress and what was logged."""

from __future__ import annotations

from dataclasses import dataclass

from parties.agreement.document import Agreement
from parties.coordinator.progress import RunProgress
from parties.coordinator.run import RunFacts, RunState

__all__ = ["KnownRun"]


@dataclass(slots=True)
class KnownRun:
    """A run as the coordinator holds it in memory."""

    state: RunState
    facts: RunFacts
    progress: RunProgress
    unsaved: bool = False

    @property
    def agreement(self) -> Agreement:
        return Agreement.model_validate_json(self.state.agreement)
