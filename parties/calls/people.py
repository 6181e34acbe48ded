"""Who is at the desk, who is signed in, and what was done."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Protocol

from pydantic import Field, StringConstraints

from parties.calls.asking import Asking, Nothing, Question, Role
from parties.calls.views import View

__all__ = [
    "ActionView",
    "ActionsQuestion",
    "ActionsView",
    "PeopleCalls",
    "SessionQuestion",
    "SessionView",
    "ViewerView",
]


class ViewerView(View):
    """Whom the coordinator takes the caller for. ``party`` is whom an operator works for."""

    name: str
    role: Role
    party: str = ""
    way: str = ""
    expires: datetime | None = None


class SessionView(View):
    """One sign-in. ``way``: one-time token or OIDC; ``here``: it is the caller's own; ``ended_by``: why it is over."""

    number: int
    name: str
    role: Role
    party: str = ""
    way: str
    began: datetime
    seen: datetime
    expires: datetime
    ended: datetime | None = None
    ended_by: str = ""
    here: bool = False


class ActionView(View):
    """Something a person did or tried. ``outcome``: done, refused or failed, with the reason; empty while under way."""

    number: int
    at: datetime
    name: str
    role: str
    party: str = ""
    session: int = 0
    what: str
    about: str = ""
    outcome: str = ""


class ActionsView(View):
    """A page of the action log, newest first; ``total`` counts what the question fits."""

    total: int
    actions: tuple[ActionView, ...]


class SessionQuestion(Question):
    """One session by its number."""

    number: int = Field(ge=1)


class ActionsQuestion(Question):
    """A page of the action log; ``name`` and ``what`` narrow it where they are not empty."""

    limit: int = Field(default=100, ge=1, le=1000)
    offset: int = Field(default=0, ge=0)
    name: Annotated[str, StringConstraints(max_length=120)] = ""
    what: Annotated[str, StringConstraints(max_length=120)] = ""


class PeopleCalls(Asking, Protocol):
    """Calls about the people at the desk."""

    def viewer(self) -> ViewerView:
        """Who is asking, as the coordinator sees it."""
        return self.ask("viewer", Nothing(), ViewerView)

    def sign_out(self) -> None:
        """End the session that asks."""
        self.fetch("desk/sign-out", Nothing())

    def sessions(self) -> list[SessionView]:
        """Sign-ins, the latest first; admins only."""
        return self.ask("desk/sessions", Nothing(), list[SessionView])

    def end_session(self, number: int) -> None:
        """Sign somebody out; admins only."""
        self.fetch("desk/end-session", SessionQuestion(number=number))

    def actions(self, *, limit: int = 100, offset: int = 0, name: str = "", what: str = "") -> ActionsView:
        """A page of the action log, newest first; admins and auditors only."""
        question = ActionsQuestion(limit=limit, offset=offset, name=name, what=what)
        return self.ask("desk/actions", question, ActionsView)
