"""From what the coordinator knows to what it shows: builds the views."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cryptography import x509

from parties.calls.views import (
    BalanceView,
    ContributionView,
    EvaluationView,
    EventView,
    FactorView,
    LedgerView,
    PartyView,
    PauseView,
    PhaseView,
    PostingView,
    RunSummary,
    RunView,
    SignatureView,
)
from parties.control.phase_reports import EvaluationNumbers
from parties.control.phases import PhaseName
from parties.coordinator.bookkeeping import Bookkeeper
from parties.coordinator.bundles import BundleStore
from parties.coordinator.events import Event, event_to_json
from parties.coordinator.federated_views import federated_view, group_views
from parties.coordinator.known_run import KnownRun
from parties.coordinator.party_lines import Attachment
from parties.coordinator.run import RunState
from parties.coordinator.screen_views import screen_view
from parties.coordinator.store import LoggedEvent
from parties.ledger.entries import Entry, State
from parties.ledger.store import LedgerStore
from parties.members.roster import Member
from vfl.models.sealed.scales import SCORE_BITS
from vfl.terms import AnchoredModel

__all__ = [
    "LedgerReader",
    "evaluation_numbers",
    "event_view",
    "factor_view",
    "n_common",
    "party_view",
    "run_report",
    "run_summary",
    "run_view",
]

_WEIGHT: Mapping[PhaseName, float] = {
    "approve": 0.01,
    "align": 0.04,
    "encode": 0.0,
    "train": 0.7,
    "evaluate": 0.02,
    "value": 0.2,
    "export": 0.02,
    "settle": 0.01,
}


def run_summary(known: KnownRun) -> RunSummary:
    """A run in one line."""
    return RunSummary(**_summary(known))


def _summary(known: KnownRun) -> dict[str, Any]:
    state, facts = known.state, known.facts
    numbers = evaluation_numbers(state)
    return {
        "run_id": state.run,
        "consortium": facts.consortium,
        "purpose": facts.purpose,
        "status": state.status,
        "phase": state.phase or "",
        "waiting_for": _waiting_for(state),
        "pauses": tuple(PauseView(by=hold.by, why=hold.why, at=hold.at) for hold in state.holds),
        "stopping": bool(state.holds) and not state.halted and state.phase != "approve",
        "reason": state.reason,
        "culprit": state.culprit,
        "proposed_at": state.proposed_at,
        "ended_at": state.ended_at,
        "parties": state.plan.parties,
        "label_party": state.plan.label,
        "progress": _fraction(known),
        "n_common": n_common(state),
        "ic_joint": numbers.ic_joint if numbers else None,
        "ic_own": numbers.ic_own if numbers else None,
        "t_joint": numbers.t_joint if numbers else None,
        "pot": facts.pot,
        "unit": facts.unit,
        "scale": facts.scale,
    }


def run_view(known: KnownRun, bundles: BundleStore) -> RunView:
    """Everything about one run."""
    state, progress, model = known.state, known.progress, known.agreement.model
    settled, trained = run_report(state, "settle", "coordinator"), run_report(state, "train", state.plan.label)
    way, contributions = _contributions(state, settled)
    numbers = evaluation_numbers(state)
    evaluation = run_report(state, "evaluate", state.plan.label)
    shown = None if numbers is None else EvaluationView(**numbers.model_dump(), detail=evaluation.get("detail", {}))
    return RunView(
        **_summary(known),
        phases=_phases(known),
        series=progress.series(),
        openings=progress.openings(),
        score_bits=SCORE_BITS if isinstance(model, AnchoredModel) and not state.plan.unscored else 0,
        anchor=model.anchor if isinstance(model, AnchoredModel) else "",
        bytes_by_message=progress.traffic(),
        relayed=progress.relays(),
        peak_rss_mb=progress.memory(),
        evaluation=shown,
        contribution_way=way,
        contributions=contributions,
        agreement=json.loads(state.agreement),
        signatures=tuple(
            SignatureView(party=party, signature=signature, signed_at=at) for party, signature, at in state.signatures
        ),
        factor=factor_view(known, bundles),
        transactions=tuple(settled.get("transactions", ())),
        screen=screen_view(known.agreement, trained),
        federated=federated_view(known),
        groups=group_views(known),
        scored_rows=trained.get("rows") if state.plan.scoring else None,
    )


def run_report(state: RunState, phase: PhaseName, party: str) -> Mapping[str, Any]:
    """What the party said at the end of the phase; empty where it has not."""
    for span in state.spans:
        if span.phase == phase:
            return (span.reports or {}).get(party, {})
    return {}


def evaluation_numbers(state: RunState) -> EvaluationNumbers | None:
    """What the label party measured, if it has and the agreement lets it say so."""
    said = run_report(state, "evaluate", state.plan.label).get("evaluation")
    return None if said is None else EvaluationNumbers.model_validate(said)


def n_common(state: RunState) -> int | None:
    """How many entities every party holds, once they are aligned."""
    for party in ("coordinator", *state.plan.parties):
        found = run_report(state, "align", party).get("n_common")
        if found is not None:
            return int(found)
    return None


def _waiting_for(state: RunState) -> tuple[str, ...]:
    if state.phase is None:
        return ()
    if state.idle and state.phase != "approve":
        return state.absent
    done = state.span.done
    return tuple(p for p in state.team(state.phase) if p not in done or p in state.absent)


def _fraction(known: KnownRun) -> float:
    """Share of the run's usual work that is done, 0 to 1."""
    total = 0.0
    for span in known.state.spans:
        if span.outcome in ("done", "skipped"):
            total += _WEIGHT[span.phase]
        else:
            parts = [view.fraction for view in known.parts(span.phase)]
            total += _WEIGHT[span.phase] * (min(parts) if parts else 0.0)
    return min(round(total, 4), 1.0)


def _phases(known: KnownRun) -> tuple[PhaseView, ...]:
    spans = {span.phase: span for span in known.state.spans}
    views = []
    for phase in known.state.plan.phases:
        team, span = known.state.plan.participants(phase), spans.get(phase)
        if span is None:
            views.append(PhaseView(name=phase, status="waiting", participants=team))
            continue
        views.append(
            PhaseView(
                name=phase,
                status=span.outcome,
                attempt=span.attempt,
                started_at=span.began_at,
                ended_at=span.ended_at,
                participants=team,
                finished=tuple(p for p in team if p in span.done),
                progress=known.parts(phase),
            )
        )
    return tuple(views)


def _contributions(state: RunState, settled: Mapping[str, Any]) -> tuple[str, tuple[ContributionView, ...]]:
    said = run_report(state, "value", state.plan.label).get("contribution")
    if said is None:
        return "", ()
    rewards: Mapping[str, int] = settled.get("rewards", {})
    paid = sum(rewards.values())
    explained = run_report(state, "value", state.plan.label).get("attribution", {}).get("parties", {})
    views = tuple(
        ContributionView(
            party=party,
            shapley=numbers["phi"],
            standard_error=numbers.get("standard_error"),
            plain=numbers.get("plain"),
            attribution=explained.get(party),
            share=rewards.get(party, 0) / paid if paid else 0.0,
            reward=rewards.get(party, 0),
        )
        for party, numbers in said["parties"].items()
    )
    return str(said["method"]), views


def factor_view(known: KnownRun, bundles: BundleStore) -> FactorView | None:
    """The run's factor, once the label party has exported it."""
    state = known.state
    export = run_report(state, "export", state.plan.label)
    if not export:
        return None
    span = next(span for span in state.spans if span.phase == "export")
    here = bundles.has(state.run)
    metadata = bundles.metadata(state.run) if here else {}
    rows = export.get("rows") or metadata.get("n_rows")
    numbers = evaluation_numbers(state)
    return FactorView(
        run_id=state.run,
        factor_id=export["factor_id"],
        version=export["version"],
        consortium=known.facts.consortium,
        created_at=span.ended_at or span.started_at,
        available=here,
        sha256=export["sha256"],
        bytes=export.get("bytes", 0),
        rows=rows if isinstance(rows, int) else 0,
        recipients=state.plan.recipients,
        files=bundles.files(state.run) if here else (),
        ic_joint=numbers.ic_joint if numbers else None,
        ic_own=numbers.ic_own if numbers else None,
        series=known.progress.series(),
        metadata=metadata,
    )


def party_view(name: str, member: Member, line: Attachment, runs: Sequence[KnownRun], heartbeat: float) -> PartyView:
    """A member and its line; role and legal entity are as it says, or those of its latest run."""
    role: Any = ""
    entity = running = ""
    for known in runs:
        if name in known.state.plan.parties:
            terms = known.agreement.party(name)
            role, entity = terms.role, terms.legal_entity
            running = "" if known.state.ended else known.state.run
            break
    said = line.introduction
    offered: dict[str, Any] = {}
    if said is not None:
        role, entity = said.role, said.legal_entity or entity
        offered = said.model_dump(exclude={"role", "legal_entity", "limits", "data"})
    certificate = x509.load_pem_x509_certificate(member.certificate.encode())
    return PartyView(
        name=name,
        role=role,
        legal_entity=entity,
        address=member.address,
        health="offline" if not line.attached else "online" if line.silent_for < 3 * heartbeat else "silent",
        last_seen=line.last_seen,
        silent_for=None if line.last_seen is None else round(line.silent_for, 1),
        version=line.version,
        running=running,
        certificate_sha256=member.certificate_sha256,
        certificate_expires=certificate.not_valid_after_utc,
        identity_key=member.identity_key,
        **offered,
    )


def event_view(logged: LoggedEvent) -> EventView:
    """One entry of the event log, in words."""
    event = logged.event
    return EventView(
        sequence=logged.sequence,
        run_id=event.run,
        at=event.at,
        kind=event.kind,
        text=_words(event),
        body={name: value for name, value in event_to_json(event).items() if name not in ("agreement", "report")},
        hash=logged.hash,
    )


def _words(event: Event) -> str:
    match event.kind:
        case "proposed":
            return f"proposed by {event.by}"
        case "signed":
            return f"{event.party} signed"
        case "rejected":
            return f"{event.party} rejected: {event.why}"
        case "phase_done":
            return f"{event.party} finished {event.phase}"
        case "phase_failed":
            return f"{event.party} stopped in {event.phase}: {event.reason}"
        case "phase_held":
            return f"{event.party} has stopped in {event.phase}, as the run is paused"
        case "party_lost":
            return f"{event.party} silent for {event.silent_for:.0f} s"
        case "party_back":
            return f"{event.party} is back"
        case "party_restarted":
            return f"{event.party}'s node restarted"
        case "coordinator_done":
            return f"coordinator finished {event.phase}"
        case "coordinator_failed":
            return f"coordinator stopped in {event.phase}: {event.reason}"
        case "paused":
            return f"paused by {event.by}" + (f": {event.why}" if event.why else "")
        case "resumed":
            return f"resumed by {event.by}"
        case "cancelled":
            return f"cancelled by {event.by}: {event.why}"
        case "continued":
            return f"the others go on without {', '.join(event.without)}, as run {event.as_run[:12]}"
        case "expired":
            return "expired"
        case "interrupted":
            return event.why


class LedgerReader:
    """Balances and pages of the ledger for commands and scripts; the desk searches."""

    def __init__(self, ledger: LedgerStore, keeper: Bookkeeper) -> None:
        self._ledger = ledger
        self._keeper = keeper

    def view(self, run_id: str, limit: int, offset: int) -> LedgerView:
        """Balances and a page of ``limit`` transactions, newest first; those of one run when it is named."""
        standing = self._keeper.current()
        transactions, postings = standing.transactions, standing.postings
        accounts, balances = self._ledger.accounts(), self._ledger.balances()
        if run_id:
            found = self._ledger.journal(run_id=run_id)
            transactions, postings = len(found), sum(len(entry.transaction.postings) for entry in found)
            page: Iterable[Entry] = reversed(found)
        else:
            end = max(transactions - offset, 0)
            start = max(end - limit, 0)
            page = reversed(self._ledger.journal(start, end - start))
        units = {name: account.unit for name, account in accounts.items()}
        return LedgerView(
            balances=tuple(
                BalanceView(
                    account=name,
                    unit=units[name].code,
                    scale=units[name].scale,
                    posted=balance.posted,
                    pending=balance.pending,
                )
                for name, balance in balances.items()
            ),
            postings=tuple(
                PostingView(
                    transaction=entry.transaction.id,
                    at=entry.transaction.timestamp,
                    account=posting.account,
                    minor=posting.amount,
                    unit=units[posting.account].code,
                    scale=units[posting.account].scale,
                    state=_state(entry),
                    memo=entry.transaction.narration,
                    run_id=entry.transaction.run_id,
                )
                for entry in page
                for posting in entry.transaction.postings
            ),
            total_transactions=transactions,
            total_postings=postings,
            offset=offset,
            balanced=standing.balanced,
            finding=standing.finding,
        )


def _state(entry: Entry) -> Any:
    """A pending transaction that was resolved shows what became of it."""
    state = entry.transaction.state
    if state is State.PENDING and entry.resolved_as is not None:
        return entry.resolved_as.value
    return state.value
