"""A run that has ended, as settlement needs it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from parties.agreement.document import Agreement
from parties.settlement.contribution import ContributionRecord

__all__ = ["ClosedRun"]


@dataclass(frozen=True)
class ClosedRun:
    """A run whose contributions are known. ``closed_at``: when it went to settlement, None before that.

    ``bundle``: SHA-256 of the manifest of the factor its label party exported, hex, "" before that.
    """

    run_id: str
    agreement: Agreement
    contribution: ContributionRecord | None
    closed_at: datetime | None
    bundle: str = ""
