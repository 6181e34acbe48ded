"""A scoring session of a finished sealed run: which periods are due, the agreement of one, what it is held to."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError

from parties import __version__
from parties.agreement.daily_terms import DailyTerms, ScoringTerms, scored_periods
from parties.agreement.document import Agreement
from parties.agreement.sameness import SCORED, differing
from parties.agreement.terms import CalendarTerms, RewardTerms
from parties.errors import AgreementError, ConfigError
from parties.names import COORDINATOR
from parties.proposing.drafting import Node, terms_of
from parties.settings.consortium import CalendarSettings
from parties.settings.faults import reason

__all__ = [
    "check_scoring",
    "daily_of",
    "due_periods",
    "gone",
    "later_calendar",
    "left",
    "scoring_of",
    "session_calendar",
    "successor_terms",
]


def daily_of(trained: Agreement, now: datetime) -> DailyTerms:
    """The terms of daily use. Raises :class:`AgreementError` where there are none, or they have expired."""
    daily, run = trained.daily, f"run {trained.run_id[:12]}"
    if daily is None:
        raise AgreementError(
            f"{run} agreed to no daily use, so its weights were forgotten: name [daily] in the terms of the next run"
        )
    if now.date() >= daily.expires:
        raise AgreementError(
            f"daily use of {run} ended on {daily.expires}, and every node erased its weights: propose a new run"
        )
    return daily


def later_calendar(trained: Agreement, now: datetime) -> CalendarTerms:
    """The run's calendar and the periods after it, to the one that ``now`` is in."""
    from parties.data.calendar import calendar_terms  # pandas, which a coordinator starts without

    before = trained.dated
    lag = before.cutoffs[0] - before.period_ends[0]
    longer = calendar_terms(
        CalendarSettings(
            frequency=before.frequency,
            first=before.period_ends[0].date(),
            last=max(now.date(), before.period_ends[-1].date()),
            decision_lag_days=lag.days,
        )
    )
    if longer.periods[: len(before.periods)] != before.periods:
        raise ConfigError("the run's periods are not those of its frequency: its calendar cannot be gone on with")
    return longer


def due_periods(trained: Agreement, scored: Collection[str], now: datetime) -> tuple[str, ...]:
    """Later periods whose cutoff has passed and that are not ``scored``, as far as the agreed number goes.

    Raises :class:`AgreementError` where there are none.
    """
    daily, longer, known = daily_of(trained, now), later_calendar(trained, now), len(trained.periods)
    later = list(zip(longer.periods, longer.cutoffs, strict=True))[known:]
    room = daily.scores - len(set(scored))
    if room < 1:
        raise AgreementError(
            f"{len(set(scored))} periods of run {trained.run_id[:12]} were scored, which is all that was agreed "
            "(daily.scores): propose a new run"
        )
    due = tuple(period for period, cutoff in later if cutoff <= now and period not in scored)[:room]
    if not due:
        told = next((f": {period} is, at {cutoff:%Y-%m-%d %H:%M} UTC" for period, cutoff in later if cutoff > now), "")
        raise AgreementError(f"no new period of run {trained.run_id[:12]} is due{told}")
    return due


def session_calendar(trained: Agreement, period: str, now: datetime) -> CalendarTerms:
    """The calendar of a session that scores ``period``. Raises :class:`AgreementError` where nothing of it is due."""
    longer = later_calendar(trained, now)
    for t in range(len(trained.periods), len(longer.periods)):
        if longer.periods[t] == period and longer.cutoffs[t] <= now:
            return _until(longer, t)
    raise AgreementError(f"{period} is no period after {trained.periods[-1]} whose cutoff has passed: nothing is due")


def left(trained: Agreement, nodes: Mapping[str, Node], me: str = "") -> str:
    """Why the run cannot be scored any more, because somebody but ``me`` left; "" while all are there."""
    for name in gone(trained, nodes, me):
        return (
            f"{name} has left and took its share of the weights of run {trained.run_id[:12]} with it, so the "
            "factor is scored no more: propose a new run of those who stay"
        )
    return ""


def gone(trained: Agreement, nodes: Mapping[str, Node], me: str = "") -> tuple[str, ...]:
    """The run's parties but ``me`` that are members no more, or came back with another key and without their share."""
    return tuple(
        party.name
        for party in trained.parties
        if party.name != me and ((node := nodes.get(party.name)) is None or node.identity_key != party.identity_key)
    )


def scoring_of(
    trained: Agreement,
    nodes: Mapping[str, Node],
    now: datetime,
    validity: timedelta,
    period: str,
) -> Agreement:
    """The agreement of a session that scores one later period.

    Addresses and certificates are today's. Raises :class:`ConfigError` where a party has left, and
    :class:`AgreementError` where the period is not due.
    """
    if gone := left(trained, nodes):
        raise ConfigError(gone)
    body: dict[str, Any] = trained.model_dump(mode="json") | {
        "purpose": f"Scores of {period} under run {trained.run_id[:12]}",
        "proposed_at": now,
        "expires_at": now + validity,
        "nonce": f"scores:{secrets.token_hex(16)}",
        "coordinator_address": nodes[COORDINATOR].address,
        "coordinator_certificate_sha256": nodes[COORDINATOR].certificate_sha256,
        "calendar": session_calendar(trained, period, now).model_dump(mode="json"),
        "openings": trained.openings.model_dump(mode="json") | {"limit_per_row": 1, "contribution": "none"},
        "reward": RewardTerms(unit=trained.reward.unit, scale=trained.reward.scale).model_dump(mode="json"),
        "fees": None,
        "search": None,
        "continues": None,
        "daily": None,
        "scores": ScoringTerms(of=trained.run_id, first=period).model_dump(mode="json"),
        "code_version": __version__,
    }
    for party in body["parties"]:
        node = nodes[party["name"]]
        party |= {"address": node.address, "certificate_sha256": node.certificate_sha256}
    try:
        return Agreement.model_validate(body)
    except ValidationError as error:
        raise ConfigError(f"the session's terms do not hold together: {reason(error)}") from None


def successor_terms(trained: Agreement, now: datetime) -> dict[str, Any]:
    """Terms of a run like the trained one, over a calendar that goes to the last period whose cutoff has passed.

    Daily use keeps its length: as many days from today as it had from the first proposal.
    """
    longer, terms = later_calendar(trained, now), terms_of(trained)
    last = max(t for t, cutoff in enumerate(longer.cutoffs) if cutoff <= now)
    terms["calendar"]["last"] = longer.period_ends[last].date().isoformat()
    if trained.daily is not None:
        expires = now.date() + (trained.daily.expires - trained.proposed_at.date())
        terms["daily"] |= {"expires": expires.isoformat()}
    return terms


def check_scoring(agreement: Agreement, trained: Agreement | None, now: datetime) -> None:
    """Raise :class:`AgreementError` unless the session is what the trained run's parties agreed to."""
    terms = agreement.scores
    assert terms is not None
    if trained is None or trained.run_id != terms.of:
        raise AgreementError(f"run {terms.of[:12]}, which is to be scored, is not known here: propose a run of its own")
    daily_of(trained, now)
    faults = differing(agreement, trained, SCORED)
    faults += [
        f"the part of {one.name}"
        for one, other in zip(agreement.parties, trained.parties, strict=False)
        if (one.name, one.role, one.identity_key, one.columns, one.text, one.encoder, one.expansion)
        != (other.name, other.role, other.identity_key, other.columns, other.text, other.encoder, other.expansion)
    ]
    if len(agreement.parties) != len(trained.parties):
        faults.append("its parties")
    if faults:
        raise AgreementError(
            f"the session differs from run {terms.of[:12]} in {faults[0]}, which scoring never changes"
        )
    calendar, known = agreement.dated, len(trained.periods)
    try:
        longer = later_calendar(trained, calendar.period_ends[-1])
    except ConfigError as error:
        raise AgreementError(str(error)) from None
    if longer != calendar or agreement.periods.index(terms.first) < known:
        raise AgreementError(f"the session's calendar is not that of run {terms.of[:12]} and the periods after it")
    for period in scored_periods(agreement):
        cutoff = calendar.cutoffs[calendar.periods.index(period)]
        if cutoff > now:
            raise AgreementError(f"the cutoff of {period} is {cutoff:%Y-%m-%d %H:%M} UTC: score it then")


def _until(calendar: CalendarTerms, last: int) -> CalendarTerms:
    return calendar.model_copy(
        update={name: getattr(calendar, name)[: last + 1] for name in ("periods", "period_ends", "cutoffs")}
    )
