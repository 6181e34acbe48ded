"""What a label party signs before a run's first step: roots over its labels and its own columns. Pure."""

from __future__ import annotations

from typing import Annotated

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import Field, StringConstraints, ValidationError

from parties.fields import RunId, Sha256
from parties.names import PartyName
from vfl.arithmetic.received import MalformedError
from vfl.terms import Terms

__all__ = ["COMMITMENT", "LabelCommitment"]

COMMITMENT = "commitment"
"""Kind of its entry in the audit log."""

LARGEST = 4096
_DOMAIN = b"entente/label-commitment/1\x00"


class LabelCommitment(Terms):
    """Roots over ``rows`` rows, with the label party's Ed25519 signature. entities: SHA-256 of their names in order."""

    run_id: RunId
    party: PartyName
    rows: int = Field(ge=1)
    entities: Sha256
    labels: Sha256
    columns: Sha256
    signature: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{128})?$")] = ""

    @property
    def said(self) -> bytes:
        """What is signed."""
        return _DOMAIN + rfc8785.dumps(self.model_dump(mode="json", exclude={"signature"}))

    @classmethod
    def read(cls, document: bytes) -> LabelCommitment:
        """Raises MalformedError for anything but a commitment."""
        try:
            if len(document) > LARGEST:
                raise ValueError
            return cls.model_validate_json(document)
        except (ValidationError, ValueError, RecursionError):
            raise MalformedError("sent a commitment to its labels that is not understood") from None

    def signed_by(self, identity_key: str) -> bool:
        """Whether the signature is that of this raw Ed25519 key, hex."""
        try:
            key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(identity_key))
            key.verify(bytes.fromhex(self.signature), self.said)
        except (InvalidSignature, ValueError):
            return False
        return True
