"""A run as the coordinator knows it: its agreement, parsed once, its state, and how far its parties are."""

from __future__ import annotations

from dataclasses import dataclass, replace

from parties.agreement.document import Agreement
from parties.calls.views import ProgressView
from parties.control.phases import PhaseName
from parties.coordinator.progress import RunProgress
from parties.coordinator.run import RunFacts, RunState
from vfl.terms import FederatedModel

__all__ = ["KnownRun"]


@dataclass(frozen=True, slots=True)
class KnownRun:
    """A snapshot of a run: the engine makes another with each event. ``progress`` goes on, and is thread-safe."""

    state: RunState
    agreement: Agreement
    facts: RunFacts
    progress: RunProgress

    @classmethod
    def proposed(cls, state: RunState) -> KnownRun:
        """A run that was not known before."""
        agreement = Agreement.model_validate_json(state.agreement)
        facts = RunFacts.of(agreement)
        return cls(state, agreement, facts, RunProgress(state.plan.label, facts.periods))

    @property
    def noised(self) -> bool:
        """Whether all its rounds cost privacy, so that each is counted before it opens."""
        model, groups = self.agreement.model, self.agreement.groups
        trained = [*groups, *([model] if isinstance(model, FederatedModel) else [])]
        return bool(trained) and all(one.noise > 0 for one in trained)

    def parts(self, phase: PhaseName) -> tuple[ProgressView, ...]:
        """How far those are who still have part in the phase."""
        return tuple(view for view in self.progress.of_phase(phase) if view.party not in self.state.dropped)

    def at(self, state: RunState) -> KnownRun:
        """The same run in another state."""
        return replace(self, state=state)
