"""Valuation of a sealed network's coalitions: the flows of the label party, the anchor and the other feature parties.

What is computed and what opens: :mod:`vfl.models.sealed.coalitions`. Everybody begins with what its training left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import cast

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, Recv, RecvAny, RemoteProtocolError, Send, gather, receive
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.models.sealed.coalitions import CoalitionEmbedding, Piece, Valued, ValuedRows, ValuesEnd, pieces_of
from vfl.models.sealed.ends import HeldProducts, TakenProducts, evaluate_own, hold_own, take_products, take_slots
from vfl.models.sealed.label import LabelKeys
from vfl.models.sealed.messages import as_told, check_told, elements
from vfl.models.sealed.numbers import AnchorNumbers, CoalitionScores, LabelNumbers
from vfl.models.sealed.products import LabelProducts
from vfl.models.sealed.scales import EMBEDDING_BITS
from vfl.models.sealed.step import score
from vfl.models.sealed.valuation_side import ValuationSide
from vfl.protocols.opening import ZeroSumMasks
from vfl.protocols.prime_keys import announce_key
from vfl.protocols.slots import SlotEvaluator, answer_slots, finish_slots, offer_slots, receive_slots
from vfl.protocols.truncation import LARGEST, evaluate_truncation, hold_truncation

__all__ = ["AnchorValuation", "FeatureValuation", "LabelValuation"]

U64 = NDArray[np.uint64]


class LabelValuation(ValuationSide, LabelNumbers):
    """The label party's side."""

    @property
    def told(self) -> tuple[str, ...]:
        return self.members.everyone

    def _begin(self, keys: LabelKeys) -> Flow[None]:
        for peer in self.members.everyone:
            if peer in self.members.features:
                yield from announce_key(peer, keys.coefficient)
        for peer in self.members.product_owners:
            if peer != self.members.anchor:  # whom this key comes to in any case
                yield from announce_key(peer, keys.slots)

    def _scores(self, number: int, pieces: Sequence[Piece], keys: LabelKeys) -> Flow[CoalitionScores]:
        members, held = self.members, HeldProducts(keys.coefficient)
        parts = yield from gather([self._given(number, pieces, held, name) for name in members.features])
        base = np.zeros((sum(len(piece.rows) for piece in pieces), self.terms.embedding_width), dtype=np.uint64)
        if members.own:
            base = PRIME_RING.add((yield from self._own(number, pieces, keys)), self._local(pieces, members.label))
        shares = dict(zip(members.features, parts, strict=True)) | (yield from self._paired(number, pieces, keys))
        return partial(self._score, base, shares, keys)

    def _paired(self, number: int, pieces: Sequence[Piece], keys: LabelKeys) -> Flow[dict[str, U64]]:
        """Its shares of what the products add, by pair."""
        products, found = LabelProducts(self.members, keys.slots), dict[str, list[U64]]()
        for place, piece in enumerate(pieces):
            weights, rows = self._scored[piece.step].weights, len(piece.rows)
            flows = products.forward(f"value/{number}/{place}", weights, rows, train=False)
            for pair, part in products.summed((yield from gather(flows)), backward=False).items():
                found.setdefault(pair, []).append(part)
        return {pair: np.concatenate(parts) for pair, parts in found.items()}

    def _given(self, number: int, pieces: Sequence[Piece], held: HeldProducts, peer: str) -> Flow[U64]:
        """Its share of the peer's columns times its own share of their weights."""
        parts = []
        for place, piece in enumerate(pieces):
            weight, label = self._weight(piece, peer), f"value/{number}/{place}"
            parts.append((yield from held.forward(peer, label, weight, len(piece.rows), train=False)))
        return np.concatenate(parts)

    def _own(self, number: int, pieces: Sequence[Piece], keys: LabelKeys) -> Flow[U64]:
        """Its share of its own columns times the anchor's share of their weights."""
        anchor, width, parts = self.members.anchor, self.terms.embedding_width, []
        for place, piece in enumerate(pieces):
            own = self._features[piece.rows].T
            parts.append((yield from hold_own(anchor, f"own/{number}/{place}", own, width, keys.slots)))
        return np.concatenate(parts)

    def _score(
        self, base: U64, shares: Mapping[str, U64], keys: LabelKeys, name: str, coalition: tuple[str, ...]
    ) -> Flow[U64]:
        anchor, terms, whole, rows = self.members.anchor, self.terms, base, len(base)
        for member in coalition:
            whole = PRIME_RING.add(whole, shares[member])
        whole = self._with_products(whole, shares, coalition)
        z = yield from hold_truncation(anchor, f"embedding/{name}", whole, self._cut, keys.slots, bound=LARGEST)
        cross = z[:, 1:]
        if terms.width:  # nothing is sent where there is no squared column
            yield from offer_slots(anchor, f"square/{name}", z[:, 1:], keys.slots)
            cross = yield from finish_slots(anchor, f"square/{name}", rows * terms.width, keys.slots)
        return score(z, cross.reshape(rows, terms.width), terms.signs, EMBEDDING_BITS)


class AnchorValuation(ValuationSide, AnchorNumbers):
    """The anchor's side."""

    _taken_products: TakenProducts | None = None

    def _begin(self) -> Flow[SlotEvaluator]:
        label = self.members.label
        if self.members.anchored:
            self._taken_products = yield from take_products(label, self._stream, self._supply, self._workers)
        slots = yield from take_slots(label, self._stream, self._supply, self._workers)
        if self._products is not None:
            yield from self._products.start(slots)
        return slots

    def _end(self) -> None:
        if self._taken_products is not None:
            self._taken_products.close()
        if self._products is not None:
            self._products.close()

    def _scores(self, announced: ValuedRows, pieces: Sequence[Piece], slots: SlotEvaluator) -> Flow[CoalitionScores]:
        members, number = self.members, announced.number
        rows = sum(len(piece.rows) for piece in pieces)
        base = mine = np.zeros((rows, self.terms.embedding_width), dtype=np.uint64)
        if self._taken_products is not None:
            part = yield from self._taken(number, pieces, self._taken_products)
            mine = PRIME_RING.add(part, self._local(pieces, members.anchor))
        if members.own:
            base = yield from self._own(number, pieces, slots)
        paired = yield from self._multiplied(number, pieces)
        return partial(self._score, base, mine, paired, announced, slots)

    def _own(self, number: int, pieces: Sequence[Piece], slots: SlotEvaluator) -> Flow[U64]:
        """Its share of the label party's own columns times its share of their weights."""
        label, parts = self.members.label, []
        for place, piece in enumerate(pieces):
            held, rows = self._weight(piece, label), len(piece.rows)
            parts.append((yield from evaluate_own(label, f"own/{number}/{place}", held, rows, slots, self._workers)))
        return np.concatenate(parts)

    def _masked(
        self, name: str, announced: ValuedRows, coalition: tuple[str, ...], shape: tuple[int, int]
    ) -> Flow[U64]:
        got = yield from receive(name, CoalitionEmbedding)
        if (got.number, got.members) != (announced.number, coalition):
            raise RemoteProtocolError(f"sent its embedding for {got.members} when {coalition} was due", name)
        check_told(got.told, announced, name, self.members.label)
        return elements(got.values, shape, name)

    def _score(
        self,
        base: U64,
        mine: U64,
        paired: Mapping[str, U64],
        announced: ValuedRows,
        slots: SlotEvaluator,
        name: str,
        coalition: tuple[str, ...],
    ) -> Flow[U64]:
        members, label, terms, rows = self.members, self.members.label, self.terms, len(base)
        whole = PRIME_RING.add(base, mine) if members.anchor in coalition else base
        whole = self._with_products(whole, paired, coalition)
        for member in coalition:
            if member != members.anchor:
                part = yield from self._masked(member, announced, coalition, (rows, terms.embedding_width))
                whole = PRIME_RING.add(whole, part)
        z = yield from evaluate_truncation(label, f"embedding/{name}", whole, self._cut, slots, bound=LARGEST)
        cross = z[:, 1:]
        if terms.width:
            loaded = yield from receive_slots(label, f"square/{name}", rows * terms.width, slots)
            cross = yield from answer_slots(label, f"square/{name}", [(loaded, z[:, 1:])], slots)
        return score(z, cross.reshape(rows, terms.width), terms.signs, EMBEDDING_BITS)


class FeatureValuation(ValuationSide):
    """The side of a feature party that is not the anchor."""

    def serve(self, me: str, masks: ZeroSumMasks) -> Flow[None]:
        """Its part in every coalition that it is a member of.

        Learns: which predicted rows have labels in the valued periods; its own shares.
        Leaks: to the anchor its uniform share under a zero-sum mask of each coalition; to the other owner of its
            products what :class:`vfl.models.sealed.products.OwnedProducts` says.
        Model: semi-honest holders that do not pool what they have; pooled, they see each coalition's embeddings, and
            so this party's own, and what its products add to them.
        Source: docs/protocols/sealed.md#coalition-values.
        """
        label, valued = self.members.label, Valued()
        taken = yield from take_products(label, self._stream, self._supply, self._workers)
        slots = yield from self._keys_of_products(me)
        try:
            while True:
                chosen, got = yield RecvAny((Recv(label, ValuedRows), Recv(label, ValuesEnd)))
                if chosen == 1:
                    return
                announced = cast("ValuedRows", got)
                pieces, told = pieces_of(announced, self.predicted, valued, label), as_told(announced)
                part = yield from self._taken(announced.number, pieces, taken)
                part = PRIME_RING.add(part, self._local(pieces, me))
                paired = yield from self._multiplied(announced.number, pieces)
                for coalition in self.coalitions:
                    if me not in coalition:
                        continue
                    among = [name for name in coalition if name != self.members.anchor]
                    name = f"value/{self._session}/{announced.number}/{'+'.join(coalition)}"
                    whole = self._with_products(part, paired, coalition)
                    masked = PRIME_RING.pack(PRIME_RING.add(whole, masks.mask(name, among, part.shape)))
                    yield Send(self.members.anchor, CoalitionEmbedding(announced.number, coalition, told, masked))
        finally:
            taken.close()
            if self._products is not None:
                self._products.close()
            if slots is not None and slots.zeros is not None:
                slots.zeros.close()

    def _keys_of_products(self, me: str) -> Flow[SlotEvaluator | None]:
        """Of the label party's key of slot mode, where products need it."""
        if self._products is None or me not in self.members.product_owners:
            return None
        slots = yield from take_slots(self.members.label, self._stream, self._supply, self._workers)
        yield from self._products.start(slots)
        return slots
