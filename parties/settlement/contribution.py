"""What a run's valuation found: each party's contribution, its attribution, and what was posted for it. Pure records.

The label party reports the first two, the coordinator logs the last; settlement computes from them.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from parties.fields import Count, Number, Period, StrictTerms, Text, Word
from parties.names import PartyName

__all__ = ["AttributionRecord", "ContributionRecord", "PartyContribution", "SettleReport"]


class PartyContribution(StrictTerms):
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


class ContributionRecord(StrictTerms):
    """``vfl.contribution.ContributionReport.record()``, with the plain values beside it.

    ``periods``: which ones ``phi_by_period`` is of. ``uplift_by_period``: IC(joint) - IC(own) of each, where the label
    party has a model of its own. ``committed``: in which periods each party's rows were committed in time.
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
    committed: Annotated[dict[PartyName, Annotated[tuple[bool, ...], Field(max_length=4000)]], Field(max_length=64)] = (
        Field(default_factory=dict)
    )
    parties: Annotated[dict[PartyName, PartyContribution], Field(max_length=64)]


class AttributionRecord(StrictTerms):
    """``vfl.contribution.attribution.Attribution.record()``: it explains the output and decides no pay."""

    definition: Text = ""
    n_periods: Count = 0
    total: float
    parties: Annotated[dict[PartyName, float], Field(max_length=64)]
    by_period: Annotated[
        dict[PartyName, Annotated[tuple[float, ...], Field(max_length=4000)]], Field(max_length=64)
    ] = Field(default_factory=dict)


class SettleReport(StrictTerms):
    """What was posted: transaction ids, and each party's reward in minor units."""

    transactions: tuple[str, ...] = ()
    rewards: dict[PartyName, Count] = Field(default_factory=dict)
    rolled_over: Count = 0
