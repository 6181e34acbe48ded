"""An overlap proposal: members agree to learn about how many entities they share, before any run is signed.

A canonical document like an agreement: every member signs it, its hash names the estimate, and nothing moves before
all have signed. What the estimate costs of each member's budget is in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import AwareDatetime, Field, StringConstraints, model_validator

from parties.errors import AgreementError
from parties.fields import Signature, StrictTerms, Text
from parties.names import PartyName
from psi.overlap import OverlapTerms, dummies_for

__all__ = [
    "DELTA",
    "OverlapAnswer",
    "OverlapFound",
    "OverlapProposal",
    "OverlapState",
    "overlap_lines",
    "sign_overlap",
    "verify_overlap",
]

DELTA = 1e-9
"""The chance, for each entity, that an estimate tells more than its epsilon says, all its numbers together."""

_LONGEST = timedelta(days=31)
_LEAST_EACH = 0.1
"""Least epsilon of one number: below it a list is mostly dummies, a hundred times more for a tenth of it."""

_DOMAIN = b"entente/overlap/1\x00"
Part = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 &._-]{0,39}$")]


class OverlapProposal(StrictTerms):
    """What is to be estimated, among whom, and how exactly. The first member counts."""

    version: Literal[1] = 1
    members: Annotated[tuple[PartyName, ...], Field(min_length=2, max_length=5)]
    epsilon: float = Field(gt=0, le=10, description="of everything that this estimate tells of an entity")
    by: Literal["all", "year", "sector"] = Field(default="all", description="one number, or one for each part")
    parts: Annotated[tuple[Part, ...], Field(max_length=24)] = ()
    largest_set: int = Field(ge=1, le=200_000, description="every list is filled to it, so that no size shows")
    purpose: Text = ""
    proposed_at: AwareDatetime
    expires_at: AwareDatetime
    nonce: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]

    @model_validator(mode="after")
    def _consistent(self) -> OverlapProposal:
        if len(set(self.members)) != len(self.members):
            raise ValueError("two members share a name")
        if (self.by == "all") != (not self.parts) or len({part.casefold() for part in self.parts}) != len(self.parts):
            raise ValueError("parts are named for a year or a sector each, once, and for nothing else")
        if self.by == "year" and not all(part.isdigit() and len(part) == 4 for part in self.parts):
            raise ValueError("years are written as 2024")
        if self.expires_at <= self.proposed_at:
            raise ValueError("expires_at is not after proposed_at")
        if self.expires_at - self.proposed_at > _LONGEST:
            raise ValueError(f"an overlap is answered within {_LONGEST.days} days")
        if self.epsilon_each < _LEAST_EACH:
            raise ValueError(
                f"each number takes epsilon {_LEAST_EACH:g} at least: name a larger epsilon or fewer years"
            )
        return self

    def canonical(self) -> bytes:
        """What is signed and hashed."""
        return rfc8785.dumps(self.model_dump(mode="json"))

    @property
    def overlap_id(self) -> str:
        """The estimate's name."""
        return hashlib.sha256(_DOMAIN + self.canonical()).hexdigest()

    @property
    def epsilon_each(self) -> float:
        """Of one part. An entity has rows in every year and stands in one sector."""
        return self.epsilon / self._shared_by

    @property
    def _shared_by(self) -> int:
        """Numbers that one entity moves, which share epsilon and delta."""
        return len(self.parts) if self.by == "year" else 1

    @property
    def terms(self) -> OverlapTerms:
        """The protocol's."""
        return OverlapTerms(self.members, self.largest_set, dummies_for(self.epsilon_each, DELTA / self._shared_by))


class OverlapFound(StrictTerms):
    """The estimate of one part ("" for all): by group, its names joined by +, entities that all of it hold."""

    part: str = ""
    together: dict[str, float]


class OverlapAnswer(StrictTerms):
    """What a member says: that it signs the proposal, refuses it, could not do it, or what came of it."""

    proposal: OverlapProposal
    signature: Signature | None = None
    refused: Text = ""
    failed: Text = ""
    found: Annotated[tuple[OverlapFound, ...], Field(max_length=24)] = ()


class OverlapState(StrictTerms):
    """A proposal, and who has said what, as the coordinator passes it on."""

    proposal: OverlapProposal
    signatures: dict[PartyName, Signature] = Field(default_factory=dict)
    refused: dict[PartyName, Text] = Field(default_factory=dict)
    failed: dict[PartyName, Text] = Field(default_factory=dict)
    found: Annotated[tuple[OverlapFound, ...], Field(max_length=24)] = ()

    @property
    def status(self) -> Literal["waiting", "signed", "refused", "failed", "done"]:
        """Where it stands."""
        if self.found:
            return "done"
        if self.refused:
            return "refused"
        if self.failed:
            return "failed"
        return "signed" if set(self.signatures) == set(self.proposal.members) else "waiting"


def sign_overlap(key: Ed25519PrivateKey, proposal: OverlapProposal) -> str:
    """Ed25519 over the domain tag and the canonical document, hex."""
    return key.sign(_DOMAIN + proposal.canonical()).hex()


def verify_overlap(proposal: OverlapProposal, name: str, identity_key: str, signature: str) -> None:
    """Raise :class:`AgreementError` unless ``name``'s key made ``signature``."""
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(identity_key))
        key.verify(bytes.fromhex(signature), _DOMAIN + proposal.canonical())
    except (InvalidSignature, ValueError):
        raise AgreementError(f"the signature of {name!r} does not fit this overlap proposal") from None


def overlap_lines(proposal: OverlapProposal, used: Mapping[str, float] | None = None) -> tuple[str, ...]:
    """What whoever answers reads first. used: of this party's budget, by counterparty."""
    terms, parts = proposal.terms, ""
    if proposal.parts:
        parts = f", for each {proposal.by} of {', '.join(proposal.parts)}"
    lines = [
        f"To estimate how many entities {', '.join(proposal.members)} share{parts}; {proposal.members[0]} counts.",
        f"Purpose: {proposal.purpose or 'none given'}",
        f"Every number carries noise of up to {max(map(terms.deviation, range(2, len(proposal.members) + 1))):.0f} "
        f"entities (one standard deviation). All members learn it, and the coordinator, whose page shows it.",
        f"Epsilon {proposal.epsilon:g} in all, delta {DELTA:g}: nobody, whatever it knows besides, can raise the odds "
        f"that a given entity is in your set by more than a factor of {2.718281828459045**proposal.epsilon:.1f}.",
        "No set size, no entity and no exact count shows. A member that cheats can take out the noise that hides "
        "the others' sets from it, or ask about made-up sets: answer those whom you trust to follow the protocol.",
        f"Lists hold {terms.length:,} entries each, up to {proposal.largest_set:,} of them entities. "
        f"Answer until {proposal.expires_at:%Y-%m-%d %H:%M} UTC.",
    ]
    for name, spent in sorted((used or {}).items()):
        lines.append(f"With {name} this party has spent epsilon {spent:g} in the last 365 days.")
    return tuple(lines)
