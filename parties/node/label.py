"""The label party's part: training, evaluation, valuation and export of the joint factor."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parties.agreement.document import Agreement
from parties.control.phases import session_roles
from parties.data.agreed_rows import rows_of
from parties.data.calendar import calendar_of
from parties.data.security_list import within_list
from parties.errors import AgreementError, ConfigError
from parties.factor.delivery import reading_keys, sealer, write_sealed
from parties.factor.naming import factor_id
from parties.factor.provenance import git_revision, lockfile_sha256
from parties.node.align import listed_universe
from parties.node.context import RunContext
from parties.node.joint import joint_model
from parties.node.kept_contribution import kept_contribution
from parties.node.label_commitment import commit_labels
from parties.node.most_opened import most_opened
from parties.node.placebo import PlaceboResult, strangers
from parties.node.recorded_outputs import check_own_columns, record_outputs
from parties.node.sealed_label import SealedJoint
from parties.node.valuation import Valuation, value_run
from psi.flow import Flow
from vfl.arithmetic.parameter_sets import PARAMETER_SETS, PRIME_PARAMETER_SETS
from vfl.contribution.findings import contribution_findings
from vfl.factors.bundle_metadata import FactorMetadata
from vfl.factors.evaluate import Evaluation, Method, evaluate
from vfl.factors.export import FactorBundle, Signer, export_bundle, size_band
from vfl.factors.findings import Findings
from vfl.factors.joining import UPLIFT_LEVEL
from vfl.models.split.training import score_coalition
from vfl.protocols.delivery import deliver_bundle
from vfl.protocols.label_commitment import tell_commitment
from vfl.terms import SealedModel
from vfl.walk.result import TrainingResult

__all__ = ["LabelParty"]

_ROWS_OF = {
    "psi": "entities common to all {} parties, in the label party's universe",
    "universe": "a public list that {} parties agreed on, in the label party's universe",
    "union": "entities of the label party, in its universe; each may be held by any of the {} parties",
}

F64 = NDArray[np.float64]

_LOG = logging.getLogger(__name__)


class LabelParty:
    """Holds what one run needs between its phases: panel, top model, opened sums, evaluation."""

    def __init__(self, context: RunContext, entities: tuple[str, ...], roots: dict[str, bytes]) -> None:
        self.context = context
        self._entities = entities
        self._roots = roots
        agreement, settings = context.agreement, context.settings
        assert settings.label is not None
        self.panel = rows_of(agreement).labels(
            settings.party, settings.label, context.queries, context.data, entities
        )  # fmt: skip
        if agreement.alignment.policy == "universe" and agreement.calendar is not None:
            public = listed_universe(agreement, settings, context.folder)
            self.panel = within_list(self.panel, public.listed(calendar_of(agreement.dated), entities))
        self._placebo: PlaceboResult | None = None
        if agreement.placebo is not None:
            self._placebo = PlaceboResult(context, self._factor)
            self.panel = strangers(self.panel, agreement.placebo.seed)
        check_own_columns(context, self.panel.features, entities)
        self._model = joint_model(context, self.panel)
        self._result: TrainingResult | None = None
        self._evaluation: Evaluation | None = None
        self._own: F64 | None = None
        self._seconds = 0.0

    @property
    def _label(self) -> F64:
        """Labels of the rows in the universe, NaN elsewhere."""
        labels: F64 = np.where(self.panel.universe, self.panel.label, np.nan)
        return labels

    @property
    def result(self) -> TrainingResult:
        assert self._result is not None
        return self._result

    def train(self, attempt: int) -> None:
        """Walk forward over sealed features under a key made for this session."""
        began = time.monotonic()
        self._result = self.context.perform("train", attempt, self._trained())
        self._seconds = time.monotonic() - began

    def last_weights(self) -> tuple[SealedModel, Mapping[str, NDArray[np.uint64]]]:
        """The model of the result and this side's shares of its last weights, which a sealed run alone has."""
        assert isinstance(self._model, SealedJoint)
        return self._model.last_weights()

    def _trained(self) -> Flow[TrainingResult]:
        """Training, after a commitment to labels and columns that every feature party keeps."""
        names = [party.name for party in self.context.agreement.features]
        yield from tell_commitment(names, commit_labels(self.context, self.panel, self._entities))
        return (yield from self._model.train())

    def restore(self) -> None:
        """Take up what training left, after a restart. Raises :class:`AgreementError` when it cannot be."""
        self._result = self._model.restore()
        if self._result is None:
            raise AgreementError("what training left is not among this node's records: propose the run again")

    def training_points(self) -> list[dict[str, Any]]:
        """Mean training loss by decision period; none where losses are never opened."""
        if not len(self.result.losses):
            return []
        losses: dict[int, list[float]] = {}
        trained = [step for step in self._model.steps if step.kind == "train"]
        for step, loss in zip(trained, self.result.losses, strict=True):
            losses.setdefault(step.period, []).append(float(loss))
        periods = self.context.agreement.periods
        return [{"period": periods[p], "loss": float(np.mean(values))} for p, values in sorted(losses.items())]

    def evaluate(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Out-of-sample numbers of the joint factor and of the label party's own model: summary and by period."""
        agreement = self.context.agreement
        scores = {"joint": self.result.scores}
        if self.panel.features.values.shape[-1]:
            self._own = scores["own"] = np.where(np.isnan(self.result.scores), np.nan, self._model.alone())
        try:
            self._evaluation = evaluate(
                scores,
                self._label,
                self.context.agreement.periods,
                horizon=max(agreement.walk_forward.horizon, 1),
                first=agreement.evaluation.first,
                last=agreement.evaluation.last,
            )
        except ValueError as error:
            raise ConfigError(str(error)) from None
        return _numbers(self._evaluation), _points(self._evaluation)

    def _be_evaluated(self) -> None:
        """After a restart neither the numbers nor the own model's scores are there: make them again."""
        if self._evaluation is None:
            self.evaluate()

    def value(self, attempt: int) -> Valuation:
        """Open what the agreement consents to, and share out the rank IC that the coalitions gain."""
        self._be_evaluated()
        valued = value_run(
            self.context,
            self._model,
            self.result,
            self.panel,
            self.context.agreement.periods,
            attempt,
            self._own,
        )
        outputs = {"score": self._scored, **valued.opened}
        record_outputs(self.context, self.context.agreement.periods, self._entities, outputs)
        return valued

    @property
    def _scored(self) -> F64:
        """What the run says of a row, (T, n, outputs)."""
        return self.result.scores[..., None]

    @property
    def _factor(self) -> Path:
        """Where this node keeps the versions of the factor."""
        agreement = self.context.agreement
        return self.context.folder / "factors" / factor_id(agreement.consortium, agreement.label.name)

    @property
    def folder(self) -> Path:
        """Where this node keeps what the run exports."""
        return self._factor / self.context.run_id[:12] if self._placebo is None else self._placebo.folder

    def bundle(self) -> dict[str, bytes]:
        """The signed factor bundle's files."""
        from parties.node.validation import earlier_trials, horizon_outputs, validate_run

        self._be_evaluated()
        assert self._evaluation is not None
        openings_used = most_opened(self.context.agreement, self._model.steps, self.panel)
        if self._placebo is not None:
            return self._placebo.bundle(self._evaluation, openings_used)
        agreement = self.context.agreement
        calendar = calendar_of(agreement.dated)
        predicted = max(len(self.result.predictions), 1)
        name, version = self.folder.parent.name, self.folder.name
        earlier = earlier_trials(self.context.folder / "factors" / name, version)
        findings, trials = validate_run(
            agreement,
            self.context.run_id,
            calendar,
            self.panel,
            self.result,
            self._own,
            self._rescored(),
            earlier,
            found=self._model.found,
            tried=self._model.tried,
        )
        outputs = horizon_outputs(agreement, self._model.head, self.result, self.panel)
        metadata = FactorMetadata(
            **self._told(),
            neutralised_against=self.context.agreement.label.residual,
            calendar=f"{agreement.dated.frequency}, cutoffs in UTC",
            frequency=agreement.dated.frequency,
            horizon=agreement.walk_forward.horizon,
            purge=agreement.walk_forward.longest,
            embargo=agreement.walk_forward.embargo,
            outputs=dict(outputs.meaning),
            n_trials=len(trials) + earlier[1],
            openings_used=openings_used,
        )
        bundle = FactorBundle(
            calendar=calendar,
            instruments=self._entities,
            scores=self.result.scores,
            n_parties=len(agreement.parties),
            computing_lag=timedelta(minutes=math.ceil(self._seconds / predicted / 60) or 1),
            metadata=metadata,
            validation=self._evaluation,
            embeddings=outputs.scores,
            findings=(findings | outputs.findings | self._contributed()).first("no uplift"),
            trials=trials,
        )
        return export_bundle(bundle, self._signer)

    @property
    def _signer(self) -> Signer:
        identity = self.context.identity
        return Signer(identity.name, bytes.fromhex(identity.public_key), identity.key.sign)

    def _told(self) -> dict[str, Any]:
        """What the metadata of any bundle say of the run."""
        agreement = self.context.agreement
        return {
            "factor_id": self.folder.parent.name,
            "version": self.folder.name,
            "universe": _universe(agreement),
            "identifier_scheme": "normalised identifiers as agreed between the parties",
            "label_name": agreement.label.name,
            "label_definition": agreement.label.definition,
            "run_id": self.context.run_id,
            "parties": tuple(p.name for p in agreement.parties),
            "alignment_policy": agreement.alignment.policy,
            "intersection_size_band": size_band(len(self._entities)),
            "he_parameters": _he_parameters(agreement),
            "openings_limit": agreement.row_limit,
            "git_sha": git_revision(),
            "lockfile_sha256": lockfile_sha256(),
            "seed": agreement.model.seed,
            "input_commitments": {name: root.hex() for name, root in self._roots.items()},
            "terms": agreement.purpose,
            "proposed_at": agreement.proposed_at,
        }

    def _rescored(self) -> Callable[[F64], F64] | None:
        """Scores of other embeddings by the model as it was; None where it never saw an embedding."""
        head = self._model.head
        return None if head is None else lambda sums: score_coalition(head, self.result, self.panel, sums)

    def _contributed(self) -> Findings:
        """What the signed contributions rest on; nothing where none are agreed."""
        agreement = self.context.agreement
        kept = kept_contribution(self.context.folder, self.context.run_id, agreement)
        if kept is None:
            return Findings()
        phi = {
            party: np.array([math.nan if value is None else value for value in said.phi_by_period])
            for party, said in kept.parties.items()
        }
        level, horizon = agreement.reward.uplift_level, max(agreement.walk_forward.horizon, 1)
        return contribution_findings(phi, kept.committed, horizon=horizon, level=level if level < 1 else UPLIFT_LEVEL)

    def deliver(self, attempt: int, files: dict[str, bytes]) -> None:
        """Seal the bundle for every recipient but ourselves: send it to nodes, leave a file for readers without one."""
        context, agreement = self.context, self.context.agreement
        keys = reading_keys(agreement, context.roster or {})
        if agreement.readers:
            folder = context.folder / "sealed"
            for path in write_sealed(folder, agreement, context.identity, agreement.readers, files, context.audit):
                _LOG.info("run %s: hand %s to its reader; nobody else can open it", agreement.run_id[:12], path)
        roles = session_roles(agreement, "export")
        targets = {name: role for name, role in roles.items() if name != context.me}
        if targets:
            flow = deliver_bundle(targets, files, sealer(agreement, context.identity, keys, files))
            context.perform("export", attempt, flow)


def _or_none(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _numbers(evaluation: Evaluation) -> dict[str, Any]:
    rank: Method = "rank"
    joint = evaluation.summaries["joint"][rank]
    numbers = {"ic_joint": _or_none(joint.mean), "t_joint": _or_none(joint.t), "n_periods": joint.n_periods}
    if "own" in evaluation.summaries:
        own, gain = evaluation.summaries["own"][rank], evaluation.uplifts["own"][rank].difference
        numbers |= {"ic_own": _or_none(own.mean), "t_own": _or_none(own.t)}
        numbers |= {"uplift": _or_none(gain.mean), "t_uplift": _or_none(gain.t)}
    return numbers


def _points(evaluation: Evaluation) -> list[dict[str, Any]]:
    joint = evaluation.ics["joint"]
    own = evaluation.ics.get("own", {}).get("rank")
    points = []
    for i, period in enumerate(evaluation.periods):
        point: dict[str, Any] = {"period": period}
        for name, series in (("ic_joint", joint["rank"]), ("pearson_joint", joint["pearson"]), ("ic_own", own)):
            if series is not None and math.isfinite(series[i]):
                point[name] = float(series[i])
        points.append(point)
    return points


def _he_parameters(agreement: Agreement) -> dict[str, Any]:
    """The agreed encryption as a factor's metadata has it."""
    crypto = (PARAMETER_SETS | PRIME_PARAMETER_SETS)[agreement.parameter_set]
    return {
        "scheme": "BFV",
        "set": crypto.name,
        "degree": crypto.degree,
        "prime_bits": (*crypto.prime_bits, crypto.special_bits),
        "ring_bits": agreement.fixed_point.ring_bits,
    }


def _universe(agreement: Agreement) -> str:
    """Which rows the factor has, in words."""
    terms = agreement.alignment
    named = f" ({terms.universe_version})" if terms.universe_version else ""
    return _ROWS_OF[terms.policy].format(len(agreement.parties)) + named
