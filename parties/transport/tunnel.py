"""A node's ends of connections that are led through the coordinator.

What travels is the same connection as without a relay: mutual TLS between the two nodes, each holding the
other to its rostered certificate. Here its bytes are only moved: between a socket in a folder of this node's own and a
:class:`Door` to the coordinator. So nothing that a coordinator does to the bytes is worse than what any network can do.

*Learns*: the coordinator learns who is connected with whom, and sizes and times of what travels.
*Leaks*: nothing of messages. The calling side's TLS hello names the peer, whom the coordinator connects anyway.
*Model*: malicious coordinator that reads, changes, repeats, reorders, drops and mixes bytes: the connection breaks, a
new one resumes where the receiver stood, and one that never comes through ends the phase with the peer's name. So it
can stop a run.
*Source*: TLS 1.3, RFC 8446 (appendix E for its guarantees): ephemeral key agreement, signatures of both pinned
certificates over the transcript, records under AEAD with implicit sequence numbers.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol

from parties.errors import PeerError
from parties.process.supervision import end_process, start_loop, start_task
from parties.transport.switchboard import LARGEST_PARCEL, Ring

__all__ = ["Door", "Incoming", "Tunnel"]

_LOG = logging.getLogger(__name__)
_MOST_CALLS = 64
_PREFIX, _LOCK = "entente-relay-", "in-use"
_SETTLED_SECONDS = 60.0


class Incoming(Protocol):
    """What arrives on a relayed connection, piece by piece, until it is over."""

    def __iter__(self) -> Iterator[bytes]: ...

    def close(self) -> None:
        """End the connection. Safe to call twice, from any thread."""


class Door(Protocol):
    """The way to the coordinator's switchboard. Any thread may call any method."""

    def dial(self, to: str, outgoing: Iterator[bytes]) -> Incoming:
        """Connect with ``to``; ``outgoing`` is read until it ends. Raises :class:`PeerError` with the reason."""

    def rings(self) -> Iterator[Ring]:
        """Calls for us, until :meth:`close`."""

    def answer(self, ring: Ring, outgoing: Iterator[bytes]) -> Incoming:
        """Take a call. Raises :class:`PeerError` when it is over already."""

    def close(self) -> None:
        """End everything."""


class Tunnel:
    """Sockets that lead through ``door``: one to each peer we call, one into our own server for those who call us."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._folder, self._held = _sockets_folder()
        self.own = f"unix:{self._folder / 'own'}"
        self._lock = threading.Lock()
        self._entrances: dict[str, socket.socket] = {}
        self._reasons: dict[str, str] = {}
        self._open: set[socket.socket] = set()
        self._closed = False
        self._stopped = threading.Event()
        self._listening = False

    def to(self, peer: str) -> str:
        """The gRPC address that leads to ``peer``."""
        with self._lock:
            entrance = self._entrances.get(peer)
            if entrance is None:
                path = self._folder / f"to{len(self._entrances)}"
                entrance = self._entrances[peer] = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                entrance.bind(str(path))
                entrance.listen(16)
                name = f"relay to {peer}"
                start_task(partial(self._admit, peer, entrance), name, lambda error: end_process(name))
            return f"unix:{entrance.getsockname()}"

    def reason(self, peer: str) -> str:
        """Why the last attempt to reach ``peer`` through the coordinator failed, or ""."""
        return self._reasons.get(peer, "")

    def listen(self) -> None:
        """Take calls from now on. Our server listens at :attr:`own`."""
        if not self._listening:
            self._listening = True
            start_loop(self._take_calls, "relay", self._stopped, every=0.0)

    def close(self) -> None:
        """End every connection and take the sockets away."""
        with self._lock:
            self._closed = True
            self._stopped.set()
            sockets = [*self._entrances.values(), *self._open]
        self._door.close()
        for one in sockets:
            _end(one)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._held.close()

    def _admit(self, peer: str, entrance: socket.socket) -> None:
        while True:
            try:
                plain, _ = entrance.accept()
            except OSError:
                return
            start_task(partial(self._call, peer, plain), f"relay to {peer}", partial(self._drop, plain))

    def _drop(self, plain: socket.socket, _: Exception) -> None:
        _end(plain)

    def _call(self, peer: str, plain: socket.socket) -> None:
        try:
            self._move(plain, lambda outgoing: self._door.dial(peer, outgoing))
            self._reasons.pop(peer, None)
        except PeerError as error:
            if self._reasons.get(peer) != str(error):
                _LOG.warning("relay to %s: %s", peer, error)
            self._reasons[peer] = str(error)

    def _take_calls(self) -> bool:
        """Take calls while the door hands them out. False: it hands out no more."""
        for ring in self._door.rings():
            with self._lock:
                if self._closed:
                    return False
                busy = len(self._open) >= _MOST_CALLS
            if busy:
                _LOG.warning("relay: %s calls, and %d relayed connections are open already", ring.caller, _MOST_CALLS)
                continue
            start_task(partial(self._take, ring), f"relay from {ring.caller}", lambda error: None)
        return False

    def _take(self, ring: Ring) -> None:
        plain = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            plain.connect(self.own.removeprefix("unix:"))
            self._move(plain, lambda outgoing: self._door.answer(ring, outgoing))
        except (OSError, PeerError) as error:
            _end(plain)
            _LOG.info("relay: a call of %s came to nothing: %s", ring.caller, error)

    def _move(self, plain: socket.socket, join: Callable[[Iterator[bytes]], Incoming]) -> None:
        """Move bytes both ways until either side is over."""
        with self._lock:
            self._open.add(plain)
            closed = self._closed
        try:
            if closed:
                return
            incoming = join(_pieces(plain))
            try:
                for data in incoming:
                    plain.sendall(data)
            except OSError:
                pass
            finally:
                incoming.close()
        finally:
            _end(plain)
            with self._lock:
                self._open.discard(plain)


def _sockets_folder() -> tuple[Path, BinaryIO]:
    """A new folder for this user alone, and the lock that says it is in use; those that killed processes left go."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            found = left.lstat()
            if found.st_uid != os.getuid() or time.time() - found.st_mtime < _SETTLED_SECONDS:
                continue  # somebody else's, or about to be locked
            with (left / _LOCK).open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    held = (folder / _LOCK).open("wb")
    fcntl.flock(held, fcntl.LOCK_EX)
    return folder, held


def _pieces(plain: socket.socket) -> Iterator[bytes]:
    with contextlib.suppress(OSError):
        while data := plain.recv(LARGEST_PARCEL):
            yield data


def _end(plain: socket.socket) -> None:
    with contextlib.suppress(OSError):
        plain.shutdown(socket.SHUT_RDWR)  # wakes whoever reads or accepts
    plain.close()
