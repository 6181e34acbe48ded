"""What can happen to a run, as plain records with a JSON form. The event log holds nothing else.

Every event names its run and carries the instant it was taken in. Events of a phase carry the phase's
attempt, so that a late report of an abandoned attempt is recognised. Texts (``why``, ``reason``)
may come from a peer: whoever shows them treats them as untrusted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from parties.control.phases import Attempt, PhaseName
from parties.errors import StorageError
from parties.fields import RunId, Text
from parties.names import PartyName

__all__ = [
    "Cancelled",
    "Continued",
    "CoordinatorDone",
    "CoordinatorFailed",
    "Event",
    "Expired",
    "Interrupted",
    "PartyBack",
    "PartyLost",
    "PartyRestarted",
    "Paused",
    "PhaseDone",
    "PhaseFailed",
    "PhaseHeld",
    "Proposed",
    "Rejected",
    "Resumed",
    "Signed",
    "event_from_json",
    "described",
    "event_to_json",
]


_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True)
class Proposed:
    """An admin put an agreement (its canonical JSON) before the parties."""

    __pydantic_config__ = _STRICT
    run: RunId
    at: datetime
    agreement: str
    by: str = "admin"
    kind: Literal["proposed"] = "proposed"


@dataclass(frozen=True, slots=True)
class Signed:
    """A party's own check passed and its key signed the agreement; the signature was verified on receipt."""

    __pydantic_config__ = _STRICT
    run: RunId
    at: datetime
    party: PartyName
    signature: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{128}$")]
    kind: Literal["signed"] = "signed"


@dataclass(frozen=True, slots=True)
class Rejected:
    """A party refuses the agreement."""

    __pydantic_config__ = _STRICT
    run: RunId
    at: datetime
    party: PartyName
    why: Text
    kind: Literal["rejected"] = "rejected"


@dataclass(frozen=True, slots=True)
class PhaseDone:
    """A party finished its part of a phase. ``report`` is the validated phase report."""

    __pydantic_config__ = _STRICT
    run: RunId
    at: datetime
    party: PartyName
    phase: PhaseName
    attempt: Attempt
    report: Mapping[str, Any] = field(default_factory=dict)
    kind: Literal["phase_done"] = "phase_done"


@dataclass(frozen=True, slots=True)
class PhaseFailed:
    """A party could not do its part of a phase, and says why; ``peer`` is whom it holds responsible, "" or NOBODY.

    ``lost``: nothing is wrong but that it lost touch with ``peer``, so that the phase can be tried again.
    """

    __pydantic_config__ = _STRICT
    run: RunId
    at: datetime
    party: PartyName
    phase: PhaseName
    attempt: Attempt
    reason: Text
    peer: Annotated[str, StringConstraints(max_length=32)] = ""
    lost: bool = False
    kind: Literal["phase_failed"] = "phase_failed"


@dataclass(frozen=True, slots=True)
class PhaseHeld:
    """A party has stopped its part of the phase because the run is paused: what it needs to go on is on its disk."""

    __pydantic_config__ = _STRICT
    run: RunId
    at: datetime
    party: PartyName
    phase: PhaseName
    attempt: Attempt
    kind: Literal["phase_held"] = "phase_held"


@dataclass(frozen=True, slots=True)
class PartyLost:
    """A party has been silent for ``silent_for`` seconds, longer than agreed."""

    __pydantic_config__ = _STRICT
    run: RunId
    at: datetime
    party: PartyName
    silent_for: float
    kind: Literal["party_lost"] = "party_lost"


@dataclass(frozen=True, slots=True)
class PartyBack:
    """A party that was lost is heard of again."""

    __pydantic_config__ = _STRICT
    run: RunId
    at: datetime
    party: PartyName
    kind: Literal["party_back"] = "party_back"


@dataclass(frozen=True, slots=True)
class PartyRestarted:
    """A party's node has begun anew: what it was doing has to be taken up from its records."""

    __pydantic_config__ = _STRICT
    run: RunId
    at: datetime
    party: PartyName
    kind: Literal["party_restarted"] = "party_restarted"


@dataclass(frozen=True, slots=True)
class CoordinatorDone:
    """The coordinator finished its own part: matching, receiving the factor, settlement."""

    __pydantic_config__ = _STRICT
    run: RunId
    at: datetime
    phase: PhaseName
    attempt: Attempt
    report: Mapping[str, Any] = field(default_factory=dict)
    kind: Literal["coordinator_done"] = "coordinator_done"


@dataclass(frozen=True, slots=True)
class CoordinatorFailed:
    """The coordinator could not do its own part. ``lost``: as of :class:`PhaseFailed`."""

    __pydantic_config__ = _STRICT
    run: RunId
    at: datetime
    phase: PhaseName
    attempt: Attempt
    reason: Text
    peer: Annotated[str, StringConstraints(max_length=32)] = ""
    lost: bool = False
    kind: Literal["coordinator_failed"] = "coordinator_failed"


@dataclass(frozen=True, slots=True)
class Paused:
    """An admin, or a party of the run, holds it until it resumes it."""

    __pydantic_config__ = _STRICT
    run: RunId
    at: datetime
    by: Annotated[str, StringConstraints(max_length=32)]
    why: Text
    kind: Literal["paused"] = "paused"


@dataclass(frozen=True, slots=True)
class Resumed:
    """Who paused the run holds it no longer; the admin lifts everyone's pause."""

    __pydantic_config__ = _STRICT
    run: RunId
    at: datetime
    by: Annotated[str, StringConstraints(max_length=32)]
    kind: Literal["resumed"] = "resumed"


@dataclass(frozen=True, slots=True)
class Cancelled:
    """An admin, or a party of the run, stopped it."""

    __pydantic_config__ = _STRICT
    run: RunId
    at: datetime
    by: str
    why: Text
    kind: Literal["cancelled"] = "cancelled"


@dataclass(frozen=True, slots=True)
class Continued:
    """All but ``without`` have signed to go on as the run ``as_run``: this one is closed, unpaid."""

    __pydantic_config__ = _STRICT
    run: RunId
    at: datetime
    as_run: RunId
    without: tuple[PartyName, ...]
    kind: Literal["continued"] = "continued"


@dataclass(frozen=True, slots=True)
class Expired:
    """The agreement's ``expires_at`` passed before every party had signed and was present."""

    __pydantic_config__ = _STRICT
    run: RunId
    at: datetime
    kind: Literal["expired"] = "expired"


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The coordinator itself stopped or restarted while the run was under way."""

    __pydantic_config__ = _STRICT
    run: RunId
    at: datetime
    why: Text
    kind: Literal["interrupted"] = "interrupted"


Event = Annotated[
    Proposed
    | Signed
    | Rejected
    | PhaseDone
    | PhaseFailed
    | PhaseHeld
    | PartyLost
    | PartyBack
    | PartyRestarted
    | CoordinatorDone
    | CoordinatorFailed
    | Paused
    | Resumed
    | Cancelled
    | Continued
    | Expired
    | Interrupted,
    Field(discriminator="kind"),
]


_EVENT: TypeAdapter[Event] = TypeAdapter(Event)


def described(event: Event) -> str:
    """An event for the coordinator's log: who did what in which phase."""
    who, phase = getattr(event, "party", "") or getattr(event, "by", ""), getattr(event, "phase", "")
    what = event.kind.replace("_", " ")
    return " ".join(filter(None, (f"{who}:" if who else "", what, phase and f"({phase})")))


def event_to_json(event: Event) -> dict[str, Any]:
    """The event as JSON-ready values; :func:`event_from_json` gives it back."""
    body: dict[str, Any] = _EVENT.dump_python(event, mode="json")
    return body


def event_from_json(body: Mapping[str, Any]) -> Event:
    """The event a JSON form stands for. Raises :class:`StorageError` when it stands for none."""
    try:
        return _EVENT.validate_python(dict(body))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the event"
        raise StorageError(f"event log: {where}: {first['msg']}; restore the log from a backup") from None
