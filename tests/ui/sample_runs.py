"""The sample's answers about runs: pages of whatever runs the sample holds, and many of them on request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from parties.calls.comparing import ComparedRun, CompareQuestion, ComparisonView, DifferenceView, TermRow
from parties.calls.drafts import LikeQuestion, ProposedView, ProposeQuestion
from parties.client import FavouriteView, PartyView, RunPage, RunsQuestion, RunSummary, RunView
from parties.control.reports import IntroductionBody
from parties.coordinator.desk.drafts import Drafts
from parties.names import COORDINATOR

__all__ = ["doors", "drafts", "many", "members"]

UNITS = {"harbor_0": "ratio", "orbit_0": "cars a day", "till_0": "USD m"}
GROUPS = {"proposed": "waiting", "paused": "paused", "settled": "settled", "aborted": "aborted"}


def doors(
    views: Mapping[str, RunView], favourites: Callable[[Any], Sequence[FavouriteView]] = lambda _: ()
) -> dict[str, Callable[[Any], Any]]:
    """The doors about runs, over ``views``, which may change afterwards, as may what ``favourites`` says."""

    def matching(question: RunsQuestion) -> list[RunSummary]:
        return [
            run
            for run in views.values()
            if (not question.favourites or run.run_id in {one.what for one in favourites(None) if one.kind == "run"})
            and (not question.groups or GROUPS.get(run.status, "running") in question.groups)
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

    def compare(question: CompareQuestion) -> ComparisonView:
        chosen = [views[run_id] for run_id in question.run_ids]
        return ComparisonView(
            runs=tuple(
                ComparedRun(
                    summary=RunSummary.model_validate(run.model_dump(include=set(RunSummary.model_fields))),
                    factor_id=run.factor.factor_id if run.factor else "",
                    numbers={"ic_joint": run.ic_joint} if run.ic_joint is not None else {},
                    series=run.series,
                )
                for run in chosen
            ),
            differences=tuple(
                DifferenceView(run_id=run.run_id, n_periods=96, mean=0.013, t=2.1, low=0.001, high=0.025)
                for run in chosen[1:]
            ),
            terms=(TermRow(name="purpose", values=tuple(run.purpose for run in chosen)),),
        )

    return {"runs/page": page, "runs/export": export, "runs/compare": compare}


def many(run: RunView, count: int) -> dict[str, RunView]:
    """``count`` runs like ``run``, each with its own id and purpose."""
    ids = (f"{i:064x}" for i in range(count))
    return {name: run.model_copy(update={"run_id": name, "purpose": f"Factor {i}"}) for i, name in enumerate(ids)}


def members(parties: tuple[str, ...]) -> dict[str, IntroductionBody]:
    """What each party's node says that it brings: the first has the labels."""
    return {
        name: IntroductionBody(
            role="feature" if i else "label",
            legal_entity=f"{name.title()} Capital LLC",
            columns=tuple(f"{name}_{k}" for k in range(10)),
            units={column: unit for column, unit in UNITS.items() if column.startswith(name)},
            label_name="" if i else "next_week_return",
            label_definition="" if i else "return of the week after the decision",
        )
        for i, name in enumerate(parties)
    }


class _Engine:
    """As much of an engine as drafts use: lines that are attached, but for those that are away."""

    def __init__(self, offers: Mapping[str, IntroductionBody], away: tuple[str, ...]) -> None:
        self._offers, self._away = offers, away

    def attachments(self, names: Iterable[str]) -> dict[str, Any]:
        return {n: SimpleNamespace(attached=n not in self._away, introduction=self._offers.get(n)) for n in names}

    def all_runs(self) -> list[Any]:
        return []


def drafts(parties: tuple[str, ...], proposed: list[str]) -> dict[str, Callable[[Any], Any]]:
    """The doors about drafts: the coordinator's own, over made-up members; ``proposed`` takes the run ids."""
    names = (COORDINATOR, *parties)
    roster = {
        name: PartyView(name=name, address="127.0.0.1:1", identity_key="00" * 32, certificate_sha256="00" * 32)
        for name in names
    }
    made: Any = Drafts(_Engine(members(parties), parties[-1:]), roster)  # type: ignore[arg-type]

    def propose(said: ProposeQuestion) -> ProposedView:
        proposed.append(said.agreement.run_id)
        return ProposedView(run_id=said.agreement.run_id)

    def like(said: LikeQuestion) -> Any:
        first: Any = made.templates()[0]
        return first.model_copy(
            update={"key": said.run_id, "title": "Again", "terms": first.terms | {"purpose": "Again"}}
        )

    return {
        "runs/templates": lambda _: made.templates(),
        "runs/draft": made.draft,
        "runs/like": like,
        "runs/propose": propose,
    }
