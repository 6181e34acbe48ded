"""Runs at the desk: pages of the list, and its export, of the runs that concern the caller."""

from __future__ import annotations

from parties.calls.runs import RunPage, RunsQuestion
from parties.coordinator.desk.access import runs_of
from parties.coordinator.desk.doors import Caller, Door, Doors
from parties.coordinator.desk.run_index import RunIndex
from parties.coordinator.desk.sessions import Sessions
from parties.coordinator.engine import Engine
from parties.coordinator.run_views import run_summary

__all__ = ["doors"]


def doors(engine: Engine, sessions: Sessions) -> Doors:
    """The doors about runs."""
    index = RunIndex()

    def among(question: RunsQuestion, caller: Caller) -> frozenset[str] | None:
        """The caller's own favourites, where only they are asked for."""
        return (
            frozenset(run for _, run in sessions.favourites(caller.signature, "run")) if question.favourites else None
        )

    def page(question: RunsQuestion, caller: Caller) -> RunPage:
        taken, found = index.find(runs_of(engine, caller), question, among(question, caller))
        return found.model_copy(update={"runs": tuple(run_summary(known) for known in taken)})

    def export(question: RunsQuestion, caller: Caller) -> bytes:
        return index.export(runs_of(engine, caller), question, among(question, caller))

    return {
        "runs/page": Door(page, shape=RunsQuestion),
        "runs/export": Door(export, shape=RunsQuestion),
    }
