"""What the coordinator knows of a run: who does what, the phases so far, and what must always hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import TypeAdapter

from parties.agreement.document import Agreement
from parties.calls.run_parts import RunStatus
from parties.control.phases import PhaseName, Plan

__all__ = [
    "Hold",
    "Outcome",
    "PhaseSpan",
    "RunState",
    "state_from_json",
    "state_to_json",
    "validate_state",
    "RunFacts",
]

Outcome = Literal["running", "done", "skipped", "failed"]

_REACHED: Mapping[PhaseName, RunStatus] = {
    "approve": "approved",
    "align": "aligned",
    "encode": "encoded",
    "train": "trained",
    "evaluate": "evaluated",
    "value": "valued",
    "export": "exported",
    "settle": "settled",
}


@dataclass(frozen=True, slots=True)
class PhaseSpan:
    """One attempt at one phase, with the reports that came in."""

    phase: PhaseName
    attempt: int
    started_at: datetime
    ended_at: datetime | None = None
    outcome: Outcome = "running"
    reports: Mapping[str, Mapping[str, Any]] | None = None
    held: int = 0
    """Earlier attempts that ended by a pause: they are no failures."""
    first_at: datetime | None = None
    """When the first attempt began; ``None`` in the first."""

    @property
    def began_at(self) -> datetime:
        """When the phase began, in whichever attempt it is now."""
        return self.first_at or self.started_at

    @property
    def done(self) -> frozenset[str]:
        """Parties that finished their part."""
        return frozenset(self.reports or ())


@dataclass(frozen=True, slots=True)
class Hold:
    """One pause: who holds the run, why, and since when."""

    by: str
    why: str
    at: datetime


@dataclass(frozen=True, slots=True)
class RunState:
    """Everything the log says about one run."""

    run: str
    agreement: str
    by: str
    plan: Plan
    proposed_at: datetime
    spans: tuple[PhaseSpan, ...]
    signatures: tuple[tuple[str, str, datetime], ...] = ()
    absent: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    """Members that a federated training went on without: they have no further part in the run."""
    left: tuple[str, ...] = ()
    """Members that lost the training of their group's encoder, which the others come to the end of without them."""
    holds: tuple[Hold, ...] = ()
    """Pauses that have not been taken back."""
    taken_back: tuple[str, ...] = ()
    """Who took a pause back while others' stand: its word may come again."""
    halted: bool = False
    """The run is paused and has come to a stop: the attempt shown has not begun."""
    turns: int = 0
    """How often it was paused or resumed."""
    ended_at: datetime | None = None
    reason: str = ""
    culprit: str = ""

    @property
    def span(self) -> PhaseSpan:
        """The latest phase: the one under way, or the one the run ended in."""
        return self.spans[-1]

    @property
    def phase(self) -> PhaseName | None:
        """The phase under way; ``None`` once the run has ended."""
        return None if self.ended else self.span.phase

    def team(self, phase: PhaseName) -> tuple[str, ...]:
        """Who takes part in a phase, without those that were dropped."""
        return tuple(name for name in self.plan.participants(phase) if name not in self.dropped)

    def needed_from(self, party: str, phase: PhaseName) -> bool:
        """Whether the party takes part in this phase or a later one."""
        return party not in self.dropped and self.plan.needed_from(party, phase)

    def can_drop(self, party: str) -> bool:
        """Whether the rounds under way go on without this member: federated ones of enough others, or a group's."""
        if self.goes_on_without(party):
            return True
        plan, left = self.plan, len(self.plan.parties) - len({*self.dropped, party})
        return bool(plan.fewest) and self.phase == "train" and party != plan.label and left >= plan.fewest

    def goes_on_without(self, party: str) -> bool:
        """Whether the others come to the end of the phase without this one: those who train an encoder together.

        In the next attempt, which begins when they are done and it is back, they pass on what they have.
        """
        return self.phase == "encode" and not self.idle and party in self.plan.grouped and party not in self.span.done

    @property
    def ended(self) -> bool:
        return self.ended_at is not None

    @property
    def signed(self) -> tuple[str, ...]:
        return tuple(party for party, _, _ in self.signatures)

    @property
    def status(self) -> RunStatus:
        if self.reason:
            return "aborted"
        reached: RunStatus = "proposed"
        for span in self.spans:
            if span.outcome in ("done", "skipped"):
                reached = _REACHED[span.phase]
        waits = self.absent or self.halted or (self.holds and self.phase == "approve")
        return "paused" if waits else reached

    @property
    def stands(self) -> bool:
        """Whether contributions are known and were not given up, or everything is settled."""
        valued = any(span.phase == "value" and span.outcome == "done" for span in self.spans)
        return not self.reason and (valued or self.ended)

    @property
    def idle(self) -> bool:
        """Whether the phase shown waits for parties, or for who paused the run."""
        return bool(self.absent) or self.halted


def validate_state(state: RunState) -> None:
    """Assert everything that must hold of a run between two events."""
    names = [span.phase for span in state.spans]
    assert names == list(state.plan.phases[: len(names)]), "phases follow their order, each once"
    for span in state.spans[:-1]:
        assert span.outcome in ("done", "skipped")
    for span in state.spans:
        team = set(state.plan.participants(span.phase))
        assert span.attempt >= 1
        assert span.done <= team, "only those who take part report"
        assert (span.outcome == "skipped") == (not team)
        assert span.outcome != "done" or set(state.team(span.phase)) <= span.done
        assert (span.outcome == "running") == (span.ended_at is None)
    assert not state.left or (state.phase == "encode" and not {*state.left} & state.span.done)
    assert set(state.left) <= set(state.plan.grouped)
    assert state.ended == (state.span.outcome != "running")
    assert (state.status == "aborted") == bool(state.reason) == (state.span.outcome == "failed")
    assert state.ended == (state.status in ("settled", "aborted"))
    assert len(set(state.signed)) == len(state.signed)
    assert set(state.signed) <= set(state.plan.parties)
    assert set(state.absent) <= set(state.plan.parties)
    assert not state.dropped or state.plan.label not in state.dropped
    if len(names) > 1:
        assert set(state.signed) == set(state.plan.parties), "no phase begins unsigned"
        assert not (state.idle and state.span.done), "nobody reports on an attempt that has not begun"
        assert state.halted or not (state.absent and state.holds)
    assert not state.halted or (state.holds and state.phase not in (None, "approve")), "only a pause halts"
    assert not (state.ended and state.holds)
    assert len({hold.by for hold in state.holds}) == len(state.holds)
    assert not {hold.by for hold in state.holds} & set(state.taken_back)
    assert state.holds or not state.taken_back
    if state.phase is not None and not state.absent:
        assert not set(state.team(state.phase)) <= state.span.done, "a finished phase was left open"


_STATE: TypeAdapter[RunState] = TypeAdapter(RunState)


def state_to_json(state: RunState) -> dict[str, Any]:
    """The state as JSON-ready values."""
    body: dict[str, Any] = _STATE.dump_python(state, mode="json")
    return body


def state_from_json(body: Mapping[str, Any]) -> RunState:
    """The state a JSON form stands for."""
    return _STATE.validate_python(dict(body))


@dataclass(frozen=True, slots=True)
class RunFacts:
    """``pot`` is in minor units of ``unit``, which has ``scale`` decimal digits."""

    consortium: str
    purpose: str
    expires_at: datetime
    silence_seconds: int
    periods: tuple[str, ...]
    pot: int
    unit: str
    scale: int

    @classmethod
    def of(cls, agreement: Agreement) -> RunFacts:
        return cls(
            consortium=agreement.consortium,
            purpose=agreement.purpose,
            expires_at=agreement.expires_at,
            silence_seconds=agreement.silence_seconds,
            periods=agreement.periods,
            pot=agreement.reward.pot,
            unit=agreement.reward.unit,
            scale=agreement.reward.scale,
        )
