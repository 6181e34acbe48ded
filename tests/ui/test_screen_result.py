"""A screen of formulas on the pages: its form, what it may find, and what no page shows of it."""

from __future__ import annotations

import pytest

from tests.ui.pages_rig import numbers, said, show
from tests.ui.sample import SampleClient
from tests.ui.sample_screen import SCREEN, screen_run
from tests.ui.test_new_run import field, labels_of, new_run_page
from tests.ui.test_run import run_page
from vfl.models.screen.hurdles import lone_t


def test_a_screen_is_proposed_with_its_own_fields_and_its_arithmetic() -> None:
    client, opened = SampleClient(), []
    app = show(new_run_page, client, opened)
    app.button_group[0].set_value("screen").run()
    assert not app.error, app.error[0].value
    assert labels_of(app) >= {"Terminals of a party, at most", "False discoveries", "Label vectors of a row, at most"}
    assert not labels_of(app) & {"Pot", "Currency", "Contributions", "Anchor", "Warm-up, periods", "Passes"}
    assert "The factor goes to" not in {widget.label for widget in app.multiselect}
    # three parties of 10 terminals and the label party's own 10: 30 alone, 3 x 100 across, 3 x 100 with its own
    field(app, "Terminals of a party, at most").set_value(10).run()
    assert numbers(app)["Formulas"] == "630"
    plan = app.session_state["draft"][1].screen
    assert (plan.halves, plan.opened_bits) == (77, 630 * 156 * 24)
    assert numbers(app)["Lone |t|"] == f"{lone_t(630, 0.05, 77):.1f}"
    assert "puts an indicator of one row in the place of its label" in said(app)
    assert "the pot is empty" not in said(app)
    field(app, "Purpose").set_value("Which products move next week's return?").run()
    app.button(key="propose").click().run()
    assert "A screen pays nothing" in said(app)
    app.button(key="propose now").click().run()
    assert opened == [("run", {"run": client.proposed[0]})]


def test_any_terms_become_a_screens_when_its_kind_is_chosen() -> None:
    app = show(new_run_page, SampleClient(), [])
    field(app, "Model").set_value("screen").run()
    assert not app.error, app.error[0].value
    draft = app.session_state["draft"][1].agreement
    assert (draft["model"]["kind"], draft["reward"]["pot"], draft["openings"]["contribution"]) == ("screen", 0, "none")
    field(app, "Model").set_value("sealed").run()
    assert not app.error, app.error[0].value
    assert app.session_state["draft"][1].agreement["reward"]["pot"] > 0


def result_part(run: object, role: str, party: str) -> None:
    from parties.client import ViewerView
    from ui.views import screen_result

    screen_result.screen_result(run, ViewerView(name=role, role=role, party=party))


def result(named: int, *, told: bool = True, role: str = "admin", party: str = "") -> str:
    return said(show(result_part, screen_run(named, told=told), role, party))


def test_the_run_says_how_many_stand_each_hurdle_and_where_the_formulas_are() -> None:
    client = SampleClient()
    client.views[SCREEN] = screen_run()
    app = show(run_page, client, [], run=SCREEN)
    assert "2 formulas are named** of 60\N{NARROW NO-BREAK SPACE}300" in said(app)
    assert "harbor has the report" in said(app)
    assert numbers(app)["Chosen"] == "4"
    assert "factor's files" not in said(app)
    assert "1 formula is named" in result(1)


@pytest.mark.parametrize(("party", "words"), [("harbor", "Your node has the report"), ("till", "your own terminals")])
def test_an_operator_is_told_what_its_own_node_knows(party: str, words: str) -> None:
    assert words in result(2, role="operator", party=party)


def test_on_noise_nothing_is_named_and_a_private_result_stays_so() -> None:
    assert "Nothing is named" in result(0)
    private = result(2, told=False)
    assert "Kept private" in private
    assert "named**" not in private


def test_what_opened_is_said_in_numbers_and_bytes() -> None:
    client = SampleClient()
    client.views[SCREEN] = screen_run()
    text = said(show(run_page, client, [], run=SCREEN, part="Privacy"))
    assert "60\N{NARROW NO-BREAK SPACE}300 formulas in 156 periods" in text
    assert "No score opened" in text
