"""Messages of the sealed trees beside those of products, slots and scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from psi.flow import Message, Payload, RemoteProtocolError, Role, message
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.arithmetic.received import MalformedError

__all__ = [
    "CandidateSums",
    "Chosen",
    "LevelNumbers",
    "Owner",
    "SplitShares",
    "TreeStep",
    "flat_elements",
    "row_ids",
]

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

_SOURCE = "docs/protocols/trees.md#a-level"


@message(
    "trees.step",
    sender=Role.LABEL,
    receiver=Role.PARTY,
    payload=Payload.PUBLIC,
    reveals="which aligned rows a tree is fitted on and scores along, or which are predicted",
    source=_SOURCE,
)
class TreeStep(Message):
    """Announces a tree or a prediction: step number, row ids (little-endian u32), the place of the tree in its fit.

    rows, carried: what a fit has, with its first tree of a session; empty with the others, whose rows are the same.
    begins: a new fit. levels: of a tree that goes on after a crash, those whose numbers were recorded. ``again``: a
    prediction that was recorded, whose recorded shares are opened.
    """

    step: int
    train: bool
    rows: bytes
    carried: bytes
    tree: int
    begins: bool
    levels: int
    again: bool


@message(
    "trees.sums",
    sender=Role.FEATURE,
    receiver=Role.PARTY,
    payload=Payload.SHARE,
    reveals="nothing: a uniform share of the sums of the sender's candidates, to the anchor",
    source=_SOURCE,
)
class CandidateSums(Message):
    """A feature party's share of its candidates' sums, (candidates, leaves).

    ``told``: :func:`vfl.models.sealed.messages.as_told` of the step that was announced to it.
    """

    step: int
    level: int
    told: bytes
    values: bytes


@message(
    "trees.numbers",
    sender=Role.PARTY,
    receiver=Role.LABEL,
    payload=Payload.SHARE,
    reveals="with the label party's shares: of each anonymous candidate and leaf a count and a sum, 16 bits each",
    source=_SOURCE,
)
class LevelNumbers(Message):
    """The anchor's shares modulo 2**32 of a level's pairs, packed."""

    step: int
    level: int
    values: bytes


@message(
    "trees.owner",
    sender=Role.LABEL,
    receiver=Role.PARTY,
    payload=Payload.PUBLIC,
    reveals="to the anchor whose candidate a level takes, not which",
    source=_SOURCE,
)
class Owner(Message):
    """Whose candidate the level takes."""

    step: int
    level: int
    party: str


@message(
    "trees.chosen",
    sender=Role.LABEL,
    receiver=Role.FEATURE,
    payload=Payload.PUBLIC,
    reveals="to its owner which of its candidates the level takes, or that it takes none of them",
    source=_SOURCE,
)
class Chosen(Message):
    """The number of the receiver's candidate that the level takes; -1 where it is somebody else's."""

    step: int
    level: int
    candidate: int


@message(
    "trees.split",
    sender=Role.PARTY,
    receiver=Role.PARTY,
    payload=Payload.SHARE,
    reveals="nothing: a uniform share of its sender's bits, to a holder of shares",
    source="docs/protocols/trees.md#a-split",
)
class SplitShares(Message):
    """The owner's shares of a level's bits, and of their products with those of its earlier levels in the tree:
    :func:`vfl.models.trees.shares.multiplied`, flat."""

    step: int
    level: int
    bits: bytes


def flat_elements(data: bytes, count: int, peer: str) -> U64:
    """Received elements of Z_p. Raises RemoteProtocolError."""
    try:
        return PRIME_RING.unpack(data, count)
    except MalformedError as error:
        raise RemoteProtocolError(str(error), peer) from None


def row_ids(data: bytes, existing: int, peer: str) -> I64:
    """Announced row ids, distinct and existing. Raises RemoteProtocolError."""
    if len(data) % 4 or len(data) > 4 * existing:
        raise RemoteProtocolError(f"announced rows that are not at most {existing} row ids", peer)
    rows = np.frombuffer(data, dtype="<u4").astype(np.int64)
    if len(np.unique(rows)) != len(rows) or int(rows.max(initial=0)) >= existing:
        raise RemoteProtocolError("announced rows that do not exist or repeat", peer)
    return rows
