"""The members' doors. Everyone reads who belongs and what they offer; only an admin invites, withdraws and revokes.

A token is made here, handed to whoever asked, and kept nowhere: the home holds what recognises it, not the secret.
"""

from __future__ import annotations

from datetime import timedelta

from parties.calls.asking import Nothing
from parties.calls.membership import (
    InvitationQuestion,
    InvitationView,
    InviteView,
    LimitsView,
    MemberQuestion,
    MemberView,
)
from parties.coordinator.desk.access import runs_of
from parties.coordinator.desk.doors import ADMINS, Caller, Door, Doors
from parties.coordinator.engine import Engine
from parties.coordinator.membership import Membership
from parties.coordinator.run_views import party_view
from parties.errors import ConfigError
from parties.members.roster import EXPIRY_WARNING, Roster
from parties.names import NO_PARTIES

__all__ = ["MembersDesk", "doors"]


class MembersDesk:
    """Answers about one consortium's members. ``heartbeat`` in seconds."""

    def __init__(self, engine: Engine, roster: Roster, membership: Membership, heartbeat: float) -> None:
        self._engine = engine
        self._roster = roster
        self._membership = membership
        self._heartbeat = heartbeat

    def members(self, _: Nothing, caller: Caller) -> list[MemberView]:
        return self._members(caller)

    def invitations(self, _: Nothing, __: Caller) -> list[InvitationView]:
        return self._invitations()

    def invite(self, asked: InvitationQuestion, _: Caller) -> InviteView:
        from parties.joining.qr import qr_rows

        token = self._membership.invite(asked.name, asked.role, timedelta(minutes=asked.minutes))
        text = token.encode()
        return InviteView(name=asked.name, role=asked.role, expires=token.expires, token=text, code=qr_rows(text))

    def withdraw(self, asked: MemberQuestion, _: Caller) -> list[InvitationView]:
        self._membership.withdraw(asked.name)
        return self._invitations()

    def revoke(self, asked: MemberQuestion, caller: Caller) -> list[MemberView]:
        if asked.name in NO_PARTIES:
            raise ConfigError(f"{asked.name!r} is no party: only parties are put out here")
        self._membership.revoke(asked.name)
        self._engine.members_changed((asked.name,))
        return self._members(caller)

    def _invitations(self) -> list[InvitationView]:
        found = sorted(self._membership.invited(), key=lambda one: one.expires)
        return [InvitationView(name=one.name, role=one.role, expires=one.expires) for one in found]

    def _members(self, caller: Caller) -> list[MemberView]:
        now = self._membership.clock()
        members = {name: self._roster[name] for name in sorted(set(self._roster) - NO_PARTIES)}
        runs, made = runs_of(self._engine, caller), []
        invited = self._membership.invited_roles()
        for name, line in self._engine.attachments(members).items():
            seen = party_view(name, members[name], line, runs, self._heartbeat)
            said, left = line.introduction, members[name].expires - now
            made.append(
                MemberView(
                    **seen.model_dump() | {"role": seen.role or invited.get(name, "")},
                    certificate="over" if left <= timedelta(0) else "soon" if left < EXPIRY_WARNING else "good",
                    days_left=left.days,
                    limits=LimitsView(**said.limits.model_dump()) if said is not None and said.limits else None,
                    data_checked=said.data.at if said is not None and said.data else None,
                    data_usable=bool(said is not None and said.data and said.data.usable),
                )
            )
        return made


def doors(engine: Engine, roster: Roster, membership: Membership, heartbeat: float) -> Doors:
    """The doors about members."""
    desk = MembersDesk(engine, roster, membership, heartbeat)
    return {
        "members/list": Door(desk.members),
        "members/invitations": Door(desk.invitations, ADMINS),
        "members/invite": Door(desk.invite, ADMINS, InvitationQuestion, acts=True),
        "members/withdraw": Door(desk.withdraw, ADMINS, MemberQuestion, acts=True),
        "members/revoke": Door(desk.revoke, ADMINS, MemberQuestion, acts=True),
    }
