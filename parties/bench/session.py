"""One session between real processes: identities, ports and channels for a benchmark's parties."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parties.drive import drive
from parties.errors import PeerError
from parties.members.keys import Identity, create_identity
from parties.members.roster import Roster
from parties.transport.grpc import ExchangeServer
from psi.flow import Flow, Payload, Role

__all__ = ["Measured", "Part", "run_session"]

RUN = "be" * 32
PATIENCE = 600.0


@dataclass(frozen=True)
class Part:
    """One process: a module-level function that makes its flow from its name and ``arguments``."""

    role: Role
    flow: Callable[..., Flow[Any]]
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Measured:
    """What one process did. seconds: wall clock of the drive; cpu_seconds: of the process meanwhile."""

    result: Any
    seconds: float
    cpu_seconds: float
    peak_rss_mb: float
    sent: Mapping[str, tuple[int, int]]


def run_session(parts: Mapping[str, Part]) -> dict[str, Measured]:
    """Run every part in a process of its own, all in one session, and return what each measured.

    Raises :class:`PeerError` naming the part that failed.
    """
    # as the demo's nodes: each process computes on one thread; read when a child first loads numpy
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        identities = {name: create_identity(name, Path(folder) / name) for name in parts}
        roster = Roster({name: identities[name].member(f"127.0.0.1:{_free_port()}") for name in parts})
        roster.save(Path(folder) / "roster.json")
        roles = {name: part.role for name, part in parts.items()}
        outbox = context.Queue()
        processes = [
            context.Process(target=_work, args=(name, part, roles, folder, outbox), name=name)
            for name, part in parts.items()
        ]
        for process in processes:
            process.start()
        results: dict[str, Measured] = {}
        try:
            for _ in parts:
                name, outcome = outbox.get(timeout=PATIENCE)
                if isinstance(outcome, str):
                    raise PeerError(f"{name} failed: {outcome}", name)
                results[name] = outcome
        finally:
            for process in processes:
                process.join(timeout=10.0)
                if process.is_alive():
                    process.kill()
    return {name: results[name] for name in parts}


def _work(name: str, part: Part, roles: dict[str, Role], folder: str, outbox: Any) -> None:
    try:
        outbox.put((name, _measure(name, part, roles, Path(folder))))
    except Exception as error:
        outbox.put((name, f"{type(error).__name__}: {error}"))


def _measure(name: str, part: Part, roles: dict[str, Role], folder: Path) -> Measured:
    from parties.members.keys import load_identity

    identity: Identity = load_identity(name, folder / name)
    roster = Roster.load(folder / "roster.json")
    with ExchangeServer(identity, roster, roster[name].address) as server:
        channel = server.open(RUN, "bench-1", roles, tuple(Payload))
        with contextlib.closing(channel):
            flow = part.flow(name, **part.arguments)
            began, cpu = time.monotonic(), time.process_time()
            result = drive(flow, channel, silence=PATIENCE)
            seconds, cpu = time.monotonic() - began, time.process_time() - cpu
            sent = {kind: (tally.messages, tally.bytes) for kind, tally in channel.meter.by_kind("sent").items()}
    return Measured(result, seconds, cpu, _peak_mb(), sent)


def _peak_mb() -> float:
    """Most memory that this process ever held, MiB: what getrusage gives begins with its parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        held = (line.split() for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return float(next(held)[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
