"""The roster: whom a node deals with, their keys, certificates and addresses."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import StringConstraints, TypeAdapter, ValidationError, model_validator

from parties.errors import ConfigError, PeerError
from parties.names import COORDINATOR, NO_PARTIES, LegalEntity, PartyName
from parties.private_files import write_whole
from vfl.terms import Terms

__all__ = [
    "CLOCK_SKEW",
    "EXPIRY_WARNING",
    "SUCCESSION_EXTENSION",
    "Member",
    "Roster",
    "certificate_fingerprint",
    "certificate_name",
    "endorsed_bytes",
    "expiry_warnings",
    "parse_certificate",
    "succeeds",
    "succession_bytes",
    "Hex32",
]

Hex32 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
EXPIRY_WARNING = timedelta(days=30)


CLOCK_SKEW = timedelta(minutes=5)


SUCCESSION_EXTENSION = x509.ObjectIdentifier("2.25.139562741897362045110987231765430928711")


class Member(Terms):
    """One node as a roster knows it."""

    address: Annotated[str, StringConstraints(pattern=r"^[^\s/]+:[0-9]{1,5}$")]
    certificate: str
    certificate_sha256: Hex32
    identity_key: Hex32
    legal_entity: LegalEntity = ""
    endorsement: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{128})?$")] = ""

    @property
    def expires(self) -> datetime:
        """When the certificate ends, UTC."""
        return parse_certificate(self.certificate.encode()).not_valid_after_utc

    def endorsed(self, name: str) -> bool:
        """Whether the identity key itself signed this name, address, certificate and legal entity."""
        try:
            key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.identity_key))
            said = endorsed_bytes(name, self.address, self.certificate_sha256, self.legal_entity)
            key.verify(bytes.fromhex(self.endorsement), said)
        except (InvalidSignature, ValueError):
            return False
        return True

    @model_validator(mode="after")
    def _pinned(self) -> Member:
        if certificate_fingerprint(parse_certificate(self.certificate.encode())) != self.certificate_sha256:
            raise ValueError("the certificate does not have the SHA-256 written beside it")
        return self

    def self_certified(self, name: str) -> bool:
        """Whether the certificate carries the identity key's own signature over the name and the TLS key."""
        try:
            found = parse_certificate(self.certificate.encode())
            key, extension = found.public_key(), found.extensions.get_extension_for_oid(SUCCESSION_EXTENSION).value
            assert isinstance(extension, x509.UnrecognizedExtension)
            if not isinstance(key, ec.EllipticCurvePublicKey):
                return False
            identity = Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.identity_key))
            identity.verify(extension.value, succession_bytes(name, key))
        except (ValueError, InvalidSignature, x509.ExtensionNotFound):
            return False
        return True

    def check_valid(self, name: str, now: datetime) -> None:
        """Raise :class:`PeerError` when the certificate is not valid at ``now`` (aware)."""
        certificate = parse_certificate(self.certificate.encode())
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            until = certificate.not_valid_after_utc.date()
            raise PeerError(
                f"the certificate of {name!r} is not valid today (it ends {until}): ask for a new one", name
            )


_Members = TypeAdapter(dict[PartyName, Member])


class Roster(Mapping[str, Member]):
    """The nodes this one deals with, by name. Every name, certificate and identity key occurs once.

    Those who hold a roster see members that :meth:`replace` brings in, each at its next look.
    """

    def __init__(self, members: Mapping[str, Member]) -> None:
        self._held = _held(members)

    def __getitem__(self, name: str) -> Member:
        return self._held[0][name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._held[0])

    def __len__(self) -> int:
        return len(self._held[0])

    def replace(self, members: Mapping[str, Member]) -> None:
        """Hold other members from now on, all at once. Any thread."""
        self._held = _held(members)

    def member(self, name: str) -> Member:
        """The member called ``name``; :class:`PeerError` when the roster has none."""
        try:
            return self._held[0][name]
        except KeyError:
            raise PeerError(f"{name!r} is not in the roster: add its address and certificate first", name) from None

    def name_of(self, certificate: bytes) -> str | None:
        """Who owns the TLS certificate (PEM), or None."""
        try:
            return self._held[1].get(certificate_fingerprint(parse_certificate(certificate)))
        except ValueError:
            return None

    @classmethod
    def load(cls, path: Path) -> Roster:
        """Read ``roster.json``. Raises :class:`ConfigError` naming the file and the fault."""
        try:
            return cls(_Members.validate_json(path.read_bytes()))
        except FileNotFoundError:
            raise ConfigError(f"{path}: no such file; ask the consortium admin for the roster") from None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the file"
            raise ConfigError(f"{path}: {where}: {first['msg']}") from None

    def save(self, path: Path) -> None:
        """Write ``roster.json`` so that a reader never sees half of it."""
        text = json.dumps({name: member.model_dump() for name, member in sorted(self.items())}, indent=2)
        write_whole(path, f"{text}\n".encode())


def _held(members: Mapping[str, Member]) -> tuple[dict[str, Member], dict[str, str]]:
    """The members, and their names by certificate."""
    names = {member.certificate_sha256: name for name, member in members.items()}
    keys = {member.identity_key for member in members.values()}
    if not len(names) == len(keys) == len(members):
        raise ConfigError("two members of the roster share a certificate or an identity key: each node needs its own")
    return dict(members), names


def endorsed_bytes(name: str, address: str, certificate_sha256: str, legal_entity: str = "") -> bytes:
    """What a member's own key signs of its entry: without a legal entity as it was before entries could have one."""
    if not legal_entity:
        return b"entente/member/1\x00" + json.dumps([name, address, certificate_sha256]).encode()
    return b"entente/member/2\x00" + json.dumps([name, address, certificate_sha256, legal_entity]).encode()


def certificate_name(name: str) -> str:
    """The host name that ``name``'s certificate is made out to."""
    return f"{name}.entente"


def succession_bytes(name: str, key: ec.EllipticCurvePublicKey) -> bytes:
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return b"entente/certificate/1\x00" + name.encode() + b"\x00" + spki


def succeeds(name: str, known: Member, certificate: bytes) -> bool:
    """Whether ``certificate`` (PEM) is a later one of the member ``known``, signed by its identity key."""
    try:
        found, before = parse_certificate(certificate), parse_certificate(known.certificate.encode())
        key = found.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey) or found.not_valid_before_utc <= before.not_valid_before_utc:
            return False
        extension = found.extensions.get_extension_for_oid(SUCCESSION_EXTENSION).value
        assert isinstance(extension, x509.UnrecognizedExtension)
        identity = Ed25519PublicKey.from_public_bytes(bytes.fromhex(known.identity_key))
        identity.verify(extension.value, succession_bytes(name, key))
    except (ValueError, InvalidSignature, x509.ExtensionNotFound):
        return False
    return True


def parse_certificate(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem)


def certificate_fingerprint(certificate: x509.Certificate) -> str:
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def expiry_warnings(roster: Mapping[str, Member], now: datetime) -> tuple[str, ...]:
    """One sentence for each certificate that has ended or ends within 30 days, with what renews it."""
    told = []
    for name, member in roster.items():
        ended, days = member.expires < now, (member.expires - now).days
        if ended:
            told.append(f"the certificate of {name} ended on {member.expires:%Y-%m-%d}: {_renewed(name, ended=True)}")
        elif member.expires - now < EXPIRY_WARNING:
            remedy = _renewed(name, ended=False)
            told.append(f"the certificate of {name} ends on {member.expires:%Y-%m-%d}, in {days} days: {remedy}")
    return tuple(told)


def _renewed(name: str, *, ended: bool) -> str:
    """What gives this node a new certificate. A party whose own has ended is not let in to renew it."""
    if name == COORDINATOR:
        return "run `entente coordinator rotate --home COORDINATOR`, and start it again"
    if name in NO_PARTIES:
        return "it needs a new one" if ended else "rotate it"
    if ended:
        return (
            f"run `entente coordinator revoke {name} --home COORDINATOR`, then `entente invite {name} --home "
            "COORDINATOR`, with which it joins again"
        )
    return f"its operator runs `entente party rotate --home {name}`, and starts the node again"
