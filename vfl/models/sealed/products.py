"""Product columns of a sealed network on shares that live for one step: the owners' ends, the anchor's, the label's.

For a o b, a at the holder P_i and b at the other owner P_j, both take part in a step like this:

1. P_i encrypts its halves under its own key of slot mode, P_j multiplies by its own: shares c_i and c_j of a o b,
   uniform in Z_p, under masks of this step alone. P_i sends P_j its share U of the products' weights W = U + V.
2. Forward: c_i and c_j are columns like any other, only full-range. Each owner multiplies them by V under the label
   party's key, adds them times U, and adds this to its embedding, which the anchor gets under the zero-sum mask.
3. Backward: each owner multiplies its shares by the label party's half of the gradient and by the anchor's; P_j passes
   its part of the sum on to P_i, the anchor its own to the label party. P_i and the label party update U and V.

Nothing here is truncated but the embedding and the update, which are so already: halves have half of a feature's
fractional bits each. Full-range operands meet under the parameter set of slot mode, as the label party's own columns.
Source: docs/protocols/sealed.md#product-columns, of docs/protocols/slots.md#slot-mode and
docs/protocols/product.md#operand-and-answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from psi.flow import (
    Flow,
    LocalProtocolError,
    Message,
    Payload,
    RemoteProtocolError,
    Role,
    Send,
    gather,
    message,
    receive,
)
from vfl.arithmetic.he import Evaluator, KeyHolder
from vfl.arithmetic.parameter_sets import SLOT_SET
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.zero_supply import FreshZeros, ZeroSupply
from vfl.models.sealed.ends import HeldProducts, packing_of, take_slots
from vfl.models.sealed.messages import Members, UpdateShare, elements
from vfl.product_terms import Pair
from vfl.protocols.prime_keys import announce_key
from vfl.protocols.product import LeftOperand, Packing, Prepared
from vfl.protocols.product_flows import evaluate_product, finish_product, offer_right
from vfl.protocols.slots import SlotEvaluator, evaluate_slots, hold_slots
from vfl.protocols.spread import Spread, Workers

__all__ = ["AnchorProducts", "LabelProducts", "OwnedProducts", "ProductShare", "ProductWeights", "needs_key"]

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

_SOURCE = "docs/protocols/sealed.md#product-columns"


@message(
    "sealed.product-weights",
    sender=Role.FEATURE,
    receiver=Role.FEATURE,
    payload=Payload.SHARE,
    reveals="nothing: one owner's share of the weights of product columns, of which the label party has the other; at "
    "first the holder's small start",
    source=_SOURCE,
)
class ProductWeights(Message):
    """The holder's share of the weights of a pair's products, (count, h + 1), for the products of ``name``."""

    name: str
    pair: str
    values: bytes


@message(
    "sealed.product-share",
    sender=Role.FEATURE,
    receiver=Role.FEATURE,
    payload=Payload.SHARE,
    reveals="nothing: a uniform share of the gradient of product columns, from one owner to the other",
    source=_SOURCE,
)
class ProductShare(Message):
    """The other owner's share of the gradient of a pair's products, (count, h + 1)."""

    name: str
    pair: str
    values: bytes


def needs_key(me: str, members: Members) -> bool:
    """Whether a side holds a key for products: the anchor for its half of the gradient, a holder for its halves."""
    return bool(members.products) and (me == members.anchor or any(pair.holder == me for pair in members.products))


def _times(left: U64, right: U64) -> U64:
    """left @ right of full-range elements, (rows, inner) times (inner, width)."""
    total = np.zeros((left.shape[0], right.shape[1]), dtype=np.uint64)
    for k in range(left.shape[1]):
        total = PRIME_RING.add(total, PRIME_RING.mul(left[:, k, None], right[None, k]))
    return total


def _gathered(left: U64, right: U64) -> U64:
    """left.T @ right of full-range elements, (rows, inner) and (rows, width)."""
    parts = [PRIME_RING.sum(PRIME_RING.mul(left[:, k, None], right), axis=0) for k in range(left.shape[1])]
    return np.stack(parts)


def _packing(rows: int, pair: Pair, width: int, *, train: bool) -> Packing:
    return packing_of(rows, pair.count, width, train=train)


@dataclass
class _Made:
    """An owner's share of a pair's columns (rows, count) in the step under way, and the weights they meet."""

    pair: Pair
    share: U64
    weight: U64
    packing: Packing
    left: dict[str, Prepared | LeftOperand]


class OwnedProducts:
    """An owner's end in one session. ``start`` comes first, then ``make``, ``forward`` and ``backward`` of each step.

    halves: small integers (rows, count) of every pair that it has a half of. key: of slot mode and this session, where
    :func:`needs_key` says so. stream, supply, workers: as for :class:`vfl.models.sealed.feature.SealedFeature`.
    """

    def __init__(
        self,
        me: str,
        members: Members,
        halves: Mapping[str, I64],
        width: int,
        stream: SecretStream,
        key: KeyHolder | None = None,
        *,
        supply: Callable[[Evaluator], ZeroSupply] = FreshZeros,
        workers: Workers | None = None,
    ) -> None:
        self.me, self.members, self.mine = me, members, tuple(p for p in members.products if me in p.owners)
        if {name: half.shape[1] for name, half in halves.items()} != {pair.name: pair.count for pair in self.mine}:
            raise LocalProtocolError("the halves of products differ from those that were agreed")
        if needs_key(me, members) != (key is not None and key.context.name == SLOT_SET):
            raise LocalProtocolError(f"a holder of products and the anchor bring a key of {SLOT_SET!r}, nobody else")
        self._halves, self._width, self._stream, self._key = halves, width, stream, key
        self._supply, self._workers = supply, workers
        self._sides: dict[str, SlotEvaluator] = {}
        self._made: list[_Made] = []
        self._trains = False

    @classmethod
    def none(cls, me: str, members: Members, stream: SecretStream) -> Self:
        """Of a side that has no part in any product. Raises LocalProtocolError where it has one."""
        return cls(me, members, {}, 0, stream)

    def _told(self) -> list[str]:
        """Who evaluates under this side's key."""
        return [pair.other for pair in self.mine if pair.holder == self.me]

    def start(self, under_label: SlotEvaluator) -> Flow[None]:
        """Exchange the keys of this session. under_label: this side's evaluator under the label party's slot key.

        Learns: public keys of the anchor and of the holders whose halves it multiplies.
        Leaks: nothing.
        Model: as :func:`vfl.protocols.prime_keys.receive_key`.
        Source: docs/protocols/sealed.md#product-columns.
        """
        if self._key is not None:
            for peer in self._told():
                yield from announce_key(peer, self._key)
        holders = [self.members.anchor] if self.mine else []
        holders += [pair.holder for pair in self.mine if pair.other == self.me]
        for peer in dict.fromkeys(holders):
            if peer != self.me:
                self._sides[peer] = yield from take_slots(peer, self._stream, self._supply, self._workers)
        self._sides[self.members.label] = under_label

    def close(self) -> None:
        """End what makes encryptions of zero ahead; the label party's side is its owner's to end."""
        for peer, side in self._sides.items():
            if peer != self.members.label and side.zeros is not None:
                side.zeros.close()

    def make(self, name: str, rows: I64, weights: Mapping[str, U64], *, train: bool) -> Flow[None]:
        """Shares of the products of these rows, for the step ``name``. weights: this side's share of those it holds.

        Learns: its own shares, uniform in Z_p; of a pair that it does not hold the holder's share of the weights; as
            holder which answers fail their check.
        Leaks: to the other owner an encryption of its halves and its share of the weights, or the answer to one, as
            :func:`vfl.protocols.slots.evaluate_slots` says; the number of rows.
        Model: semi-honest, of owners that do not pool with the label party: both know a pair's weights then. Either
            owner that makes its half up and receives the factor reads the other's from scores. One that makes its
            answers up puts the holder's key into the holder's share, which the label party sees in scores.
        Source: docs/protocols/sealed.md#product-columns.
        """
        self._made = yield from gather([self._of_pair(pair, name, rows, weights, train) for pair in self.mine])
        self._trains = train

    def _of_pair(self, pair: Pair, name: str, rows: I64, weights: Mapping[str, U64], train: bool) -> Flow[_Made]:
        half, label = PRIME_RING.wrap(self._halves[pair.name][rows]), f"{pair.name}/{name}"
        if pair.holder == self.me:
            assert self._key is not None
            weight = weights[pair.name]
            yield Send(pair.other, ProductWeights(name, pair.name, PRIME_RING.pack(weight)))
            share = yield from hold_slots(pair.other, label, half, self._key)
        else:
            got = yield from receive(pair.holder, ProductWeights)
            if (got.name, got.pair) != (name, pair.name):
                raise RemoteProtocolError(f"sent weights of {got.pair!r} at {got.name!r}, not {name!r}", pair.holder)
            weight = elements(got.values, (pair.count, self._width), pair.holder)
            share = yield from evaluate_slots(pair.holder, label, half, self._sides[pair.holder])
        return _Made(pair, share, weight, _packing(len(rows), pair, self._width, train=train), {})

    def _product(self, peer: str, label: str, made: _Made, *, transposed: bool = False) -> Flow[U64]:
        """Its share of its columns times what ``peer`` encrypts."""
        side = self._sides[peer]
        if peer not in made.left:
            made.left[peer] = self._prepared(side, made)
        left = made.left[peer]
        return (
            yield from evaluate_product(peer, label, left, self._width, side.stream, side.zeros, transposed=transposed)
        )

    def _prepared(self, side: SlotEvaluator, made: _Made) -> Prepared | LeftOperand:
        left = made.share.view(np.int64)
        if self._workers is None:
            return Prepared(side.evaluator, left, made.packing)
        return Spread(self._workers, side.evaluator, side.evaluator.public_key, left, made.packing)

    def forward(self, name: str) -> Flow[dict[str, U64]]:
        """Its share of what each pair's columns add to the embedding, (rows, h + 1).

        Learns: its own shares, uniform in Z_p.
        Leaks: to the label party shares, uniform too.
        Model: hides its shares of the columns from a malicious label party, as
            :func:`vfl.protocols.product_flows.evaluate_product` does.
        Source: docs/protocols/sealed.md#product-columns.
        """
        found = {}
        for made in self._made:
            part = yield from self._product(self.members.label, f"product/{made.pair.name}/{name}", made)
            found[made.pair.name] = PRIME_RING.add(part, _times(made.share, made.weight))
        if not self._trains:
            self._made = []
        return found

    def backward(self, name: str) -> Flow[dict[str, U64]]:
        """Its share of the gradient sum of the pairs that it holds, (count, h + 1). The step is over then.

        Learns: its own shares, uniform in Z_p; as holder the other owner's too.
        Leaks: to label party and anchor shares, uniform too; to a pair's holder its own share.
        Model: as :meth:`forward`, of a malicious anchor too.
        Source: docs/protocols/sealed.md#product-columns.
        """
        parts = []
        for made in self._made:
            label = f"product-backward/{made.pair.name}/{name}"
            parts.append((yield from self._product(self.members.label, label, made, transposed=True)))
        for place, made in enumerate(self._made):
            label = f"product-backward/{made.pair.name}/{name}"
            more = yield from self._product(self.members.anchor, label, made, transposed=True)
            parts[place] = PRIME_RING.add(parts[place], more)
        return (yield from self._exchanged(name, parts))

    def _exchanged(self, name: str, parts: Sequence[U64]) -> Flow[dict[str, U64]]:
        """What both owners have, at the holder."""
        for made, part in zip(self._made, parts, strict=True):
            if made.pair.other == self.me:
                yield Send(made.pair.holder, ProductShare(name, made.pair.name, PRIME_RING.pack(part)))
        summed = {}
        for made, part in zip(self._made, parts, strict=True):
            if made.pair.holder == self.me:
                peer = made.pair.other
                got = yield from receive(peer, ProductShare)
                if (got.name, got.pair) != (name, made.pair.name):
                    raise RemoteProtocolError(f"sent its part of {got.pair!r} at {got.name!r}, not {name!r}", peer)
                summed[made.pair.name] = PRIME_RING.add(part, elements(got.values, part.shape, peer))
        self._made = []
        return summed


class AnchorProducts(OwnedProducts):
    """The anchor's end, whether or not it owns a half: it also holds the key of its half of the gradient."""

    def _told(self) -> list[str]:
        return [owner for owner in self.members.product_owners if owner != self.me]

    def passed_on(self, name: str, slope: U64) -> Flow[dict[str, U64]]:
        """:meth:`backward` of the anchor, for its half (rows, h + 1) of the gradient.

        Learns: its own shares, uniform in Z_p; as holder the other owner's too.
        Leaks: to the owners an encryption of its half; to the label party shares, uniform too, and as owner answers to
            its half of the gradient; to a pair's holder its own share.
        Model: semi-honest; what the owners answer goes to the label party as its shares of other gradients do.
        Source: docs/protocols/sealed.md#product-columns.
        """
        if self._key is None:
            return {}
        held = HeldProducts(self._key)
        asked = [(p, owner) for p in self.members.products for owner in p.owners if owner != self.me]
        flows: list[Flow[U64]] = [
            held.backward(owner, f"product-backward/{pair.name}/{name}", slope, pair.count) for pair, owner in asked
        ]
        flows += [self._local(made, name, slope) for made in self._made]
        found = yield from gather(flows)
        parts = found[len(asked) :]
        places = {made.pair.name: place for place, made in enumerate(self._made) if made.pair.holder == self.me}
        shares: dict[str, U64] = {}
        for (pair, _), part in zip(asked, found, strict=False):
            if pair.name in places:
                parts[places[pair.name]] = PRIME_RING.add(parts[places[pair.name]], part)
            else:
                shares[pair.name] = PRIME_RING.add(shares[pair.name], part) if pair.name in shares else part
        for pair_name, part in shares.items():
            yield Send(self.members.label, UpdateShare(int(name), pair_name, PRIME_RING.pack(part)))
        return (yield from self._exchanged(name, parts))

    def _local(self, made: _Made, name: str, slope: U64) -> Flow[U64]:
        """Its share of its own columns times both halves of the gradient."""
        label = f"product-backward/{made.pair.name}/{name}"
        part = yield from self._product(self.members.label, label, made, transposed=True)
        return PRIME_RING.add(part, _gathered(made.share, slope))


class LabelProducts:
    """The label party's end: it encrypts its share of the weights, and its half of the gradient, for both owners.

    key: its key of slot mode.
    """

    def __init__(self, members: Members, key: KeyHolder) -> None:
        self.members, self._key, self._held = members, key, HeldProducts(key)

    @property
    def _asked(self) -> list[tuple[Pair, str]]:
        return [(pair, owner) for pair in self.members.products for owner in pair.owners]

    def forward(self, name: str, weights: Mapping[str, U64], rows: int, *, train: bool) -> list[Flow[U64]]:
        """Its shares of what the products add to the embedding, (rows, h + 1), a flow for each pair and owner."""
        sent: dict[str, list[tuple[bytes, ...]]] = {pair.name: [] for pair in self.members.products}
        return [
            self._offered(pair, owner, name, weights[pair.name], rows, train, sent[pair.name])
            for pair, owner in self._asked
        ]

    def _offered(
        self, pair: Pair, owner: str, name: str, weight: U64, rows: int, train: bool, sent: list[tuple[bytes, ...]]
    ) -> Flow[U64]:
        label, width = f"product/{pair.name}/{name}", weight.shape[1]
        packing = _packing(rows, pair, width, train=train)
        yield from offer_right((owner,), label, weight, self._key, packing, sent=sent)
        return (yield from finish_product(owner, label, rows, width, self._key, packing))

    def backward(self, name: str, slope: U64) -> list[Flow[U64]]:
        """Its shares of the products' gradient sums, (count, h + 1): of each pair and owner, then the anchor's."""
        self._held.begin()
        flows: list[Flow[U64]] = [
            self._held.backward(owner, f"product-backward/{pair.name}/{name}", slope, pair.count)
            for pair, owner in self._asked
        ]
        return flows + [self._heard(pair, int(name), slope.shape[1]) for pair in self._passed]

    @property
    def _passed(self) -> list[Pair]:
        """Pairs of which the anchor passes its shares on."""
        return [pair for pair in self.members.products if pair.holder != self.members.anchor]

    def _heard(self, pair: Pair, step: int, width: int) -> Flow[U64]:
        anchor = self.members.anchor
        got = yield from receive(anchor, UpdateShare)
        if (got.step, got.party) != (step, pair.name):
            raise RemoteProtocolError(
                f"passed on the update of {got.party!r} when that of {pair.name!r} was due", anchor
            )
        return elements(got.values, (pair.count, width), anchor)

    def summed(self, parts: Sequence[U64], *, backward: bool = True) -> dict[str, U64]:
        """What :meth:`backward`, or :meth:`forward`, found, by pair."""
        total: dict[str, U64] = {}
        owners = [pair.name for pair, _ in self._asked]
        owners += [pair.name for pair in self._passed] if backward else []
        for name, part in zip(owners, parts, strict=True):
            total[name] = PRIME_RING.add(total[name], part) if name in total else part
        return total
