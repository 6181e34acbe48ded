"""The coordinator's audit log: every event of every run, and the heads of audit logs that parties report."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import rfc8785

from parties.audit.heads import Head
from parties.audit.log import AuditLog
from parties.control.phases import session_name
from parties.coordinator.events import Event, PartyLost, PartyRestarted, event_to_json
from parties.coordinator.run import RunState
from parties.errors import AgreementError, PeerError
from parties.members.roster import Roster
from parties.names import COORDINATOR

__all__ = ["AuditWitness"]

_OWN_HEADS = 32
_TOLD = ("sha256", "factor_id", "version", "transactions", "rewards", "rolled_over", "n_common")


class AuditWitness:
    """Logs what the engine takes in, and passes signed heads between the parties. The caller serialises access."""

    def __init__(self, log: AuditLog, roster: Roster) -> None:
        self._log = log
        self._roster = roster

    def noticed(self, event: Event, before: RunState | None = None) -> None:
        """Log an event that changes a run, before it is acted upon. Reports are logged as hashes.

        before: how the run stood, which tells in what session a party was lost.
        """
        body: dict[str, Any] = event_to_json(event)
        run_id, kind = body.pop("run"), body.pop("kind")
        body.pop("at")
        if "agreement" in body:
            body["agreement"] = run_id  # the run id is the agreement's hash
        if "report" in body:
            report = body.pop("report")
            report.pop("head", None)
            body |= {name: report[name] for name in _TOLD if name in report}
            body["report_sha256"] = hashlib.sha256(rfc8785.dumps(report)).hexdigest()
        if before is not None and isinstance(event, PartyLost | PartyRestarted):
            # while a run waits, its attempt has not begun: what the party was lost in is the one before
            attempt = before.span.attempt - before.idle
            body["during"] = session_name(before.span.phase, attempt) if attempt else ""
        self._log.append(kind, run_id, body)

    def saw(self, party: str, raw: Any) -> None:
        """Take in the head that came with a party's report. Raises :class:`AgreementError` when it does not fit."""
        head = Head.model_validate(raw)
        if head.log != party:
            raise AgreementError(f"{party} reported a head of {head.log}'s audit log: report its own")
        try:
            self._log.saw(head, bytes.fromhex(self._roster.member(party).identity_key), linked=True)
        except PeerError as error:
            raise AgreementError(str(error)) from None

    def heads(self, state: RunState, party: str) -> tuple[Head, ...]:
        """What a party of the run is shown: its own latest, the heads reported in the run, and the coordinator's."""
        theirs = [head for head in self._reported(state) if head.log != party]
        return (*self._log.heads(party)[-1:], *theirs, *self._own())

    def _reported(self, state: RunState) -> Iterator[Head]:
        for span in state.spans:
            for report in (span.reports or {}).values():
                if report.get("head"):
                    yield Head.model_validate(report["head"])

    def _own(self) -> list[Head]:
        self._log.head()
        return self._log.heads(COORDINATOR)[-_OWN_HEADS:]
