"""The sample's answers about runs: pages of whatever runs the sample holds, and many of them on request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from parties.client import RunPage, RunsQuestion, RunSummary, RunView

__all__ = ["doors", "many"]

GROUPS = {"proposed": "waiting", "paused": "paused", "settled": "settled", "aborted": "aborted"}


def doors(views: Mapping[str, RunView]) -> dict[str, Callable[[Any], Any]]:
    """The doors about runs, over ``views``, which may change afterwards."""

    def matching(question: RunsQuestion) -> list[RunSummary]:
        return [
            run
            for run in views.values()
            if (not question.groups or GROUPS.get(run.status, "running") in question.groups)
            and (not question.party or question.party in run.parties)
            and all(word in f"{run.purpose} {run.run_id}".casefold() for word in question.text.casefold().split())
        ]

    def page(question: RunsQuestion) -> RunPage:
        found = matching(question)
        return RunPage(
            runs=tuple(found[question.offset : question.offset + question.limit]),
            total=len(found),
            offset=question.offset,
            counts=Counter(GROUPS.get(run.status, "running") for run in views.values()),
            best_ic=max((run.ic_joint for run in views.values() if run.ic_joint is not None), default=None),
        )

    def export(question: RunsQuestion) -> bytes:
        return "\r\n".join(["run_id", *(run.run_id for run in matching(question))]).encode()

    return {"runs/page": page, "runs/export": export}


def many(run: RunView, count: int) -> dict[str, RunView]:
    """``count`` runs like ``run``, each with its own id and purpose."""
    ids = (f"{i:064x}" for i in range(count))
    return {name: run.model_copy(update={"run_id": name, "purpose": f"Factor {i}"}) for i, name in enumerate(ids)}
