"""A new run: templates, fields and faults, what it means and costs, and the proposal."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parties.client import DraftQuestion, DraftView, PartyView
from parties.coordinator.desk import drafts
from parties.errors import PeerError
from parties.proposing.drafting import load_proposal, offered_terms
from parties.settings.toml_text import to_toml
from tests.ui.pages_rig import button, said, show
from tests.ui.sample import HOSTILE, SETTLED, SampleClient
from tests.ui.sample_runs import members
from ui import run_form
from ui.tables.run_list import grants_table
from ui.views.form_input import in_rows
from ui.wording import plain
from vfl.ensemble_terms import MEMBERS
from vfl.terms import FederatedModel, RidgeModel, ScreenModel, SealedModel, SplitModel, TreesModel


def new_run_page(client: object, opened: list[object], role: str = "admin") -> None:
    from parties.client import ViewerView
    from ui.views import new_run

    new_run.go = lambda key, **query: opened.append((key, query))
    new_run.render(client, ViewerView(name=role, role=role))


def field(app: Any, label: str) -> Any:
    """The input with this label."""
    kinds = ("text_input", "number_input", "selectbox", "multiselect", "toggle", "date_input")
    return next(widget for kind in kinds for widget in getattr(app, kind) if widget.label == label)


def split_page(client: object) -> Any:
    """The page with the split network's template chosen."""
    app = show(new_run_page, client, [])
    app.button_group[0].set_value("split").run()
    return app


def test_a_template_holds_together_and_says_what_it_means() -> None:
    client = SampleClient()
    app = show(new_run_page, client, [])
    shown = said(app)
    assert not app.error
    assert "Who learns what" in shown
    assert "together would see what the label party would see" in shown
    bar = app.get("progress")[0].proto.text
    assert "One score of 17 bits per predicted row: 76\N{NARROW NO-BREAK SPACE}000 rows" in bar
    assert "Scores of a row over all runs: 1 in this run, none known in earlier ones, limit 4" in bar
    assert "till is not connected" in shown.replace("\\", "")
    assert {"On one core", "Rows", "Predictions"} <= {metric.label for metric in app.metric}
    assert app.button(key="propose").disabled is True
    assert "fill in Purpose, in the tab 1 Who" in shown
    assert "No purpose is given" not in shown
    assert field(app, "Feature parties").value == ["orbit", "chatter", "till"]
    field(app, "Purpose").set_value("Next week's return").run()
    assert app.button(key="propose").disabled is False
    assert "fill in Purpose" not in said(app)


def test_what_earlier_runs_opened_is_counted_beside_this_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drafts, "opened_before", lambda agreement, runs: 2)
    bar = show(new_run_page, SampleClient(), []).get("progress")[0].proto
    assert "Scores of a row over all runs: 1 in this run, up to 2 in earlier ones, limit 4" in bar.text
    assert bar.value == 75


def test_a_wrong_field_gets_one_sentence_beside_it_and_nothing_can_be_proposed() -> None:
    app = split_page(SampleClient())
    field(app, "Openings of a row, at most").set_value(1).run()
    assert not app.exception
    assert "leave none to train on" in app.error[0].value
    assert any("leave none to train on" in text.value and ":red[" in text.value for text in app.markdown)
    assert app.button(key="propose").disabled is True
    field(app, "Openings of a row, at most").set_value(6).run()
    assert not app.error


def test_taking_parties_out_takes_them_out_everywhere() -> None:
    app = split_page(SampleClient())
    field(app, "Feature parties").set_value(["orbit"]).run()
    assert not app.exception
    assert "embedding is opened alone" in app.error[0].value
    assert set(field(app, "The factor goes to").value) == {"harbor", "orbit", "coordinator"}
    field(app, "Consent of a single party").set_value(True).run()
    field(app, "Embedding width").set_value(1).run()
    assert not app.error, app.error[0].value


def test_a_ridge_has_fields_of_its_own() -> None:
    app = show(new_run_page, SampleClient(), [])
    app.button_group[0].set_value("ridge").run()
    assert "1 for entering the moments of training" in said(app)
    labels = {widget.label for widget in app.number_input}
    assert "Penalty" in labels
    assert "Passes" not in labels
    assert not app.error
    app.button_group[0].set_value("split").run()
    field(app, "Model").set_value("ridge").run()
    assert "Penalty" in {widget.label for widget in app.number_input}
    assert not app.exception


SEALED_ONLY = {
    "Anchor", "Squared columns", "Steps before the first prediction", "Steps a period", "Linear rate",
    "Rate of the squares", "Momentum", "Threshold of the squares", "Start",
}  # fmt: skip
SPLIT_ONLY = {
    "Embedding width", "Top model", "Passes", "Members", "Share of a row's features", "Attribution",
    "Consent of a single party",
}  # fmt: skip


def labels_of(app: Any) -> set[str]:
    kinds = ("text_input", "number_input", "selectbox", "toggle", "date_input")
    return {widget.label for kind in kinds for widget in getattr(app, kind)}


def test_the_sealed_network_comes_first_with_fields_of_its_own() -> None:
    app = show(new_run_page, SampleClient(), [])
    assert field(app, "Model").value == "sealed"
    assert labels_of(app) >= SEALED_ONLY
    assert not labels_of(app) & SPLIT_ONLY
    assert field(app, "Contributions").options == [
        "from two numbers per coalition and period, in this run",
        "none here: runs per coalition (retrain)",
    ]
    assert field(app, "Linear rate").value == str(2.0**-5)
    field(app, "Model").set_value("split").run()
    assert not app.exception
    assert labels_of(app) >= SPLIT_ONLY
    assert not labels_of(app) & SEALED_ONLY


def test_another_kind_begins_with_its_own_usual_values() -> None:
    app = show(new_run_page, SampleClient(), [])
    assert (field(app, "Rows a batch").value, field(app, "Penalty").value) == (4096, 1000.0)
    field(app, "Model").set_value("ridge").run()
    assert field(app, "Penalty").value == 300.0
    field(app, "Model").set_value("split").run()
    assert field(app, "Rows a batch").value == 256
    field(app, "Model").set_value("federated").run()
    assert str(field(app, "Fewest members of a sum").value) == "0", "a count, where it was 2.25 of a noise"
    field(app, "Model").set_value("sealed").run()
    assert (field(app, "Rows a batch").value, field(app, "Penalty").value) == (4096, 1000.0)
    assert field(app, "Threshold of the squares").value == 2.25
    assert not app.error, app.error[0].value


def test_trees_are_proposed_with_fields_of_their_own_and_valued_as_a_sealed_network() -> None:
    app = show(new_run_page, SampleClient(), [])
    field(app, "Model").set_value("trees").run()
    field(app, "Trees").set_value(40).run()
    assert not app.error, app.error[0].value
    draft = app.session_state["draft"][1].agreement
    assert (draft["model"]["kind"], draft["model"]["trees"]) == ("trees", 40)
    assert draft["openings"]["contribution"] == "moments"
    assert "on which side of each split" in said(app).replace("\\", "")
    assert "two numbers of 32 bits open to the label party for each of 7 coalitions" in said(app)
    assert "Each tree opens counts and sums of anonymous splits" in said(app)
    assert "Training opens nothing" not in said(app)


def test_an_ensemble_is_proposed_without_coalition_values_and_says_that_two_scores_open() -> None:
    app = show(new_run_page, SampleClient(), [])
    field(app, "Model").set_value("ensemble").run()
    assert not app.error, app.error[0].value
    draft = app.session_state["draft"][1].agreement
    assert (draft["model"]["kind"], draft["openings"]["contribution"]) == ("ensemble", "none")
    assert "Two scores of each predicted row open to the label party" in said(app)
    assert [use.most for use in app.session_state["draft"][1].openings] == [2]


def test_an_ensemble_may_choose_among_kinds_by_periods_before_the_reported_ones() -> None:
    app = show(new_run_page, SampleClient(), [])
    field(app, "Model").set_value("ensemble").run()
    periods = app.session_state["draft"][1].agreement["calendar"]["periods"]
    field(app, "What is averaged").set_value("kinds").run()
    assert "name that period" in app.error[0].value, "which periods choose is for people to say"
    field(app, "First reported period").set_value(periods[len(periods) // 2]).run()
    assert not app.error, app.error[0].value
    draft = app.session_state["draft"][1].agreement
    assert draft["model"]["weights"] == [{"linear": 1}, {"network": 1}, {"trees": 1}, dict.fromkeys(MEMBERS, 1)]
    assert "Three scores of each predicted row open" in said(app)
    field(app, "What is averaged").set_value("").run()
    assert "weights" not in app.session_state["draft"][1].agreement["model"]


def test_a_rate_that_was_chosen_is_the_agreements_and_an_overflow_is_a_sentence() -> None:
    client = SampleClient()
    app = show(new_run_page, client, [])
    field(app, "Rate of the squares").set_value(str(2.0**-3)).run()
    assert app.session_state["draft"][1].agreement["model"]["square_rate"] == 2.0**-3
    field(app, "Penalty").set_value(1e12).run()
    assert not app.exception
    assert app.error or "hold together" in said(app)


def test_daily_use_is_proposed_as_a_file_of_terms_with_the_same_lines_would_be(tmp_path: Path) -> None:
    app = show(new_run_page, SampleClient(), [])
    assert not {"Weights kept until", "Trained anew", "A later period is proposed by"} & labels_of(app)
    field(app, "Later periods to score").set_value(26).run()
    assert "Name the day from which" in app.error[0].value, "how long weights are kept is for people to say"
    field(app, "Weights kept until").set_value(date(2020, 1, 1)).run()
    assert "is not after the day of the proposal" in app.error[0].value
    assert any("is not after the day" in text.value and ":red[" in text.value for text in app.markdown)
    expires = datetime.now(UTC).date() + timedelta(days=400)
    field(app, "Weights kept until").set_value(expires).run()
    assert not app.error, app.error[0].value
    assert "Up to 26 later periods may be scored" in said(app)
    field(app, "A later period is proposed by").set_value("due").run()
    assert not app.error
    question, draft = app.session_state["draft"]
    written = tmp_path / "terms.toml"
    written.write_text(f'{to_toml(template())}\n[daily]\nscores = 26\nexpires = {expires}\nschedule = "due"\n')
    by_hand = load_proposal(written, members(PARTIES))
    assert by_hand == offered_terms(question.terms, members(PARTIES))
    assert by_hand.daily is not None
    assert draft.agreement["daily"] == by_hand.daily.model_dump(mode="json")


def test_daily_terms_of_a_run_begin_the_form_as_they_are() -> None:
    told = {"scores": 5, "expires": "2099-01-31", "retrain": "never", "schedule": "command"}
    terms = template() | {"daily": told}
    values = run_form.values_of(terms)
    assert values["daily.expires"] == date(2099, 1, 31)
    assert run_form.terms_from(terms, values)["daily"] == told
    undated = terms | {"static": {"label": "binary"}}
    for base, other in ((terms, {"model.kind": "trees"}), (terms, {"daily.scores": 0}), (undated, {})):
        assert "daily" not in run_form.terms_from(base, values | other)
    assert run_form.section_of("daily.expires") == "openings"


def test_the_anchor_is_chosen_among_the_feature_parties_and_goes_with_them() -> None:
    app = show(new_run_page, SampleClient(), [])
    assert field(app, "Anchor").options == ["the one with most columns", "orbit", "chatter", "till"]
    field(app, "Anchor").set_value("till").run()
    assert app.session_state["draft"][1].agreement["model"]["anchor"] == "till"
    assert "Anchor: till holds the other half of every share" in said(app).replace("\\", "")
    field(app, "Feature parties").set_value(["orbit", "chatter"]).run()
    assert not app.exception
    assert field(app, "Anchor").value == ""
    assert app.session_state["draft"][1].agreement["model"]["anchor"] in ("orbit", "chatter")


def test_one_feature_party_needs_no_consent_to_open_its_embedding() -> None:
    app = show(new_run_page, SampleClient(), [])
    field(app, "Feature parties").set_value(["orbit"]).run()
    assert not app.error
    assert "Anchor: orbit holds the other half of every share" in said(app).replace("\\", "")


def test_presets_set_what_is_waited_for_and_held_out() -> None:
    app = show(new_run_page, SampleClient(), [])
    button(app, "Strict").click().run()
    assert not app.exception
    assert (field(app, "Warm-up, periods").value, field(app, "Embargo, periods").value) == (52, 2)


def test_same_as_a_run_begins_with_its_terms() -> None:
    app = show(new_run_page, SampleClient(), [], like=SETTLED)
    assert field(app, "Purpose").value == "Again"
    assert not app.error


def test_the_draft_is_asked_for_only_when_something_changed() -> None:
    client = SampleClient()
    app = show(new_run_page, client, [])
    app.run()
    assert client.asked.count("runs/draft") == 1
    field(app, "Purpose").set_value("Another").run()
    assert client.asked.count("runs/draft") == 2


def test_proposing_shows_the_agreement_and_leads_to_the_run() -> None:
    client, opened = SampleClient(), []
    app = show(new_run_page, client, opened)
    field(app, "Purpose").set_value(HOSTILE).run()
    app.button(key="propose").click().run()
    assert not app.exception
    assert f"Purpose\\: {plain(HOSTILE)}" in said(app)
    assert not client.proposed
    app.button(key="propose now").click().run()
    assert not app.exception
    assert len(client.proposed) == 1
    assert opened == [("run", {"run": client.proposed[0]})]


def test_what_the_coordinator_refuses_is_said_in_the_dialog() -> None:
    client, opened = SampleClient(), []
    app = show(new_run_page, client, opened)

    def refuse(_: object) -> Any:
        raise PeerError("the coordinator did not answer in time: try again")

    client.doors["runs/propose"] = refuse
    field(app, "Purpose").set_value("Next week's return").run()
    app.button(key="propose").click().run()
    app.button(key="propose now").click().run()
    assert "did not answer in time" in app.error[0].value
    assert not opened


def test_others_than_admins_are_told_and_ask_for_nothing() -> None:
    for role in ("operator", "auditor", "reader"):
        client = SampleClient()
        app = show(new_run_page, client, [], role)
        assert "Only an admin proposes runs" in said(app)
        assert client.asked == []


def test_without_parties_and_without_a_coordinator_the_page_says_so() -> None:
    client = SampleClient()
    client.parties = list
    assert "No party has said what it brings" in said(show(new_run_page, client, []))
    client = SampleClient()
    client.error = PeerError("the coordinator is away: try again")
    app = show(new_run_page, client, [])
    assert "The coordinator is away" in app.error[0].value
    client.error = None
    button(app, "Try again").click().run()
    assert not app.error


def test_the_coordinator_going_away_under_the_form_keeps_what_was_typed() -> None:
    client = SampleClient()
    app = show(new_run_page, client, [])
    client.error = PeerError("the coordinator is away: try again")
    client.run_templates = lambda: client.doors["runs/templates"](None)
    client.parties = lambda: [PartyView(name=n, role=o.role, columns=o.columns) for n, o in members(PARTIES).items()]
    field(app, "Purpose").set_value("Kept").run()
    assert "The coordinator is away" in app.error[0].value
    client.error = None
    app.run()
    assert not app.error
    assert field(app, "Purpose").value == "Kept"


PARTIES = ("harbor", "orbit", "chatter", "till")


def test_hostile_names_stay_text() -> None:
    client = SampleClient()
    answer = client.doors["runs/draft"]
    client.doors["runs/draft"] = lambda question: answer(question).model_copy(update={"warnings": (HOSTILE,)})
    app = show(new_run_page, client, [])
    assert plain(HOSTILE) in said(app)
    assert HOSTILE not in said(app)


def test_terms_that_nodes_will_refuse_are_red_and_never_ticked() -> None:
    client = SampleClient()
    answer = client.doors["runs/draft"]

    def refused(question: Any) -> Any:
        made = answer(question)
        named = made.agreement | {"purpose": "Next week"}
        return made.model_copy(update={"agreement": named, "refusals": ("Run 1f left no room",)})

    client.doors["runs/draft"] = refused
    app = show(new_run_page, client, [])
    assert [one.value for one in app.error] == [plain("Run 1f left no room.")]
    assert "Nodes will refuse this" in said(app)
    assert "hold together" not in said(app)


def template() -> dict[str, Any]:
    terms: dict[str, Any] = SampleClient().run_templates()[0].terms
    return terms


def test_values_and_terms_are_each_others_inverse_for_every_template() -> None:
    client = SampleClient()
    for one in client.run_templates():
        again = run_form.terms_from(one.terms, run_form.values_of(one.terms))
        assert run_form.values_of(again) == run_form.values_of(one.terms)
        draft: DraftView = client.run_draft(DraftQuestion(terms=again))
        assert not draft.fault, draft.fault
        for table, told in one.terms.items():
            if isinstance(told, dict):
                assert told == {name: again[table][name] for name in told}


def test_what_has_no_field_is_carried_through() -> None:
    terms = template() | {"fixed_point": {"gradient_bits": 20}}
    terms["reward"] = terms["reward"] | {"settlement": {"clip": 0.1}}
    again = run_form.terms_from(terms, run_form.values_of(terms))
    assert again["fixed_point"] == {"gradient_bits": 20}
    assert again["reward"]["settlement"] == {"clip": 0.1}


@given(pot=st.integers(0, 2**50), scale=st.integers(0, 4))
def test_money_goes_through_whole(pot: int, scale: int) -> None:
    terms = {"reward": {"pot": pot, "scale": scale}}
    assert run_form.terms_from(terms, run_form.values_of(terms))["reward"]["pot"] == pot


def test_strange_terms_become_values_that_inputs_take() -> None:
    values = run_form.values_of({"model": 7, "calendar": {"first": "someday"}, "openings": {"limit_per_row": "x"}})
    assert values["calendar.first"] is None
    assert values["openings.limit_per_row"] == 4
    assert values["model.kind"] == "split"


def test_choices_that_half_a_row_would_cut_have_a_row_of_their_own() -> None:
    values = run_form.values_of(template())
    values[run_form.FEATURES] = ["orbit", "till"]
    shown = [one for one in run_form.FIELDS if one.section == "openings" and one.when(values)]
    rows = in_rows(shown, values)
    assert sorted(one.path for row in rows for one in row) == sorted(one.path for one in shown)
    assert ("openings.contribution",) in [tuple(one.path for one in row) for row in rows]
    for row in rows:
        titles = [title for one in row for title in one.offered(values).values()]
        assert len(row) == 1 or max(map(len, titles), default=0) <= 30


def test_faults_have_a_place_in_the_form() -> None:
    assert run_form.fault_at("calendar", "calendar.frequency")
    assert not run_form.fault_at("calendar", "calendar.last")
    assert not run_form.fault_at("", "name")
    assert run_form.section_of("model.epochs") == "model"
    assert run_form.section_of("parties") == "who"
    assert run_form.section_of("fixed_point") == ""
    paths = [one.path for one in run_form.FIELDS]
    assert len(set(paths)) == len(paths)
    assert {one.section for one in run_form.FIELDS} == set(run_form.SECTIONS)


@pytest.mark.parametrize("frequency", ["D", "W-FRI", "M", "Q", "2W"])
def test_stricter_presets_wait_longer(frequency: str) -> None:
    quick, standard, strict = (run_form.preset(name, frequency) for name in run_form.PRESETS)
    assert quick["walk_forward.warmup"] <= standard["walk_forward.warmup"] <= strict["walk_forward.warmup"]
    assert strict["walk_forward.embargo"] > quick["walk_forward.embargo"]


def test_grants_say_column_by_column_what_is_used() -> None:
    views = [PartyView(name=n, role=o.role, columns=o.columns, units=o.units) for n, o in members(PARTIES).items()]
    table = grants_table(views, PARTIES, ("orbit",))
    used = set(table[table["In this run"] == "used, never sent"]["Party"])
    assert used == {"harbor", "orbit"}
    assert set(table["Unit"]) >= {"ratio", "USD m"}
    assert date.fromisoformat(str(template()["calendar"]["first"]))


def test_a_run_like_one_without_a_calendar_has_none_either() -> None:
    walk = {"horizon": 1, "embargo": 0, "warmup": 1}
    terms = {"static": {"label": "binary"}, "walk_forward": walk, "evaluation": {"first": "test", "last": "test"}}
    again = run_form.terms_from(terms, run_form.values_of(terms))
    assert "calendar" not in again
    assert again["walk_forward"] == walk
    assert again["evaluation"] == terms["evaluation"] | {"metrics_to_coordinator": True}


def test_a_federated_model_has_sums_in_place_of_openings_and_no_takers() -> None:
    terms = template()
    values = run_form.values_of(terms) | {"model.kind": "federated"}
    values |= run_form.on_kind_change(values)
    values |= run_form.out_of_choice(values) | {"model.noise": 1.0, "model.weights": "equal"}
    made = run_form.terms_from(terms, values)
    assert made["recipients"] == []
    assert (made["alignment"]["policy"], made["openings"]) == ("own", {"contribution": "retrain"})
    assert (made["model"]["weights"], made["model"]["delta"], "anchor" in made["model"]) == ("equal", 1e-5, False)
    assert run_form.terms_from(made, run_form.values_of(made)) == made


def test_what_is_a_count_in_the_terms_is_one_in_the_form() -> None:
    """``model.threshold`` is a size under one kind of model, and a number of members under another."""
    models: tuple[Any, ...] = (SealedModel, SplitModel, RidgeModel, TreesModel, ScreenModel, FederatedModel)
    for model in models:
        terms = {"model": {"kind": model.model_fields["kind"].default}}
        values = run_form.values_of(terms)
        for field in run_form.FIELDS:
            table, _, name = field.path.partition(".")
            if table == "model" and field.when(values) and field.shape(values) in ("whole", "number"):
                counted = model.model_fields[name].annotation is int
                assert (field.shape(values) == "whole") == counted, f"{field.path} of {terms['model']['kind']}"
                assert isinstance(values[field.path], int) == counted
