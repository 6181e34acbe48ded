"""A feature party's part in a run of sealed trees: as its anchor, which also counts what opens, or beside it."""

from __future__ import annotations

import hashlib
import os
from typing import Any, cast

from parties.agreement.sealed_terms import sealed_members
from parties.node.anchored_feature import AnchoredFeatureParty
from parties.node.checkpoints import CheckpointStore
from parties.node.context import RunContext
from parties.node.contribution_evidence import SentParts
from parties.node.openings import SCORES
from parties.node.sealed_records import SealedRecords
from parties.node.sealed_serving import masks_beside_anchor, sealed_records, serve_sealed
from parties.node.sealed_valuation import serve_numbers
from parties.node.tree_splits import SplitsFile
from parties.node.trees_label import LINEAR, candidates_purpose, linear_records
from parties.node.trees_records import AnchorTreesRecords
from parties.node.zero_supply import PreparedZeros
from psi.flow import Flow
from vfl.arithmetic.randomness import SecretStream
from vfl.models.sealed.columns import SealedColumns
from vfl.models.sealed.ends import coefficient_key
from vfl.models.sealed.numbers import AnchorNumbers
from vfl.models.sealed.valuation import FeatureValuation
from vfl.models.trees.anchor import TreesAnchor
from vfl.models.trees.feature import TreesFeature
from vfl.models.trees.linear_start import LinearStart, linear_model
from vfl.models.trees.stacked_valuation import AnchorStackedValuation, line_of
from vfl.models.trees.valuation import AnchorTreesValuation
from vfl.protocols.resume import offer_place
from vfl.tree_terms import TreesModel
from vfl.walk.refits import most_steps

__all__ = ["TreesFeatureParty", "serve_trees", "trees_records"]


class TreesFeatureParty(AnchoredFeatureParty):
    """Serves its columns to trees that are grown on shares."""

    def __init__(self, context: RunContext, entities: tuple[str, ...]) -> None:
        self._terms = cast("TreesModel", context.agreement.model)
        self._members = sealed_members(context.agreement)
        super().__init__(context, entities)

    def _kept_records(self) -> SealedRecords:
        return trees_records(self, self.context.checkpoints())

    def _served_through(self, name: str) -> Flow[None]:
        return serve_trees(self, self._terms, self._kept_records(), name)

    def _coalitions(self, name: str, sent: SentParts) -> Flow[None]:
        """The anchor's; it has had its shares of the trees' scores since training. Others have a part in a line."""
        context, records = self.context, self._kept_records()
        if isinstance(records, AnchorTreesRecords):
            trees = AnchorTreesValuation(
                self._members,
                len(self._values),
                records.predictions(),
                self._terms,
                SecretStream(os.urandom(32)),
                supply=PreparedZeros,
                workers=context.workers,
            )
            side: AnchorNumbers = trees
            if self._terms.init_score == "linear":
                side = AnchorStackedValuation(*self._line(records), session=name, trees=trees, **self._served_by)
            yield from serve_numbers(context.agreement, side, context.checkpoints(), self.numbers, sent.shares)
        elif self._terms.init_score == "linear":
            masks = yield from masks_beside_anchor(self)
            line = FeatureValuation(*self._line(records), session=name, **self._served_by)
            yield from line.serve(context.me, masks)

    @property
    def _served_by(self) -> dict[str, Any]:
        """What its products are computed with."""
        return {"supply": PreparedZeros, "workers": self.context.workers}

    def _line(self, records: SealedRecords) -> tuple[Any, ...]:
        """What its side of the line's valuation is made of, from what training left."""
        model, fixed = linear_model(self._terms), self.context.agreement.fixed_point
        kept = sealed_records(self, self.context.part_checkpoints(linear_records(""))).predictions()
        scored = line_of(records.predictions(), kept)
        columns = SealedColumns(self.values, model, fixed)
        return self._members, columns, scored, model, fixed, SecretStream(os.urandom(32))


def trees_records(party: AnchoredFeatureParty, store: CheckpointStore) -> SealedRecords:
    """The party's records of trees in ``store``: the anchor's have each level's numbers too."""
    columns = party.columns
    digest = hashlib.sha256(repr(columns.shape).encode() + columns.tobytes()).hexdigest()
    members = sealed_members(party.context.agreement)
    kind = AnchorTreesRecords if party.context.me == members.anchor else SealedRecords
    return kind(store, digest)


def _linear_start(party: AnchoredFeatureParty, terms: TreesModel, name: str, named: str) -> Flow[LinearStart]:
    """Serve the linear model that the trees begin at; what this party keeps of it, of which the anchor has shares."""
    model, fixed = linear_model(terms), party.context.agreement.fixed_point
    records = sealed_records(party, party.context.part_checkpoints(linear_records(named)))
    columns = SealedColumns(party.values, model, fixed)
    yield from serve_sealed(party, model, columns, records, f"{name}/{LINEAR}", holds=True)
    return LinearStart(records.predictions())


def serve_trees(
    party: AnchoredFeatureParty, terms: TreesModel, records: SealedRecords, name: str, named: str = ""
) -> Flow[None]:
    """The party's part in growing trees, in a session of this name, from where everyone can go on.

    named: which trees, where the run grows several models of them.

    Learns: as :meth:`vfl.models.trees.anchor.TreesAnchor.serve` or :meth:`vfl.models.trees.feature.TreesFeature.serve`.
    Leaks: as these.
    Model: semi-honest.
    Source: docs/protocols/trees.md#a-tree.
    """
    context, agreement, columns = party.context, party.context.agreement, party.columns
    members, book, linear = sealed_members(agreement), SplitsFile(context, named), None
    if terms.init_score == "linear":
        linear = yield from _linear_start(party, terms, name, named)
    place = yield from offer_place(agreement.label.party, records.places())
    resumed = records.go_on(place)
    candidates = SecretStream(context.secret(candidates_purpose(agreement.initial_purpose, named)))
    periods, valued = len(agreement.periods), agreement.openings.contribution == "moments"
    steps = most_steps(terms, periods, len(columns) // max(periods, 1))
    if isinstance(records, AnchorTreesRecords):
        anchor = TreesAnchor(
            members,
            columns,
            candidates,
            terms,
            coefficient_key(),
            party.budget,
            party.stream,
            session=f"{SCORES}{name}",
            most_steps=steps,
            supply=PreparedZeros,
            workers=context.workers,
            journal=records,
            resumed=resumed,
            valued=valued,
            book=book,
            linear=linear,
            deal=agreement.static is None,
        )
        yield from anchor.serve()
    else:
        other = TreesFeature(
            context.me,
            members,
            columns,
            candidates,
            terms,
            SecretStream(os.urandom(32)),
            session=name,
            most_steps=steps,
            supply=PreparedZeros,
            workers=context.workers,
            journal=records,
            resumed=resumed,
            book=book,
            deal=agreement.static is None,
        )
        yield from other.serve()
    records.finish()
