"""Tables: data in, pandas frame out, ready to show. Cells are text or numbers, never markup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from parties.client import (
    BytesView,
    ContributionView,
    EventView,
    FileView,
    PartyView,
    PhaseView,
    RunSummary,
    SignatureView,
)
from ui.message_words import message_words
from ui.wording import (
    MISSING,
    PHASE_DOINGS,
    PHASE_TITLES,
    amount,
    correlation,
    count,
    data_size,
    duration,
    instant,
    listed,
    percent,
    plain,
    short_id,
)

__all__ = [
    "bytes_table",
    "contributions_table",
    "events_table",
    "files_table",
    "parties_table",
    "phases_table",
    "runs_table",
    "signatures_table",
    "standing",
    "status_text",
]

_DOINGS: Mapping[str, str] = {
    "approve": "to be signed",
    "align": "aligning",
    "encode": "encoding",
    "train": "training",
    "evaluate": "evaluating",
    "value": "valuing",
    "export": "exporting",
    "settle": "settling",
}


def status_text(run: RunSummary) -> str:
    """A run's status in words: what it waits for, what it does, or how it ended. Markdown-safe."""
    if run.status == "paused" and run.waiting_for:
        return f"waiting for {plain(listed(run.waiting_for))}"
    if run.ended or not run.phase:
        return run.status
    return PHASE_DOINGS.get(run.phase) or plain(run.phase)


def _frame(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=list(columns))


def runs_table(runs: Sequence[RunSummary]) -> pd.DataFrame:
    """One row per run, in the order given; one under way says how far it is.

    Times are instants for the viewer's zone. A status is a list of one, which is drawn as a chip. Why runs stopped has
    a column where one did.
    """
    columns = ["Proposed", "Run", "Purpose", "Status", "Parties", "Rank IC", "t", "Uplift", "Common", "Took"]
    rows = [
        (
            run.proposed_at,
            short_id(run.run_id),
            run.purpose or run.consortium,
            [standing(run)],
            ", ".join(run.parties),
            run.ic_joint,
            run.t_joint,
            None if run.ic_joint is None or run.ic_own is None else run.ic_joint - run.ic_own,
            count(run.n_common),
            duration((run.ended_at - run.proposed_at).total_seconds() if run.ended_at else None),
        )
        for run in runs
    ]
    found = _frame(columns, rows)
    if any(run.reason for run in runs):
        found["Reason"] = [run.reason for run in runs]
    return found


def standing(run: RunSummary) -> str:
    """A run's status in few words, for a chip in a list, which shows every character as it is."""
    if run.status == "paused" and run.waiting_for:
        return f"waiting for {listed(run.waiting_for)}"
    if run.status == "aborted" and run.culprit:
        return f"aborted by {run.culprit}"
    if run.ended or not run.phase:
        return run.status
    doing = _DOINGS.get(run.phase) or run.phase
    return doing if run.status == "proposed" else f"{doing} {100 * run.progress:.0f} %"


def parties_table(parties: Sequence[PartyView]) -> pd.DataFrame:
    """One row per member of the consortium."""
    rows = [
        (p.name, p.role or MISSING, p.legal_entity or MISSING, p.health, instant(p.last_seen), p.version or MISSING)
        for p in parties
    ]
    return _frame(["Party", "Role", "Legal entity", "Line", "Last heard of", "Version"], rows)


def phases_table(phases: Sequence[PhaseView]) -> pd.DataFrame:
    """One row per phase; durations as text."""
    rows = [
        (
            PHASE_TITLES.get(phase.name, phase.name),
            phase.status,
            duration(phase.seconds),
            ", ".join(phase.finished) or MISSING,
            phase.attempt,
        )
        for phase in phases
    ]
    return _frame(["Phase", "Status", "Took", "Finished by", "Attempt"], rows)


def contributions_table(contributions: Sequence[ContributionView], unit: str, scale: int) -> pd.DataFrame:
    """One row per feature party, the largest contribution first; what nobody has is no column.

    Only the first number is paid for.
    """
    rows = [
        (
            c.party,
            correlation(c.shapley),
            MISSING if c.standard_error is None else f"{c.standard_error:.4f}",
            correlation(c.plain),
            MISSING if c.attribution is None else f"{c.attribution:+.4f}",
            percent(c.share),
            amount(c.reward, unit, scale),
        )
        for c in sorted(contributions, key=lambda c: -c.shapley)
    ]
    columns = ["Party", "Shapley (rank IC)", "Standard error", "Plain value", "Attribution", "Share", "Reward at close"]
    table = _frame(columns, rows)
    return table[[name for name in columns if not len(table) or (table[name] != MISSING).any()]]


def bytes_table(sent: Sequence[BytesView]) -> pd.DataFrame:
    """One row per party and message type, the most bytes first."""
    rows = [
        (b.party, message_words(b.message), b.payload, data_size(b.bytes), b.messages, b.message)
        for b in sorted(sent, key=lambda b: (-b.bytes, b.party, b.message))
    ]
    return _frame(["Sent by", "Message", "Carries", "Size", "Messages", "In the protocol"], rows)


def files_table(files: Sequence[FileView]) -> pd.DataFrame:
    """One row per file of a factor bundle."""
    return _frame(["File", "Size", "SHA-256"], [(f.path, data_size(f.bytes), f.sha256 or MISSING) for f in files])


def signatures_table(signatures: Sequence[SignatureView]) -> pd.DataFrame:
    """Who signed and when; moments are told by the table that shows them."""
    rows = [(s.party, s.signed_at, s.signature) for s in signatures]
    return _frame(["Party", "Signed", "Ed25519 signature"], rows)


def events_table(events: Sequence[EventView]) -> pd.DataFrame:
    """The event log, oldest first."""
    rows = [(e.sequence, instant(e.at), e.kind, e.text) for e in events]
    return _frame(["No.", "Time", "Event", "What happened"], rows)
