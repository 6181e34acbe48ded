"""Frames on their way to one peer, kept until the peer says it has taken them.

The flow's thread puts frames in; a transport's thread pulls them, over as many connections as it takes.
After a lost connection the peer names the sequence number it waits for and pulling goes on from there, so
nothing is lost and nothing is delivered twice.
"""

from __future__ import annotations

import threading
import time
from collections import deque

from parties.errors import PeerError
from parties.transport.channel import End, Frame

__all__ = ["Outbox"]


class Outbox:
    """Frames for ``peer``, at most ``capacity`` bytes of them (one frame may exceed it alone). Thread-safe."""

    def __init__(self, peer: str, capacity: int) -> None:
        self._peer = peer
        self._capacity = capacity
        self._change = threading.Condition()
        self._kept: deque[Frame] = deque()
        self._bytes = 0
        self._taken = 0
        self._cursor = 0
        self._attempt = 0
        self._resumed = False
        self._end: End | None = None
        self._said_end = False
        self._over = False
        self._absent = False

    def put(self, frame: Frame, patience: float) -> None:
        """Keep ``frame`` for sending. Raises :class:`PeerError` when there is no room for ``patience`` seconds."""
        deadline = time.monotonic() + patience
        with self._change:
            while self._kept and self._bytes + len(frame.body) > self._capacity and not self._over:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise PeerError(
                        f"{self._peer!r} has taken nothing for {patience:g} s: see whether its node is busy",
                        self._peer,
                    )
                self._change.wait(left)
            if self._over:
                return
            self._kept.append(frame)
            self._bytes += len(frame.body)
            self._change.notify_all()

    def finish(self, end: End) -> None:
        """Nothing will be put any more: say ``end`` after the last frame, or at once when it is an abort."""
        with self._change:
            self._end = end
            if end.aborted:
                self._kept.clear()
                self._bytes = 0
            self._change.notify_all()

    def discard(self) -> None:
        """The peer wants no more, or cannot be reached: forget everything, now and later."""
        with self._change:
            self._over = True
            self._kept.clear()
            self._bytes = 0
            self._change.notify_all()

    def complete(self) -> None:
        """The peer ended the call in order: if we had said our end, it has everything."""
        with self._change:
            self._over = self._over or self._said_end
            self._change.notify_all()

    def flush(self, patience: float) -> bool:
        """Wait until the peer has everything, ``patience`` seconds at most; whether it has.

        A peer that has nothing to get and is not there to hear our end is not waited for.
        """
        with self._change:
            self._change.wait_for(lambda: self._over or (self._absent and not self._kept), patience)
            return self._over or not self._kept

    @property
    def done(self) -> bool:
        """The peer has everything, the end included, or wants no more."""
        with self._change:
            return self._over

    @property
    def taken(self) -> int:
        """How many frames the peer has taken."""
        with self._change:
            return self._taken

    @property
    def idle(self) -> bool:
        """Nothing waits to be taken."""
        with self._change:
            return not self._kept

    def attach(self) -> int:
        """Start a connection; pulls of earlier ones end. Returns its number."""
        with self._change:
            self._attempt += 1
            self._resumed = False
            self._said_end = False
            self._change.notify_all()
            return self._attempt

    def missed(self) -> None:
        """The peer could not be reached, or has not opened the session yet."""
        with self._change:
            self._absent = True
            self._change.notify_all()

    def resume(self, attempt: int, expected: int) -> None:
        """The peer waits for ``expected``. Raises :class:`PeerError` when that frame is not here."""
        with self._change:
            if attempt != self._attempt:
                return
            self._absent = False
            if self._end is not None and self._end.aborted:
                self._resumed = True
                self._change.notify_all()
                return
            if not self._taken <= expected <= self._taken + len(self._kept):
                raise PeerError(
                    f"{self._peer!r} has lost its place in this session (it waits for message {expected}, "
                    f"we have {self._taken} to {self._taken + len(self._kept)}): start the phase again",
                    self._peer,
                )
            self._drop_before(expected)
            self._cursor = expected
            self._resumed = True
            self._change.notify_all()

    def acknowledge(self, expected: int) -> None:
        """The peer has taken every frame before ``expected``."""
        with self._change:
            self._drop_before(min(expected, self._cursor))
            self._change.notify_all()

    def pull(self, attempt: int) -> Frame | End | None:
        """The next frame to send, then the end, then None; None at once when the connection is over."""
        with self._change:
            while attempt == self._attempt and not self._over:
                if self._resumed:
                    if self._end is not None and self._end.aborted:
                        return self._say_end()
                    if self._cursor < self._taken + len(self._kept):
                        frame = self._kept[self._cursor - self._taken]
                        self._cursor += 1
                        return frame
                    if self._end is not None:
                        return self._say_end()
                self._change.wait()
            return None

    def _say_end(self) -> End | None:
        if self._said_end:
            return None
        self._said_end = True
        return self._end

    def _drop_before(self, expected: int) -> None:
        while self._kept and self._taken < expected:
            self._bytes -= len(self._kept.popleft().body)
            self._taken += 1
