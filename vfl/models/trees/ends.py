"""The exchanges of a level: sums of candidates, the split by its owner, and what the leaves' values give each row."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, RemoteProtocolError, Send, gather, receive
from vfl.arithmetic.he import KeyHolder
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.arithmetic.randomness import SecretStream
from vfl.models.sealed.ends import TakenProducts
from vfl.models.trees.messages import SplitShares, flat_elements
from vfl.protocols.product import (
    LeftOperand,
    Operand,
    Packing,
    Prepared,
    choose_packing,
    encrypt_right,
    evaluate_product,
    finish_product,
    hold_product,
)
from vfl.protocols.slots import SlotEvaluator, answer_slots, finish_slots, offer_slots, receive_slots
from vfl.protocols.spread import Spread

__all__ = [
    "halves",
    "hold_split",
    "hold_sums",
    "hold_values",
    "own_split",
    "part_split",
    "sums_packing",
    "take_sums",
    "take_values",
]

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
Bits = NDArray[np.bool_]

_DEGREE = 8192
_PLAIN = 0.35
"""One plaintext block, encoded once, beside the relative times of :mod:`vfl.protocols.product`."""


@lru_cache(maxsize=1024)
def sums_packing(rows: int, candidates: int, leaves: int) -> Packing:
    """The blocks that both ends choose for bits (rows, candidates), transposed, times carries (rows, leaves)."""
    best: tuple[float, Packing] | None = None
    for k in sorted({-(-leaves // pieces) for pieces in range(1, leaves + 1)}):
        for n in sorted({-(-candidates // pieces) for pieces in range(1, candidates + 1)}):
            if n * k > _DEGREE:
                continue
            pieces = -(-rows // min(rows, _DEGREE // (n * k)))
            packing = Packing(-(-rows // pieces), n, k, _DEGREE)
            cost = packing.again(rows, candidates, leaves).cost + pieces * -(-candidates // n) * _PLAIN
            if best is None or cost < best[0]:
                best = cost, packing
    assert best is not None
    return best[1]


def hold_sums(peers: Sequence[str], label: str, carries: U64, candidates: int, key: KeyHolder) -> Flow[list[U64]]:
    """Key holder: its shares (candidates, leaves) of each peer's bits times ``carries`` (drawn, leaves).

    Learns: its own shares, uniform in Z_p.
    Leaks: the shape of ``carries``; one encryption serves all peers.
    Model: semi-honest.
    Source: docs/protocols/trees.md#a-level.
    """
    rows, leaves = carries.shape
    packing = sums_packing(rows, candidates, leaves)
    blocks = encrypt_right(key, carries, packing, transposed=True) if peers else ()
    for peer in peers:
        yield Send(peer, Operand(label, rows, leaves, packing.sizes, blocks))
    return (
        yield from gather(
            [finish_product(peer, label, candidates, leaves, key, packing, transposed=True) for peer in peers]
        )
    )


def take_sums(ends: Sequence[TakenProducts], label: str, bits: Bits, leaves: int) -> Flow[list[U64]]:
    """Evaluator: its shares (candidates, leaves) of its bits (candidates, drawn) times each key holder's carries.

    Learns: its own shares, uniform in Z_p.
    Leaks: to a key holder a share, uniform too.
    Model: hides the bits from a malicious key holder (:func:`vfl.protocols.product.evaluate_product`).
    Source: docs/protocols/trees.md#a-level.
    """
    candidates, rows = bits.shape
    packing = sums_packing(rows, candidates, leaves)
    left = np.ascontiguousarray(bits.T).astype(np.int64)
    encoded: Prepared | None = None
    flows = []
    for taken in ends:
        prepared: Prepared | LeftOperand
        if taken.workers is not None:
            prepared = Spread(taken.workers, taken.evaluator, taken.evaluator.public_key, left, packing)
        elif encoded is None:
            prepared = encoded = Prepared(taken.evaluator, left, packing)
        else:
            prepared = encoded.under(taken.evaluator)
        flows.append(
            evaluate_product(taken.peer, label, prepared, leaves, taken.stream, taken.zeros, transposed=True)
        )  # fmt: skip
    return (yield from gather(flows))


def hold_split(owner: str, label: str, factors: U64, key: KeyHolder) -> Flow[U64]:
    """A holder of shares that is not the owner: its key holder's share of factors * bits.

    Learns: its own share, uniform in Z_p; which ciphertexts failed.
    Leaks: the number of factors; as :func:`vfl.protocols.slots.finish_slots`.
    Model: semi-honest.
    Source: docs/protocols/trees.md#a-split.
    """
    yield from offer_slots(owner, label, factors, key)
    return (yield from finish_slots(owner, label, len(factors), key))


def own_split(peer: str, label: str, bits: U64, side: SlotEvaluator) -> Flow[U64]:
    """The owner: its share of the peer's factors times its own bits, flat and of one length.

    Learns: its own share, uniform in Z_p.
    Leaks: to the peer as :func:`vfl.protocols.slots.answer_slots`.
    Model: hides the bits from a malicious key holder but for the bits that failures tell.
    Source: docs/protocols/trees.md#a-split.
    """
    loaded = yield from receive_slots(peer, label, len(bits), side)
    return (yield from answer_slots(peer, label, [(loaded, bits)], side))


def part_split(owner: str, step: int, level: int, values: int, bits: int) -> Flow[tuple[U64, U64]]:
    """A holder: what the owner passes on, shares of ``values`` products and of ``bits`` bits.

    Learns: shares uniform in Z_p.
    Leaks: nothing.
    Model: semi-honest.
    Source: docs/protocols/trees.md#a-split.
    """
    got = yield from receive(owner, SplitShares)
    if (got.step, got.level) != (step, level):
        raise RemoteProtocolError(f"split level {got.level} of step {got.step} at {level} of {step}", owner)
    return flat_elements(got.values, values, owner), flat_elements(got.bits, bits, owner)


def halves(bits: Bits, stream: SecretStream) -> tuple[U64, U64]:
    """Uniform shares of bits."""
    one = PRIME_RING.uniform(stream, bits.shape)
    return one, PRIME_RING.sub(bits.astype(np.uint64), one)


def hold_values(label_party: str, label: str, members: U64, key: KeyHolder) -> Flow[U64]:
    """The anchor: its share (2, active) of what the last level's two sides would give each row.

    members: its shares of the memberships (active, leaves) before the last split.

    Learns: its own share, uniform in Z_p.
    Leaks: the shape.
    Model: semi-honest.
    Source: docs/protocols/trees.md#leaf-values.
    """
    rows, leaves = members.shape
    packing = choose_packing(2, leaves, rows, _DEGREE)
    return (yield from hold_product(label_party, label, np.ascontiguousarray(members.T), 2, key, packing))


def take_values(taken: TakenProducts, label: str, values: I64, members: U64) -> Flow[U64]:
    """The label party: its share of the same. values: int64 (2, leaves), of left and right sides.

    Learns: its own share, uniform in Z_p.
    Leaks: to the anchor a share, uniform too: no value of a leaf.
    Model: hides the values from a malicious anchor.
    Source: docs/protocols/trees.md#leaf-values.
    """
    rows, leaves = members.shape
    prepared = Prepared(taken.evaluator, values, choose_packing(2, leaves, rows, _DEGREE))
    share = yield from evaluate_product(taken.peer, label, prepared, rows, taken.stream, taken.zeros)
    return PRIME_RING.add(share, PRIME_RING.matmul(values, np.ascontiguousarray(members.T)))
