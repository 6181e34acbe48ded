"""A member's side of an alignment by oblivious transfer: it answers the leader with its shares of zero."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from psi.commitment import AlignmentLimits
from psi.flow import Flow, Progress, Recv, RecvAny, RemoteProtocolError, Send, receive
from psi.group import Randomness
from psi.ot.base_ot import choose
from psi.ot.buckets import Bucket
from psi.ot.code import WIDTH, masked
from psi.ot.extension import CHECKS, ROW_BYTES, SenderEnd
from psi.ot.fixed_key import BLOCK_BYTES, Blocks, Streams, in_order
from psi.ot.kernels import find_among
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
    """Serve the leader, and take the result: the key of the common ids' order, and their places in that of buckets.

    Learns: which of its own entities every party holds, as the leader says.
    Leaks: to the leader which of the leader's entities every party holds.
    Model: as in :func:`psi.ot.align.align_by_transfer`.
    Source: Kolesnikov et al., CCS 2017 (ePrint 2017/799), section 5.
    """
    end = yield from _base_transfers(opened, leader, randomness)
    size = len(opened.buckets.blocks)
    names = np.zeros((size, 2), dtype=np.uint64)
    waiting: list[_Challenged] = []
    for bucket in opened.buckets:
        waiting.append((yield from _challenge(opened, leader, bucket, end, randomness)))
        # the leader answers the challenge of one bucket once it has sent the next
        if len(waiting) > 1:
            yield from _finish(opened, leader, waiting.pop(0), end, names, randomness)
    yield from _finish(opened, leader, waiting.pop(), end, names, randomness)
    order = in_order(names)  # while the leader adds up
    which, got = yield RecvAny((Recv(leader, CommonList), Recv(leader, TooFewFound)))
    if which == 1:
        raise IntersectionTooSmall(too_few(limits.minimum_common))
    assert isinstance(got, CommonList)
    return got.order_key, _told(got, leader, names, order, limits)


def _base_transfers(opened: Opened, leader: str, randomness: Randomness) -> Flow[SenderEnd]:
    bits = [bool(byte & 1) for byte in randomness.token_bytes(WIDTH)]
    choices = choose(bits, base_tag(opened.tag, leader, opened.me), randomness)
    yield Send(leader, BaseChoices(choices.points))
    got = yield from receive(leader, BaseOffer)
    return SenderEnd.of(choices.seeds(got.point, leader), bits)


@dataclass(frozen=True, slots=True)
class _Challenged:
    """A bucket whose matrix is here and not yet checked."""

    bucket: Bucket
    rows: Blocks = field(repr=False)
    seed: bytes = field(repr=False)


def _challenge(
    opened: Opened, leader: str, bucket: Bucket, end: SenderEnd, randomness: Randomness
) -> Flow[_Challenged]:
    """Take the next matrix, and ask for sums of its rows."""
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
    return _Challenged(bucket, end.next_rows(got.rows, cells), seed)


def _finish(
    opened: Opened, leader: str, asked: _Challenged, end: SenderEnd, names: Blocks, randomness: Randomness
) -> Flow[None]:
    """Check one bucket's matrix and then send its hint; keep the names under which the leader will tell its ids."""
    bucket = asked.bucket
    sums = yield from receive(leader, MatrixSums)
    if sums.bucket != bucket.number:
        raise RemoteProtocolError(f"opened sums of bucket {sums.bucket} where {bucket.number} is due", leader)
    end.check(asked.rows, asked.seed, sums.sums, leader)
    read = end.values(bucket.keys(opened.cells[leader]), asked.rows, masked(bucket.third))
    values = opened.function(b"absorb").absorbed(bucket.first, read)
    shares = opened.zero_shares(bucket.first)
    shares ^= opened.function(b"mask").hashed(values)
    cells = opened.cells[opened.me]
    # cells that no share decides are random, so that the table does not show which ids it holds
    table = Streams([randomness.token_bytes(BLOCK_BYTES)]).columns(128 * cells).reshape(cells, 2)
    encode(bucket.keys(cells), shares, table)
    yield Send(leader, Hint(bucket.number, packed(table)))
    names[bucket.span] = narrowed(opened.function(b"name").hashed(values))
    size = len(names)
    yield Progress(opened.buckets.through(bucket, size), size, unit="ids")


def _told(
    got: CommonList, leader: str, names: Blocks, order: NDArray[np.intp], limits: AlignmentLimits
) -> NDArray[np.intp]:
    """Places, in the order of buckets, of the ids that the leader names. order: what sorts ``names``."""
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
    at = np.empty(len(told), dtype=np.intp)
    if not find_among(np.take(names, order, axis=0), told, at):
        raise RemoteProtocolError("named a common entity that is not among this party's entities", leader)
    return order[at]


def _rising(told: Blocks) -> bool:
    """Whether each is above the one before it."""
    first, second = told[:-1], told[1:]
    above = second[:, 0] > first[:, 0]
    above |= (second[:, 0] == first[:, 0]) & (second[:, 1] > first[:, 1])
    return bool(above.all())
