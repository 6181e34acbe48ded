"""Four eyes: what is to be posted, why, and which people approved it. Pure.

A *dossier* is one JSON document: the transactions, the reasons people read, and the approvals. Its digest covers
everything but the approvals; an approval is an Ed25519 signature over the digest under a domain tag of its own, and
the digest is the evidence of every entry that is posted from it. So the books say what was approved, and the dossier
says by whom.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import AwareDatetime, Field, StringConstraints, model_validator

from parties.errors import LedgerError
from parties.ledger.entries import Posting, State, Transaction
from parties.names import PartyName
from vfl.terms import Terms

__all__ = ["Approval", "Dossier", "DossierKind", "Intended", "Requirement"]

DossierKind = Literal[
    "close", "final", "void", "correction", "dispute", "judgement", "receipt", "exit", "release", "pay", "licence"
]

_DIGEST = b"entente/dossier/1\x00"
_APPROVAL = b"entente/dossier-approval/1\x00"
_Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{128}$")]


class Intended(Terms):
    """A transaction as it will be posted, less its evidence, which is the dossier's digest."""

    id: str
    timestamp: AwareDatetime
    narration: str
    postings: tuple[tuple[str, int], ...] = ()
    state: State = State.POSTED
    resolves: str | None = None
    run_id: str = ""

    @classmethod
    def of(cls, transaction: Transaction) -> Intended:
        """What this transaction intends."""
        return cls(
            id=transaction.id,
            timestamp=transaction.timestamp,
            narration=transaction.narration,
            postings=tuple((p.account, p.amount) for p in transaction.postings),
            state=transaction.state,
            resolves=transaction.resolves,
            run_id=transaction.run_id,
        )


class Approval(Terms):
    """One person's signature over a dossier's digest."""

    name: PartyName
    at: AwareDatetime
    signature: _Hex


class Requirement(Terms):
    """Whose approvals count (Ed25519 public keys by name), how many are needed, and whose in any case."""

    people: dict[PartyName, str]
    needed: int = Field(ge=1)
    must: tuple[PartyName, ...] = Field(default=(), description="parties it concerns: each of them, and others besides")

    def missing(self, signed: Collection[str]) -> int:
        """How many approvals are missing once these people have given theirs."""
        return max(self.needed - len(signed), len(set(self.must) - set(signed)))


class Dossier(Terms):
    """One step of a settlement, from its proposal to its posting."""

    version: Literal[1, 2] = Field(default=2, description="1: made before money needed the parties it concerns")
    kind: DossierKind
    run_id: str = ""
    party: str = ""
    proposer: PartyName
    made_at: AwareDatetime
    reasons: tuple[str, ...]
    basis: dict[str, Any] = Field(default_factory=dict, description="the numbers the amounts were computed from")
    transactions: tuple[Intended, ...] = Field(min_length=1)
    approvals: tuple[Approval, ...] = ()

    @model_validator(mode="after")
    def _hashable(self) -> Dossier:
        try:
            _ = self.digest
        except (ValueError, RecursionError):
            raise ValueError("a number or text has no canonical JSON: keep it finite, below 2**53, Unicode") from None
        return self

    @property
    def digest(self) -> str:
        """SHA-256 over everything but the approvals, hex."""
        body = self.model_dump(mode="json", exclude={"approvals"})
        return hashlib.sha256(_DIGEST + rfc8785.dumps(body)).hexdigest()

    def approved_by(self, name: str, key: Ed25519PrivateKey, at: datetime) -> Dossier:
        """This dossier with one more approval. Approving twice changes nothing."""
        if name in {approval.name for approval in self.approvals}:
            return self
        signature = key.sign(_APPROVAL + bytes.fromhex(self.digest)).hex()
        return self.model_copy(update={"approvals": (*self.approvals, Approval(name=name, at=at, signature=signature))})

    def signers(self, people: Mapping[str, str]) -> tuple[str, ...]:
        """Who approved with the key that ``people`` has under their name.

        Raises :class:`LedgerError` for a signature of one of them that does not fit; strangers do not count.
        """
        message = _APPROVAL + bytes.fromhex(self.digest)
        found: dict[str, str] = {}
        for approval in self.approvals:
            known = people.get(approval.name)
            if known is None:
                continue
            try:
                Ed25519PublicKey.from_public_bytes(bytes.fromhex(known)).verify(
                    bytes.fromhex(approval.signature), message
                )
            except (InvalidSignature, ValueError):
                raise LedgerError(
                    f"the approval of {approval.name!r} does not fit this dossier: it was changed after it was "
                    "approved, or another key signed; propose the step again"
                ) from None
            found.setdefault(known, approval.name)
        return tuple(found.values())

    def check(self, requirement: Requirement) -> tuple[str, ...]:
        """The people who approved, enough of them. Raises :class:`LedgerError` saying who is still needed."""
        signed = self.signers(requirement.people)
        missing = requirement.missing(signed)
        if missing:
            concerned = sorted(set(requirement.must) - set(signed))
            others = concerned or sorted(set(requirement.people) - set(signed))
            raise LedgerError(
                f"{missing} more approval{'s' * (missing > 1)} needed from different people ({', '.join(others)}): "
                "ask them to run entente settle approve"
            )
        return signed

    def intended(self) -> list[Transaction]:
        """The transactions to post, with the digest as evidence."""
        evidence = self.digest
        return [
            Transaction(
                one.id,
                one.timestamp,
                one.narration,
                tuple(Posting(account, amount) for account, amount in one.postings),
                one.state,
                one.resolves,
                one.run_id,
                evidence,
            )
            for one in self.transactions
        ]
