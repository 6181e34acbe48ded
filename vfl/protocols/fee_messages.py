"""Confidential usage fees: the terms, the messages of a round, and what each signature covers.

What is made of them is in ``vfl.protocols.fee_reports``, the flows are in ``vfl.protocols.fees``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from psi.flow import LocalProtocolError, Message, Payload, Role, message
from vfl.arithmetic.paillier import PaillierPublic
from vfl.protocols.ranges import MOST_BITS

__all__ = [
    "FEWEST_REPORTERS",
    "FeeAggregate",
    "FeeProduct",
    "FeeReport",
    "FeeTerms",
    "FeeTotal",
    "FeesCollected",
    "FeesOpened",
    "product_statement",
    "report_statement",
    "total_statement",
]

_SOURCE = "Paillier, EUROCRYPT 1999; range proof after Damgard and Jurik, PKC 2001"
_REPORT = b"entente/fee-report/1\x00"
_PRODUCT = b"entente/fee-product/1\x00"
_TOTAL = b"entente/fee-total/1\x00"
FEWEST_REPORTERS = 3
"""With two, each would read the other's fee from the total."""


@message(
    "fees.report",
    sender=Role.PARTY,
    receiver=Role.COORDINATOR,
    payload=Payload.CIPHERTEXT,
    reveals="that the sender's fee is in the agreed range; nothing else of it without the key holder's key",
    source=_SOURCE,
)
class FeeReport(Message):
    """One party's fee for one period, encrypted, with its range proof, signed."""

    terms: bytes
    period: str
    ciphertext: bytes
    proof: bytes
    signature: bytes


@message(
    "fees.collected",
    sender=Role.COORDINATOR,
    receiver=Role.PARTY,
    payload=Payload.CIPHERTEXT,
    reveals="who reports; nothing of a fee without the key holder's key, and the key holder gets none of it",
    source=_SOURCE,
)
class FeesCollected(Message):
    """Every report's ciphertext and signature, for each reporter but the key holder to multiply itself."""

    terms: bytes
    period: str
    reporters: tuple[str, ...]
    ciphertexts: tuple[bytes, ...]
    signatures: tuple[bytes, ...]


@message(
    "fees.product",
    sender=Role.PARTY,
    receiver=Role.COORDINATOR,
    payload=Payload.PUBLIC,
    reveals="that the sender multiplied the reports itself and may have the product opened",
    source="docs/protocols/fees.md#a-round",
)
class FeeProduct(Message):
    """A reporter's signature over the product that it made itself of the signed reports."""

    terms: bytes
    period: str
    signature: bytes


@message(
    "fees.aggregate",
    sender=Role.COORDINATOR,
    receiver=Role.PARTY,
    payload=Payload.CIPHERTEXT,
    reveals="to the key holder: the total of the reporters' fees; digests of their reports hide each",
    source=_SOURCE,
)
class FeeAggregate(Message):
    """The product of the reports, who signed which of them, and everybody's signature but the key holder's under it."""

    terms: bytes
    period: str
    ciphertext: bytes
    reporters: tuple[str, ...]
    digests: tuple[bytes, ...]
    signatures: tuple[bytes, ...]
    products: tuple[bytes, ...]


@message(
    "fees.total",
    sender=Role.PARTY,
    receiver=Role.COORDINATOR,
    payload=Payload.RESULT,
    reveals="the total, and the product's randomness, which proves it and shows nothing of any one report",
    source=_SOURCE,
)
class FeeTotal(Message):
    """What the aggregate holds: encrypting ``total`` with ``randomness`` gives it again. Signed by the key holder."""

    terms: bytes
    period: str
    total: int
    randomness: bytes
    signature: bytes


@message(
    "fees.opened",
    sender=Role.COORDINATOR,
    receiver=Role.PARTY,
    payload=Payload.RESULT,
    reveals="the total with its proof, who is in it and who is not",
    source=_SOURCE,
)
class FeesOpened(Message):
    """The result for everybody: enough to check the total and that one's own report is in it."""

    terms: bytes
    period: str
    ciphertext: bytes
    reporters: tuple[str, ...]
    digests: tuple[bytes, ...]
    products: tuple[bytes, ...]
    absent: tuple[str, ...]
    total: int
    randomness: bytes
    signature: bytes


@dataclass(frozen=True)
class FeeTerms:
    """What all agreed on. context: the run or agreement id. keys: Ed25519 public keys of all who must report.

    bits: a fee is below 2**bits minor units.
    """

    context: str
    key_holder: str
    modulus: int
    bits: int
    keys: Mapping[str, bytes]

    def __post_init__(self) -> None:
        if self.key_holder not in self.keys:
            raise LocalProtocolError(f"the key holder {self.key_holder!r} is none of the parties: name one of them")
        if len(self.keys) < FEWEST_REPORTERS:
            raise LocalProtocolError("with two parties the total tells each the other's fee: three or more are needed")
        if not 1 <= self.bits <= MOST_BITS:
            raise LocalProtocolError(f"a fee's range has 1 to {MOST_BITS} bits, not {self.bits}")

    @property
    def public(self) -> PaillierPublic:
        return PaillierPublic(self.modulus)

    @property
    def digest(self) -> bytes:
        """SHA-256 that binds every message to these terms."""
        parts = [self.context, self.key_holder, f"{self.modulus:x}", str(self.bits)]
        parts += [f"{name}={key.hex()}" for name, key in sorted(self.keys.items())]
        return hashlib.sha256(b"".join(len(p).to_bytes(4, "little") + p.encode() for p in parts)).digest()

    def verify(self, name: str, statement: bytes, signature: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(self.keys[name]).verify(signature, statement)
        except (InvalidSignature, ValueError):
            return False
        return True


def report_statement(terms: bytes, period: str, party: str, digest: bytes) -> bytes:
    """What a report's signature covers; ``digest`` is the SHA-256 of the ciphertext."""
    head = f"{party}\x00{period}".encode()
    return _REPORT + terms + len(head).to_bytes(4, "little") + head + digest


def total_statement(terms: bytes, period: str, ciphertext: bytes, total: int) -> bytes:
    """What the key holder's signature covers."""
    body = hashlib.sha256(ciphertext).digest() + total.to_bytes(16, "little", signed=True)
    return _TOTAL + terms + len(period.encode()).to_bytes(4, "little") + period.encode() + body


def product_statement(
    terms: bytes, period: str, party: str, reporters: Sequence[str], digests: Sequence[bytes], ciphertext: bytes
) -> bytes:
    """What a reporter signs once it has multiplied the reports: whose they are, which, and what they come to."""
    head = "\x00".join((party, period, *reporters)).encode()
    body = b"".join(digests) + hashlib.sha256(ciphertext).digest()
    return _PRODUCT + terms + len(head).to_bytes(4, "little") + head + body
