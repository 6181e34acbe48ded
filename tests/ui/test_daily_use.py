"""Daily use on the pages of a run and of its factor: the last score, what is due, when it ends, why it has."""

from __future__ import annotations

from typing import Any

from parties.client import DailyView
from tests.ui.pages_rig import numbers, said, show, text_tables
from tests.ui.sample import HOSTILE, SETTLED, SampleClient
from tests.ui.sample_screen import DAILY, ENDED, SESSION, scoring_run
from tests.ui.test_factors import factor_page
from tests.ui.test_run import run_page
from ui.wording import plain


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
        assert "Weights kept until 2100-01-31" in text


def test_a_run_that_somebody_left_says_so() -> None:
    text = said(show(run_page, _client(ENDED), [], run=SETTLED))
    assert "No more follow" in text
    assert HOSTILE not in text
    assert plain("took its share of the weights") in text
    assert "Daily use" not in said(show(run_page, SampleClient(), [], run=SETTLED))


def test_figures_sessions_and_commands_stand_on_both_pages() -> None:
    client = _client(DAILY)
    for page, query in ((run_page, {}), (factor_page, {"section": "Live and versions"})):
        app = show(page, client, [], run=SETTLED, **query)
        shown = numbers(app)
        assert shown["Last scored period"] == plain("2026-11-06")
        assert (shown["Rows scored"], shown["Periods left"]) == ("924", "248")
        assert shown["Bits opened"] == "15\N{NARROW NO-BREAK SPACE}708"
        table = next(one for one in text_tables(app) if "Bits opened" in one)
        assert list(table["Session"]) == ["scored", "not scored", "scored"]
        assert any(f"entente run score {SETTLED[:12]} --watch" in code.value for code in app.code)
        assert "no share of the weights has left" in said(app)
    gone = said(show(run_page, _client(ENDED), [], run=SETTLED))
    assert f"Left with their shares of the weights: {plain(HOSTILE)}" in gone
    assert "as soon as its data is complete" not in gone


def test_a_session_says_what_it_scored_and_opened_and_leads_to_its_run() -> None:
    client, opened = SampleClient(), []
    client.views[SESSION] = scoring_run()
    app = show(run_page, client, opened, run=SESSION)
    assert "463 rows scored" in said(app)
    assert "Propose one like it" not in {one.label for one in app.button}
    assert "Not measured" not in said(app)
    app.button(key="trained run").click().run()
    assert opened == [("run", {"run": SETTLED})]


def test_evidence_is_offered_as_a_file_or_a_command_and_not_to_readers() -> None:
    for role, told in (("auditor", True), ("operator", True), ("reader", False)):
        app = show(run_page, SampleClient(), [], role, "till" if role == "operator" else "", run=SETTLED)
        assert any(f"entente evidence {SETTLED[:12]}" in code.value for code in app.code) is told
        assert bool(app.get("download_button")) is (role == "auditor")
