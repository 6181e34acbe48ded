"""An auditor's replay of v(S): from what the label party shows, held against what every feature party logged.

Nothing the label party shows is believed. Its labels, columns, shares, scores and models must be those that it
committed to, what it received must be what the feature parties sent, and from there every number of its signed record
is computed once more.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parties.agreement.document import Agreement
from parties.agreement.sealed_terms import sealed_members
from parties.audit.committed_labels import COMMITMENT, LabelCommitment
from parties.audit.heads import check_inclusion, why_malformed
from parties.errors import AgreementError, DataError
from parties.node.coalition_values import Sums, ValuedRun, sealed_report, shared_out
from parties.node.contribution_evidence import COALITIONS, LabelEvidence, PartyEvidence
from parties.node.label_commitment import commitment_of, panel_of
from parties.node.sealed_valuation import placed_ics, scores_opened, valued_periods
from parties.node.sessions import session_terms
from parties.node.valuation import Valuation
from parties.settlement.contribution import ContributionRecord
from parties.settlement.replay_verdict import ReplayVerdict
from parties.settlement.signed_contribution import SignedContribution, contribution_digest
from psi.flow import RemoteProtocolError
from vfl.arithmetic.received import MalformedError
from vfl.arithmetic.share import Share, opened
from vfl.factors.panel import LabelPanel
from vfl.models.ridge.walk import RidgeHead
from vfl.models.sealed.coalitions import numbers_received, opened_moments
from vfl.models.sealed.twin import float_twin_scores
from vfl.models.split.replay import replay as repeat_training
from vfl.models.split.top import LabelHead
from vfl.models.split.twin import alone
from vfl.models.trees.columns import tree_columns
from vfl.models.trees.linear_start import own_start
from vfl.models.trees.twin import trees_twin
from vfl.protocols.coalitions import opened_coalitions
from vfl.protocols.committed_values import arrays_digest
from vfl.protocols.session import Session
from vfl.terms import AnchoredModel, RidgeModel, SealedModel, SplitModel, TreesModel
from vfl.walk.cycles import cyclic
from vfl.walk.refits import refits
from vfl.walk.result import TrainingResult
from vfl.walk.schedule import prequential

__all__ = ["replay_contributions"]

F64 = NDArray[np.float64]

_CLOSE = 1e-5
"""Correlations computed on two machines may differ in the last places, and by a rank where two scores are as near."""


@dataclass
class _Findings:
    """Faults so far, all of the label party unless said otherwise, and what could not be repeated."""

    faults: list[str] = field(default_factory=list)
    not_repeated: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Logged:
    """What one feature party's log says of the run: the commitment, and the entries on valuations in order."""

    party: str
    committed: LabelCommitment
    valued: tuple[dict[str, Any], ...]


def replay_contributions(label: LabelEvidence, parties: Sequence[PartyEvidence]) -> ReplayVerdict:
    """Replay a run's contributions and say what does not fit, and whom that names.

    Raises :class:`DataError` where a party's file proves nothing, so that no replay can be made.
    """
    agreement, run_id = label.agreement, label.agreement.run_id
    if not parties:
        raise DataError("a replay needs the evidence of one feature party at least: nothing else was fixed in time")
    logged = [_logged(agreement, run_id, shown) for shown in parties]
    signed = _signed(label, run_id)
    found, record = _Findings(), signed.record
    for shown in parties:
        if contribution_digest(_record_of(shown, agreement)) != contribution_digest(record):
            found.faults.append(f"signed another record for {shown.party!r} than the one that it shows")
    for entry in logged:
        _check_committed(label, entry, found)
    values: dict[frozenset[str], float] = {}
    if not found.faults:
        try:
            valued, values = _valued(label, logged, found)
            found.faults.extend(_differences(record, valued))
        except (RemoteProtocolError, MalformedError, ValueError, KeyError, IndexError) as error:
            found.faults.append(f"shows a side that cannot be replayed: {error}")
    names = [party.name for party in agreement.features]
    told = [entry.party for entry in logged]
    return ReplayVerdict(
        run_id=run_id,
        record=contribution_digest(record),
        label_party=agreement.label.party,
        named=agreement.label.party if found.faults else "",
        faults=tuple(fault[:1000] for fault in found.faults),
        checked=tuple(told),
        unchecked=tuple(name for name in names if name not in told),
        not_repeated=tuple(found.not_repeated),
        values={_name(members): value for members, value in values.items()},
    )


def _name(members: frozenset[str]) -> str:
    return " + ".join(sorted(members)) or "nobody"


def _signed(label: LabelEvidence, run_id: str) -> SignedContribution:
    try:
        signed = SignedContribution.read(label.contribution)
        signed.verify(run_id, label.agreement)
    except AgreementError as error:
        raise DataError(f"the label party's evidence has no signed record: {error}") from None
    return signed


def _record_of(shown: PartyEvidence, agreement: Agreement) -> ContributionRecord:
    try:
        kept = SignedContribution.read(shown.contribution.encode())
        kept.verify(agreement.run_id, agreement)
    except AgreementError as error:
        raise DataError(f"the evidence of {shown.party!r} proves nothing: {error}") from None
    return kept.record


def _logged(agreement: Agreement, run_id: str, shown: PartyEvidence) -> _Logged:
    """The party's entries, each proved to be in its log. Raises :class:`DataError` where one is not."""
    features = {party.name: bytes.fromhex(party.identity_key) for party in agreement.features}
    if shown.run_id != run_id or shown.party not in features:
        raise DataError(f"the evidence of {shown.party!r} is of run {shown.run_id[:12]}, or of no feature party of it")
    told, valued = list[LabelCommitment](), list[dict[str, Any]]()
    for proof in sorted(shown.entries, key=lambda proof: proof.index):
        try:
            entry = json.loads(proof.entry) if check_inclusion(proof, features[shown.party]) else {}
            if proof.head.log != shown.party or entry.get("run") != run_id:
                raise DataError(f"the evidence of {shown.party!r} has an entry that its log does not prove: ask again")
            if entry["kind"] == COALITIONS:
                valued.append(dict(entry["body"]))
            elif entry["kind"] == COMMITMENT and not valued:
                told.append(LabelCommitment.model_validate({**entry["body"], "run_id": run_id}))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DataError(
                f"the evidence of {shown.party!r}: entry {proof.index} of its log is malformed "
                f"({why_malformed(error)}), so it proves nothing: ask {shown.party} to make the file anew with "
                "entente audit evidence"
            ) from None
    if not told or not valued:
        raise DataError(f"the evidence of {shown.party!r} has no commitment before its valuation: ask for it again")
    committed = told[0]
    if not committed.signed_by(agreement.party(agreement.label.party).identity_key):
        raise DataError(
            f"the evidence of {shown.party!r} has a commitment that the label party did not sign: ask again"
        )
    return _Logged(shown.party, committed, tuple(valued))


def _check_committed(label: LabelEvidence, entry: _Logged, found: _Findings) -> None:
    """Whether the label party shows what it had committed to towards this party."""
    try:
        shown = commitment_of(label.inputs)
    except (ValueError, KeyError):
        shown = None
    if shown is None or shown != entry.committed.model_copy(update={"signature": ""}):
        found.faults.append(
            f"shows other labels or columns than it committed to towards {entry.party!r} before training"
        )
    if entry.valued[-1]["basis"] != arrays_digest(label.salt, label.basis).hex():
        found.faults.append(
            f"shows other shares, scores or models than it committed to towards {entry.party!r} before anything of a "
            "coalition opened"
        )


def _valued(
    label: LabelEvidence, logged: Sequence[_Logged], found: _Findings
) -> tuple[ContributionRecord, dict[frozenset[str], float]]:
    """The record as it follows from the evidence, and v(S) of every coalition."""
    agreement, panel = label.agreement, _panel(label)
    result, basis = _result(label), label.basis
    periods = agreement.periods
    if isinstance(agreement.model, AnchoredModel):
        run = ValuedRun(agreement, None, np.zeros(0, dtype=np.int64), result, panel, periods)
        game: Sums = _sealed_ics(label, run, logged, found)
        report, plain = sealed_report(run, game), None
    else:
        head = _repeated_head(label, panel, result, found)
        run = ValuedRun(agreement, head, basis["rows"], result, panel, periods)
        report, plain, game = shared_out(run, _sums(label, logged, found))
    own = _own(label, panel, found)
    uplift = () if own is None else run.uplift(own)
    made = Valuation(report, plain, None, run.reported, uplift).record()["contribution"]
    counted = np.isfinite(np.stack(list(game.values()))).all(axis=0)
    values = {members: float(ics[counted].mean()) for members, ics in game.items()}
    return ContributionRecord.model_validate(made), values


def _panel(label: LabelEvidence) -> LabelPanel:
    """The label party's panel as it shows it; labels of static data are standardised in it, and fitted as they are."""
    panel = panel_of(label.inputs)
    return panel if label.agreement.static is None else replace(panel, scale=(0.0, 1.0))


def _result(label: LabelEvidence) -> TrainingResult:
    """Training as the label party committed to it."""
    basis, none = label.basis, np.zeros(0)
    heads = {int(name.removeprefix("head_")): data.tobytes() for name, data in basis.items() if name[:5] == "head_"}
    openings = np.zeros(basis["scores"].shape, dtype=np.int64)
    return TrainingResult(basis["scores"], basis["embeddings"], none, none, openings, dict(sorted(heads.items())), ())


def _sent(logged: Sequence[_Logged], party: str, name: str, values: bytes, found: _Findings, what: str) -> None:
    """Whether ``party`` logged that it sent just this."""
    for entry in logged:
        if entry.party == party and entry.valued[-1]["sent"].get(name) != hashlib.sha256(values).hexdigest():
            found.faults.append(f"shows another {what} of {party!r} than {party!r} logged that it sent")


def _sums(label: LabelEvidence, logged: Sequence[_Logged], found: _Findings) -> dict[frozenset[str], F64]:
    """The sums of every coalition, from what each member sent and the label party's own shares."""
    agreement, basis = label.agreement, label.basis
    session = Session(**session_terms(agreement, agreement.label.party, "value"))
    ours = {name: session.short(Share(session.ring, basis[f"share_{name}"])) for name in session.names}
    sums: dict[frozenset[str], F64] = {}
    for members in opened_coalitions(session.names):
        parts = []
        for party in members:
            values = label.opened[f"{'+'.join(members)}|{party}"].tobytes()
            _sent(logged, party, "+".join(members), values, found, f"part of {' + '.join(members)}")
            parts += [session.received(values, ours[party].shape, party, ring=session.opened_ring), ours[party]]
        sums[frozenset(members)] = opened(parts, session.fixed.output_bits)
    everyone = label.basis["embeddings"].reshape(-1, label.basis["embeddings"].shape[-1])[basis["rows"]]
    if len(session.names) > 1:
        _check_sums(sums, everyone, session, found)
    return sums


def _check_sums(sums: Mapping[frozenset[str], F64], everyone: F64, session: Session, found: _Findings) -> None:
    """Each party's part of a row is one number in all coalitions, and in what opened when the row was predicted."""
    single = {name: sums[frozenset({name})] for name in session.names}
    unit, size = 2.0**-session.fixed.output_bits, session.opened_ring.modulus
    for members, values in (*sums.items(), (frozenset(session.names), everyone)):
        gap = np.rint((values - sum(single[name] for name in members)) / unit)
        gap = np.abs((gap + size // 2) % size - size // 2)
        if gap.max(initial=0.0) > len(members):
            found.faults.append(f"shows sums of {_name(members)} that are not the sum of its members' own")


def _repeated_head(
    label: LabelEvidence, panel: LabelPanel, result: TrainingResult, found: _Findings
) -> LabelHead | RidgeHead:
    """The top model's shape; the split network is trained once more on what opened, and must score alike."""
    agreement, own = label.agreement, panel.features.values.shape[-1]
    terms, walk = agreement.model, agreement.walk_forward
    if isinstance(terms, RidgeModel):
        found.not_repeated.append("the ridge's coefficients are those committed to; the blocks were not solved again")
        return RidgeHead(own)
    assert isinstance(terms, SplitModel)
    if agreement.search is not None:
        found.not_repeated.append("the searched top model is the one committed to; the search was not made again")
        return LabelHead(terms, own, shares=walk.shares)
    sums = {int(name.removeprefix("sum_")): z for name, z in label.basis.items() if name.startswith("sum_")}
    limits = agreement.schedule_limit, agreement.reserved_openings
    steps = tuple(prequential(terms, walk, panel.known_from, panel.label, panel.universe, *limits))
    if set(sums) != {step.number for step in steps}:
        raise ValueError("the sums of some steps are missing")
    head, repeated = repeat_training(terms, walk, panel, steps, sums)
    _same(repeated.embeddings, result.embeddings, "sums of predictions", found)
    _same(repeated.scores, result.scores, "scores", found)
    return head


def _same(computed: F64, shown: F64, what: str, found: _Findings) -> None:
    if computed.shape != shown.shape or not np.allclose(computed, shown, rtol=_CLOSE, atol=_CLOSE, equal_nan=True):
        found.faults.append(f"shows {what} that do not follow from what it opened, its labels and the agreed model")


def _sealed_ics(
    label: LabelEvidence, run: ValuedRun, logged: Sequence[_Logged], found: _Findings
) -> dict[frozenset[str], F64]:
    """Every coalition's IC, from both holders' shares of the numbers; the full one's from scores and labels."""
    agreement, panel = run.agreement, run.panel
    anchor = sealed_members(agreement).anchor
    ours, values = label.opened["ours"], label.opened["values"].tobytes()
    _sent(logged, anchor, "numbers", values, found, "share of the numbers")
    for entry in logged:
        if entry.party == anchor and entry.valued[-1]["numbers"] != arrays_digest(label.salt, {"ours": ours}).hex():
            found.faults.append(f"shows other shares of the numbers than it committed to towards {anchor!r}")
    terms, known = agreement.model, (panel.known_from, panel.label, panel.universe)
    if isinstance(terms, TreesModel):
        steps = tuple(refits(terms, agreement.walk_forward, *known))
    else:
        assert isinstance(terms, SealedModel)
        if agreement.search is not None:
            found.not_repeated.append(
                "the configuration is the one that the search chose; its trials were not made again"
            )
        steps = tuple(cyclic(terms, agreement.walk_forward, *known))
    periods = valued_periods(steps, panel, run.result.scores, run.window)
    theirs = numbers_received(values, ours)
    moments = opened_moments(run.parties, periods, scores_opened(periods, run.result.scores), ours, theirs)
    return placed_ics(moments, run.window)


def _own(label: LabelEvidence, panel: LabelPanel, found: _Findings) -> F64 | None:
    """Scores of the label party's own model, made once more where the agreement alone says how."""
    agreement, basis = label.agreement, label.basis
    shown: F64 | None = basis.get("own")
    if (shown is None) != (not panel.features.values.shape[-1]):
        raise ValueError("a label party with columns of its own has a model of its own, and none without")
    if shown is None:
        return None
    if agreement.search is not None:
        found.not_repeated.append("the scores of its own model are those committed to; its search was not made again")
        return shown
    terms, walk = agreement.model, agreement.walk_forward
    if isinstance(terms, SealedModel):
        seeds = basis["seed_0"].tobytes(), basis["seed_1"].tobytes()
        made = float_twin_scores([panel.features.rows], panel, terms, walk, agreement.fixed_point, seeds)
    elif isinstance(terms, TreesModel):
        made = _own_trees(label, terms, panel)
    else:
        assert isinstance(terms, SplitModel | RidgeModel), "of the other kinds none leaves coalitions to replay"
        made = alone(None, panel, terms, walk).scores
    _same(np.where(np.isnan(basis["scores"]), np.nan, made), shown, "scores of its own model", found)
    return shown


def _own_trees(label: LabelEvidence, terms: TreesModel, panel: LabelPanel) -> F64:
    """The twin's scores on its own columns. Raises ValueError where a value is called missing and is not."""
    me, basis, features = label.agreement.label.party, label.basis, panel.features
    missing, dated = basis.get("missing"), label.agreement.static is None
    if missing is not None and (missing.shape != features.values.shape or features.values[missing != 0].any()):
        raise ValueError("values of its own columns are called missing and are none")
    columns = tree_columns(replace(features, missing=None if missing is None else missing != 0))
    walk, seed, start = label.agreement.walk_forward, basis["seed_0"].tobytes(), []
    if terms.init_score == "linear":
        seeds = seed, basis["seed_1"].tobytes()
        start = own_start(features.rows, panel, terms, walk, label.agreement.fixed_point, seeds)
    return trees_twin({me: columns}, panel, terms, walk, {me: seed}, start=start, deal=dated)[0]


def _differences(said: ContributionRecord, computed: ContributionRecord) -> Iterator[str]:
    """What the signed record says otherwise than the replay, most telling first."""
    if said.periods != computed.periods or set(said.parties) != set(computed.parties):
        yield "signed contributions of other periods or parties than were valued"
        return
    for what, name in (("v_everyone", "v(all)"), ("v_nobody", "v(nobody)")):
        one, other = getattr(said, what), getattr(computed, what)
        if not _near(one, other):
            yield f"signed {name} {_number(one)}, replayed {_number(other)}"
    for party, ours in computed.parties.items():
        told = said.parties[party]
        for what, name in (
            ("standalone", f"v({party}) - v(nobody)"),
            ("leave_one_out", f"v(all) - v(all but {party})"),
            ("phi", f"phi of {party!r}"),
            ("standard_error", f"the standard error of {party!r}"),
        ):
            one, other = getattr(told, what), getattr(ours, what)
            if not _near(one, other):
                yield f"signed {name} {_number(one)}, replayed {_number(other)}"
        yield from _by_period(f"phi of {party!r}", said.periods, told.phi_by_period, ours.phi_by_period)
    yield from _by_period("IC(joint) - IC(own)", said.periods, said.uplift_by_period, computed.uplift_by_period)


def _by_period(
    name: str, periods: Sequence[str], said: Sequence[float | None], computed: Sequence[float | None]
) -> Iterator[str]:
    if len(said) != len(computed):
        yield f"signed {name} of {len(said)} periods, replayed {len(computed)}"
        return
    for period, one, other in zip(periods, said, computed, strict=False):
        if not _near(one, other):
            yield f"signed {name} in {period} {_number(one)}, replayed {_number(other)}"
            return


def _near(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=_CLOSE, abs_tol=_CLOSE)


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:+.6f}"
