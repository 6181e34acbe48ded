"""A feature party's part in a run of sealed trees: as its anchor, which also counts what opens, or beside it."""

from __future__ import annotations

import hashlib
import os
from typing import cast

import numpy as np
from numpy.typing import NDArray

from parties.agreement.sealed_terms import sealed_members
from parties.node.anchored_feature import AnchoredFeatureParty
from parties.node.context import RunContext
from parties.node.contribution_evidence import SentParts
from parties.node.openings import SCORES
from parties.node.sealed_records import SealedRecords
from parties.node.sealed_valuation import serve_numbers
from parties.node.tree_splits import SplitsFile
from parties.node.trees_label import candidates_purpose
from parties.node.trees_records import AnchorTreesRecords
from parties.node.zero_supply import PreparedZeros
from psi.flow import Flow
from vfl.arithmetic.randomness import SecretStream
from vfl.models.sealed.ends import coefficient_key, slot_key
from vfl.models.sealed.label import LabelKeys
from vfl.models.trees.anchor import TreesAnchor
from vfl.models.trees.feature import TreesFeature
from vfl.models.trees.valuation import AnchorTreesValuation
from vfl.protocols.resume import offer_place
from vfl.tree_terms import TreesModel
from vfl.walk.refits import most_steps

__all__ = ["TreesFeatureParty"]

F64 = NDArray[np.float64]


class TreesFeatureParty(AnchoredFeatureParty):
    """Serves its columns to trees that are grown on shares."""

    def __init__(self, context: RunContext, entities: tuple[str, ...]) -> None:
        self._terms = cast("TreesModel", context.agreement.model)
        self._members = sealed_members(context.agreement)
        super().__init__(context, entities)

    @property
    def _columns(self) -> F64:
        """Its columns, NaN where a value is missing."""
        return self._values if self._missing is None else np.where(self._missing, np.nan, self._values)

    def _kept_records(self) -> SealedRecords:
        digest = hashlib.sha256(repr(self._values.shape).encode() + self._columns.tobytes()).hexdigest()
        kind = AnchorTreesRecords if self.context.me == self._members.anchor else SealedRecords
        return kind(self.context.checkpoints(), digest)

    def _served_through(self, name: str) -> Flow[None]:
        context, agreement, records = self.context, self.context.agreement, self._kept_records()
        place = yield from offer_place(agreement.label.party, records.places())
        resumed = records.go_on(place)
        candidates = SecretStream(context.secret(candidates_purpose(agreement.initial_purpose)))
        periods = len(agreement.periods)
        steps = most_steps(self._terms, periods, len(self._values) // max(periods, 1))
        if isinstance(records, AnchorTreesRecords):
            anchor = TreesAnchor(
                self._members,
                self._columns,
                candidates,
                self._terms,
                LabelKeys(coefficient_key(), slot_key()),
                self.budget,
                self._stream,
                session=f"{SCORES}{name}",
                most_steps=steps,
                supply=PreparedZeros,
                workers=context.workers,
                journal=records,
                resumed=resumed,
                valued=agreement.openings.contribution == "moments",
                book=SplitsFile(context),
            )
            yield from anchor.serve()
        else:
            party = TreesFeature(
                context.me,
                self._members,
                self._columns,
                candidates,
                self._terms,
                SecretStream(os.urandom(32)),
                session=name,
                most_steps=steps,
                supply=PreparedZeros,
                workers=context.workers,
                journal=records,
                resumed=resumed,
                valued=agreement.openings.contribution == "moments",
                book=SplitsFile(context),
            )
            yield from party.serve()
        records.finish()

    def _coalitions(self, name: str, sent: SentParts) -> Flow[None]:
        """The anchor's; it has had its shares of the coalitions' scores since training. Others have no part."""
        context, records = self.context, self._kept_records()
        if isinstance(records, AnchorTreesRecords):
            side = AnchorTreesValuation(
                self._members,
                len(self._values),
                records.predictions(),
                self._terms,
                SecretStream(os.urandom(32)),
                supply=PreparedZeros,
                workers=context.workers,
            )
            yield from serve_numbers(context.agreement, side, context.checkpoints(), self.numbers, sent.shares)
