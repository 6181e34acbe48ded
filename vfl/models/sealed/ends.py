"""Ends of a session: whose keys a side holds or answers, and the products and truncations it takes part in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow
from vfl.arithmetic.he import Context, Evaluator, KeyHolder
from vfl.arithmetic.parameter_sets import COEFFICIENT_SET, SLOT_SET
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.zero_supply import FreshZeros, ZeroSupply
from vfl.protocols.prime_keys import receive_key
from vfl.protocols.product import LeftOperand, Packing, Prepared, choose_packing
from vfl.protocols.product_flows import evaluate_product, finish_product, hold_product, offer_right
from vfl.protocols.slots import SlotEvaluator
from vfl.protocols.spread import Spread, SpreadSlots, Workers

__all__ = [
    "HeldProducts",
    "TakenProducts",
    "coefficient_key",
    "evaluate_own",
    "hold_own",
    "own_packing",
    "packing_of",
    "slot_key",
    "take_products",
    "take_slots",
]

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
Supply = Callable[[Evaluator], ZeroSupply]


def coefficient_key() -> KeyHolder:
    """A key of one session for matrix products."""
    return KeyHolder(Context(COEFFICIENT_SET, PRIME_RING.bits))


def slot_key() -> KeyHolder:
    """A key of one session for products element by element."""
    return KeyHolder(Context(SLOT_SET, PRIME_RING.bits))


def packing_of(rows: int, inner: int, width: int, *, train: bool) -> Packing:
    """The blocks that both ends choose for X @ W, and where the step trains for X.T @ G as well."""
    return choose_packing(rows, inner, width, 8192, both=train)


def own_packing(width: int, inner: int, columns: int) -> Packing:
    """The blocks that both ends choose for the label party's own columns: (width x inner) times (inner x columns)."""
    return choose_packing(width, inner, columns, 8192)


def hold_own(peer: str, label: str, own: I64, width: int, key: KeyHolder) -> Flow[U64]:
    """Label party: its share (columns, width) of own.T @ Y, for its own small integers (inner, columns) and the
    anchor's Y (inner, width).

    The key is that of slot mode, whose noise has room for two full-range operands; products are those of coefficient
    mode. The label party encrypts and the anchor multiplies, never the other way round: a key holder whose shares enter
    what opens would give its key away to an evaluator that makes its answers up.

    Learns: its own share, uniform in Z_p.
    Leaks: the shape of ``own``; no value.
    Model: semi-honest.
    Source: docs/protocols/sealed.md#own-columns.
    """
    inner, columns = own.shape
    packing = own_packing(width, inner, columns)
    share = yield from hold_product(peer, label, PRIME_RING.wrap(own), width, key, packing)
    return np.ascontiguousarray(share.T)


def evaluate_own(
    peer: str, label: str, held: U64, columns: int, side: SlotEvaluator, workers: Workers | None = None
) -> Flow[U64]:
    """Anchor: its share (columns, width) of X.T @ held, for its full-range ``held`` (inner, width) and the label
    party's X (inner, columns).

    Learns: its own share, uniform in Z_p.
    Leaks: to the label party a share, uniform too.
    Model: hides ``held`` from a malicious label party, as :func:`vfl.protocols.product_flows.evaluate_product` does.
    Source: docs/protocols/sealed.md#own-columns.
    """
    inner, width = held.shape
    packing, left = own_packing(width, inner, columns), np.ascontiguousarray(held.T).view(np.int64)
    prepared: Prepared | LeftOperand
    if workers is None:
        prepared = Prepared(side.evaluator, left, packing)
    else:
        prepared = Spread(workers, side.evaluator, side.evaluator.public_key, left, packing)
    share = yield from evaluate_product(peer, label, prepared, columns, side.stream, side.zeros)
    return np.ascontiguousarray(share.T)


@dataclass
class HeldProducts:
    """The key holder's end of matrix products with several evaluators."""

    key: KeyHolder
    _sent: dict[tuple[int, ...], list[tuple[bytes, ...]]] = field(default_factory=dict, init=False)

    def forward(self, peer: str, label: str, weights: U64, rows: int, *, train: bool) -> Flow[U64]:
        """Share (rows, h + 1) of the peer's X @ weights.

        Learns: its own share, uniform in Z_p.
        Leaks: the shape of ``weights``.
        Model: semi-honest.
        Source: docs/protocols/product.md#operand-and-answer.
        """
        inner, width = weights.shape
        packing = packing_of(rows, inner, width, train=train)
        return (yield from hold_product(peer, label, weights, rows, self.key, packing))

    def begin(self) -> None:
        """A new gradient: operands sent before are not sent again."""
        self._sent.clear()

    def backward(self, peer: str, label: str, gradient: U64, columns: int) -> Flow[U64]:
        """Share (columns, h + 1) of the peer's X.T @ gradient. One gradient is encrypted once for all peers alike.

        Learns: its own share, uniform in Z_p.
        Leaks: the shape of ``gradient``.
        Model: semi-honest.
        Source: docs/protocols/product.md#operand-and-answer.
        """
        rows, width = gradient.shape
        packing = packing_of(rows, columns, width, train=True)
        sent = self._sent.setdefault(packing.sizes, [])
        yield from offer_right((peer,), label, gradient, self.key, packing, transposed=True, sent=sent)
        return (yield from finish_product(peer, label, columns, width, self.key, packing, transposed=True))


@dataclass
class TakenProducts:
    """The evaluator's end of matrix products under one key holder's key."""

    peer: str
    evaluator: Evaluator
    stream: SecretStream
    zeros: ZeroSupply
    workers: Workers | None = None

    def prepared(self, left: I64, width: int, *, train: bool) -> Prepared | LeftOperand:
        """Small integers X (rows, d), encoded for one batch."""
        rows, inner = left.shape
        packing = packing_of(rows, inner, width, train=train)
        if self.workers is not None:
            return Spread(self.workers, self.evaluator, self.evaluator.public_key, left, packing)
        return Prepared(self.evaluator, left, packing)

    def product(self, label: str, left: Prepared | LeftOperand, width: int, *, transposed: bool = False) -> Flow[U64]:
        """Share of X @ Y, or of X.T @ G.

        Learns: its own share, uniform in Z_p.
        Leaks: to the key holder a share, uniform too.
        Model: hides X from a malicious key holder (:func:`vfl.protocols.product_flows.evaluate_product`).
        Source: docs/protocols/product.md#operand-and-answer.
        """
        return (
            yield from evaluate_product(self.peer, label, left, width, self.stream, self.zeros, transposed=transposed)
        )

    def close(self) -> None:
        self.zeros.close()


def take_products(
    peer: str, stream: SecretStream, supply: Supply = FreshZeros, workers: Workers | None = None
) -> Flow[TakenProducts]:
    """Take a key holder's key for matrix products.

    Learns: the public key.
    Leaks: nothing.
    Model: as :func:`vfl.protocols.prime_keys.receive_key`.
    Source: docs/protocols/product.md#operand-and-answer.
    """
    evaluator = yield from receive_key(peer, COEFFICIENT_SET)
    return TakenProducts(peer, evaluator, stream, supply(evaluator), workers)


def take_slots(
    peer: str, stream: SecretStream, supply: Supply = FreshZeros, workers: Workers | None = None
) -> Flow[SlotEvaluator]:
    """Take a key holder's key for products element by element.

    Learns: the public key.
    Leaks: nothing.
    Model: as :func:`vfl.protocols.prime_keys.receive_key`.
    Source: docs/protocols/slots.md#slot-mode.
    """
    evaluator = yield from receive_key(peer, SLOT_SET)
    if workers is not None:
        return SlotEvaluator(evaluator, stream, spread=SpreadSlots(workers, evaluator))
    return SlotEvaluator(evaluator, stream, supply(evaluator))
