"""What a channel is, and the terms every channel enforces.

A channel belongs to one party in one session of one run. It moves whole messages between named
parties, in order and once, and refuses on both sides whatever the register or the agreement does not allow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from parties.settings.consortium import TransportSettings
from parties.transport.meter import Meter, Recorder
from parties.transport.transcript import TranscriptHead
from psi.flow import REGISTER, LocalProtocolError, Message, Payload, Recv, RemoteProtocolError, Role

__all__ = ["Channel", "End", "Endpoint", "Frame", "SessionTerms"]


class Channel(Protocol):
    """One party's end of a session. Any thread may call any method."""

    @property
    def party(self) -> str:
        """Our own name."""

    @property
    def meter(self) -> Meter:
        """Messages and bytes by kind, peer and direction."""

    def send(self, to: str, message: Message) -> None:
        """Queue ``message`` for ``to``; blocks only while too many bytes are queued already.

        Raises :class:`LocalProtocolError` for what the terms forbid, :class:`PeerError` when ``to`` is lost
        or refuses us, :class:`RunAborted` after :meth:`abort`.
        """

    def receive(self, options: Sequence[Recv], timeout: float) -> tuple[int, Message]:
        """The first message to arrive among ``options``, and the option's position.

        Raises :class:`PeerError` naming the peer after ``timeout`` seconds, or as soon as an awaited peer is
        known to be lost, :class:`RemoteProtocolError` when any peer broke the protocol, and
        :class:`RunAborted` after :meth:`abort`.
        """

    def abort(self, reason: str, *, anew: bool = False) -> None:
        """Wake every waiter with ``RunAborted(reason)``; later calls raise it too.

        anew: nothing went wrong here, and another attempt follows; peers are told so.
        """

    def close(self) -> None:
        """Deliver what is queued, tell the peers we are done, and free everything."""

    def transcripts(self) -> Mapping[tuple[str, str], TranscriptHead]:
        """By (sender, receiver): how many messages and the hash chain over them; equal at both ends."""


class Endpoint(Protocol):
    """What opens sessions for one party: a gRPC server or a memory network's node."""

    def open(
        self,
        run_id: str,
        session: str,
        roles: Mapping[str, Role],
        payloads: Collection[Payload],
        *,
        recorder: Recorder | None = None,
    ) -> Channel:
        """Join a session. ``roles`` names every member, ourselves included."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message as it travels."""

    run_id: str
    session: str
    sender: str
    sequence: int
    kind: str
    body: bytes = field(repr=False)
    _digest: list[bytes] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def digest(self) -> bytes:
        """SHA-256 of the body, computed once."""
        if not self._digest:
            self._digest.append(hashlib.sha256(self.body).digest())
        return self._digest[0]

    def hashed(self, digest: bytes) -> Frame:
        """This frame, its body's SHA-256 being known to its maker."""
        self._digest[:] = [digest]
        return self


@dataclass(frozen=True, slots=True)
class End:
    """A sender's last word in a session. anew: it stopped because another attempt follows."""

    run_id: str
    session: str
    sender: str
    aborted: bool
    anew: bool = False


@dataclass(frozen=True)
class SessionTerms:
    """Who may send what to whom in one session."""

    run_id: str
    session: str
    party: str
    roles: Mapping[str, Role]
    payloads: frozenset[Payload]
    settings: TransportSettings

    def __post_init__(self) -> None:
        if self.party not in self.roles:
            raise LocalProtocolError(f"{self.party!r} takes no part in session {self.session!r}")

    @property
    def peers(self) -> tuple[str, ...]:
        """Every member but ourselves."""
        return tuple(name for name in self.roles if name != self.party)

    def check_outgoing(self, to: str, kind: str) -> None:
        """Raise :class:`LocalProtocolError` unless we may send a message of ``kind`` to ``to``."""
        if to not in self.roles or to == self.party:
            raise LocalProtocolError(f"{kind} is addressed to {to!r}, who is no peer of {self.party!r} in this session")
        reason = self._objection(kind, self.party, to)
        if reason:
            raise LocalProtocolError(f"not sent: {reason}")

    def check_size(self, kind: str, size: int) -> None:
        """Raise :class:`LocalProtocolError` when a message of ours is too big to send."""
        if size > self.settings.largest_message:
            raise LocalProtocolError(
                f"not sent: {kind} has {size} bytes, above largest_message = {self.settings.largest_message}: "
                "use smaller batches or raise the limit at every node"
            )

    def check_incoming(self, sender: str, kind: str, size: int) -> None:
        """Raise :class:`RemoteProtocolError` unless ``sender`` may send us ``size`` bytes of ``kind``."""
        if size > self.settings.largest_message:
            raise RemoteProtocolError(f"a message of {size} bytes, above {self.settings.largest_message}", sender)
        reason = self._objection(kind, sender, self.party)
        if reason:
            raise RemoteProtocolError(reason, sender)

    def _objection(self, kind: str, sender: str, receiver: str) -> str:
        declared = REGISTER.get(kind)
        if declared is None:
            return "a message of a kind that is not in the register"
        if not _fits(self.roles[sender], declared.sender):
            return f"{kind} may come only from a {declared.sender}, and {sender!r} is a {self.roles[sender]}"
        if not _fits(self.roles[receiver], declared.receiver):
            return f"{kind} may go only to a {declared.receiver}, and {receiver!r} is a {self.roles[receiver]}"
        if declared.payload not in self.payloads:
            return f"{kind} carries a {declared.payload}, which the run agreement does not allow"
        return ""


def _fits(role: Role, declared: Role) -> bool:
    """``PARTY`` in the register stands for any party that is not the coordinator."""
    return role == declared or (declared is Role.PARTY and role is not Role.COORDINATOR)
