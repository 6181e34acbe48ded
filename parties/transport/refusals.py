"""How a server refuses a call: a fixed sentence to the caller, and the reason to its own log, once in a while."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import NoReturn

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes

__all__ = ["SaidLately", "refuse", "unrostered"]

_LOG = logging.getLogger(__name__)


class SaidLately:
    """Which lines were said within the last ``seconds``; the ``most`` latest are known. Thread-safe."""

    def __init__(self, seconds: float, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._most, self._clock = seconds, most, clock
        self._said: OrderedDict[tuple[str, ...], float] = OrderedDict()
        self._lock = threading.Lock()

    def again(self, *line: str) -> bool:
        """Whether the line was said already; if it was not, it is now."""
        now = self._clock()
        with self._lock:
            before = self._said.get(line)
            if before is not None and now - before < self._seconds:
                return True
            self._said[line] = now
            self._said.move_to_end(line)
            if len(self._said) > self._most:
                self._said.popitem(last=False)
            return False


_LATELY = SaidLately(seconds=600.0, most=1024)


def refuse(context: grpc.ServicerContext, code: grpc.StatusCode, text: str, detail: str) -> NoReturn:
    """End a call with a fixed sentence; what happened is for our log only.

    A node that was put out calls every other second: the same reason from the same host is a line in ten minutes.
    """
    peer = context.peer()
    level = logging.DEBUG if _LATELY.again(peer.rpartition(":")[0], detail) else logging.WARNING
    _LOG.log(level, "refused a call from %s: %s", peer, detail)
    context.abort(code, text)
    raise AssertionError("abort does not return")


def unrostered(certificates: Iterable[bytes]) -> str:
    """Of a certificate in no roster: whose it says it is, which anybody can write, and its fingerprint."""
    read = [x509.load_pem_x509_certificate(pem) for pem in certificates]
    told = [f"{one.subject.rfc4514_string()!r}, SHA-256 {one.fingerprint(hashes.SHA256()).hex()[:16]}" for one in read]
    return f"its certificate is in no roster ({'; '.join(told) or 'none shown'}): put out, or renewed without us?"
