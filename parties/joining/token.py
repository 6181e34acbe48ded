"""The invitation token: where the coordinator is, which certificate it shows, and a secret of one use.

From the secret both sides derive the same short-lived TLS key and certificate (ECDSA after RFC 6979, so that the bytes
agree) and a MAC key. The coordinator's server accepts that certificate for the one call that enrols; a handshake with
it proves the secret without sending it, and is made only after the coordinator showed the certificate in the token.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pydantic import TypeAdapter, ValidationError

from parties.errors import ConfigError
from parties.members.keys import Identity
from parties.names import PartyName

__all__ = ["SECRET_BYTES", "Token"]

SECRET_BYTES = 20
_PREFIX = "entente1-"
_HEAD = struct.Struct(">QB20s32s")
_CHECK = 4
_SKEW = timedelta(minutes=5)
_LONGEST = timedelta(days=30)
_NAME = TypeAdapter(PartyName)


@dataclass(frozen=True, slots=True)
class Token:
    """One invitation. ``role`` is label or feature; ``expires`` is in whole seconds, UTC."""

    name: str
    role: str
    address: str
    fingerprint: str
    secret: bytes
    expires: datetime

    def __repr__(self) -> str:
        return f"Token({self.name!r})"

    def encode(self) -> str:
        """The token as text, without spaces: letters, digits, ``-`` and ``_``."""
        head = _HEAD.pack(
            int(self.expires.timestamp()), self.role == "label", self.secret, bytes.fromhex(self.fingerprint)
        )
        body = head + f"{self.name}\n{self.address}".encode()
        check = hashlib.sha256(body).digest()[:_CHECK]
        return _PREFIX + base64.urlsafe_b64encode(body + check).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> Token:
        """The token that :meth:`encode` gave. Raises :class:`ConfigError` for one that is cut or mistyped."""
        damaged = ConfigError("this is not a whole invitation token: copy it again, from entente1- to its end")
        packed = "".join(text.split())
        if not packed.startswith(_PREFIX):
            raise damaged
        packed = packed.removeprefix(_PREFIX)
        try:
            raw = base64.b64decode(packed + "=" * (-len(packed) % 4), altchars=b"-_", validate=True)
            body, check = raw[:-_CHECK], raw[-_CHECK:]
            if not hmac.compare_digest(hashlib.sha256(body).digest()[:_CHECK], check):
                raise damaged
            seconds, label, secret, fingerprint = _HEAD.unpack(body[: _HEAD.size])
            name, _, address = body[_HEAD.size :].decode().partition("\n")
            expires = datetime.fromtimestamp(seconds, UTC)
            role = "label" if label else "feature"
            return cls(_NAME.validate_python(name), role, address, fingerprint.hex(), secret, expires)
        except (binascii.Error, struct.error, ValueError, OverflowError, OSError, ValidationError):
            raise damaged from None

    def check_fresh(self, now: datetime) -> None:
        """Raise :class:`ConfigError` once the token's time is over."""
        if now >= self.expires:
            raise ConfigError(f"this invitation ended at {self.expires:%Y-%m-%d %H:%M} UTC: ask for a new one")

    def mac_key(self) -> bytes:
        """32 bytes that only holders of the secret know."""
        return self._derived(b"mac", 32)

    def identity(self) -> Identity:
        """The throw-away TLS identity with which the invited party calls. The same at both ends."""
        # 16 bytes more than the order has, so that the remainder is as good as uniform
        number = int.from_bytes(self._derived(b"tls", 48), "big") % (_ORDER - 1) + 1
        key = ec.derive_private_key(number, ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{self.name}.invited.entente")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(int.from_bytes(self._derived(b"serial", 8), "big") | 1)
            .not_valid_before(self.expires - _LONGEST - _SKEW)
            .not_valid_after(self.expires + _SKEW)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .sign(key, hashes.SHA256(), ecdsa_deterministic=True)
        )
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return Identity(self.name, Ed25519PrivateKey.generate(), pem, certificate.public_bytes(Encoding.PEM))

    def _derived(self, purpose: bytes, length: int) -> bytes:
        context = b"entente/invitation/1/" + purpose + b"/" + self.name.encode()
        return HKDF(hashes.SHA256(), length, salt=None, info=context).derive(self.secret)


_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Order of the group of NIST P-256 (SEC 2, 2.4.2)."""
