"""A draft says when an earlier run has used up the openings of its rows, and what would do."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from parties.agreement.document import Agreement
from parties.calls.views import OpeningsView
from parties.coordinator.desk.used_openings import opened_before, used_openings
from parties.data.simulate import simulate
from parties.demo.homes import lay_out
from parties.proposing.drafting import agreement_of
from parties.settings.consortium import load_consortium
from vfl.terms import SplitModel


@pytest.fixture(scope="module")
def agreement(tmp_path_factory: pytest.TempPathFactory) -> Agreement:
    made = simulate(tmp_path_factory.mktemp("data"), entities=30, periods=12, parties=2, seed=7)
    settings = load_consortium(made.config)
    place = lay_out(tmp_path_factory.mktemp("out") / "out", settings, made.config.parent, made.data, 7)
    return agreement_of(settings, place.roster, datetime.now(UTC))


def ran(agreement: Agreement, used: int, **changed: Any) -> Any:
    """A run that is over, as the coordinator knows it."""
    earlier = agreement.model_copy(update=changed)
    openings = (OpeningsView(party=agreement.model.anchor, limit=agreement.row_limit, max_used=used),) if used else ()
    return SimpleNamespace(
        state=SimpleNamespace(run="ab" * 32), agreement=earlier, progress=SimpleNamespace(openings=lambda: openings)
    )


def told(agreement: Agreement, *runs: Any) -> list[str]:
    return list(used_openings(agreement, cast(Any, runs)))


def test_rows_without_an_opening_left_are_named_with_what_would_do(agreement: Agreement) -> None:
    limit = agreement.row_limit
    (said,) = told(agreement, ran(agreement, limit), ran(agreement, limit - 1), ran(agreement, 0))
    assert f"up to {limit} times, and this run needs 1 more" in said
    assert f"Allow {limit + 1} openings of a row, or predict periods after {agreement.calendar.periods[-1]}" in said


def test_other_parties_or_other_periods_are_no_reason(agreement: Agreement) -> None:
    fewer = ran(agreement, agreement.row_limit, parties=agreement.parties[:-1])
    calendar = agreement.calendar
    later = calendar.model_copy(update={"periods": tuple(f"{name}x" for name in calendar.periods)})
    assert told(agreement, fewer, ran(agreement, agreement.row_limit, calendar=later)) == []


def test_what_may_have_opened_of_a_row_is_the_most_of_runs_that_may_share_one(agreement: Agreement) -> None:
    calendar = agreement.calendar
    later = calendar.model_copy(update={"periods": tuple(f"{name}x" for name in calendar.periods)})
    fewer = ran(agreement, 2, parties=agreement.parties[:-1])
    assert opened_before(agreement, cast(Any, ())) == 0
    assert opened_before(agreement, cast(Any, (ran(agreement, 1), fewer, ran(agreement, 3, calendar=later)))) == 2
    scored = ran(agreement, 3, calendar=calendar.model_copy(update={"periods": calendar.periods[:1]}))
    assert opened_before(agreement, cast(Any, (scored,))) == 0, "no row of a first period opens a score"
    narrow, wide = (agreement.model_copy(update={"model": SplitModel(embedding_width=w)}) for w in (2, 4))
    sums = ran(wide, 0)
    sums.progress.openings = lambda: (OpeningsView(party=agreement.features[-1].name, limit=8, max_used=3),)
    assert [opened_before(run, cast(Any, (sums,))) for run in (agreement, narrow, wide)] == [0, 6, 3]
