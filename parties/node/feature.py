"""A feature party's part in training and valuation: it serves its features sealed, and counts every opening."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypedDict, TypeVar, Unpack

import numpy as np
from numpy.typing import NDArray

from parties.agreement.group_terms import group_of
from parties.audit.record import opening_entry
from parties.data.agreed_rows import rows_of
from parties.errors import AgreementError
from parties.node.checkpoints import ServedRecords
from parties.node.context import RunContext
from parties.node.contribution_evidence import SentParts
from parties.node.earlier_runs import check_begun
from parties.node.group_encoder import as_served, joint_fit
from parties.node.group_order import check_served, names_served
from parties.node.kept_contribution import keep_contribution
from parties.node.label_commitment import keep_commitment
from parties.node.openings import NUMBERS
from parties.node.own_rows import served_rows, served_values
from parties.node.recorded_outputs import check_own_columns
from parties.node.row_commitments import told_times
from parties.node.sessions import session_terms
from parties.node.zero_supply import PreparedZeros
from parties.settlement.committed_rows import covered_periods
from parties.settlement.signed_contribution import contribution_digest
from psi.flow import Flow
from vfl.arithmetic.he import Evaluator, ZeroSupply
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.ring import Ring, encode_features
from vfl.arithmetic.share import Share
from vfl.factors.panel import FeaturePanel
from vfl.models.ridge.basis import secret_rotation
from vfl.models.ridge.feature import serve_linear, serve_warm_start
from vfl.models.split.feature import serve_source
from vfl.models.split.initial import initial_share, turned_columns
from vfl.protocols.attribution import serve_attribution
from vfl.protocols.coalitions import serve_coalitions
from vfl.protocols.committed_values import hear_basis
from vfl.protocols.contribution_record import hear_contributions, tell_rows
from vfl.protocols.feature_session import FeatureSession
from vfl.protocols.label_commitment import hear_commitment
from vfl.protocols.opened_numbers import OpenedNumbers, RowNoise
from vfl.protocols.opening import ZeroSumMasks, agree_masks
from vfl.protocols.opening_budget import Charge, OpeningBudget
from vfl.protocols.resume import START, Forward, SourceJournal, offer_place
from vfl.protocols.row_bits import RowBits
from vfl.protocols.session import Kept, ServedSource
from vfl.protocols.spread import Workers
from vfl.terms import AnchoredModel, RidgeModel, SplitModel

__all__ = ["FeatureParty"]

T = TypeVar("T")


class _Brought(TypedDict, total=False):
    """What a session may have beside what the run gives every one."""

    supply: Callable[[Evaluator], ZeroSupply]
    workers: Workers | None
    journal: SourceJournal
    resumed: Forward | None
    predicted: Sequence[Forward]


class FeatureParty:
    """Holds what one run needs between its phases: the panel, the weight share, the masks, the budget."""

    _mixed = False
    """Whether columns of few values are among those served."""

    def __init__(self, context: RunContext, entities: tuple[str, ...]) -> None:
        self.context = context
        agreement = context.agreement
        joint = joint_fit(agreement, context.me, context.run_folder)
        served = as_served(agreement, context.settings.party)
        names = names_served(agreement, context.me, context.run_folder, entities)
        panel = rows_of(agreement).features(served, context.queries, context.data, names, joint)
        check_served(agreement, context.me, context.run_folder, panel)
        check_own_columns(context, panel, entities)
        self._missing = None if panel.missing is None else panel.missing.reshape(panel.rows.shape)
        if self._missing is not None and agreement.alignment.hides_coverage:
            self._missing = self._missing & panel.covered.reshape(-1, 1)  # an absent row looks like any other
        self._entities = len(entities)
        self.coverage = float(panel.covered.mean())
        self._stream = SecretStream(os.urandom(32))
        self._ring = Ring(agreement.fixed_point.ring_bits)
        store, run_id = context.openings, context.run_id
        with store.alone:
            # checked when it was proposed too, but others may have begun since
            check_begun(agreement, context.folder, store.begun())
            self._values, bits = self._shown(panel, entities, agreement.periods)
            store.begin(run_id, entities, agreement.periods)
        self.budget = OpeningBudget(
            len(self._values),
            agreement.row_limit,
            others=self._shown_before(entities, agreement.periods),
            alone=store.alone,
            history=[charge for charge in store.history(run_id) if not charge.label.startswith(NUMBERS)],
            record=self._record,
            bits=bits,
            closed=self._closed,
        )
        self._served: ServedSource | None = None
        self._kept = ""

    @property
    def _closed(self) -> NDArray[np.bool_] | None:
        """Rows that never open: those of static data's training part, so that of an entity one row can."""
        if self.context.agreement.static is None:
            return None
        flags: NDArray[np.bool_] = np.arange(len(self._values)) < self._entities
        return flags

    def _shown_before(
        self, entities: tuple[str, ...], periods: tuple[str, ...]
    ) -> Callable[[], NDArray[np.int64] | None]:
        """What counts of other runs' openings."""
        context = self.context
        return context.openings.others(context.run_id, entities, periods, context.agreement.model.embedding_width)

    def _shown(
        self, panel: FeaturePanel, entities: tuple[str, ...], periods: tuple[str, ...]
    ) -> tuple[NDArray[np.float64], RowBits | None]:
        """The values that are served, float64 (T * n, d), and what may be told of each content of them.

        None where nothing of a row opens but its score, which is counted by itself.
        """
        context, store = self.context, self.context.openings
        absent = context.secret(f"absent/{context.run_id}")
        if isinstance(context.agreement.model, AnchoredModel):
            group = group_of(context.agreement, context.me)
            if group is not None and group.absent == "zeros":
                return panel.rows * panel.covered.reshape(-1, 1), None
            every = np.zeros(panel.covered.size, dtype=np.bool_)
            hidden = context.agreement.alignment.hides_coverage
            return served_values(panel, every, absent) if hidden else panel.rows, None
        key = context.secret("contents")

        def told(digests: bytes) -> NDArray[np.float64]:
            return store.told(context.run_id, entities, periods, digests)

        served = served_rows(context.agreement, context.settings, context.run_folder, panel, told, key)
        numbers, digests = OpenedNumbers(context.agreement.openings.deviation), served.contents.keyed(key)
        told_by_one = store.hold_contents(context.run_id, digests, numbers.bits)
        others = store.others_told(context.run_id, entities, periods, digests)
        self._mixed = bool(served.own.discrete)
        return (
            served_values(panel, served.withheld, absent),
            RowBits(told_by_one, served.most, served.contents.groups, others=others),
        )

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
        flow = self._committed(self._train(f"train-{attempt}"))
        self._served = self.context.perform("train", attempt, flow)

    def _committed(self, training: Flow[T]) -> Flow[T]:
        """Training, once the label party has committed to its labels and columns."""
        yield from hear_commitment(self.context.agreement.label.party, partial(keep_commitment, self.context))
        return (yield from training)

    def restore(self) -> None:
        """Take up what training left, after a restart. Raises :class:`AgreementError` when it cannot be."""
        found = self._records().finished()
        if found is None:
            raise AgreementError("what training left is not among this node's records: propose the run again")
        share, predicted = found
        self._served = ServedSource(share, Kept.joined(Kept(record.rows, record.part) for record in predicted))

    def _records(self, trial: int | None = None) -> ServedRecords:
        digest = hashlib.sha256(repr(self._values.shape).encode() + self._values.tobytes()).hexdigest()
        store = self.context.checkpoints() if trial is None else self.context.trial_checkpoints(trial)
        return ServedRecords(store, digest, Ring(self.context.agreement.fixed_point.ring_bits))

    def _session(self, name: str, masks: ZeroSumMasks, **more: Unpack[_Brought]) -> FeatureSession:
        terms = session_terms(self.context.agreement, self.context.me, name)
        noise = RowNoise(self.context.secret(f"noise/{self.context.run_id}"), terms["numbers"])
        return FeatureSession(
            **terms,
            masks=masks,
            noise=noise,
            budget=self.budget,
            stream=self._stream,
            smallest_batch=self._batch_floor,
            **more,
        )

    @property
    def _batch_floor(self) -> int:
        agreement = self.context.agreement
        own = self.context.settings.limits.batch_floor(len(agreement.party(self.context.me).columns))
        return max(own, agreement.model.smallest_batch) if isinstance(agreement.model, SplitModel) else own

    def _masks(self) -> Flow[ZeroSumMasks]:
        """Of this attempt: what is repeated after a crash meets no old mask."""
        return agree_masks(self.context.me, self._parties, self.context.run_id, self._ring, self._stream)

    @property
    def _label_columns(self) -> int:
        """Columns that the label party brings to a block of moments: its own and its label."""
        agreement = self.context.agreement
        return len(agreement.party(agreement.label.party).columns) + 1

    def _train(self, session: str) -> Flow[ServedSource]:
        agreement = self.context.agreement
        masks = yield from self._masks()
        if isinstance(agreement.model, RidgeModel):
            return (yield from self._serve_ridge(session, agreement.model, masks))
        assert isinstance(agreement.model, SplitModel), "a sealed run has a party of its own"
        for trial in range(agreement.split_search.source_trials if agreement.split_search is not None else 0):
            yield from self._serve_split(f"{session}/trial-{trial}", agreement.model, masks, self._records(trial))
            masks = yield from self._masks()  # steps are numbered anew, so that no mask may go on
        return (yield from self._serve_split(session, agreement.model, masks, self._records()))

    def _serve_ridge(self, name: str, terms: RidgeModel, masks: ZeroSumMasks) -> Flow[ServedSource]:
        records = self._records()
        place = yield from offer_place(self.context.agreement.label.party, records.places())
        resumed, predicted = records.go_on(place)
        session = self._session(name, masks, journal=records, resumed=resumed, predicted=predicted)
        served = yield from serve_linear(session, self._values, self._label_columns, terms, basis=self._basis())
        records.finish(served.share)
        return served

    def _basis(self) -> SecretStream:
        """Of this run, and the same in every attempt: what was recorded or opened before belongs to it."""
        return SecretStream(self.context.secret(f"rotation/{self.context.run_id}"))

    def _serve_split(
        self, name: str, terms: SplitModel, masks: ZeroSumMasks, records: ServedRecords
    ) -> Flow[ServedSource]:
        agreement = self.context.agreement
        place = yield from offer_place(agreement.label.party, records.places())
        resumed, predicted = records.go_on(place)
        values, fixed = self._values, agreement.fixed_point
        if terms.warm_start == "ridge" or self._mixed:
            # columns of few values open only in a basis that mixes them with the others
            values = turned_columns(values, secret_rotation(self._basis(), values.shape[1]), fixed.clip)
        if terms.warm_start == "ridge" and place == START:
            yield from serve_warm_start(self._session(name, masks), values, self._label_columns, terms)
        features = encode_features(values, fixed.feature_bits, fixed.clip)
        shape = (features.shape[1], terms.embedding_width)
        secret = self.context.secret(agreement.initial_purpose)
        share = Share(self._ring, self._ring.wrap(initial_share(secret, shape, fixed, agreement.total_features)))
        session = self._session(
            name,
            masks,
            supply=PreparedZeros,
            workers=self.context.workers,
            journal=records,
            resumed=resumed,
            predicted=predicted,
        )
        served = yield from serve_source(session, features, share)
        records.finish(served.share)
        return served

    def value(self, attempt: int) -> str:
        """Open the coalition sums and attributions that the agreement consents to, and keep what they were worth.

        The digest of the signed contributions, "" where none are agreed.
        """
        self._kept = ""
        self.context.perform("value", attempt, self._value(f"value-{attempt}"))
        return self._kept

    def _in_time(self) -> tuple[bool, ...]:
        """In which reported periods this node had committed to its rows in time."""
        agreement = self.context.agreement
        terms, periods = agreement.evaluation, agreement.periods
        first = periods.index(terms.first) if terms.first else 0
        last = periods.index(terms.last) if terms.last else len(periods) - 1
        return covered_periods(agreement, told_times(self.context.folder), periods[first : last + 1])

    def _keep(self, document: bytes) -> None:
        self._kept = contribution_digest(keep_contribution(self.context, document).record)

    def _value(self, name: str) -> Flow[None]:
        assert self._served is not None
        agreement, kept = self.context.agreement, self._served.predictions
        session = self._session(name, (yield from self._masks()), supply=PreparedZeros)
        if agreement.openings.contribution == "masked":
            sent = SentParts(name, (yield from hear_basis(agreement.label.party)))
            yield from serve_coalitions(session, kept, consent=True, sent=sent.part)
            sent.log(self.context)
        if agreement.openings.attribution:
            yield from serve_attribution(session, kept, self._entities, consent=True)
        if agreement.openings.contribution == "masked":
            yield from tell_rows(agreement.label.party, self._in_time())
            yield from hear_contributions(agreement.label.party, self._keep)
