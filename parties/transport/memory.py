"""All parties in one process: the transport of tests and simulations.

Messages pass through the codec and every check of a real channel; only sockets are missing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping

from parties.errors import PeerError
from parties.settings.consortium import TransportSettings
from parties.transport.channel import End, Frame, SessionTerms
from parties.transport.inbox import INTAKE_FAILED, ConnectionReplaced, SessionClosed
from parties.transport.meter import Recorder
from parties.transport.session import SessionChannel
from psi.flow import LocalProtocolError, Payload, RemoteProtocolError, Role

__all__ = ["MemoryChannel", "MemoryNetwork", "MemoryNode", "Relay"]

Relay = Callable[[str, Frame], Iterable[Frame]]
"""``relay(receiver, frame)`` yields what arrives instead: the frame, several, another, or nothing."""

_LOG = logging.getLogger(__name__)
_Place = tuple[str, str, str]


class MemoryNetwork:
    """Connects any number of parties. ``relay`` may record, delay or tamper with every frame."""

    def __init__(self, *, relay: Relay | None = None, settings: TransportSettings | None = None) -> None:
        self.settings = settings or TransportSettings()
        self._relay = relay
        self._change = threading.Condition()
        self._channels: dict[_Place, MemoryChannel] = {}
        self._left: set[_Place] = set()
        self._early: dict[_Place, list[Frame | End]] = {}

    def node(self, party: str) -> MemoryNode:
        """The endpoint of ``party``."""
        return MemoryNode(self, party)

    def inject(self, to: str, frame: Frame) -> None:
        """Deliver ``frame`` to ``to`` past the relay, as its network would: for tests of a hostile peer."""
        self._arrive(to, frame)

    def lose(self, party: str) -> None:
        """Cut every connection of ``party``, as when its process dies."""
        with self._change:
            channels = dict(self._channels)
            for place in [place for place in channels if place[0] == party]:
                self._left.add(place)
                del self._channels[place]
            self._change.notify_all()
        for (name, run_id, session), channel in channels.items():
            if name != party and (party, run_id, session) in channels:
                channel.inbox.lose(party, channel.tickets[party])

    def _join(self, channel: MemoryChannel) -> None:
        terms = channel.terms
        place = (terms.party, terms.run_id, terms.session)
        with self._change:
            if place in self._channels or place in self._left:
                raise LocalProtocolError(f"{terms.party!r} has opened session {terms.session!r} of this run before")
        while True:
            with self._change:
                early = self._early.pop(place, [])
                if not early:
                    self._channels[place] = channel
                self._change.notify_all()
            if not early:
                return
            for item in early:
                self._hand_over(channel, item)

    def _leave(self, place: _Place) -> None:
        with self._change:
            self._channels.pop(place, None)
            self._left.add(place)
            self._change.notify_all()

    def _carry(self, to: str, frame: Frame) -> None:
        for arriving in self._relay(to, frame) if self._relay else (frame,):
            self._arrive(to, arriving)

    def _arrive(self, to: str, item: Frame | End) -> None:
        place = (to, item.run_id, item.session)
        with self._change:
            channel = self._wait_or_keep(place, item)
        if channel is not None:
            self._hand_over(channel, item)

    def _hand_over(self, channel: MemoryChannel, item: Frame | End) -> None:
        if item.sender not in channel.tickets:
            return
        to = channel.party
        ticket = channel.tickets[item.sender]
        if isinstance(item, End):
            channel.inbox.end(item.sender, ticket, aborted=item.aborted, anew=item.anew)
            return
        try:
            channel.inbox.accept(item, ticket, patience=self.settings.silence_seconds)
        except (SessionClosed, ConnectionReplaced):
            return
        except RemoteProtocolError:
            self._refuse(item, to, "refused a message of ours: its own log says why")
        except TimeoutError:
            raise PeerError(f"{to!r} has read none of our messages: see whether its node is busy", to) from None
        except Exception:
            _LOG.exception("could not take in a message of %r", item.sender)
            channel.inbox.abort(INTAKE_FAILED)
            self._refuse(item, to, "failed while it took a message of ours in: its own log says why")

    def _wait_or_keep(self, place: _Place, item: Frame | End) -> MemoryChannel | None:
        """The open channel at ``place``; None when it has been left, or when ``item`` waits for it to open.

        What waits is bounded per sender as an outbox is: beyond that the sender itself waits.
        """
        deadline = time.monotonic() + self.settings.silence_seconds
        while place not in self._channels and place not in self._left:
            early = self._early.setdefault(place, [])
            size = sum(len(kept.body) for kept in early if isinstance(kept, Frame) and kept.sender == item.sender)
            if isinstance(item, End) or not size or size + len(item.body) <= self.settings.unsent:
                early.append(item)
                return None
            left = deadline - time.monotonic()
            if left <= 0:
                raise PeerError(
                    f"{place[0]!r} has not opened session {place[2]!r}: see whether its node is busy", place[0]
                )
            self._change.wait(left)
        return self._channels.get(place)

    def _refuse(self, frame: Frame, by: str, what: str) -> None:
        with self._change:
            channel = self._channels.get((frame.sender, frame.run_id, frame.session))
        if channel is not None:
            channel.inbox.fail(by, PeerError(f"{by!r} {what}", by))


class MemoryNode:
    """One party's way into a :class:`MemoryNetwork`."""

    def __init__(self, network: MemoryNetwork, party: str) -> None:
        self._network = network
        self._party = party

    def open(
        self,
        run_id: str,
        session: str,
        roles: Mapping[str, Role],
        payloads: Collection[Payload],
        *,
        recorder: Recorder | None = None,
    ) -> MemoryChannel:
        terms = SessionTerms(run_id, session, self._party, dict(roles), frozenset(payloads), self._network.settings)
        channel = MemoryChannel(self._network, terms, recorder)
        self._network._join(channel)
        return channel


class MemoryChannel(SessionChannel):
    """A channel of a :class:`MemoryNetwork`."""

    def __init__(self, network: MemoryNetwork, terms: SessionTerms, recorder: Recorder | None) -> None:
        super().__init__(terms, recorder)
        self._network = network
        self.tickets = {name: self.inbox.attach(name)[0] for name in terms.peers}

    def _deliver(self, to: str, frame: Frame) -> None:
        self._network._carry(to, frame)

    def _leave(self, *, aborted: bool) -> None:
        terms = self.terms
        self._network._leave((terms.party, terms.run_id, terms.session))
        for name in terms.peers:
            self._network._arrive(
                name, End(terms.run_id, terms.session, terms.party, aborted, aborted and self.inbox.anew)
            )
