"""What the label party fixes before anything of a coalition opens: its shares, scores and models.

The feature parties log it, and what they sent afterwards. An auditor who is given the label party's side later finds
out whether it is the one that was fixed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, Message, Payload, RemoteProtocolError, Role, Send, message, receive

__all__ = [
    "BasisCommitted",
    "arrays_digest",
    "hear_basis",
    "tell_basis",
]

_SOURCE = "docs/audit.md#replay-of-contributions"
_DIGEST_BYTES = 32


@message(
    "value.basis",
    sender=Role.LABEL,
    receiver=Role.FEATURE,
    payload=Payload.PUBLIC,
    reveals="a salted digest of what the label party values coalitions with, which says nothing without the salt",
    source=_SOURCE,
)
class BasisCommitted(Message):
    """SHA-256 over salt, shares, scores and models, before a coalition's sum or number opens."""

    digest: bytes


def tell_basis(parties: Sequence[str], digest: bytes) -> Flow[None]:
    """Label party: commit to its shares, scores and models, before anything of a coalition opens.

    Learns: nothing.
    Leaks: a salted digest.
    Model: a label party may commit to what is not true; it is held to it afterwards.
    Source: docs/audit.md#replay-of-contributions.
    """
    for party in parties:
        yield Send(party, BasisCommitted(digest))


def hear_basis(label_party: str) -> Flow[bytes]:
    """Anybody who sends its part of a coalition afterwards: the digest to log.

    Learns: a salted digest.
    Leaks: nothing.
    Model: as :func:`tell_basis`.
    Source: docs/audit.md#replay-of-contributions.
    """
    got = yield from receive(label_party, BasisCommitted)
    if len(got.digest) != _DIGEST_BYTES:
        raise RemoteProtocolError("commits to its shares with something else than a digest", label_party)
    return got.digest


def arrays_digest(salt: bytes, arrays: Mapping[str, NDArray[np.generic]]) -> bytes:
    """SHA-256 over salt and named arrays, so that no two sets of them give the same bytes. ``salt``: 32 bytes."""
    hashed = hashlib.sha256(b"entente/value-basis/1\x00" + salt)
    for name in sorted(arrays):
        values = np.ascontiguousarray(arrays[name])
        head = f"{name}|{values.dtype.str}|{values.shape}|{values.nbytes}".encode()
        hashed.update(len(head).to_bytes(4, "big") + head + values.tobytes())
    return hashed.digest()
