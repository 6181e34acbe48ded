"""A feature party's part in a sealed run: as its anchor, which also counts the scores that open, or beside it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from parties.agreement.sealed_terms import sealed_members
from parties.node.anchored_feature import AnchoredFeatureParty
from parties.node.context import RunContext
from parties.node.contribution_evidence import SentParts
from parties.node.feature import FeatureParty
from parties.node.openings import SCORES
from parties.node.sealed_records import SealedRecords
from parties.node.sealed_search import kept_choice, serve_search
from parties.node.sealed_valuation import serve_numbers
from parties.node.trees_feature import TreesFeatureParty
from parties.node.zero_supply import PreparedZeros
from psi.flow import Flow
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.arithmetic.randomness import SecretStream
from vfl.models.sealed.anchor import SealedAnchor
from vfl.models.sealed.columns import Columns, SealedColumns
from vfl.models.sealed.ends import coefficient_key
from vfl.models.sealed.feature import SealedFeature
from vfl.models.sealed.initial import sealed_start
from vfl.models.sealed.records import StepRecord, scored_in
from vfl.models.sealed.valuation import AnchorValuation, FeatureValuation
from vfl.protocols.opening import ZeroSumMasks, agree_masks
from vfl.protocols.resume import offer_place
from vfl.terms import SealedModel
from vfl.tree_terms import TreesModel

__all__ = ["SealedFeatureParty", "feature_party"]

U64 = NDArray[np.uint64]


class SealedFeatureParty(AnchoredFeatureParty):
    """Serves its columns to a network that is trained on shares to the end."""

    def __init__(self, context: RunContext, entities: tuple[str, ...]) -> None:
        assert isinstance(context.agreement.model, SealedModel)
        self._terms: SealedModel = context.agreement.model
        self._members = sealed_members(context.agreement)
        super().__init__(context, entities)

    def _kept_records(self, trial: int | None = None) -> SealedRecords:
        digest = hashlib.sha256(repr(self._values.shape).encode())
        digest.update(np.ascontiguousarray(self._values).data)
        store = self.context.checkpoints() if trial is None else self.context.trial_checkpoints(trial)
        return SealedRecords(store, digest.hexdigest())

    def _model(self) -> SealedModel:
        """Of the run's own training: the agreed one, or the configuration that this node was told was chosen."""
        tried = self.context.agreement.configurations
        return tried[kept_choice(self.context.checkpoints(), len(tried))] if tried else self._terms

    def _served_through(self, name: str) -> Flow[None]:
        agreement = self.context.agreement
        if agreement.configurations:
            yield from serve_search(agreement, self.context.checkpoints(), partial(self._trial, name))
        terms = self._model()
        columns = SealedColumns(self._values, terms, agreement.fixed_point)
        yield from self._trained(name, terms, columns, self._kept_records())

    def _trained(
        self, name: str, terms: SealedModel, columns: Columns, records: SealedRecords, *, opens: bool = True
    ) -> Flow[None]:
        """One training session, from where everyone can go on."""
        place = yield from offer_place(self.context.agreement.label.party, records.places())
        resumed = records.go_on(place)
        serve = self._as_anchor if self.context.me == self._members.anchor else self._beside_anchor
        yield from serve(name, terms, columns, records, resumed, opens)
        records.finish()

    def _earlier_rows(self) -> NDArray[np.float64]:
        """The values of the periods before the first reported one."""
        agreement = self.context.agreement
        return self._values[: agreement.reported_from * (len(self._values) // len(agreement.periods))]

    def _trial(self, name: str, number: int) -> Flow[None]:
        """One configuration on the rows before the first reported period, which are all that a trial is shown."""
        agreement, session = self.context.agreement, f"{name}/trial-{number}"
        terms, records = agreement.configurations[number], self._kept_records(number)
        columns = SealedColumns(self._earlier_rows(), terms, agreement.fixed_point)
        yield from self._trained(session, terms, columns, records, opens=False)
        everyone = (tuple(self._members.features),)
        side = self._valuation(f"{session}/value", terms, columns, records, everyone)
        store = self.context.trial_checkpoints(number)
        yield from self._serve_valuation(
            side, lambda anchor: serve_numbers(agreement, anchor, store, self.numbers, trial=number)
        )

    def _as_anchor(
        self,
        name: str,
        terms: SealedModel,
        columns: Columns,
        records: SealedRecords,
        resumed: StepRecord | None,
        opens: bool,
    ) -> Flow[None]:
        members = self._members
        weights = self._initial_shares(SealedAnchor.columns_held(members), terms)
        anchor = SealedAnchor(
            members,
            columns,
            weights,
            terms,
            self.context.agreement.fixed_point,
            coefficient_key(),
            self.budget,
            self._stream,
            session=f"{SCORES}{name}",
            supply=PreparedZeros,
            workers=self.context.workers,
            journal=records,
            resumed=resumed,
            opens=opens,
        )
        yield from anchor.serve()

    def _beside_anchor(
        self,
        name: str,
        terms: SealedModel,
        columns: Columns,
        records: SealedRecords,
        resumed: StepRecord | None,
        opens: bool,
    ) -> Flow[None]:
        context, members = self.context, self._members
        masks = yield from self._masks_beside_anchor()
        party = SealedFeature(
            context.me,
            members,
            columns,
            self._initial_shares({context.me: members.features[context.me]}, terms)[context.me],
            terms,
            context.agreement.fixed_point,
            masks,
            SecretStream(os.urandom(32)),
            session=name,
            supply=PreparedZeros,
            workers=context.workers,
            journal=records,
            resumed=resumed,
            opens=opens,
        )
        yield from party.serve()

    def _initial_shares(self, held: Mapping[str, int], terms: SealedModel) -> dict[str, U64]:
        """This side's part of the first weights of these blocks."""
        purpose, total = self.context.agreement.initial_purpose, self._members.columns
        return {
            owner: sealed_start(self.context.secret(f"sealed/{purpose}/{owner}"), count, terms, total)
            for owner, count in held.items()
        }

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
            masks = yield from self._masks_beside_anchor()
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
        kind = AnchorValuation if self.context.me == self._members.anchor else FeatureValuation
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
        )

    def _masks_beside_anchor(self) -> Flow[ZeroSumMasks]:
        """Of this attempt: what is repeated after a crash meets no old mask."""
        me, others = self.context.me, self._members.others
        return agree_masks(me, others, self.context.run_id, PRIME_RING, self._stream)


def feature_party(context: RunContext, entities: tuple[str, ...]) -> FeatureParty:
    """A feature party's part in a run of the agreed kind of model."""
    match context.agreement.model:
        case SealedModel():
            return SealedFeatureParty(context, entities)
        case TreesModel():
            return TreesFeatureParty(context, entities)
        case _:
            return FeatureParty(context, entities)
