"""A feature party's part in a sealed run: as its anchor, which also counts the scores that open, or beside it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from parties.agreement.sealed_terms import sealed_members
from parties.node.anchored_feature import AnchoredFeatureParty
from parties.node.context import RunContext
from parties.node.contribution_evidence import SentParts
from parties.node.product_halves import own_halves
from parties.node.sealed_records import SealedRecords, last_weights
from parties.node.sealed_search import kept_choice, serve_search
from parties.node.sealed_serving import masks_beside_anchor, product_ends, sealed_records, serve_sealed
from parties.node.sealed_valuation import serve_numbers
from parties.node.zero_supply import PreparedZeros
from psi.flow import Flow
from vfl.arithmetic.randomness import SecretStream
from vfl.models.sealed.columns import Columns, SealedColumns
from vfl.models.sealed.products import AnchorProducts, OwnedProducts
from vfl.models.sealed.records import scored_in
from vfl.models.sealed.valuation import AnchorValuation, FeatureValuation
from vfl.terms import SealedModel

__all__ = ["SealedFeatureParty"]

U64 = NDArray[np.uint64]


class SealedFeatureParty(AnchoredFeatureParty):
    """Serves its columns to a network that is trained on shares to the end."""

    _halves: Mapping[str, NDArray[np.int64]] = MappingProxyType({})

    def __init__(self, context: RunContext, entities: tuple[str, ...]) -> None:
        assert isinstance(context.agreement.model, SealedModel)
        self._terms: SealedModel = context.agreement.model
        self._members = sealed_members(context.agreement)
        super().__init__(context, entities)
        self._halves = own_halves(context, entities)

    @property
    def halves(self) -> Mapping[str, NDArray[np.int64]]:
        return self._halves

    def _kept_records(self, trial: int | None = None) -> SealedRecords:
        store = self.context.checkpoints() if trial is None else self.context.trial_checkpoints(trial)
        return sealed_records(self, store)

    def _model(self) -> SealedModel:
        """Of the run's own training: the agreed one, or the configuration that this node was told was chosen."""
        tried = self.context.agreement.configurations
        return tried[kept_choice(self.context.checkpoints(), len(tried))] if tried else self._terms

    def last_weights(self) -> tuple[SealedModel, Mapping[str, U64]]:
        """The model of the result and this side's shares of its last weights, by owner, once training has ended."""
        return self._model(), last_weights(self._kept_records())

    def _served_through(self, name: str) -> Flow[None]:
        agreement = self.context.agreement
        if agreement.configurations:
            yield from serve_search(agreement, self.context.checkpoints(), partial(self._trial, name))
        terms = self._model()
        columns = SealedColumns(self._values, terms, agreement.fixed_point)
        yield from serve_sealed(self, terms, columns, self._kept_records(), name)

    def _earlier_rows(self) -> NDArray[np.float64]:
        """The values of the periods before the first reported one."""
        agreement = self.context.agreement
        return self._values[: agreement.reported_from * (len(self._values) // len(agreement.periods))]

    def _trial(self, name: str, number: int) -> Flow[None]:
        """One configuration on the rows before the first reported period, which are all that a trial is shown."""
        agreement, session = self.context.agreement, f"{name}/trial-{number}"
        terms, records = agreement.configurations[number], self._kept_records(number)
        columns = SealedColumns(self._earlier_rows(), terms, agreement.fixed_point)
        yield from serve_sealed(self, terms, columns, records, session, opens=False)
        everyone = (tuple(self._members.features),)
        side = self._valuation(f"{session}/value", terms, columns, records, everyone)
        store = self.context.trial_checkpoints(number)
        yield from self._serve_valuation(
            side, lambda anchor: serve_numbers(agreement, anchor, store, self.numbers, trial=number)
        )

    def _coalitions(self, name: str, sent: SentParts) -> Flow[None]:
        agreement, terms = self.context.agreement, self._model()
        columns = SealedColumns(self._values, terms, agreement.fixed_point)
        side, store = self._valuation(name, terms, columns, self._kept_records()), self.context.checkpoints()
        yield from self._serve_valuation(
            side, lambda anchor: serve_numbers(agreement, anchor, store, self.numbers, sent.shares)
        )

    def _serve_valuation(
        self, side: AnchorValuation | FeatureValuation, as_anchor: Callable[[AnchorValuation], Flow[None]]
    ) -> Flow[None]:
        """Its part in opening numbers: the anchor's, or that of a party beside it."""
        if isinstance(side, AnchorValuation):
            yield from as_anchor(side)
        else:
            masks = yield from masks_beside_anchor(self)
            yield from side.serve(self.context.me, masks)

    def _valuation(
        self,
        name: str,
        terms: SealedModel,
        columns: Columns,
        records: SealedRecords,
        coalitions: Sequence[tuple[str, ...]] | None = None,
    ) -> AnchorValuation | FeatureValuation:
        """Its side of opening numbers, from what the training of ``records`` left."""
        anchor = self.context.me == self._members.anchor
        kind = AnchorValuation if anchor else FeatureValuation
        return kind(
            self._members,
            columns,
            scored_in(list(records.predictions().values())),
            terms,
            self.context.agreement.fixed_point,
            SecretStream(os.urandom(32)),
            session=name,
            supply=PreparedZeros,
            workers=self.context.workers,
            coalitions=coalitions,
            products=product_ends(self, terms, len(columns), AnchorProducts if anchor else OwnedProducts),
        )
