"""What a feature party does alike in every run on shares to the end, with an anchor that counts what opens."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from parties.errors import AgreementError
from parties.node.context import RunContext
from parties.node.contribution_evidence import SentParts
from parties.node.feature import FeatureParty
from parties.node.openings import NUMBERS
from parties.node.sealed_records import SealedRecords
from psi.flow import Flow
from vfl.arithmetic.randomness import SecretStream
from vfl.protocols.committed_values import hear_basis
from vfl.protocols.contribution_record import hear_contributions, tell_rows
from vfl.protocols.opening_budget import OpeningBudget

__all__ = ["AnchoredFeatureParty"]


class AnchoredFeatureParty(FeatureParty):
    """Serves its columns to a model of which only scores open, whatever its kind."""

    def __init__(self, context: RunContext, entities: tuple[str, ...]) -> None:
        super().__init__(context, entities)
        store, run_id, agreement = context.openings, context.run_id, context.agreement
        self.numbers = OpeningBudget(
            len(self._values),
            agreement.row_limit,
            others=store.others(run_id, entities, agreement.periods, 1, counted="numbers"),
            alone=store.alone,
            history=[charge for charge in store.history(run_id) if charge.label.startswith(NUMBERS)],
            record=self._record,
            done="valued",
            closed=self._closed,
        )

    @property
    def columns(self) -> NDArray[np.float64]:
        """Its columns for trees, NaN where a value is missing."""
        return self._values if self._missing is None else np.where(self._missing, np.nan, self._values)

    @property
    def values(self) -> NDArray[np.float64]:
        """Its columns, what is missing filled in."""
        return self._values

    @property
    def halves(self) -> Mapping[str, NDArray[np.int64]]:
        """Its halves (rows, count) of product columns, by pair; only a sealed network has any."""
        return {}

    @property
    def stream(self) -> SecretStream:
        """Secret randomness, new in every attempt."""
        return self._stream

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

    def _value(self, name: str) -> Flow[None]:
        label = self.context.agreement.label.party
        sent = SentParts(name, (yield from hear_basis(label)))
        yield from self._coalitions(name, sent)
        sent.log(self.context)
        yield from tell_rows(label, self._in_time())
        yield from hear_contributions(label, self._keep)

    @abstractmethod
    def _kept_records(self) -> SealedRecords:
        """This node's records of the run."""

    @abstractmethod
    def _served_through(self, name: str) -> Flow[None]:
        """Its part in one training session of this name, from where everyone can go on."""

    @abstractmethod
    def _coalitions(self, name: str, sent: SentParts) -> Flow[None]:
        """Its part in what opens of coalitions, in a session of this name."""
