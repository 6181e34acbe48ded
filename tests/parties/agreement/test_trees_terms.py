"""Terms of a run of sealed trees: what they are filled up with, what is refused, and the text that is signed."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest

from parties.agreement.arithmetic import check_arithmetic
from parties.agreement.document import Agreement
from parties.agreement.sealed_terms import with_kind_defaults
from parties.agreement.terms import CalendarTerms
from parties.agreement.text import agreement_lines
from parties.agreement.who_learns import label_lines, who_learns
from parties.control.phases import Plan
from parties.proposing.counted_costs import run_cost
from parties.proposing.sealed_costs import SealedCost
from parties.proposing.trees_costs import _trees
from tests.parties.agreement.test_model_terms import agreement
from vfl.models.sealed.messages import Members
from vfl.protocols.slots import SLOTS
from vfl.tree_terms import TreesModel


def trees(contribution: str = "none", **model: Any) -> Agreement:
    return agreement({"kind": "trees", "anchor": "b"} | model, contribution=contribution, limit_per_row=1)


def test_terms_of_trees_are_whole_and_keep_their_hash() -> None:
    made = trees(trees=20, depth=3, blocks=4, fits_kept=2)
    assert isinstance(made.model, TreesModel)
    assert Agreement.model_validate_json(made.canonical()).run_id == made.run_id
    assert made.row_limit == 1
    assert made.needed_openings == 1


def test_sums_of_coalitions_are_refused_with_what_to_do() -> None:
    with pytest.raises(ValueError, match=r'opens single parties\' sums.*set it to "moments" or "none"'):
        trees("masked")


def test_contributions_are_valued_by_two_numbers_a_coalition_where_terms_say_nothing_else() -> None:
    terms = trees("moments", trees=20)
    text = " ".join([*agreement_lines(terms), *label_lines(terms)])
    assert "two numbers of 32 bits open to the label party for each of 7 coalitions" in text
    assert "averages over the splits of those who are not in it" in text
    assert Plan.of(terms).valued
    raw: dict[str, Any] = {"model": {"kind": "trees"}}
    assert with_kind_defaults(raw)["openings"] == {"contribution": "moments"}
    times = tuple(datetime(2026, month, 1, tzinfo=UTC) for month in range(1, 7))
    calendar = CalendarTerms(frequency="M", periods=tuple("abcdef"), period_ends=times, cutoffs=times)
    longer = {"calendar": calendar, "walk_forward": terms.walk_forward.model_copy(update={"warmup": 2})}
    dear, plain = (run_cost(one.model_copy(update=longer), 500) for one in (terms, trees(trees=20)))
    assert 1 < dear.seconds / plain.seconds < 2


@pytest.mark.parametrize(
    ("model", "words"),
    [({"anchor": "l"}, "must be a feature party"), ({"depth": 9}, "less than or equal to 6"), ({"width": 4}, "width")],
)
def test_terms_that_trees_do_not_have_are_refused_by_name(model: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        trees(**model)


def test_a_run_of_more_trees_is_said_to_cost_more() -> None:
    settings: list[dict[str, Any]] = [{"trees": 10}, {"trees": 40}, {"blocks": 4}]
    few, many, quarter = (run_cost(trees(**model), 500) for model in settings)
    whole = run_cost(trees(), 500)
    assert 3.5 < many.seconds / few.seconds < 4.5
    assert quarter.seconds < whole.seconds
    assert all(party.bytes_sent > 0 for party in whole.parties)


@pytest.mark.parametrize(("features", "own"), [("a", 1), ("ab", 0), ("b", 1), ("abc", 0), ("abcd", 1)])
def test_products_between_owners_are_counted_as_many_as_they_can_be(features: str, own: int) -> None:
    """Of four levels a row takes 2**(4 - k) - 1 of them, where nobody owns more than k."""
    model, members = TreesModel(trees=1, candidates=2), Members("l", "a", dict.fromkeys(features, 1), own)
    answers = []
    for rows in (SLOTS, 2 * SLOTS):
        cost = SealedCost()
        _trees(cost, members, model, 1, rows, 0)
        answers.append(cost.slots.answers)
    owners = product(features + "l" * own, repeat=model.depth)
    most = max(2 ** (model.depth - max(Counter(one).values())) - 1 for one in owners)
    assert answers[1] - answers[0] == most > 0


def test_what_is_signed_says_what_opens_and_no_value_phase_is_planned() -> None:
    terms = trees(trees=20)
    check_arithmetic(terms)
    text = " ".join([*agreement_lines(terms), *label_lines(terms)])
    for words in (
        "sealed trees",
        "anonymous candidate",
        "side of each split",
        "17 bits",
        "make candidates up",
        "3.2 bits",
    ):
        assert words in text
    assert "l" in who_learns(terms)
    assert not Plan.of(terms).valued
