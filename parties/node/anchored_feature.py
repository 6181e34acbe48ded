"""What a feature party does alike in every run on shares to the end, with an anchor that counts what opens."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from parties.errors import AgreementError
from parties.node.feature import FeatureParty
from parties.node.sealed_records import SealedRecords
from psi.flow import Flow

__all__ = ["AnchoredFeatureParty"]


class AnchoredFeatureParty(FeatureParty):
    """Serves its columns to a model of which only scores open, whatever its kind."""

    def _shown_before(
        self, entities: tuple[str, ...], periods: tuple[str, ...]
    ) -> Callable[[], NDArray[np.int64] | None]:
        """Scores of these rows that this node let open in other runs."""
        return self.context.openings.others(self.context.run_id, entities, periods, 1, counted="scores")

    def train(self, attempt: int) -> None:
        """Serve the model until the label party is done."""
        self.context.perform("train", attempt, self._committed(self._served_through(f"train-{attempt}")))

    def restore(self) -> None:
        """Take up what training left, after a restart. Raises :class:`AgreementError` when it cannot be."""
        if not self._kept_records().finished:
            raise AgreementError("what training left is not among this node's records: propose the run again")

    @abstractmethod
    def _kept_records(self) -> SealedRecords:
        """This node's records of the run."""

    @abstractmethod
    def _served_through(self, name: str) -> Flow[None]:
        """Its part in one training session of this name, from where everyone can go on."""
