"""What every party of an alignment by oblivious transfer does first: commit, agree on hashes, share zeros in pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from psi.commitment import (
    AlignmentLimits,
    Commitments,
    PreviousAlignment,
    check_own_size,
    exchange_commitments,
)
from psi.flow import Flow, RemoteProtocolError, Send, receive
from psi.group import Randomness, Scalar, check_points
from psi.identifiers import check_canonical
from psi.ot.buckets import Buckets, bucket_count, cells_of
from psi.ot.fixed_key import Blocks, FixedKey, derived, in_order
from psi.ot.id_blocks import BlockSet, canonical_blocks, id_blocks
from psi.ot.messages import PairKey
from psi.padding import padded

__all__ = ["SHARE_BYTES", "Opened", "base_tag", "narrowed", "open_alignment", "packed", "sort_packed", "unpacked"]

SHARE_BYTES = 10


@dataclass(frozen=True, slots=True)
class Opened:
    """A party's side once all have committed. cells: of each party's tables; tag: of this alignment, public."""

    me: str
    parties: Sequence[str]
    committed: Commitments
    buckets: Buckets = field(repr=False)
    cells: Mapping[str, int]
    tag: bytes
    shared: Mapping[str, FixedKey] = field(repr=False)

    @property
    def others(self) -> list[str]:
        """Every party but this one, in agreed order."""
        return [name for name in self.parties if name != self.me]

    def function(self, purpose: bytes) -> FixedKey:
        """A public permutation of this alignment."""
        return FixedKey(derived(b"entente/psi/1/function", self.tag, purpose))

    def zero_shares(self, hashes: Blocks) -> Blocks:
        """This party's share of zero for each id: all parties' add up to nothing where all hold it."""
        total = np.zeros_like(hashes)
        for key in self.shared.values():
            total ^= key.permute(hashes)
        return total


def open_alignment(
    me: str,
    parties: Sequence[str],
    ids: Sequence[str],
    *,
    run: bytes,
    limits: AlignmentLimits,
    randomness: Randomness,
    sign: Callable[[bytes], bytes],
    verify: Callable[[str, bytes, bytes], bool],
    padding: bytes,
    previous: PreviousAlignment | None,
) -> Flow[Opened]:
    """Commit to the own set, and agree with each other party on the seed of their zero shares.

    Ids that fill the set to a bucket come behind those given, so places below ``len(ids)`` are its own.

    Learns: every party's set size, previous set size and declared change.
    Leaks: nothing else.
    Model: semi-honest; a party that was shown other commitments is refused.
    Source: Kolesnikov et al., CCS 2017 (ePrint 2017/799), section 5 (zero shares from seeds of pairs).
    """
    check_own_size(len(ids), limits)
    blocks = canonical_blocks(ids)
    if limits.bucket:
        filled = padded(ids, limits.bucket, padding or randomness.token_bytes(32))
        blocks = np.concatenate([blocks, id_blocks(filled[len(ids) :])])
        ids = filled
    held = BlockSet.of(randomness.token_bytes(32), blocks)
    if held is None:
        check_canonical(ids)
        raise AssertionError("two ids have one block, and are not the same id")
    committed = yield from exchange_commitments(
        me,
        parties,
        ids,
        run=run,
        limits=limits,
        salt=held.salt,
        sign=sign,
        verify=verify,
        previous=previous,
        committed=held,
    )
    tag = derived(b"entente/psi/1/transfer", run, committed.digest)
    count = bucket_count(max(committed.sizes.values()))
    buckets = Buckets(blocks, tag, count)
    buckets.check_fits(len(ids))
    cells = {name: cells_of(size, count) for name, size in committed.sizes.items()}
    shared = yield from _pair_seeds(me, parties, committed, tag, randomness)
    return Opened(me, parties, committed, buckets, cells, tag, shared)


def _pair_seeds(
    me: str, parties: Sequence[str], committed: Commitments, tag: bytes, randomness: Randomness
) -> Flow[dict[str, FixedKey]]:
    secret = Scalar.random(randomness)
    scalar, others = secret.multiplier(), [name for name in parties if name != me]
    mine = PairKey(secret.public(), committed.digest)
    for name in others:
        yield Send(name, mine)
    seeds = {}
    for name in others:
        got = yield from receive(name, PairKey)
        if got.commitments != committed.digest:
            raise RemoteProtocolError("was shown other set commitments than this party: some party sent two", name)
        check_points([got.point], name)
        pair = sorted((me, name), key=list(parties).index)
        seeds[name] = FixedKey(
            derived(b"entente/psi/1/pair-seed", tag, pair[0].encode(), pair[1].encode(), scalar([got.point])[0])
        )
    return seeds


def base_tag(tag: bytes, leader: str, member: str) -> bytes:
    """What the base transfers of one pair are bound to."""
    return derived(b"entente/psi/1/base", tag, leader.encode(), member.encode())


def narrowed(blocks: Blocks) -> Blocks:
    """The first 80 bits of each block, the others zero."""
    made = blocks.copy()
    made[:, 1] &= np.uint64(0xFFFF)
    return made


def packed(blocks: Blocks) -> bytes:
    """The first 80 bits of each block, 10 bytes each."""
    return np.ascontiguousarray(blocks.view(np.uint8).reshape(-1, 16)[:, :SHARE_BYTES]).tobytes()


def unpacked(data: bytes) -> Blocks:
    """What :func:`packed` made, in blocks."""
    rows = np.frombuffer(data, dtype=np.uint8).reshape(-1, SHARE_BYTES)
    out = np.zeros((len(rows), 16), dtype=np.uint8)
    out[:, :SHARE_BYTES] = rows
    return out.view(np.uint64)


def sort_packed(blocks: Blocks) -> Blocks:
    """Narrowed blocks in the order in which they travel: by their words."""
    return np.take(blocks, in_order(blocks), axis=0)
