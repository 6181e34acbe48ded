"""A member's part in a federated run: rounds at home, values, and a factor of its own entities."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parties.agreement.federated_terms import federated_rounds, valuation_plan
from parties.data.calendar import calendar_of
from parties.errors import AgreementError, ConfigError
from parties.factor.naming import factor_id
from parties.factor.provenance import git_revision, lockfile_sha256
from parties.node.context import RunContext
from parties.node.kept_contribution import keep_contribution
from parties.node.member_rows import MemberRows, read_member_rows, training_seed
from parties.node.row_commitments import told_times
from parties.settlement.committed_rows import covered_periods
from parties.settlement.contribution import ContributionRecord
from parties.settlement.dossier_store import write_durably
from parties.settlement.signed_contribution import SignedContribution, contribution_digest
from psi.flow import Flow, RemoteProtocolError, receive
from vfl.arithmetic.randomness import SecretStream
from vfl.contribution.shapley import coalitions, exact_shapley
from vfl.factors.bundle_metadata import FactorMetadata
from vfl.factors.evaluate import evaluate
from vfl.factors.export import FactorBundle, Signer, export_bundle, size_band
from vfl.factors.hac import hac_mean
from vfl.federated.learning import ModuleLearner
from vfl.federated.messages import MembersLeft
from vfl.federated.rounds import take_part
from vfl.federated.valuation import tell_value, tell_values
from vfl.protocols.contribution_record import hear_contributions, hear_rows, tell_contributions, tell_rows
from vfl.terms import FederatedModel

__all__ = ["MemberParty"]

F64 = NDArray[np.float64]
_FILE = "federated.json"


class MemberParty:
    """Reads its own rows, once; keeps what training made in the run's folder."""

    def __init__(self, context: RunContext) -> None:
        agreement, settings = context.agreement, context.settings
        assert isinstance(agreement.model, FederatedModel)
        self._context, self._model = context, agreement.model
        self.rows: MemberRows = read_member_rows(
            agreement, settings.party, settings.label, context.queries, context.data
        )
        self._stream = SecretStream(os.urandom(32))
        self._made: dict[str, Any] = {}

    @property
    def _path(self) -> Path:
        return self._context.run_folder / _FILE

    def train(self, attempt: int) -> dict[str, int]:
        """The rounds, and what came of them; how many there were and how many members the last one had."""
        self._made = self._context.perform("train", attempt, self._trained(attempt))
        write_durably(self._path, json.dumps(self._made))
        rounds = self._made["rounds"]
        fewest = min(len(names) for names in rounds)
        return {"rounds": len(rounds), "members": len(rounds[-1]), "fewest_members": fewest}

    def _trained(self, attempt: int) -> Flow[dict[str, Any]]:
        rounds, me = federated_rounds(self._context.agreement), self._context.me
        learner, initial = self.rows.begin(training_seed(rounds, attempt))
        alone = self.rows.alone()
        trained = yield from take_part(rounds, me, learner, initial, self._stream)
        learner.load(trained.weights)
        joint = self.rows.judged_by(learner)
        values = []
        for number, judged in enumerate((joint, alone), start=rounds.model.rounds):
            values.append((yield from tell_value(rounds.sums, me, number, judged, self._stream)))
        return {
            "attempt": attempt,
            "rounds": [list(one.names) for one in trained.rounds],
            "weights": trained.weights.tolist(),
            "head": learner.own.tolist(),
            "joint": [_or_none(value) for value in values[0]],
            "alone": [_or_none(value) for value in values[1]],
        }

    def restore(self) -> None:
        """Take up what training left. Raises :class:`AgreementError` when it is not there."""
        try:
            self._made = json.loads(self._path.read_text())
        except (OSError, ValueError):
            raise AgreementError("what training left is not among this node's records: propose the run again") from None

    def _learner(self) -> ModuleLearner:
        """The trained model."""
        learner = self.rows.learner(0)
        learner.load(np.array(self._made["weights"]))
        learner.load_own(np.array(self._made["head"]))
        return learner

    @property
    def _periods(self) -> tuple[str, ...]:
        return self._context.agreement.periods[self.rows.window]

    def evaluate(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The mean rank ICs that opened: of the common model, and of those that members train alone."""
        joint, alone = (np.array(self._made[name], dtype=np.float64) for name in ("joint", "alone"))
        if not np.isfinite(joint).any():
            raise ConfigError("no reported period has a rank IC: propose a longer calendar or more entities")
        horizon = max(self._context.agreement.walk_forward.horizon, 1)
        found = {name: hac_mean(one, horizon=horizon) for name, one in (("joint", joint), ("own", alone))}
        gain = hac_mean(joint - alone, horizon=horizon)
        numbers: dict[str, Any] = {"n_periods": found["joint"].n_periods}
        for name, one in found.items():
            numbers |= {f"ic_{name}": _or_none(one.mean), f"t_{name}": _or_none(one.t)}
        numbers |= {"uplift": _or_none(gain.mean), "t_uplift": _or_none(gain.t)}
        points = []
        for period, *values in zip(self._periods, joint, alone, strict=True):
            named = zip(("ic_joint", "ic_own"), values, strict=True)
            points.append({"period": period} | {name: float(one) for name, one in named if math.isfinite(one)})
        return numbers, points

    def value(self, attempt: int) -> dict[str, Any]:
        """Train in every coalition, and keep what the lead signs; the report on it."""
        return self._context.perform("value", attempt, self._valued())

    def _valued(self) -> Flow[dict[str, Any]]:
        agreement, me = self._context.agreement, self._context.me
        lead, names = agreement.label.party, [party.name for party in agreement.parties]
        told = yield from receive(federated_rounds(agreement).aggregator, MembersLeft)
        if tuple(name for name in names if name in told.names) != told.names or not {me, lead} <= set(told.names):
            raise RemoteProtocolError("names other members than this run has")
        plan = valuation_plan(agreement, set(names) - set(told.names))
        game = yield from tell_values(plan, me, self.rows, self._stream)
        if me != lead:
            kept: list[str] = []
            yield from tell_rows(lead, self._in_time())
            yield from hear_contributions(lead, lambda document: kept.append(self._keep(document)))
            return {"contribution_sha256": kept[0]}
        return (yield from self._signed(game, plan.others))

    def _signed(self, game: Mapping[frozenset[str], F64], others: tuple[str, ...]) -> Flow[dict[str, Any]]:
        """The lead: share out, sign, and tell all who are still in. Who dropped out has brought nothing."""
        context, agreement = self._context, self._context.agreement
        parties, present = tuple(party.name for party in agreement.features), frozenset(others)
        report = exact_shapley(
            {members: game[(members & present) | (agreement.kin & present)] for members in coalitions(parties)},
            method="retrain",
            parties=parties,
            horizon=max(agreement.walk_forward.horizon, 1),
            entities=agreement.legal_entities,
        )
        flags = yield from hear_rows(others, len(self._periods))
        committed = {name: list(flags.get(name, (False,) * len(self._periods))) for name in parties}
        said = report.record() | {"periods": list(self._periods), "committed": committed}
        record = ContributionRecord.model_validate(said)
        signed = SignedContribution.made(context.identity.key, context.run_id, record)
        document = signed.model_dump_json().encode()
        keep_contribution(context, document)
        yield from tell_contributions(others, document)
        return {"contribution": said, "contribution_signature": signed.signature}

    def _keep(self, document: bytes) -> str:
        return contribution_digest(keep_contribution(self._context, document).record)

    def _in_time(self) -> tuple[bool, ...]:
        return covered_periods(self._context.agreement, told_times(self._context.folder), self._periods)

    @property
    def folder(self) -> Path:
        """Where this node keeps the factor of its own entities."""
        agreement = self._context.agreement
        name = factor_id(agreement.consortium, agreement.label.name)
        return self._context.folder / "factors" / name / self._context.run_id[:12]

    def bundle(self) -> dict[str, bytes]:
        """The signed factor of its own entities: nobody else has it."""
        context, agreement, identity = self._context, self._context.agreement, self._context.identity
        scores, own = self.rows.scores(self._learner()), self.rows.scores(self.rows.trained_alone())
        horizon, terms = max(agreement.walk_forward.horizon, 1), agreement.evaluation
        try:
            validation = evaluate(
                {"joint": scores, "own": own}, self.rows.label, agreement.periods, horizon=horizon, first=terms.first,
                last=terms.last,
            )  # fmt: skip
        except ValueError as error:
            raise ConfigError(str(error)) from None
        metadata = FactorMetadata(
            factor_id=self.folder.parent.name,
            version=self.folder.name,
            universe=f"own entities of {context.me}, in its universe",
            identifier_scheme="normalised identifiers of its own",
            label_name=agreement.label.name,
            label_definition=agreement.label.definition,
            run_id=context.run_id,
            parties=tuple(party.name for party in agreement.parties),
            alignment_policy=agreement.alignment.policy,
            intersection_size_band=size_band(len(self.rows.entities)),
            he_parameters={"scheme": "none: secure sums of updates"},
            openings_limit=0,
            openings_used=0,
            git_sha=git_revision(),
            lockfile_sha256=lockfile_sha256(),
            seed=self._model.seed,
            terms=agreement.purpose,
            calendar=f"{agreement.dated.frequency}, cutoffs in UTC",
            frequency=agreement.dated.frequency,
            horizon=agreement.walk_forward.horizon,
            purge=agreement.walk_forward.longest,
            embargo=agreement.walk_forward.embargo,
            n_trials=1,
            proposed_at=agreement.proposed_at,
        )
        made = FactorBundle(
            calendar=calendar_of(agreement.dated),
            instruments=self.rows.entities,
            scores=scores,
            n_parties=len(self._made["rounds"][-1]),
            computing_lag=timedelta(minutes=1),
            metadata=metadata,
            validation=validation,
        )
        return export_bundle(made, Signer(identity.name, bytes.fromhex(identity.public_key), identity.key.sign))


def _or_none(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
