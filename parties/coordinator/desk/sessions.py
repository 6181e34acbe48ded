"""Sign-ins at the desk: one-time tokens, the sessions they are exchanged for, and what people prefer there and mark.

Of a token and of a session's secret only the SHA-256 is stored. A token is spent by one conditional update, so it is
good once whoever races for it. Sessions are in memory as well, since every call asks for one.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from parties.calls.asking import Role
from parties.calls.favourites import FavouriteKind
from parties.errors import ConfigError, SignInError, StorageError
from parties.process.database import open_engine

__all__ = ["Person", "Session", "Sessions"]

_TABLES = sa.MetaData()
_TOKENS = sa.Table(
    "desk_tokens",
    _TABLES,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(120), nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("party", sa.String(64), nullable=False),
    sa.Column("expires", sa.String(40), nullable=False),
    sa.Column("used", sa.String(40), nullable=True),
)
_SESSIONS = sa.Table(
    "desk_sessions",
    _TABLES,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("digest", sa.String(64), nullable=False, unique=True),
    sa.Column("name", sa.String(120), nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("party", sa.String(64), nullable=False),
    sa.Column("way", sa.String(32), nullable=False),
    sa.Column("certificate", sa.String(64), nullable=False),
    sa.Column("began", sa.String(40), nullable=False),
    sa.Column("seen", sa.String(40), nullable=False),
    sa.Column("expires", sa.String(40), nullable=False),
    sa.Column("ended", sa.String(40), nullable=True),
    sa.Column("ended_by", sa.String(200), nullable=False),
)
_PREFERENCES = sa.Table(
    "desk_preferences",
    _TABLES,
    sa.Column("person", sa.String(200), primary_key=True),
    sa.Column("key", sa.String(32), primary_key=True),
    sa.Column("value", sa.String(80), nullable=False),
)
_FAVOURITES = sa.Table(
    "desk_favourites",
    _TABLES,
    sa.Column("person", sa.String(200), primary_key=True),
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("what", sa.String(200), primary_key=True),
    sa.Column("since", sa.String(40), nullable=False),
)
_MOST_FAVOURITES = 200
_LONGEST_NAME = 80
_WRITE_SEEN = timedelta(seconds=60)
_SHOWN = 500
_NOT_GOOD = "this sign-in token was used already, has ended or never was: ask the admin for a new one"
_OVER = "this session has ended: sign in again"


@dataclass(frozen=True, slots=True)
class Person:
    """Whom a token or an identity provider vouches for. An operator, and nobody else, works for a party.

    Raises :class:`ConfigError` for a name or a combination that cannot be.
    """

    name: str
    role: Role
    party: str = ""

    def __post_init__(self) -> None:
        if not self.name or self.name != self.name.strip() or not self.name.isprintable():
            raise ConfigError("a person's name is printable text without spaces around it: name the person")
        if len(self.name) > _LONGEST_NAME:
            raise ConfigError(f"a person's name has at most {_LONGEST_NAME} characters: shorten it")
        if (self.role == "operator") != bool(self.party):
            raise ConfigError("an operator works for a party, and nobody else does: name --party with that role alone")


@dataclass(frozen=True, slots=True)
class Session:
    """One sign-in. ``certificate`` is that of the desk it came through (SHA-256); no other may use it."""

    number: int
    person: Person
    way: str
    certificate: str
    began: datetime
    seen: datetime
    expires: datetime
    ended: datetime | None = None
    ended_by: str = ""


class Sessions:
    """Tokens and sessions in the coordinator's database at ``url``. Thread-safe; other processes may add tokens.

    A session ends ``longest`` after it began, or ``idle`` after it was last used. ``now`` gives aware datetimes.
    Raises :class:`StorageError` when the database cannot be used.
    """

    def __init__(self, url: str, now: Callable[[], datetime], *, idle: timedelta, longest: timedelta) -> None:
        self.now = now
        self._idle = idle
        self._longest = longest
        self._lock = threading.RLock()
        self._live: dict[str, Session] = {}
        self._written: dict[str, datetime] = {}
        self._engine = open_engine(url)
        with self._stored() as connection:
            _TABLES.create_all(connection)
            for row in connection.execute(sa.select(_SESSIONS).where(_SESSIONS.c.ended.is_(None))).mappings():
                self._live[row["digest"]] = session = _session(row)
                self._written[row["digest"]] = session.seen

    def close(self) -> None:
        """Write down when sessions were last used, and give the database connections back."""
        with self._lock:
            for digest, session in self._live.items():
                if session.seen > self._written[digest]:
                    self._write_seen(digest, session)
        self._engine.dispose()

    # -- tokens

    def grant(self, person: Person, valid: timedelta) -> str:
        """A token that ``person`` can sign in with once, within ``valid``. It cannot be had a second time."""
        token, until = secrets.token_urlsafe(32), self.now() + valid
        row = {"digest": _digest(token), "name": person.name, "role": person.role, "party": person.party}
        with self._stored() as connection:
            connection.execute(_TOKENS.delete().where(_TOKENS.c.expires < _text(self.now() - timedelta(days=7))))
            connection.execute(_TOKENS.insert(), row | {"expires": _text(until), "used": None})
        return token

    def redeem(self, token: str, certificate: str) -> tuple[str, Session]:
        """Exchange a token for a session: its secret, and what it is. Raises :class:`SignInError`."""
        digest, now = _digest(token), _text(self.now())
        good = (_TOKENS.c.digest == digest) & _TOKENS.c.used.is_(None) & (_TOKENS.c.expires > now)
        with self._stored() as connection:
            spent = connection.execute(_TOKENS.update().where(good).values(used=now))
            if spent.rowcount != 1:
                raise SignInError(_NOT_GOOD)
            row = connection.execute(sa.select(_TOKENS).where(_TOKENS.c.digest == digest)).mappings().one()
        return self.begin(Person(row["name"], row["role"], row["party"]), "one-time token", certificate)

    def spend(self, token: str, person: Person, expires: datetime) -> None:
        """Note that somebody else's token was used here. Raises :class:`SignInError` when it was before."""
        row = {"digest": _digest(token), "name": person.name, "role": person.role, "party": person.party}
        try:
            with self._engine.begin() as connection:
                used = {"expires": _text(expires), "used": _text(self.now())}
                connection.execute(_TOKENS.insert(), row | used)
        except IntegrityError:
            raise SignInError("this sign-in was used already: sign in again") from None
        except SQLAlchemyError as error:
            raise _unusable(error) from None

    # -- sessions

    def begin(self, person: Person, way: str, certificate: str, until: datetime | None = None) -> tuple[str, Session]:
        """A new session, not beyond ``until``: its secret, which is nowhere else, and what it is."""
        secret, now = secrets.token_urlsafe(32), self.now()
        longest = now + self._longest
        expires = longest if until is None else min(longest, until)
        session = Session(0, person, way, certificate, now, now, expires)
        with self._lock, self._stored() as connection:
            made = connection.execute(_SESSIONS.insert(), _row(_digest(secret), session))
            assert made.inserted_primary_key is not None
            session = replace(session, number=made.inserted_primary_key[0])
            self._live[_digest(secret)] = session
            self._written[_digest(secret)] = now
        return secret, session

    def of(self, secret: str, certificate: str) -> Session:
        """The session of a secret that came over the desk with this certificate, used just now.

        Raises :class:`SignInError` when there is none, or it has ended.
        """
        digest, now = _digest(secret), self.now()
        with self._lock:
            session = self._live.get(digest)
            if session is None or session.certificate != certificate:
                raise SignInError(_OVER)
            if now >= session.expires or now - session.seen >= self._idle:
                self._end(digest, session, "time")
                raise SignInError(_OVER)
            session = self._live[digest] = replace(session, seen=now)
            if now - self._written[digest] > _WRITE_SEEN:
                self._write_seen(digest, session)
            return session

    def end(self, number: int, by: str) -> bool:
        """End a session; False when it had ended already."""
        with self._lock:
            found = next((pair for pair in self._live.items() if pair[1].number == number), None)
            if found is None:
                return False
            self._end(*found, by)
            return True

    def all(self) -> list[Session]:
        """The latest sessions, ended ones included, the newest first."""
        query = sa.select(_SESSIONS).order_by(_SESSIONS.c.number.desc()).limit(_SHOWN)
        now = self.now()
        with self._lock, self._stored() as connection:
            for digest, session in list(self._live.items()):
                if now >= session.expires or now - session.seen >= self._idle:
                    self._end(digest, session, "time")
            rows = connection.execute(query).mappings().all()
            return [self._live.get(row["digest"]) or _session(row) for row in rows]

    # -- preferences

    def preferences(self, person: str) -> dict[str, str]:
        """What a person prefers on the page, by key."""
        query = sa.select(_PREFERENCES.c.key, _PREFERENCES.c.value).where(_PREFERENCES.c.person == person)
        with self._stored() as connection:
            return {row.key: row.value for row in connection.execute(query)}

    def prefer(self, person: str, key: str, value: str) -> None:
        """Remember it; empty forgets it."""
        row = {"person": person, "key": key, "value": value}
        same = (_PREFERENCES.c.person == person) & (_PREFERENCES.c.key == key)
        with self._stored() as connection:
            connection.execute(_PREFERENCES.delete().where(same))
            if value:
                connection.execute(_PREFERENCES.insert(), row)

    def favourites(self, person: str, kind: FavouriteKind | None = None) -> list[tuple[FavouriteKind, str]]:
        """A person's favourites, of one kind or all, as kind and what: the latest first."""
        query = sa.select(_FAVOURITES.c.kind, _FAVOURITES.c.what).where(_FAVOURITES.c.person == person)
        if kind:
            query = query.where(_FAVOURITES.c.kind == kind)
        with self._stored() as connection:
            return [(row.kind, row.what) for row in connection.execute(query.order_by(_FAVOURITES.c.since.desc()))]

    def favour(self, person: str, kind: FavouriteKind, what: str, *, kept: bool) -> None:
        """Keep it, or take it away. Raises :class:`ConfigError` for one more than there may be."""
        row = {"person": person, "kind": kind, "what": what}
        mine = _FAVOURITES.c.person == person
        with self._stored() as connection:
            same = (_FAVOURITES.c.kind == kind) & (_FAVOURITES.c.what == what)
            connection.execute(_FAVOURITES.delete().where(mine & same))
            if not kept:
                return
            counted = sa.select(sa.func.count()).select_from(_FAVOURITES).where(mine)
            if connection.execute(counted).scalar_one() >= _MOST_FAVOURITES:
                raise ConfigError(f"you have {_MOST_FAVOURITES} favourites, as many as are kept: take one away first")
            connection.execute(_FAVOURITES.insert(), row | {"since": _text(self.now())})

    def _end(self, digest: str, session: Session, by: str) -> None:
        ended = {"seen": _text(session.seen), "ended": _text(self.now()), "ended_by": by[:200]}
        del self._live[digest]
        del self._written[digest]
        with self._stored() as connection:
            connection.execute(_SESSIONS.update().where(_SESSIONS.c.digest == digest).values(ended))

    def _write_seen(self, digest: str, session: Session) -> None:
        self._written[digest] = session.seen
        with self._stored() as connection:
            seen = {"seen": _text(session.seen)}
            connection.execute(_SESSIONS.update().where(_SESSIONS.c.digest == digest).values(seen))

    def _stored(self) -> _Stored:
        return _Stored(self._engine)


class _Stored:
    """A transaction whose database errors become :class:`StorageError`."""

    def __init__(self, engine: sa.Engine) -> None:
        self._begun = engine.begin()

    def __enter__(self) -> sa.Connection:
        try:
            return self._begun.__enter__()
        except SQLAlchemyError as error:
            raise _unusable(error) from None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: Any) -> None:
        try:
            self._begun.__exit__(kind, error, at)
        except SQLAlchemyError as wrong:
            raise _unusable(wrong) from None
        if isinstance(error, SQLAlchemyError):
            raise _unusable(error) from None


def _unusable(error: SQLAlchemyError) -> StorageError:
    cause = str(getattr(error, "orig", None) or error).splitlines()[0][:200]
    return StorageError(f"sign-ins cannot be kept ({cause}): check disk and database")


def _digest(secret: str) -> str:
    return hashlib.sha256(b"entente/desk/1\x00" + secret.encode()).hexdigest()


def _text(at: datetime) -> str:
    """UTC in a fixed width, so that texts compare as times do."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _row(digest: str, session: Session) -> dict[str, Any]:
    person = session.person
    return {
        "digest": digest,
        "name": person.name,
        "role": person.role,
        "party": person.party,
        "way": session.way,
        "certificate": session.certificate,
        "began": _text(session.began),
        "seen": _text(session.seen),
        "expires": _text(session.expires),
        "ended": None,
        "ended_by": "",
    }


def _session(row: Any) -> Session:
    return Session(
        number=row["number"],
        person=Person(row["name"], row["role"], row["party"]),
        way=row["way"],
        certificate=row["certificate"],
        began=datetime.fromisoformat(row["began"]),
        seen=datetime.fromisoformat(row["seen"]),
        expires=datetime.fromisoformat(row["expires"]),
        ended=datetime.fromisoformat(row["ended"]) if row["ended"] else None,
        ended_by=row["ended_by"],
    )
