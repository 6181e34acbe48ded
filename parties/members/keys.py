"""Who a node is: its keys and certificate on disk, and the roster of those it deals with.

A node has an Ed25519 identity key (signs agreements and log heads) and an EC P-256 key with a
self-signed certificate (TLS). Nobody certifies anybody: the roster names each peer's certificate and
its SHA-256, exchanged out of band, and a connection is accepted only from and to exactly that certificate.
The certificate is no authority (``CA:FALSE``), so a rostered party cannot vouch for another.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from parties.errors import ConfigError
from parties.members.passphrase import passphrase_for
from parties.members.roster import (
    CLOCK_SKEW,
    SUCCESSION_EXTENSION,
    Member,
    certificate_fingerprint,
    certificate_name,
    endorsed_bytes,
    parse_certificate,
    succession_bytes,
)
from parties.names import normal_entity
from parties.private_files import write_new

__all__ = [
    "Identity",
    "TlsKeys",
    "create_identity",
    "create_reading_key",
    "create_tls_keys",
    "load_identity",
    "load_reading_key",
    "load_tls_keys",
    "renew_certificate",
    "store_certificate",
]

VALIDITY = timedelta(days=397)
_IDENTITY, _TLS_KEY, _TLS_CERTIFICATE = "identity.key", "tls.key", "tls.crt"


@dataclass(frozen=True, slots=True)
class Identity:
    """A node's own keys. Nothing secret shows in its ``repr``."""

    name: str
    key: Ed25519PrivateKey = field(repr=False)
    tls_key: bytes = field(repr=False)
    certificate: bytes = field(repr=False)

    @property
    def public_key(self) -> str:
        """Ed25519 public key, hex."""
        return self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()

    @property
    def certificate_sha256(self) -> str:
        """SHA-256 of the TLS certificate in DER, hex."""
        return certificate_fingerprint(parse_certificate(self.certificate))

    def member(self, address: str, legal_entity: str = "") -> Member:
        """The entry others keep of this node, reachable at ``address`` (host:port), signed by its identity key.

        ``legal_entity``: to whom the party belongs; it decides who shares a reward, and "" names nobody.
        """
        entity = normal_entity(legal_entity)
        return Member(
            address=address,
            certificate=self.certificate.decode(),
            certificate_sha256=self.certificate_sha256,
            identity_key=self.public_key,
            legal_entity=entity,
            endorsement=self.key.sign(endorsed_bytes(self.name, address, self.certificate_sha256, entity)).hex(),
        )

    @property
    def expires(self) -> datetime:
        """When the TLS certificate ends, UTC."""
        return parse_certificate(self.certificate).not_valid_after_utc


@dataclass(frozen=True, slots=True)
class TlsKeys:
    """What it takes to call others as ``name``, and no more: it signs nothing that anybody would take as its word."""

    name: str
    tls_key: bytes = field(repr=False)
    certificate: bytes = field(repr=False)

    @property
    def expires(self) -> datetime:
        """When the certificate ends, UTC."""
        return parse_certificate(self.certificate).not_valid_after_utc


def create_identity(
    name: str,
    directory: Path,
    *,
    hosts: Iterable[str] = (),
    now: datetime | None = None,
    validity: timedelta = VALIDITY,
    passphrase: bytes | None = None,
) -> Identity:
    """Make keys and a certificate for ``name`` in ``directory`` (0700, files 0600).

    ``hosts`` are further DNS names or IP addresses for the certificate; ``now`` is an aware datetime; private keys are
    encrypted under ``passphrase`` where there is one.
    Raises :class:`ConfigError` when the directory already holds keys: they are never overwritten.
    """
    identity = Ed25519PrivateKey.generate()
    tls = ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate(name, identity, tls, hosts, now or datetime.now(UTC), validity)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    directory.chmod(0o700)
    content = {
        _IDENTITY: _private_pem(identity, passphrase),
        _TLS_KEY: _private_pem(tls, passphrase),
        _TLS_CERTIFICATE: certificate.public_bytes(Encoding.PEM),
    }
    made: list[Path] = []
    try:
        for file, text in content.items():
            _write(directory / file, text)
            made.append(directory / file)
    except BaseException:
        for path in made:
            path.unlink(missing_ok=True)
        raise
    return load_identity(name, directory, passphrase)


def create_tls_keys(
    name: str,
    directory: Path,
    address: str,
    *,
    now: datetime | None = None,
    validity: timedelta = VALIDITY,
    passphrase: bytes | None = None,
) -> Member:
    """Make a TLS key and a certificate for ``name`` in ``directory``, and the roster's entry for it.

    Its identity key endorses the entry here, once, and is forgotten: nobody can sign as ``name`` afterwards, and the
    certificate has no successor but new keys of this kind. Files are as :func:`create_identity` makes them; earlier
    ones of the same names are replaced, since nothing but a connection hangs on them.
    """
    signer = Ed25519PrivateKey.generate()
    tls = ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate(name, signer, tls, (), now or datetime.now(UTC), validity)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    directory.chmod(0o700)
    content = {_TLS_KEY: _private_pem(tls, passphrase), _TLS_CERTIFICATE: certificate.public_bytes(Encoding.PEM)}
    with _written_beside(directory, content) as files:
        for file in files:
            (directory / f"{file}.new").replace(directory / file)
    return Identity(name, signer, _private_pem(tls), content[_TLS_CERTIFICATE]).member(address)


def renew_certificate(
    identity: Identity, *, hosts: Iterable[str] = (), now: datetime | None = None, validity: timedelta = VALIDITY
) -> Identity:
    """The same node with a new TLS key and certificate, in memory; :func:`store_certificate` puts them in force."""
    tls = ec.generate_private_key(ec.SECP256R1())
    # a successor begins later than what it succeeds, in the whole seconds of a certificate
    least = parse_certificate(identity.certificate).not_valid_before_utc + CLOCK_SKEW + timedelta(seconds=1)
    begins = max(now or datetime.now(UTC), least)
    certificate = _certificate(identity.name, identity.key, tls, hosts, begins, validity)
    return Identity(identity.name, identity.key, _private_pem(tls), certificate.public_bytes(Encoding.PEM))


def store_certificate(identity: Identity, directory: Path, passphrase: bytes | None = None) -> None:
    """Replace the TLS key and certificate in ``directory`` by those of ``identity``; the old ones are kept as *.old."""
    key = load_pem_private_key(identity.tls_key, password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    content = {_TLS_KEY: _private_pem(key, passphrase), _TLS_CERTIFICATE: identity.certificate}
    with _written_beside(directory, content) as files:
        for name in files:
            old = directory / f"{name}.old"
            old.unlink(missing_ok=True)
            (directory / name).rename(old)
            (directory / f"{name}.new").rename(directory / name)


def load_identity(name: str, directory: Path, passphrase: bytes | None = None) -> Identity:
    """The keys of ``name`` from ``directory``; encrypted ones ask for the passphrase (``parties.members.passphrase``).

    Raises :class:`ConfigError` when one is missing, unreadable, open to other users or made for another name.
    """
    identity = _private_key(directory / _IDENTITY, passphrase)
    keys = load_tls_keys(name, directory, passphrase)
    if not isinstance(identity, Ed25519PrivateKey):
        raise ConfigError(f"{directory}: the keys are not of the expected type; create this node's keys again")
    return Identity(name, identity, keys.tls_key, keys.certificate)


def load_tls_keys(name: str, directory: Path, passphrase: bytes | None = None) -> TlsKeys:
    """The TLS key and certificate of ``name`` from ``directory``; the identity key is left alone.

    Raises :class:`ConfigError` when one is missing, unreadable, open to other users or made for another name.
    """
    tls = _private_key(directory / _TLS_KEY, passphrase)
    path = directory / _TLS_CERTIFICATE
    try:
        certificate = parse_certificate(path.read_bytes())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except OSError:
        raise ConfigError(f"{path}: cannot be read; create this node's keys first") from None
    except (ValueError, x509.ExtensionNotFound):
        raise ConfigError(f"{path}: not a certificate; create this node's keys again") from None
    if not isinstance(tls, ec.EllipticCurvePrivateKey):
        raise ConfigError(f"{directory}: the keys are not of the expected type; create this node's keys again")
    if certificate_name(name) not in names.get_values_for_type(x509.DNSName):
        raise ConfigError(f"{path}: made for another node than {name!r}; use that node's own keys")
    if certificate.public_key() != tls.public_key():
        raise ConfigError(f"{path}: does not belong to the key beside it; create this node's keys again")
    return TlsKeys(name, _private_pem(tls), certificate.public_bytes(Encoding.PEM))


def create_reading_key(path: Path, passphrase: bytes | None = None) -> X25519PrivateKey:
    """A key for a reader without a node, in a new file (0600). ConfigError where the file exists."""
    key = X25519PrivateKey.generate()
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, _private_pem(key, passphrase))
    return key


def load_reading_key(path: Path, passphrase: bytes | None = None) -> X25519PrivateKey:
    """The key of :func:`create_reading_key`; ConfigError when it is missing, open to other users or of another kind."""
    key = _private_key(path, passphrase)
    if not isinstance(key, X25519PrivateKey):
        raise ConfigError(f"{path}: not a reading key; name the file that entente factors key wrote")
    return key


def _certificate(
    name: str,
    identity: Ed25519PrivateKey,
    key: ec.EllipticCurvePrivateKey,
    hosts: Iterable[str],
    now: datetime,
    validity: timedelta,
) -> x509.Certificate:
    """Self-signed for TLS; an extension holds the identity key's signature, by which a successor is recognised."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, certificate_name(name))])
    names = dict.fromkeys([certificate_name(name), "localhost", "127.0.0.1", *hosts])
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + validity)
        .add_extension(x509.SubjectAlternativeName([_general_name(host) for host in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(
            x509.UnrecognizedExtension(SUCCESSION_EXTENSION, identity.sign(succession_bytes(name, key.public_key()))),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _private_pem(
    key: Ed25519PrivateKey | X25519PrivateKey | ec.EllipticCurvePrivateKey, passphrase: bytes | None = None
) -> bytes:
    way: KeySerializationEncryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, way)


def _private_key(path: Path, passphrase: bytes | None) -> object:
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"{path}: other users can read this key; run chmod 600 on it, or make a new one")
        content = path.read_bytes()
    except OSError:
        raise ConfigError(f"{path}: cannot be read; create this node's keys first") from None
    encrypted = b"BEGIN ENCRYPTED PRIVATE KEY" in content
    password = (passphrase or passphrase_for(path)) if encrypted else None
    try:
        return load_pem_private_key(content, password=password)
    except (ValueError, TypeError):
        if encrypted:
            raise ConfigError(f"{path}: the passphrase does not open this key; name the right key file") from None
        raise ConfigError(f"{path}: not a private key; create this node's keys again") from None


def _write(path: Path, content: bytes) -> None:
    try:
        write_new(path, content)
    except FileExistsError:
        raise ConfigError(f"{path}: exists already; keys are never overwritten, choose another directory") from None


@contextlib.contextmanager
def _written_beside(directory: Path, content: Mapping[str, bytes]) -> Iterator[tuple[str, ...]]:
    """The files under their names with .new, all of them before the body puts any in force; gone where that fails.

    A key in force without its certificate would be a node that cannot start.
    """
    places = [directory / f"{name}.new" for name in content]
    try:
        for place, text in zip(places, content.values(), strict=True):
            place.unlink(missing_ok=True)
            _write(place, text)
        yield tuple(content)
    finally:
        for place in places:
            place.unlink(missing_ok=True)
