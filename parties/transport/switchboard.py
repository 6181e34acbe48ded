"""Joins two members' ends so that bytes pass between them, for parties that cannot reach each other.

The bytes are a TLS connection between the two (``parties.transport.tunnel``), of which this module has no key. It holds
callers to whom they may call, bounds what it keeps, and counts.
"""

from __future__ import annotations

import queue
import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from parties.errors import PeerError

__all__ = ["LARGEST_PARCEL", "End", "Pace", "Ring", "Rings", "Switchboard"]

LARGEST_PARCEL = 2**18
_CAPACITY = 2**20
_ANSWER_SECONDS = 10.0
_CONNECTIONS_PER_PAIR = 4
_RINGING_PER_CALLER = 64
_BURST_SECONDS = 0.5

Pair = tuple[str, str]


class _Pipe:
    """Bytes one way, at most ``_CAPACITY`` of them unread. Thread-safe."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._closed = False

    def put(self, data: bytes) -> bool:
        """Wait for room and keep ``data``; False once the pipe is closed."""
        with self._change:
            while self._size >= _CAPACITY and not self._closed:
                self._change.wait()
            if self._closed:
                return False
            self._pieces.append(data)
            self._size += len(data)
            self._change.notify_all()
            return True

    def get(self) -> bytes:
        """The next piece; b"" once the pipe is closed and empty."""
        with self._change:
            while not self._pieces and not self._closed:
                self._change.wait()
            if not self._pieces:
                return b""
            data = self._pieces.popleft()
            self._size -= len(data)
            self._change.notify_all()
            return data

    def close(self) -> None:
        with self._change:
            self._closed = True
            self._change.notify_all()


class Pace:
    """Lets ``per_second`` bytes a second of each member through, 0 for any number. Thread-safe."""

    def __init__(self, per_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._clock = clock
        self._lock = threading.Lock()
        self._free_at: dict[str, float] = {}

    def wait_for(self, member: str, size: int) -> float:
        """Seconds to wait before ``size`` more bytes of ``member`` are passed on."""
        if not self._per_second:
            return 0.0
        with self._lock:
            now = self._clock()
            at = max(self._free_at.get(member, 0.0), now - _BURST_SECONDS)
            self._free_at[member] = at + size / self._per_second
            return max(0.0, at - now)


@dataclass(frozen=True, slots=True)
class Ring:
    """Somebody calls the listener; ``ticket`` answers."""

    caller: str
    ticket: str


class Rings:
    """Calls for one listener, until :meth:`close`."""

    def __init__(self, leave: Callable[[Rings], None]) -> None:
        self._leave = leave
        self._waiting: queue.SimpleQueue[Ring | None] = queue.SimpleQueue()

    def __iter__(self) -> Iterator[Ring]:
        while (ring := self._waiting.get()) is not None:
            yield ring

    def ring(self, ring: Ring) -> None:
        self._waiting.put(ring)

    def close(self) -> None:
        """Listen no more. Safe to call twice, from any thread."""
        self._leave(self)
        self._waiting.put(None)


class End:
    """One end of a relayed connection."""

    def __init__(self, note: Callable[[int], None], out: _Pipe, into: _Pipe, hurry: threading.Event) -> None:
        self._note = note
        self._out = out
        self._into = into
        self._over = hurry

    def send(self, data: bytes) -> bool:
        """Pass ``data`` on; blocks while the other end is slow. False once the connection is over."""
        if len(data) > LARGEST_PARCEL:
            self.close()
            return False
        self._note(len(data))
        return self._out.put(data)

    def receive(self) -> bytes:
        """The next piece from the other end; b"" once the connection is over."""
        return self._into.get()

    def close(self) -> None:
        """End the connection for both. Safe to call twice."""
        self._over.set()
        self._out.close()
        self._into.close()


@dataclass(eq=False)
class _Connection:
    """A call that rings or has been answered."""

    pair: Pair
    ends: tuple[End, End]
    answered: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)


class Switchboard:
    """All relayed connections of one coordinator. Thread-safe.

    ``allowed(caller, to)`` says why a member may not call another now, or "". ``per_second`` bounds each
    member's bytes.
    """

    def __init__(self, allowed: Callable[[str, str], str], *, per_second: int = 0) -> None:
        self._allowed = allowed
        self._pace = Pace(per_second)
        self._lock = threading.Lock()
        self._listeners: dict[str, Rings] = {}
        self._ringing: dict[str, _Connection] = {}
        self._connections: list[_Connection] = []
        self._passed: Counter[Pair] = Counter()
        self._totals: Counter[Pair] = Counter()
        self._stopped = False

    def listen(self, name: str) -> Rings:
        """Calls for ``name`` as they come; a listener of that name from before hears no more."""
        rings = Rings(lambda gone: self._leave(name, gone))
        with self._lock:
            before = self._listeners.get(name)
            self._listeners[name] = rings
        if before is not None:
            before.close()
        if self._stopped:
            rings.close()
        return rings

    def _leave(self, name: str, rings: Rings) -> None:
        with self._lock:
            if self._listeners.get(name) is rings:
                del self._listeners[name]

    def dial(self, caller: str, to: str, patience: float = _ANSWER_SECONDS) -> End:
        """The caller's end of a new connection, once ``to`` has answered.

        Raises :class:`PeerError` when it may not call, or nobody answers.
        """
        refused = self._allowed(caller, to)
        if refused:
            raise PeerError(f"the coordinator does not relay to {to!r}: {refused}", to)
        connection, ticket = self._join((caller, to)), secrets.token_hex(16)
        absent = PeerError(
            f"{to!r} takes no relayed connections: see that its node runs, and transport.relay there", to
        )
        with self._lock:
            listener = self._listeners.get(to)
            if listener is None or self._stopped:
                raise absent
            if sum(waiting.pair[0] == caller for waiting in self._ringing.values()) >= _RINGING_PER_CALLER:
                raise PeerError(f"too many calls of {caller!r} wait for an answer", to)
            self._ringing[ticket] = connection
            listener.ring(Ring(caller, ticket))
        answered = connection.answered.wait(patience)
        with self._lock:
            self._ringing.pop(ticket, None)
            if answered or connection.answered.is_set():
                return connection.ends[0]
        raise absent

    def answer(self, name: str, ticket: str) -> End:
        """The listener's end of the connection that rang with ``ticket``, which is good once and for ``name`` alone."""
        with self._lock:
            connection = self._ringing.get(ticket)
            if connection is None or connection.pair[1] != name or self._stopped:
                raise PeerError("nobody calls with this ticket, or it was answered before", name)
            del self._ringing[ticket]
            same = [held for held in self._connections if held.pair == connection.pair]
            self._connections.append(connection)
            connection.answered.set()
        for old in same[: max(0, len(same) + 1 - _CONNECTIONS_PER_PAIR)]:
            # its ends may be gone without a word
            old.ends[0].close()
        return connection.ends[1]

    def sweep(self) -> None:
        """Forget connections that are over, and end those that are not allowed any more."""
        with self._lock:
            self._connections = [held for held in self._connections if not held.over.is_set()]
            held = list(self._connections)
        for connection in held:
            if self._allowed(*connection.pair):
                connection.ends[0].close()

    def passed(self) -> dict[Pair, int]:
        """Bytes by (sender, receiver) since this was last asked."""
        with self._lock:
            passed, self._passed = dict(self._passed), Counter()
            return passed

    def totals(self) -> dict[Pair, int]:
        """Bytes by (sender, receiver) since the start."""
        with self._lock:
            return dict(self._totals)

    def close(self) -> None:
        """End everything, now and later."""
        with self._lock:
            self._stopped = True
            held, listeners = list(self._connections), list(self._listeners.values())
        for connection in held:
            connection.ends[0].close()
        for listener in listeners:
            listener.close()

    def _join(self, pair: Pair) -> _Connection:
        there, back, over = _Pipe(), _Pipe(), threading.Event()

        def noted(sender: str, receiver: str) -> Callable[[int], None]:
            def note(size: int) -> None:
                with self._lock:
                    self._passed[sender, receiver] += size
                    self._totals[sender, receiver] += size
                over.wait(self._pace.wait_for(sender, size))

            return note

        caller, to = pair
        ends = (End(noted(caller, to), there, back, over), End(noted(to, caller), back, there, over))
        return _Connection(pair, ends, over=over)
