"""The standing lines of attached parties: one queue of commands each, and when each was last heard of."""

from __future__ import annotations

import contextlib
import logging
import queue
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import ValidationError

from parties.control.commands import Command
from parties.control.reports import IntroductionBody
from parties.coordinator.events import Expired, PartyBack, PartyLost
from parties.coordinator.known_run import KnownRun
from parties.coordinator.store import EventLog
from parties.errors import StorageError

__all__ = ["Attachment", "PartyLine", "PartyLines", "due", "offered", "offers_before"]

_LOG = logging.getLogger(__name__)
_MOST_QUEUED = 10_000


class PartyLine:
    """One attachment of one party. Iterate to take commands; ends when it is closed or replaced."""

    def __init__(self, party: str, session: str) -> None:
        self.party = party
        self.session = session
        self._queue: queue.Queue[Command | None] = queue.Queue(_MOST_QUEUED)

    def put(self, command: Command) -> None:
        """Queue a command; a line whose party takes none is closed."""
        try:
            self._queue.put_nowait(command)
        except queue.Full:
            self.close()

    def close(self) -> None:
        while True:
            try:
                self._queue.put_nowait(None)
                return
            except queue.Full:
                try:
                    self._queue.get_nowait()
                except queue.Empty:
                    continue

    @property
    def empty(self) -> bool:
        return self._queue.empty()

    def __iter__(self) -> Iterator[Command]:
        while True:
            command = self._queue.get()
            if command is None:
                return
            yield command


@dataclass(frozen=True, slots=True)
class Attachment:
    """A party's line at one moment. ``silent_for`` in seconds; ``introduction``: what it said last that it brings."""

    attached: bool
    silent_for: float
    last_seen: datetime | None
    version: str
    introduction: IntroductionBody | None


@dataclass(slots=True)
class _Seen:
    line: PartyLine | None = None
    session: str = ""
    restarted: bool = False
    version: str = ""
    clock: float | None = None
    at: datetime | None = None
    introduction: IntroductionBody | None = None


class PartyLines:
    """All lines. The caller serialises access."""

    def __init__(self) -> None:
        self._parties: dict[str, _Seen] = {}
        self._since = time.monotonic()

    def attach(self, party: str, session: str, version: str) -> tuple[PartyLine, bool]:
        """Open a line, closing an older one; and whether the node has restarted since the last, until :meth:`noted`."""
        seen = self._parties.setdefault(party, _Seen())
        seen.restarted |= bool(seen.session) and seen.session != session
        if seen.line is not None:
            seen.line.close()
        seen.line, seen.session, seen.version = PartyLine(party, session), session, version
        self.heard(party)
        return seen.line, seen.restarted

    def noted(self, party: str) -> None:
        """What follows from the party's restart is on record."""
        self._parties[party].restarted = False

    def detach(self, line: PartyLine) -> None:
        """Forget a line that has ended, unless a newer one took its place."""
        seen = self._parties.get(line.party)
        if seen is not None and seen.line is line:
            seen.line = None

    def dismiss(self, party: str) -> None:
        """End a party's line: it is no member any more."""
        seen = self._parties.pop(party, None)
        if seen is not None and seen.line is not None:
            seen.line.close()

    def introduced(self, party: str, said: IntroductionBody) -> None:
        """What the party says it brings to runs."""
        self._parties.setdefault(party, _Seen()).introduction = said

    def heard(self, party: str) -> None:
        """Something came from the party."""
        seen = self._parties.setdefault(party, _Seen())
        seen.clock, seen.at = time.monotonic(), datetime.now(UTC)

    def put(self, party: str, command: Command) -> None:
        """Tell a party, if it is attached: what it missed it is told when it attaches."""
        seen = self._parties.get(party)
        if seen is not None and seen.line is not None:
            seen.line.put(command)

    def silent_for(self, party: str) -> float:
        """Seconds since the party was heard of, or since we started listening."""
        seen = self._parties.get(party)
        return time.monotonic() - (self._since if seen is None or seen.clock is None else seen.clock)

    def attached(self, party: str) -> bool:
        seen = self._parties.get(party)
        return seen is not None and seen.line is not None

    def attachment(self, party: str) -> Attachment:
        """The party's line as it is now."""
        seen = self._parties.get(party) or _Seen()
        return Attachment(seen.line is not None, self.silent_for(party), seen.at, seen.version, seen.introduction)

    def drained(self, patience: float) -> bool:
        """Wait until every line has handed over its commands, ``patience`` seconds at most."""
        deadline = time.monotonic() + patience
        while any(seen.line is not None and not seen.line.empty for seen in list(self._parties.values())):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def close(self) -> None:
        """End every line."""
        for seen in self._parties.values():
            if seen.line is not None:
                seen.line.close()


def offered(lines: PartyLines, log: EventLog, party: str, said: IntroductionBody) -> None:
    """Take an offer in. A database that refuses it costs nothing but the memory of it."""
    lines.introduced(party, said)
    try:
        log.save_offer(party, said.model_dump_json())
    except StorageError as error:
        _LOG.warning("%s: %s", party, error)


def offers_before(lines: PartyLines, log: EventLog, members: Collection[str]) -> None:
    """Take back what the members offered before a restart."""
    for party, body in log.offers().items():
        if party in members:
            with contextlib.suppress(ValidationError):  # of another version: the party says it again
                lines.introduced(party, IntroductionBody.model_validate_json(body))


def due(known: KnownRun, lines: PartyLines, now: datetime) -> Iterator[PartyLost | PartyBack | Expired]:
    """What the clock says of a run: who is silent, who is back, whether the agreement has expired."""
    state = known.state
    for party in state.plan.parties:
        silent = lines.silent_for(party)
        if silent > known.facts.silence_seconds:
            yield PartyLost(state.run, now, party, round(silent, 1))
        elif party in state.absent and lines.attached(party):
            yield PartyBack(state.run, now, party)
    if now > known.facts.expires_at:
        yield Expired(state.run, now)
