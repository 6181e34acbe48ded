"""Commitments to rows as they arrive, and which periods they cover in time. Pure.

A commitment is the Merkle root of the rows that a party's query yielded for the first time, and the moment up to which
that is everything it yields. A period is covered when a commitment reaches its cutoff and was told soon after it,
before anybody could know what followed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from pydantic import AwareDatetime

from parties.agreement.document import Agreement
from parties.errors import LedgerError
from parties.fields import Sha256, StrictTerms
from parties.settlement.contribution import ContributionRecord

__all__ = ["RowsCommitted", "check_flags", "covered", "covered_periods"]


class RowsCommitted(StrictTerms):
    """What a party commits to: ``root`` over the salted leaves of rows that are new, read at ``through``."""

    root: Sha256
    through: AwareDatetime


def covered(told: Iterable[tuple[datetime, datetime]], cutoff: datetime, hours: int) -> bool:
    """Whether one of the commitments, each (through, told at), reaches the cutoff and was told in time after it."""
    deadline = cutoff + timedelta(hours=hours)
    return any(cutoff <= through and at <= deadline for through, at in told)


def covered_periods(
    agreement: Agreement,
    told: Sequence[tuple[datetime, datetime]],
    periods: Sequence[str],
    live: Mapping[str, datetime] | None = None,
) -> tuple[bool, ...]:
    """Which of the run's ``periods`` the commitments of one party cover; none of those the calendar does not know.

    ``live``: cutoffs of periods after the calendar, where these are asked about.
    """
    known = () if agreement.calendar is None else agreement.calendar.cutoffs
    cutoffs = dict(zip(agreement.periods, known, strict=False)) | dict(live or {})
    hours = agreement.reward.rows_within_hours
    return tuple(period in cutoffs and covered(told, cutoffs[period], hours) for period in periods)


def check_flags(
    agreement: Agreement,
    record: ContributionRecord,
    party: str,
    told: Sequence[tuple[datetime, datetime]],
    live: Mapping[str, datetime] | None = None,
) -> None:
    """Raise :class:`LedgerError` where the record counts a period of ``party`` that its commitments do not cover."""
    said: Mapping[str, Sequence[bool]] = record.committed
    known = covered_periods(agreement, told, record.periods, live)
    for period, claimed, covers in zip(record.periods, said.get(party, ()), known, strict=False):
        if claimed and not covers:
            raise LedgerError(
                f"the record counts {period} of {party!r}, whose rows were not committed within "
                f"{agreement.reward.rows_within_hours} hours of its cutoff"
            )
