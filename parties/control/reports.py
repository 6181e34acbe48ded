"""What a party may say to the coordinator: one frozen model per report, and the table that both ends use.

A node makes a :class:`Report`; the coordinator gets its kind, run and bytes, and :func:`parse_report` gives the same
model back or refuses. Everything here comes from another organisation: numbers are finite, texts and maps are bounded,
unknown keys are refused, and each fault is one :class:`AgreementError` sentence that names the field.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints

from parties.agreement.overlap import OverlapAnswer
from parties.control.parsing import parse
from parties.control.phase_reports import OpeningsUsed, Points, TrafficByKind
from parties.control.phases import Attempt, PhaseName
from parties.errors import AgreementError
from parties.fields import Column, Count, Signature, StrictTerms, Text, Word, printable
from parties.names import LegalEntity, PartyName
from parties.settlement.committed_rows import RowsCommitted
from parties.settlement.live_record import LiveRecord
from parties.settlement.requests import Answer

__all__ = [
    "REPORTS",
    "DataChecked",
    "DoneBody",
    "FailedBody",
    "HeartbeatBody",
    "HeldBody",
    "IntroductionBody",
    "LinkState",
    "LinksBody",
    "ProgressBody",
    "PublishedLimits",
    "RejectedBody",
    "Report",
    "ReportBody",
    "ReportKind",
    "SignedBody",
    "parse_report",
]


class HeartbeatBody(StrictTerms):
    """Still here."""


class PublishedLimits(StrictTerms):
    """Standing limits that a party publishes, to spare others proposals that its node must refuse."""

    openings_per_row: Count
    largest_fraction: Annotated[float, Field(gt=0, le=1000)]
    hours: Annotated[str, StringConstraints(pattern=r"^([0-9:]{5}-[0-9:]{5})?$")] = ""


class DataChecked(StrictTerms):
    """When a party last tried its queries on its data, and whether a run could use them: no name, no count."""

    at: AwareDatetime
    usable: bool


class IntroductionBody(StrictTerms):
    """What a party offers to runs: its part of an agreement, before anyone proposes one. ``units`` are by column."""

    role: Literal["label", "feature"]
    legal_entity: LegalEntity = ""
    columns: Annotated[tuple[Column, ...], Field(max_length=2000)]
    text: Annotated[str, StringConstraints(max_length=2000), AfterValidator(printable)] = ""
    encoder: Annotated[str, StringConstraints(max_length=2000), AfterValidator(printable)] = ""
    expansion: Annotated[str, StringConstraints(max_length=20_000), AfterValidator(printable)] = ""
    units: Annotated[dict[Column, Column], Field(max_length=2000)] = Field(default_factory=dict)
    label_name: Annotated[str, StringConstraints(max_length=200), AfterValidator(printable)] = ""
    label_definition: Text = ""
    limits: PublishedLimits | None = None
    data: DataChecked | None = None


class SignedBody(StrictTerms):
    """The agreement is approved: an Ed25519 signature, hex."""

    signature: Signature


LinkState = Literal["agreed", "other", "silent"]


class LinksBody(StrictTerms):
    """What answered at each peer's address as the party looked at the agreement, before it signed anything.

    *agreed*: the peer's certificate of the agreement; *other*: another certificate; *silent*: nobody.
    """

    at: AwareDatetime
    peers: Annotated[dict[PartyName, LinkState], Field(max_length=64)]


class RejectedBody(StrictTerms):
    """The agreement is refused."""

    why: Text


class ProgressBody(StrictTerms):
    """How far a party is. ``metrics`` may name ``period`` (an index into the calendar), ``loss`` and ``gain``."""

    phase: PhaseName
    attempt: Attempt
    done: Count
    total: Count
    unit: Word = "rows"
    metrics: Annotated[dict[Word, float], Field(max_length=32)] = Field(default_factory=dict)
    points: Points = ()
    traffic: TrafficByKind = Field(default_factory=dict)
    openings: OpeningsUsed | None = None
    peak_rss_mb: Annotated[float, Field(ge=0)] | None = None


class DoneBody(StrictTerms):
    """A part of a phase is finished. ``report`` is checked against the phase's own model: see ``phase_reports``."""

    phase: PhaseName
    attempt: Attempt
    report: dict[str, Any] = Field(default_factory=dict)


class FailedBody(StrictTerms):
    """A part of a phase failed. ``peer``: who is blamed, "" for the reporter; ``lost``: only touch with it was lost."""

    phase: PhaseName
    attempt: Attempt
    reason: Text
    peer: Annotated[str, StringConstraints(max_length=32)] = ""
    lost: bool = False


class HeldBody(StrictTerms):
    """A part of a phase has stopped behind a record, as the run is paused."""

    phase: PhaseName
    attempt: Attempt


ReportBody = (
    HeartbeatBody
    | IntroductionBody
    | SignedBody
    | LinksBody
    | RejectedBody
    | ProgressBody
    | DoneBody
    | FailedBody
    | HeldBody
    | Answer
    | LiveRecord
    | RowsCommitted
    | OverlapAnswer
)
ReportKind = Literal[
    "heartbeat",
    "introduction",
    "signed",
    "links",
    "rejected",
    "progress",
    "done",
    "failed",
    "held",
    "settlement",
    "live",
    "rows",
    "overlap",
]

REPORTS: Mapping[ReportKind, type[ReportBody]] = {
    "heartbeat": HeartbeatBody,
    "introduction": IntroductionBody,
    "signed": SignedBody,
    "links": LinksBody,
    "rejected": RejectedBody,
    "progress": ProgressBody,
    "done": DoneBody,
    "failed": FailedBody,
    "held": HeldBody,
    "settlement": Answer,
    "live": LiveRecord,
    "rows": RowsCommitted,
    "overlap": OverlapAnswer,
}
_KINDS: Mapping[type[ReportBody], ReportKind] = {shape: kind for kind, shape in REPORTS.items()}


@dataclass(frozen=True, slots=True)
class Report:
    """One report of a party. ``run_id``: the run that it is about, or ""."""

    body: ReportBody
    run_id: str = ""

    @property
    def kind(self) -> ReportKind:
        return _KINDS[type(self.body)]

    def encoded(self) -> bytes:
        """The body's bytes. Raises :class:`ValueError` for a number in a phase's report that is not finite."""
        return json.dumps(self.body.model_dump(mode="json", exclude_defaults=True), allow_nan=False).encode()


def parse_report(kind: str, run_id: str, body: bytes, party: str) -> Report:
    """What a party sent. Raises :class:`AgreementError` with the first fault."""
    shape = REPORTS.get(cast(ReportKind, kind))
    if shape is None:
        raise AgreementError(f"{party} sent a report of a kind that does not exist: use one version on both sides")
    return Report(parse(shape, body, f"{party}'s {kind} report"), run_id)
