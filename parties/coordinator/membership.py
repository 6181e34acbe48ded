"""Who belongs to a consortium: the coordinator's roster, its invitations, and what changes them while it runs.

The roster is the file ``roster.json``. The command line changes it beside a running coordinator (invite, revoke), and
the coordinator changes it when a party joins or renews its certificate; both hold the same lock.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from parties.errors import AgreementError, ConfigError, StorageError
from parties.joining.invitations import Invitation, Invitations, InvitedRoles, member_lock
from parties.joining.requests import JoinAnswer, JoinRequest
from parties.joining.token import Token
from parties.members.roster import Member, Roster
from parties.names import ADMIN, COORDINATOR, DESK, NO_PARTIES

__all__ = ["Membership", "new_invitation", "revoke"]

_LOG = logging.getLogger(__name__)


class Membership:
    """The members of a running coordinator. ``roster`` is the live one that everything else reads."""

    def __init__(self, home: Path, roster: Roster) -> None:
        self._home = home
        self._path = home / "roster.json"
        self._roster = roster
        self._invitations = Invitations(home)
        self._roles = InvitedRoles(home)
        self._lock = threading.RLock()
        self._stamp = self._stamped()
        self._invited: tuple[tuple[int, int], tuple[Invitation, ...]] = ((-1, 0), ())

    def _stamped(self) -> tuple[int, int]:
        try:
            state = self._path.stat()
        except OSError:
            return 0, 0
        return state.st_mtime_ns, state.st_ino

    def refresh(self) -> frozenset[str] | None:
        """Read the roster again if its file has changed: the names that left or changed, or None for no change."""
        with self._lock:
            stamp = self._stamped()
            if stamp == self._stamp:
                return None
            before = dict(self._roster)
            try:
                found = Roster.load(self._path)
                if COORDINATOR not in found or found[COORDINATOR].identity_key != before[COORDINATOR].identity_key:
                    raise ConfigError(f"{self._path}: does not name this coordinator any more; put its entry back")
            except ConfigError as error:
                _LOG.error("roster kept as it was: %s", error)
                self._stamp = stamp
                return None
            # the coordinator's own certificate is in use until it is started again
            self._roster.replace({**found, COORDINATOR: before[COORDINATOR]})
            self._stamp = stamp
            return frozenset(
                name for name, member in before.items() if name != COORDINATOR and found.get(name) != member
            )

    def invited(self) -> tuple[Invitation, ...]:
        """Open invitations."""
        now = datetime.now(UTC)
        with self._lock:
            stamp = self._invitations.stamp()
            if stamp != self._invited[0]:
                try:
                    self._invited = stamp, self._invitations.open(now)
                except StorageError as error:
                    _LOG.error("%s", error)
                    self._invited = stamp, ()
            return tuple(invitation for invitation in self._invited[1] if invitation.expires > now)

    def roots(self) -> bytes:
        """The certificates that a handshake may show beside the roster's: those of open invitations (PEM)."""
        return "".join(invitation.certificate for invitation in self.invited()).encode()

    def clock(self) -> datetime:
        """The present, UTC: what certificates and invitations are held against."""
        return datetime.now(UTC)

    def invite(self, name: str, role: str, valid: timedelta) -> Token:
        """Make an invitation and its token, which is kept nowhere. Raises :class:`ConfigError` for a member's name."""
        with self._lock, member_lock(self._home):
            self.refresh()
            return new_invitation(self._home, self._roster, name, role, valid)

    def withdraw(self, name: str) -> None:
        """Make the invitation useless. Raises :class:`ConfigError` when there is none."""
        with self._lock, member_lock(self._home):
            found = next((one for one in self.invited() if one.name == name), None)
            if found is None:
                raise ConfigError(f"nobody is invited as {name!r}: the invitation was used, withdrawn, or is over")
            self._invitations.use(found)
        _LOG.info("the invitation of %s is withdrawn", name)

    def revoke(self, name: str) -> None:
        """Take a member off the roster. Raises :class:`ConfigError` for one that is none."""
        with self._lock:
            revoke(self._home, name)
            self.refresh()
        _LOG.info("%s is no longer a member", name)

    def admit(self, certificate_sha256: str, request: JoinRequest) -> JoinAnswer:
        """Enrol the party whose handshake showed an invitation's certificate; the invitation is used up.

        Raises :class:`AgreementError` with the reason when it cannot be enrolled.
        """
        with self._lock, member_lock(self._home):
            invitation = next((one for one in self.invited() if one.certificate_sha256 == certificate_sha256), None)
            if invitation is None:
                raise AgreementError("this invitation was used already, or its time is over: ask for a new one")
            key = bytes.fromhex(invitation.mac_key)
            request.check(key)
            if (request.name, request.role) != (invitation.name, invitation.role):
                raise AgreementError(
                    f"the invitation is for {invitation.name!r} as {invitation.role} party: join as that, or ask again"
                )
            self.refresh()
            if request.name in self._roster:
                raise AgreementError(f"{request.name!r} is a member already: revoke it first, or invite another name")
            self._invitations.use(invitation)
            self._roles.keep(invitation)
            there = [name for name, member in self._roster.items() if member.address == request.member.address]
            self._store({**self._roster, request.name: request.member})
            if there:
                _LOG.warning("%s says it listens at %s, which is the address of %s", request.name,
                             request.member.address, ", ".join(sorted(there)))  # fmt: skip
            _LOG.info("%s has joined as %s party; identity %s", request.name, request.role, request.member.identity_key)
            return JoinAnswer.made(key, self.public())

    def invited_roles(self) -> Mapping[str, Literal["label", "feature"]]:
        """As what members were invited, those of earlier versions apart."""
        return self._roles.all()

    def renew(self, name: str, member: Member) -> None:
        """Take a member's new certificate or address, which its identity key signed."""
        with self._lock, member_lock(self._home):
            self.refresh()
            known = self._roster.member(name)
            if member.identity_key != known.identity_key or not member.endorsed(name):
                raise AgreementError(f"{name}'s new certificate is not signed by the identity key in the roster")
            member.check_valid(name, datetime.now(UTC))
            self._store({**self._roster, name: member})
            _LOG.info("%s has a new certificate, valid until %s", name, member.expires.date())

    def public(self) -> dict[str, Member]:
        """What parties may know: everyone but the admin and the desk, who deal with the coordinator alone."""
        return {name: member for name, member in self._roster.items() if name not in (ADMIN, DESK)}

    def _store(self, members: Mapping[str, Member]) -> None:
        changed = Roster(members)
        try:
            changed.save(self._path)
        except OSError as error:
            raise StorageError(f"{self._path}: cannot be written ({error.strerror}); check the disk") from None
        self._roster.replace(members)
        self._stamp = self._stamped()


def new_invitation(home: Path, roster: Mapping[str, Member], name: str, role: str, valid: timedelta) -> Token:
    """An invitation of ``name`` to this home's consortium. The caller holds the member lock.

    Raises :class:`ConfigError` for a name that is taken.
    """
    if name in roster or name in NO_PARTIES:
        raise ConfigError(f"{name!r} is a member already: choose another name, or revoke it first")
    coordinator = roster[COORDINATOR]
    return Invitations(home).invite(name, role, coordinator.address, coordinator.certificate_sha256, valid)


def revoke(home: Path, name: str) -> None:
    """Take a member off the roster in ``home``. Raises :class:`ConfigError` for one that cannot be."""
    if name == COORDINATOR:
        raise ConfigError("the coordinator cannot revoke itself: make a new consortium instead")
    with member_lock(home):
        roster = Roster.load(home / "roster.json")
        if name not in roster:
            raise ConfigError(f"{name!r} is not in {home / 'roster.json'}: nothing to revoke")
        Roster({kept: member for kept, member in roster.items() if kept != name}).save(home / "roster.json")
