"""Who comes in at the desk, and what is recorded of it.

The member called ``admin`` acts by its own certificate. The member called ``desk`` is the web page's process: its
certificate alone admits to nothing but signing in, and everything else takes a session that was opened through it. The
role is the session's, as the coordinator wrote it down; what a caller says of itself counts for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from parties.coordinator.desk.actions import Actions
from parties.coordinator.desk.doors import Caller
from parties.coordinator.desk.sessions import Session, Sessions
from parties.errors import AgreementError, SignInError
from parties.members.roster import Member
from parties.names import ADMIN, DESK

if TYPE_CHECKING:
    from parties.coordinator.desk.oidc import Issuer

__all__ = ["Gate"]


class Gate:
    """``members`` is the live roster; ``actions`` records what passes and acts; ``issuer`` may vouch for people."""

    def __init__(
        self, members: Mapping[str, Member], sessions: Sessions, actions: Actions, issuer: Issuer | None = None
    ) -> None:
        self._members = members
        self._issuer = issuer
        self._sessions = sessions
        self.actions = actions

    def caller(self, member: str, certificate: str, secret: str) -> Caller:
        """Who asks, given whose certificate (SHA-256) the call came with and its session's secret.

        Raises :class:`AgreementError` for a member that has no business here, :class:`SignInError` without a session.
        """
        if member == ADMIN:
            return Caller(ADMIN, "admin")
        if member != DESK:
            raise AgreementError(f"{member} may not do this: only the member called {ADMIN!r} may")
        if not secret:
            raise SignInError("nobody is signed in here: sign in first")
        return self._known(self._sessions.of(secret, certificate))

    def sign_in(self, member: str, certificate: str, token: str, id_token: str = "") -> str:
        """Exchange a one-time token, or an issuer's ID token, for the secret of a new session.

        Raises :class:`SignInError`.
        """
        if member != DESK:
            raise AgreementError(f"{member} may not do this: people sign in at the desk")
        try:
            if id_token:
                secret, session = self._vouched(id_token, certificate)
            else:
                secret, session = self._sessions.redeem(token, certificate)
            caller = self._known(session)
        except SignInError as error:
            self.actions.not_signed_in(str(error))
            raise
        with self.actions.during(caller, "desk/sign-in", session.way):
            return secret

    def _vouched(self, id_token: str, certificate: str) -> tuple[str, Session]:
        if self._issuer is None:
            raise SignInError("this coordinator takes no identity provider's word: sign in with a one-time token")
        person, expires = self._issuer.person(id_token)
        self._sessions.spend(id_token, person, expires)
        return self._sessions.begin(person, "identity provider", certificate)

    def _known(self, session: Session) -> Caller:
        person = session.person
        if person.party and person.party not in self._members:
            raise SignInError(f"{person.party} is no longer a member, so nobody can work for it here")
        return Caller(person.name, person.role, person.party, session.number, session.way, session.expires)
