"""What is signed of a group: its members and columns, what opens and to whom, and what is refused in one sentence."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from parties.agreement.cautions import agreement_cautions
from parties.agreement.document import Agreement
from parties.agreement.group_terms import GroupTerms, expansion_plan, group_rounds
from parties.agreement.text import agreement_lines
from parties.agreement.who_learns import who_learns
from parties.control.phases import Plan
from parties.data.encoder import SequenceEncoder
from parties.errors import AgreementError, ConfigError
from parties.names import COORDINATOR
from parties.node.group_encoder import check_group
from parties.proposing.drafting import agreement_of, coalition_of, load_proposal, terms_of
from parties.settings.consortium import ConsortiumSettings, EncoderSettings, load_consortium
from tests.places import ROOT
from vfl.encoder_terms import EncoderShape

EXAMPLE = ROOT / "examples" / "group_encoder" / "consortium.toml"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Known:
    """A member of the consortium, as its roster and its node say it."""

    address, identity_key, certificate_sha256, text, expansion, encoder = "h:1", "00", "00", "", "", ""
    label_name, label_definition, legal_entity, role, columns = "", "", "", "feature", ()


def settings() -> ConsortiumSettings:
    return load_consortium(EXAMPLE)


EXPAND = {"fourier": 12, "bins": 4, "outputs": 8, "fit_periods": 28}


def expanding(tmp_path: Path, **terms: Any) -> ConsortiumSettings:
    """The example with an expansion of its group."""
    for file in EXAMPLE.parent.glob("*.sql"):
        shutil.copy(file, tmp_path)
    made = "\n".join(f"{name} = {json.dumps(value)}" for name, value in (EXPAND | terms).items())
    (tmp_path / "c.toml").write_text(
        EXAMPLE.read_text().replace("[group.encoder]", f"[group.expand]\n{made}\n\n[group.encoder]")
    )
    return load_consortium(tmp_path / "c.toml")


def signed_by(given: ConsortiumSettings) -> Agreement:
    names = ["fund", "north", "south", "east", "west", COORDINATOR]
    return agreement_of(given, dict.fromkeys(names, Known()), NOW)


def test_a_group_that_fits_an_expansion_says_what_opens(tmp_path: Path) -> None:
    given = expanding(tmp_path)
    made, party = signed_by(given), next(one for one in given.party if one.name == "east")
    assert party.output_columns[-8:] == tuple(f"exp_{k}" for k in range(8))
    plan = expansion_plan(made, made.groups[0])
    assert plan is not None
    assert (plan.counted, plan.moments, plan.number) == (1 + 4 * 128, 28 + 28 * 29 // 2, 10)
    text = " ".join(agreement_lines(made))
    assert "fit one expansion of their columns, on the first 28 periods, by two sums of all of them. The" in text
    assert "it opens to them alone: the number of their rows, and of each column" in text
    assert "513 numbers. The second is a secure sum" in text
    assert "of each feature and of each product of two, 434 numbers, of 63 bits" in text
    assert "hold fewer than 1736 values takes part in neither, and the run ends" in text
    assert "makes its counts up, other ones in each attempt: it places the edges of bins." in text
    assert "fitted without labels by the members of group lenders together" in text
    assert "and the two sums that its expansion is made of" in " ".join(who_learns(made)["west"])
    assert "and the moments that its expansion is made of; no row" in " ".join(who_learns(made)[COORDINATOR])
    check_group(made, party)
    assert party.expand is not None
    other = party.model_copy(update={"expand": party.expand.model_copy(update={"bins": 5})})
    with pytest.raises(AgreementError, match=r"fits another expansion than .* they differ in bins"):
        check_group(made, other)
    with pytest.raises(AgreementError, match="do not name the same group"):
        check_group(made, party.model_copy(update={"expand": None}))
    assert expansion_plan(signed(), signed().groups[0]) is None


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ({"trees": 5}, "decided by single rows, which no sum of members gives: set group.expand.trees = 0"),
        ({"fourier": 300}, "it needs more features than outputs, and 256 at most"),
        ({"outputs": 28}, "it needs more features than outputs"),
        ({"fit_periods": 60}, "expand.fit_periods = 60 of 60 periods leave none"),
        ({"columns": ["x"]}, "names unknown|name unknown columns|name 'x'"),
    ],
)
def test_an_expansion_that_sums_cannot_fit_is_refused(tmp_path: Path, terms: dict[str, Any], said: str) -> None:
    with pytest.raises((ValidationError, AgreementError, ConfigError), match=said):
        signed_by(expanding(tmp_path, **terms))


def signed(change: dict[str, Any] | None = None, **group: Any) -> Agreement:
    """The example's agreement, with other terms of its group."""
    made = agreement_of(
        settings(), dict.fromkeys(["fund", "north", "south", "east", "west", COORDINATOR], Known()), NOW
    )
    record = made.model_dump(mode="json")
    record["groups"][0] |= group
    return Agreement.model_validate(record | (change or {}))


def test_its_text_says_who_trains_what_opens_and_what_zeros_tell() -> None:
    made = signed()
    text = " ".join(agreement_lines(made))
    assert "Group lenders: north, south, east, west train one encoder of their columns together" in text
    assert "without labels and on the first 28 periods alone" in text
    numbers = group_rounds(made, made.groups[0]).numbers
    assert f"of {numbers} weights' changes and the sum of their rows, {numbers + 1} numbers of 63 bits, over 3" in text
    assert "WARNING: for an entity that it does not have a member of group lenders serves zeros" in text
    assert "drawn anew in each period; members of group lenders serve zeros in its place, which scores can show" in text
    assert "the scores tell fund, and who else receives them, which entities no member has" in text
    assert "serves a row drawn from its others" in " ".join(agreement_lines(signed(absent="drawn")))
    learns = who_learns(made)
    assert any("the encoder of group lenders" in line for line in learns["west"])
    assert any("It opens the sums of group lenders's updates" in line for line in learns[COORDINATOR])
    assert not any("It learns the encoder" in line for line in learns["fund"])
    assert {"groups.absent"} <= {one.term for one in agreement_cautions(made)}
    seen = agreement_cautions(signed(rule="median", weights="equal"), "north")
    assert "groups.rule" in {one.term for one in seen}


def test_its_text_says_who_serves_a_shared_entity_and_who_learns_of_it() -> None:
    made = signed(overlap="precedence")
    text, learns = " ".join(agreement_lines(made)), who_learns(made)
    assert "is served by the first of them in this order alone, and what it brings is counted and paid" in text
    assert "Before the rounds south and those after it each learn which of their own entities a member" in text
    assert "in each further attempt one bit, whether that one has any of the entities that it answers otherwise" in text
    assert "members of group lenders learn which of their own entities a member before them" in learns["north"][0]
    assert "which of its own entities north serves; of no other" in " ".join(learns["south"])
    assert "which of its own entities north or south serves, and not which of them" in " ".join(learns["east"])
    assert "east and west each learn which of their own entities this party or north serves" in learns["south"][-2]
    assert "west learns which of its own entities this party or north or south serves." in learns["east"]
    for name in ("fund", COORDINATOR):
        assert not any("of its own entities" in line for line in learns[name])
    assert "groups.overlap" in {one.term for one in agreement_cautions(made, "west")}
    assert "groups.overlap" not in {one.term for one in agreement_cautions(made, "fund")}
    assert "stands in the columns of each" not in text


def test_members_train_between_alignment_and_the_model_and_nobody_else_takes_part() -> None:
    plan = Plan.of(signed())
    assert plan.phases.index("encode") == plan.phases.index("train") - 1
    assert plan.participants("encode") == ("north", "south", "east", "west", COORDINATOR)
    alone = Plan.of(Agreement.model_validate({**signed().model_dump(mode="json"), "groups": []}))
    assert "encode" not in alone.phases
    assert alone.participants("encode") == ()


@pytest.mark.parametrize("kind", ["lstm", "transformer"])
def test_weights_are_counted_as_torch_has_them(kind: str) -> None:
    shape = EncoderShape(kind=kind, window=5, hidden=6, outputs=2)  # type: ignore[arg-type]
    named = dict(SequenceEncoder(shape, 3).named_parameters())
    kept = sum(one.numel() for name, one in named.items() if not name.startswith("decoder."))
    assert GroupTerms(name="g", members=(), encoder=shape).numbers(3) == sum(one.numel() for one in named.values())
    assert GroupTerms(name="g", members=(), encoder=shape, personal_head=True).numbers(3) == kept


@pytest.mark.parametrize(
    ("group", "change", "said"),
    [
        ({"members": ["north", "south", "nobody"]}, {}, "names 'nobody', who is no feature party of the run"),
        ({"members": ["north", "south", "fund"]}, {}, "fund is the label party, and group lenders takes feature"),
        ({"members": ["north", "south"], "threshold": 2}, {}, "needs 3 members: of two each would read the other's"),
        ({"members": ["north", "south", "south"]}, {}, "names a member twice"),
        ({"threshold": 2}, {}, "group.threshold = 2 of 4 members in a round: it must be more than half"),
        ({"threshold": 0}, {}, "group.threshold must be named in what is signed: set it to 3"),
        ({"noise": 1.0}, {}, "group.noise hides whether a member took part"),
        ({"encoder": {"columns": ["x"], "fit_periods": 28, "outputs": 1}}, {}, "name 'x', which no member has"),
        ({"encoder": {"fit_periods": 60, "outputs": 1}}, {}, "leave none to make codes for"),
        ({"encoder": {"fit_periods": 28, "outputs": 2}}, {}, "north does not offer the codes of group lenders"),
        ({}, {"alignment": {"policy": "psi"}}, 'set alignment.policy = "universe" or "union"'),
        ({}, {"model": {"kind": "trees", "anchor": "north"}}, 'set group.absent = "drawn", or model.kind = "sealed"'),
        ({}, {"model": {"kind": "screen"}, "openings": {}}, "has no [[group]]"),
        ({}, {"daily": {"scores": 2, "expires": "2027-01-31"}}, "a run with a group has no daily: leave it out"),
    ],
)
def test_what_cannot_train_is_refused_with_a_remedy(group: dict[str, Any], change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        signed(change, **group)
    assert said in str(caught.value)


def test_a_member_trains_in_one_group_on_columns_that_all_have() -> None:
    record = signed().model_dump(mode="json")
    other = {**record["groups"][0], "name": "others", "members": ["south", "east", "west"]}
    with pytest.raises(ValidationError, match="south is in the groups lenders and others"):
        Agreement.model_validate({**record, "groups": [record["groups"][0], other]})
    with pytest.raises(ValidationError, match="two groups share a name"):
        Agreement.model_validate({**record, "groups": record["groups"] * 2})
    record["parties"][2]["columns"][0] = "limits"
    with pytest.raises(ValidationError, match="south and north differ in balance, limits: give both the same columns"):
        Agreement.model_validate(record)
    record["parties"][2]["columns"] = record["parties"][1]["columns"][::-1]
    with pytest.raises(ValidationError, match="south and north differ in their order"):
        Agreement.model_validate(record)


def test_a_node_signs_for_its_own_encoder_alone() -> None:
    made, party = signed(), next(one for one in settings().party if one.name == "east")
    assert party.encoder is not None
    check_group(made, party)
    other = party.model_copy(update={"encoder": party.encoder.model_copy(update={"window": 9})})
    with pytest.raises(AgreementError, match=r"trains another encoder than .* they differ in window"):
        check_group(made, other)
    with pytest.raises(AgreementError, match=r"which \[party.encoder\] of node.toml does not name"):
        check_group(made, party.model_copy(update={"encoder": None}))
    with pytest.raises(AgreementError, match="the agreement has no such group with this party"):
        check_group(Agreement.model_validate({**made.model_dump(mode="json"), "groups": []}), party)
    with pytest.raises(ValidationError, match=r"set encoder.refit_every = 0"):
        EncoderSettings(group="lenders", refit_every=4)


def test_a_run_like_it_is_proposed_again_and_coalitions_take_a_group_whole(tmp_path: Path) -> None:
    made = signed()
    terms = terms_of(made)
    assert [group["members"] for group in terms["group"]] == [["north", "south", "east", "west"]]
    with pytest.raises(ConfigError, match="a coalition takes all members of group lenders or none"):
        coalition_of(settings(), without=["north"])
    offers = {party.name: Known() for party in made.parties}
    for party in made.parties:
        offers[party.name].role, offers[party.name].columns = party.role, party.columns  # type: ignore[misc]
        offers[party.name].label_name = offers[party.name].label_definition = "y" if party.role == "label" else ""
    again = load_proposal(EXAMPLE, offers)
    assert again.group == settings().group
