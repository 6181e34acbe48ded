"""A run at one party, phase by phase: what the coordinator starts, and the report that goes back."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parties.agreement.signing import verify_signature
from parties.audit.bundles import log_export, logged_exports
from parties.control.phases import PhaseName
from parties.errors import AgreementError, DataError
from parties.factor.bundle_check import check_agreed_size
from parties.factor.delivery import bundle_report, described, opener, read_bundle, store_bundle
from parties.factor.sealing import reading_key
from parties.node.align import AlignedRows, keep_alignment, kept_alignment, perform_align
from parties.node.context import RunContext, peak_rss_mb
from parties.node.feature import FeatureParty
from parties.node.feature_parties import feature_party
from parties.node.kept_approvals import keep_approvals
from parties.node.kept_weights import keep_weights
from parties.node.scoring_run import ScoringRun
from parties.node.sealed_feature import SealedFeatureParty
from parties.node.signed_data import check_signed_data
from psi.flow import Role
from vfl.factors.verify import verify_bundle
from vfl.protocols.delivery import receive_bundle
from vfl.terms import FederatedModel, ScreenModel

if TYPE_CHECKING:
    from parties.node.label import LabelParty
    from parties.node.member import MemberParty

__all__ = ["PartyRun"]

Report = dict[str, Any]


class PartyRun:
    """Performs phases for one agreement. Each method returns the phase's report."""

    def __init__(self, context: RunContext, signatures: Mapping[str, str]) -> None:
        self.context = context
        for party in context.agreement.parties:
            if party.name not in signatures:
                raise AgreementError(f"{party.name!r} has not signed the agreement: no byte moves before everyone has")
            verify_signature(context.agreement, party.name, signatures[party.name])
        keep_approvals(context.run_folder, {party.name: signatures[party.name] for party in context.agreement.parties})
        self._alignment: AlignedRows | None = None
        self._part: FeatureParty | LabelParty | None = None
        self._member: MemberParty | None = None

    def perform(self, phase: PhaseName, attempt: int) -> Report:
        """Do this party's part of ``phase`` and measure it."""
        began = time.monotonic()
        self.context.check()
        self.context.traffic = {}
        report = self._part_of(phase, attempt)
        report |= {"seconds": time.monotonic() - began, "peak_rss_mb": peak_rss_mb(), "traffic": self.context.traffic}
        return report

    def _part_of(self, phase: PhaseName, attempt: int) -> Report:
        if self.context.agreement.scores is not None:
            if phase == "export" and self._is_label:
                return ScoringRun(self.context).deliver(attempt)
            if phase != "train":
                raise AgreementError(f"the coordinator started {phase} in a session that only scores")
            return ScoringRun(self.context).train(attempt)
        if phase in ("align", "encode", "train"):
            context = self.context
            key = context.secret(f"signed-data/{context.run_id}")
            check_signed_data(context.agreement, context.settings, context.folder, key)
        if isinstance(self.context.agreement.model, FederatedModel):
            return self._as_member(phase, attempt)
        match phase:
            case "align":
                return self._align(attempt)
            case "encode":
                return self._encode(attempt)
            case "train":
                return self._train(attempt)
            case "evaluate":
                return self._evaluate(attempt)
            case "value":
                return self._value(attempt)
            case "export":
                return self._export(attempt)
            case "approve" | "settle":
                raise AgreementError(f"the coordinator started {phase}, in which no party has a part")

    def _as_member(self, phase: PhaseName, attempt: int) -> Report:
        """A federated run's phases, in which all members do alike."""
        from parties.node.member import MemberParty

        if phase not in ("train", "evaluate", "value", "export"):
            raise AgreementError(f"the coordinator started {phase}, in which no member has a part")
        if self._member is None:
            self._member = MemberParty(self.context)
            if phase != "train":
                self._member.restore()
        member = self._member
        match phase:
            case "train":
                return {"detail": member.train(attempt)}
            case "evaluate":
                numbers, points = member.evaluate()
                return {"evaluation": numbers, "points": points}
            case "value":
                return member.value(attempt)
            case _:
                folder = member.folder
                if not folder.is_dir():
                    folder = store_bundle(self._factors, self._logged(member.bundle()))
                return bundle_report(read_bundle(folder), folder)

    def _align(self, attempt: int) -> Report:
        self._alignment = perform_align(self.context, attempt)
        keep_alignment(self.context.checkpoints(), self._alignment)
        return {"n_common": len(self._alignment.ids), "set_size": self._alignment.set_size}

    def _encode(self, attempt: int) -> Report:
        from parties.node.group_member import train_encoder

        return {"detail": train_encoder(self.context, self._aligned().ids, attempt)}

    def _aligned(self) -> AlignedRows:
        """The alignment, from before a restart where there was one."""
        found = self._alignment or kept_alignment(self.context.checkpoints())
        if found is None:
            raise AgreementError("the alignment is not among this node's records: propose the run again")
        self._alignment = found
        return found

    @property
    def _is_label(self) -> bool:
        return self.context.agreement.label.party == self.context.me

    def _label(self) -> LabelParty:
        # torch and the statistics are the label party's alone: a feature party starts without them
        from parties.node.classes_static_label import ClassesLabelParty
        from parties.node.label import LabelParty
        from parties.node.static_label import StaticLabelParty

        rows, static = self._aligned(), self.context.agreement.static
        kind = LabelParty
        if static is not None:
            kind = StaticLabelParty if static.classes is None else ClassesLabelParty
        return kind(self.context, rows.ids, dict(rows.roots))

    def _trained(self) -> FeatureParty | LabelParty:
        """This party's part after training, from its records where the node has restarted since."""
        if self._part is None:
            part = self._label() if self._is_label else feature_party(self.context, self._aligned().ids)
            part.restore()
            self._part = part
        return self._part

    def _train(self, attempt: int) -> Report:
        rows = self._aligned()
        rows.remember()
        if self._is_label and isinstance(self.context.agreement.model, ScreenModel):
            return self._screen(attempt)
        if self._is_label:
            label = self._label()
            self._part = label
            label.train(attempt)
            self._keep_weights(label)
            count = int(sum(len(step.rows) for step in label.result.steps))
            told = self.context.agreement.evaluation.metrics_to_coordinator
            return {"rows": count} | ({"points": label.training_points()} if told else {})
        feature = feature_party(self.context, rows.ids)
        self._part = feature
        feature.train(attempt)
        self._keep_weights(feature)
        return {"openings": self._openings()}

    def _screen(self, attempt: int) -> Report:
        from parties.node.screen_label import ScreenLabelParty

        agreement, rows = self.context.agreement, self._aligned()
        found = ScreenLabelParty(self.context, rows.ids).screen(attempt)
        told = agreement.evaluation.metrics_to_coordinator
        return {"rows": len(agreement.periods) * len(rows.ids)} | ({"screen": found} if told else {})

    def _keep_weights(self, part: FeatureParty | LabelParty) -> None:
        """Keep this side's last weights where daily use is agreed, before the run's own records go."""
        context = self.context
        if context.agreement.daily is None:
            return
        assert isinstance(part, SealedFeatureParty) or not isinstance(part, FeatureParty), "agreed of sealed runs alone"
        keep_weights(context.folder, context.secret, context.me, context.run_id, part.last_weights(), self._aligned())

    def _evaluate(self, _: int) -> Report:
        part = self._trained()
        assert not isinstance(part, FeatureParty)
        numbers, points = part.evaluate()
        told = self.context.agreement.evaluation.metrics_to_coordinator
        return {"evaluation": numbers, "points": points} if told else {}

    def _value(self, attempt: int) -> Report:
        part = self._trained()
        if not isinstance(part, FeatureParty):
            return part.value(attempt).record()
        kept = part.value(attempt)
        return {"openings": self._openings()} | ({"contribution_sha256": kept} if kept else {})

    def _openings(self) -> dict[str, int]:
        assert isinstance(self._part, FeatureParty)
        return {"limit": self._part.budget.limit, "max_used": self._part.budget.largest}

    def _export(self, attempt: int) -> Report:
        agreement = self.context.agreement
        if self._is_label:
            part = self._trained()
            assert not isinstance(part, FeatureParty)
            folder = part.folder
            if not folder.is_dir():
                folder = store_bundle(self._factors, self._logged(part.bundle()))
            files = read_bundle(folder)
            part.deliver(attempt, files)
            return bundle_report(files, folder)
        mine = opener(agreement, self.context.me, reading_key(self.context.identity.key))
        flow = receive_bundle(agreement.label.party, Role.FEATURE, mine)
        files = self.context.perform("export", attempt, flow)
        key = bytes.fromhex(agreement.party(agreement.label.party).identity_key)
        verify_bundle(files, trusted={agreement.label.party: key}).require()
        for proof in logged_exports(files, {agreement.label.party: key}):
            if proof.fault:
                raise DataError(f"the factor bundle's proof by {proof.signer!r} {proof.fault}: ask for it again")
        static = agreement.static is not None
        check_agreed_size(files, 1 if static else len(agreement.periods), len(self._aligned().ids), static=static)
        report = bundle_report(files, store_bundle(self._factors, files))
        told = {name: report[name] for name in ("factor_id", "version", "sha256")}
        self.context.audit.append("received", agreement.run_id, told)
        return report

    @property
    def _factors(self) -> Path:
        return self.context.folder / "factors"

    def _logged(self, files: dict[str, bytes]) -> dict[str, bytes]:
        told = described(files)
        return log_export(self.context.audit, self.context.run_id, files, told["factor_id"], told["version"])
