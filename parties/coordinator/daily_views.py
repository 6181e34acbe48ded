"""Daily use of a run as the coordinator knows it: which periods were scored, what is due next, and when it ends."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from parties.agreement.daily_terms import scored_periods
from parties.calls.run_parts import DailySession, DailyView
from parties.coordinator.known_run import KnownRun
from parties.coordinator.run_views import run_report
from parties.errors import EntenteError
from parties.members.roster import Roster
from parties.proposing.scoring import gone, later_calendar, left
from vfl.models.sealed.opens import opened_bits
from vfl.walk.schedule import PREDICT_ROWS

__all__ = ["daily_view"]

_NEWEST = 30


def daily_view(known: KnownRun, runs: Iterable[KnownRun], roster: Roster, now: datetime) -> DailyView | None:
    """Where daily use of a settled run stands; None where none was agreed, or the run is not settled."""
    trained, terms = known.agreement, known.agreement.daily
    if terms is None or known.state.status != "settled":
        return None
    sessions = [one for one in runs if one.agreement.scores is not None and one.agreement.scores.of == known.state.run]
    open_ = [one for one in sessions if one.state.status != "aborted"]
    taken = {period for one in open_ for period in scored_periods(one.agreement)}
    done = [one for one in open_ if one.state.status == "settled"]
    scored = {period for one in done for period in scored_periods(one.agreement)}
    last = max((one.state.ended_at for one in done if one.state.ended_at is not None), default=None)
    ended = left(trained, roster)
    if not ended and now.date() >= terms.expires:
        ended = f"daily use ended on {terms.expires}: every node erased its weights"
    if not ended and len(taken) >= terms.scores:
        ended = f"all {terms.scores} agreed periods were scored"
    period, due = _next(known, taken, now) if not ended else ("", None)
    rows = sum(_rows(one) or 0 for one in done)
    return DailyView(
        agreed=terms.scores,
        expires=terms.expires,
        scored=tuple(sorted(scored)),
        taken=tuple(sorted(taken)),
        last_at=last,
        next_period=period,
        next_due=due,
        ended=ended,
        sessions=tuple(_session(one) for one in sessions[:_NEWEST]),
        rows=rows,
        bits=sum(_bits(one) or 0 for one in done),
        gone=gone(trained, roster),
        retrain=terms.retrain,
    )


def _rows(session: KnownRun) -> int | None:
    """How many rows it scored, as its label party reported; one score opens of each."""
    said = run_report(session.state, "train", session.state.plan.label).get("rows")
    return int(said) if said is not None else None


def _bits(session: KnownRun) -> int | None:
    """What opened in it at most: of every row a score, and of every prediction a bit."""
    rows = _rows(session)
    if rows is None:
        return None
    return opened_bits(rows, predictions=len(scored_periods(session.agreement)) + rows // PREDICT_ROWS)


def _session(known: KnownRun) -> DailySession:
    state, rows = known.state, _rows(known)
    return DailySession(
        run_id=state.run,
        period=", ".join(scored_periods(known.agreement)),
        status=state.status,
        at=state.ended_at or state.proposed_at,
        rows=rows,
        bits=_bits(known),
        reason=state.reason,
    )


def _next(known: KnownRun, taken: set[str], now: datetime) -> tuple[str, datetime | None]:
    """The first later period that is not taken, and its cutoff; "" where the calendar does not go so far yet."""
    trained = known.agreement
    try:
        longer = later_calendar(trained, now)
    except EntenteError:
        return "", None
    for period, cutoff in list(zip(longer.periods, longer.cutoffs, strict=True))[len(trained.periods) :]:
        if period not in taken:
            return period, cutoff
    return "", None
