"""One field that finds runs, factors, members and entries, and nothing that a role may not see."""

from __future__ import annotations

from tests.ui.pages_rig import said, show
from tests.ui.sample import HOSTILE, RUNNING, SampleClient


def search_page(client: object, opened: list[object], role: str = "admin") -> None:
    from parties.client import ViewerView
    from ui import links
    from ui.pages import PAGES
    from ui.views import search

    links.remember({page.key: None for page in PAGES if role in page.roles})
    search.go = lambda key, **query: opened.append((key, query))
    search.render(client, ViewerView(name=role, role=role))


def test_a_word_finds_runs_members_and_factors() -> None:
    opened: list[object] = []
    app = show(search_page, SampleClient(), opened, q="weekly")
    assert {one.value for one in app.subheader} >= {"Runs", "Factors"}
    members = show(search_page, SampleClient(), [], q="Orbit capital")
    assert [one.value for one in members.subheader if one.value == "Members"] == ["Members"]
    app.button(key="Runs 0").click().run()
    assert opened[0][0] == "run"
    app = show(search_page, SampleClient(), opened, q="orbit")
    app.button(key="Audit log 0").click().run()
    assert opened[-1][0] == "trust"
    assert app.session_state["audit words"] == "orbit", "the page that opens is asked for the same"


def test_names_stay_harmless_and_nothing_is_said_so() -> None:
    app = show(search_page, SampleClient(), [], q=RUNNING[:8])
    assert HOSTILE not in said(app)
    assert [one.value for one in app.subheader] == ["Runs"]
    assert "Nothing fits" in said(show(search_page, SampleClient(), [], q="*zzz*"))
    assert "What are you looking for?" in said(show(search_page, SampleClient(), []))


def test_a_reader_is_not_even_asked_about_money_and_logs() -> None:
    client = SampleClient()
    show(search_page, client, [], "reader", q="weekly")
    assert not {"ledger/journal", "trust/log"} & set(client.asked)
