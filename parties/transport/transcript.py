"""A hash chain over the messages of one link in one direction.

Both ends keep one. Equal heads mean that both saw the same messages in the same order in the same run and
session; the heads are what a party signs when it vouches for what it saw.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

__all__ = ["Transcript", "TranscriptHead"]

_DOMAIN = b"entente/transcript/1"


@dataclass(frozen=True, slots=True)
class TranscriptHead:
    """How many messages, and the chain's hash (hex) after the last."""

    count: int
    sha256: str


class Transcript:
    """The chain: h0 = H(domain, run, session, sender, receiver), h(n+1) = H(h(n), n, kind, H(body))."""

    __slots__ = ("_count", "_hash")

    def __init__(self, run_id: str, session: str, sender: str, receiver: str) -> None:
        self._count = 0
        self._hash = hashlib.sha256(_DOMAIN + _framed(run_id, session, sender, receiver)).digest()

    def extend(self, kind: str, digest: bytes) -> None:
        """Add one message of ``kind`` whose body has the SHA-256 ``digest``."""
        text = self._hash + struct.pack("<Q", self._count) + _framed(kind) + digest
        self._hash = hashlib.sha256(text).digest()
        self._count += 1

    @property
    def head(self) -> TranscriptHead:
        return TranscriptHead(self._count, self._hash.hex())


def _framed(*texts: str) -> bytes:
    return b"".join(struct.pack("<I", len(raw)) + raw for raw in (text.encode() for text in texts))
