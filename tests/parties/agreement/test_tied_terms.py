"""What is signed of a group with one head: what it means and shows, and what is refused in one sentence."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from parties.agreement.cautions import agreement_cautions
from parties.agreement.document import Agreement
from parties.agreement.sealed_terms import sealed_members
from parties.agreement.text import agreement_lines
from parties.agreement.who_learns import who_learns
from parties.node.group_encoder import as_served
from parties.proposing.anchors import anchored
from parties.proposing.sealed_costs import sealed_cost, sealed_steps
from tests.parties.agreement.test_group_terms import settings, signed

MEMBERS = ("north", "south", "east", "west")
COLUMNS = ("balance", "spend", "arrears", "visits")


def tied(*, bureau: bool = True, parties: dict[str, dict[str, Any]] | None = None, **change: Any) -> Agreement:
    """The example's agreement with one head, and a feature party beside the group that is the anchor."""
    record = signed().model_dump(mode="json")
    record["groups"][0] |= {"head": "tied", "absent": "zeros"} | change.pop("group", {})
    if bureau:
        first = next(one for one in record["parties"] if one["name"] == "north")
        other = {key: value for key, value in first.items() if key != "encoder"}
        record["parties"].append(other | {"name": "bureau", "legal_entity": "Bureau", "columns": ["rating"]})
        record["model"]["anchor"] = "bureau"
    for one in record["parties"]:
        one.update((parties or {}).get(one["name"], {}))
    for name, terms in change.items():
        record[name] = record[name] | terms
    return Agreement.model_validate(record)


def test_its_text_says_what_one_head_means_and_who_sees_more_together() -> None:
    made = tied()
    text = " ".join(agreement_lines(made))
    assert "Its members have ONE HEAD: their rows add up under the same weights" in text
    assert "WARNING: fund together with any one member has the group's weights at every step" in text
    assert "If fund cheats, the two read rows of every other member exactly" in text
    assert "A member that cheats sets them; where it receives the factor it reads 17 bits a score of any column" in text
    assert "north passes the weights on, and all compare what they hold before every step" in text
    assert "None of them whitens its columns" in text
    assert "an entity that several of them have counts with the sum of their rows" in text
    served = " ".join(agreement_lines(tied(group={"overlap": "precedence"})))
    assert "Beside that, an entity that several of them have is served by the first of them" in served
    assert "each with weights of its own" not in text
    own = " ".join(agreement_lines(signed()))
    assert "ONE HEAD" not in own
    assert "each with weights of its own" in own
    assert "groups.head" in {one.term for one in agreement_cautions(made, "east")}
    assert "groups.head" not in {one.term for one in agreement_cautions(signed(), "east")}
    learns = who_learns(made)
    assert any("It holds the share of group lenders in the common weights" in line for line in learns["west"])
    assert not any("share of the common weights" in line for name in ("fund", "bureau") for line in learns[name])


def test_a_member_that_receives_the_factor_is_a_caution() -> None:
    def words(agreement: Agreement) -> list[str]:
        return [one.words for one in agreement_cautions(agreement, "fund") if one.term == "recipients"]

    record = tied().model_dump(mode="json") | {"recipients": ["fund", "bureau", "south"]}
    (said,) = words(Agreement.model_validate(record))
    assert said.startswith("south of group lenders, which has one head, gets the factor: a member that cheats")
    assert "17 bits a score of any column of the others" in said
    assert not words(Agreement.model_validate(record | {"recipients": ["fund", "bureau"]}))
    assert not words(Agreement.model_validate(signed().model_dump(mode="json") | {"recipients": ["fund", "south"]}))


@pytest.mark.parametrize("head", ["own", "tied"])
def test_where_absent_rows_are_zeros_numbers_of_coalitions_are_of_few_rows_and_the_text_says_so(head: str) -> None:
    text = " ".join(agreement_lines(tied(group={"head": head}, openings={"contribution": "moments"})))
    assert "two numbers per coalition and period, which are of as few rows as its members serve there" in text
    assert "of one entity, fund reads its score with that coalition's columns alone" in text
    assert "each covariance is then 32 bits of that row's score. Of a coalition whose" in text
    none = " ".join(agreement_lines(tied(openings={"contribution": "none"}, reward={"pot": 0})))
    assert "of one entity" not in none


def test_towards_the_run_a_group_is_one_party_and_in_its_pay_four() -> None:
    members, apart = sealed_members(tied()), sealed_members(tied(group={"head": "own"}))
    assert members.tied == (MEMBERS,)
    columns = members.features["north"]
    assert members.heads == {"north": columns, "bureau": 1}
    assert (apart.columns, members.columns) == (4 * columns + 1 + apart.own, columns + 1 + apart.own)
    assert set(members.features) == {*MEMBERS, "bureau"}
    cost, more = sealed_cost(tied(), 40), sealed_cost(tied(group={"head": "own"}), 40)
    steps = sealed_steps(tied(), 40)
    held = 32 * (steps.train + steps.predict)
    assert cost.sent["west", "north"] == cost.sent["north", "west"] > held > 0 == more.sent["west", "north"]
    assert cost.sent["west", "south"] == held, "the digest of every step"
    assert cost.slots.answers < more.slots.answers, "one truncation of the update in place of four"


def test_where_no_anchor_is_named_it_is_outside_every_tied_group_and_members_do_not_whiten() -> None:
    asked = settings()
    west = asked.party[-1].model_copy(update={"columns": ("rating",), "encoder": None})
    group = asked.group[0].model_copy(update={"members": MEMBERS[:3], "head": "tied"})
    model = asked.model.model_copy(update={"anchor": ""})
    unnamed = asked.model_copy(update={"party": (*asked.party[:-1], west), "group": (group,), "model": model})
    assert anchored(unnamed).model.anchor == "west"  # type: ignore[union-attr]
    assert anchored(unnamed.model_copy(update={"group": asked.group})).model.anchor == "north"  # type: ignore[union-attr]
    for agreement, whitens in ((tied(), False), (signed(), True)):
        assert as_served(agreement, asked.party[1]).whiten is whitens
    assert as_served(tied(), west.model_copy(update={"name": "bureau"})).whiten


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": {"anchor": "south"}}, "model.anchor south is a member: as anchor it holds a share of every other"),
        ({"model": {"anchor": "south"}}, "Set model.anchor to a party outside it, such as bureau"),
        ({"bureau": False}, "Invite a feature party with a column of its own to be it, or leave one member out"),
        ({"group": {"absent": "drawn"}}, 'set group.absent = "zeros", or group.head = "own"'),
        (
            {"parties": {"fund": {"legal_entity": "A"}, "east": {"legal_entity": "a"}}},
            "east belongs to the legal entity",
        ),
        (
            {"parties": {name: {"legal_entity": (name[0] in "sew" and "B") or "A"} for name in MEMBERS}},
            "its members are of 2 legal entities",
        ),
        (
            {
                "parties": {
                    name: {
                        "expansion": "terms of",
                        "columns": ["balance", "spend", "arrears", "visits", "enc_0", "exp_0"],
                    }
                    for name in MEMBERS
                }
            },
            "north makes exp_0 of its columns",
        ),
        ({"parties": {"west": {"text": "lexicon x"}}}, "make columns of texts by different settings"),
    ],
)
def test_what_cannot_be_tied_is_refused_before_anybody_signs(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        tied(**change)
    assert said in str(caught.value)


def test_trees_and_an_ensemble_have_no_tied_head() -> None:
    record = tied().model_dump(mode="json")
    for kind in ("trees", "ensemble"):
        with pytest.raises(ValidationError) as caught:
            Agreement.model_validate(record | {"model": {"kind": kind, "anchor": "bureau"}})
        assert 'model.kind = "sealed"' in str(caught.value)
