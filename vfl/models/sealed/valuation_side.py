"""What every side of a sealed network's valuation has in common: its columns, and its shares of the weights then."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow
from vfl.arithmetic.he import Evaluator
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.zero_supply import FreshZeros, ZeroSupply
from vfl.models.sealed.coalitions import Piece, valued_coalitions
from vfl.models.sealed.columns import Columns
from vfl.models.sealed.ends import TakenProducts
from vfl.models.sealed.messages import Members
from vfl.models.sealed.numbers import NumbersSide
from vfl.models.sealed.products import OwnedProducts
from vfl.models.sealed.records import Scored
from vfl.models.sealed.scales import EMBEDDING_BITS, WEIGHT_BITS
from vfl.protocols.spread import Workers
from vfl.terms import FixedPoint, SealedModel

__all__ = ["ValuationSide"]

U64 = NDArray[np.uint64]


class ValuationSide(NumbersSide):
    """What every side brings: members, terms, its small integers (rows, d), and what its training left of predictions.

    session: name of this attempt. stream: secret randomness, new in every attempt. supply, workers: of an evaluator,
    where its encryptions of zero are made ahead and its products computed. coalitions: whose numbers open; by default
    all but the full one's. products: its end of product columns, where it has one.
    """

    def __init__(
        self,
        members: Members,
        features: Columns,
        scored: Mapping[int, Scored],
        terms: SealedModel,
        fixed: FixedPoint,
        stream: SecretStream,
        *,
        session: str,
        supply: Callable[[Evaluator], ZeroSupply] = FreshZeros,
        workers: Workers | None = None,
        coalitions: Sequence[tuple[str, ...]] | None = None,
        products: OwnedProducts | None = None,
    ) -> None:
        self.members, self.terms, self.fixed = members, terms, fixed
        self._supply, self._workers, self._products = supply, workers, products
        self._features, self._scored, self._stream, self._session = features, scored, stream, session
        self.coalitions = tuple(valued_coalitions(tuple(members.features)) if coalitions is None else coalitions)
        self.score_bits, self.label_clip = 2 * EMBEDDING_BITS, terms.label_clip
        self.predicted = {step: kept.rows for step, kept in scored.items()}
        self._cut = fixed.feature_bits + WEIGHT_BITS - EMBEDDING_BITS

    def _weight(self, piece: Piece, owner: str) -> U64:
        return self._scored[piece.step].weights[self.members.head(owner)]

    def _local(self, pieces: Sequence[Piece], owner: str) -> U64:
        """What this side's own columns give with its own share of their weights, (rows, h + 1)."""
        return np.concatenate([PRIME_RING.matmul(self._features[p.rows], self._weight(p, owner)) for p in pieces])

    def _taken(self, number: int, pieces: Sequence[Piece], taken: TakenProducts) -> Flow[U64]:
        """This side's share of its columns times the label party's share of their weights."""
        width, parts = self.terms.embedding_width, []
        for place, piece in enumerate(pieces):
            prepared = taken.prepared(self._features[piece.rows], width, train=False)
            parts.append((yield from taken.product(f"value/{number}/{place}", prepared, width)))
        return np.concatenate(parts)

    def _multiplied(self, number: int, pieces: Sequence[Piece]) -> Flow[dict[str, U64]]:
        """This side's shares of what the products that it has a half of add to these rows' embeddings, by pair."""
        products, found = self._products, dict[str, list[U64]]()
        for place, piece in enumerate(pieces if products is not None else ()):
            assert products is not None
            name = f"value/{number}/{place}"
            yield from products.make(name, piece.rows, self._scored[piece.step].weights, train=False)
            for pair, part in (yield from products.forward(name)).items():
                found.setdefault(pair, []).append(part)
        return {pair: np.concatenate(parts) for pair, parts in found.items()}

    def _together(self, coalition: Sequence[str]) -> tuple[str, ...]:
        """Pairs whose products a coalition has: those of which both owners are members."""
        return tuple(pair.name for pair in self.members.products if set(pair.owners) <= set(coalition))

    def _with_products(self, part: U64, shares: Mapping[str, U64], coalition: Sequence[str]) -> U64:
        """A share of an embedding, and the products that a coalition has beside it."""
        for pair in self._together(coalition):
            part = PRIME_RING.add(part, shares[pair]) if pair in shares else part
        return part
