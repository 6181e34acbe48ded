"""What a phase of a run has at hand on a node, and how its part of a session is driven and measured."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from parties.agreement.document import Agreement
from parties.audit.log import AuditLog
from parties.audit.record import session_entry
from parties.control.phases import PhaseName, session_name, session_roles
from parties.drive import drive
from parties.errors import RunAborted
from parties.members.keys import Identity
from parties.members.roster import Roster
from parties.node.checkpoints import CheckpointStore
from parties.node.openings import OpeningStore
from parties.node.settings import NodeSettings
from parties.transport.channel import Channel, Endpoint
from parties.transport.meter import Recorder
from psi.flow import REGISTER, Flow, Progress
from vfl.protocols.spread import Workers

__all__ = ["PAUSED", "RunContext", "Secret", "node_secret", "peak_rss_mb", "traffic_of"]

T = TypeVar("T")

Secret = Callable[[str], bytes]
Report = Callable[[Mapping[str, Any]], None]
Traffic = dict[str, dict[str, Any]]

PAUSED = "the run is paused"
_LATER = "a later attempt has begun"


def node_secret(seed: bytes, purpose: str) -> bytes:
    """32 bytes for one purpose, derived from a node's seed."""
    return HKDF(SHA256(), 32, salt=None, info=f"entente/node/{purpose}".encode()).derive(seed)


def peak_rss_mb() -> float:
    """Most memory this process has held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@dataclass
class RunContext:
    """One run at one node.

    ``seed`` is the node's own 32-byte secret; ``tell`` passes a progress report to the coordinator.
    """

    agreement: Agreement
    settings: NodeSettings
    identity: Identity
    folder: Path
    endpoint: Endpoint
    openings: OpeningStore
    audit: AuditLog
    seed: bytes
    tell: Report
    recorder: Recorder | None = None
    workers: Workers | None = None
    roster: Roster | None = None
    _channel: Channel | None = None
    _aborted: str = ""
    _latest: tuple[PhaseName, int] = ("approve", 1)
    _paused: tuple[PhaseName, int] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    traffic: Traffic = field(default_factory=dict)

    @property
    def me(self) -> str:
        return self.identity.name

    @property
    def run_id(self) -> str:
        return self.agreement.run_id

    @property
    def queries(self) -> Path:
        return self.folder / self.settings.queries

    @property
    def data(self) -> Path:
        return self.folder / self.settings.data

    @property
    def run_folder(self) -> Path:
        return self.folder / "runs" / self.run_id

    def secret(self, purpose: str) -> bytes:
        """32 bytes of this node's own for one purpose, the same whenever the node and the purpose are."""
        return node_secret(self.seed, purpose)

    def checkpoints(self) -> CheckpointStore:
        """What this node keeps of the run so that it can go on after a crash."""
        return CheckpointStore(self.run_folder / "checkpoints", self.secret(f"checkpoint/{self.run_id}"), self.me)

    def trial_checkpoints(self, trial: int) -> CheckpointStore:
        """The same of one of a search's trials; they end with the run's."""
        purpose = f"checkpoint/{self.run_id}/trial-{trial}"
        return CheckpointStore(self.run_folder / "checkpoints" / f"trial-{trial}", self.secret(purpose), self.me)

    def part_checkpoints(self, part: str) -> CheckpointStore:
        """The same of one of several models that the run trains; they end with the run's."""
        purpose = f"checkpoint/{self.run_id}/{part}"
        return CheckpointStore(self.run_folder / "checkpoints" / part, self.secret(purpose), self.me)

    def perform(self, phase: PhaseName, attempt: int, flow: Flow[T]) -> T:
        """Drive this node's part of a phase's session to its result, counting what it sends."""
        roles, session = session_roles(self.agreement, phase), session_name(phase, attempt)
        channel = self.endpoint.open(self.run_id, session, roles, self.agreement.payloads, recorder=self.recorder)
        with self._lock:
            self._channel = channel
            if self._aborted or self._latest != (phase, attempt):
                channel.abort(self._aborted or _LATER, anew=not self._aborted)
        watch = _Watch(self, channel, phase, attempt)
        outcome = "failed"
        try:
            result = drive(flow, channel, silence=self.settings.transport.silence_seconds, watch=watch)
            outcome = "done"
            return result
        finally:
            channel.close()
            with self._lock:
                self._channel = None
            self.traffic = traffic_of(channel)
            self.audit.append("session", self.run_id, session_entry(channel, session, outcome))

    def supersede(self, phase: PhaseName, attempt: int) -> None:
        """The attempt to work on from now: end an earlier one that is under way."""
        with self._lock:
            self._latest = (phase, attempt)
            if self._channel is not None:
                self._channel.abort(_LATER, anew=True)

    def pause(self, phase: PhaseName, attempt: int) -> None:
        """Stop this attempt at its next boundary. Only training has any: other phases end."""
        with self._lock:
            if phase == "train" and self._latest == (phase, attempt):
                self._paused = (phase, attempt)

    def pausing(self, phase: PhaseName, attempt: int) -> bool:
        """Whether this attempt is to stop."""
        with self._lock:
            return not self._aborted and self._paused == self._latest == (phase, attempt)

    def boundary(self) -> None:
        """Everyone can go on from here: raise :class:`RunAborted` when the run is paused."""
        with self._lock:
            if self._paused is not None and self._paused == self._latest:
                if self._channel is not None:
                    self._channel.abort(PAUSED)
                raise RunAborted(PAUSED)

    def abort(self, reason: str) -> None:
        """End whatever is under way, now or as soon as it starts."""
        with self._lock:
            self._aborted = self._aborted or reason
            if self._channel is not None:
                self._channel.abort(reason)

    def check(self) -> None:
        """Raise :class:`RunAborted` when the run has been ended meanwhile."""
        if self._aborted:
            raise RunAborted(self._aborted)


def traffic_of(channel: Channel) -> Traffic:
    """What was sent, by message type, as the coordinator wants it."""
    return {
        kind: {
            "payload": str(REGISTER[kind].payload),
            "bytes": tally.bytes,
            "messages": tally.messages,
            "to": channel.meter.by_receiver(kind),
        }
        for kind, tally in channel.meter.by_kind("sent").items()
    }


class _Watch:
    """Passes a flow's progress on, a few times a second at most."""

    def __init__(self, context: RunContext, channel: Channel, phase: str, attempt: int) -> None:
        self._context = context
        self._channel = channel
        self._head = {"phase": phase, "attempt": attempt}
        self._last = 0.0

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._last < 0.5 and progress.done < progress.total:
            return
        self._last = now
        self._context.tell(
            {
                **self._head,
                "done": progress.done,
                "total": progress.total,
                "unit": progress.unit,
                "metrics": self._metrics(progress),
                "traffic": traffic_of(self._channel),
                "peak_rss_mb": peak_rss_mb(),
            }
        )

    def _metrics(self, progress: Progress) -> dict[str, float]:
        """What the coordinator may hear: losses, gains and ICs only where the agreement lets it."""
        told = self._context.agreement.evaluation.metrics_to_coordinator
        return {name: value for name, value in progress.metrics.items() if told or name == "period"}
