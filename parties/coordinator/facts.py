"""The few terms of an agreement that the coordinator needs at hand for every run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from parties.agreement import Agreement

__all__ = ["RunFacts"]


@dataclass(frozen=True, slots=True)
class RunFacts:
    """``pot`` is in minor units of ``unit``, which has ``scale`` decimal digits."""

    consortium: str
    purpose: str
    expires_at: datetime
    silence_seconds: int
    periods: tuple[str, ...]
    pot: int
    unit: str
    scale: int

    @classmethod
    def of(cls, agreement: Agreement) -> RunFacts:
        return cls(
            consortium=agreement.consortium,
            purpose=agreement.purpose,
            expires_at=agreement.expires_at,
            silence_seconds=agreement.silence_seconds,
            periods=agreement.calendar.periods,
            pot=agreement.reward.pot,
            unit=agreement.reward.unit,
            scale=agreement.reward.scale,
        )
