"""The exchanges of a level: sums of candidates, and the split by its owner.

The label party takes part in both under its own key alone, as in :func:`vfl.models.sealed.ends.hold_own`: what the
anchor decrypts enters sums and scores that open to it, and an evaluator that makes answers up would read its key there.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, RemoteProtocolError, gather, receive
from vfl.arithmetic.he import KeyHolder
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.arithmetic.randomness import SecretStream
from vfl.models.sealed.ends import TakenProducts
from vfl.models.trees.messages import SplitShares, flat_elements
from vfl.protocols.product import LeftOperand, Packing, Prepared
from vfl.protocols.product_flows import evaluate_product, finish_product, offer_right
from vfl.protocols.slots import SlotEvaluator, answer_slots, finish_slots, offer_slots, receive_slots
from vfl.protocols.spread import Spread

__all__ = [
    "halves",
    "hold_split",
    "hold_sums",
    "own_split",
    "part_split",
    "sums_packing",
    "take_sums",
]

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
Bits = NDArray[np.bool_]

_DEGREE = 8192
_PLAIN = 0.15
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
    if peers:
        yield from offer_right(peers, label, carries, key, packing, transposed=True)
    return (
        yield from gather(
            [finish_product(peer, label, candidates, leaves, key, packing, transposed=True) for peer in peers]
        )
    )


def take_sums(ends: Sequence[TakenProducts], label: str, bits: Bits, leaves: int) -> Flow[list[U64]]:
    """Evaluator: its shares (candidates, leaves) of its bits (candidates, drawn) times each key holder's carries.

    Learns: its own shares, uniform in Z_p.
    Leaks: to a key holder a share, uniform too.
    Model: hides the bits from a malicious key holder (:func:`vfl.protocols.product_flows.evaluate_product`).
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


def hold_split(evaluator: str, label: str, factors: U64, key: KeyHolder) -> Flow[U64]:
    """Key holder: its share of its own factors times the evaluator's.

    The owner multiplies by its bits under a holder's key; where the owner is the label party, these bits are the
    factors, and the anchor multiplies by its shares.

    Learns: its own share, uniform in Z_p; which ciphertexts failed.
    Leaks: the number of factors; as :func:`vfl.protocols.slots.finish_slots`.
    Model: semi-honest.
    Source: docs/protocols/trees.md#a-split.
    """
    yield from offer_slots(evaluator, label, factors, key)
    return (yield from finish_slots(evaluator, label, len(factors), key))


def own_split(peer: str, label: str, mine: U64, side: SlotEvaluator) -> Flow[U64]:
    """Evaluator: its share of the peer's factors times its own, flat and of one length.

    Learns: its own share, uniform in Z_p.
    Leaks: to the peer as :func:`vfl.protocols.slots.answer_slots`.
    Model: hides ``mine`` from a malicious key holder but for the bits that failures tell.
    Source: docs/protocols/trees.md#a-split.
    """
    loaded = yield from receive_slots(peer, label, len(mine), side)
    return (yield from answer_slots(peer, label, [(loaded, mine)], side))


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
