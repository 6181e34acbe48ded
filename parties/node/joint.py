"""The joint model at the label party: one strategy per model kind, the same phases around it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from parties.errors import ConfigError
from parties.node.checkpoints import WalkRecords
from parties.node.classes_label import ClassesJoint
from parties.node.context import RunContext
from parties.node.ensemble_label import EnsembleChoice, EnsembleJoint
from parties.node.no_source import NoSource
from parties.node.sealed_label import SealedJoint
from parties.node.sealed_trials import SealedChoice
from parties.node.search import Found, search_source, search_top
from parties.node.sessions import label_session
from parties.node.trees_label import TreesJoint
from psi.flow import Flow, run_alone
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.ring import Ring
from vfl.arithmetic.share import Share
from vfl.factors.panel import LabelPanel
from vfl.models.judging import Judge, Tried
from vfl.models.ridge.basis import moment_bits
from vfl.models.ridge.label import SealedLinear
from vfl.models.ridge.walk import RidgeHead, ridge_steps, ridge_walk_forward
from vfl.models.split.initial import initial_share, warm_column
from vfl.models.split.label import SealedSource
from vfl.models.split.top import LabelHead
from vfl.models.split.training import Scorer, walk_forward
from vfl.models.split.twin import alone
from vfl.protocols.label_session import LabelSession
from vfl.protocols.resume import Resumed, agree_place
from vfl.protocols.session import Kept, RingShare
from vfl.terms import EnsembleModel, FederatedModel, Model, RidgeModel, ScreenModel, SealedModel, SplitModel, TreesModel
from vfl.walk.result import TrainingResult
from vfl.walk.schedule import Step, prequential, warm_up_rows
from vfl.walk.search import SearchTerms

__all__ = ["JointModel", "RidgeJoint", "SplitJoint", "joint_model"]


class JointModel(Protocol):
    """What the label party does in training, whatever the model. A new session starts with :meth:`train`."""

    @property
    def steps(self) -> tuple[Step, ...]:
        """The schedule."""

    @property
    def chosen(self) -> Model:
        """The model of the result."""

    @property
    def found(self) -> Found | SealedChoice | EnsembleChoice | None:
        """What was chosen by trials; None without any."""

    @property
    def tried(self) -> tuple[Tried, ...]:
        """Every trial."""

    @property
    def head(self) -> Scorer | None:
        """The label party's own part of a score; None where it has none, because nothing below the score opens."""

    @property
    def kept(self) -> Mapping[str, Kept]:
        """Its shares of each party's part of the opened predictions."""

    @property
    def sums(self) -> Mapping[int, NDArray[np.float64]]:
        """What each step opened, by number, where training can be repeated from it; nothing elsewhere."""

    def train(self) -> Flow[TrainingResult]:
        """The label party's part of one training session: from the start, or from where everyone can go on."""

    def restore(self) -> TrainingResult | None:
        """What training left, from this node's records; None when they do not have it."""

    def alone(self) -> NDArray[np.float64]:
        """Scores (T, n) of the same model on the label party's own columns, of which there are some."""


def _go_on(
    context: RunContext, records: WalkRecords, steps: Sequence[Step]
) -> Flow[tuple[LabelSession, Resumed | None]]:
    """A session from where everyone can go on, with the shares of the predictions before; and its record."""
    place = yield from agree_place(tuple(p.name for p in context.agreement.features), records.places())
    resumed = records.go_on(place)
    session = label_session(context.agreement, "train", journal=records, resumed=resumed)
    for number, outcome in sorted(resumed.outcomes.items()) if resumed is not None else ():
        session.keep(steps[number].rows, outcome.held)
    return session, resumed


def _records(
    context: RunContext, steps: Sequence[Step], *, trial: int | None = None, keep_sums: bool = False
) -> WalkRecords:
    """Its records of a schedule: the run's, or a trial's. ``keep_sums``: what training steps opened is kept too."""
    store = context.checkpoints() if trial is None else context.trial_checkpoints(trial)
    names = tuple(p.name for p in context.agreement.features)
    ring = Ring(context.agreement.fixed_point.ring_bits)
    return WalkRecords(store, steps, names, ring, context.boundary, keep_sums=keep_sums)


def _check_own_columns(context: RunContext, panel: LabelPanel) -> int:
    """The label party's own columns, as many as the feature parties will answer for in a block of moments."""
    own = int(panel.features.values.shape[-1])
    if own != len(context.agreement.party(context.me).columns):
        raise ConfigError("the label party's columns differ from the agreement's: propose it again")
    return own


class SplitJoint:
    """The split network over the sealed source layer; where it is agreed, after a search."""

    def __init__(self, context: RunContext, terms: SplitModel, panel: LabelPanel) -> None:
        agreement = context.agreement
        if terms.outputs > 1:
            raise ConfigError("a factor is one score per row: model.loss softmax is for static data alone")
        self._context, self._terms, self._panel = context, terms, panel
        self.steps = self._schedule(agreement.schedule_limit, agreement.reserved_openings)
        self._found: Found | None = None
        self._tried: tuple[Tried, ...] = ()
        self.head = self._new_head()
        self.sums: Mapping[int, NDArray[np.float64]] = {}
        self._kept: Mapping[str, Kept] = {}
        if terms.warm_start == "ridge":
            _check_own_columns(context, panel)
            self._check_block()

    def _schedule(self, row_limit: int, reserved: int) -> tuple[Step, ...]:
        panel, walk = self._panel, self._context.agreement.walk_forward
        return tuple(prequential(self._terms, walk, panel.known_from, panel.label, panel.universe, row_limit, reserved))

    def _new_head(self, terms: SplitModel | None = None) -> LabelHead:
        shares = self._context.agreement.walk_forward.shares
        return LabelHead(terms or self._terms, self._panel.features.values.shape[-1], shares=shares)

    @property
    def chosen(self) -> SplitModel:
        """The model of the result: the agreed one, or the one that a search chose."""
        return self._found.terms if self._found is not None else self._terms

    @property
    def found(self) -> Found | None:
        return self._found

    @property
    def tried(self) -> tuple[Tried, ...]:
        """Every trial of a search, the source layer's first."""
        return (*self._tried, *self._found.tried) if self._found is not None else ()

    def _check_block(self) -> None:
        rows, label_columns = len(self._warm_rows), self._panel.features.values.shape[-1] + 1
        least = self._terms.smallest_block(self._context.agreement.total_features, label_columns)
        if rows < least:
            raise ConfigError(
                f"{rows} rows have labels at the first prediction and a warm start needs {least}: "
                'raise walk_forward.warmup, or set model.warm_start = "none"'
            )
        moment_bits(rows, self._context.agreement.fixed_point.ring_bits)

    @property
    def _warm_rows(self) -> NDArray[np.int64]:
        panel = self._panel
        return warm_up_rows(self._context.agreement.walk_forward, panel.known_from, panel.label, panel.universe)

    @property
    def kept(self) -> Mapping[str, Kept]:
        return self._kept

    def _records(self) -> WalkRecords:
        agreement = self._context.agreement
        kept = agreement.split_search is not None or agreement.openings.contribution == "masked"
        return _records(self._context, self.steps, keep_sums=kept)

    def _trial_records(self, trial: int, steps: tuple[Step, ...]) -> WalkRecords:
        return _records(self._context, steps, trial=trial)

    def _trial_steps(self) -> tuple[Step, ...]:
        """What a trial of the source layer opens: rows of periods before the reported ones."""
        agreement = self._context.agreement
        every = self._schedule(1 + self._terms.epochs, 0)
        return tuple(step for step in every if step.period < agreement.reported_from)

    def train(self) -> Flow[TrainingResult]:
        agreement, search = self._context.agreement, self._context.agreement.split_search
        if search is None:
            opened: dict[int, NDArray[np.float64]] | None = {} if agreement.openings.contribution == "masked" else None
            result = yield from self._walk(self._records(), self.steps, self._terms, opened)
            self.sums = opened or {}
            return result
        judge, steps = self._judge(), self._trial_steps()

        def trial(number: int, terms: SplitModel) -> Flow[TrainingResult]:
            return self._walk(self._trial_records(number, steps), steps, terms)

        chosen, self._tried = yield from search_source(search, self._terms, judge, trial)
        sums: dict[int, NDArray[np.float64]] = {}
        yield from self._walk(self._records(), self.steps, chosen, sums)
        return (yield from self._search(search, chosen, judge, sums))

    def _judge(self) -> Judge:
        agreement = self._context.agreement
        return Judge(self._panel, agreement.walk_forward, agreement.reported_from)

    def _search(
        self, search: SearchTerms, terms: SplitModel, judge: Judge, sums: Mapping[int, NDArray[np.float64]]
    ) -> Flow[TrainingResult]:
        """The best top model on what was opened."""
        walk = self._context.agreement.walk_forward
        self._found = yield from search_top(search, terms, judge, walk, self._panel, self.steps, sums)
        self.head = self._found.head
        return self._found.result

    def _walk(
        self,
        records: WalkRecords,
        steps: tuple[Step, ...],
        terms: SplitModel,
        sums: dict[int, NDArray[np.float64]] | None = None,
    ) -> Flow[TrainingResult]:
        """One training over the sealed source layer, from the start or from where everyone can go on."""
        session, resumed = yield from _go_on(self._context, records, steps)
        if sums is not None and resumed is not None:
            sums |= records.sums(resumed.step)
        self.head = self._new_head(terms)
        shares = self._initial_shares(terms)
        if terms.warm_start == "ridge" and resumed is None:
            column = yield from self._open_warm_start()
            shares = self._warmed(shares, column)
        predictions = [step.number for step in steps if step.kind == "predict"]
        source = SealedSource(session, shares, SecretStream(os.urandom(32)), predictions=predictions)
        yield from source.start()
        result = yield from walk_forward(
            source, self.head, steps, self._panel, journal=records, resumed=resumed, opened=sums
        )  # fmt: skip
        records.finish(self.head.snapshot(), result.losses, result.ics)
        self._kept = source.kept
        yield from source.finish()
        return result

    def _initial_shares(self, terms: SplitModel) -> dict[str, RingShare]:
        """This side's part of every party's first weights."""
        agreement, shares = self._context.agreement, {}
        ring = Ring(agreement.fixed_point.ring_bits)
        for p in agreement.features:
            secret, width = self._context.secret(f"{agreement.initial_purpose}/{p.name}"), terms.embedding_width
            weights = initial_share(secret, (len(p.columns), width), agreement.fixed_point, agreement.total_features)
            shares[p.name] = Share(ring, ring.wrap(weights))
        return shares

    def _warmed(self, shares: Mapping[str, RingShare], column: NDArray[np.float64]) -> dict[str, RingShare]:
        """The shares with ``column`` (D,) of all feature parties added to their first columns."""
        agreement, found = self._context.agreement, {}
        for p in agreement.features:
            part, column = column[: len(p.columns)], column[len(p.columns) :]
            share = shares[p.name]
            whole = np.zeros(share.shape)
            whole[:, 0] = part
            found[p.name] = share + Share(share.ring, share.ring.encode(whole, agreement.fixed_point.weight_bits))
        return found

    def alone(self) -> NDArray[np.float64]:
        return alone(None, self._panel, self.chosen, self._context.agreement.walk_forward).scores

    def _open_warm_start(self) -> Flow[NDArray[np.float64]]:
        """Open the moments of the warm-up rows; what they add to the first column of V, over all feature parties."""
        agreement, rows = self._context.agreement, self._warm_rows
        linear = SealedLinear(label_session(agreement, "train"))
        yield from linear.start()
        own, label = self._panel.features.rows[rows], self._panel.label.reshape(-1)[rows]
        moments = yield from linear.moments(0, rows, own, label)
        return warm_column(moments, self._terms.warm_start_alpha, agreement.total_features)

    def restore(self) -> TrainingResult | None:
        records, search = self._records(), self._context.agreement.split_search
        resumed = records.finished()
        if resumed is None:
            return None
        self._kept = _kept_shares(self._context, self.steps, resumed)
        if search is None:
            self.sums = records.sums(resumed.step)
            return self._walked(resumed, self.steps, self._terms)
        sums = records.sums(resumed.step)
        if len(sums) < len(self.steps):
            return None
        judge, steps = self._judge(), self._trial_steps()

        def trial(number: int, terms: SplitModel) -> Flow[TrainingResult]:
            yield from ()
            finished = self._trial_records(number, steps).finished()
            if finished is None:
                raise LookupError
            return self._walked(finished, steps, terms)

        try:
            chosen, self._tried = run_alone(search_source(search, self._terms, judge, trial))
        except LookupError:
            return None
        return run_alone(self._search(search, chosen, judge, sums))

    def _walked(self, resumed: Resumed, steps: tuple[Step, ...], terms: SplitModel) -> TrainingResult:
        """A training that had ended: nothing is left to open, so the walk asks its source for nothing."""
        self.head = self._new_head(terms)
        return run_alone(walk_forward(NoSource(), self.head, steps, self._panel, resumed=resumed))


class RidgeJoint:
    """Joint ridge from secure moments."""

    def __init__(self, context: RunContext, terms: RidgeModel, panel: LabelPanel) -> None:
        agreement = context.agreement
        self._own = _check_own_columns(context, panel)
        self._context, self._terms, self._panel = context, terms, panel
        self.steps = tuple(
            ridge_steps(
                terms,
                agreement.walk_forward,
                panel,
                agreement.total_features,
                agreement.schedule_limit,
                agreement.reserved_openings,
            )
        )
        self.head = RidgeHead(self._own)
        self.chosen, self.tried = terms, ()
        self.found: Found | None = None
        self.sums: Mapping[int, NDArray[np.float64]] = {}
        self._kept: Mapping[str, Kept] = {}

    @property
    def kept(self) -> Mapping[str, Kept]:
        return self._kept

    def _records(self) -> WalkRecords:
        return _records(self._context, self.steps)

    def train(self) -> Flow[TrainingResult]:
        records = self._records()
        session, resumed = yield from _go_on(self._context, records, self.steps)
        self.head = RidgeHead(self._own)
        source = SealedLinear(session)
        yield from source.start()
        result = yield from ridge_walk_forward(
            source, self.head, self._terms.alpha, self.steps, self._panel, journal=records, resumed=resumed
        )
        records.finish(self.head.snapshot(), result.losses, result.ics)
        self._kept = source.kept
        yield from source.finish()
        return result

    def restore(self) -> TrainingResult | None:
        resumed = self._records().finished()
        if resumed is None:
            return None
        self._kept = _kept_shares(self._context, self.steps, resumed)
        walk = ridge_walk_forward(NoSource(), self.head, self._terms.alpha, self.steps, self._panel, resumed=resumed)
        return run_alone(walk)

    def alone(self) -> NDArray[np.float64]:
        return alone(None, self._panel, self.chosen, self._context.agreement.walk_forward).scores


def _kept_shares(context: RunContext, steps: Sequence[Step], resumed: Resumed) -> dict[str, Kept]:
    """The label party's shares of every prediction, from its records."""
    outcomes = [(steps[number].rows, outcome) for number, outcome in sorted(resumed.outcomes.items())]
    return {
        p.name: Kept.joined(Kept(rows, outcome.held[p.name]) for rows, outcome in outcomes)
        for p in context.agreement.features
    }


def joint_model(context: RunContext, panel: LabelPanel) -> JointModel:
    """The agreement's model. Raises :class:`ConfigError` where the calendar or the openings do not suffice."""
    terms, static = context.agreement.model, context.agreement.static
    try:
        match terms:
            case SealedModel() | TreesModel() if static is not None and static.classes is not None:
                return ClassesJoint(context, terms, panel)
            case SealedModel():
                return SealedJoint(context, terms, panel)
            case TreesModel():
                return TreesJoint(context, terms, panel)
            case ScreenModel() | FederatedModel():
                raise ConfigError("the label party alone trains no model of this kind")
            case EnsembleModel():
                return EnsembleJoint(context, terms, panel)
            case RidgeModel():
                return RidgeJoint(context, terms, panel)
            case SplitModel():
                return SplitJoint(context, terms, panel)
    except ValueError as error:
        raise ConfigError(str(error)) from None
