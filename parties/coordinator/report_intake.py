"""What parties report: checked, turned into events, or kept as progress."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Any

from parties.agreement.overlap import OverlapAnswer
from parties.agreement.signing import verify_signature
from parties.control.phase_reports import PartReport, phase_report
from parties.control.reports import (
    DoneBody,
    FailedBody,
    HeartbeatBody,
    HeldBody,
    IntroductionBody,
    LinksBody,
    ProgressBody,
    RejectedBody,
    SignedBody,
    parse_report,
)
from parties.coordinator.approvals import Approvals
from parties.coordinator.committed_rows import CommittedRows
from parties.coordinator.contribution_intake import check_contribution
from parties.coordinator.engine import Engine
from parties.coordinator.events import PhaseDone, PhaseFailed, PhaseHeld, Rejected, Signed
from parties.coordinator.overlaps import Overlaps
from parties.coordinator.state import EventRefused
from parties.errors import AgreementError
from parties.fields import printable
from parties.settlement.committed_rows import RowsCommitted
from parties.settlement.live_record import LiveRecord
from parties.settlement.requests import Answer

__all__ = ["ReportIntake"]


class ReportIntake:
    """Takes reports of authenticated parties to the engine. Thread-safe."""

    def __init__(self, engine: Engine, approvals: Approvals, rows: CommittedRows, overlaps: Overlaps) -> None:
        self._rows = rows
        self._overlaps = overlaps
        self._engine = engine
        self._approvals = approvals

    def take(self, party: str, kind: str, run_id: str, body: bytes) -> bool:
        """Take a party's report in. False: it was late or repeated. Raises :class:`AgreementError` on bad input."""
        self._engine.heard(party)
        now = datetime.now(UTC)
        match parse_report(kind, run_id, body, party).body:
            case HeartbeatBody():
                return True
            case IntroductionBody() as introduction:
                self._engine.introduced(party, introduction)
                return True
            case SignedBody(signature=signature):
                verify_signature(self._engine.known(run_id).agreement, party, signature)
                return self._engine.take(Signed(run_id, now, party, signature))
            case LinksBody() as links:
                return self._linked(party, run_id, links)
            case RejectedBody(why=why):
                return self._engine.take(Rejected(run_id, now, party, why))
            case FailedBody() as said:
                return self._engine.take(
                    PhaseFailed(run_id, now, party, said.phase, said.attempt, said.reason, said.peer, said.lost)
                )
            case HeldBody(phase=phase, attempt=attempt):
                return self._engine.take(PhaseHeld(run_id, now, party, phase, attempt))
            case DoneBody() as done:
                return self._finished(party, run_id, done, now)
            case ProgressBody() as progress:
                return self._engine.progressed(party, run_id, progress)
            case Answer() as answer:
                return self._approvals.heard(party, answer)
            case LiveRecord() as record:
                return self._approvals.take_live(party, record)
            case RowsCommitted() as committed:
                return self._rows.take(party, committed)
            case OverlapAnswer() as said_of_overlap:
                return self._overlaps.heard(party, said_of_overlap)

    def _linked(self, party: str, run_id: str, said: LinksBody) -> bool:
        """What answered at the addresses of a party's peers, kept with the run's progress: it decides nothing."""
        known = self._engine.known(run_id)
        strangers = {party, *said.peers} - set(known.state.plan.parties)
        if strangers:
            raise AgreementError(f"{party} reported links of run {run_id[:12]} with {sorted(strangers)[0]}, not in it")
        known.progress.linked(party, said)
        return True

    def _finished(self, party: str, run_id: str, done: DoneBody, now: datetime) -> bool:
        """A report that is refused ends the party's part: it will not make a better one."""
        try:
            report = phase_report(done.phase, done.report, party)
            if "head" in report:
                self._engine.witnessed(party, report["head"])
            known = self._engine.known(run_id)
            state, plan = known.state, known.state.plan
            expected = done.phase == "value" and party == plan.label and plan.valued
            if expected and report.get("contribution") is None:
                raise AgreementError(f"{party}'s report on value has no contribution: send the contribution report")
            if done.phase == "value" and plan.valued:
                check_contribution(known.agreement, state, party, report, self._rows)
        except AgreementError as error:
            if done.phase != "approve":
                with contextlib.suppress(EventRefused):
                    self._engine.take(
                        PhaseFailed(run_id, now, party, done.phase, done.attempt, printable(str(error)[:2000]))
                    )
            raise
        event = PhaseDone(run_id, now, party, done.phase, done.attempt, report)
        return self._engine.phase_done(event, _common(report))


def _common(report: dict[str, Any]) -> PartReport:
    """The part of a checked report that every phase shares."""
    return PartReport.model_validate({name: report[name] for name in PartReport.model_fields if name in report})
