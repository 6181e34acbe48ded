"""What is signed of a screen: who holds whose shares, what opens in words and in bits, and what it has not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from parties.agreement.arithmetic import check_arithmetic, check_openings
from parties.agreement.cautions import agreement_cautions
from parties.agreement.document import Agreement
from parties.agreement.screen_terms import holders_of
from parties.agreement.text import agreement_lines
from parties.agreement.who_learns import who_learns
from parties.control.phases import Plan
from parties.evidence.opened import opened_bits
from parties.evidence.parts import Logged
from parties.proposing.counted_costs import run_cost
from tests.parties.agreement.test_model_terms import agreement
from vfl.models.screen.opens import SCREEN_BITS

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def screen(periods: int = 40, change: dict[str, Any] | None = None, **model: Any) -> Agreement:
    record = agreement({"kind": "ridge"}, limit_per_row=3).model_dump(mode="json")
    names = [f"p{i}" for i in range(periods)]
    ends = [NOW + timedelta(days=i) for i in range(periods)]
    record["calendar"] |= {"periods": names, "period_ends": ends, "cutoffs": ends}
    record |= {"model": {"kind": "screen"} | model, "openings": {"limit_per_row": 3}}
    record.pop("parameter_set")
    return Agreement.model_validate(record | (change or {}))


def test_its_text_says_what_opens_and_what_a_cheat_reads() -> None:
    made = screen(terminals=10)
    check_arithmetic(made)
    check_openings(made)
    text = " ".join(agreement_lines(made))
    assert f"up to {3 * 10}, and one for each product of two parties' terminals, up to {3 * 100 + 3 * 100}" in text
    assert "an indicator of one row in the place of its label" in text
    assert f"at most {SCREEN_BITS} bits for each number that opens, whatever it encrypts" in text
    assert "at most 3 screens over all runs" in text
    assert "the later one in the agreed order holds the other half" in text
    assert "chosen on the first half of the periods and confirmed on the second" in text
    assert "A screen pays nothing" in text
    assert "warm-up" not in text
    heard = who_learns(made)["coordinator"][-1]
    assert "how many stand each hurdle" in heard
    assert "no formula, and no statistic" in heard
    assert not {"reward.pot", "recipients"} & {one.term for one in agreement_cautions(made, "b")}
    assert [holders_of(made, name) for name in "abcl"] == [("b", "c"), ("c",), (), ()]
    assert "model.terminals" not in {one.term for one in agreement_cautions(made)}
    assert "model.terminals" in {one.term for one in agreement_cautions(screen(terminals=101))}


@pytest.mark.parametrize("policy", [{"policy": "universe", "universe_sha256": "0" * 64}, {"policy": "union"}])
def test_over_a_list_it_says_that_who_reads_rows_can_tell_drawn_ones(policy: dict[str, str]) -> None:
    """The claim's attack is in tests/attacks/test_screen_rows.py."""
    told = "a label party that cheats and reads rows can tell by their changes which ones a party does not cover"
    assert told in " ".join(agreement_lines(screen(change={"alignment": policy})))
    assert told not in " ".join(agreement_lines(screen()))


def test_it_makes_no_factor_and_is_settled_without_one() -> None:
    plan = Plan.of(screen())
    assert [phase for phase in plan.phases if not plan.participants(phase)] == ["evaluate", "value", "export"]


def test_its_openings_are_counted_in_bits_and_its_costs_beforehand() -> None:
    nowhere = cast("Any", None)
    entries = [
        Logged(nowhere, "", "opening", "", {"label": f"numbers/train-1/screen/{number}", "rows": 50, "width": 7})
        for number in range(4)
    ]
    [found] = opened_bits(screen(), entries)
    assert (found.openings, found.numbers, found.bits) == (4, 28, 28 * SCREEN_BITS)
    small, large = (run_cost(screen(terminals=count), 100) for count in (10, 100))
    assert small.seconds * 10 < large.seconds
    assert all(party.bytes_sent > 0 for party in large.parties)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reward": {"pot": 5}}, "leave out reward.pot"),
        ({"openings": {"contribution": "moments"}}, "values no coalitions"),
        ({"parameter_set": "bfv-4096"}, "leave the term out"),
        ({"openings": {"attribution": True}}, "leave out openings.attribution"),
    ],
)
def test_what_it_has_not_is_refused_with_a_remedy(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        screen(change=change)


def test_too_few_periods_and_kin_of_the_label_party_are_refused() -> None:
    with pytest.raises(ValueError, match="take a longer calendar"):
        screen(periods=20)
    record = screen().model_dump(mode="json")
    for party in record["parties"]:
        party["legal_entity"] = "One plc" if party["name"] in "lb" else ""
    with pytest.raises(ValueError, match="leave it out of a screen"):
        Agreement.model_validate(record)
