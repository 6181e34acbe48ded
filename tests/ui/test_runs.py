"""The list of runs: what is under way, filters, sorting, pages, export; and reads that sessions share."""

from __future__ import annotations

import threading
import tomllib
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from parties.client import RunsQuestion, ViewerView
from parties.errors import EntenteError, PeerError
from tests.places import ROOT
from tests.ui.pages_rig import button, numbers, said, show
from tests.ui.sample import ABORTED, HOSTILE, PAUSED, SETTLED, VIEWER, SampleClient, settled_run
from tests.ui.sample_runs import many
from ui import shared_reads
from ui.run_search import ORDERS, page_words, pages, question
from ui.wording import as_sentence, plain


def runs_page(client: object, opened: list[str], role: str = "admin") -> None:
    from parties.client import ViewerView
    from ui.views import runs

    runs.go = lambda key, **query: opened.append(query.get("run", key))
    runs.render(client, ViewerView(name=role, role=role))


def listed(app: Any) -> list[str]:
    return list(app.dataframe[0].value["Run"]) if len(app.dataframe) else []


def test_runs_are_counted_and_those_under_way_can_be_opened() -> None:
    client, opened = SampleClient(), []
    app = show(runs_page, client, opened)
    assert numbers(app) == {"In progress": "2", "Settled": "1", "Aborted": "1", "Best rank IC": "+0.110"}
    assert len(listed(app)) == 4
    table = app.dataframe[0].value.set_index("Run")
    assert list(table["Status"]) == [["training 43 %"], ["waiting for till"], ["settled"], ["aborted by till"]]
    assert table.loc[SETTLED[:12], "Parties"] == "harbor, orbit, chatter, till"
    assert "has been silent" in table.loc[ABORTED[:12], "Reason"]
    settled = table.loc[SETTLED[:12]]
    assert settled["t"] == 14.21
    assert settled["Uplift"] == pytest.approx(settled["Rank IC"] - 0.0553)
    app.button(key=f"open {PAUSED}").click().run()
    assert opened == [PAUSED]
    assert plain(HOSTILE, longest=90) in said(app)
    assert HOSTILE not in said(app)


def test_a_click_on_a_row_opens_its_run_and_steps_by_keys_open_it_by_a_button() -> None:
    opened: list[str] = []
    app = show(runs_page, SampleClient(), opened)
    for cell in ([0, "Proposed"], [0, "Run"], [1, "Run"]):  # Tab into the list, and two keys from there
        app.session_state["list of runs"] = {"selection": {"rows": [], "columns": [], "cells": [cell]}}
        app.run()
    assert opened == []
    app.session_state["list of runs"] = {"selection": {"rows": [], "columns": [], "cells": [cell]}}  # kept by a browser
    app.button(key="open row of list of runs").click().run()
    assert opened == [PAUSED]
    opened.clear()
    app.session_state["list of runs"] = {"selection": {"rows": [1], "columns": [], "cells": [[2, "Common"]]}}
    app.run()
    assert opened == [SETTLED]


def test_no_run_says_how_one_comes() -> None:
    client = SampleClient()
    client.views.clear()
    app = show(runs_page, client, [])
    assert "No run yet" in said(app)
    assert numbers(app)["In progress"] == "0"


def test_filters_ask_the_coordinator_and_say_when_nothing_fits() -> None:
    client = SampleClient()
    app = show(runs_page, client, [])
    app.pills[0].set_value(["aborted"]).run()
    assert listed(app) == [ABORTED[:12]]
    app.text_input(key="find").set_value("weekly").run()
    assert "Nothing fits" in said(app)
    app.pills[0].set_value([]).run()
    assert listed(app) == [SETTLED[:12]]
    assert not app.exception


def test_a_search_in_the_address_is_the_search_on_the_page() -> None:
    app = show(runs_page, SampleClient(), [], find="weekly")
    assert listed(app) == [SETTLED[:12]]


def test_only_an_admin_is_offered_a_new_run() -> None:
    opened: list[str] = []
    app = show(runs_page, SampleClient(), opened)
    button(app, "New run").click().run()
    assert opened == ["new_run"]
    for role in ("operator", "auditor", "reader"):
        assert "New run" not in [b.label for b in show(runs_page, SampleClient(), [], role).button]


def test_ten_thousand_runs_are_read_a_page_at_a_time() -> None:
    client, sizes = SampleClient(), []
    client.views.clear()
    client.views.update(many(settled_run(), 10_000))
    answer = client.doors["runs/page"]

    def counting(asked: RunsQuestion) -> Any:
        page = answer(asked)
        sizes.append(len(page.runs))
        return page

    client.doors["runs/page"] = counting
    app = show(runs_page, client, [])
    narrow = "\N{NARROW NO-BREAK SPACE}"
    assert f"1 to 25 of 10{narrow}000 runs" in said(app)
    assert max(sizes) == 25
    assert "runs" not in client.asked, "the old list is read no more"


def test_a_silent_coordinator_is_one_sentence_and_a_way_back() -> None:
    client = SampleClient()
    client.error = PeerError("the coordinator at 127.0.0.1:1 cannot be reached: check the address, and that it runs")
    app = show(runs_page, client, [])
    assert [error.value for error in app.error] == [plain(as_sentence(str(client.error)))]
    client.error = None
    button(app, "Try again").click().run()
    app.run()
    assert not app.error
    assert len(listed(app)) == 4


def test_questions_count_days_in_the_viewers_zone() -> None:
    zone = ZoneInfo("America/New_York")
    asked = question(days=(date(2026, 3, 1), date(2026, 3, 2)), zone=zone, order="Best rank IC", page=3, rows=50)
    assert asked.since == datetime(2026, 3, 1, 5, tzinfo=UTC)
    assert asked.until == datetime(2026, 3, 3, 5, tzinfo=UTC)
    assert (asked.order, asked.descending, asked.limit, asked.offset) == ("ic", True, 50, 100)
    open_ended = question(days=(date(2026, 3, 1),), zone=UTC, order="nothing we know", page=0)
    assert (open_ended.until, open_ended.order, open_ended.offset) == (None, "proposed", 0)
    assert {order for order, _ in ORDERS.values()} <= set(RunsQuestion.model_fields["order"].annotation.__args__)


def test_pages_and_their_words() -> None:
    assert [pages(total, 25) for total in (0, 1, 25, 26)] == [1, 1, 1, 2]
    assert page_words(1, 0, 1) == "1 to 1 of 1 run"
    assert page_words(60, 50, 10) == "51 to 60 of 60 runs"
    assert page_words(60, 100, 0) == "60 runs"


def test_sessions_of_one_role_share_a_read_and_other_roles_do_not() -> None:
    client, reads = SampleClient(), []
    reader = ViewerView(name="r", role="reader")

    def read() -> int:
        reads.append(1)
        return len(reads)

    assert [shared_reads.shared(client, VIEWER, "x", read, seconds=600) for _ in range(3)] == [1, 1, 1]
    assert shared_reads.shared(client, reader, "x", read, seconds=600) == 2
    assert shared_reads.shared(client, VIEWER, "y", read, seconds=600) == 3
    assert shared_reads.shared(SampleClient(), VIEWER, "x", read, seconds=600) == 4
    assert shared_reads.shared(client, VIEWER, "x", read, seconds=0) == 5


def test_a_shared_read_is_made_once_while_others_wait_and_an_error_is_not_kept() -> None:
    client, gate, calls = SampleClient(), threading.Event(), []

    def slow() -> str:
        calls.append(1)
        assert gate.wait(20)
        return "read"

    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(shared_reads.shared(client, VIEWER, "x", slow, seconds=600)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join(20)
    assert (found, len(calls)) == (["read"] * 8, 1)

    def broken() -> str:
        raise PeerError("gone")

    with pytest.raises(EntenteError):
        shared_reads.shared(client, VIEWER, "z", broken)
    assert shared_reads.shared(client, VIEWER, "z", lambda: "back") == "back"


def test_the_page_does_not_collect_garbage_after_every_rerun() -> None:
    """It would take several times as long as the rerun itself: docs/performance.md."""
    place = ROOT / "ui" / ".streamlit" / "config.toml"
    assert tomllib.loads(place.read_text())["runner"]["postScriptGC"] is False
