"""What a party may say to the coordinator: JSON bodies, checked strictly.

Everything here comes from another organisation. Numbers are finite, texts and maps are bounded, unknown keys
are refused, and each fault is one :class:`AgreementError` sentence that names the field.

    heartbeat   {}
    introduction  :class:`IntroductionBody`
    signed      {"signature": hex}
    rejected    {"why": text}
    progress    :class:`ProgressBody`
    done        {"phase", "attempt", "report": the phase's report below}
    failed      {"phase", "attempt", "reason": text, "peer": name or "", "lost": whether touch was lost with the peer}
    settlement  :class:`parties.settlement.requests.Answer`
    live        :class:`parties.settlement.live_record.LiveRecord`
    held        {"phase", "attempt"}: stopped behind a record, as the run is paused
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, ValidationError

from parties.agreement.document import Agreement
from parties.audit.heads import Head
from parties.control.phases import Attempt, PhaseName, RunId, Text, printable
from parties.errors import AgreementError
from parties.names import PartyName
from vfl.terms import Terms

__all__ = [
    "AlignReport",
    "AskBody",
    "AttributionRecord",
    "CancelBody",
    "ContributionRecord",
    "DoneBody",
    "EvaluateReport",
    "EvaluationNumbers",
    "ExportReport",
    "FailedBody",
    "HeartbeatBody",
    "HeldBody",
    "IntroductionBody",
    "MatchReport",
    "OpeningsUsed",
    "PartReport",
    "PartyContribution",
    "PublishedLimits",
    "Point",
    "PauseBody",
    "ProgressBody",
    "ProposeBody",
    "RejectedBody",
    "ResumeBody",
    "SettleReport",
    "SignInBody",
    "SignedBody",
    "Traffic",
    "TrainReport",
    "ValueReport",
    "parse",
    "phase_report",
]

Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._:+/-]{0,63}$")]
Count = Annotated[int, Field(ge=0, le=2**53 - 1)]
Whole = Annotated[int, Field(ge=-(2**53) + 1, le=2**53 - 1)]
Period = Annotated[str, StringConstraints(min_length=1, max_length=40)]
Column = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(printable)]
Number = float | None


class _Said(Terms):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ProposeBody(_Said):
    agreement: Agreement


class CancelBody(_Said):
    run_id: RunId
    why: Text = ""


class AskBody(_Said):
    """A question to the desk; ``arguments`` are validated by the door that ``what`` names."""

    what: Text
    arguments: dict[str, Any] = Field(default_factory=dict)


class PauseBody(_Said):
    run_id: RunId
    why: Text = ""


class ResumeBody(_Said):
    run_id: RunId


class SignInBody(_Said):
    """A person's one-time token, or an identity provider's word on who it is."""

    token: Annotated[str, StringConstraints(max_length=200)] = ""
    id_token: Annotated[str, StringConstraints(max_length=16_000)] = ""


class HeartbeatBody(_Said):
    """Still here."""


class PublishedLimits(_Said):
    """Standing limits that a party publishes, to spare others proposals that its node must refuse."""

    openings_per_row: Count
    largest_fraction: Annotated[float, Field(gt=0, le=1000)]
    hours: Annotated[str, StringConstraints(pattern=r"^([0-9:]{5}-[0-9:]{5})?$")] = ""


class IntroductionBody(_Said):
    """What a party offers to runs: its part of an agreement, before anyone proposes one. ``units`` are by column."""

    role: Literal["label", "feature"]
    legal_entity: Annotated[str, StringConstraints(max_length=200), AfterValidator(printable)] = ""
    columns: Annotated[tuple[Column, ...], Field(max_length=2000)]
    encoder: Annotated[str, StringConstraints(max_length=2000), AfterValidator(printable)] = ""
    expansion: Annotated[str, StringConstraints(max_length=20_000), AfterValidator(printable)] = ""
    units: Annotated[dict[Column, Column], Field(max_length=2000)] = Field(default_factory=dict)
    label_name: Annotated[str, StringConstraints(max_length=200), AfterValidator(printable)] = ""
    label_definition: Text = ""
    limits: PublishedLimits | None = None


class SignedBody(_Said):
    signature: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{128}$")]


class RejectedBody(_Said):
    why: Text


class Traffic(_Said):
    """What one party has sent of one message type since its phase began. ``to``: bytes by who was to receive them."""

    payload: Word
    bytes: Count
    messages: Count = 0
    to: Annotated[dict[PartyName, Count], Field(max_length=64)] = Field(default_factory=dict)


class OpeningsUsed(_Said):
    """Openings of the most opened row, against the agreed limit."""

    limit: Count
    max_used: Count


class Point(_Said):
    """Numbers of one period; only what is known. ICs are out of sample; rank ICs unless they say otherwise."""

    period: Period
    ic_joint: Number = None
    ic_own: Number = None
    pearson_joint: Number = None
    loss: Number = None
    openings: Count | None = None


Points = Annotated[tuple[Point, ...], Field(max_length=4000)]
TrafficByKind = Annotated[dict[Word, Traffic], Field(max_length=128)]


class ProgressBody(_Said):
    """How far a party is. ``metrics`` may name ``period`` (an index into the calendar) and ``loss``."""

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


class DoneBody(_Said):
    phase: PhaseName
    attempt: Attempt
    report: dict[str, Any] = Field(default_factory=dict)


class FailedBody(_Said):
    phase: PhaseName
    attempt: Attempt
    reason: Text
    peer: Annotated[str, StringConstraints(max_length=32)] = ""
    lost: bool = False


class HeldBody(_Said):
    phase: PhaseName
    attempt: Attempt


class PartReport(_Said):
    """What every phase report may carry. ``traffic`` is the phase's total, ``head`` that of the party's audit log."""

    seconds: Annotated[float, Field(ge=0)] = 0.0
    peak_rss_mb: Annotated[float, Field(ge=0)] | None = None
    traffic: TrafficByKind = Field(default_factory=dict)
    openings: OpeningsUsed | None = None
    rows: Count | None = None
    points: Points = ()
    head: Head | None = None
    detail: Annotated[dict[Word, Whole | float | Text | None], Field(max_length=64)] = Field(default_factory=dict)


class AlignReport(PartReport):
    """Sizes only: of the common rows and of the party's own set."""

    n_common: Count
    set_size: Count


class TrainReport(PartReport):
    """The walk-forward pass is through."""


class EvaluationNumbers(_Said):
    """Out of sample; ``None`` where it is not defined. ``t`` is Newey-West; ``uplift`` is IC(joint) - IC(own)."""

    ic_joint: Number = None
    ic_own: Number = None
    n_periods: Count = 0
    t_joint: Number = None
    t_own: Number = None
    uplift: Number = None
    t_uplift: Number = None


class EvaluateReport(PartReport):
    """The label party's numbers; empty when the agreement keeps metrics from the coordinator."""

    evaluation: EvaluationNumbers | None = None


class PartyContribution(_Said):
    """One feature party's Shapley value (in rank IC), as ``vfl.contribution`` reports it.

    ``phi`` is conditioned on the label party's own features and decides pay; ``plain`` leaves these out.
    """

    phi: float
    standard_error: Number = None
    t: Number = None
    low: Number = None
    high: Number = None
    leave_one_out: Number = None
    standalone: Number = None
    plain: Number = None
    plain_standard_error: Number = None
    sampling_error: Number = None
    phi_by_period: Annotated[tuple[Number, ...], Field(max_length=4000)] = ()


class ContributionRecord(_Said):
    """``vfl.contribution.ContributionReport.record()``, with the plain values beside it.

    ``periods``: which ones ``phi_by_period`` is of. ``uplift_by_period``: IC(joint) - IC(own) of each, where the label
    party has a model of its own.
    """

    method: Word
    definition: Text = ""
    plain_definition: Text = ""
    plain_everyone: Number = None
    entities: Annotated[dict[Text, float], Field(max_length=64)] = Field(default_factory=dict)
    seed: Count | None = None
    orders: Count | None = None
    n_periods: Count = 0
    v_everyone: Number = None
    v_nobody: Number = None
    periods: Annotated[tuple[Period, ...], Field(max_length=4000)] = ()
    uplift_by_period: Annotated[tuple[Number, ...], Field(max_length=4000)] = ()
    parties: Annotated[dict[PartyName, PartyContribution], Field(max_length=64)]


class AttributionRecord(_Said):
    """``vfl.contribution.attribution.Attribution.record()``: it explains the output and decides no pay."""

    definition: Text = ""
    n_periods: Count = 0
    total: float
    parties: Annotated[dict[PartyName, float], Field(max_length=64)]
    by_period: Annotated[
        dict[PartyName, Annotated[tuple[float, ...], Field(max_length=4000)]], Field(max_length=64)
    ] = Field(default_factory=dict)


class ValueReport(PartReport):
    """The label party brings ``contribution`` and ``attribution``; the others only their part's costs."""

    contribution: ContributionRecord | None = None
    attribution: AttributionRecord | None = None


class ExportReport(PartReport):
    """The bundle that was sent or received; ``sha256`` is of its ``SHA256SUMS``."""

    factor_id: Word
    version: Word
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    bytes: Count = 0


class MatchReport(_Said):
    """The coordinator's part of alignment."""

    n_common: Count
    set_sizes: dict[PartyName, Count] = Field(default_factory=dict)


class SettleReport(_Said):
    """What was posted: transaction ids, and each party's reward in minor units."""

    transactions: tuple[str, ...] = ()
    rewards: dict[PartyName, Count] = Field(default_factory=dict)
    rolled_over: Count = 0


_BY_PHASE: Mapping[PhaseName, type[PartReport]] = {
    "align": AlignReport,
    "train": TrainReport,
    "evaluate": EvaluateReport,
    "value": ValueReport,
    "export": ExportReport,
}

B = TypeVar("B", bound=Terms)


def parse(shape: type[B], body: bytes | str | Mapping[str, Any], what: str) -> B:
    """``body`` as a ``shape``. Raises :class:`AgreementError` with the first fault."""
    try:
        if isinstance(body, Mapping):
            return shape.model_validate(dict(body))
        return shape.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part)[:40] for part in first["loc"]) or "the body"
        raise AgreementError(
            f"{what}: {where}: {first['msg'][:200]}; send what parties/control/reports.py says"
        ) from None


def phase_report(phase: PhaseName, report: Mapping[str, Any], party: str) -> dict[str, Any]:
    """The report of a phase, checked and without what was left out, as it enters the event log."""
    shape = _BY_PHASE.get(phase)
    if shape is None:
        raise AgreementError(f"{party} reports on {phase}, which no party reports on")
    return parse(shape, report, f"{party}'s report on {phase}").model_dump(mode="json", exclude_defaults=True)
