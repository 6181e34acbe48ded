"""The coordinator's evidence pack of a run: its log, what parties reported, the journal and the dossiers of the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import rfc8785

from parties.audit.log import AuditLog
from parties.control.phases import Plan
from parties.coordinator.bundles import BundleStore
from parties.coordinator.run import RunState
from parties.errors import LedgerError
from parties.evidence import pack
from parties.evidence.parts import LedgerLink, Report
from parties.evidence.writing import NOT_A_RECIPIENT, factor_files, log_files, write_evidence
from parties.ledger.entries import Head, canonical
from parties.ledger.heads import SignedHead, sign_head
from parties.ledger.store import LedgerStore
from parties.members.keys import Identity
from parties.members.roster import Roster
from parties.names import COORDINATOR
from parties.settlement.dossier_store import Dossiers
from parties.settlement.signed_contribution import SignedContribution

__all__ = ["evidence_of_coordinator"]


def evidence_of_coordinator(
    identity: Identity, home: Path, state: RunState, audit: AuditLog, ledger: LedgerStore, roster: Roster, at: datetime
) -> bytes:
    """The pack, signed by the coordinator. It is for the admin and the auditor: it has what every party reported.

    Raises :class:`DataError` where what is kept does not fit together.
    """
    run_id, plan = state.run, state.plan
    files, left_out = log_files(audit, run_id, plan.parties)
    left_out.append(pack.LeftOut(what="the parties' log entries", why="they are in the parties' own packs"))
    files[pack.AGREEMENT] = state.agreement.encode()
    files[pack.APPROVALS] = rfc8785.dumps({party: signature for party, signature, _ in state.signatures})
    reports = list(_reports(state))
    if reports:
        files[pack.REPORTS] = b"".join(one.model_dump_json().encode() + b"\n" for one in reports)
    files |= _contribution(reports, plan, run_id, left_out)
    files |= _factor(home, plan, run_id, left_out)
    files |= _books(ledger, identity, run_id, at)
    for dossier in Dossiers(home).of_run(run_id):
        name = f"{pack.SETTLEMENTS}{dossier.kind}-{dossier.digest[:12]}.json"
        files[name] = (dossier.model_dump_json(indent=2) + "\n").encode()
    return write_evidence(identity, run_id, files, left_out, roster.get(COORDINATOR), at)


def _reports(state: RunState) -> Iterator[Report]:
    """What was reported, without the heads, as it was hashed into the log."""
    for span in state.spans:
        for by, report in sorted((span.reports or {}).items()):
            body = {name: value for name, value in report.items() if name != "head"}
            if body or span.phase != "approve":
                yield Report(phase=span.phase, attempt=span.attempt, by=by, report=body)


def _contribution(reports: list[Report], plan: Plan, run_id: str, left_out: list[pack.LeftOut]) -> Mapping[str, bytes]:
    for one in reports:
        record, signature = one.report.get("contribution"), one.report.get("contribution_signature")
        if one.by == plan.label and record is not None and signature:
            signed = SignedContribution.model_validate({"run_id": run_id, "record": record, "signature": signature})
            return {pack.CONTRIBUTION: signed.model_dump_json().encode()}
    left_out.append(pack.LeftOut(what=pack.CONTRIBUTION, why="the run's contributions were not measured, or not yet"))
    return {}


def _factor(home: Path, plan: Plan, run_id: str, left_out: list[pack.LeftOut]) -> Mapping[str, bytes]:
    bundles = BundleStore(home / "factors")
    if bundles.has(run_id):
        return factor_files(bundles.contents(run_id))
    why = "the run has exported no factor here" if COORDINATOR in plan.recipients else NOT_A_RECIPIENT
    left_out.append(pack.LeftOut(what="the factor's validation", why=why))
    return {}


def _books(ledger: LedgerStore, identity: Identity, run_id: str, at: datetime) -> dict[str, bytes]:
    """The run's transactions, each with the digest before it and a signed head that ends with it, and today's head."""
    links = []
    for entry in ledger.journal(run_id=run_id):
        before = ledger.digest_at(entry.sequence - 1)
        if before is None:
            raise LedgerError(f"the ledger has lost entry {entry.sequence - 1}: run entente ledger check")
        head = sign_head(Head(entry.sequence, entry.digest), at, COORDINATOR, identity.key)
        links.append(LedgerLink(before=before, content=canonical(entry.transaction).decode(), head=asdict(head)))
    today: SignedHead = sign_head(ledger.head(), at, COORDINATOR, identity.key)
    files = {pack.LEDGER_HEAD: today.to_json().encode()}
    if links:
        files[pack.LEDGER] = b"".join(link.model_dump_json().encode() + b"\n" for link in links)
    return files
