"""Tables about trust: data in, pandas frame out, ready to show. Cells are text or numbers, never markup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import pandas as pd

from parties.client import AuditEntryView, HeadsView, MinimisationView, SignerCheck, TermView
from ui.wording import MISSING, PHASE_TITLES, data_size, instant, short_id

__all__ = [
    "audit_table",
    "exchanges_table",
    "facts",
    "members_table",
    "moment",
    "revealed_table",
    "signers_table",
    "terms_table",
]

_LONGEST = 160
_HASH = 64  # what is as long as a hash or a signature is read in the entry itself


def facts(body: Mapping[str, Any]) -> str:
    """The short facts of an entry in one line; what is long is in the entry itself."""
    short = {name: value for name, value in body.items() if isinstance(value, str | int | float) and value != ""}
    words = [f"{name.replace('_', ' ')} {str(value)[:40]}" for name, value in short.items() if len(str(value)) < _HASH]
    groups = ((name, value) for name, value in body.items() if isinstance(value, list | dict) and value)
    words += [f"{len(value)} {name.replace('_', ' ')}" for name, value in groups]
    text = ", ".join(words)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def moment(text: str) -> str:
    """A time that a log holds as text, where the viewer is; what is no time stays as it is."""
    try:
        return instant(datetime.fromisoformat(text))
    except ValueError:
        return text or MISSING


def audit_table(entries: Sequence[AuditEntryView]) -> pd.DataFrame:
    """One row per entry of the audit log, in the order given."""
    rows = [
        (e.index, moment(e.at), e.kind.replace("_", " "), short_id(e.run_id) or MISSING, facts(e.body)) for e in entries
    ]
    return pd.DataFrame(rows, columns=["Entry", "Logged", "Kind", "Run", "What"])


def members_table(heads: HeadsView) -> pd.DataFrame:
    """One row per member: its latest head, whether its key signed it, and when it was handed over."""
    rows = [
        (
            m.name,
            m.heads,
            m.size if m.heads else None,
            moment(m.signed_at),
            ("yes" if m.fits else "NO") if m.heads else MISSING,
            instant(m.received_at),
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
            instant(x.received_at),
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
            line.message,
            line.payload,
            line.bytes,
            data_size(line.bytes),
            line.reveals or MISSING,
            line.source or MISSING,
        )
        for line in sorted(report.lines, key=lambda line: (-line.bytes, line.sender, line.receiver, line.message))
    ]
    columns = ["From", "To", "Message", "Class", "Bytes", "Size", "What it reveals", "Argued in"]
    return pd.DataFrame(rows, columns=columns)


def signers_table(signers: Sequence[SignerCheck]) -> pd.DataFrame:
    """One row per party of an agreement, with the state of its signature."""
    rows = [
        (
            "fits" if not s.fault else s.fault,
            s.party,
            s.role,
            s.legal_entity or MISSING,
            instant(s.signed_at),
            s.key,
            s.signature or MISSING,
        )
        for s in signers
    ]
    columns = ["Signature", "Party", "Role", "Legal entity", "Signed", "Ed25519 key", "Ed25519 signature"]
    return pd.DataFrame(rows, columns=columns)


def terms_table(terms: Sequence[TermView]) -> pd.DataFrame:
    """One row per term, in the order of the document."""
    rows = [(t.section, t.name, t.value, t.meaning) for t in terms]
    return pd.DataFrame(rows, columns=["Section", "Term", "Value", "Meaning"])
