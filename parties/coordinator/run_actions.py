"""What a step of a run's state machine asks the coordinator to do: plain records, carried out by the engine."""

from __future__ import annotations

from dataclasses import dataclass

from parties.control.phases import PhaseName

__all__ = [
    "Abort",
    "Action",
    "AddUp",
    "AskApproval",
    "Finish",
    "Interrupt",
    "ReceiveBundle",
    "Release",
    "RunMatching",
    "Settle",
    "StartPhase",
    "Stop",
]


@dataclass(frozen=True, slots=True)
class AskApproval:
    """Show the agreement to the party and ask it to sign or reject."""

    party: str


@dataclass(frozen=True, slots=True)
class StartPhase:
    """Tell the party to begin its part."""

    party: str
    phase: PhaseName
    attempt: int


@dataclass(frozen=True, slots=True)
class RunMatching:
    """Play the coordinator's part of entity alignment."""

    attempt: int


@dataclass(frozen=True, slots=True)
class AddUp:
    """Open the sums of a federated run's members, or of groups, without those it went on without."""

    phase: PhaseName
    attempt: int
    without: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReceiveBundle:
    """Receive the factor bundle: the coordinator is a recipient."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Settle:
    """Post the run's rewards to the ledger."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Abort:
    """Tell everyone that the run has ended, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Stop the coordinator's own part in the attempt under way: another will follow."""

    reason: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Tell everyone that the run is paused: training stops behind its next record."""


@dataclass(frozen=True, slots=True)
class Release:
    """Tell everyone that the run is paused no longer."""

    by: str


@dataclass(frozen=True, slots=True)
class Finish:
    """Tell everyone that the run is settled."""


Action = (
    AskApproval
    | StartPhase
    | RunMatching
    | AddUp
    | ReceiveBundle
    | Settle
    | Interrupt
    | Stop
    | Release
    | Abort
    | Finish
)
