"""Contributions: across runs, within one, every way of counting; filters, roles, and the states without anything."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from parties.client import ViewerView
from parties.errors import PeerError
from tests.ui import sample_contributions
from tests.ui.pages_rig import numbers, said, show
from tests.ui.sample import HOSTILE, SampleClient
from ui.charts.contributions import WAYS, party_scales, runs_chart, settling_chart, share_chart, ways_chart
from ui.pages import PAGES
from ui.tables.contributions import shares_table, valued_table
from ui.views.contributions import between
from ui.wording import plain


def contributions_page(client: object, opened: list[str], role: str = "admin") -> None:
    from parties.client import ViewerView
    from ui.views import contributions

    contributions.go = lambda key, **query: opened.append(f"{key} {query.get('run', '')[:4]}".strip())
    contributions.render(client, ViewerView(name=role, role=role))


def listed(app: Any) -> list[str]:
    return list(next(t.value for t in app.dataframe if "Valued" in t.value.columns)["Run"])


def test_the_newest_run_is_shown_under_all_of_them() -> None:
    client, opened = SampleClient(), []
    app = show(contributions_page, client, opened)
    assert listed(app) == [f"{i:02x}" * 6 for i in range(6, 0, -1)]
    assert numbers(app)["Gain to share"] == "+0.053"
    assert numbers(app)["Pot"] == plain("2\N{NARROW NO-BREAK SPACE}500.00 USD")
    text = said(app)
    assert "Run 060606060606" in text
    assert "It never decides pay." in text
    assert HOSTILE not in text
    app.button(key="run of the contributions").click().run()
    assert opened == ["run 0606"]


def test_filters_ask_the_coordinator_and_say_when_nothing_fits() -> None:
    client = SampleClient()
    app = show(contributions_page, client, [])
    app.selectbox(key="whose share").set_value("till").run()
    table = next(t.value for t in app.dataframe if "Valued" in t.value.columns)
    assert list(table["Share, %"]) == [9.0] * 6
    app.date_input(key="valued days").set_value((date(2026, 7, 1), date(2026, 8, 29))).run()
    assert listed(app) == ["030303030303", "020202020202"]
    app.selectbox(key="which consortium").set_value(HOSTILE).run()
    assert "Nothing fits" in said(app)
    assert HOSTILE not in said(app)


def test_nothing_valued_says_how_it_comes() -> None:
    client = SampleClient()
    client.doors |= sample_contributions.doors(0)
    assert "Nothing valued yet" in said(show(contributions_page, client, []))


def test_a_coordinator_that_is_away_is_explained() -> None:
    client = SampleClient()
    client.error = PeerError("the coordinator at 127.0.0.1:1 cannot be reached: check the address", "coordinator")
    app = show(contributions_page, client, [])
    assert "cannot be reached" in app.error[0].value


def test_readers_have_no_such_page() -> None:
    page = next(page for page in PAGES if page.key == "contributions")
    assert set(page.roles) == {"admin", "operator", "auditor"}
    assert ViewerView(name="x", role="reader").role not in page.roles


def test_one_day_is_a_whole_day() -> None:
    assert between((), UTC) == (None, None)
    assert between((date(2026, 7, 1),), UTC) == (datetime(2026, 7, 1, tzinfo=UTC), datetime(2026, 7, 2, tzinfo=UTC))
    summer = between((date(2026, 3, 29),), ZoneInfo("Europe/Zurich"))  # a day of 23 hours
    assert (summer[1] - summer[0].astimezone(UTC)).total_seconds() == 23 * 3600


def test_tables_put_the_largest_first_and_leave_gaps_empty() -> None:
    run = sample_contributions.shares(parties=tuple(reversed(sample_contributions.shares().parties)))
    table = shares_table(run)
    assert list(table["Party"]) == ["orbit", "chatter", "till"]
    assert table["95 % interval"][0] == "+0.021 to +0.041"
    bare = run.model_copy(update={"v_nobody": None})
    assert valued_table([bare])["Gain of all"][0] is None


@pytest.mark.parametrize("count", [1, 6, 20])
def test_charts_compile_and_tell_parties_apart(count: int) -> None:
    runs = [sample_contributions.shares(i) for i in range(count)]
    parties = [one.party for one in runs[0].parties]
    colours, shapes = party_scales(parties)
    assert len(set(colours["range"])) == len(set(shapes["range"])) == 3
    assert len(runs_chart(runs, parties).to_dict()["layer"]) == (4 if count == 20 else 3)
    assert len(runs_chart(runs, parties, "till").to_dict()["datasets"]) >= 1
    assert share_chart(runs[0].parties).to_dict()
    detail = sample_contributions.doors(count)["contributions/one"](runs[0])
    assert settling_chart(tuple(detail.over_time.items()), parties).to_dict()


def test_every_way_of_counting_is_drawn_where_it_is_known() -> None:
    one = sample_contributions.shares().parties[0]
    bare = one.model_copy(update={"plain": None, "plain_standard_error": None, "standalone": None})
    drawn = str(ways_chart([bare]).to_dict()["datasets"])
    assert WAYS["phi"] in drawn
    assert WAYS["leave_one_out"] in drawn
    assert WAYS["plain"] not in {word.strip("'") for word in drawn.replace("{", "").split(", ")}
    assert WAYS["standalone"] not in drawn
