"""Daily use on the pages of a run and of its factor: the last score, what is due, when it ends, why it has."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from parties.client import DailyView
from tests.ui.pages_rig import said, show
from tests.ui.sample import HOSTILE, SETTLED, T0, SampleClient
from tests.ui.test_factors import factor_page
from tests.ui.test_run import run_page
from ui.wording import plain

DAILY = DailyView(
    agreed=250,
    expires=date(2100, 1, 31),
    scored=("2026-10-30", "2026-11-06"),
    last_at=T0 + timedelta(days=5),
    next_period="2026-11-13",
    next_due=T0 + timedelta(days=11),
)
ENDED = DAILY.model_copy(update={"ended": f"{HOSTILE} has left and took its share of the weights with it"})


def _client(daily: DailyView) -> SampleClient:
    client = SampleClient()
    client.views[SETTLED] = client.views[SETTLED].model_copy(update={"daily": daily})
    before = client.doors["factors/one"]

    def one(asked: Any) -> Any:
        return before(asked).model_copy(update={"daily": daily})

    client.doors["factors/one"] = one
    return client


def test_the_run_and_the_factor_say_what_was_scored_and_what_is_due() -> None:
    client = _client(DAILY)
    for page, query in ((run_page, {}), (factor_page, {"section": "Live and versions"})):
        text = said(show(page, client, [], run=SETTLED, **query))
        assert "2 of 250 later periods scored" in text
        assert plain("Next is 2026-11-13, due from 2026-11-13") in text
        assert plain("kept until 2100-01-31") in text


def test_a_run_that_somebody_left_says_so() -> None:
    text = said(show(run_page, _client(ENDED), [], run=SETTLED))
    assert "No more follow" in text
    assert HOSTILE not in text
    assert plain("took its share of the weights") in text
    assert "Daily use" not in said(show(run_page, SampleClient(), [], run=SETTLED))
