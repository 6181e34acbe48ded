"""Who is at the desk, who is signed in, and what was done."""

from __future__ import annotations

from parties.calls.people import ActionsQuestion, ActionsView, ActionView, SessionQuestion, SessionView, ViewerView
from parties.coordinator.desk.actions import Actions
from parties.coordinator.desk.doors import ADMINS, AUDITORS, Caller, Door, Doors
from parties.coordinator.desk.sessions import Session, Sessions
from parties.errors import ConfigError

__all__ = ["doors"]


def doors(sessions: Sessions, actions: Actions) -> Doors:
    """The doors about people."""

    def sign_out(_: object, caller: Caller) -> None:
        sessions.end(caller.session, "sign-out")

    def signed_in(_: object, caller: Caller) -> list[SessionView]:
        return [_view(session, caller) for session in sessions.all()]

    def end(question: SessionQuestion, caller: Caller) -> None:
        if not sessions.end(question.number, caller.signature):
            raise ConfigError(f"session {question.number} has ended already: read the list again")

    def done(question: ActionsQuestion, _: Caller) -> ActionsView:
        total, found = actions.page(
            limit=question.limit, offset=question.offset, name=question.name, what=question.what
        )
        return ActionsView(total=total, actions=tuple(ActionView.model_validate(dict(row)) for row in found))

    return {
        "viewer": Door(_viewer),
        "desk/sign-out": Door(sign_out, acts=True),
        "desk/sessions": Door(signed_in, roles=ADMINS),
        "desk/end-session": Door(end, roles=ADMINS, shape=SessionQuestion, acts=True),
        "desk/actions": Door(done, roles=AUDITORS, shape=ActionsQuestion),
    }


def _viewer(_: object, caller: Caller) -> ViewerView:
    return ViewerView(name=caller.name, role=caller.role, party=caller.party, way=caller.way, expires=caller.expires)


def _view(session: Session, caller: Caller) -> SessionView:
    person = session.person
    return SessionView(
        number=session.number,
        name=person.name,
        role=person.role,
        party=person.party,
        way=session.way,
        began=session.began,
        seen=session.seen,
        expires=session.expires,
        ended=session.ended,
        ended_by=session.ended_by,
        here=session.number == caller.session,
    )
