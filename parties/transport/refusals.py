"""How a server refuses a call: a fixed sentence to the caller, and the reason to its own log, once in a while."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from typing import NoReturn

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes

__all__ = ["SaidLately", "refuse", "unrostered"]

_LOG = logging.getLogger(__name__)


class SaidLately:
    """Which lines were said of whom within the last ``seconds``: ``each`` of one, ``most`` in all. Thread-safe."""

    def __init__(self, seconds: float, most: int, each: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._most, self.each, self._clock = seconds, most, each, clock
        self._said: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._of: Counter[str] = Counter()
        self._lock = threading.Lock()

    def number(self, who: str, line: str) -> int:
        """Says the line, which is the how many of ``who``; 0 where it is not to be said: again, or one too many."""
        now = self._clock()
        with self._lock:
            while self._said and now - next(iter(self._said.values())) >= self._seconds:
                self._forget()
            if (who, line) in self._said or self._of[who] >= self.each:
                return 0
            if len(self._said) >= self._most:
                self._forget()
            self._said[who, line] = now
            self._of[who] += 1
            return self._of[who]

    def _forget(self) -> None:
        (who, _), _ = self._said.popitem(last=False)
        self._of[who] -= 1
        if not self._of[who]:
            del self._of[who]


_LATELY = SaidLately(seconds=600.0, most=1024, each=20)
_LONGEST = 300  # its caller chooses the names in it, as long as a frame


def refuse(context: grpc.ServicerContext, code: grpc.StatusCode, text: str, detail: str) -> NoReturn:
    """End a call with a fixed sentence; what happened is for our log only.

    A node that was put out calls every other second: the same reason from the same host is a line in ten minutes. So
    are a few reasons of one host, which can think up as many as it likes.
    """
    peer, said = context.peer(), detail if len(detail) <= _LONGEST else f"{detail[: _LONGEST - 1]}…"
    number = _LATELY.number(peer.rpartition(":")[0], said)
    more = " (more of this host for ten minutes: at level debug alone)" if number == _LATELY.each else ""
    _LOG.log(logging.WARNING if number else logging.DEBUG, "refused a call from %s: %s%s", peer, said, more)
    context.abort(code, text)
    raise AssertionError("abort does not return")


def unrostered(certificates: Iterable[bytes]) -> str:
    """Of a certificate in no roster: whose it says it is, which anybody can write, and its fingerprint."""
    read = [x509.load_pem_x509_certificate(pem) for pem in certificates]
    told = [f"{one.subject.rfc4514_string()!r}, SHA-256 {one.fingerprint(hashes.SHA256()).hex()[:16]}" for one in read]
    return f"its certificate is in no roster ({'; '.join(told) or 'none shown'}): put out, or renewed without us?"
