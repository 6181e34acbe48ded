"""The watch that tells people: looks every few seconds what needs somebody, and sends each notice once.

It has a thread of its own and only reads, so a receiver that is slow, away or wrong holds up no run. What is sent is
kept in a file, so that a restart sends nothing twice.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from parties.errors import EntenteError
from parties.notices.message import Notice
from parties.notices.settings import About, NoticeSettings
from parties.private_files import write_whole
from parties.process.supervision import start_loop

__all__ = ["Notifier", "Way", "ways"]

_LOG = logging.getLogger(__name__)
_EVERY_SECONDS = 10.0
_TRIES = 5
_PAUSE_SECONDS = 60.0
_MOST_AT_ONCE = 20
_FILE = "notices.json"
_OLD: frozenset[About] = frozenset(("failed", "finished"))

Send = Callable[[Notice, datetime], None]


@dataclass(frozen=True, slots=True)
class Way:
    """One receiver. ``name`` can be logged; ``key`` tells it from others in what is kept, and tells no secret."""

    name: str
    key: str
    about: tuple[About, ...]
    send: Send


def ways(settings: NoticeSettings, home: Path, who: str) -> tuple[Way, ...]:
    """Every receiver that the settings name; ``who`` is whom notices are from."""
    if not settings.any:
        return ()
    from parties.notices.sending import post, send_mail

    found = []
    for hook in settings.webhook:
        key = hashlib.sha256(hook.url.encode()).hexdigest()[:16]
        send = partial(post, hook, home, who, names=settings.names)
        found.append(Way(f"webhook at {hook.host}", key, hook.about, send))
    if (mail := settings.mail) is not None:
        send = partial(send_mail, mail, home, who, names=settings.names)
        found.append(Way(f"mail by {mail.host}", f"mail {mail.host}", mail.about, send))
    return tuple(found)


class Notifier:
    """Sends what ``look`` finds by ``ways``. ``home`` is where it keeps what was sent."""

    def __init__(
        self,
        look: Callable[[], Iterable[Notice]],
        ways: tuple[Way, ...],
        home: Path,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._look, self._ways, self._file, self._now = look, ways, home / _FILE, now
        self._failed: dict[tuple[str, str], tuple[int, float]] = {}
        self._sent, self._first = self._restored()

    def start(self, stopped: threading.Event) -> None:
        """Look every few seconds until ``stopped`` is set."""
        start_loop(self.step, "notices", stopped, every=_EVERY_SECONDS, trouble=_PAUSE_SECONDS)

    def step(self) -> None:
        """Look once, and send what has not been sent. What cannot be sent is tried again later, five times at most."""
        at = self._now()
        found = {notice.key: notice for notice in self._look()}
        if self._first:  # what had ended before anybody asked to be told is no news
            self._sent |= {(way.key, key) for way in self._ways for key, n in found.items() if n.about in _OLD}
            self._first = False
        before, tries = len(self._sent), 0
        for way in self._ways:
            for key, notice in found.items():
                if notice.about in way.about and (way.key, key) not in self._sent and tries < _MOST_AT_ONCE:
                    tries += self._try(way, notice, at)
        gone = {place for place in self._sent if place[1] not in found}
        self._sent -= gone
        if gone or len(self._sent) != before:
            self._keep()

    def _try(self, way: Way, notice: Notice, at: datetime) -> int:
        place = way.key, notice.key
        count, last = self._failed.get(place, (0, 0.0))
        if count and at.timestamp() - last < _PAUSE_SECONDS * count:
            return 0
        try:
            way.send(notice, at)
        except EntenteError as error:
            if count + 1 < _TRIES:
                self._failed[place] = count + 1, at.timestamp()
                if not count:
                    _LOG.warning("%s: a notice about %s could not be sent, and is tried again", error, notice.about)
                return 1
            _LOG.error("%s: a notice about %s was given up after %d tries", error, notice.about, _TRIES)
        self._failed.pop(place, None)
        self._sent.add(place)
        return 1

    def _restored(self) -> tuple[set[tuple[str, str]], bool]:
        try:
            kept = json.loads(self._file.read_text(encoding="utf-8"))
            return {(str(way), str(key)) for way, key in kept["sent"]}, False
        except FileNotFoundError:
            return set(), True
        except (OSError, ValueError, KeyError, TypeError):
            _LOG.warning("%s cannot be read: what had ended before is not told again", self._file)
            return set(), True

    def _keep(self) -> None:
        try:
            write_whole(self._file, json.dumps({"sent": sorted(self._sent)}).encode())
        except (OSError, EntenteError):
            _LOG.warning("%s cannot be written: after a restart some notices are sent again", self._file)
