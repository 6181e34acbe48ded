"""A feature party's part in a run of an ensemble: in its network, then in its trees."""

from __future__ import annotations

from typing import cast

from parties.errors import AgreementError
from parties.node.anchored_feature import AnchoredFeatureParty
from parties.node.contribution_evidence import SentParts
from parties.node.ensemble_label import NETWORK, TREES
from parties.node.sealed_records import SealedRecords
from parties.node.sealed_serving import sealed_records, serve_sealed
from parties.node.trees_feature import serve_trees, trees_records
from psi.flow import Flow
from vfl.models.sealed.columns import SealedColumns
from vfl.terms import EnsembleModel

__all__ = ["EnsembleFeatureParty"]


class EnsembleFeatureParty(AnchoredFeatureParty):
    """Serves its columns to a network and to trees, one after the other; its anchor counts the scores of both."""

    def _kept_records(self) -> SealedRecords:
        """Of the trees, which come last: with them everything is finished."""
        return trees_records(self, self.context.part_checkpoints(TREES))

    def _served_through(self, name: str) -> Flow[None]:
        agreement = self.context.agreement
        network, trees = cast("EnsembleModel", agreement.model).parts
        columns = SealedColumns(self.values, network, agreement.fixed_point)
        records = sealed_records(self, self.context.part_checkpoints(NETWORK))
        yield from serve_sealed(self, network, columns, records, f"{name}/{NETWORK}")
        yield from serve_trees(self, trees, self._kept_records(), f"{name}/{TREES}")

    def _coalitions(self, name: str, sent: SentParts) -> Flow[None]:
        raise AgreementError("an ensemble values no coalitions: its agreement says so")
