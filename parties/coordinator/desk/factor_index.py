"""Factors as rows to search and sort, made again only when their run's state has changed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from parties.calls.factors import FactorOrder, FactorsQuestion
from parties.control.phase_reports import EvaluationNumbers
from parties.coordinator.known_run import KnownRun
from parties.coordinator.run import RunState
from parties.coordinator.run_views import evaluation_numbers, run_report

__all__ = ["FactorIndex", "FactorRow"]


@dataclass(frozen=True, slots=True)
class FactorRow:
    """A factor that a run's label party has reported. ``numbers`` are empty where the agreement keeps them private."""

    known: KnownRun
    state: RunState
    said: Mapping[str, Any]
    numbers: EvaluationNumbers
    created_at: datetime
    text: str

    @classmethod
    def of(cls, known: KnownRun) -> FactorRow | None:
        """The run's factor, or None before there is one."""
        state, facts = known.state, known.facts
        said = run_report(state, "export", state.plan.label)
        if not said:
            return None
        span = next(span for span in state.spans if span.phase == "export")
        words = (said["factor_id"], said["version"], facts.purpose, facts.consortium, state.run)
        return cls(
            known=known,
            state=state,
            said=said,
            numbers=evaluation_numbers(state) or EvaluationNumbers(),
            created_at=span.ended_at or span.started_at,
            text="\n".join((*words, *state.plan.parties, *state.plan.recipients)).casefold(),
        )


# a factor that has no such number comes last
_KEYS: Mapping[FactorOrder, Callable[[FactorRow], Any]] = {
    "name": lambda row: str(row.said["factor_id"]).casefold(),
    "rank_ic": lambda row: row.numbers.ic_joint,
    "uplift": lambda row: row.numbers.uplift,
    "t": lambda row: row.numbers.t_joint,
}


class FactorIndex:
    """The factors of one coordinator's runs. Thread-safe; needs no lock of the engine's.

    A session that scored new periods of another run's factor is none of its own.
    """

    def __init__(self) -> None:
        self._rows: dict[str, tuple[RunState, FactorRow | None]] = {}
        self._lock = threading.Lock()

    def find(
        self, runs: Sequence[KnownRun], question: FactorsQuestion, admits: Callable[[RunState], bool]
    ) -> tuple[list[FactorRow], int]:
        """The rows of the page that was asked for, and how many there are in all. ``runs`` are newest first."""
        words = question.search.casefold().split()
        found = [
            row
            for row in self._updated(runs)
            if admits(row.state)
            and (not question.factor_id or row.said["factor_id"] == question.factor_id)
            and all(word in row.text for word in words)
        ]
        found.sort(key=lambda row: row.created_at, reverse=True)
        if key := _KEYS.get(question.sort):
            have = sorted((r for r in found if key(r) is not None), key=key, reverse=question.sort != "name")
            found = have + [row for row in found if key(row) is None]
        return found[question.offset : question.offset + question.limit], len(found)

    def _updated(self, runs: Sequence[KnownRun]) -> list[FactorRow]:
        with self._lock:
            rows = []
            for known in (one for one in runs if not one.state.plan.scoring):
                state, row = self._rows.get(known.state.run, (None, None))
                if state is not known.state:
                    row = FactorRow.of(known)
                    self._rows[known.state.run] = (known.state, row)
                if row is not None:
                    rows.append(row)
            return rows
