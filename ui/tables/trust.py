"""Tables about trust: data in, pandas frame out, ready to show. Cells are text or numbers, never markup."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import pandas as pd

from parties.client import AuditEntryView, HeadsView, MinimisationView, SignerCheck, TermView
from ui.log_sentences import sentence
from ui.message_words import message_words
from ui.wording import MISSING, PHASE_TITLES, data_size, instant, marked, short_id, when

__all__ = [
    "audit_table",
    "exchanges_table",
    "members_table",
    "moment",
    "moment_of",
    "revealed_table",
    "signers_table",
    "terms_table",
]


def moment(text: str) -> str:
    """A time that a log holds as text, where the viewer is; what is no time stays as it is."""
    try:
        return instant(datetime.fromisoformat(text))
    except ValueError:
        return text or MISSING


def moment_of(text: str) -> datetime | str | None:
    """The same as a moment; as the text that it is where it is no time."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return text or None


def audit_table(entries: Sequence[AuditEntryView]) -> pd.DataFrame:
    """One row per entry of the audit log, in the order given."""
    rows = [
        (
            e.index,
            when(at) if isinstance(at := moment_of(e.at), datetime) else moment(e.at),
            sentence(e.kind, e.body),
            e.kind.replace("_", " "),
            short_id(e.run_id) or MISSING,
            moment(e.at),
        )
        for e in entries
    ]
    return pd.DataFrame(rows, columns=["Entry", "Logged", "What", "Kind", "Run", "Exactly"])


def members_table(heads: HeadsView) -> pd.DataFrame:
    """One row per member: its latest head, whether its key signed it, and when it was handed over."""
    rows = [
        (
            m.name,
            m.heads,
            m.size if m.heads else None,
            moment_of(m.signed_at),
            ("yes" if m.fits else "NO") if m.heads else MISSING,
            m.received_at,
            f"{PHASE_TITLES.get(m.phase, m.phase)}, run {short_id(m.run_id)}" if m.run_id else MISSING,
            m.root or MISSING,
        )
        for m in heads.members
    ]
    columns = ["Log of", "Heads seen", "Entries", "Signed", "Signature fits", "Handed over", "With", "Root"]
    return pd.DataFrame(rows, columns=columns)


def exchanges_table(heads: HeadsView) -> pd.DataFrame:
    """One row per head that came with a report, newest first."""
    rows = [
        (
            x.received_at,
            x.party,
            PHASE_TITLES.get(x.phase, x.phase),
            short_id(x.run_id),
            x.size,
            "yes" if x.fits else "NO",
            x.root,
        )
        for x in heads.exchanges
    ]
    columns = ["Handed over", "By", "With its report on", "Run", "Entries", "Signature fits", "Root"]
    return pd.DataFrame(rows, columns=columns)


def revealed_table(report: MinimisationView) -> pd.DataFrame:
    """One row per message type on one link, the most bytes first, with what it reveals."""
    rows = [
        (
            line.sender,
            line.receiver or "not said",
            message_words(line.message),
            line.payload,
            data_size(line.bytes),
            line.reveals or MISSING,
            line.source or MISSING,
            line.message,
        )
        for line in sorted(report.lines, key=lambda line: (-line.bytes, line.sender, line.receiver, line.message))
    ]
    columns = ["From", "To", "Message", "Class", "Size", "What it reveals", "Argued in", "In the protocol"]
    return pd.DataFrame(rows, columns=columns)


def _links_words(signer: SignerCheck) -> str:
    """Which peers answered at their addresses before the party signed, and as whom."""
    if not signer.links:
        return "not told"
    groups = {
        told: [name for name, state in signer.links.items() if state == key]
        for key, told in (("agreed", "reached"), ("other", "another certificate at"), ("silent", "no answer of"))
    }
    return "; ".join(f"{told} {', '.join(names)}" for told, names in groups.items() if names)


def signers_table(signers: Sequence[SignerCheck]) -> pd.DataFrame:
    """One row per party of an agreement, with the state of its signature."""
    rows = [
        (
            "fits" if not s.fault else s.fault,
            s.party,
            s.role,
            s.legal_entity or MISSING,
            s.signed_at,
            _links_words(s),
            s.key,
            s.signature or MISSING,
        )
        for s in signers
    ]
    columns = [
        "Signature",
        "Party",
        "Role",
        "Legal entity",
        "Signed",
        "Links tried first",
        "Ed25519 key",
        "Ed25519 signature",
    ]
    return pd.DataFrame(rows, columns=columns)


def terms_table(terms: Sequence[TermView]) -> pd.DataFrame:
    """One row per term, in the order of the document; ``Section`` is the same for the terms that belong together."""
    rows = [
        (t.section[:1].upper() + t.section[1:], t.name, _value(t), t.meaning.replace("None: ", "none: ")) for t in terms
    ]
    return pd.DataFrame(rows, columns=["Section", "Term", "Value", "Meaning"])


def _value(term: TermView) -> str:
    """A number as on all pages; what parties wrote, and a seed, which is typed again, as it is."""
    return marked(term.value) if term.value[:1].isdigit() and "seed" not in term.name else term.value
