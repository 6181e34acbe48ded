"""What an invited party asks for, and what it gets: checked JSON, bound to the invitation by a MAC and to its keys.

The request carries the party's member entry, endorsed by its identity key (possession of which that proves), and an
HMAC-SHA256 under the invitation's key over the entry. The answer carries the roster and an HMAC over it, so that
both sides know that the other holds the secret.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Annotated, Any

from pydantic import StringConstraints

from parties.errors import AgreementError, PeerError
from parties.members.roster import Member
from parties.names import PartyName
from vfl.terms import Terms

__all__ = ["JoinAnswer", "JoinRequest", "sealed"]


class JoinRequest(Terms):
    """The member that wants to be enrolled, under the name and role of its invitation."""

    name: PartyName
    role: str
    member: Member
    seal: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

    @classmethod
    def made(cls, key: bytes, name: str, role: str, member: Member) -> JoinRequest:
        return cls(name=name, role=role, member=member, seal=sealed(key, "request", name, role, member.model_dump()))

    def check(self, key: bytes) -> None:
        """Raise :class:`AgreementError` unless whoever knows the invitation made this, with its own identity key."""
        found = sealed(key, "request", self.name, self.role, self.member.model_dump())
        if not hmac.compare_digest(found, self.seal):
            raise AgreementError("the request is not sealed with the invitation's secret: use the token as given")
        if not self.member.endorsed(self.name):
            raise AgreementError("the request is not signed by the identity key it names: make the keys again")


class JoinAnswer(Terms):
    """The roster that the new member starts with."""

    members: dict[PartyName, Member]
    seal: str

    @classmethod
    def made(cls, key: bytes, members: dict[str, Member]) -> JoinAnswer:
        return cls(members=members, seal=_seal_of(key, members))

    def check(self, key: bytes) -> None:
        """Raise :class:`PeerError` unless whoever made the invitation gave this answer."""
        if not hmac.compare_digest(_seal_of(key, self.members), self.seal):
            raise PeerError("the answer is not sealed with the invitation's secret: ask the consortium admin")


def _seal_of(key: bytes, members: dict[str, Member]) -> str:
    return sealed(key, "answer", {name: member.model_dump() for name, member in members.items()})


def sealed(key: bytes, *parts: Any) -> str:
    """HMAC-SHA256 over the parts as canonical JSON, hex."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()
    return hmac.new(key, b"entente/join/1\x00" + text, hashlib.sha256).hexdigest()
