"""A run's contributions as its label party signed them: what it sends to the parties, and what everybody is judged by.

Pure. One document serves all: the coordinator takes it as the label party's report, each feature party keeps it, and a
settlement is judged by it alone.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import ConfigDict, StringConstraints, ValidationError

from parties.agreement.document import Agreement
from parties.errors import AgreementError
from parties.fields import RunId
from parties.settlement.contribution import ContributionRecord
from vfl.terms import Terms

__all__ = ["LARGEST", "SignedContribution", "canonical_record", "contribution_digest"]

LARGEST = 16 * 2**20
"""Bytes of a document: 64 parties with 4,000 periods each fit four times over."""

_DOMAIN = b"entente/contribution/1\x00"
_UNSAID = ("periods", "uplift_by_period", "committed")
"""What records of an earlier version do not have, so that their digest stays what it was."""


def canonical_record(record: ContributionRecord) -> dict[str, Any]:
    """What is hashed and signed of a record; one of an earlier version keeps the bytes it had."""
    body: dict[str, Any] = record.model_dump(mode="json")
    return {name: value for name, value in body.items() if value or name not in _UNSAID}


def contribution_digest(record: ContributionRecord | None) -> str:
    """SHA-256 of the contributions a settlement rests on, hex; of an empty document without any."""
    body: dict[str, Any] = {} if record is None else canonical_record(record)
    return hashlib.sha256(rfc8785.dumps(body)).hexdigest()


class SignedContribution(Terms):
    """The record of one run with its label party's Ed25519 signature over run id and record."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    run_id: RunId
    record: ContributionRecord
    signature: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{128}$")]

    @classmethod
    def made(cls, key: Ed25519PrivateKey, run_id: str, record: ContributionRecord) -> SignedContribution:
        """Sign as the label party."""
        return cls(run_id=run_id, record=record, signature=key.sign(_message(run_id, record)).hex())

    @classmethod
    def read(cls, document: bytes) -> SignedContribution:
        """The document. Raises :class:`AgreementError` for anything else."""
        try:
            if len(document) > LARGEST:
                raise ValueError
            return cls.model_validate_json(document)
        except (ValidationError, ValueError, RecursionError):
            raise AgreementError("the signed contributions are not understood: use one version on both sides") from None

    def verify(self, run_id: str, agreement: Agreement) -> None:
        """Raise :class:`AgreementError` unless it is of this run and carries its label party's signature."""
        label = agreement.label.party
        if self.run_id != run_id:
            raise AgreementError(f"the contributions are of run {self.run_id[:12]}, not of {run_id[:12]}")
        try:
            key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(agreement.party(label).identity_key))
            key.verify(bytes.fromhex(self.signature), _message(self.run_id, self.record))
        except (InvalidSignature, ValueError):
            raise AgreementError(
                f"the contributions do not carry the signature of {label!r}: {label!r} has to value the run again"
            ) from None


def _message(run_id: str, record: ContributionRecord) -> bytes:
    return _DOMAIN + bytes.fromhex(run_id) + bytes.fromhex(contribution_digest(record))
