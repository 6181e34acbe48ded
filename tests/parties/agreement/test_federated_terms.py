"""What is signed of a federated run: its members and columns, what opens in words, and what it has not."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import ValidationError

from parties.agreement.arithmetic import check_arithmetic, check_openings
from parties.agreement.cautions import agreement_cautions
from parties.agreement.document import Agreement
from parties.agreement.federated_terms import FEDERATED_PAYLOADS, valuation_plan
from parties.agreement.text import agreement_lines
from parties.agreement.who_learns import who_learns
from parties.control.phases import Plan
from parties.errors import AgreementError
from parties.evidence.opened import SESSION, opened_bits
from parties.evidence.parts import Logged
from parties.names import COORDINATOR
from parties.proposing.counted_costs import run_cost
from parties.settings.consortium import load_consortium
from psi.flow import Payload
from tests.parties.agreement.test_model_terms import TOML, agreement
from vfl.register import REGISTER

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def federated(change: dict[str, Any] | None = None, periods: int = 30, **model: Any) -> Agreement:
    record = agreement({"kind": "ridge"}, limit_per_row=3).model_dump(mode="json")
    names = [f"p{i}" for i in range(periods)]
    ends = [NOW + timedelta(days=i) for i in range(periods)]
    record["calendar"] |= {"periods": names, "period_ends": ends, "cutoffs": ends}
    for party in record["parties"]:
        party["columns"] = ["x", "y"] if party["name"] != "b" else ["y", "x"]
    terms = {"kind": "federated", "threshold": 3, "hidden": 4} | model
    record |= {"model": terms, "openings": {}, "evaluation": {"first": "p20"}, "recipients": list("labc")}
    record.pop("alignment")
    return Agreement.model_validate(record | (change or {}))


def test_its_text_says_what_opens_who_colludes_and_that_nothing_is_aligned() -> None:
    made = federated()
    check_arithmetic(made)
    check_openings(made)
    text = " ".join(agreement_lines(made))
    assert made.alignment.policy == "own"
    assert made.openings.contribution == "retrain"
    assert "No alignment is run and no lists are compared" in text
    assert "of 17 weights' changes and the sum of their rows, 18 numbers of 63 bits, over 3 members or more" in text
    assert "all members of a round but one, with or without it, learn that one's update" in text
    assert "4 coalitions train anew" in text
    assert len(valuation_plan(made).coalitions) == 4
    assert "Of a score no bit leaves a member" in text
    assert "No noise is added" in text
    assert not {one.term for one in agreement_cautions(made)} & {"model.rule", "recipients", "openings.contribution"}


def test_noise_is_not_signed_for_where_its_epsilon_cannot_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opacus", None)
    with pytest.raises(AgreementError, match=re.escape("pip install 'entente[privacy]', or set model.noise = 0")):
        check_openings(federated(noise=4.0, weights="equal"))


def test_a_rule_that_sees_updates_is_a_caution_and_told_of_the_coordinator() -> None:
    made = federated(rule="median", weights="equal")
    assert "model.rule" in {one.term for one in agreement_cautions(made, "a")}
    seen = "It sees every member's update, from which rows can be read."
    assert seen in who_learns(made)[COORDINATOR]
    assert seen not in who_learns(federated())[COORDINATOR]
    assert "WARNING: the coordinator sees every member's update" in " ".join(agreement_lines(made))


def test_nobody_is_aligned_and_the_coordinator_adds_up() -> None:
    plan = Plan.of(federated())
    assert [phase for phase in plan.phases if not plan.participants(phase)] == ["align"]
    assert plan.participants("train") == plan.participants("value") == ("l", "a", "b", "c", COORDINATOR)
    assert plan.participants("evaluate") == ("l",)
    assert plan.participants("export") == ("l", "a", "b", "c")
    assert not Plan.of(federated({"openings": {"contribution": "none"}})).participants("value")


def test_sums_are_counted_in_bits_by_the_bytes_that_came() -> None:
    """Each once: what a member sends on, or hears of who is told what, opens nothing more."""
    kinds = (
        ("received", "fed.total"),
        ("sent", "fed.part"),
        ("received", "fed.survivors"),
        ("sent", "fed.plain"),
        ("received", "group.passed"),
        ("received", "group.added"),
    )
    traffic = [
        {"way": way, "peer": peer, "message": kind, "messages": 12, "bytes": 6300}
        for way, kind in kinds
        for peer in (("a", "b") if kind == "group.added" else (COORDINATOR,))
    ]
    entry = Logged(cast("Any", None), "", SESSION, "", {"traffic": traffic})
    added, sums, plain, passed = opened_bits(federated(), [entry, entry])
    assert (sums.what, sums.openings, sums.numbers, sums.bits) == ("sums over members", 24, 1600, 2 * 8 * 6300)
    assert (plain.what, plain.bits) == ("updates of this member's own", 2 * 8 * 6300)
    assert (passed.what, passed.bits) == (
        "numbers of a group's encoder or expansion, in place of its sums",
        2 * 8 * (6300 // 8 * 8),
    )
    assert (added.what, added.bits) == ("counts of a group's rows", 2 * 8 * 6300), "a sum of two others' opens once"
    assert {kind for _, kind in kinds} <= set(REGISTER)


def test_costs_count_every_training() -> None:
    once, valued = (run_cost(federated({"openings": {"contribution": kind}}), 100) for kind in ("none", "retrain"))
    assert valued.seconds == pytest.approx(5 * once.seconds)
    assert all(party.bytes_sent > 0 for party in once.parties)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipients": ["l"]}, "leave recipients out"),
        ({"recipients": [*"labc", COORDINATOR]}, "leave recipients out"),
        ({"alignment": {"policy": "psi"}}, 'alignment.policy = "own"'),
        ({"openings": {"contribution": "masked"}}, "train anew"),
        ({"openings": {"attribution": True}}, "has no openings.attribution"),
        ({"evaluation": {}}, "name a period with walk_forward.warmup = 4"),
        ({"evaluation": {"first": "p2"}}, "the earliest is p4"),
        ({"evaluation": {"first": "p20", "last": "p10"}}, "no period from evaluation.first on"),
        (
            {"static": {"label": "regression", "test_share": 0.5}, "calendar": None},
            "data without a calendar is not trained",
        ),
    ],
)
def test_what_it_has_not_is_refused_with_a_remedy(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        federated(change)


def test_members_columns_must_agree_by_name() -> None:
    record = federated().model_dump(mode="json")
    record["parties"][2]["columns"] = ["x", "z"]
    with pytest.raises(ValidationError, match="b and l differ in y, z"):
        Agreement.model_validate(record)
    record["parties"] = record["parties"][:2]
    with pytest.raises(ValidationError, match="needs 3 members"):
        Agreement.model_validate(record)


def test_a_threshold_must_be_signed_and_is_never_two() -> None:
    with pytest.raises(ValidationError, match="set it to 3"):
        federated(threshold=0)
    record = federated().model_dump(mode="json")
    record["parties"], record["recipients"] = record["parties"][:3], list("lab")
    record["model"]["threshold"] = 2
    with pytest.raises(ValidationError, match="of a sum of two each reads the other's update"):
        Agreement.model_validate(record)


def test_other_kinds_have_neither_its_alignment_nor_its_valuation() -> None:
    record = agreement({"kind": "ridge"}, limit_per_row=3).model_dump(mode="json")
    with pytest.raises(ValidationError, match="leaves each party its own entities"):
        Agreement.model_validate(record | {"alignment": {"policy": "own"}})
    with pytest.raises(ValidationError, match="values coalitions of a federated model"):
        Agreement.model_validate(record | {"openings": {"contribution": "retrain", "limit_per_row": 3}})


def test_a_consortium_file_says_where_each_member_has_its_labels(tmp_path: Path) -> None:
    file = tmp_path / "consortium.toml"
    member = '[[party]]\nname = "m"\nrole = "feature"\nquery = "l.sql"\ncolumns = ["x"]\nlabel_query = "mine.sql"\n'
    file.write_text(TOML.format(model='[model]\nkind = "federated"') + member)
    settings = load_consortium(file)
    queries = [found.query if (found := settings.labels_of(party)) else "" for party in settings.party]
    assert queries == ["y.sql", "mine.sql"]
    assert settings.alignment.policy == "own"
    assert not {Payload.CIPHERTEXT, Payload.BLINDED} & set(FEDERATED_PAYLOADS)
