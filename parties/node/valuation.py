"""The label party's valuation of a run: what every feature party contributed, and what explains the output.

Pay rests on the conditioned values alone. The plain ones stand beside them, and attribution explains.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from parties.agreement.document import Agreement
from parties.node.context import RunContext
from parties.node.joint import JointModel
from parties.node.kept_contribution import keep_contribution
from parties.node.sealed_label import SealedJoint
from parties.node.sessions import label_session, session_terms
from parties.settlement.contribution import ContributionRecord
from parties.settlement.signed_contribution import SignedContribution
from psi.flow import Flow
from vfl.contribution import ContributionReport, coalitions, exact_shapley, refit_with_own, without_own
from vfl.contribution.attribution import Attribution, attribution_of, covariance_slopes, in_the_clear
from vfl.factors.evaluate import evaluation_window, ic_by_period
from vfl.factors.panel import LabelPanel
from vfl.models.ridge.walk import RidgeHead
from vfl.models.split.top import LabelHead
from vfl.models.split.training import score_coalition
from vfl.protocols.attribution import attribute
from vfl.protocols.coalitions import open_coalitions
from vfl.protocols.contribution_record import hear_rows, tell_contributions
from vfl.protocols.session import Session
from vfl.walk.result import TrainingResult

__all__ = ["Valuation", "value_run"]

F64 = NDArray[np.float64]
Sums = dict[frozenset[str], F64]


@dataclass(frozen=True)
class Valuation:
    """conditioned: what pay rests on. plain: without the label party's features. None where not agreed."""

    conditioned: ContributionReport | None
    plain: ContributionReport | None
    attribution: Attribution | None
    periods: tuple[str, ...] = ()
    uplift: tuple[float | None, ...] = ()
    signed: SignedContribution | None = None
    committed: Mapping[str, tuple[bool, ...]] = field(default_factory=dict)
    opened: Mapping[str, F64] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """What goes into the report on the value phase."""
        said: dict[str, Any] = {}
        if self.conditioned is not None:
            contribution = self.conditioned.record() | {"periods": list(self.periods)}
            contribution |= {"uplift_by_period": list(self.uplift)} if self.uplift else {}
            contribution |= {"committed": {name: list(flags) for name, flags in self.committed.items()}}
            if self.plain is not None:
                beside = self.plain.record()
                contribution |= {"plain_definition": beside["definition"], "plain_everyone": beside["v_everyone"]}
                for party, numbers in beside["parties"].items():
                    named = {"plain": numbers["phi"], "plain_standard_error": numbers["standard_error"]}
                    contribution["parties"][party] |= named
            said["contribution"] = contribution
        if self.signed is not None:
            said["contribution_signature"] = self.signed.signature
        if self.attribution is not None:
            said["attribution"] = self.attribution.record()
        return said


@dataclass(frozen=True)
class _Run:
    """What the label party holds after training."""

    agreement: Agreement
    model: JointModel
    result: TrainingResult
    panel: LabelPanel
    periods: tuple[str, ...]

    @property
    def parties(self) -> tuple[str, ...]:
        return tuple(party.name for party in self.agreement.features)

    @property
    def rows(self) -> NDArray[np.int64]:
        """Predicted row ids, in the order of the kept shares."""
        return self.model.kept[self.parties[0]].rows

    @property
    def window(self) -> NDArray[np.bool_]:
        terms = self.agreement.evaluation
        return evaluation_window(self.periods, terms.first, terms.last)

    @property
    def reported(self) -> tuple[str, ...]:
        """Names of the periods in the window."""
        return tuple(name for name, inside in zip(self.periods, self.window, strict=True) if inside)

    @property
    def entities(self) -> dict[str, str]:
        """Legal entities of the feature parties that name one."""
        return self.agreement.legal_entities

    @property
    def kin(self) -> frozenset[str]:
        """Feature parties of the label party's own legal entity: always in, like its features, so they earn nothing."""
        return self.agreement.kin

    def scores(self, sums: Sums, members: frozenset[str], seen: LabelPanel) -> F64:
        """Scores (T, n) had only ``members`` taken part."""
        assert self.model.head is not None, "sums of embeddings open only where a model above them scores"
        shape = self.result.embeddings.shape
        embeddings = np.full((shape[0] * shape[1], shape[2]), np.nan)
        if members == frozenset(self.parties):
            embeddings = self.result.embeddings.reshape(shape[0] * shape[1], shape[2])
        else:
            embeddings[self.rows] = sums[members] if members else 0.0
        return score_coalition(self.model.head, self.result, seen, embeddings.reshape(shape))

    def opened(self, sums: Sums) -> dict[str, F64]:
        """What opened of the rows, (T, n, h): the sum over all, and each coalition's."""
        shape = self.result.embeddings.shape
        opened = {"embeddings of all": self.result.embeddings}
        for members, values in sums.items():
            if len(members) == 1:
                placed = np.full((shape[0] * shape[1], shape[2]), np.nan)
                placed[self.rows] = values
                opened[f"embeddings of {min(members)}"] = placed.reshape(shape)
        return opened

    def uplift(self, own: F64) -> tuple[float | None, ...]:
        """Rank IC(joint) - IC(own) of each period in the window, on the rows that both score."""
        joint = np.where(np.isnan(own), np.nan, self.result.scores)
        gap = self.ics(joint) - self.ics(np.where(np.isnan(joint), np.nan, own))
        return tuple(float(value) if np.isfinite(value) else None for value in gap)

    def ics(self, scores: F64) -> F64:
        labels = np.where(self.panel.universe, self.panel.label, np.nan)
        return ic_by_period(scores[self.window], labels[self.window], "rank", when_constant=0.0)


def value_run(
    context: RunContext,
    model: JointModel,
    result: TrainingResult,
    panel: LabelPanel,
    periods: tuple[str, ...],
    attempt: int,
    own: F64 | None = None,
) -> Valuation:
    """Open what the agreement consents to, and share out the rank IC that the coalitions gain.

    ``own``: scores (T, n) of the label party's own model, which the joint ones are compared with; None without one.
    """
    run = _Run(context.agreement, model, result, panel, periods)
    terms = context.agreement.openings
    if isinstance(model, SealedJoint):
        return context.perform("value", attempt, _sealed(context, run, model, f"value-{attempt}", own))
    slopes = embeddings = np.zeros((0, 0))
    if terms.attribution or terms.contribution == "masked":
        head = cast("LabelHead | RidgeHead", model.head)
        slopes, embeddings = covariance_slopes(head, result, panel, run.rows, run.window)

    def whole() -> Flow[Valuation]:
        sums, found = yield from _opened(run, slopes, embeddings)
        valued = _valuation(run, sums, found, slopes, embeddings, own)
        valued = replace(valued, opened=run.opened(sums))
        return (yield from _signed(context, valued))

    return context.perform("value", attempt, whole())


def _sealed(context: RunContext, run: _Run, model: SealedJoint, session: str, own: F64 | None) -> Flow[Valuation]:
    """A sealed run's: exact values of per-period Pearson ICs, of which two numbers per coalition and period open."""
    ics = yield from model.coalition_ics(run.result.scores, session)
    conditioned = exact_shapley(
        {members: ics[members | run.kin] for members in coalitions(run.parties)},
        method="moments",
        parties=run.parties,
        horizon=max(run.agreement.walk_forward.horizon, 1),
        entities=run.entities,
    )
    uplift = () if own is None else run.uplift(own)
    return (yield from _signed(context, Valuation(conditioned, None, None, run.reported, uplift)))


def _signed(context: RunContext, valued: Valuation) -> Flow[Valuation]:
    """Sign the record, keep it, and send it to every feature party, which keeps it too."""
    if valued.conditioned is None:
        return valued
    names = [party.name for party in context.agreement.features]
    valued = replace(valued, committed=(yield from hear_rows(names, len(valued.periods))))
    record = ContributionRecord.model_validate(valued.record()["contribution"])
    signed = SignedContribution.made(context.identity.key, context.run_id, record)
    document = signed.model_dump_json().encode()
    keep_contribution(context, document)
    yield from tell_contributions(names, document)
    return replace(valued, signed=signed)


def _valuation(
    run: _Run, sums: Sums, found: dict[str, F64], slopes: F64, embeddings: F64, own: F64 | None
) -> Valuation:
    """What follows from what was opened."""
    panel, terms = run.panel, run.agreement.openings
    conditioned = plain = None
    if terms.contribution == "masked":
        conditioned, plain = _valued(run, sums)
        if not found:
            parts = {party: sums.get(frozenset({party}), embeddings) for party in run.parties}
            found = in_the_clear(slopes, parts, run.rows, panel.label.shape[1])
    attribution = None
    if found and slopes.any():
        attribution = attribution_of(slopes, embeddings, found, run.rows, panel.label.shape[1])
    return Valuation(conditioned, plain, attribution, run.reported, () if own is None else run.uplift(own))


def _opened(run: _Run, slopes: F64, embeddings: F64) -> Flow[tuple[Sums, dict[str, F64]]]:
    """The session's flow: coalition sums, then attributions, each where it is agreed."""
    agreement = run.agreement
    sums: Sums = {}
    found: dict[str, F64] = {}
    if agreement.openings.contribution == "masked":
        session = Session(**session_terms(agreement, agreement.label.party, "value"))
        sums = yield from open_coalitions(session, run.model.kept)
    if agreement.openings.attribution:
        keyed = label_session(agreement, "value")
        found = yield from attribute(keyed, run.model.kept, slopes, embeddings, run.panel.label.shape[1])
    return sums, found


def _valued(run: _Run, sums: Sums) -> tuple[ContributionReport, ContributionReport]:
    """The conditioned and the plain values."""
    walk = run.agreement.walk_forward
    horizon = max(walk.horizon, 1)
    wanted = coalitions(run.parties)
    raw = {members: run.scores(sums, members | run.kin, run.panel) for members in wanted}
    blended = {members: refit_with_own(scores, run.panel, walk) for members, scores in raw.items()}
    game = {members: run.ics(scores) for members, scores in blended.items()}
    refitted = any(blended[members] is not raw[members] for members in wanted)
    if not np.isfinite(np.stack(list(game.values()))).all(axis=0).any():
        # a calendar too short for any blend: the trained model's own weights decide, and the definition says so
        game, refitted = {members: run.ics(scores) for members, scores in raw.items()}, False
    conditioned = exact_shapley(game, parties=run.parties, horizon=horizon, refitted=refitted, entities=run.entities)
    blind = without_own(run.panel)
    bare: Mapping[frozenset[str], F64] = {m: run.ics(run.scores(sums, m, blind)) for m in wanted}
    plain = exact_shapley(bare, parties=run.parties, horizon=horizon, conditioned=False, entities=run.entities)
    return conditioned, plain
