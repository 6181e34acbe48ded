"""Runs at the desk: pages against a plain oracle, and the doors of a real coordinator."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.runs import START, RunsInMemory, measure, runs
from parties.calls.runs import RunOrder, RunsQuestion
from parties.calls.views import RunSummary
from parties.client import Client, FactorsQuestion
from parties.coordinator.desk.doors import Caller, pass_through
from parties.coordinator.desk.run_index import RunIndex
from parties.coordinator.desk.runs import doors
from parties.coordinator.desk.sessions import Sessions
from parties.coordinator.run_views import run_summary
from parties.errors import ConfigError
from tests.parties.coordinator_rig import PARTIES, Consortium, FakeNode, wait_for_status

KNOWN = list(runs(60, 8))
ORDERS: dict[RunOrder, Any] = {
    "proposed": lambda run: run.proposed_at,
    "ended": lambda run: run.ended_at,
    "took": lambda run: run.ended_at - run.proposed_at,
    "status": lambda run: run.status,
    "purpose": lambda run: run.purpose.casefold(),
    "ic": lambda run: run.ic_joint,
    "uplift": lambda run: None if run.ic_joint is None else run.ic_joint - run.ic_own,
    "common": lambda run: run.n_common,
}


def expected(question: RunsQuestion) -> list[str]:
    """The ids of the page, from every run's summary."""
    summaries: list[RunSummary] = [run_summary(known) for known in KNOWN]
    words = question.text.casefold().split()
    found = [
        run
        for run in summaries
        if (not question.groups or run.status in question.groups)
        and (not question.party or question.party in run.parties)
        and all(w in f"{run.purpose}\n{run.consortium}\n{run.run_id}\n{run.parties}".casefold() for w in words)
        and (question.since is None or run.proposed_at >= question.since)
        and (question.until is None or run.proposed_at < question.until)
    ]
    key = ORDERS[question.order]
    known = sorted((r for r in found if key(r) is not None), key=key, reverse=question.descending)
    return [run.run_id for run in [*known, *(r for r in found if key(r) is None)]]


@settings(max_examples=60, deadline=None)
@given(
    groups=st.sets(st.sampled_from(["settled", "aborted", "running"])),
    party=st.sampled_from(["", "cards", "nobody"]),
    text=st.sampled_from(["", "factor", "SECTOR 3", "funds 1", "zzz", KNOWN[7].state.run[:9]]),
    since=st.none() | st.integers(0, 60),
    until=st.none() | st.integers(0, 60),
    order=st.sampled_from(sorted(ORDERS)),
    descending=st.booleans(),
    limit=st.integers(1, 30),
    offset=st.integers(0, 70),
)
def test_a_page_is_what_sorting_all_summaries_gives(since: int | None, until: int | None, **asked: Any) -> None:
    times = {"since": since, "until": until}
    bounds = {name: None if hour is None else START + timedelta(hours=hour) for name, hour in times.items()}
    question = RunsQuestion(**asked, **bounds)
    taken, page = RunIndex().find(KNOWN, question)
    whole = expected(question)
    assert [known.state.run for known in taken] == whole[question.offset : question.offset + question.limit]
    assert page.total == len(whole)
    assert sum(page.counts.values()) == len(KNOWN)


def test_a_row_is_made_again_when_its_run_has_changed() -> None:
    changed = KNOWN[0]
    index, question = RunIndex(), RunsQuestion(groups=("aborted",))
    before = index.find([changed], question)[1].total
    changed = changed.at(next(known.state for known in KNOWN if known.state.reason) if before == 0 else KNOWN[1].state)
    assert index.find([changed], question)[1].total == 1 - before


def test_the_export_has_every_run_and_no_formula() -> None:
    facts = KNOWN[0].facts
    strange = replace(KNOWN[0], facts=type(facts).of(KNOWN[0].agreement.model_copy(update={"purpose": "=cmd()"})))
    rows = list(csv.DictReader(io.StringIO(RunIndex().export([strange, *KNOWN[1:]], RunsQuestion(limit=1)).decode())))
    assert [row["run_id"] for row in rows] == [known.state.run for known in KNOWN]
    assert rows[0]["purpose"] == "'=cmd()"
    assert {row["status"] for row in rows} == {"settled", "aborted"}


def test_an_operator_of_no_party_of_a_run_finds_nothing_of_it(tmp_path: Path) -> None:
    """In no page, count, best number or export, as it may not open the run either."""
    sessions = Sessions(f"sqlite:///{tmp_path}/desk.db", lambda: START, idle=timedelta(1), longest=timedelta(1))
    made = doors(cast(Any, RunsInMemory(KNOWN)), sessions)
    for party, many in ((KNOWN[0].state.plan.parties[1], len(KNOWN)), ("stranger", 0)):
        ola = Caller("Ola", "operator", party, session=1)
        page = json.loads(pass_through(made, "runs/page", {}, ola))
        assert (page["total"], sum(page["counts"].values()), bool(page["best_ic"])) == (many, many, many > 0)
        assert len(pass_through(made, "runs/export", {}, ola).splitlines()) == 1 + many
    sessions.close()


def test_the_benchmark_asks_every_question_of_the_doors() -> None:
    assert all(0 < median <= worst for median, worst in measure(30, 8, times=3).values())


def test_a_coordinator_pages_and_exports_its_runs(tmp_path: Path) -> None:
    consortium = Consortium(tmp_path)
    with consortium.coordinator(), consortium.client() as client:
        nodes = [FakeNode(consortium, name) for name in PARTIES]
        for node in nodes:
            node.__enter__()
        try:
            first = client.propose(consortium.agreement("1", purpose="Weekly, large caps"))
            wait_for_status(client, first, "settled")
        finally:
            for node in nodes:
                node.__exit__()
        *some, outsider = PARTIES
        agreed = consortium.agreement(
            "2", purpose="Daily", recipients=some[1:], openings={"single_party": True, "limit_per_row": 3}
        )
        without = tuple(party for party in agreed.parties if party.name != outsider)
        second = client.propose(agreed.model_copy(update={"parties": without}))
        _check_pages(client, first, second)
        with consortium.desk() as desk:
            _check_favourites(client, desk, consortium, first, second)
            ola = desk.within(desk.sign_in(consortium.token("operator", "Ola", outsider)))
            assert {seen.running for seen in (*client.parties(), *client.members())} == {second, ""}
            assert {seen.running for seen in (*ola.parties(), *ola.members())} == {""}


def _check_favourites(client: Client, desk: Client, consortium: Consortium, first: str, second: str) -> None:
    """They are one person's, outlive the session, and leave nothing in a log that others read."""

    def signed_in(name: str) -> Client:
        return desk.within(desk.sign_in(consortium.token("reader", name, "")))

    ada, ben = signed_in("Ada"), signed_in("Ben")
    before = client.actions().total, client.house().log_entries, len(client.events())
    ada.favour("run", first, kept=True)
    ada.favour("search", "weekly", kept=True)
    ada.favour("factor", first, kept=True)
    ben.favour("run", second, kept=True)
    assert (client.actions().total, client.house().log_entries, len(client.events())) == before
    ada.sign_out()
    ada, mine = signed_in("Ada"), RunsQuestion(favourites=True)
    assert [(one.kind, one.what) for one in ada.favourites()] == [
        ("factor", first), ("search", "weekly"), ("run", first)
    ]  # fmt: skip
    assert [run.run_id for run in ada.runs_page(mine).runs] == [first]
    assert [run.run_id for run in ben.runs_page(mine).runs] == [second]
    assert ben.runs_page(mine).counts["settled"] == 1  # counts are of all runs
    assert second not in ada.runs_export(mine).decode()
    assert [card.run_id for card in ada.factor_page(FactorsQuestion(favourites=True)).cards] == [first]
    assert ben.factor_page(FactorsQuestion(favourites=True)).total == 0
    assert not client.favourites()
    ada.favour("run", first, kept=False)
    assert ada.runs_page(mine).total == 0
    for number in range(198):
        ada.favour("search", str(number), kept=True)
    with pytest.raises(ConfigError, match="200 favourites"):
        ada.favour("search", "one more", kept=True)


def _check_pages(client: Client, first: str, second: str) -> None:
    page = client.runs_page(RunsQuestion())
    assert [run.run_id for run in page.runs] == [second, first]
    assert page.counts["settled"] == 1
    assert page.best_ic == 0.12
    assert [run.run_id for run in client.runs_page(RunsQuestion(text="large")).runs] == [first]
    assert client.runs_page(RunsQuestion(groups=("aborted",))).total == 0
    assert client.runs_page(RunsQuestion(limit=1, offset=1, descending=False)).runs[0].run_id == second
    assert first in client.runs_export(RunsQuestion()).decode()
    with pytest.raises(ConfigError, match="limit"):
        client.runs_page(RunsQuestion.model_construct(**{**RunsQuestion().model_dump(), "limit": 10**6}))
