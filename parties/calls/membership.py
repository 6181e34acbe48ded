"""Who belongs to the consortium: members, invitations, and putting a member out."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Protocol

from pydantic import Field, StringConstraints

from parties.calls.asking import Asking, Nothing, Question
from parties.calls.views import PartyView, View
from parties.names import PartyName

__all__ = [
    "InvitationQuestion",
    "InvitationView",
    "InviteView",
    "LimitsView",
    "MemberQuestion",
    "MemberView",
    "MembershipCalls",
]


class LimitsView(View):
    """A party's standing limits, where its node publishes them."""

    openings_per_row: int
    largest_fraction: float
    hours: str = ""


class MemberView(PartyView):
    """A member, and how long its certificate is good. ``certificate``: *over*, or *soon* within 30 days of its end.

    ``data_checked``: when its node last tried its queries on its data. ``data_usable``: whether a run could use them.
    """

    certificate: Literal["good", "soon", "over"]
    days_left: int
    limits: LimitsView | None = None
    data_checked: datetime | None = None
    data_usable: bool = False


class InvitationView(View):
    """An invitation that may still be used; never its secret."""

    name: str
    role: Literal["label", "feature"]
    expires: datetime


class InviteView(InvitationView):
    """A new invitation with its token: shown once, kept by nobody. ``code`` has its rows of a QR code, 0 and 1."""

    token: Annotated[str, StringConstraints(min_length=1)]
    code: tuple[str, ...]

    def __repr__(self) -> str:
        return f"InviteView({self.name!r})"

    __str__ = __repr__


class InvitationQuestion(Question):
    """Whom to invite, as what, and for how many minutes (30 days at most)."""

    name: PartyName
    role: Literal["label", "feature"] = "feature"
    minutes: int = Field(default=60, ge=5, le=30 * 24 * 60)


class MemberQuestion(Question):
    """A member, or one who is invited, by name."""

    name: PartyName


class MembershipCalls(Asking, Protocol):
    """Calls about the members."""

    def members(self) -> list[MemberView]:
        """Every party, with what it publishes and how long its certificate is good."""
        return self.ask("members/list", Nothing(), list[MemberView])

    def invitations(self) -> list[InvitationView]:
        """Open invitations."""
        return self.ask("members/invitations", Nothing(), list[InvitationView])

    def invite(self, question: InvitationQuestion) -> InviteView:
        """Make an invitation; its token comes back this once."""
        return self.ask("members/invite", question, InviteView)

    def withdraw_invitation(self, question: MemberQuestion) -> list[InvitationView]:
        """Make an invitation useless; those that are left."""
        return self.ask("members/withdraw", question, list[InvitationView])

    def revoke(self, question: MemberQuestion) -> list[MemberView]:
        """Put a member out; those that are left."""
        return self.ask("members/revoke", question, list[MemberView])
