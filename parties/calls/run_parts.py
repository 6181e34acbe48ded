"""What a run's page shows of some kinds of run alone: a screen of formulas, and daily use after a run."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import Field

from parties.calls.frozen_view import View

__all__ = [
    "DailySession",
    "DailyView",
    "FederatedView",
    "RoundsView",
    "RunStatus",
    "ScreenPassedView",
    "ScreenView",
]

RunStatus = Literal[
    "proposed",
    "paused",
    "approved",
    "aligned",
    "encoded",
    "trained",
    "evaluated",
    "valued",
    "exported",
    "settled",
    "aborted",
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


class RoundsView(View):
    """Rounds ``first`` to ``last``, each over ``members``; ``missed``: drawn for them, and not in."""

    first: int
    last: int
    members: tuple[str, ...]
    missed: tuple[str, ...] = ()


class FederatedView(View):
    """The rounds of a federated run, or of the ``group`` of a vertical one, as the coordinator that opens sums counts.

    ``stretches``: of the latest attempt at the training, counted from 1. ``dropped``: members that have no further
    part. ``taken``: rounds that each member was in, of all trainings: abandoned attempts and coalitions' too.
    ``spent``: each member's epsilon at ``delta`` by all of these, empty without noise or where ``untold`` says why it
    cannot be told; ``agreed_epsilon``: what was signed for. ``missed``: rounds may be missing from all counts.
    """

    rounds: int
    members: tuple[str, ...]
    threshold: int
    group: str = ""
    stretches: tuple[RoundsView, ...] = ()
    dropped: tuple[str, ...] = ()
    taken: dict[str, int] = Field(default_factory=dict)
    noise: float = 0.0
    delta: float = 0.0
    spent: dict[str, float] = Field(default_factory=dict)
    agreed_epsilon: float | None = None
    untold: str = ""
    missed: bool = False

    @property
    def done(self) -> int:
        """Rounds of the latest attempt that have opened."""
        return self.stretches[-1].last if self.stretches else 0

    @property
    def epsilon(self) -> float | None:
        """What the member that was in most rounds has spent; None where nothing is known of it."""
        return max(self.spent.values(), default=None)

    @property
    def latest(self) -> tuple[str, ...]:
        """Who was in the last round that opened."""
        return self.stretches[-1].members if self.stretches else ()
