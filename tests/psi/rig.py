"""A consortium in one process for the alignment tests: seeded randomness, toy signatures, recorded messages."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from psi.commitment import AlignmentLimits, PreviousAlignment
from psi.flow import Flow, Message, fields_of, run_local
from psi.ring import align_party, match_tokens

COORDINATOR = "coordinator"
RUN = hashlib.sha256(b"a run of the tests").digest()
LIMITS = AlignmentLimits(minimum_common=1, maximum_set_size=10_000, largest_change=0.25)


class Seeded:
    """Randomness that a seed replays: SHAKE-256 in counter mode."""

    def __init__(self, *seed: object) -> None:
        self._seed = repr(seed).encode()
        self._drawn = 0

    def token_bytes(self, nbytes: int, /) -> bytes:
        self._drawn += 1
        return hashlib.shake_256(self._seed + self._drawn.to_bytes(8, "big")).digest(nbytes)

    def randbelow(self, exclusive_upper_bound: int, /) -> int:
        return int.from_bytes(self.token_bytes(32), "big") % exclusive_upper_bound


def toy_signature(party: str, data: bytes) -> bytes:
    return hashlib.sha512(b"key of " + party.encode() + data).digest()


def toy_verify(party: str, data: bytes, signature: bytes) -> bool:
    return signature == toy_signature(party, data)


@dataclass
class Wire:
    """Every message as sent: (sender, receiver, message). ``tamper`` may replace one before delivery."""

    tamper: Callable[[str, str, Message], Message] = lambda sender, receiver, message: message
    sent: list[tuple[str, str, Message]] = field(default_factory=list)

    def __call__(self, sender: str, receiver: str, message: Message) -> Message:
        delivered = self.tamper(sender, receiver, message)
        self.sent.append((sender, receiver, delivered))
        return delivered

    def received(self, receiver: str, kind: type[Message] = Message) -> list[Message]:
        return [message for _, to, message in self.sent if to == receiver and isinstance(message, kind)]

    def points(self, kind: type[Message]) -> list[bytes]:
        return [point for _, _, message in self.sent if isinstance(message, kind) for point in cut(message.points)]


def cut(points: bytes) -> list[bytes]:
    return [points[at : at + 32] for at in range(0, len(points), 32)]


def packed(message: Message) -> bytes:
    """Everything a message says, as bytes to search in."""
    parts = []
    for column in fields_of(type(message)):
        value = getattr(message, column.name)
        parts.append(value if isinstance(value, bytes) else repr(value).encode())
    return b"\x00".join(parts)


def flows(
    sets: Mapping[str, Sequence[str]],
    *,
    seed: object = 0,
    run: bytes = RUN,
    limits: AlignmentLimits = LIMITS,
    previous: Mapping[str, PreviousAlignment] | None = None,
    **options: Any,
) -> dict[str, Flow[Any]]:
    parties = list(sets)
    made: dict[str, Flow[Any]] = {
        name: align_party(
            name,
            parties,
            COORDINATOR,
            ids,
            run=run,
            limits=limits,
            randomness=Seeded(seed, name),
            sign=lambda data, name=name: toy_signature(name, data),
            verify=toy_verify,
            previous=(previous or {}).get(name),
            **options,
        )
        for name, ids in sets.items()
    }
    made[COORDINATOR] = match_tokens(COORDINATOR, parties, limits=limits)
    return made


def align(sets: Mapping[str, Sequence[str]], *, wire: Wire | None = None, **options: Any) -> dict[str, Any]:
    return run_local(flows(sets, **options), relay=wire)
