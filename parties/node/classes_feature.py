"""A feature party's part in a run on static data of several classes: in the model of each, one after the other."""

from __future__ import annotations

from typing import cast

from parties.errors import AgreementError
from parties.node.anchored_feature import AnchoredFeatureParty
from parties.node.contribution_evidence import SentParts
from parties.node.sealed_records import SealedRecords
from parties.node.sealed_serving import sealed_records, serve_sealed
from parties.node.trees_feature import serve_trees, trees_records
from psi.flow import Flow
from vfl.models.classes.rest import class_name
from vfl.models.sealed.columns import SealedColumns
from vfl.terms import SealedModel
from vfl.tree_terms import TreesModel

__all__ = ["ClassesFeatureParty"]


class ClassesFeatureParty(AnchoredFeatureParty):
    """Serves its columns to a model of each class against the rest; its anchor counts the scores of all of them."""

    def _kept_records(self) -> SealedRecords:
        """Of the last class: with it everything is finished."""
        static = self.context.agreement.static
        assert static is not None
        return self._part_records(static.models - 1)

    def _part_records(self, number: int) -> SealedRecords:
        store = self.context.part_checkpoints(class_name(number))
        if isinstance(self.context.agreement.model, TreesModel):
            return trees_records(self, store)
        return sealed_records(self, store)

    def _served_through(self, name: str) -> Flow[None]:
        agreement = self.context.agreement
        assert agreement.static is not None
        for number in range(agreement.static.models):
            one, records = class_name(number), self._part_records(number)
            if isinstance(agreement.model, TreesModel):
                yield from serve_trees(self, agreement.model, records, f"{name}/{one}", one)
                continue
            terms = cast("SealedModel", agreement.model)
            columns = SealedColumns(self.values, terms, agreement.fixed_point)
            yield from serve_sealed(self, terms, columns, records, f"{name}/{one}")

    def _coalitions(self, name: str, sent: SentParts) -> Flow[None]:
        raise AgreementError("a run of several classes values no coalitions: its agreement says so")
