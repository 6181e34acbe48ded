"""A feature party's part in a run of an ensemble: in each of its members, one after the other."""

from __future__ import annotations

from typing import cast

from parties.errors import AgreementError
from parties.node.anchored_feature import AnchoredFeatureParty
from parties.node.contribution_evidence import SentParts
from parties.node.sealed_records import SealedRecords
from parties.node.sealed_serving import sealed_records, serve_sealed
from parties.node.trees_feature import serve_trees, trees_records
from psi.flow import Flow
from vfl.models.sealed.columns import SealedColumns
from vfl.terms import EnsembleModel
from vfl.tree_terms import TreesModel

__all__ = ["EnsembleFeatureParty"]


class EnsembleFeatureParty(AnchoredFeatureParty):
    """Serves its columns to several models, one after the other; its anchor counts the scores of all of them."""

    @property
    def _ensemble(self) -> EnsembleModel:
        return cast("EnsembleModel", self.context.agreement.model)

    def _kept_records(self) -> SealedRecords:
        """Of the member that comes last: with it everything is finished."""
        return self._part_records(self._ensemble.names[-1])

    def _part_records(self, name: str) -> SealedRecords:
        store = self.context.part_checkpoints(name)
        return trees_records(self, store) if name == "trees" else sealed_records(self, store)

    def _served_through(self, name: str) -> Flow[None]:
        fixed = self.context.agreement.fixed_point
        for one, part in self._ensemble.members.items():
            if isinstance(part, TreesModel):
                yield from serve_trees(self, part, self._part_records(one), f"{name}/{one}")
            else:
                columns = SealedColumns(self.values, part, fixed)
                yield from serve_sealed(self, part, columns, self._part_records(one), f"{name}/{one}")

    def _coalitions(self, name: str, sent: SentParts) -> Flow[None]:
        raise AgreementError("an ensemble values no coalitions: its agreement says so")
