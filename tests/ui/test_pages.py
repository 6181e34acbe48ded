"""The pages themselves, run by Streamlit's own test harness over a sample client."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from parties.errors import PeerError
from tests.ui.pages_rig import TIMEOUT, button, numbers, said, show, text_tables
from tests.ui.sample import ABORTED, HOSTILE, PAUSED, RUNNING, SETTLED, SampleClient, bundle, sealed_run
from ui.wording import as_sentence, plain


def run_page(client: object) -> None:
    from tests.ui.sample import VIEWER
    from ui.views import run

    run.render(client, VIEWER)


def test_nothing_yet_says_how_it_comes() -> None:
    client = SampleClient()
    client.views.clear()
    assert "No run yet" in said(show(run_page, client))


@pytest.mark.parametrize(("page", "args"), [(run_page, ())])
def test_a_silent_coordinator_is_one_sentence_and_a_way_back(page: Callable[..., None], args: Any) -> None:
    client = SampleClient()
    client.error = PeerError("the coordinator at 127.0.0.1:1 cannot be reached: check the address, and that it runs")
    app = show(page, client, *args)
    assert [error.value for error in app.error] == [plain(as_sentence(str(client.error)))]
    client.error = None
    button(app, "Try again").click().run()
    assert not app.error
    assert not app.exception


def test_a_settled_run_shows_its_results() -> None:
    app = show(run_page, SampleClient(), run=SETTLED)
    assert numbers(app) == {
        "Rank IC, joint": "+0.110", "Rank IC, own": "+0.055", "Uplift": "+0.055", "Common entities": "463",
        "Openings per row": "6 of 6",
    }  # fmt: skip
    assert all(metric.help for metric in app.metric)
    assert len(app.get("vega_lite_chart")) == 3
    assert "96 periods out of sample" in said(app)
    assert "valued from masked sums" in said(show(run_page, SampleClient(), run=SETTLED, part="Contributions"))
    assert "orbit to harbor 48.0 MB" in said(show(run_page, SampleClient(), run=SETTLED, part="Privacy"))
    assert not app.error


def test_a_sealed_run_shows_its_scores_its_anchor_and_why_there_is_no_loss() -> None:
    client = SampleClient()
    client.views[SETTLED] = sealed_run(client.views[SETTLED])
    app = show(run_page, client, run=SETTLED)
    shown = said(app) + said(show(run_page, client, run=SETTLED, part="Privacy"))
    assert numbers(app)["Scores per row"] == "1 of 4"
    assert "One score of 17 bits per predicted row: 44\N{NARROW NO-BREAK SPACE}448 rows" in shown
    assert "Anchor: orbit" in shown
    assert "together could see every embedding" in shown
    assert "There is no loss to draw" in shown
    assert not [one for one in app.expander if one.label == "Training loss"]
    assert len(app.get("vega_lite_chart")) == 2
    assert not app.error


def test_a_run_of_trees_says_how_many_there_are_what_they_gain_and_what_opened() -> None:
    client = SampleClient()
    run = sealed_run(client.views[RUNNING])
    train = next(phase for phase in run.phases if phase.name == "train")
    trees = {"metrics": {"period": 17.0, "gain": 0.0123}, "unit": "trees", "done": 40, "total": 150}
    states = tuple(s.model_copy(update={**trees, "per_second": 0.4, "eta_seconds": 275.0}) for s in train.progress)
    phases = tuple(p.model_copy(update={"progress": states}) if p is train else p for p in run.phases)
    series = tuple(point.model_copy(update={"gain": 0.01}) for point in run.series)
    grown = {"phases": phases, "series": series, "agreement": {**run.agreement, "model": {"kind": "trees"}}}
    client.views[RUNNING] = run.model_copy(update=grown)
    app = show(run_page, client, run=RUNNING)
    bar = app.get("progress")[0].proto.text
    for words in ("40 of 150 trees", "latest gain 1.23%", "2.5 s a tree", "left"):
        assert words in bar.replace("\\", "")
    shown = said(show(run_page, client, run=RUNNING, part="Privacy")).replace("\\", "")
    assert "Training opened counts and sums of anonymous splits, 16 bits each" in shown
    assert "on which side of every split each row lies" in shown
    assert "Training opened nothing" not in shown
    assert "There is no loss to draw" not in said(app)
    assert [one for one in app.expander if one.label == "Gain of the latest tree"]


def test_contributions_from_coalition_moments_say_what_opened() -> None:
    client = SampleClient()
    client.views[SETTLED] = sealed_run(client.views[SETTLED]).model_copy(update={"contribution_way": "moments"})
    assert "two numbers per coalition and period opened." in said(
        show(run_page, client, run=SETTLED, part="Contributions")
    )


@pytest.mark.parametrize("period", [17.0, -1.0, 104.0])
def test_a_sealed_run_under_way_says_which_period_it_has_come_to(period: float) -> None:
    client = SampleClient()
    run = sealed_run(client.views[RUNNING])
    train = next(phase for phase in run.phases if phase.name == "train")
    states = tuple(state.model_copy(update={"metrics": {"period": period}}) for state in train.progress)
    phases = tuple(p.model_copy(update={"progress": states}) if p is train else p for p in run.phases)
    client.views[RUNNING] = run.model_copy(update={"phases": phases})
    app = show(run_page, client, run=RUNNING)
    bars = [bar.proto.text for bar in app.get("progress")]
    told = ["2024\\-W18 (18 of 104)" in bar for bar in bars]
    assert all(told) if period == 17.0 else not any("of 104" in bar for bar in bars), bars


def test_a_run_under_way_shows_speed_and_time_left_and_keeps_names_harmless() -> None:
    client = SampleClient()
    app = show(run_page, client, run=RUNNING)
    bars = [bar.proto.text for bar in app.get("progress")]
    assert len(bars) == 4
    assert "rows/s" in bars[0]
    assert "8.8 s left" in bars[0]
    assert app.title[0].value == plain(HOSTILE, longest=90)
    assert HOSTILE not in said(app)
    assert not any(getattr(element.proto, "allow_html", False) for element in (*app.markdown, *app.caption))


def test_a_run_goes_on_showing_its_last_state_while_the_coordinator_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ui.views.run.shared", lambda client, viewer, what, read, *, seconds=1.0: read())

    class Flaky(SampleClient):
        def run(self, run_id: str) -> Any:
            if len([call for call in self.asked if call.startswith("run ")]) > 0:
                self.error = PeerError("the coordinator did not answer in time: try again")
            return super().run(run_id)

    app = show(run_page, Flaky(), run=RUNNING)
    assert "did not answer in time" in app.error[0].value
    assert "last state that was read" in said(app)
    assert numbers(app)["Common entities"] == "463"


def test_an_aborted_run_says_why_and_a_paused_one_for_whom() -> None:
    client = SampleClient()
    app = show(run_page, client, run=ABORTED)
    assert "has been silent for 30 s" in app.error[0].value
    assert "not reached" in said(app)
    app = show(run_page, client, run=PAUSED)
    assert "waiting for till" in app.warning[0].value


def test_an_unknown_run_is_refused_by_name() -> None:
    app = show(run_page, SampleClient(), run="ee" * 32)
    assert "There is no run eeeeeeeeeeee" in app.error[0].value
    assert app.title[0].value == "Run"


def test_choosing_another_run_changes_the_address() -> None:
    app = show(run_page, SampleClient())
    assert app.query_params["run"] == RUNNING
    app.selectbox[0].set_value(SETTLED).run()
    assert not app.exception
    assert app.query_params["run"] == SETTLED
    assert numbers(app)["Rank IC, joint"] == "+0.110"


def test_the_event_log_is_read_when_asked_for() -> None:
    client = SampleClient()
    app = show(run_page, client, run=SETTLED)
    assert "events" not in client.asked
    app = show(run_page, client, run=SETTLED, part="Log")
    assert "events" in client.asked
    assert [table for table in text_tables(app) if "Took" in table.columns], "and where the time went"


def _factor_buttons(app: AppTest) -> list[object]:
    """Buttons that hand a factor over; the evidence pack holds none."""
    return [button for button in app.get("download_button") if "evidence" not in button.proto.label]


def test_the_factor_is_handed_over_only_after_its_check() -> None:
    client = SampleClient()
    app = show(run_page, client, run=SETTLED)
    assert not _factor_buttons(app)
    app.button(key=f"fetch {SETTLED}").click().run()
    assert f"download {SETTLED}" in client.asked
    assert "All 3 files" in app.success[0].value
    assert len(_factor_buttons(app)) == 1


def test_a_factor_that_fails_its_check_is_not_handed_over() -> None:
    client = SampleClient()
    client.archive = bundle(spoil=True)
    app = show(run_page, client, run=SETTLED)
    app.button(key=f"fetch {SETTLED}").click().run()
    assert "metadata" in app.error[0].value
    assert not _factor_buttons(app)
    client.archive = bundle()
    app.button(key=f"refetch {SETTLED}").click().run()
    app.button(key=f"fetch {SETTLED}").click().run()
    assert len(_factor_buttons(app)) == 1


def test_the_app_says_how_to_start_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENTENTE_DESK", raising=False)
    app = AppTest.from_file("../../ui/app.py", default_timeout=TIMEOUT).run()
    assert not app.exception
    assert "entente ui" in app.error[0].value


def test_the_app_explains_missing_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("ENTENTE_DESK", str(tmp_path / "nowhere"))
    app = AppTest.from_file("../../ui/app.py", default_timeout=TIMEOUT).run()
    assert not app.exception
    assert len(app.error) == 1
    assert "nowhere" in app.error[0].value
