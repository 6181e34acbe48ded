"""A member's side of an alignment by oblivious transfer: it answers the leader with its shares of zero."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from psi.commitment import AlignmentLimits
from psi.flow import Flow, Progress, Recv, RecvAny, RemoteProtocolError, Send, receive
from psi.group import Randomness
from psi.ot.base_ot import choose
from psi.ot.buckets import Bucket
from psi.ot.code import WIDTH, masked
from psi.ot.extension import CHECKS, ROW_BYTES, SenderEnd
from psi.ot.fixed_key import BLOCK_BYTES, Blocks, Streams
from psi.ot.messages import (
    BaseChoices,
    BaseOffer,
    CommonList,
    Hint,
    MaskedMatrix,
    MatrixChallenge,
    MatrixSums,
    TooFewFound,
)
from psi.ot.opening_moves import SHARE_BYTES, Opened, base_tag, narrowed, packed, unpacked
from psi.ot.table import encode
from psi.ring import IntersectionTooSmall, too_few

__all__ = ["answer"]

_KEY_BYTES = 32


def answer(
    opened: Opened, leader: str, limits: AlignmentLimits, randomness: Randomness
) -> Flow[tuple[bytes, NDArray[np.intp]]]:
    """Serve the leader, and take the result: the key of the common ids' order, and the places of the member's own.

    Learns: which of its own entities every party holds, as the leader says.
    Leaks: to the leader which of the leader's entities every party holds.
    Model: as in :func:`psi.ot.align.align_by_transfer`.
    Source: Kolesnikov et al., CCS 2017 (ePrint 2017/799), section 5.
    """
    end = yield from _base_transfers(opened, leader, randomness)
    size = len(opened.blocks)
    names = np.zeros((size, 2), dtype=np.uint64)
    for bucket in opened.buckets:
        rows = yield from _checked_rows(opened, leader, bucket, end, randomness)
        names[bucket.span] = yield from _hint(opened, leader, bucket, end, rows, randomness)
        yield Progress(opened.buckets.through(bucket, size), size, unit="ids")
    which, got = yield RecvAny((Recv(leader, CommonList), Recv(leader, TooFewFound)))
    if which == 1:
        raise IntersectionTooSmall(too_few(limits.minimum_common))
    assert isinstance(got, CommonList)
    return got.order_key, opened.buckets.order[_told(got, leader, names, limits)]


def _base_transfers(opened: Opened, leader: str, randomness: Randomness) -> Flow[SenderEnd]:
    bits = [bool(byte & 1) for byte in randomness.token_bytes(WIDTH)]
    choices = choose(bits, base_tag(opened.tag, leader, opened.me), randomness)
    yield Send(leader, BaseChoices(choices.points))
    got = yield from receive(leader, BaseOffer)
    return SenderEnd.of(choices.seeds(got.point, leader), bits)


def _checked_rows(opened: Opened, leader: str, bucket: Bucket, end: SenderEnd, randomness: Randomness) -> Flow[Blocks]:
    """The next matrix's rows, once the leader has opened the sums that this party asked for after it had them."""
    got = yield from receive(leader, MaskedMatrix)
    cells = opened.cells[leader]
    if got.bucket != bucket.number or len(got.rows) != (cells + CHECKS) * ROW_BYTES:
        raise RemoteProtocolError(
            f"sent {len(got.rows)} bytes of rows for bucket {got.bucket} where {(cells + CHECKS) * ROW_BYTES} bytes "
            f"for bucket {bucket.number} are due",
            leader,
        )
    seed = randomness.token_bytes(BLOCK_BYTES)
    yield Send(leader, MatrixChallenge(bucket.number, seed))
    rows = end.next_rows(got.rows, cells)
    sums = yield from receive(leader, MatrixSums)
    end.check(rows, seed, sums.sums, leader)
    return rows


def _hint(
    opened: Opened, leader: str, bucket: Bucket, end: SenderEnd, rows: Blocks, randomness: Randomness
) -> Flow[Blocks]:
    """Send one bucket's hint; the names under which the leader will tell its ids."""
    read = end.values(bucket.keys(opened.cells[leader]), rows, masked(bucket.third))
    values = opened.function(b"absorb").absorbed(bucket.first, read)
    shares = opened.zero_shares(bucket.first)
    shares ^= opened.function(b"mask").hashed(values)
    cells = opened.cells[opened.me]
    # cells that no share decides are random, so that the table does not show which ids it holds
    table = Streams([randomness.token_bytes(BLOCK_BYTES)]).columns(128 * cells).reshape(cells, 2)
    encode(bucket.keys(cells), shares, table)
    yield Send(leader, Hint(bucket.number, packed(table)))
    return narrowed(opened.function(b"name").hashed(values))


def _told(got: CommonList, leader: str, names: Blocks, limits: AlignmentLimits) -> NDArray[np.intp]:
    """Places, in the order of buckets, of the ids that the leader names."""
    if len(got.order_key) != _KEY_BYTES or len(got.values) % SHARE_BYTES:
        raise RemoteProtocolError(
            f"sent a result of {len(got.order_key)} and {len(got.values)} bytes, where a key of {_KEY_BYTES} bytes and "
            f"values of {SHARE_BYTES} are due",
            leader,
        )
    told = unpacked(got.values)
    if len(told) < limits.minimum_common:
        raise RemoteProtocolError(
            f"named {len(told)} common entities, below the agreed minimum of {limits.minimum_common}", leader
        )
    if not _rising(told):
        raise RemoteProtocolError("named common entities out of order, or twice", leader)
    order = np.argsort(names[:, 0])
    at = np.minimum(np.searchsorted(names[order, 0], told[:, 0]), len(order) - 1)
    # two names may share their first 64 bits
    missed = (names[order[at]] != told).any(axis=1) & (at + 1 < len(order))
    at[missed] += 1
    if (names[order[at]] != told).any():
        raise RemoteProtocolError("named a common entity that is not among this party's entities", leader)
    return order[at]


def _rising(told: Blocks) -> bool:
    """Whether each is above the one before it."""
    first, second = told[:-1], told[1:]
    above = second[:, 0] > first[:, 0]
    above |= (second[:, 0] == first[:, 0]) & (second[:, 1] > first[:, 1])
    return bool(above.all())
