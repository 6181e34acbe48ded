"""The page of a federated run: rounds done, who took part in each, who was dropped, what epsilon is spent."""

from __future__ import annotations

import pytest

from parties.client import RunView
from tests.ui.pages_rig import numbers, said, show, text_tables
from tests.ui.sample import PARTIES, RUNNING, SETTLED, SampleClient
from tests.ui.sample_federated import LOST, STAYED, federated_ended, federated_training, group_encoding, rounds_of
from tests.ui.test_run import run_page
from ui.charts.runs import ic_chart
from ui.tables.rounds import members_table, rounds_table


def client_of(run: RunView) -> SampleClient:
    client = SampleClient()
    client.views[run.run_id] = run
    return client


def test_while_it_trains_it_says_who_is_in_the_round_and_what_is_spent() -> None:
    app = show(run_page, client_of(federated_training()), [], run=RUNNING)
    shown = numbers(app)
    assert shown["Rounds"] == "9 of 10"
    assert shown["Epsilon spent"] == "3.40 of 7.22"
    assert "Common entities" not in shown
    assert "Openings per row" not in shown
    text = said(app).replace("\\", "")
    assert f"Round 9: harbor, orbit and chatter, without {LOST}." in text
    assert f"Dropped in training: {LOST}." in text
    assert "the run goes on when it is back" not in text, "nobody waits for who is dropped"


def test_before_the_first_round_nothing_is_claimed() -> None:
    nobody = dict.fromkeys(PARTIES, 0)
    run = federated_training(stretches=(), dropped=(), taken=nobody, spent=dict.fromkeys(PARTIES, 0.0))
    app = show(run_page, client_of(run), [], run=RUNNING, part="Privacy")
    assert numbers(app)["Rounds"] == "0 of 10"
    assert "No round of 10 has opened yet." in said(app)
    assert "Dropped" not in said(app)


def test_afterwards_the_privacy_tab_has_every_round_and_every_member() -> None:
    app = show(run_page, client_of(federated_ended()), [], run=SETTLED, part="Privacy")
    rounds, members = text_tables(app)[:2]  # before the bytes by sender
    assert list(rounds["Rounds"]) == ["1 to 7", "8 to 10"]
    assert list(rounds["Took part"]) == [", ".join(PARTIES), ", ".join(STAYED)]
    assert rounds["Drawn and missing"][1] == LOST
    by_name = members.set_index("Member")
    assert list(by_name.loc[LOST]) == ["7", "after round 7", "2.94"]
    assert list(by_name.loc[STAYED[0]]) == ["20", "\N{EN DASH}", "5.35"]
    text = said(app).replace("\\", "")
    assert "7.22 at delta 1e-5 was signed for" in text
    assert "No row opens" in text
    assert "most opened row" not in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"noise": 0.0, "spent": {}, "agreed_epsilon": None}, "nothing is differentially private"),
        ({"spent": {}, "agreed_epsilon": None, "untold": "it needs [opacus](x)"}, "Epsilon cannot be told here"),
        ({"missed": True}, "some may be missing from these counts"),
    ],
)
def test_what_is_not_known_of_privacy_is_said(changes: dict[str, object], words: str) -> None:
    app = show(run_page, client_of(federated_ended(**changes)), [], run=SETTLED, part="Privacy")
    assert words in said(app)
    assert ("Epsilon spent" in numbers(app)) == ("missed" in changes)
    assert numbers(app).get("Epsilon spent", "\N{GREATER-THAN OR EQUAL TO}")[0] == "\N{GREATER-THAN OR EQUAL TO}"


def test_its_model_is_compared_with_those_that_members_train_alone() -> None:
    text = ic_chart(federated_ended().series, "members alone").to_json()
    assert "members alone" in text
    assert "label party" not in text


def test_single_rounds_and_many_are_numbered_from_one() -> None:
    found = rounds_of(stretches=(rounds_of().stretches[0].model_copy(update={"first": 1, "last": 1}),), spent={})
    assert list(rounds_table(found)["Rounds"]) == ["1"]
    assert list(members_table(found).columns) == ["Member", "Rounds", "Dropped"]


def test_while_a_group_trains_its_encoder_its_rounds_are_shown_and_nobody_is_dropped() -> None:
    app = show(run_page, client_of(group_encoding()), [], run=RUNNING)
    assert numbers(app)["Rounds, lenders"] == "9 of 10"
    text = said(app).replace("\\", "")
    assert f"Round 9 of 10 of group lenders: orbit and chatter, without {LOST}." in text
    assert "waits for who is away before the model is trained" in text
    assert "Dropped in training" not in text
    app = show(run_page, client_of(group_encoding()), [], run=RUNNING, part="Privacy")
    rounds, members = text_tables(app)[:2]  # before the bytes by sender
    assert list(rounds["Took part"]) == ["orbit, chatter, till", "orbit, chatter"]
    assert list(members.columns) == ["Member", "Rounds"]
    assert "Rounds of group lenders" in said(app)
