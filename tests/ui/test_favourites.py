"""Favourites on the pages: kept by a star, listed on the overview, filtered for in lists, and one person's own."""

from __future__ import annotations

from typing import Any

from parties.calls.state import PreferenceQuestion
from parties.errors import ConfigError
from tests.ui.pages_rig import button, said, show
from tests.ui.sample import RUNNING, SETTLED, SampleClient


def a_page(client: object, name: str, opened: list[object]) -> None:
    import streamlit as st

    from tests.ui.sample import VIEWER
    from ui import favourites
    from ui.views import factors, overview, run, runs, search

    st.session_state["pages of the site"] = dict.fromkeys(("run", "factor", "search", "runs"))
    favourites.go = lambda key, **query: opened.append((key, query))  # type: ignore[assignment]
    pages = {"run": run, "search": search, "overview": overview, "runs": runs, "factors": factors}
    pages[name].render(client, VIEWER)  # type: ignore[attr-defined]


def kept(client: Any) -> list[tuple[str, str]]:
    return [(one.kind, one.what) for one in client.favourites()]


def test_a_star_keeps_and_takes_away_and_the_overview_leads_there() -> None:
    client = SampleClient()
    opened: list[object] = []
    app = show(a_page, client, "run", opened, run=SETTLED)
    button(app, "☆ Add to favourites").click().run()
    assert kept(client) == [("run", SETTLED)]
    app = show(a_page, client, "search", opened, q="weekly")
    button(app, "☆ Add to favourites").click().run()
    app = show(a_page, client, "overview", opened)
    assert "Weekly factor" in app.button(key=f"favourite run {SETTLED}").label
    app.button(key=f"favourite run {SETTLED}").click().run()
    app.button(key="favourite search weekly").click().run()
    assert opened == [("run", {"run": SETTLED}), ("search", {"q": "weekly"})]
    app = show(a_page, client, "run", opened, run=SETTLED)
    button(app, "★ Favourite run").click().run()
    assert kept(client) == [("search", "weekly")]
    assert button(app, "☆ Add to favourites")


def test_lists_show_favourites_alone_where_asked() -> None:
    client = SampleClient()
    client.favour("run", RUNNING, kept=True)
    app = show(a_page, client, "runs", [])
    assert len(app.dataframe[0].value) == 4
    app.toggle(key="favourites").set_value(True).run()
    assert list(app.dataframe[0].value["Run"]) == [RUNNING[:12]]
    app = show(a_page, client, "runs", [], favourites="true")
    assert list(app.dataframe[0].value["Run"]) == [RUNNING[:12]]
    assert [one.proto.popover.label for one in app.get("popover")] == ["More (1)"], "what hides runs is said"
    app = show(a_page, client, "factors", [])
    app.toggle(key="favourite factors").set_value(True).run()
    assert "No favourite here" in said(app)


def test_one_too_many_is_said_and_without_keys_no_button_has_one() -> None:
    client = SampleClient()

    def full(_: object) -> bytes:
        raise ConfigError("you have 200 favourites, as many as are kept: take one away first")

    client.doors["desk/favour"] = full
    app = show(a_page, client, "run", [], run=SETTLED)
    assert button(app, "☆ Add to favourites").proto.shortcut == "f"
    button(app, "☆ Add to favourites").click().run()
    assert "200 favourites" in app.error[0].value
    client.doors["desk/prefer"](PreferenceQuestion(key="shortcuts", value="off"))
    app.session_state["keyboard shortcuts are off"] = True
    app.run()
    assert button(app, "☆ Add to favourites").proto.shortcut == ""
