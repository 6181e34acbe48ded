"""The terms an agreement is made of, one model per subject."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AwareDatetime,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
    model_validator,
)

from parties.names import PartyName
from vfl.terms import Terms

__all__ = [
    "MOST_CLASSES",
    "LicenceTerms",
    "AlignmentTerms",
    "CalendarTerms",
    "ContinuationTerms",
    "EvaluationTerms",
    "FeeUseTerms",
    "LabelTerms",
    "PartyTerms",
    "PlaceboTerms",
    "RewardTerms",
    "SettlementTerms",
    "StaticTerms",
]


_UNION_BUCKET = 256
MOST_CLASSES = 16
"""Classes of a label: each is a model of its own, trained one after the other."""


class PartyTerms(Terms):
    """One party as the others know it."""

    name: PartyName
    role: Literal["label", "feature"]
    legal_entity: str = Field(default="", description="to whom it belongs, as it signed it itself in the roster")
    address: str = Field(description="host:port of the party's node")
    identity_key: str = Field(description="Ed25519 public key, hex")
    certificate_sha256: str = Field(description="SHA-256 of the TLS certificate in DER, hex")
    columns: tuple[str, ...] = Field(description="names of the feature columns used, missing indicators included")
    text: str = Field(default="", max_length=2000, description="where columns made of its texts come from")
    encoder: str = Field(default="", max_length=2000, description="where columns of its own encoder come from")

    expansion: str = Field(default="", max_length=20_000, description="what its made columns are functions of")

    def makes(self, column: str) -> bool:
        """Whether its encoder or expansion makes this column of others."""
        return bool(
            (self.encoder and re.fullmatch(r"enc_\d+", column))
            or (self.expansion and re.fullmatch(r"(exp|term)_\d+", column))
        )

    @model_serializer(mode="wrap")
    def _only_what_is_agreed(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A party without texts, an encoder or an expansion keeps the terms it had before there were any."""
        body: dict[str, Any] = handler(self)
        for name in ("text", "encoder", "expansion"):
            if not body.get(name):
                body.pop(name, None)
        return body


class AlignmentTerms(Terms):
    """Which entity policy, and when to stop without revealing rows."""

    policy: Literal["psi", "universe", "union", "own"] = Field(
        default="psi",
        description="psi: entities that all hold; universe: a public list; union: everybody's, under random names; "
        "own: each member's own, as a federated model has them: no lists are compared",
    )
    protocol: Literal["ring", "ot"] = Field(
        default="ring",
        description="how psi compares sets: ring, with the coordinator's help; ot, without it, by oblivious transfer "
        "that the label party leads, for sets of 100,000 and more",
    )
    minimum_common: int = Field(default=30, ge=1)
    maximum_set_size: int = Field(default=100_000, ge=1)
    universe_sha256: str = Field(default="", description="hash of the public list, for the universe policy")
    universe_version: str = Field(default="", max_length=200, description="name of the public list and its version")
    size_bucket: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="lists are filled with random ids to a multiple of it, so that set sizes show as that; 0: they are "
        "not; union takes 256 where nothing is said",
    )
    largest_change: float = Field(default=0.25, ge=0, le=1, description="share of a set that may change between runs")

    smallest_change: int = Field(
        default=0,
        ge=0,
        le=100_000,
        description="fewest ids by which a set that is not the same may differ from a party's last one: two runs that "
        "differ by fewer tell of each of them; 0: any number",
    )

    @model_validator(mode="before")
    @classmethod
    def _filled_lists(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and given.get("policy") == "union" and not given.get("size_bucket"):
            return {**given, "size_bucket": _UNION_BUCKET}
        return given

    @model_validator(mode="after")
    def _of_its_policy(self) -> AlignmentTerms:
        if self.policy != "universe" and self.universe_version:
            raise ValueError("alignment.universe_version belongs to the universe policy, and to no other")
        if self.policy != "psi" and self.protocol != "ring":
            raise ValueError('alignment.protocol = "ot" belongs to the psi policy: take policy = "psi" or leave it out')
        if not self.compares and self.size_bucket:
            over = "over a public list" if self.policy == "universe" else "where each keeps its own entities"
            raise ValueError(f"alignment.size_bucket belongs to psi and union: {over} no set is compared")
        return self

    @property
    def hides_coverage(self) -> bool:
        """Whether no party may learn which of its entities another one holds: absent rows look like any other."""
        return self.policy in ("universe", "union")

    @property
    def compares(self) -> bool:
        """Whether the parties' own lists are compared, blinded."""
        return self.policy in ("psi", "union")

    @property
    def matched(self) -> bool:
        """Whether the coordinator compares the blinded lists."""
        return self.compares and self.protocol == "ring"

    @model_serializer(mode="wrap")
    def _only_what_is_agreed(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Terms without buckets, a named list or another protocol keep the hash they had before there were any."""
        body: dict[str, Any] = handler(self)
        if self.protocol == "ring":
            body.pop("protocol", None)
        for name in ("universe_version", "size_bucket", "smallest_change"):
            if not body.get(name):
                body.pop(name, None)
        return body


class CalendarTerms(Terms):
    """The decision calendar. ``cutoffs[i]`` is the UTC instant up to which period i may use data."""

    frequency: str
    periods: tuple[str, ...]
    period_ends: tuple[AwareDatetime, ...]
    cutoffs: tuple[AwareDatetime, ...]

    @model_validator(mode="after")
    def _ordered(self) -> CalendarTerms:
        if not len(self.periods) == len(self.period_ends) == len(self.cutoffs) > 0:
            raise ValueError("calendar: periods, period_ends and cutoffs must have one length above zero")
        if any(b <= a for a, b in zip(self.cutoffs, self.cutoffs[1:], strict=False)):
            raise ValueError("calendar: cutoffs must rise")
        return self


class StaticTerms(Terms):
    """Data without a calendar: one row an entity, which falls into one of two parts, training or test."""

    label: Literal["binary", "regression", "classes"] = Field(
        description="binary: 0 or 1; regression: any number; classes: whole numbers from 0 to classes - 1"
    )
    classes: int | None = Field(
        default=None,
        ge=3,
        le=MOST_CLASSES,
        description='how many, where label = "classes": a model of each against the rest is trained, one after the '
        "other, and a score of each opens of every test row",
    )
    test_share: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="share of the entities that a hash of seed and name puts into the test; none: the label query's "
        "column part says training or test",
    )
    seed: int = Field(default=0, ge=0, le=2**53 - 1, description="of the hash, public")

    @model_validator(mode="after")
    def _classes_counted(self) -> StaticTerms:
        if (self.label == "classes") != (self.classes is not None):
            raise ValueError(
                'static.classes says how many classes there are where static.label = "classes", and stands with no '
                'other label: name both, or label = "binary" for two classes'
            )
        return self

    @model_serializer(mode="wrap")
    def _only_what_is_agreed(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Terms without classes keep the hash they had before there were any."""
        body: dict[str, Any] = handler(self)
        if self.classes is None:
            body.pop("classes", None)
        return body

    @property
    def models(self) -> int:
        """How many models are trained: one, or one for each class against the rest."""
        return self.classes or 1


class LabelTerms(Terms):
    name: str
    definition: str
    party: PartyName
    residual: tuple[str, ...] = Field(
        default=(), description="own columns of the label party that the label is neutralised by; empty: by none"
    )

    @model_serializer(mode="wrap")
    def _only_what_is_agreed(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A label as it is keeps the terms it had before there were residual ones."""
        body: dict[str, Any] = handler(self)
        if not body.get("residual"):
            body.pop("residual", None)
        return body


class EvaluationTerms(Terms):
    """Periods that count. Empty strings mean from the first prediction / to the last label."""

    first: str = ""
    last: str = ""
    metrics_to_coordinator: bool = True


class SettlementTerms(Terms):
    """How rewards become final, what is at stake, and who must approve. Amounts are minor units, times are days."""

    stakes: dict[PartyName, Annotated[int, Field(ge=1, le=2**53 - 1)]] = Field(
        default_factory=dict, description="what each feature party stakes; empty: nobody stakes, nobody is capped"
    )
    clip: float = Field(default=0.25, gt=0, le=1, description="a reward or a loss is at most this share of the stake")
    forfeits: Literal["burned", "pot"] = Field(default="pot", description="lost money: income, or back to the pot")
    at_close: Literal["pending", "approved"] = Field(
        default="pending", description="whether a pending settlement needs approvals too"
    )
    live_periods: int = Field(default=4, ge=0, description="resolved live periods that a final settlement needs")
    final_after_days: int = Field(default=0, ge=0, le=3650, description="from the run's close to its final settlement")
    dispute_deposit: int = Field(default=0, ge=0, le=2**53 - 1, description="from the accuser's stake; lost when wrong")
    dispute_days: int = Field(default=30, ge=0, le=3650, description="how long after the close a dispute is heard")
    cooling_days: int = Field(default=30, ge=0, le=3650, description="from asking a stake back to getting it")
    approvals: int = Field(default=2, ge=2, le=16, description="different people who approve before anything is posted")
    approvers: dict[PartyName, Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]] = Field(
        default_factory=dict, description="Ed25519 public keys by name; empty: the members of the coordinator's roster"
    )

    @model_validator(mode="after")
    def _enough_people(self) -> SettlementTerms:
        if len(set(self.approvers.values())) != len(self.approvers):
            raise ValueError("settlement.approvers: two names share a key; each person needs their own")
        if self.approvers and len(self.approvers) < self.approvals:
            raise ValueError(
                f"settlement.approvers names {len(self.approvers)} people, {self.approvals} approvals are needed"
            )
        return self


class LicenceTerms(Terms):
    """Pay for use over time: so much each period after the run's calendar, shared as its final settlement was."""

    per_period: int = Field(ge=1, le=2**53 - 1, description="minor units, for each period of use")
    periods: int = Field(ge=1, le=520, description="how many periods after the run's calendar")


class RewardTerms(Terms):
    """How the pot of a run is split: integers in minor units, by score, largest remainder."""

    unit: str = "USD"
    scale: int = Field(default=2, ge=0, le=8, description="decimal digits of a minor unit")
    pot: int = Field(default=0, ge=0, description="minor units")
    risk_aversion: float = Field(default=1.0, ge=0, description="lambda in s = max(0, phi - lambda * SE)")
    uplift_level: float = Field(
        default=0.05, gt=0, le=1, description="one-sided level at which joining must be worth something; 1: no test"
    )
    rows: Literal["committed", "any"] = Field(
        default="committed", description="committed pays only for periods whose rows were committed in time"
    )
    outputs: Literal["refused", "allowed"] = Field(
        default="refused",
        description="whether outputs of earlier runs may come back as a party's own columns",
    )
    rows_within_hours: int = Field(
        default=24, ge=1, le=8784, description="from a period's cutoff to the commitment to its rows, at most"
    )
    settlement: SettlementTerms | None = Field(default=None, description="None: no stakes, no roll-over account")
    licence: LicenceTerms | None = Field(default=None, description="None: use after the run's calendar pays nothing")

    @model_serializer(mode="wrap")
    def _only_what_is_agreed(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Terms without settlement rules or licence keep the hash they had before there were any."""
        body: dict[str, Any] = handler(self)
        for name in ("settlement", "licence"):
            if getattr(self, name) is None:
                body.pop(name, None)
        return body


class FeeUseTerms(Terms):
    """Usage fees that are reported confidentially: only their total opens (docs/incentives.md)."""

    key_holder: PartyName
    modulus: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{768}$")] = Field(
        description="the key holder's Paillier modulus, 3072 bits in hex: entente fees key prints it"
    )
    bits: int = Field(default=40, ge=1, le=56, description="a fee is below 2**bits minor units")
    rate_millionths: int = Field(default=20, ge=0, le=10**6, description="fee per period, in millionths of assets")

    @model_validator(mode="after")
    def _whole_key(self) -> FeeUseTerms:
        if int(self.modulus, 16).bit_length() != 3072 or int(self.modulus, 16) % 2 == 0:
            raise ValueError("fees.modulus is no Paillier modulus of 3072 bits: copy what entente fees key prints")
        return self


class PlaceboTerms(Terms):
    """This run is another one again, with the feature parties' rows given to other entities: what is left is identity.

    One public permutation of the entities serves every period, so a feature that never changes still names somebody.
    """

    of: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] = Field(description="run id of the run tested")
    seed: int = Field(ge=0, le=2**53 - 1, description="of the permutation, public")
    row_limit: int = Field(ge=1, description="openings of a row that the schedule plans with: those of the run tested")
    reserved: int = Field(ge=0, description="openings of a predicted row that the run tested kept for contributions")


class ContinuationTerms(Terms):
    """Which run this one goes on from, without whom, and what of it is kept (docs/protocols/resume.md)."""

    run_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    without: tuple[PartyName, ...] = Field(min_length=1)
    rows: Literal["kept", "fresh"] = Field(
        description="kept: the entities that all parties of that run share; fresh: aligned anew among those who remain"
    )
    opened: int = Field(ge=0, description="openings of a row that the earlier runs may have made: they count")
