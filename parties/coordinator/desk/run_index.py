"""Runs as rows to filter, sort and page: ten thousand of them without building ten thousand summaries.

A row is made again only when its run's state has changed, which a new event alone does; a page then builds the
summaries of its own few runs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from parties.calls.runs import RunGroup, RunOrder, RunPage, RunsQuestion
from parties.coordinator.desk.csv_sheet import sheet
from parties.coordinator.known_run import KnownRun
from parties.coordinator.run import RunState
from parties.coordinator.run_views import evaluation_numbers, n_common

__all__ = ["RunIndex"]

_GROUPS: Mapping[str, RunGroup] = {
    "proposed": "waiting",
    "paused": "paused",
    "settled": "settled",
    "aborted": "aborted",
}
_COLUMNS = (
    "run_id", "consortium", "purpose", "status", "reason", "proposed_at", "ended_at", "label_party", "parties",
    "n_common", "ic_joint", "ic_own",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Row:
    """What a run is found and sorted by. ``took`` is in seconds, and 0 while it is under way."""

    known: KnownRun
    state: RunState
    group: RunGroup
    text: str
    took: float
    ic_joint: float | None
    ic_own: float | None
    n_common: int | None

    @classmethod
    def of(cls, known: KnownRun) -> _Row:
        state, facts = known.state, known.facts
        numbers = evaluation_numbers(state)
        words = (facts.purpose, facts.consortium, state.run, *state.plan.parties)
        return cls(
            known=known,
            state=state,
            group=_GROUPS.get(state.status, "running"),
            text="\n".join(words).casefold(),
            took=(state.ended_at - state.proposed_at).total_seconds() if state.ended_at else 0.0,
            ic_joint=numbers.ic_joint if numbers else None,
            ic_own=numbers.ic_own if numbers else None,
            n_common=n_common(state),
        )

    @property
    def uplift(self) -> float | None:
        return None if self.ic_joint is None or self.ic_own is None else self.ic_joint - self.ic_own


# a run that has no such value comes last, whichever way the others are sorted
_KEYS: Mapping[RunOrder, Callable[[_Row], Any]] = {
    "proposed": lambda row: row.state.proposed_at,
    "ended": lambda row: row.state.ended_at,
    "took": lambda row: row.took or None,
    "status": lambda row: row.group,
    "purpose": lambda row: row.known.facts.purpose.casefold(),
    "ic": lambda row: row.ic_joint,
    "uplift": lambda row: row.uplift,
    "common": lambda row: row.n_common,
}


class RunIndex:
    """The rows of one coordinator's runs. Thread-safe; needs no lock of the engine's."""

    def __init__(self) -> None:
        self._rows: dict[str, _Row] = {}
        self._lock = threading.Lock()

    def find(
        self, runs: Sequence[KnownRun], question: RunsQuestion, among: Container[str] | None = None
    ) -> tuple[list[KnownRun], RunPage]:
        """The runs of the page that was asked for, and the page itself, still without their summaries.

        ``runs`` are all runs, newest first; runs that sort alike keep that order. ``among``: of these ids alone.
        """
        rows = self._updated(runs)
        counts: dict[RunGroup, int] = dict.fromkeys(("waiting", "running", "paused", "settled", "aborted"), 0)
        for row in rows:
            counts[row.group] += 1
        found = _matching(rows, question, among)
        best = max((row.ic_joint for row in rows if row.ic_joint is not None), default=None)
        page = RunPage(total=len(found), offset=question.offset, counts=counts, best_ic=best)
        taken = found[question.offset : question.offset + question.limit]
        return [row.known for row in taken], page

    def export(self, runs: Sequence[KnownRun], question: RunsQuestion, among: Container[str] | None = None) -> bytes:
        """Every run that was asked for as CSV, one row each, times in UTC."""
        rows = []
        for row in _matching(self._updated(runs), question, among):
            state, facts = row.state, row.known.facts
            words = (state.run, facts.consortium, facts.purpose, state.status, state.reason)
            times = (_instant(state.proposed_at), _instant(state.ended_at))
            parties = (state.plan.label, " ".join(state.plan.parties))
            rows.append([*words, *times, *parties, row.n_common, row.ic_joint, row.ic_own])
        return sheet(_COLUMNS, rows)

    def _updated(self, runs: Sequence[KnownRun]) -> list[_Row]:
        with self._lock:
            rows = []
            for known in runs:
                row = self._rows.get(known.state.run)
                if row is None or row.state is not known.state:
                    row = self._rows[known.state.run] = _Row.of(known)
                rows.append(row)
            return rows


def _matching(rows: Sequence[_Row], question: RunsQuestion, among: Container[str] | None) -> list[_Row]:
    groups, words = frozenset(question.groups), question.text.casefold().split()
    found = [
        row
        for row in rows
        if (among is None or row.state.run in among)
        and (not groups or row.group in groups)
        and (not question.party or question.party in row.state.plan.parties)
        and (question.since is None or row.state.proposed_at >= question.since)
        and (question.until is None or row.state.proposed_at < question.until)
        and all(word in row.text for word in words)
    ]
    key = _KEYS[question.order]
    known = [row for row in found if key(row) is not None]
    known.sort(key=key, reverse=question.descending)
    return known + [row for row in found if key(row) is None]


def _instant(at: datetime | None) -> str:
    return "" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
