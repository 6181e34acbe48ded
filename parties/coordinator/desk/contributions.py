"""Contributions at the desk: what the label parties reported, beside what the ledger booked for it."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from parties.agreement.document import Agreement
from parties.calls.asking import Role
from parties.calls.contributions import (
    BandPoint,
    ContributionDetail,
    ContributionPage,
    ContributionQuestion,
    ContributionsQuestion,
    PartyShare,
    RunShares,
)
from parties.coordinator.desk.access import run_of, takes_part
from parties.coordinator.desk.csv_sheet import sheet
from parties.coordinator.desk.doors import Caller, Door, Doors
from parties.coordinator.engine import Engine
from parties.coordinator.known_run import KnownRun
from parties.coordinator.run import RunState
from parties.coordinator.run_views import run_report
from parties.errors import DataError
from parties.names import COORDINATOR
from parties.settlement.contribution import AttributionRecord, ContributionRecord

__all__ = ["doors", "settling"]

_ROLES: frozenset[Role] = frozenset(("admin", "auditor", "operator"))
_POINTS = 60
_LEAST_PERIODS = 4
_COLUMNS = (
    "run_id", "consortium", "purpose", "valued_at", "method", "n_periods", "v_everyone", "v_nobody", "party", "phi",
    "standard_error", "t", "low", "high", "plain", "plain_standard_error", "leave_one_out", "standalone", "attribution",
    "share", "reward_minor", "unit", "scale",
)  # fmt: skip


def doors(engine: Engine) -> Doors:
    """The doors about contributions. Readers have none: rewards are for those whom they concern."""
    desk = _Contributions(engine)
    return {
        "contributions/page": Door(desk.page, _ROLES, ContributionsQuestion),
        "contributions/one": Door(desk.one, _ROLES, ContributionQuestion),
        "contributions/export": Door(desk.export, _ROLES, ContributionsQuestion),
    }


@dataclass(frozen=True, slots=True)
class _Valued:
    """A run with contributions. ``parties`` are the feature parties that have one."""

    known: KnownRun
    state: RunState
    at: datetime
    parties: tuple[str, ...]

    @classmethod
    def of(cls, known: KnownRun) -> _Valued | None:
        state = known.state
        said = run_report(state, "value", state.plan.label).get("contribution")
        if said is None:
            return None
        span = next(span for span in state.spans if span.phase == "value")
        return cls(known, state, span.ended_at or span.started_at, tuple(said["parties"]))


class _Contributions:
    """Rows are made again only when their run's state has changed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._rows: dict[str, tuple[RunState, _Valued | None]] = {}
        self._lock = threading.Lock()

    def page(self, asked: ContributionsQuestion, caller: Caller) -> ContributionPage:
        mine = [row for row in self._updated() if takes_part(caller, row.state.plan)]
        found = _matching(mine, asked)
        return ContributionPage(
            total=len(found),
            offset=asked.offset,
            runs=tuple(_shares(row) for row in found[asked.offset : asked.offset + asked.limit]),
            parties=tuple(sorted({party for row in mine for party in row.parties})),
            consortia=tuple(sorted({row.known.facts.consortium for row in mine})),
        )

    def one(self, asked: ContributionQuestion, caller: Caller) -> ContributionDetail:
        row = _Valued.of(run_of(self._engine, asked.run_id, caller))
        if row is None:
            raise DataError(
                f"run {asked.run_id[:12]} has no contributions: its agreement values none, or it ended before"
            )
        said, explained = _records(row)
        return ContributionDetail(
            shares=_shares(row),
            definition=said.definition,
            plain_definition=said.plain_definition,
            attribution_definition=explained.definition if explained else "",
            over_time=settling(row.known.agreement, said),
        )

    def export(self, asked: ContributionsQuestion, caller: Caller) -> bytes:
        mine = [row for row in self._updated() if takes_part(caller, row.state.plan)]
        rows: list[Sequence[object]] = []
        for row in _matching(mine, asked):
            run = _shares(row)
            at = f"{run.at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
            facts = (run.run_id, run.consortium, run.purpose, at, run.method, run.n_periods)
            for one in run.parties:
                if asked.party in ("", one.party):
                    values = (one.phi, one.standard_error, one.t, one.low, one.high, one.plain)
                    more = (one.plain_standard_error, one.leave_one_out, one.standalone, one.attribution, one.share)
                    told = (one.party, *values, *more, one.reward, run.unit, run.scale)
                    rows.append((*facts, run.v_everyone, run.v_nobody, *told))
        return sheet(_COLUMNS, rows)

    def _updated(self) -> list[_Valued]:
        """Valued runs, newest first."""
        runs = self._engine.all_runs()
        with self._lock:
            rows = []
            for known in runs:
                state, row = self._rows.get(known.state.run, (None, None))
                if state is not known.state:
                    row = _Valued.of(known)
                    self._rows[known.state.run] = (known.state, row)
                if row is not None:
                    rows.append(row)
        return sorted(rows, key=lambda row: row.at, reverse=True)


def _matching(rows: Sequence[_Valued], asked: ContributionsQuestion) -> list[_Valued]:
    return [
        row
        for row in rows
        if (not asked.party or asked.party in row.parties)
        and (not asked.consortium or asked.consortium == row.known.facts.consortium)
        and (asked.since is None or row.at >= asked.since)
        and (asked.until is None or row.at < asked.until)
    ]


def _records(row: _Valued) -> tuple[ContributionRecord, AttributionRecord | None]:
    report = run_report(row.state, "value", row.state.plan.label)
    explained = report.get("attribution")
    attribution = None if explained is None else AttributionRecord.model_validate(explained)
    return ContributionRecord.model_validate(report["contribution"]), attribution


def _shares(row: _Valued) -> RunShares:
    said, explained = _records(row)
    settled: Mapping[str, Any] = run_report(row.state, "settle", COORDINATOR)
    rewards: Mapping[str, int] = settled.get("rewards", {})
    paid, facts = sum(rewards.values()), row.known.facts
    kept = {"phi", "standard_error", "t", "low", "high", "leave_one_out", "standalone", "plain", "plain_standard_error"}
    return RunShares(
        run_id=row.state.run, consortium=facts.consortium, purpose=facts.purpose, label_party=row.state.plan.label,
        at=row.at, method=said.method, n_periods=said.n_periods, v_everyone=said.v_everyone, v_nobody=said.v_nobody,
        pot=facts.pot, rolled_over=settled.get("rolled_over", 0), unit=facts.unit, scale=facts.scale,
        parties=tuple(
            PartyShare(
                party=name,
                **numbers.model_dump(include=kept),
                attribution=explained.parties.get(name) if explained else None,
                share=rewards.get(name, 0) / paid if paid else 0.0,
                reward=rewards.get(name, 0),
            )
            for name, numbers in said.parties.items()
        ),
    )  # fmt: skip


def settling(agreement: Agreement, said: ContributionRecord) -> dict[str, tuple[BandPoint, ...]]:
    """Each party's mean contribution up to a period, with its HAC interval, at no more than ``_POINTS`` periods."""
    import numpy as np

    from vfl.factors.evaluate import evaluation_window
    from vfl.factors.hac import hac_mean

    periods = np.asarray(agreement.periods)
    names = periods[evaluation_window(agreement.periods, agreement.evaluation.first, agreement.evaluation.last)]
    horizon = max(agreement.walk_forward.horizon, 1)
    found = {}
    for party, numbers in said.parties.items():
        values = np.array([math.nan if v is None else v for v in numbers.phi_by_period], dtype=np.float64)
        if len(values) != len(names):
            continue
        present = np.flatnonzero(np.isfinite(values))[_LEAST_PERIODS - 1 :]
        step = -(-len(present) // _POINTS) or 1
        points = []
        for at in present[::-1][::step][::-1]:
            mean = hac_mean(values[: at + 1], horizon=horizon)
            points.append(
                BandPoint(period=str(names[at]), mean=mean.mean, low=_finite(mean.low), high=_finite(mean.high))
            )
        found[party] = tuple(points)
    return found


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
