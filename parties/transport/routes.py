"""By which way a peer is called: directly, or through the coordinator where it cannot be reached.

Both ways carry the same mutual TLS between the two nodes, so neither is the weaker one; but through the coordinator its
machine sees sizes and times and can stop what passes. So the choice is the operator's (``transport.relay``), and each
change of way is logged and shown.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from parties.transport.reach import round_trip

__all__ = ["Policy", "Routes", "Way"]

_LOG = logging.getLogger(__name__)
_PATIENCE = 2.0
_PROBE_SECONDS = 3.0
_STUCK_SECONDS = 5.0
_LOOK_AGAIN_SECONDS = 120.0

Way = Literal["direct", "relay"]
Policy = Literal["never", "when_unreachable", "always"]


@dataclass
class _Peer:
    way: Way | None = None
    looked_at: float = 0.0
    open_since: float | None = None
    turn: int = 0


class Routes:
    """The ways to all peers of one node. Thread-safe.

    ``reachable(address)`` says whether a connection to host:port can be opened; it may take seconds.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        reachable: Callable[[str], bool] = lambda address: round_trip(address, timeout=_PROBE_SECONDS) is not None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy = policy
        self._reachable = reachable
        self._clock = clock
        self._lock = threading.Lock()
        self._peers: dict[str, _Peer] = {}

    def relayed(self) -> tuple[str, ...]:
        """Peers that are called through the coordinator now."""
        with self._lock:
            return tuple(sorted(name for name, peer in self._peers.items() if peer.way == "relay"))

    def choose(self, name: str, address: str, trouble: float) -> Way | None:
        """The way for the next attempt to call ``name``, None when it is too early to try another.

        ``trouble`` is how long attempts have failed, in seconds. A peer that was reached is called the same way again;
        one that is relayed is looked for directly now and then. In trouble, the direct way is taken where a connection
        can be opened, and the coordinator's where that has failed for a moment; they take turns where connections open
        and lead nowhere.
        """
        if self._policy != "when_unreachable":
            return "relay" if self._policy == "always" else "direct"
        with self._lock:
            peer = self._peers.setdefault(name, _Peer())
            way, due = peer.way, self._clock() - peer.looked_at >= _LOOK_AGAIN_SECONDS
        if way is not None and not trouble and not (way == "relay" and due):
            return way
        began = self._clock()
        open_now = self._reachable(address)
        trouble += self._clock() - began
        with self._lock:
            now = peer.looked_at = self._clock()
            if open_now:
                peer.open_since = now if peer.open_since is None else peer.open_since
                peer.turn += now - peer.open_since >= _STUCK_SECONDS
                return "relay" if peer.turn % 2 else "direct"
            peer.open_since = None
        return "relay" if trouble >= _PATIENCE else None

    def reached(self, name: str, address: str, way: Way) -> None:
        """``name`` answered on this way: stay with it."""
        with self._lock:
            peer = self._peers.setdefault(name, _Peer())
            before, peer.way, peer.open_since, peer.turn = peer.way, way, None, 0
            if before != way:
                peer.looked_at = self._clock()
        if before == way:
            return
        if way == "relay":
            why = "" if self._policy == "always" else f" cannot be reached at {address}: its messages"
            told = f"{name}{why}" if why else f"messages to {name}"
            _LOG.warning("relay: %s travel through the coordinator, encrypted end to end", told)
        elif before == "relay":
            _LOG.info("relay: %s can be reached at %s again", name, address)
