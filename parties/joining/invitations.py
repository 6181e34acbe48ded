"""The coordinator's open invitations: a file in its home that the command line writes and the server reads.

It holds what the server needs to recognise an invited party, never the secret itself: whoever reads
the file cannot make the TLS handshake that enrolment takes.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import TypeAdapter, ValidationError

from parties.errors import StorageError
from parties.joining.token import SECRET_BYTES, Token
from parties.names import PartyName
from parties.private_files import write_whole
from vfl.terms import Terms

__all__ = ["Invitation", "Invitations", "InvitedRoles", "member_lock"]


class Invitation(Terms):
    """One that may still be used."""

    name: PartyName
    role: Literal["label", "feature"]
    certificate: str
    mac_key: str
    expires: datetime

    @property
    def certificate_sha256(self) -> str:
        parsed = x509.load_pem_x509_certificate(self.certificate.encode())
        return hashlib.sha256(parsed.public_bytes(Encoding.DER)).hexdigest()


_All = TypeAdapter(tuple[Invitation, ...])
_Roles = TypeAdapter(dict[PartyName, Literal["label", "feature"]])


@contextmanager
def member_lock(home: Path) -> Iterator[None]:
    """One writer at a time to a home's roster and invitations."""
    try:
        descriptor = os.open(home / ".members.lock", os.O_WRONLY | os.O_CREAT, 0o600)
    except OSError as error:
        raise StorageError(f"{home}: cannot be written ({error.strerror}); check the permissions") from None
    with os.fdopen(descriptor) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class InvitedRoles:
    """Whom joined members were invited as: what is known of one whose node has not started. A file of the home."""

    def __init__(self, home: Path) -> None:
        self._path = home / "invited-roles.json"

    def all(self) -> dict[str, Literal["label", "feature"]]:
        """Roles by name; none where the file is missing or damaged, for nothing rests on it."""
        try:
            return _Roles.validate_json(self._path.read_bytes())
        except (OSError, ValidationError):
            return {}

    def keep(self, invitation: Invitation) -> None:
        """Remember one whose party joins. The caller holds :func:`member_lock`."""
        try:
            write_whole(self._path, _Roles.dump_json(self.all() | {invitation.name: invitation.role}, indent=2))
        except OSError as error:
            raise StorageError(f"{self._path}: cannot be written ({error.strerror}); check the disk") from None


class Invitations:
    """The file ``invitations.json`` of a coordinator's home. Writers hold :func:`member_lock`."""

    def __init__(self, home: Path) -> None:
        self._path = home / "invitations.json"

    def open(self, now: datetime) -> tuple[Invitation, ...]:
        """Those that are neither used nor over. Raises :class:`StorageError` for a damaged file."""
        try:
            found = _All.validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return ()
        except (OSError, ValidationError):
            raise StorageError(f"{self._path}: damaged; remove it and invite again") from None
        return tuple(invitation for invitation in found if invitation.expires > now)

    def stamp(self) -> tuple[int, int]:
        """Changes when the file does."""
        try:
            state = self._path.stat()
        except OSError:
            return 0, 0
        return state.st_mtime_ns, state.st_ino

    def invite(self, name: str, role: str, address: str, fingerprint: str, valid: timedelta) -> Token:
        """Make an invitation, in place of an earlier one for the same name, and its token."""
        now = datetime.now(UTC)
        expires = (now + valid).replace(microsecond=0)
        token = Token(name, role, address, fingerprint, secrets.token_bytes(SECRET_BYTES), expires)
        invitation = Invitation(
            name=name,
            role="label" if role == "label" else "feature",
            certificate=token.identity().certificate.decode(),
            mac_key=token.mac_key().hex(),
            expires=expires,
        )
        self._write((*(kept for kept in self.open(now) if kept.name != name), invitation))
        return token

    def use(self, invitation: Invitation) -> None:
        """Strike one off: it is never good again."""
        self._write(tuple(kept for kept in self.open(datetime.now(UTC)) if kept != invitation))

    def _write(self, invitations: tuple[Invitation, ...]) -> None:
        try:
            write_whole(self._path, _All.dump_json(invitations, indent=2))
        except OSError as error:
            raise StorageError(f"{self._path}: cannot be written ({error.strerror}); check the disk") from None
