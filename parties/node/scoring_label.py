"""The label party's part in scoring new periods of a finished run, and the live records that come of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parties.agreement.daily_terms import DailyTerms, scored_periods
from parties.agreement.sealed_terms import sealed_members
from parties.data.agreed_rows import rows_of
from parties.factor.delivery import bundle_report, read_bundle, reading_keys, sealer, write_sealed
from parties.factor.live_files import live_files
from parties.factor.live_scores import live_folder, store_live
from parties.names import COORDINATOR
from parties.node.context import RunContext
from parties.node.kept_weights import KeptRun
from parties.node.recorded_outputs import check_own_columns
from parties.node.scoring_run import check_universe
from parties.node.sealed_records import LabelRecords
from psi.flow import Flow, Role
from vfl.factors.export import Signer
from vfl.models.sealed.columns import SealedColumns
from vfl.models.sealed.ends import coefficient_key, slot_key
from vfl.models.sealed.label import LabelKeys, SealedLabel
from vfl.models.sealed.scoring import scoring_steps, sealed_scoring
from vfl.models.sealed.walk import sealed_result
from vfl.protocols.delivery import deliver_bundle
from vfl.protocols.resume import agree_place

__all__ = ["LabelScoring"]

F64 = NDArray[np.float64]


class LabelScoring:
    """Opens the scores of the agreed new periods and appends them to the factor's live records."""

    def __init__(self, context: RunContext, kept: KeptRun, daily: DailyTerms) -> None:
        agreement, settings = context.agreement, context.settings
        assert settings.label is not None
        assert agreement.scores is not None
        self.context, self._kept, self._daily = context, kept, daily
        self._entities = kept.rows.ids
        self.panel = rows_of(agreement).labels(
            settings.party, settings.label, context.queries, context.data, self._entities
        )
        check_own_columns(context, self.panel.features, self._entities)
        self._first = agreement.periods.index(agreement.scores.first)
        check_universe(agreement, self.panel, settings.label.query)
        self.steps = scoring_steps(self.panel.universe, self._first)

    def train(self, attempt: int) -> None:
        """Open the scores, keep them as live records, and send them to the recipients."""
        self.context.perform("train", attempt, self._scored())

    def _records(self) -> LabelRecords:
        digest = hashlib.sha256(repr(self.panel.features.rows.shape).encode())
        for part in (self.panel.features.rows, self.panel.universe[self._first :]):
            digest.update(np.ascontiguousarray(part).data)
        numbers = [step.number for step in self.steps]
        return LabelRecords(self.context.checkpoints(), digest.hexdigest(), numbers, self.context.boundary)

    def _scored(self) -> Flow[None]:
        agreement, records = self.context.agreement, self._records()
        for period in scored_periods(agreement):
            self._kept.check_free(period, self.context.run_id, self._daily.scores)
        place = yield from agree_place(tuple(party.name for party in agreement.features), records.places())
        resumed = records.resumed(place)
        source = SealedLabel(
            sealed_members(agreement),
            SealedColumns(self.panel.features.rows, self._kept.terms, agreement.fixed_point),
            self._kept.weights,
            self._kept.terms,
            agreement.fixed_point,
            LabelKeys(coefficient_key(), slot_key()),
            session="score",
            journal=records,
            resumed=resumed,
        )
        scores = yield from sealed_scoring(source, self.steps, resumed=resumed)
        records.finish()
        files = self._stored(scores)
        for period in scored_periods(agreement):
            self._kept.count(period, self.context.run_id, self._daily.scores)
        self._left_for_readers(files)
        yield from self._sent(files)

    def _stored(self, scores: Mapping[int, F64]) -> Mapping[str, bytes]:
        """The session's live records, as they were written if they were: none is ever written again."""
        context = self.context
        folder = live_folder(context.folder, context.agreement)
        if folder.is_dir():
            return read_bundle(folder)
        identity = context.identity
        signer = Signer(identity.name, bytes.fromhex(identity.public_key), identity.key.sign)
        shown = sealed_result(self.steps, self.panel, scores).scores
        files = live_files(context.agreement, self._entities, shown, datetime.now(UTC), self._daily, signer)
        store_live(context.folder, context.agreement, files)
        context.audit.append("live-scores", context.run_id, {"rows": int(np.isfinite(shown).sum())})
        return files

    def _left_for_readers(self, files: Mapping[str, bytes]) -> None:
        """A sealed file for each agreed reader without a node."""
        context, agreement = self.context, self.context.agreement
        if agreement.readers:
            folder = context.folder / "sealed"
            write_sealed(folder, agreement, context.identity, agreement.readers, files, context.audit)

    def deliver(self, attempt: int) -> dict[str, Any]:
        """Send the records to the coordinator, where it is a recipient; what the coordinator is told of them."""
        context, agreement = self.context, self.context.agreement
        folder = live_folder(context.folder, agreement)
        files = read_bundle(folder)
        keys = reading_keys(agreement, context.roster or {}, only=(COORDINATOR,))
        sealed = sealer(agreement, context.identity, keys, files)
        context.perform("export", attempt, deliver_bundle({COORDINATOR: Role.COORDINATOR}, files, sealed))
        return bundle_report(files, folder)

    def _sent(self, files: Mapping[str, bytes]) -> Flow[None]:
        """To every recipient that has a part in the session; the coordinator is sent them afterwards."""
        context, agreement = self.context, self.context.agreement
        names = {party.name for party in agreement.features}
        targets = {name: Role.FEATURE for name in agreement.recipients if name in names}
        if not targets:
            return
        keys = reading_keys(agreement, context.roster or {}, only=tuple(targets))
        yield from deliver_bundle(targets, dict(files), sealer(agreement, context.identity, keys, files))
