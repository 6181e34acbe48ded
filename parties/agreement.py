"""The run agreement: one canonical-JSON document that every party signs before any byte moves.

Its SHA-256 is the run id, and every message carries it.
"""

from __future__ import annotations

import hashlib
import math
import re
from typing import Annotated, Any, Literal

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import (
    AwareDatetime,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
    model_validator,
)

from parties.errors import AgreementError
from psi.flow import Payload
from vfl.plan import FixedPoint, Model, OpeningTerms, SplitModel, Terms, WalkForward
from vfl.search import SearchTerms

__all__ = [
    "ADMIN",
    "DESK",
    "NO_PARTIES",
    "COORDINATOR",
    "Agreement",
    "AlignmentTerms",
    "CalendarTerms",
    "ContinuationTerms",
    "EvaluationTerms",
    "FeeUseTerms",
    "LabelTerms",
    "PartyName",
    "PartyTerms",
    "PlaceboTerms",
    "RewardTerms",
    "SettlementTerms",
    "sign_agreement",
    "verify_signature",
]

ADMIN = "admin"
DESK = "desk"
COORDINATOR = "coordinator"
NO_PARTIES = frozenset((ADMIN, DESK, COORDINATOR))
_MOST_MASKED = 8
"""Feature parties up to which all coalitions are opened."""

PartyName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]


class PartyTerms(Terms):
    """One party as the others know it."""

    name: PartyName
    role: Literal["label", "feature"]
    legal_entity: str = ""
    address: str = Field(description="host:port of the party's node")
    identity_key: str = Field(description="Ed25519 public key, hex")
    certificate_sha256: str = Field(description="SHA-256 of the TLS certificate in DER, hex")
    columns: tuple[str, ...] = Field(description="names of the feature columns used, missing indicators included")
    encoder: str = Field(default="", max_length=2000, description="where columns of its own encoder come from")

    @model_serializer(mode="wrap")
    def _only_what_is_agreed(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A party without an encoder keeps the terms it had before there were any."""
        body: dict[str, Any] = handler(self)
        if not self.encoder:
            body.pop("encoder", None)
        return body


class AlignmentTerms(Terms):
    """Which entity policy, and when to stop without revealing rows."""

    policy: Literal["psi", "universe"] = "psi"
    minimum_common: int = Field(default=30, ge=1)
    maximum_set_size: int = Field(default=100_000, ge=1)
    universe_sha256: str = Field(default="", description="hash of the public list, for the universe policy")
    largest_change: float = Field(default=0.25, ge=0, le=1, description="share of a set that may change between runs")


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


class LabelTerms(Terms):
    name: str
    definition: str
    party: PartyName


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
    live_periods: int = Field(default=1, ge=0, description="resolved live periods that a final settlement needs")
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


class RewardTerms(Terms):
    """How the pot of a run is split: integers in minor units, by score, largest remainder."""

    unit: str = "USD"
    scale: int = Field(default=2, ge=0, le=8, description="decimal digits of a minor unit")
    pot: int = Field(default=0, ge=0, description="minor units")
    risk_aversion: float = Field(default=0.0, ge=0, description="lambda in s = max(0, phi - lambda * SE)")
    settlement: SettlementTerms | None = Field(default=None, description="None: no stakes, no roll-over account")

    @model_serializer(mode="wrap")
    def _only_what_is_agreed(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Terms without settlement rules keep the hash they had before there were any."""
        body: dict[str, Any] = handler(self)
        if self.settlement is None:
            body.pop("settlement", None)
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


class Agreement(Terms):
    """Everything the parties agree on for one run."""

    version: Literal[1] = 1
    consortium: str
    purpose: str
    proposed_at: AwareDatetime
    expires_at: AwareDatetime
    nonce: str = Field(description="makes two runs of the same terms different")
    coordinator_certificate_sha256: str
    coordinator_address: str
    parties: tuple[PartyTerms, ...]
    label: LabelTerms
    calendar: CalendarTerms
    alignment: AlignmentTerms = AlignmentTerms()
    fixed_point: FixedPoint = FixedPoint()
    parameter_set: str = "bfv-8192"
    model: Model = SplitModel()
    walk_forward: WalkForward = WalkForward()
    openings: OpeningTerms = OpeningTerms()
    evaluation: EvaluationTerms = EvaluationTerms()
    reward: RewardTerms = RewardTerms()
    fees: FeeUseTerms | None = Field(default=None, description="None: no usage fees")
    silence_seconds: int = Field(default=60, ge=1, description="a party silent for longer ends the run")
    recipients: tuple[PartyName, ...]
    readers: dict[PartyName, Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]] = Field(
        default_factory=dict, description="recipients that run no node: X25519 public keys, hex, by name"
    )
    placebo: PlaceboTerms | None = Field(default=None, description="None: no placebo")
    search: SearchTerms | None = Field(default=None, description="None: the model is what it is")
    payloads: tuple[Payload, ...] = tuple(Payload)
    code_version: str
    continues: ContinuationTerms | None = Field(default=None, description="None: a run of its own")

    @model_serializer(mode="wrap")
    def _only_what_is_agreed(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Terms without readers, a placebo, a search or an earlier run keep the hash they had before there were any."""
        body: dict[str, Any] = handler(self)
        for name in ("readers", "placebo", "search", "continues"):
            if not getattr(self, name):
                body.pop(name, None)
        return body

    @model_validator(mode="after")
    def _consistent(self) -> Agreement:
        names = [p.name for p in self.parties]
        if len(set(names)) != len(names):
            raise ValueError("two parties share a name")
        if COORDINATOR in names:
            raise ValueError(f"no party may be called {COORDINATOR!r}")
        if (self.alignment.policy == "universe") != bool(self.alignment.universe_sha256):
            raise ValueError("alignment.universe_sha256 belongs to the universe policy, and to no other")
        labels = [p.name for p in self.parties if p.role == "label"]
        if labels != [self.label.party]:
            raise ValueError(f"exactly one label party is needed, and it must be {self.label.party!r}")
        if not self.features:
            raise ValueError("at least one feature party is needed")
        if len(self.features) == 1 and not self.openings.single_party:
            raise ValueError(
                "with one feature party its embedding is opened alone: set openings.single_party = true to consent"
            )
        self._check_horizons()
        unknown = set(self.recipients) - set(names) - {COORDINATOR}
        if unknown:
            raise ValueError(f"recipients {sorted(unknown)} take no part in the run")
        if set(self.readers) & {*names, COORDINATOR} or len(set(self.readers.values())) < len(self.readers):
            raise ValueError("readers need names and keys of their own: who runs a node belongs under recipients")
        if self.placebo is not None and (
            self.openings.contribution != "none" or self.openings.attribution or self.reward.pot
        ):
            raise ValueError('a placebo pays nothing: set openings.contribution = "none", and no attribution or pot')
        exposed = self.openings.limit_per_row * self.model.embedding_width
        if exposed > self.openings.largest_fraction * self.counted_features:
            raise ValueError(
                f"a row could be opened {self.openings.limit_per_row} times at width {self.model.embedding_width}, "
                f"which is {exposed} linear forms of {self.counted_features} features, above the agreed fraction "
                f"{self.openings.largest_fraction}: lower openings.limit_per_row or model.embedding_width"
            )
        if self.fixed_point.headroom_bits(self.total_features) < 1:
            raise ValueError("fixed point: ring too small for these bits; lower feature_bits or gradient_bits")
        if self.openings.contribution == "masked" and len(self.features) > _MOST_MASKED:
            raise ValueError(
                f"masked contributions open every coalition's sums, too many above {_MOST_MASKED} feature parties: set "
                'openings.contribution = "none", and estimate from runs of sampled coalitions (docs/incentives.md)'
            )
        if self.search is not None:
            self._check_search(self.search)
        if self.fees is not None and (self.fees.key_holder not in names or len(names) < 3):
            raise ValueError("fees need three parties or more, and fees.key_holder must be one of them")
        if self.continues is not None:
            self._check_continuation(self.continues)
        rules = self.reward.settlement
        strangers = set(rules.stakes) - {p.name for p in self.features} if rules is not None else set()
        if strangers:
            raise ValueError(f"reward.settlement.stakes names {sorted(strangers)}, who are no feature parties")
        try:
            self.canonical()
        except (ValueError, RecursionError):
            raise ValueError("a number or text has no canonical JSON: keep it finite, below 2**53, Unicode") from None
        return self

    def _check_horizons(self) -> None:
        if not self.walk_forward.horizons:
            return
        if not isinstance(self.model, SplitModel) or self.model.outputs > 1:
            raise ValueError("walk_forward.horizons need the split network with one output per label, not this model")
        if self.model.correlation_share == 1 and self.walk_forward.shares[0] < 1:
            raise ValueError(
                "horizons cannot share a score whose outputs have no common unit: choose a model.loss with some "
                "squared error in it, or leave every share 0"
            )

    def _check_search(self, terms: SearchTerms) -> None:
        if not isinstance(self.model, SplitModel) or self.placebo is not None:
            raise ValueError("a search tries settings of the split network: drop it for a ridge or a placebo")
        if self.evaluation.first not in self.calendar.periods[1:]:
            raise ValueError(
                "a search chooses by periods before evaluation.first and reports those from it on: name that period"
            )
        if terms.source_trials > self.possible_source_trials:
            raise ValueError(
                f"the opening budget allows {self.possible_source_trials} trials of the source layer, at "
                f"{1 + self.model.epochs} openings of a row each, and search.source_trials is {terms.source_trials}: "
                "lower it, or raise openings.limit_per_row"
            )

    def _check_continuation(self, terms: ContinuationTerms) -> None:
        still = sorted(set(terms.without) & {p.name for p in self.parties})
        if still:
            raise ValueError(f"continues.without names {still}, who take part in the run")
        if self.placebo is not None:
            raise ValueError("a placebo does not go on from another run: propose it anew")
        if terms.rows == "kept" and self.alignment.policy != "psi":
            raise ValueError('a public universe needs no rows kept: set continues.rows = "fresh"')
        if self.openings_left < 2:
            raise ValueError(
                f"{terms.opened} of {self.row_limit} openings of a row may be used already, and a run needs two or "
                "more: raise openings.limit_per_row"
            )

    @property
    def features(self) -> tuple[PartyTerms, ...]:
        """The feature parties, in agreed order."""
        return tuple(p for p in self.parties if p.role == "feature")

    @property
    def total_features(self) -> int:
        """Columns of all feature parties."""
        return sum(len(p.columns) for p in self.features)

    @property
    def counted_features(self) -> int:
        """Columns that openings are measured against: all but those an encoder made, which are functions of others."""
        return sum(
            sum(not (p.encoder and re.fullmatch(r"enc_\d+", column)) for column in p.columns) for p in self.features
        )

    @property
    def needed_openings(self) -> int:
        """Openings that the plan needs of a predicted row: one prediction, the epochs, the coalitions, the attribution.

        Rows before the first prediction are only trained on: ``warmup_epochs`` times, as far as ``row_limit`` allows
        after the one opening of a warm start, which no predicted row has.
        """
        parties = len(self.features)
        coalitions = 2 ** (parties - 1) - 1 if self.openings.contribution == "masked" and parties > 1 else 0
        return 1 + self.model.epochs + coalitions + int(self.openings.attribution)

    @property
    def schedule_limit(self) -> int:
        """Openings of a row that the schedule plans with: a placebo keeps the schedule of the run it tests.

        A search's own trainings come before, and leave it the rest.
        """
        return self.openings_left - self.search_openings if self.placebo is None else self.placebo.row_limit

    @property
    def search_openings(self) -> int:
        """Openings of a row that the source layer's trials need, before the schedule's own."""
        return self.search.openings(self.model) if self.search and isinstance(self.model, SplitModel) else 0

    @property
    def possible_source_trials(self) -> int:
        """Trials of the source layer for which the budget has room beside the run itself."""
        return max(0, (self.openings_left - self.needed_openings) // (1 + self.model.epochs))

    @property
    def reported_from(self) -> int:
        """Index of the first reported period of a searched run."""
        return self.calendar.periods.index(self.evaluation.first)

    @property
    def reserved_openings(self) -> int:
        """Openings of a predicted row that the schedule leaves for valuation."""
        return self.needed_openings - 1 - self.model.epochs if self.placebo is None else self.placebo.reserved

    def party(self, name: str) -> PartyTerms:
        for terms in self.parties:
            if terms.name == name:
                return terms
        raise AgreementError(f"party {name!r} is not in this agreement")

    def canonical(self) -> bytes:
        """RFC 8785 bytes: what is hashed and signed."""
        return rfc8785.dumps(self.model_dump(mode="json"))

    @property
    def run_id(self) -> str:
        return hashlib.sha256(self.canonical()).hexdigest()

    @property
    def row_limit(self) -> int:
        """Openings per row every feature node enforces."""
        return min(
            self.openings.limit_per_row,
            math.floor(self.openings.largest_fraction * self.counted_features / self.model.embedding_width),
        )

    @property
    def openings_left(self) -> int:
        """Openings per row to plan with: the limit, less what earlier runs that this goes on from may have made."""
        return self.row_limit - (self.continues.opened if self.continues is not None else 0)

    @property
    def rows_kept(self) -> bool:
        """Whether the rows are those of an earlier run, so that nothing is intersected."""
        return self.continues is not None and self.continues.rows == "kept"

    @property
    def initial_purpose(self) -> str:
        """What a node derives its initial weights for.

        The same in every run of these terms, so that a seed gives the same factor; another where a party is missing.
        Were the others' weights the same as before, the difference of two opened sums would be the missing party's own.
        """
        coalition = self.nonce.rpartition(":")[0]
        anew = f"/{coalition}" if coalition else ""
        if self.continues is not None:
            anew += f"/{self.continues.run_id}/{'+'.join(self.continues.without)}"
        return f"initial/{self.model.seed}{anew}"


_DOMAIN = b"entente/run-agreement/1\x00"


def sign_agreement(key: Ed25519PrivateKey, agreement: Agreement) -> str:
    """Ed25519 over the domain tag and the canonical document, hex."""
    return key.sign(_DOMAIN + agreement.canonical()).hex()


def verify_signature(agreement: Agreement, name: str, signature: str) -> None:
    """Raise :class:`AgreementError` unless ``name``'s key in the agreement made ``signature``."""
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(agreement.party(name).identity_key))
        key.verify(bytes.fromhex(signature), _DOMAIN + agreement.canonical())
    except (InvalidSignature, ValueError):
        raise AgreementError(
            f"the signature of {name!r} does not fit this agreement: ask {name!r} to sign again"
        ) from None
