"""A feature party's part in training and valuation: it serves its features sealed, and counts every opening."""

from __future__ import annotations

import hashlib
import os

import numpy as np
from numpy.typing import NDArray

from parties.audit.record import opening_entry
from parties.data.calendar import calendar_of
from parties.data.panel import build_feature_panel
from parties.errors import AgreementError
from parties.node.checkpoints import ServedRecords
from parties.node.context import RunContext
from parties.node.earlier_runs import check_begun
from parties.node.zero_supply import ZerosAhead
from psi.flow import Flow
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.ring import Ring, encode_features
from vfl.models.ridge.basis import secret_rotation
from vfl.models.ridge.feature import serve_linear, serve_warm_start
from vfl.models.split.feature import serve_source
from vfl.models.split.initial import initial_share, turned_columns
from vfl.protocols.attribution import serve_attribution
from vfl.protocols.coalitions import serve_coalitions
from vfl.protocols.opening import ZeroSumMasks, agree_masks
from vfl.protocols.opening_budget import Charge, OpeningBudget
from vfl.protocols.resume import START, offer_place
from vfl.protocols.session import Kept, ServedSource
from vfl.terms import RidgeModel, SplitModel

__all__ = ["FeatureParty"]


class FeatureParty:
    """Holds what one run needs between its phases: the panel, the weight share, the masks, the budget."""

    def __init__(self, context: RunContext, entities: tuple[str, ...]) -> None:
        self.context = context
        agreement = context.agreement
        calendar = calendar_of(agreement.calendar)
        panel = build_feature_panel(context.settings.party, context.queries, context.data, calendar, entities)
        self._values = panel.rows
        self._entities = len(entities)
        self.coverage = float(panel.covered.mean())
        self._stream = SecretStream(os.urandom(32))
        self._ring = Ring(agreement.fixed_point.ring_bits)
        store, run_id = context.openings, context.run_id
        with store.alone:
            # checked when it was proposed too, but others may have begun since
            check_begun(agreement, context.folder, store.begun())
            store.begin(run_id, entities, calendar.periods)
        self.budget = OpeningBudget(
            len(self._values),
            agreement.row_limit,
            others=store.others(run_id, entities, calendar.periods, agreement.model.embedding_width),
            alone=store.alone,
            history=store.history(run_id),
            record=self._record,
        )
        self._served: ServedSource | None = None

    def _record(self, charge: Charge) -> None:
        """Count and log an opening, durably, before it is made."""
        context = self.context
        context.openings.record(context.run_id, charge)
        context.audit.append("opening", context.run_id, opening_entry(charge, context.secret("audit/rows")))

    @property
    def _parties(self) -> tuple[str, ...]:
        return tuple(p.name for p in self.context.agreement.features)

    def train(self, attempt: int) -> None:
        """Serve the source layer until the label party is done."""
        flow = self._train(f"train-{attempt}")
        self._served = self.context.perform("train", attempt, flow)

    def restore(self) -> None:
        """Take up what training left, after a restart. Raises :class:`AgreementError` when it cannot be."""
        found = self._records().finished()
        if found is None:
            raise AgreementError("what training left is not among this node's records: propose the run again")
        share, predicted = found
        rows = np.concatenate([record.rows for record in predicted])
        self._served = ServedSource(share, Kept(rows, np.concatenate([record.part for record in predicted])))

    def _records(self, trial: int | None = None) -> ServedRecords:
        digest = hashlib.sha256(repr(self._values.shape).encode() + self._values.tobytes()).hexdigest()
        store = self.context.checkpoints() if trial is None else self.context.trial_checkpoints(trial)
        return ServedRecords(store, digest)

    def _train(self, session: str) -> Flow[ServedSource]:
        agreement = self.context.agreement
        masks = yield from agree_masks(self.context.me, self._parties, self.context.run_id, self._ring, self._stream)
        if isinstance(agreement.model, RidgeModel):
            return (yield from self._serve_ridge(session, agreement.model, masks))
        for trial in range(agreement.search.source_trials if agreement.search is not None else 0):
            yield from self._serve_split(f"{session}/trial-{trial}", agreement.model, masks, self._records(trial))
            # steps are numbered anew, so that no mask may go on
            masks = yield from agree_masks(
                self.context.me, self._parties, self.context.run_id, self._ring, self._stream
            )  # fmt: skip
        return (yield from self._serve_split(session, agreement.model, masks, self._records()))

    def _serve_ridge(self, session: str, terms: RidgeModel, masks: ZeroSumMasks) -> Flow[ServedSource]:
        agreement, records = self.context.agreement, self._records()
        place = yield from offer_place(agreement.label.party, records.places())
        resumed, predicted = records.go_on(place)
        served = yield from serve_linear(
            self.context.me,
            agreement.label.party,
            {p.name: len(p.columns) for p in agreement.features},
            self._values,
            len(agreement.party(agreement.label.party).columns) + 1,
            terms,
            agreement.fixed_point,
            agreement.parameter_set,
            masks,
            self.budget,
            self._stream,
            session=session,
            single_party=agreement.openings.single_party,
            basis=self._basis(),
            journal=records,
            resumed=resumed,
            predicted=predicted,
        )
        records.finish(served.share)
        return served

    def _basis(self) -> SecretStream:
        """Of this run, and the same in every attempt: what was recorded or opened before belongs to it."""
        return SecretStream(self.context.secret(f"rotation/{self.context.run_id}"))

    def _serve_split(
        self, session: str, terms: SplitModel, masks: ZeroSumMasks, records: ServedRecords
    ) -> Flow[ServedSource]:
        agreement = self.context.agreement
        place = yield from offer_place(agreement.label.party, records.places())
        resumed, predicted = records.go_on(place)
        values = self._values
        if terms.warm_start == "ridge":
            rotation = secret_rotation(self._basis(), values.shape[1])
            values = turned_columns(values, rotation, agreement.fixed_point.clip)
            if place == START:
                yield from self._serve_warm_start(session, terms, values)
        features = encode_features(values, agreement.fixed_point.feature_bits, agreement.fixed_point.clip)
        share = initial_share(
            self.context.secret(agreement.initial_purpose),
            (features.shape[1], terms.embedding_width),
            agreement.fixed_point,
            agreement.total_features,
        )
        served = yield from serve_source(
            agreement.label.party,
            self._parties,
            features,
            self._ring.wrap(share),
            agreement.fixed_point,
            agreement.parameter_set,
            masks,
            self.budget,
            self._stream,
            session=session,
            single_party=agreement.openings.single_party,
            supply=ZerosAhead,
            workers=self.context.workers,
            journal=records,
            resumed=resumed,
            predicted=predicted,
        )
        records.finish(served.share)
        return served

    def _serve_warm_start(self, session: str, terms: SplitModel, columns: NDArray[np.float64]) -> Flow[None]:
        agreement = self.context.agreement
        yield from serve_warm_start(
            self.context.me,
            agreement.label.party,
            {p.name: len(p.columns) for p in agreement.features},
            columns,
            len(agreement.party(agreement.label.party).columns) + 1,
            terms,
            agreement.fixed_point,
            agreement.parameter_set,
            self.budget,
            self._stream,
            session=session,
            single_party=agreement.openings.single_party,
        )

    def value(self, attempt: int) -> None:
        """Open the coalition sums and attributions that the agreement consents to."""
        self.context.perform("value", attempt, self._value(f"value-{attempt}"))

    def _value(self, session: str) -> Flow[None]:
        assert self._served is not None
        agreement = self.context.agreement
        # of this session, so that one that is repeated after a crash meets no old mask
        masks = yield from agree_masks(self.context.me, self._parties, self.context.run_id, self._ring, self._stream)
        kept, fixed = self._served.predictions, agreement.fixed_point
        if agreement.openings.contribution == "masked":
            yield from serve_coalitions(
                self.context.me,
                agreement.label.party,
                self._parties,
                kept,
                fixed,
                masks,
                self.budget,
                session=session,
                consent=True,
            )
        if agreement.openings.attribution:
            yield from serve_attribution(
                agreement.label.party,
                kept,
                self._entities,
                fixed,
                agreement.parameter_set,
                self.budget,
                self._stream,
                session=session,
                consent=True,
                supply=ZerosAhead,
            )
