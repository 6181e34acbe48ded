"""The leader's side of an alignment by oblivious transfer: it asks with its own set, and adds up the answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from psi.commitment import AlignmentLimits
from psi.flow import Flow, Progress, RemoteProtocolError, Send, receive
from psi.group import Randomness
from psi.ot.base_ot import offer, pairs
from psi.ot.buckets import Bucket
from psi.ot.code import WIDTH, masked
from psi.ot.extension import CHECKS, Matrix, ReceiverEnd
from psi.ot.fixed_key import BLOCK_BYTES, Blocks, FixedKey
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
from psi.ot.opening_moves import SHARE_BYTES, Opened, base_tag, narrowed, packed, sort_packed, unpacked
from psi.ot.table import encode, read
from psi.ring import IntersectionTooSmall, too_few

__all__ = ["lead"]

_AHEAD = 2  # buckets asked for before the oldest hint is awaited


@dataclass(slots=True)
class _Asked:
    """A bucket that is on its way: what each member's check may still ask about."""

    bucket: Bucket
    matrices: dict[str, Matrix] = field(repr=False)


def lead(opened: Opened, limits: AlignmentLimits, randomness: Randomness) -> Flow[tuple[bytes, NDArray[np.intp]]]:
    """Find the common ids and tell the members: the key of their order, and their places in the order of buckets.

    Learns: which of its own entities every party holds.
    Leaks: to each member which of its entities are common, and nothing where they are fewer than the minimum.
    Model: as in :func:`psi.ot.align.align_by_transfer`.
    Source: Kolesnikov et al., CCS 2017 (ePrint 2017/799), section 5.
    """
    ends = yield from _base_transfers(opened, randomness)
    size = len(opened.buckets.blocks)
    sums, values = np.zeros((size, 2), dtype=np.uint64), {}
    for name in opened.others:
        values[name] = np.zeros((size, 2), dtype=np.uint64)
    absorb, mask = opened.function(b"absorb"), opened.function(b"mask")
    waiting: list[_Asked] = []
    for bucket in opened.buckets:
        waiting.append((yield from _ask(opened, bucket, ends, values, absorb, randomness)))
        # a bucket's checks are answered while members work on the one after it, so that nobody waits for them
        yield from _answer_checks(waiting[-2:-1])
        yield Progress(opened.buckets.through(bucket, size), 2 * size, unit="ids")
        if len(waiting) > _AHEAD:
            yield from _take(opened, waiting.pop(0), values, sums, mask)
    yield from _answer_checks(waiting[-1:])
    for asked in waiting:
        yield from _take(opened, asked, values, sums, mask)
    total = narrowed(sums)
    found = np.flatnonzero((total[:, 0] | total[:, 1]) == 0)
    if len(found) < limits.minimum_common:
        for name in opened.others:
            yield Send(name, TooFewFound(limits.minimum_common))
        raise IntersectionTooSmall(too_few(limits.minimum_common))
    order_key, name_of = randomness.token_bytes(32), opened.function(b"name")
    for name in opened.others:
        told = sort_packed(narrowed(name_of.hashed(np.take(values[name], found, axis=0))))
        yield Send(name, CommonList(order_key, packed(told)))
    yield Progress(2 * size, 2 * size, unit="ids")
    return order_key, found


def _base_transfers(opened: Opened, randomness: Randomness) -> Flow[dict[str, ReceiverEnd]]:
    made = offer(randomness)
    for name in opened.others:
        yield Send(name, BaseOffer(made.point))
    ends = {}
    for name in opened.others:
        got = yield from receive(name, BaseChoices)
        ends[name] = ReceiverEnd.of(pairs(made, got.points, WIDTH, base_tag(opened.tag, opened.me, name), name))
    return ends


def _ask(
    opened: Opened,
    bucket: Bucket,
    ends: dict[str, ReceiverEnd],
    values: dict[str, Blocks],
    absorb: FixedKey,
    randomness: Randomness,
) -> Flow[_Asked]:
    """Send one bucket's matrix to every member, and keep the PRF's values of its ids."""
    keys = bucket.keys(opened.cells[opened.me])
    table = np.zeros((opened.cells[opened.me], 2), dtype=np.uint64)
    encode(keys, masked(bucket.third), table)
    matrices = {}
    for name, end in ends.items():
        sent, matrices[name] = end.next_matrix(table, randomness.token_bytes(CHECKS * BLOCK_BYTES))
        yield Send(name, MaskedMatrix(bucket.number, sent))
        kept = read(keys, matrices[name].rows[:-CHECKS])
        values[name][bucket.span] = absorb.absorbed(bucket.first, kept)
    return _Asked(bucket, matrices)


def _answer_checks(asked: Sequence[_Asked]) -> Flow[None]:
    """Answer the members' checks of a bucket, whose matrices are then needed no more."""
    for one in asked:
        number = one.bucket.number
        for name, matrix in one.matrices.items():
            got = yield from receive(name, MatrixChallenge)
            if got.bucket != number or len(got.seed) != BLOCK_BYTES:
                raise RemoteProtocolError(f"challenges bucket {got.bucket} where {number} is due", name)
            yield Send(name, MatrixSums(number, matrix.opened(got.seed)))
        one.matrices.clear()


def _take(opened: Opened, asked: _Asked, values: dict[str, Blocks], sums: Blocks, mask: FixedKey) -> Flow[None]:
    """Add up the members' hints of one bucket."""
    bucket = asked.bucket
    total = opened.zero_shares(bucket.first)
    for name in opened.others:
        hint = yield from receive(name, Hint)
        total ^= _share_in(opened, bucket, name, hint)
        total ^= mask.hashed(values[name][bucket.span])
    sums[bucket.span] = total


def _share_in(opened: Opened, bucket: Bucket, name: str, hint: Hint) -> Blocks:
    """A member's shares of one bucket, each still under the PRF's value."""
    cells = opened.cells[name]
    if hint.bucket != bucket.number or len(hint.cells) != cells * SHARE_BYTES:
        raise RemoteProtocolError(
            f"sent a hint of {len(hint.cells)} bytes for bucket {hint.bucket} where {cells * SHARE_BYTES} bytes "
            f"for bucket {bucket.number} are due",
            name,
        )
    return read(bucket.keys(cells), unpacked(hint.cells))
