"""Entity alignment between processes: seconds, bytes and memory, beside what other libraries take for as many ids."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from typing import Any, Literal

from parties.bench.session import Part, run_session
from parties.names import COORDINATOR
from psi.commitment import AlignmentLimits
from psi.flow import Flow, Role, run_local
from psi.kept import confirm_kept
from psi.ring import Alignment, PoolMap, align_party, match_tokens

__all__ = ["Elsewhere", "PsiShape", "bench_psi", "elsewhere"]

Protocol = Literal["ring", "ot"]
_RUN = bytes(32)


@dataclass(frozen=True)
class PsiShape:
    """ids: of each party, four fifths of them common. workers: processes of a party of the ring; 0: its own alone."""

    protocol: Protocol
    ids: int
    parties: int
    workers: int = 0

    @property
    def names(self) -> list[str]:
        """The parties, the one that leads or stands first."""
        return [f"p{number}" for number in range(self.parties)]

    @property
    def common(self) -> int:
        """How many ids all parties hold."""
        return max(1, self.ids * 4 // 5)


@dataclass(frozen=True)
class Elsewhere:
    """What another library took on a 2-core x86-64 machine, two parties on it, and how that is measured."""

    library: str
    protocol: str
    ids: int
    seconds: float
    command: str


_SPU = "quoted; benchmarks/psi_library.py measures it on this machine"
_OTHERS = (
    Elsewhere("a C++ library", "ECDH", 100_000, 29.8, "quoted, not measured by this command"),
    Elsewhere("SecretFlow SPU", "ECDH", 100_000, 2.8, _SPU),
    Elsewhere("SecretFlow SPU", "RR22", 100_000, 0.64, _SPU),
    Elsewhere("SecretFlow SPU", "KKRT", 1_000_000, 13.0, _SPU),
    Elsewhere("SecretFlow SPU", "RR22", 1_000_000, 4.2, _SPU),
)


def elsewhere(ids: int) -> tuple[Elsewhere, ...]:
    """Figures of other libraries at the size nearest to ``ids``."""
    nearest = min((one.ids for one in _OTHERS), key=lambda size: abs(size - ids))
    return tuple(one for one in _OTHERS if one.ids == nearest)


def bench_psi(shape: PsiShape) -> dict[str, Any]:
    """Align all parties' sets once. seconds: from all being ready to the last having the rows."""
    arguments = {"shape": shape}
    parts = {name: Part(Role.FEATURE if name != "p0" else Role.LABEL, _party, arguments) for name in shape.names}
    if shape.protocol == "ring":
        parts[COORDINATOR] = Part(Role.COORDINATOR, _coordinator, arguments)
    measured = run_session(parts)
    found: Mapping[str, tuple[float, int]] = {name: measured[name].result for name in shape.names}
    assert {common for _, common in found.values()} == {shape.common}, "an alignment found other ids than were made"
    sent = {name: sum(size for _, size in one.sent.values()) for name, one in measured.items()}
    return {
        **asdict(shape),
        "common": shape.common,
        "seconds": max(seconds for seconds, _ in found.values()),
        "bytes": sum(sent.values()),
        "bytes_sent": sent,
        "peak_rss_mb": {name: m.peak_rss_mb for name, m in measured.items()},
        "cpu_seconds": {name: m.cpu_seconds for name, m in measured.items()},
        "elsewhere": [asdict(one) for one in elsewhere(shape.ids)],
    }


def _sign(data: bytes) -> bytes:
    return hashlib.sha512(data).digest()


def _verify(party: str, data: bytes, signature: bytes) -> bool:
    del party
    return signature == hashlib.sha512(data).digest()


def _own_ids(name: str, shape: PsiShape) -> list[str]:
    """The common ids and the party's own, as a query would give them."""
    own = name.upper()
    return [f"C{n:09d}" for n in range(shape.common)] + [f"{own}X{n:09d}" for n in range(shape.ids - shape.common)]


def _party(name: str, shape: PsiShape) -> Flow[tuple[float, int]]:
    """One party, its ids made and its compiled loops loaded before anything is timed. Returns seconds and rows."""
    ids, stack = _own_ids(name, shape), ExitStack()
    pool_map: PoolMap = map
    if shape.protocol == "ot":
        _load_kernels()
    elif shape.workers:
        pool = stack.enter_context(ProcessPoolExecutor(shape.workers, get_context("spawn")))
        list(pool.map(abs, range(shape.workers)))
        pool_map = pool.map
    return _timed(name, shape, ids, pool_map, stack)


def _timed(
    name: str, shape: PsiShape, ids: Sequence[str], pool_map: PoolMap, stack: ExitStack
) -> Flow[tuple[float, int]]:
    with stack:
        yield from confirm_kept(name, shape.names, (), run=_RUN, earlier=_RUN)
        began = time.monotonic()
        aligned = yield from _alignment(name, shape, ids, pool_map)
        return time.monotonic() - began, len(aligned.ids)


def _alignment(name: str, shape: PsiShape, ids: Sequence[str], pool_map: PoolMap = map) -> Flow[Alignment]:
    from psi.ot.align import align_by_transfer

    common: dict[str, Any] = {
        "run": _RUN,
        "limits": AlignmentLimits(1, max(shape.ids, 1), 0.25),
        "randomness": secrets,
        "sign": _sign,
        "verify": _verify,
    }
    if shape.protocol == "ot":
        return align_by_transfer(name, shape.names, shape.names[0], ids, **common)
    return align_party(name, shape.names, COORDINATOR, ids, **common, pool_map=pool_map)


def _coordinator(name: str, shape: PsiShape) -> Flow[int]:
    report = yield from match_tokens(name, shape.names, limits=AlignmentLimits(1, max(shape.ids, 1), 0.25))
    return report.n_common


def _load_kernels() -> None:
    """Compile the loops of oblivious transfer, or load them: once for a process, whatever the size of the sets."""
    shape = PsiShape("ot", 8, 2)
    run_local({name: _alignment(name, shape, _own_ids(name, shape)) for name in shape.names})
