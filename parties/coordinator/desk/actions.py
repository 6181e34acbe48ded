"""What people at the desk did or tried, in the coordinator's database and in its audit log.

A row is written before the action, so nothing happens that is not on record, and completed with the outcome; the audit
log, which cannot be changed later, gets one entry with the outcome.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from parties.audit.log import AuditLog
from parties.coordinator.desk.doors import Caller
from parties.errors import EntenteError, StorageError
from parties.fields import printable
from parties.process.database import open_engine

__all__ = ["Action", "Actions"]

_TABLES = sa.MetaData()
_ACTIONS = sa.Table(
    "desk_actions",
    _TABLES,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("at", sa.String(40), nullable=False),
    sa.Column("name", sa.String(120), nullable=False, index=True),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("party", sa.String(64), nullable=False),
    sa.Column("session", sa.Integer, nullable=False),
    sa.Column("what", sa.String(120), nullable=False, index=True),
    sa.Column("about", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
)
_LONGEST = 400
_FAILED_SIGN_INS = 20
_WINDOW = timedelta(minutes=1)

Action = sa.RowMapping


class Actions:
    """The action log. Thread-safe. Raises :class:`StorageError` when it cannot be written or read."""

    def __init__(self, url: str, audit: AuditLog, now: Callable[[], datetime]) -> None:
        self._audit = audit
        self._now = now
        self._lock = threading.Lock()
        self._failures: list[datetime] = []
        self._engine = open_engine(url)
        try:
            _TABLES.create_all(self._engine)
        except SQLAlchemyError as error:
            raise _unusable(error) from None

    def close(self) -> None:
        """Give the database connections back."""
        self._engine.dispose()

    @contextmanager
    def during(self, caller: Caller, what: str, about: str) -> Iterator[None]:
        """Record that ``caller`` does ``what``, and how it ended. Whatever is raised inside goes on out."""
        number = self._began(caller, what, about)
        try:
            yield
        except EntenteError as error:
            self._ended(number, caller, what, about, f"refused: {error}")
            raise
        except BaseException as error:
            self._ended(number, caller, what, about, f"failed: {type(error).__name__}")
            raise
        self._ended(number, caller, what, about, "done")

    def not_signed_in(self, why: str) -> None:
        """Record a sign-in that failed: the first of each minute only, since anybody can make these."""
        now = self._now()
        with self._lock:
            self._failures = [at for at in self._failures if now - at < _WINDOW]
            if len(self._failures) >= _FAILED_SIGN_INS:
                return
            self._failures.append(now)
        nobody = Caller("somebody", "reader")
        number = self._began(nobody, "desk/sign-in", "")
        self._ended(number, nobody, "desk/sign-in", "", f"refused: {why}")

    def page(self, *, limit: int, offset: int, name: str = "", what: str = "") -> tuple[int, list[Action]]:
        """How many there are, and one page of them, newest first."""
        query = sa.select(_ACTIONS)
        if name:
            query = query.where(_ACTIONS.c.name == name)
        if what:
            query = query.where(_ACTIONS.c.what == what)
        counted = sa.select(sa.func.count()).select_from(query.subquery())
        try:
            with self._engine.connect() as connection:
                page = query.order_by(_ACTIONS.c.number.desc()).limit(limit).offset(offset)
                return connection.execute(counted).scalar_one(), list(connection.execute(page).mappings())
        except SQLAlchemyError as error:
            raise _unusable(error) from None

    def _began(self, caller: Caller, what: str, about: str) -> int:
        row = {
            "at": self._now().astimezone(UTC).isoformat(timespec="milliseconds"),
            "name": caller.name,
            "role": caller.role,
            "party": caller.party,
            "session": caller.session,
            "what": what[:120],
            "about": printable(about)[:_LONGEST],
            "outcome": "",
        }
        try:
            with self._engine.begin() as connection:
                made = connection.execute(_ACTIONS.insert(), row)
        except SQLAlchemyError as error:
            raise _unusable(error) from None
        assert made.inserted_primary_key is not None
        return int(made.inserted_primary_key[0])

    def _ended(self, number: int, caller: Caller, what: str, about: str, outcome: str) -> None:
        outcome = printable(outcome)[:_LONGEST]
        try:
            with self._engine.begin() as connection:
                connection.execute(_ACTIONS.update().where(_ACTIONS.c.number == number).values(outcome=outcome))
        except SQLAlchemyError as error:
            raise _unusable(error) from None
        body = {"number": number, "name": caller.name, "role": caller.role, "party": caller.party}
        body |= {"session": caller.session, "what": what[:120], "about": printable(about)[:_LONGEST]}
        self._audit.append("desk", "", body | {"outcome": outcome})


def _unusable(error: SQLAlchemyError) -> StorageError:
    cause = str(getattr(error, "orig", None) or error).splitlines()[0][:200]
    return StorageError(f"the action log cannot be used ({cause}): check disk and database")
