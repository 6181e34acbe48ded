"""What a run's page shows of some kinds of run alone: a screen of formulas, and daily use after a run."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from parties.calls.frozen_view import View

__all__ = ["DailySession", "DailyView", "RunStatus", "ScreenPassedView", "ScreenView"]

RunStatus = Literal[
    "proposed", "paused", "approved", "aligned", "trained", "evaluated", "valued", "exported", "settled", "aborted"
]


class DailySession(View):
    """A session that scores later periods. ``rows`` scored, and the ``bits`` that opened of them; None where untold."""

    run_id: str
    period: str
    status: RunStatus
    at: datetime
    rows: int | None = None
    bits: int | None = None
    reason: str = ""


class DailyView(View):
    """Daily use of a run: ``scored`` periods, those ``taken`` by sessions, what is due; ``ended``: why none follow.

    ``sessions``: the newest ones, newest first. ``rows`` and ``bits``: of all settled ones. ``gone``: the run's parties
    that left, and their shares of the weights with them. ``retrain``: what was agreed of monitoring's advice.
    """

    agreed: int
    expires: date
    scored: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()
    last_at: datetime | None = None
    next_period: str = ""
    next_due: datetime | None = None
    ended: str = ""
    sessions: tuple[DailySession, ...] = ()
    rows: int = 0
    bits: int = 0
    gone: tuple[str, ...] = ()
    retrain: Literal["advice", "never"] = "advice"


class ScreenPassedView(View):
    """How many formulas stand a hurdle and all before it: terminals alone, and products of two."""

    alone: int
    products: int

    @property
    def all(self) -> int:
        return self.alone + self.products


class ScreenView(View):
    """A screen in counts, as its label party told them: no formula, and no statistic of one.

    ``first`` and ``second``: periods that formulas were chosen on and confirmed on. ``bits``: of each formula and
    period, of which there are ``periods``.
    """

    tried: ScreenPassedView
    discovered: ScreenPassedView
    above_hurdle: ScreenPassedView
    chosen: ScreenPassedView
    named: ScreenPassedView
    first: int
    second: int
    periods: int
    bits: int

    @property
    def opened_bits(self) -> int:
        return self.tried.all * self.periods * self.bits
