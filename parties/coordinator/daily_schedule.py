"""Proposes the scoring sessions that were agreed: each new period of a run as soon as it is due, one at a time.

Nodes sign such sessions by themselves, or refuse while their data is late; then it is tried again an hour later.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from parties.agreement.daily_terms import scored_periods
from parties.coordinator.daily_views import daily_view
from parties.coordinator.engine import Engine
from parties.coordinator.known_run import KnownRun
from parties.errors import AgreementError, EntenteError
from parties.members.roster import Roster
from parties.names import COORDINATOR
from parties.proposing.scoring import due_periods, scoring_of

__all__ = ["DailySchedule"]

_LOG = logging.getLogger(__name__)

_AGAIN = timedelta(hours=1)
"""How long a period is left alone whose data was late, or whose session failed; and how long nodes may take to sign."""


class DailySchedule:
    """What is due is read from the runs at each look, so a restart forgets nothing."""

    def __init__(self, engine: Engine, roster: Roster, now: Callable[[], datetime]) -> None:
        self._engine, self._roster, self._now = engine, roster, now

    def look(self) -> None:
        """Propose at most one session for each run that agreed to a schedule."""
        runs = self._engine.all_runs()
        for known in runs:
            daily = known.agreement.daily
            if daily is None or daily.schedule != "due" or known.state.status != "settled":
                continue
            try:
                self._score(known, runs)
            except EntenteError as error:
                _LOG.warning("run %s: nothing is scored now: %s", known.state.run[:12], error)

    def _score(self, known: KnownRun, runs: list[KnownRun]) -> None:
        trained, now = known.agreement, self._now()
        view = daily_view(known, runs, self._roster, now)
        if view is None or view.ended:
            return
        sessions = list(_sessions_of(known.state.run, runs))
        if any(not one.state.ended for one in sessions):
            return
        try:
            due = due_periods(trained, view.taken, now)
        except AgreementError:
            return  # nothing is due yet
        tried = {
            period
            for one in sessions
            if one.state.ended_at is not None and now - one.state.ended_at < _AGAIN
            for period in scored_periods(one.agreement)
        }
        period = next((one for one in due if one not in tried), None)
        if period is not None:
            session = scoring_of(trained, self._roster, now, _AGAIN, period)
            _LOG.info("run %s: %s is due, and is scored as run %s", known.state.run[:12], period, session.run_id[:12])
            self._engine.propose(session, COORDINATOR)


def _sessions_of(run_id: str, runs: list[KnownRun]) -> Iterator[KnownRun]:
    for known in runs:
        if known.agreement.scores is not None and known.agreement.scores.of == run_id:
            yield known
