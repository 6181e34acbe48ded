"""A sum that members add up themselves, of uniform shares: what they check before they go on has passed no coordinator.

Each splits its numbers into one share a member, gives each other member one, and tells everybody the sum of the shares
that it got and of the one that it kept. These add up to the sum of all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, RemoteProtocolError, Send, receive
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.received import MalformedError
from vfl.arithmetic.ring import Ring
from vfl.federated.messages import CountsAdded, CountsShare

__all__ = ["add_among"]

U64 = NDArray[np.uint64]


def add_among(ring: Ring, members: Sequence[str], me: str, values: U64, stream: SecretStream) -> Flow[U64]:
    """Member: the sum of all members' ``values``, each as many as this one's.

    Learns: the sum over all members.
    Leaks: its own values as a part of it; to all others who collude, alone.
    Model: semi-honest. A member makes its own values up, also once it has heard what the others tell, and one that
    tells each other sums leaves them with different ones: who uses them compares them first. Without one member there
    is no sum.
    Source: additive secret sharing over a ring; docs/groups.md#an-expansion-of-a-group.
    """
    others, kept, length = [name for name in members if name != me], values, len(values)
    for name in others:
        share = ring.uniform(stream, (length,))
        kept = ring.sub(kept, share)
        yield Send(name, CountsShare(ring.pack(share)))
    for name in others:
        kept = ring.add(kept, _unpacked(ring, (yield from receive(name, CountsShare)).values, length, name))
    for name in others:
        yield Send(name, CountsAdded(ring.pack(kept)))
    total = kept
    for name in others:
        total = ring.add(total, _unpacked(ring, (yield from receive(name, CountsAdded)).values, length, name))
    return total


def _unpacked(ring: Ring, data: bytes, length: int, peer: str) -> U64:
    try:
        return ring.unpack(data, length)
    except MalformedError as error:
        raise RemoteProtocolError(f"its share of the members' counts: {error}", peer) from None
