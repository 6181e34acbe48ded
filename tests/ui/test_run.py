"""One run: its life before and after signatures, orders and who may give them, live parts, long series."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from parties.client import PauseView, PhaseView, RunView, SeriesPoint, SignatureView, ViewerView
from parties.errors import AgreementError
from tests.parties.coordinator_rig import PARTIES as REAL
from tests.parties.coordinator_rig import Consortium, FakeNode, wait_for_status, wait_until
from tests.ui.pages_rig import button, said, show
from tests.ui.sample import ABORTED, HOSTILE, PARTIES, RUNNING, SETTLED, T0, SampleClient, training_run
from ui.charts import drawn_once
from ui.charts import runs as run_charts
from ui.run_orders import orders, paused_words, standings
from ui.wording import plain

ADMIN_VIEW = ViewerView(name="admin", role="admin")


def run_page(client: object, opened: list[object], role: str = "admin", party: str = "") -> None:
    import streamlit as st

    from parties.client import ViewerView
    from ui.views import run

    st.session_state["pages of the site"] = dict.fromkeys(("run", "runs", "new_run", "factor", "contributions"))
    run.go = lambda key, **query: opened.append((key, query))
    run.render(client, ViewerView(name=role, role=role, party=party))


def held(by: str, **changes: Any) -> RunView:
    pause = PauseView(by=by, why=HOSTILE, at=T0)
    return training_run().model_copy(update={"status": "paused", "pauses": (pause,), **changes})


def test_a_run_that_nobody_has_leads_back_to_the_list() -> None:
    opened: list[object] = []
    app = show(run_page, SampleClient(), opened, run="9" * 64)
    assert [title.value for title in app.title] == ["Run"]
    button(app, "All runs").click().run()
    assert opened == [("runs", {})]


@pytest.mark.parametrize(
    ("role", "party", "offered"),
    [
        ("admin", "", ("pause", "cancel")),
        ("operator", "till", ("pause", "cancel")),
        ("operator", "stranger", ()),
        ("auditor", "", ()),
        ("reader", "", ()),
    ],
)
def test_orders_are_offered_to_who_may_give_them(role: Any, party: str, offered: tuple[str, ...]) -> None:
    assert orders(training_run(), ViewerView(name="x", role=role, party=party)) == offered
    app = show(run_page, SampleClient(), [], role, party, run=RUNNING)
    shown = {b.label for b in app.button}
    assert shown & {"Pause", "Resume", "Cancel"} == {order.title() for order in offered}


def test_who_holds_a_run_can_let_it_go_and_the_admin_can_for_everybody() -> None:
    till, orbit = (ViewerView(name="x", role="operator", party=party) for party in ("till", "orbit"))
    run = held("till")
    assert orders(run, till) == ("resume", "cancel")
    assert orders(run, orbit) == ("pause", "cancel")
    assert orders(run, ADMIN_VIEW) == ("pause", "resume", "cancel")
    assert orders(held("admin", phase="settle"), ADMIN_VIEW) == ("resume", "cancel")
    ended = run.model_copy(update={"status": "aborted", "ended_at": T0})
    assert orders(ended, ADMIN_VIEW) == ()


def test_an_order_is_asked_again_and_then_given_with_its_reason() -> None:
    client = SampleClient()
    app = show(run_page, client, [], run=RUNNING)
    button(app, "Cancel").click().run()
    assert client.ordered == []
    assert "cannot be taken up again" in said(app)
    app.text_input(key=f"why cancel {RUNNING}").set_value("wrong universe")
    app.button(key=f"really cancel {RUNNING}").click().run()
    assert client.ordered == [("cancel", RUNNING, "wrong universe")]
    assert not app.exception


def test_pausing_and_resuming() -> None:
    client = SampleClient()
    app = show(run_page, client, [], run=RUNNING)
    button(app, "Pause").click().run()
    app.button(key=f"really pause {RUNNING}").click().run()
    client.views[RUNNING] = held("admin", stopping=True)
    app.run()
    assert "stops behind the next record" in said(app)
    assert plain(HOSTILE) in said(app)
    button(app, "Resume").click().run()
    app.button(key=f"really resume {RUNNING}").click().run()
    assert client.ordered == [("pause", RUNNING, ""), ("resume", RUNNING)]


def test_a_refused_order_says_why_and_leaves_the_page() -> None:
    client = SampleClient()
    app = show(run_page, client, [], "operator", "till", run=RUNNING)

    def refuse(run_id: str, why: str) -> None:
        raise AgreementError("till has no part in run b2b2b2b2b2b2 and cannot pause it")

    client.pause = refuse
    button(app, "Pause").click().run()
    app.button(key=f"really pause {RUNNING}").click().run()
    assert "cannot pause it" in app.error[0].value.replace("\\", "")
    app.run()
    assert not app.error


def waiting_run() -> RunView:
    approve = PhaseView(name="approve", status="running", started_at=T0, participants=PARTIES, finished=("orbit",))
    return training_run().model_copy(
        update={
            "status": "proposed",
            "phase": "approve",
            "phases": (approve,),
            "series": (),
            "openings": (),
            "signatures": (SignatureView(party="orbit", signature="ab" * 64, signed_at=T0),),
            "agreement": {
                "expires_at": (T0 + timedelta(days=1)).isoformat(),
                "parties": [{"name": "orbit", "role": "feature", "columns": ["orbit_0", HOSTILE]}],
            },
        }
    )


def test_before_it_begins_the_page_says_who_has_signed_and_who_decides() -> None:
    client = SampleClient()
    client.views[RUNNING] = waiting_run()
    app = show(run_page, client, [], run=RUNNING)
    shown = said(app)
    assert "its node has checked and signed" in shown
    assert "its operator or its policy decides" in shown
    assert "its node is not connected" in shown
    assert "Nothing is signed here" in shown
    assert not [frame for frame in app.dataframe if "Column" in frame.value.columns], "made only when opened"
    app = show(run_page, client, [], run=RUNNING, part="Terms")
    columns = next(frame.value for frame in app.dataframe if "Column" in frame.value.columns)
    assert list(columns["Column"]) == ["orbit_0", HOSTILE]
    assert list(columns["Unit"]) == ["cars a day", ""]


def test_standings_without_the_parties_still_name_everyone() -> None:
    assert [state for _, state, _ in standings(waiting_run(), [])] == ["deciding", "signed", "deciding", "deciding"]


def test_pauses_in_words() -> None:
    assert paused_words(training_run()) == ()
    assert paused_words(held("till", stopping=False)) == (f"Paused by till: {HOSTILE}",)


def test_a_finished_run_leads_on() -> None:
    opened: list[Any] = []
    app = show(run_page, SampleClient(), opened, run=SETTLED)
    for label, key, name in (
        ("The factor", "factor", "run"),
        ("Contributions over runs", "contributions", "run"),
        ("Propose one like it", "new_run", "like"),
    ):
        button(app, label).click().run()
        assert opened[-1] == (key, {name: SETTLED})
    assert "Trust report" not in [b.label for b in app.button], "there is no such page in this session"
    reader = show(run_page, SampleClient(), [], "reader", run=SETTLED)
    assert "Propose one like it" not in [b.label for b in reader.button]
    assert "has been silent" in said(show(run_page, SampleClient(), [], run=ABORTED))


def test_a_chart_is_made_once_for_the_same_data_and_shows_what_altair_would() -> None:
    made = []

    def chart(series: Any) -> Any:
        made.append(1)
        return run_charts.ic_chart(series)

    points = tuple(SeriesPoint(period=f"p{i}", ic_joint=0.1 * i) for i in range(3))
    first, again = drawn_once.specification(chart, points), drawn_once.specification(chart, points)
    assert (len(made), first == again) == (1, True)
    first["layer"].clear()
    assert drawn_once.specification(chart, points) == again, "what a caller changes is its own"
    tables = [pa.ipc.open_stream(table).read_all().to_pylist() for table in again["datasets"].values()]
    assert [{"i": i, "period": f"p{i}", "model": "joint factor", "value": 0.1 * i} for i in range(3)] in tables
    drawn_once.specification(chart, points[:2])
    assert len(made) == 2


def test_a_later_attempt_is_told() -> None:
    client = SampleClient()
    run = training_run()
    phases = tuple(p.model_copy(update={"attempt": 3}) if p.name == "train" else p for p in run.phases)
    client.views[RUNNING] = run.model_copy(update={"phases": phases})
    assert "attempt 3" in said(show(run_page, client, [], run=RUNNING))


def test_a_long_series_is_drawn_in_bounded_size() -> None:
    client = SampleClient()
    points = tuple(SeriesPoint(period=f"p{i}", at=T0, ic_joint=0.1, ic_own=0.05, loss=1.0) for i in range(4000))
    client.views[SETTLED] = client.views[SETTLED].model_copy(update={"series": points})
    app = show(run_page, client, [], run=SETTLED)
    sizes = [len(chart.proto.SerializeToString()) for chart in app.get("vega_lite_chart")]
    assert max(sizes) < 200_000


def test_orders_reach_a_real_coordinator(tmp_path: Path) -> None:
    consortium = Consortium(tmp_path)

    def slow(node: FakeNode, command: Any) -> bool:
        return command.kind == "start" and command.body.phase == "train"

    with consortium.coordinator(), consortium.client() as client:
        nodes = [FakeNode(consortium, name, on=slow) for name in REAL]
        for node in nodes:
            node.__enter__()
        try:
            run_id = client.propose(consortium.agreement(purpose="Stop me"))
            wait_until(lambda: client.run(run_id).phase == "train", "training")
            app = show(run_page, client, [], run=run_id)
            button(app, "Pause").click().run()
            app.text_input(key=f"why pause {run_id}").set_value("a question")
            app.button(key=f"really pause {run_id}").click().run()
            assert client.run(run_id).pauses[0].why == "a question"
            button(app, "Cancel").click().run()
            app.button(key=f"really cancel {run_id}").click().run()
            wait_for_status(client, run_id, "aborted")
            app.run()
            assert "cancelled at the desk" in app.error[0].value
        finally:
            for node in nodes:
                node.__exit__()


def test_who_is_away_is_named_with_since_when() -> None:
    shown = said(show(run_page, SampleClient(), [], run=RUNNING)).replace("\\", "")
    assert "till is away, last heard of 2026-11-02; the run goes on when it is back." in shown
