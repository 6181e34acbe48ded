"""What the coordinator tells a party: one frozen model per command, and the table that both ends use.

The coordinator makes a :class:`Command`; the node gets its kind, run and bytes, and :func:`parse_command` gives the
same model back or refuses. A node trusts its coordinator with no more than this: texts and lists are bounded, unknown
keys are refused, and each fault is one :class:`PeerError` sentence that names the field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

from pydantic import Field, JsonValue, StringConstraints, TypeAdapter, ValidationError

from parties.agreement.overlap import OverlapState
from parties.audit.heads import Head
from parties.control.parsing import first_fault
from parties.control.phases import Attempt, PhaseName
from parties.errors import PeerError
from parties.fields import Count, RunId, Sha256, Signature, StrictTerms, Text
from parties.members.roster import Member
from parties.names import COORDINATOR, PartyName
from parties.settlement.requests import Asked

__all__ = [
    "COMMANDS",
    "AbortBody",
    "ApproveBody",
    "Command",
    "CommandBody",
    "CommandKind",
    "FinishedBody",
    "OverlapsBody",
    "PauseBody",
    "ResumeBody",
    "RosterBody",
    "SettleBody",
    "StartBody",
    "WelcomeBody",
    "parse_command",
]

MOST_HEADS = 4096
_LONGEST_SILENCE = 7 * 24 * 3600

Heads = Annotated[tuple[Head, ...], Field(max_length=MOST_HEADS)]
ShortName = Annotated[str, StringConstraints(max_length=32)]


class WelcomeBody(StrictTerms):
    """The line is attached: who answers, and how often to say that we are there."""

    version: Annotated[str, StringConstraints(max_length=64)]
    heartbeat_seconds: Annotated[float, Field(gt=0, le=3600)]


class RosterBody(StrictTerms):
    """Everyone who belongs to the consortium now, but the admin and the desk."""

    members: Annotated[dict[PartyName, Member], Field(max_length=1000)]


class ApproveBody(StrictTerms):
    """An agreement to check and sign.

    It is passed on as the document that came: whoever cannot read it rejects it, and so the others hear why.
    """

    agreement: dict[str, JsonValue]

    @property
    def silence_seconds(self) -> float | None:
        """How long the coordinator may be silent as the document says, where it says so."""
        said = self.agreement.get("silence_seconds")
        number = isinstance(said, int | float) and not isinstance(said, bool)
        return float(cast(float, said)) if number and 0 < cast(float, said) <= _LONGEST_SILENCE else None


class StartBody(StrictTerms):
    """Begin our part of a phase. The session is called ``PHASE-ATTEMPT``.

    ``signatures``: everyone's under the agreement. ``heads``: of audit logs, those that the parties reported in this
    run and the coordinator's own.
    """

    phase: PhaseName
    attempt: Attempt
    signatures: Annotated[dict[PartyName, Signature], Field(max_length=64)]
    heads: Heads = ()


class PauseBody(StrictTerms):
    """The run is paused: training stops behind its next record, other phases end. ``number`` counts such turns."""

    phase: PhaseName
    attempt: Attempt
    number: Count
    by: ShortName
    why: Text = ""


class ResumeBody(StrictTerms):
    """The run is paused no longer; a start follows when something is to begin."""

    phase: PhaseName
    attempt: Attempt
    number: Count
    by: ShortName


class AbortBody(StrictTerms):
    """The run has ended before its settlement. ``culprit``: a party's name or "".

    ``silent``: our own line gave up a coordinator that does not answer, which may go on with the run later.
    """

    reason: Text
    culprit: ShortName = ""
    silent: bool = False


class FinishedBody(StrictTerms):
    """The run is settled. ``settlement_sha256`` is of the canonical JSON of what was posted."""

    settlement_sha256: Sha256
    heads: Heads = ()


class SettleBody(StrictTerms):
    """Every settlement that waits for this party now; nothing else does any more."""

    requests: Annotated[tuple[Asked, ...], Field(max_length=1000)] = ()


class OverlapsBody(StrictTerms):
    """Every overlap proposal that concerns this party, as it stands now."""

    overlaps: Annotated[tuple[OverlapState, ...], Field(max_length=50)] = ()


CommandBody = (
    WelcomeBody
    | RosterBody
    | ApproveBody
    | StartBody
    | PauseBody
    | ResumeBody
    | AbortBody
    | FinishedBody
    | SettleBody
    | OverlapsBody
)
CommandKind = Literal[
    "welcome", "roster", "approve", "start", "pause", "resume", "abort", "finished", "settle", "overlaps"
]

COMMANDS: Mapping[CommandKind, type[CommandBody]] = {
    "welcome": WelcomeBody,
    "roster": RosterBody,
    "approve": ApproveBody,
    "start": StartBody,
    "pause": PauseBody,
    "resume": ResumeBody,
    "abort": AbortBody,
    "finished": FinishedBody,
    "settle": SettleBody,
    "overlaps": OverlapsBody,
}
_KINDS: Mapping[type[CommandBody], CommandKind] = {shape: kind for kind, shape in COMMANDS.items()}
_OF_NO_RUN = (WelcomeBody, RosterBody, SettleBody, OverlapsBody)
_RUN_ID: TypeAdapter[str] = TypeAdapter(RunId)


@dataclass(frozen=True, slots=True)
class Command:
    """One command to a party. ``run_id``: the run that it is about; "" for a welcome, the roster and settlements."""

    body: CommandBody
    run_id: str = ""

    @property
    def kind(self) -> CommandKind:
        return _KINDS[type(self.body)]

    @property
    def mark(self) -> tuple[Any, ...]:
        """What tells this command about its run from others: one that comes again has the same."""
        match self.body:
            case StartBody(phase=phase, attempt=attempt):
                return self.kind, phase, attempt
            case PauseBody(phase=phase, number=number) | ResumeBody(phase=phase, number=number):
                return self.kind, phase, number
            case _:
                return (self.kind,)

    def encoded(self) -> bytes:
        """The body's bytes."""
        return self.body.model_dump_json(exclude_defaults=True).encode()


def parse_command(kind: str, run_id: str, body: bytes) -> Command:
    """What the coordinator sent. Raises :class:`PeerError` with the first fault."""
    shape = COMMANDS.get(cast(CommandKind, kind))
    told = f"the coordinator's {kind[:20]!r} command"
    if shape is None:
        raise PeerError(f"{told} is of a kind that does not exist: use one version on both sides", COORDINATOR)
    try:
        command = Command(shape.model_validate_json(body), run_id)
        if not isinstance(command.body, _OF_NO_RUN):
            _RUN_ID.validate_python(run_id)
    except ValidationError as error:
        raise PeerError(
            f"{told} is not understood ({first_fault(error)}): use one version on both sides", COORDINATOR
        ) from None
    return command
