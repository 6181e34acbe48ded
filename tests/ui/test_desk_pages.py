"""Overview, Settings, the tour and the frame around every page, over a sample client."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from parties.client import (
    ApproverView,
    DossierView,
    HouseView,
    RunSummary,
    SettlementPage,
    SettlementQuestion,
    SignInError,
    ViewerView,
)
from parties.errors import PeerError
from tests.ui.pages_rig import button, numbers, said, show
from tests.ui.sample import SampleClient, paused_run, training_run
from tests.ui.sample_desk import HOSTILE, T0, balances, house
from ui.needs_attention import concerns, pending_money
from ui.tables.desk import actions_table, sessions_table, settings_table
from ui.wording import instant, plain
from ui.zone import CHOSEN


def overview_page(client: object, role: str, opened: list[str]) -> None:
    from parties.client import ViewerView
    from ui.views import overview

    overview.go = lambda key, **query: opened.append(f"{key} {query.get('run', '')}")
    overview.reachable = lambda _: role == "admin"
    overview.render(client, ViewerView(name="Ada", role=role))


def settings_page(client: object, role: str) -> None:
    from parties.client import ViewerView
    from ui.views import settings

    settings.render(client, ViewerView(name="Ada <b>", role=role, way="one-time token"))


def framed_page(client: object, signed_out: list[bool]) -> None:
    import streamlit as st

    from parties.client import ViewerView
    from ui import links, tour
    from ui.frame import around

    links.remember(dict.fromkeys(("overview", "runs", "settings")))
    tour.go = lambda key: st.session_state.update(page=key)
    key = st.session_state.get("page", "overview")
    around(
        key,
        client,
        ViewerView(name="Ada <b>", role="operator", party="till"),
        lambda: signed_out.append(True),
        lambda: st.write(f"the page {key}"),
    )


def test_the_overview_says_what_runs_who_is_there_and_what_waits() -> None:
    client, opened = SampleClient(), []
    app = show(overview_page, client, "admin", opened)
    found = numbers(app)
    assert found["In progress"] == "2"
    assert found["Parties online"] == "3 of 4"
    assert found["Money pending"].replace("\N{NARROW NO-BREAK SPACE}", " ") == "2 500.00 USD"
    assert "212 GB of 500 GB disk free" in said(app).replace("\\", "")
    words = [markdown.value for markdown in app.markdown]
    assert "orbit signed the agreement." in "\n".join(words).replace("\\", ""), "what happened lately"
    assert any("certificate of orbit ends" in text for text in words)
    assert any("`entente party rotate --home orbit`" in text for text in words), "a command is code"
    assert any("is paused and waits for till" in text for text in words)
    next(b for b in app.button if (b.key or "").startswith("open ")).click().run()
    assert opened[0].startswith("run ")
    button(app, "New run").click().run()
    assert opened[-1] == "new_run "


def test_the_overview_of_a_reader_asks_for_no_money() -> None:
    client = SampleClient()
    app = show(overview_page, client, "reader", [])
    assert "ledger/balances" not in client.asked
    assert "Money pending" not in numbers(app)
    assert "Lately" not in said(app)
    assert "disk free" not in said(app)
    assert not [b for b in app.button if b.label == "New run"]


def test_the_overview_goes_on_when_the_coordinator_is_away() -> None:
    client = SampleClient()
    client.error = PeerError("the coordinator cannot be reached")
    app = show(overview_page, client, "admin", [])
    assert "cannot be reached" in app.error[0].value
    assert [b.label for b in app.button][-1] == "Try again"


def test_an_empty_consortium_is_told_what_to_do() -> None:
    client = SampleClient()
    client.views.clear()
    client.parties = list
    client.doors |= {"desk/house": lambda _: house(warnings=()), "settlement/page": lambda _: SettlementPage()}
    app = show(overview_page, client, "admin", [])
    assert "Nothing needs attention" in app.success[0].value
    assert "Nothing is under way" in said(app)
    assert "entente invite" in said(app)


@pytest.mark.parametrize(
    ("made", "says", "grave"),
    [
        (house(warnings=house().warnings[:1]), "The certificate of orbit ends", False),
        (house(warnings=("the certificate of till ended on 2026-01-01: it needs a new one",)), "ended on", True),
    ],
)
def test_concerns_about_the_house(made: HouseView, says: str, grave: bool) -> None:
    found = concerns(made, (), (), None, ViewerView(name="o", role="operator", party="orbit"))
    assert [(says in concern.text, concern.grave) for concern in found] == [(True, grave)]
    assert found[0].own is ("orbit" in says), "a certificate is its own party's to renew"


def test_concerns_put_what_is_wrong_first() -> None:
    client = SampleClient()
    proposed = training_run().model_copy(update={"status": "proposed", "waiting_for": ("orbit",), "purpose": "P"})
    runs: list[RunSummary] = [paused_run(), proposed]
    found = concerns(house(warnings=()), runs, client.parties(), balances(balanced=False))
    assert found[0].grave
    assert "entry 7 does not fit" in found[0].text
    texts = [concern.text for concern in found[1:]]
    assert texts == ["“Daily factor” is paused and waits for till.", "“P” waits for the signature of orbit."]
    away = concerns(house(warnings=()), (), client.parties(), None)
    start = "Its operator starts it with `entente party start --home till`."
    assert [concern.text for concern in away] == [f"1 party is not online: till (last heard of 2026-11-02). {start}"]
    (own,) = concerns(
        house(warnings=()), (), client.parties(), None, ViewerView(name="o", role="operator", party="till")
    )
    assert (own.own, own.command) == (True, "entente party start --home till")


def test_money_that_waits_is_named_with_who_has_to_act() -> None:
    """10 000 USD were ready to finalise while the overview said that nothing needed attention."""
    client = SampleClient()
    page = client.settlements(SettlementQuestion())
    due = page.runs[0].model_copy(update={"state": "due", "dossier": "", "disputes": ()})
    page = page.model_copy(update={"runs": (due,), "dossiers": ()})
    admin, ola = ViewerView(name="a", role="admin"), ViewerView(name="o", role="operator", party=due.label_party)
    told = {who: concerns(house(warnings=()), (), (), None, who, (), page) for who in (admin, ola)}
    assert ["can be made final" in one.text for one in told[admin]] == [True]
    assert [(one.own, one.page) for one in told[admin]] == [(True, "settlement")]
    assert [one.own for one in told[ola]] == [False]
    waits = due.model_copy(update={"state": "pending", "live_periods": 1, "live_needed": 4})
    (own,) = concerns(house(warnings=()), (), (), None, ola, (), page.model_copy(update={"runs": (waits,)}))
    assert own.command == f"entente settle live {due.run_id[:12]} --home {due.label_party}"


def test_an_operator_is_told_to_approve_and_how() -> None:
    dossier = DossierView(
        digest="ab" * 32, kind="final", run_id="cd" * 32, asked_by="Ada (admin)", asked_at=T0, reasons=(), steps=(),
        approvers=(ApproverView(name="orbit", state="asked"), ApproverView(name="harbor", state="approved")), needed=2,
        state="open",
    )  # fmt: skip
    page = SettlementPage(dossiers=(dossier,))
    (own,) = concerns(house(warnings=()), (), (), None, ViewerView(name="o", role="operator", party="orbit"), (), page)
    assert own.command == f"entente settle approve {dossier.digest[:12]} --home orbit"
    (other,) = concerns(house(warnings=()), (), (), None, ViewerView(name="a", role="admin"), (), page)
    assert not other.own
    assert other.text == "The step “final” of “cdcdcdcdcdcd” waits for 1 more approval, of orbit."


def test_an_operator_reads_its_own_first_and_what_to_type() -> None:
    """And what stopped in the last days, with its reason; what stopped long ago is on the page Runs."""
    asked = training_run().model_copy(update={"status": "proposed", "waiting_for": ("orbit",), "purpose": "P"})
    ended = {"status": "aborted", "reason": "orbit rejected the agreement: too few rows", "purpose": "Q"}
    late = paused_run().model_copy(update=ended | {"ended_at": datetime.now(UTC)})
    early = late.model_copy(update={"ended_at": datetime.now(UTC) - timedelta(days=30)})
    viewer = ViewerView(name="Ola", role="operator", party="orbit")
    found = concerns(house(warnings=()), [paused_run(), asked], (), None, viewer, [late, early])
    assert found[0].command == f"entente run review {asked.run_id[:12]} --home orbit"
    assert found[0].own
    assert [one.text for one in found[1:]] == [
        "“Daily factor” is paused and waits for till.",
        f"“Q” ({late.run_id[:12]}): orbit rejected the agreement: too few rows.",
    ]


def test_pending_money_is_added_up_by_unit() -> None:
    assert pending_money(balances()) == {("USD", 2): 227_500}
    assert pending_money(None) == {}


TABS: dict[str, list[str]] = {
    "admin": ["You", "Coordinator", "Action log", "Sign-ins"],
    "auditor": ["You", "Coordinator", "Action log"],
    "operator": ["You"],
    "reader": ["You"],
}


@pytest.mark.parametrize("role", TABS)
def test_settings_show_a_role_what_it_may_see(role: str) -> None:
    client = SampleClient()
    app = show(settings_page, client, role)
    assert [tab.label for tab in app.tabs] == TABS[role]
    asked = {"desk/settings", "desk/actions", "desk/sessions"} & set(client.asked)
    assert len(asked) == len(TABS[role]) - 1
    assert "Ada <b>" not in said(app)
    assert plain("Ada <b>") in said(app)


def test_the_action_log_is_paged_and_narrowed() -> None:
    client = SampleClient()
    app = show(settings_page, client, "auditor")
    assert "1 to 50 of 120 actions" in said(app)
    app.text_input[0].set_value("Ada").run()
    assert "1 to 50 of 60 actions" in said(app)
    app.text_input[0].set_value("nobody").run()
    assert "Nothing was done yet" in said(app)


def test_an_admin_ends_a_session() -> None:
    client = SampleClient()
    app = show(settings_page, client, "admin")
    assert plain(HOSTILE) in said(app)
    assert "this session" in said(app)
    app.button(key="end 2").click().run()
    assert plain(HOSTILE) not in said(app)
    client.doors["desk/end-session"] = refuse
    app.button(key="end 1").click().run()
    assert "ended already" in app.error[0].value


def refuse(_: object) -> bytes:
    raise PeerError("session 1 has ended already")


def test_a_chosen_time_zone_is_remembered_and_used() -> None:
    client = SampleClient()
    app = show(settings_page, client, "admin")
    app.selectbox[0].set_value("Asia/Tokyo").run()
    assert client.ask("desk/preferences", None, dict)["zone"] == "Asia/Tokyo"
    assert app.session_state[CHOSEN] == "Asia/Tokyo"
    assert any("2026-11-02 18:30:00 JST" in (told.help or "") for told in app.markdown)


def test_times_are_utc_where_nobody_looks() -> None:
    assert instant(T0) == "2026-11-02 09:30:00 UTC"


def test_the_tour_is_offered_once_walks_on_and_is_remembered() -> None:
    client = SampleClient()
    client.doors["desk/preferences"] = lambda _: {}
    kept: list[Any] = []
    client.doors["desk/prefer"] = lambda question: kept.append(question) or b"null"
    app = show(framed_page, client, [])
    assert "New here?" in said(app)
    button(app, "Show me around").click().run()
    assert "Everything at a glance" in said(app)
    button(app, "Next").click().run()
    app.run()
    assert "A run, from its agreement" in said(app)
    assert "the page runs" in said(app)
    button(app, "Back").click().run()
    app.run()
    assert "1 of 2" in said(app)
    button(app, "End the tour").click().run()
    assert [(q.key, q.value) for q in kept] == [("tour", "seen")]
    assert "at a glance" not in said(app)
    assert "New here?" not in said(app)


def test_the_tour_is_not_offered_to_whom_it_was_shown() -> None:
    app = show(framed_page, SampleClient(), [])
    assert "New here?" not in said(app)


def test_the_frame_says_who_is_signed_in_and_lets_them_out() -> None:
    gone: list[bool] = []
    app = show(framed_page, SampleClient(), gone)
    assert plain("Ada <b>") in said(app)
    assert "operator of till" in said(app)
    assert "Entente 0.1.0" in said(app).replace("\\", "")
    button(app, "Sign out").click().run()
    assert gone == [True]


def app_page(client: object, secret: str) -> None:
    from ui import app

    app.connection = lambda: client
    app.present_secret = lambda: secret
    app.main()


@pytest.mark.parametrize("secret", ["", "over"])
def test_a_visitor_without_a_session_sees_nothing(secret: str) -> None:
    client = SampleClient()

    def ended() -> ViewerView:
        raise SignInError("this session has ended: sign in again")

    client.viewer = ended
    app = show(app_page, client, secret)
    assert "not signed in" in app.info[0].value
    assert not [*app.metric, *app.dataframe, *app.title, *app.button]
    assert set(client.asked) == set()


def test_tables_of_nothing_have_their_columns() -> None:
    makers: tuple[Callable[[list[Any]], Any], ...] = (settings_table, actions_table, sessions_table)
    for make in makers:
        assert len(make([])) == 0
        assert len(make([]).columns) >= 5


def test_the_first_page_is_the_overview() -> None:
    def whole() -> None:
        from tests.ui.sample import SampleClient
        from ui import app

        app.connection = lambda: SampleClient()
        app.present_secret = lambda: "sample"
        app.main()

    app = AppTest.from_function(whole, default_timeout=30).run()
    assert not app.exception
    assert app.title[0].value == "Overview"
