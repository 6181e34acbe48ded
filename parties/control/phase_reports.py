"""What a party reports of a phase that it has finished, one model per phase; and the parts that progress shares.

Everything here comes from another organisation: see :mod:`parties.fields`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from parties.audit.heads import Head
from parties.control.parsing import parse
from parties.control.phases import PhaseName
from parties.errors import AgreementError
from parties.fields import Count, Number, Period, Sha256, Signature, StrictTerms, Text, Whole, Word
from parties.names import PartyName
from parties.settlement.contribution import AttributionRecord, ContributionRecord

__all__ = [
    "PHASE_REPORTS",
    "AlignReport",
    "EncodeReport",
    "EvaluateReport",
    "EvaluationNumbers",
    "ExportReport",
    "MatchReport",
    "OpeningsUsed",
    "PartReport",
    "Point",
    "Points",
    "ScreenCounts",
    "ScreenPassed",
    "StaticNumbers",
    "Traffic",
    "TrafficByKind",
    "TrainReport",
    "ValueReport",
    "phase_report",
]


class Traffic(StrictTerms):
    """What one party has sent of one message type since its phase began. ``to``: bytes by who was to receive them."""

    payload: Word
    bytes: Count
    messages: Count = 0
    to: Annotated[dict[PartyName, Count], Field(max_length=64)] = Field(default_factory=dict)


class OpeningsUsed(StrictTerms):
    """Openings of the most opened row, against the agreed limit."""

    limit: Count
    max_used: Count


class Point(StrictTerms):
    """Numbers of one period; only what is known. ICs are out of sample; rank ICs unless they say otherwise."""

    period: Period
    ic_joint: Number = None
    ic_own: Number = None
    pearson_joint: Number = None
    loss: Number = None
    openings: Count | None = None


Points = Annotated[tuple[Point, ...], Field(max_length=4000)]
TrafficByKind = Annotated[dict[Word, Traffic], Field(max_length=128)]


class PartReport(StrictTerms):
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


class ScreenPassed(StrictTerms):
    """How many formulas of a screen stand a hurdle and all before it."""

    alone: Count
    products: Count


class ScreenCounts(StrictTerms):
    """What a label party tells of a screen: how many formulas are left after each hurdle; no formula and no statistic.

    first, second: periods with labels that formulas were chosen on and confirmed on.
    """

    tried: ScreenPassed
    discovered: ScreenPassed
    above_hurdle: ScreenPassed
    chosen: ScreenPassed
    named: ScreenPassed
    first: Count
    second: Count


class EncodeReport(PartReport):
    """The encoder of the party's group is trained and kept; ``detail`` has the rounds, and members in the last one."""


class TrainReport(PartReport):
    """The walk-forward pass is through; of a screen the label party brings counts, where the agreement allows it."""

    screen: ScreenCounts | None = None


class StaticNumbers(StrictTerms):
    """Measures on the test rows of static data, by model (joint, own) and name; ``None`` where one is not defined."""

    label: Literal["binary", "regression", "classes"]
    rows: Count
    measures: Annotated[dict[Word, Annotated[dict[Word, Number], Field(max_length=16)]], Field(max_length=4)]


class EvaluationNumbers(StrictTerms):
    """Out of sample; ``None`` where it is not defined. ``t`` is Newey-West; ``uplift`` is IC(joint) - IC(own).

    Static data has measures on its test rows instead.
    """

    ic_joint: Number = None
    ic_own: Number = None
    n_periods: Count = 0
    t_joint: Number = None
    t_own: Number = None
    uplift: Number = None
    t_uplift: Number = None
    static: StaticNumbers | None = None


class EvaluateReport(PartReport):
    """The label party's numbers; empty when the agreement keeps metrics from the coordinator."""

    evaluation: EvaluationNumbers | None = None


class ValueReport(PartReport):
    """The label party brings ``contribution``, signed, and ``attribution``; the others which record they keep."""

    contribution: ContributionRecord | None = None
    contribution_signature: Signature | None = None
    contribution_sha256: Sha256 | None = None
    attribution: AttributionRecord | None = None


class ExportReport(PartReport):
    """The bundle that was sent or received; ``sha256`` is of its ``SHA256SUMS``."""

    factor_id: Word
    version: Word
    sha256: Sha256
    bytes: Count = 0


class MatchReport(StrictTerms):
    """The coordinator's part of alignment."""

    n_common: Count
    set_sizes: dict[PartyName, Count] = Field(default_factory=dict)


PHASE_REPORTS: Mapping[PhaseName, type[PartReport]] = {
    "align": AlignReport,
    "encode": EncodeReport,
    "train": TrainReport,
    "evaluate": EvaluateReport,
    "value": ValueReport,
    "export": ExportReport,
}


def phase_report(phase: PhaseName, report: Mapping[str, Any], party: str) -> dict[str, Any]:
    """The report of a phase, checked and without what was left out, as it enters the event log."""
    shape = PHASE_REPORTS.get(phase)
    if shape is None:
        raise AgreementError(f"{party} reports on {phase}, which no party reports on")
    return parse(shape, report, f"{party}'s report on {phase}").model_dump(mode="json", exclude_defaults=True)
