"""Signed heads: what the whole journal was at one moment, vouched for by a key. Pure.

The hash chain shows that nothing inside it was changed; it cannot show that the chain was not rewritten from some entry
on. A head that was signed and is kept elsewhere can: the ledger must still have that hash at that entry.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from datetime import datetime

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from parties.errors import LedgerError
from parties.ledger.entries import Head, instant

__all__ = ["SignedHead", "head_from_json", "sign_head"]

_DOMAIN = b"entente/ledger-head/1\x00"


@dataclass(frozen=True, slots=True)
class SignedHead:
    """``sequence`` entries hash to ``digest`` (hex), says ``signer`` at ``timestamp`` (UTC text)."""

    sequence: int
    digest: str
    timestamp: str
    signer: str
    signature: str

    def to_json(self) -> str:
        """One JSON object, as it is kept."""
        return json.dumps(asdict(self), indent=2) + "\n"

    def verify(self, public_key: str) -> None:
        """Raise :class:`LedgerError` unless this Ed25519 key (hex) signed it."""
        try:
            key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key))
            key.verify(bytes.fromhex(self.signature), _message(self))
        except (InvalidSignature, ValueError):
            raise LedgerError(
                f"the head of entry {self.sequence} does not carry the signature of {self.signer!r}: ask for it again"
            ) from None

    def check_against(self, found: str | None) -> None:
        """Raise :class:`LedgerError` unless ``found``, the ledger's hash at that entry, is the one signed."""
        if found is None:
            raise LedgerError(
                f"the ledger has lost entries: {self.signer!r} signed a head of {self.sequence}; restore a backup"
            )
        if found != self.digest:
            raise LedgerError(
                f"the ledger was rewritten: entry {self.sequence} is not what {self.signer!r} signed; restore a backup"
            )


def sign_head(head: Head, at: datetime, signer: str, key: Ed25519PrivateKey) -> SignedHead:
    """Vouch for ``head`` under ``signer``'s key."""
    unsigned = SignedHead(head.sequence, head.digest, instant(at), signer, "")
    return SignedHead(head.sequence, head.digest, instant(at), signer, key.sign(_message(unsigned)).hex())


def head_from_json(text: str) -> SignedHead:
    """Read what :meth:`SignedHead.to_json` wrote. Raises :class:`LedgerError` for anything else."""
    try:
        body = json.loads(text)
        head = SignedHead(**body)
    except (ValueError, TypeError, RecursionError):
        head = None
    if (
        head is None
        or type(head.sequence) is not int
        or not 0 <= head.sequence < 2**53
        or not all(isinstance(part, str) for part in (head.timestamp, head.signer, head.signature, head.digest))
        or not re.fullmatch(r"[0-9a-f]{64}", head.digest)
    ):
        raise LedgerError("this is not a signed head: name a file that entente ledger head wrote")
    return head


def _message(head: SignedHead) -> bytes:
    body = asdict(head)
    del body["signature"]
    return _DOMAIN + rfc8785.dumps(body)
