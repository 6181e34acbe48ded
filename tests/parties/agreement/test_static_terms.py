"""Terms of a run without a calendar: what follows from them, what stays as it was, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from parties.agreement.document import Agreement
from parties.agreement.static_terms import PARTS
from parties.agreement.text import agreement_lines
from parties.errors import AgreementError
from parties.proposing.counted_costs import run_cost
from tests.parties.agreement.test_text import document, party

STATIC: dict[str, Any] = {
    "calendar": None,
    "static": {"label": "binary", "test_share": 0.25, "seed": 3},
    "parties": [party("bank", "label", 2), party("sat"), party("card"), party("web")],
    "model": {"kind": "trees", "anchor": "sat"},
    "evaluation": {}, "openings": {}, "reward": {}, "fees": None, "search": None,
}  # fmt: skip


def agreed(**changes: Any) -> Agreement:
    raw = document(**{**STATIC, **changes})
    if "walk_forward" not in changes:
        raw.pop("walk_forward")
    return Agreement.model_validate(raw)


def test_the_walk_the_window_and_the_pay_follow() -> None:
    made = agreed()
    assert made.periods == PARTS
    assert (made.walk_forward.horizon, made.walk_forward.warmup) == (1, 1)
    assert (made.evaluation.first, made.evaluation.last) == ("test", "test")
    assert made.reward.rows == "any"
    assert "calendar" not in made.model_dump(mode="json")
    assert Agreement.model_validate_json(made.model_dump_json()).run_id == made.run_id
    with pytest.raises(AgreementError, match="no calendar"):
        _ = made.dated


def test_a_run_with_a_calendar_keeps_its_hash() -> None:
    assert "static" not in Agreement.model_validate(document()).model_dump(mode="json")


def test_the_text_speaks_of_parts_and_of_no_period() -> None:
    lines = agreement_lines(agreed())
    assert any("25% of them into the test" in line for line in lines)
    assert not any(line.startswith(("It covers", "A label is known")) for line in lines)
    told = agreement_lines(agreed(static={"label": "regression"}))
    assert any("by a column of its own" in line for line in told)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"static": None}, "name calendar or static"),
        ({"calendar": document()["calendar"]}, "name calendar or static"),
        ({"model": {"kind": "ridge"}}, 'set model.kind = "sealed" or model.kind = "trees"'),
        ({"model": {"kind": "ensemble", "anchor": "sat"}}, "not trained by model.kind = 'ensemble'"),
        ({"static": {"label": "classes"}}, "static.classes says how many"),
        ({"static": {"label": "binary", "classes": 4}}, "stands with no other label"),
        ({"static": {"label": "classes", "classes": 5}}, "5 classes opens of every test row, and 4 are left.*to 5"),
        (
            {"static": {"label": "classes", "classes": 3}, "openings": {"contribution": "moments"}},
            "several models, and a contribution is valued of one",
        ),
        ({"walk_forward": {"warmup": 4}}, "walk_forward counts periods"),
        ({"evaluation": {"first": "2024-W02"}}, "evaluation.first"),
        ({"reward": {"rows": "committed"}}, "leave it out"),
        ({"reward": {"pot": 100}}, "reward.risk_aversion = 0 and reward.uplift_level = 1"),
        ({"reward": {"settlement": {}}}, "rewards stay pending"),
        ({"fees": document()["fees"]}, r"drop \[fees\]"),
        ({"parties": [party("bank", "label", 2), party("sat", encoder="a map")]}, "drop party.encoder"),
    ],
)
def test_what_needs_periods_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        agreed(**changes)


def test_of_several_classes_a_score_of_each_is_counted_and_said_before_signing() -> None:
    one, made = agreed(), agreed(static={"label": "classes", "classes": 4, "test_share": 0.25, "seed": 3})
    assert "classes" not in one.model_dump(mode="json")["static"], "terms without classes keep their hash"
    assert Agreement.model_validate_json(made.model_dump_json()).run_id == made.run_id
    assert (one.opened_scores, made.opened_scores, made.needed_openings) == (1, 4, 4)
    assert made.openings.contribution == "none"
    text = " ".join(agreement_lines(made))
    assert "4 of these models are trained, one after the other on the same rows" in text
    assert "17 bits each and 68 together; sat counts all of them, so a run uses 4 of the 4 scores of a row" in text
    assert "candidates are drawn anew" in text
    same = agreed(openings={"contribution": "none"})
    assert run_cost(made, 100).seconds == pytest.approx(4 * run_cost(same, 100).seconds)
    assert run_cost(made, 100).steps.all == 4 * run_cost(same, 100).steps.all


def test_a_pot_is_shared_by_the_values_alone_where_that_is_agreed() -> None:
    assert agreed(reward={"pot": 100, "risk_aversion": 0, "uplift_level": 1}).reward.pot == 100
