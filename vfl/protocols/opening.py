"""Zero-sum masks: what feature parties add so that only the sum of their contributions opens.

Each pair of feature parties agrees on a key (X25519) and expands it (HKDF, ChaCha20) into a stream
per label; the lower name adds it and the higher subtracts it, so the masks of any agreed set of
parties sum to zero in the ring. After Bonawitz et al., "Practical Secure Aggregation", CCS 2017, section 4,
without its dropout recovery: a party that is away pauses the run instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from psi.flow import Flow, LocalProtocolError, Message, Payload, RemoteProtocolError, Role, Send, message, receive
from vfl.arithmetic.prime_ring import PrimeRing
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.ring import Ring

__all__ = ["MaskKey", "ZeroSumMasks", "agree_masks"]

U64 = NDArray[np.uint64]


@message(
    "mask.key",
    sender=Role.FEATURE,
    receiver=Role.FEATURE,
    payload=Payload.PUBLIC,
    reveals="a one-run X25519 public key",
    source="RFC 7748",
)
class MaskKey(Message):
    """The sender's X25519 public key for this run."""

    public: bytes


class ZeroSumMasks:
    """Pairwise masks of one party in one run. A label is used once; a second use is refused."""

    def __init__(self, me: str, secrets: dict[str, bytes], ring: Ring | PrimeRing) -> None:
        self._me = me
        self._secrets = secrets
        self._ring = ring
        self._used: set[str] = set()

    def __repr__(self) -> str:
        return f"ZeroSumMasks({self._me!r}, ...)"

    def __reduce__(self) -> str:
        raise TypeError("masks are not pickled")

    def mask(self, label: str, parties: Iterable[str], shape: tuple[int, ...]) -> U64:
        """This party's mask among ``parties``: uniform unless it is alone, then zero."""
        if label in self._used:
            raise LocalProtocolError(f"mask {label!r} was used before")
        self._used.add(label)
        total = np.zeros(shape, dtype=np.uint64)
        for peer in parties:
            if peer == self._me:
                continue
            pair = "|".join(sorted((self._me, peer)))
            key = HKDF(SHA256(), 32, salt=None, info=f"entente/mask/{pair}/{label}".encode()).derive(
                self._secrets[peer]
            )
            part = self._ring.uniform(SecretStream(key), shape)
            total = self._ring.add(total, part) if self._me < peer else self._ring.sub(total, part)
        return total


def agree_masks(
    me: str, parties: Sequence[str], run_id: str, ring: Ring | PrimeRing, stream: SecretStream
) -> Flow[ZeroSumMasks]:
    """Exchange X25519 keys with every other feature party; the channel authenticates them.

    Learns: a secret shared with each other feature party.
    Leaks: nothing.
    Model: secure against everyone but the two ends; all other parties together cannot be hidden from.
    Source: Bonawitz et al. 2017, section 4; RFC 7748; RFC 5869.
    """
    # drawn, not derived: whoever agrees a second time on one stream must not meet the first masks again
    private = X25519PrivateKey.from_private_bytes(stream.take(32))
    public = private.public_key().public_bytes_raw()
    others = [p for p in parties if p != me]
    for peer in others:
        yield Send(peer, MaskKey(public))
    secrets: dict[str, bytes] = {}
    for peer in others:
        theirs = yield from receive(peer, MaskKey)
        try:
            shared = private.exchange(X25519PublicKey.from_public_bytes(theirs.public))
        except ValueError:
            raise RemoteProtocolError("sent an unusable X25519 key", peer) from None
        secrets[peer] = HKDF(SHA256(), 32, salt=bytes.fromhex(run_id), info=b"entente/mask-root").derive(shared)
    return ZeroSumMasks(me, secrets, ring)
