"""Signatures under an agreement: Ed25519 over its canonical bytes."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from parties.agreement.document import Agreement
from parties.errors import AgreementError

__all__ = ["sign_agreement", "verify_signature"]

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
