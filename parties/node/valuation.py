"""The label party's valuation of a run: what every feature party contributed, and what explains the output.

Pay rests on the conditioned values alone. The plain ones stand beside them, and attribution explains.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from parties.node.coalition_values import Sums, ValuedRun, sealed_report, shared_out
from parties.node.context import RunContext
from parties.node.contribution_evidence import ValueEvidence
from parties.node.joint import JointModel
from parties.node.kept_contribution import keep_contribution
from parties.node.sealed_valuation import ValuedModel
from parties.node.sessions import label_session, session_terms
from parties.settlement.contribution import ContributionRecord
from parties.settlement.signed_contribution import SignedContribution
from psi.flow import Flow
from vfl.contribution import ContributionReport
from vfl.contribution.attribution import Attribution, attribution_of, covariance_slopes, in_the_clear
from vfl.factors.panel import LabelPanel
from vfl.models.ridge.walk import RidgeHead
from vfl.models.split.top import LabelHead
from vfl.protocols.attribution import attribute
from vfl.protocols.coalitions import open_coalitions
from vfl.protocols.committed_values import tell_basis
from vfl.protocols.contribution_record import hear_rows, tell_contributions
from vfl.protocols.session import Kept, Session
from vfl.walk.result import TrainingResult

__all__ = ["Valuation", "value_run"]

F64 = NDArray[np.float64]


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
    agreement, terms = context.agreement, context.agreement.openings
    kept = model.kept
    rows = kept[agreement.features[0].name].rows if kept else np.zeros(0, dtype=np.int64)
    run = ValuedRun(agreement, model.head, rows, result, panel, periods)
    if isinstance(model, ValuedModel):
        return context.perform("value", attempt, _sealed(context, run, model, f"value-{attempt}", own))
    slopes = embeddings = np.zeros((0, 0))
    if terms.attribution or terms.contribution == "masked":
        head = cast("LabelHead | RidgeHead", model.head)
        slopes, embeddings = covariance_slopes(head, result, panel, run.rows, run.window)

    def whole() -> Flow[Valuation]:
        evidence = ValueEvidence(context) if terms.contribution == "masked" else None
        if evidence is not None:
            shares = {name: one.share.elements for name, one in kept.items()}
            yield from tell_basis(run.parties, evidence.basis(run, shares, model.sums, own, {}))
        sums, found = yield from _opened(run, kept, slopes, embeddings, evidence)
        valued = _valuation(run, sums, found, slopes, embeddings, own)
        valued = replace(valued, opened=run.opened(sums))
        if evidence is not None:
            evidence.finish()
        return (yield from _signed(context, valued))

    return context.perform("value", attempt, whole())


def _sealed(context: RunContext, run: ValuedRun, model: ValuedModel, session: str, own: F64 | None) -> Flow[Valuation]:
    """A sealed run's: exact values of per-period Pearson ICs, of which two numbers per coalition and period open."""
    evidence = ValueEvidence(context)
    yield from tell_basis(run.parties, evidence.basis(run, {}, {}, own, {} if own is None else model.basis))
    ics = yield from model.coalition_ics(run.result.scores, session, evidence.commit_numbers, evidence.numbers)
    evidence.finish()
    conditioned = sealed_report(run, ics)
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
    run: ValuedRun, sums: Sums, found: dict[str, F64], slopes: F64, embeddings: F64, own: F64 | None
) -> Valuation:
    """What follows from what was opened."""
    panel, terms = run.panel, run.agreement.openings
    conditioned = plain = None
    if terms.contribution == "masked":
        conditioned, plain, _ = shared_out(run, sums)
        if not found:
            parts = {party: sums.get(frozenset({party}), embeddings) for party in run.parties}
            found = in_the_clear(slopes, parts, run.rows, panel.label.shape[1])
    attribution = None
    if found and slopes.any():
        attribution = attribution_of(slopes, embeddings, found, run.rows, panel.label.shape[1])
    return Valuation(conditioned, plain, attribution, run.reported, () if own is None else run.uplift(own))


def _opened(
    run: ValuedRun, kept: Mapping[str, Kept], slopes: F64, embeddings: F64, evidence: ValueEvidence | None
) -> Flow[tuple[Sums, dict[str, F64]]]:
    """The session's flow: coalition sums, then attributions, each where it is agreed."""
    agreement = run.agreement
    sums: dict[frozenset[str], F64] = {}
    found: dict[str, F64] = {}
    if evidence is not None:
        session = Session(**session_terms(agreement, agreement.label.party, "value"))
        sums = yield from open_coalitions(session, kept, evidence.part)
    if agreement.openings.attribution:
        keyed = label_session(agreement, "value")
        found = yield from attribute(keyed, kept, slopes, embeddings, run.panel.label.shape[1])
    return sums, found
