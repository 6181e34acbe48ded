"""Which sessions are open at a server, which have been closed, and who waits for one to open."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from psi.flow import LocalProtocolError

__all__ = ["Key", "Sessions", "TooManyWaiting"]

C = TypeVar("C")
Key = tuple[str, str]

_WAITING_PER_PEER = 64
_CLOSED_REMEMBERED = 4096


class TooManyWaiting(Exception):
    """A peer has more calls waiting for sessions than one node serves."""


class Sessions(Generic[C]):
    """Channels by (run id, session). A session opens and closes once. Thread-safe."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._open: dict[Key, C] = {}
        self._closed: OrderedDict[Key, None] = OrderedDict()
        self._waiting: dict[str, int] = {}
        self._stopped = False

    def add(self, key: Key, make: Callable[[], C]) -> C:
        """Open ``key`` with the channel that ``make`` returns. :class:`LocalProtocolError` when it was open before."""
        with self._change:
            if key in self._open or key in self._closed:
                raise LocalProtocolError(f"session {key[1]!r} of this run has been opened here before")
            channel = self._open[key] = make()
            self._change.notify_all()
            return channel

    def retire(self, key: Key) -> None:
        """``key`` is closed for good."""
        with self._change:
            self._open.pop(key, None)
            self._closed[key] = None
            while len(self._closed) > _CLOSED_REMEMBERED:
                self._closed.popitem(last=False)
            self._change.notify_all()

    def known(self, key: Key) -> bool:
        """Whether waiting for ``key`` would end at once."""
        with self._change:
            return key in self._open or key in self._closed

    def wait(self, key: Key, peer: str, alive: Callable[[], bool]) -> C | None:
        """The channel of ``key`` once it is open; None when it has been closed, or as soon as not ``alive()``.

        Raises :class:`TooManyWaiting` beyond a fixed number of calls of one ``peer``.
        """
        with self._change:
            if self._waiting.get(peer, 0) >= _WAITING_PER_PEER:
                raise TooManyWaiting
            self._waiting[peer] = self._waiting.get(peer, 0) + 1
            try:
                while key not in self._open and key not in self._closed and alive() and not self._stopped:
                    self._change.wait()
                return self._open.get(key)
            finally:
                self._waiting[peer] -= 1

    def wake(self) -> None:
        """Let waiting calls look at ``alive()`` again."""
        with self._change:
            self._change.notify_all()

    def stop(self) -> list[C]:
        """End every wait, now and later; returns what is open."""
        with self._change:
            self._stopped = True
            self._change.notify_all()
            return list(self._open.values())
