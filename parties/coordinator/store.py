"""The coordinator's database: the event log, and beside it each run's last progress and each party's last offer.

The log is append-only and hash-chained: an entry's hash covers the one before it, so that an entry changed, dropped or
put in between is found when the log is read. States are rebuilt from it; nothing else is remembered of a run but
one bounded progress record, which may be lost without harm (but for the rounds that cost privacy, each of which is
written before it opens), as may an offer: its party says it again. SQLite (WAL,
synchronous=FULL) or PostgreSQL.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import rfc8785
from sqlalchemy import Column, Engine, Integer, MetaData, RowMapping, String, Table, Text, select
from sqlalchemy.exc import SQLAlchemyError

from parties.coordinator.events import Event, event_from_json, event_to_json
from parties.errors import StorageError

__all__ = ["GENESIS", "EventLog", "LoggedEvent"]

GENESIS = hashlib.sha256(b"entente/event-log/1\x00").hexdigest()
LARGEST_PROGRESS = 4 << 20

_TABLES = MetaData()
_EVENTS = Table(
    "run_events",
    _TABLES,
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("run_id", String(64), nullable=False, index=True),
    Column("at", String(40), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("body", Text, nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
)
_PROGRESS = Table(
    "run_progress",
    _TABLES,
    Column("run_id", String(64), primary_key=True),
    Column("body", Text, nullable=False),
)

_OFFERS = Table(
    "party_offers",
    _TABLES,
    Column("party", String(32), primary_key=True),
    Column("body", Text, nullable=False),
)


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """An event with its place in the log."""

    sequence: int
    event: Event
    hash: str

    @property
    def at(self) -> datetime:
        return self.event.at


class EventLog:
    """Appends and replays. One process writes; it holds the last hash in memory."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        try:
            _TABLES.create_all(engine)
        except SQLAlchemyError as error:
            raise StorageError(f"the event log cannot be opened ({_cause(error)}): check the database") from None
        self._sequence, self._hash = 0, GENESIS
        for entry in self.read():
            self._sequence, self._hash = entry.sequence, entry.hash

    def append(self, entry: Event) -> LoggedEvent:
        """Store the event durably before returning. Raises :class:`StorageError` and stores nothing otherwise."""
        body = event_to_json(entry)
        sequence, digest = self._sequence + 1, _link(self._hash, self._sequence + 1, body)
        row = {
            "sequence": sequence,
            "run_id": entry.run,
            "at": body["at"],
            "kind": entry.kind,
            "body": json.dumps(body),
            "hash": digest,
        }
        try:
            with self._engine.begin() as connection:
                connection.execute(_EVENTS.insert(), row)
        except SQLAlchemyError as error:
            raise StorageError(f"the event log cannot be written ({_cause(error)}): check disk and database") from None
        self._sequence, self._hash = sequence, digest
        return LoggedEvent(sequence, entry, digest)

    def read(self, *, run_id: str = "", after: int = 0, limit: int | None = None) -> Iterator[LoggedEvent]:
        """Entries in order. Read from the start and whole, the chain is checked on the way.

        Raises :class:`StorageError` naming the first entry that does not fit.
        """
        query = select(_EVENTS).where(_EVENTS.c.sequence > after).order_by(_EVENTS.c.sequence)
        if run_id:
            query = query.where(_EVENTS.c.run_id == run_id)
        if limit is not None:
            query = query.limit(limit)
        checked = not run_id and after == 0
        previous, expected = GENESIS, 0
        try:
            with self._engine.connect() as connection:
                for row in connection.execute(query).mappings():
                    body, expected = json.loads(row["body"]), expected + 1
                    if checked and not _follows(row, previous, expected, body):
                        raise StorageError(
                            f"event log entry {row['sequence']} does not follow the one before it: restore a backup"
                        )
                    previous = row["hash"]
                    yield LoggedEvent(row["sequence"], event_from_json(body), row["hash"])
        except (SQLAlchemyError, ValueError) as error:
            raise StorageError(f"the event log cannot be read ({_cause(error)}): restore a backup") from None

    def close(self) -> None:
        """Give the database connections back."""
        self._engine.dispose()

    def save_progress(self, run_id: str, record: dict[str, Any]) -> bool:
        """Keep the run's last progress record. False: it is above ``LARGEST_PROGRESS`` characters, and is dropped."""
        text = json.dumps(record)
        if len(text) > LARGEST_PROGRESS:
            return False
        try:
            with self._engine.begin() as connection:
                connection.execute(_PROGRESS.delete().where(_PROGRESS.c.run_id == run_id))
                connection.execute(_PROGRESS.insert(), {"run_id": run_id, "body": text})
        except SQLAlchemyError as error:
            raise StorageError(f"progress cannot be written ({_cause(error)}): check disk and database") from None
        return True

    def load_progress(self, run_id: str) -> dict[str, Any]:
        """The run's last progress record, or nothing."""
        with self._engine.connect() as connection:
            query = select(_PROGRESS.c.body).where(_PROGRESS.c.run_id == run_id)
            text = connection.execute(query).scalar_one_or_none()
        record: dict[str, Any] = json.loads(text) if text else {}
        return record

    def save_offer(self, party: str, body: str) -> None:
        """Keep what a party offers to runs, JSON, so that a restart does not wait for every party; "" forgets it."""
        try:
            with self._engine.begin() as connection:
                connection.execute(_OFFERS.delete().where(_OFFERS.c.party == party))
                if body:
                    connection.execute(_OFFERS.insert(), {"party": party, "body": body})
        except SQLAlchemyError as error:
            raise StorageError(f"an offer cannot be written ({_cause(error)}): check disk and database") from None

    def offers(self) -> dict[str, str]:
        """What each party offered last, JSON by name."""
        with self._engine.connect() as connection:
            return {row.party: row.body for row in connection.execute(select(_OFFERS))}


def _follows(row: RowMapping, previous: str, sequence: int, body: Any) -> bool:
    if not isinstance(body, dict) or row["sequence"] != sequence or row["hash"] != _link(previous, sequence, body):
        return False
    return (row["run_id"], row["at"], row["kind"]) == (body.get("run"), body.get("at"), body.get("kind"))


def _link(previous: str, sequence: int, body: dict[str, Any]) -> str:
    return hashlib.sha256(bytes.fromhex(previous) + sequence.to_bytes(8, "big") + rfc8785.dumps(body)).hexdigest()


def _cause(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).splitlines()[0][:200]
