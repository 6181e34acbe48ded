"""What this node was asked to sign, and how it stands here: from its own folder alone, whether or not it runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from parties.agreement.document import Agreement
from parties.audit.log import AuditLog
from parties.node.decisions import verdict, waiting_for
from parties.node.last_signed import node_audit
from parties.node.run_ends import RunEnd, kept_end
from parties.node.settings import NodeSettings, load_node_settings
from parties.node.settlements import signed_agreement

__all__ = ["WAITS", "AskedRun", "asked_runs"]

WAITS = "waits for you"


@dataclass(frozen=True)
class AskedRun:
    """One run. ``status``: :data:`WAITS`, signed, approved, rejected, expired, refused, aborted or settled."""

    run_id: str
    at: datetime
    status: str
    purpose: str
    reason: str = ""


def asked_runs(home: Path) -> tuple[AskedRun, ...]:
    """Every run that the node in ``home`` was asked to sign: those that wait first, then the latest."""
    settings = load_node_settings(home / "node.toml")
    found: list[AskedRun] = []
    with node_audit(home, settings) as audit:
        for folder in (home / "runs").glob("*/"):
            one = _asked(home, folder, settings, audit)
            if one is not None:
                found.append(one)
    return tuple(sorted(found, key=lambda one: (one.status != WAITS, -one.at.timestamp())))


def _asked(home: Path, folder: Path, settings: NodeSettings, audit: AuditLog | None) -> AskedRun | None:
    end = kept_end(folder)
    try:
        agreement = Agreement.model_validate_json((folder / "agreement.json").read_bytes())
    except (OSError, ValidationError):
        return None if end is None else AskedRun(folder.name, end.at, end.status, end.purpose, end.reason)
    status, reason = _standing(home, folder, settings, audit, agreement, end)
    return AskedRun(folder.name, agreement.proposed_at, status, agreement.purpose, reason)


def _standing(
    home: Path, folder: Path, settings: NodeSettings, audit: AuditLog | None, agreement: Agreement, end: RunEnd | None
) -> tuple[str, str]:
    """The status of a run whose agreement is kept, and what is to be said of it."""
    if end is not None:
        return end.status, end.reason
    if audit is not None and signed_agreement(home, audit, folder.name) is not None:
        return "signed", ""
    decided = verdict(folder, settings)
    if decided is not None:
        return ("approved", "the node signs it") if decided.approved else ("rejected", decided.why)
    if datetime.now(UTC) >= agreement.expires_at:
        return "expired", f"could be signed until {agreement.expires_at:%Y-%m-%d %H:%M} UTC"
    return WAITS, f"{waiting_for(folder, settings)} to approve, until {agreement.expires_at:%Y-%m-%d %H:%M} UTC"
