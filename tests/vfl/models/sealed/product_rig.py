"""A sealed network with product columns in one process, beside :mod:`tests.vfl.models.sealed.rig`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.vfl.models.sealed.rig import FIXED, Consortium, Observed, seed
from vfl.arithmetic.he import KeyHolder
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.models.sealed.anchor import SealedAnchor
from vfl.models.sealed.ends import slot_key
from vfl.models.sealed.feature import SealedFeature
from vfl.models.sealed.messages import Members
from vfl.models.sealed.pairs import half_columns, products_of
from vfl.models.sealed.products import AnchorProducts, OwnedProducts, needs_key
from vfl.models.sealed.twin import IntegerTwin
from vfl.product_terms import Pair
from vfl.protocols.opening import ZeroSumMasks

I64 = NDArray[np.int64]


@cache
def product_key(name: str) -> KeyHolder:
    """One key for each party in every test: making one takes long."""
    return slot_key()


def ranks(rows: int, count: int, name: str) -> NDArray[np.float64]:
    """Ranks of a period, from -1 to 1, a tenth of them missing."""
    draw = np.random.default_rng(int.from_bytes(seed(name)[:4], "big"))
    values = draw.permuted(np.tile(np.linspace(-1, 1, rows)[:, None], (1, count)), axis=0)
    return np.where(draw.random(values.shape) < 0.1, 0.0, values)


def halves_of(pairs: tuple[Pair, ...], rows: int) -> dict[tuple[str, str], I64]:
    """Of every pair and owner."""
    return {
        (pair.name, owner): half_columns(
            ranks(rows, pair.count, f"{pair.name}/{owner}"), FIXED, holder=owner == pair.holder
        )
        for pair in pairs
        for owner in pair.owners
    }


@dataclass
class ProductConsortium(Consortium):
    """With products; ``halves`` by pair and owner, random ones where none are given."""

    pairs: tuple[Pair, ...] = ()
    halves: Mapping[tuple[str, str], I64] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.halves = self.halves or halves_of(self.pairs, self.rows)

    @property
    def members(self) -> Members:
        counts = {name: x.shape[1] for name, x in self.features.items()}
        return Members("label", self.anchor, counts, self.own.shape[1], products=self.pairs)

    def weights(self) -> I64:
        more = [self.draw(p.holder, p.name, p.count) + self.draw("label", p.name, p.count) for p in self.pairs]
        return np.concatenate([super().weights(), *more])

    def twin(self, **options: Any) -> IntegerTwin:
        """The same network on columns that are the products in the clear: nothing else in it is new."""
        pooled = [*self.features.values(), self.own, products_of(self.pairs, self.halves)]
        return IntegerTwin(np.concatenate(pooled, axis=1), self.weights(), self.terms, FIXED, **options)

    def products(self, kind: type[OwnedProducts], me: str) -> Any:
        """A side's end, of a new session."""
        mine = {pair.name: self.halves[pair.name, me] for pair in self.pairs if me in pair.owners}
        key = product_key(me) if needs_key(me, self.members) else None
        return kind(me, self.members, mine, self.terms.embedding_width, self.stream(f"{me}/products"), key)

    def anchor_side(self, **options: Any) -> SealedAnchor:
        return super().anchor_side(products=self.products(AnchorProducts, self.anchor), **options)

    def feature_side(self, me: str, masks: ZeroSumMasks, **options: Any) -> SealedFeature:
        shared = {
            name: PRIME_RING.wrap(self.draw(me, name, count)) for name, count in self.members.products_held(me).items()
        }
        return super().feature_side(me, masks, products=self.products(OwnedProducts, me), shared=shared, **options)

    def opened_weights(self) -> I64:
        label = self.sides["label"]
        more = [
            PRIME_RING.signed(
                PRIME_RING.add(label.blocks[pair.name].weight, self.sides[pair.holder].blocks[pair.name].weight)
            )
            for pair in self.pairs
        ]
        return np.concatenate([super().opened_weights(), *more])


class ObservedProducts(Observed):
    """The twin's order of columns, products last."""

    def opened(self, name: str) -> tuple[I64, I64]:
        if not name.startswith("update/"):
            return super().opened(name)
        members = self.consortium.members
        parts: dict[str, tuple[I64, I64]] = {}
        for peer in members.everyone:
            counts = {peer: members.features.get(peer, 0)}
            counts |= {"label": members.own} if peer == members.anchor else {}
            counts |= members.products_held(peer)
            pair, start = self._pair(name, peer), 0
            for owner, count in counts.items():
                parts[owner] = pair[0][start : start + count], pair[1][start : start + count]
                start += count
        order = [*members.features, "label", *(pair.name for pair in members.products)]
        return tuple(np.concatenate([parts[owner][i] for owner in order]) for i in (0, 1))  # type: ignore[return-value]
