"""The exchanges of a tree: sums of candidates, and what both holders multiply by owners' bits that they share.

The label party takes part in all of it under its own key alone, as in :func:`vfl.models.sealed.ends.hold_own`: what the
anchor decrypts enters sums and scores that open to it, and an evaluator that makes answers up would read its key there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, RemoteProtocolError, gather, receive
from vfl.arithmetic.he import KeyHolder
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.arithmetic.randomness import SecretStream
from vfl.models.sealed.ends import TakenProducts, evaluate_own, hold_own
from vfl.models.sealed.messages import Members
from vfl.models.trees.messages import SplitShares, flat_elements
from vfl.protocols.product import LeftOperand, Packing, Prepared
from vfl.protocols.product_flows import evaluate_product, finish_product, offer_right
from vfl.protocols.slot_streams import answer_together, offer_together
from vfl.protocols.slots import SlotEvaluator, finish_slots
from vfl.protocols.spread import Spread, Workers

__all__ = [
    "AnchorEnd",
    "LabelEnd",
    "halves",
    "hold_sums",
    "sums_packing",
    "take_sides",
    "take_sums",
]

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
Bits = NDArray[np.bool_]

_DEGREE = 8192
_INPUT, _MULTIPLY, _PLAIN = 0.2, 0.04, 0.04
"""Beside one output: an input, encrypted once for all peers, a multiplication, a block encoded once for both keys."""


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
            needed = packing.again(rows, candidates, leaves)
            cost = needed.outputs + needed.inputs * _INPUT + needed.multiplications * _MULTIPLY
            cost += pieces * -(-candidates // n) * _PLAIN
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


@dataclass(frozen=True)
class LabelEnd:
    """The label party's end of products with the bits of owners, under its own key of slot mode."""

    members: Members
    key: KeyHolder

    def times(self, name: str, owner: str, factors: U64, bits: U64) -> Flow[U64]:
        """Its share of factors times an owner's bits, flat and of one length. bits: its part of them, empty for none.

        Learns: its own share, uniform in Z_p; which ciphertexts failed.
        Leaks: the number of factors; as :func:`vfl.protocols.slots.finish_slots`.
        Model: semi-honest.
        Source: docs/protocols/trees.md#a-split.
        """
        anchor, label = self.members.anchor, self.members.label
        offered = [(name, factors)] if owner != label else []
        offered += [(f"{name}/bits", bits)] if owner != anchor else []
        yield from offer_together(anchor, offered, self.key)
        held = yield from finish_slots(anchor, name, len(factors), self.key)
        return held if owner == anchor else PRIME_RING.add(held, PRIME_RING.mul(factors, bits))

    def tabled(self, name: str, tables: I64, products: U64 | None, rows: int) -> Flow[U64]:
        """Its share (columns, rows) of its tables (inner, columns) times the products of bits (inner, rows).

        products: its part of them; None where the anchor has them in the clear.

        Learns: its own share, uniform in Z_p.
        Leaks: the shape of ``tables``; no value.
        Model: semi-honest.
        Source: docs/protocols/trees.md#scores.
        """
        held = yield from hold_own(self.members.anchor, name, tables, rows, self.key)
        return held if products is None else PRIME_RING.add(held, PRIME_RING.matmul(tables.T, products))


@dataclass(frozen=True)
class AnchorEnd:
    """The anchor's end of the same products, which it evaluates."""

    members: Members
    side: SlotEvaluator
    workers: Workers | None = None

    def times(self, name: str, owner: str, factors: U64, bits: U64) -> Flow[U64]:
        """Its share of factors times an owner's bits, flat and of one length. bits: its part of them, empty for none.

        Learns: its own share, uniform in Z_p; which ciphertexts failed.
        Leaks: to the label party as :func:`vfl.protocols.slots.answer_slots`.
        Model: hides factors and bits from a malicious label party but for the bits that failures tell.
        Source: docs/protocols/trees.md#a-split.
        """
        label = self.members.label
        offered = [(name, bits)] if owner != label else []
        offered += [(f"{name}/bits", factors)] if owner != self.members.anchor else []
        share = yield from answer_together(label, name, offered, self.side)
        return share if owner == label else PRIME_RING.add(share, PRIME_RING.mul(factors, bits))

    def tabled(self, name: str, columns: int, products: U64) -> Flow[U64]:
        """Its share (columns, rows) of the label party's tables times the products of bits (inner, rows).

        products: its part of them.

        Learns: its own share, uniform in Z_p.
        Leaks: to the label party a share, uniform too.
        Model: hides ``products`` from a malicious label party, as :func:`vfl.models.sealed.ends.evaluate_own`.
        Source: docs/protocols/trees.md#scores.
        """
        return (yield from evaluate_own(self.members.label, name, products, columns, self.side, self.workers))


def take_sides(owner: str, step: int, level: int, products: int, rows: int) -> Flow[U64]:
    """A holder: its shares (products, rows) of what the owner of a level gives out.

    Learns: shares uniform in Z_p.
    Leaks: nothing.
    Model: semi-honest.
    Source: docs/protocols/trees.md#a-split.
    """
    got = yield from receive(owner, SplitShares)
    if (got.step, got.level) != (step, level):
        raise RemoteProtocolError(f"split level {got.level} of step {got.step} at {level} of {step}", owner)
    return flat_elements(got.bits, products * rows, owner).reshape(products, rows)


def halves(bits: U64, stream: SecretStream) -> tuple[U64, U64]:
    """Uniform shares of bits."""
    one = PRIME_RING.uniform(stream, bits.shape)
    return one, PRIME_RING.sub(bits, one)
