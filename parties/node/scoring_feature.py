"""A feature party's part in scoring new periods of a finished run: its kept shares, its data of today, its count."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from parties.agreement.daily_terms import DailyTerms
from parties.factor.delivery import opener
from parties.factor.live_scores import store_live
from parties.factor.sealing import reading_key
from parties.node.context import RunContext
from parties.node.kept_weights import KeptRun
from parties.node.sealed_feature import SealedFeatureParty
from parties.node.sealed_serving import KeptShares, serve_sealed
from psi.flow import Flow, Role
from vfl.models.sealed.columns import SealedColumns
from vfl.protocols.delivery import receive_bundle
from vfl.protocols.opening_budget import Charge

__all__ = ["ScoringFeatureParty"]


class ScoringFeatureParty(SealedFeatureParty):
    """Serves its columns of new periods to the weights that were kept; as the anchor it counts before it opens."""

    def __init__(self, context: RunContext, kept: KeptRun, daily: DailyTerms) -> None:
        self._kept_run, self._daily = kept, daily
        super().__init__(context, kept.rows.ids)

    @property
    def _first(self) -> int:
        """The first row of a new period."""
        agreement = self.context.agreement
        assert agreement.scores is not None
        return agreement.periods.index(agreement.scores.first) * self._entities

    @property
    def _closed(self) -> NDArray[np.bool_]:
        """Rows of the trained run's periods, and of those scored before, never open here."""
        flags: NDArray[np.bool_] = np.arange(len(self._values)) < self._first
        return flags

    def _record(self, charge: Charge) -> None:
        """Count the periods among those that were agreed, then the opening, durably, before it is made."""
        for period in np.unique(charge.rows // self._entities):
            self._count(self.context.agreement.periods[int(period)])
        super()._record(charge)

    def _count(self, period: str) -> None:
        self._kept_run.count(period, self.context.run_id, self._daily.scores)

    def train(self, attempt: int) -> None:
        """Serve predictions until the label party is done; a recipient also takes the scores in."""
        self.context.perform("train", attempt, self._served_through(f"train-{attempt}"))

    def _served_through(self, name: str) -> Flow[None]:
        context, kept = self.context, self._kept_run
        columns = SealedColumns(self._values, kept.terms, context.agreement.fixed_point)
        shares = KeptShares(kept.weights, self._first)
        yield from serve_sealed(self, kept.terms, columns, self._kept_records(), name, kept=shares)
        for period in context.agreement.periods[self._first // self._entities :]:
            self._count(period)
        if context.me in context.agreement.recipients:
            label = context.agreement.label.party
            mine = opener(context.agreement, context.me, reading_key(context.identity.key))
            files = yield from receive_bundle(label, Role.FEATURE, mine)
            store_live(context.folder, context.agreement, files)
