"""What parties say: checked, turned into events, or kept as progress."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime
from typing import Any

from parties.agreement.signing import verify_signature
from parties.control.phases import printable
from parties.control.reports import (
    DoneBody,
    FailedBody,
    HeartbeatBody,
    HeldBody,
    IntroductionBody,
    PartReport,
    ProgressBody,
    RejectedBody,
    SignedBody,
    parse,
    phase_report,
)
from parties.coordinator.approvals import Approvals
from parties.coordinator.engine import Engine
from parties.coordinator.events import PhaseDone, PhaseFailed, PhaseHeld, Rejected, Signed
from parties.coordinator.state import EventRefused
from parties.errors import AgreementError
from parties.settlement.live_record import LiveRecord
from parties.settlement.requests import Answer

__all__ = ["Hearing"]


class Hearing:
    """Takes reports of authenticated parties to the engine. Thread-safe."""

    def __init__(self, engine: Engine, approvals: Approvals) -> None:
        self._engine = engine
        self._approvals = approvals

    def said(self, party: str, kind: str, run_id: str, body: bytes) -> bool:
        """Take a party's report in. False: it was late or repeated. Raises :class:`AgreementError` on bad input."""
        with self._engine.lock:
            self._engine.lines.heard(party)
        what = f"{party}'s {kind[:20]} report"
        now = datetime.now(UTC)
        if kind == "heartbeat":
            parse(HeartbeatBody, body, what)
            return True
        if kind == "introduction":
            self._engine.introduced(party, parse(IntroductionBody, body, what))
            return True
        if kind == "signed":
            signature = parse(SignedBody, body, what).signature
            verify_signature(self._engine.known(run_id).agreement, party, signature)
            return self._engine.take(Signed(run_id, now, party, signature))
        if kind == "rejected":
            return self._engine.take(Rejected(run_id, now, party, parse(RejectedBody, body, what).why))
        if kind == "failed":
            failed = parse(FailedBody, body, what)
            return self._engine.take(
                PhaseFailed(run_id, now, party, failed.phase, failed.attempt, failed.reason, failed.peer, failed.lost)
            )
        if kind == "held":
            held = parse(HeldBody, body, what)
            return self._engine.take(PhaseHeld(run_id, now, party, held.phase, held.attempt))
        if kind == "done":
            return self._finished(party, run_id, parse(DoneBody, body, what), now)
        if kind == "progress":
            return self._progressed(party, run_id, parse(ProgressBody, body, what), now)
        if kind == "settlement":
            return self._approvals.heard(party, parse(Answer, body, what))
        if kind == "live":
            return self._approvals.take_live(party, parse(LiveRecord, body, what))
        raise AgreementError(f"{party} sent a report of a kind that does not exist: use one version on both sides")

    def _finished(self, party: str, run_id: str, done: DoneBody, now: datetime) -> bool:
        """A report that is refused ends the party's part: it will not make a better one."""
        try:
            report = phase_report(done.phase, done.report, party)
            if "head" in report:
                self._engine.witnessed(party, report["head"])
            with self._engine.lock:
                state = self._engine.known(run_id).state
                expected = done.phase == "value" and party == state.plan.label and state.plan.masked
                if expected and report.get("contribution") is None:
                    raise AgreementError(f"{party}'s report on value has no contribution: send the contribution report")
        except AgreementError as error:
            if done.phase != "approve":
                with contextlib.suppress(EventRefused):
                    self._engine.take(
                        PhaseFailed(run_id, now, party, done.phase, done.attempt, printable(str(error)[:2000]))
                    )
            raise
        with self._engine.lock:
            changed = self._engine.take(PhaseDone(run_id, now, party, done.phase, done.attempt, report))
            if changed:
                known = self._engine.known(run_id)
                known.progress.closed(party, done.phase, _common(report), now)
                known.unsaved = True
            return changed

    def _progressed(self, party: str, run_id: str, body: ProgressBody, now: datetime) -> bool:
        with self._engine.lock:
            known = self._engine.known(run_id)
            state = known.state
            if party not in state.plan.parties:
                raise EventRefused(f"{party} has no part in run {run_id[:12]}")
            if state.phase != body.phase or state.span.attempt != body.attempt or party in state.span.done:
                return False
            known.progress.heard(party, body, now, time.monotonic())
            known.unsaved = True
            return True


def _common(report: dict[str, Any]) -> PartReport:
    """The part of a checked report that every phase shares."""
    return PartReport.model_validate({name: report[name] for name in PartReport.model_fields if name in report})
