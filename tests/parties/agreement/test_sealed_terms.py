"""Terms of a sealed run: its anchor, its limits, and what is refused in one sentence that names who has it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pydantic import ValidationError

from parties.agreement.arithmetic import check_arithmetic
from parties.agreement.cautions import agreement_cautions
from parties.agreement.document import Agreement
from parties.agreement.sealed_terms import chosen_anchor, same_entity
from parties.agreement.text import agreement_lines
from parties.agreement.who_learns import label_lines, who_learns
from parties.control.phases import Plan
from parties.errors import AgreementError
from parties.node.policy import _check_limits
from parties.node.settings import NodeSettings, StandingLimits
from parties.proposing.continuing import check_continuation, continued_without
from parties.proposing.placebo import placebo_of
from parties.settings.consortium import ConsortiumSettings
from tests.parties.agreement.test_model_terms import agreement
from vfl.terms import SealedModel

MODEL = {"kind": "sealed", "anchor": "b"}


def sealed(model: dict[str, Any] | None = None, **openings: Any) -> Agreement:
    return agreement(MODEL | (model or {}), **({"contribution": "none"} | openings))


def entity(terms: Agreement, **names: str) -> dict[str, Any]:
    body = terms.model_dump(mode="json")
    for party in body["parties"]:
        party["legal_entity"] = names.get(party["name"], "")
    return body


def test_the_anchor_and_the_sentence_on_collusion_stand_wherever_terms_are_shown() -> None:
    terms = sealed()
    for said in (label_lines(terms), agreement_lines(terms), who_learns(terms)["l"]):
        text = " ".join(said)
        assert "Anchor: b holds the other half of every share beside the label party." in text
        assert "The label party and b together would see what the label party would see if every embedding" in text
        assert "17 bits" in text
        assert "4 scores of a row over all runs" in text
        assert "linear forms" not in text


def test_an_anchor_is_a_feature_party_of_another_legal_entity_than_the_label_party() -> None:
    with pytest.raises(ValidationError, match=r"coordinator cannot be model.anchor: .* name a feature party .* a, b"):
        sealed({"anchor": "coordinator"})
    with pytest.raises(ValidationError, match="must be a feature party of the run: a, b, c"):
        sealed({"anchor": "l"})
    Agreement.model_validate(entity(sealed(), l="Fund Ltd", b="Bank Ltd"))
    kin = Agreement.model_validate(entity(sealed(), l="Fund Ltd", a="Fund Ltd"))
    words = [one.words for one in agreement_cautions(kin, "b") if one.term == "parties.legal_entity"]
    assert "if it cheats together with the label party" in words[0]
    with pytest.raises(ValidationError, match="name an anchor of another entity"):
        Agreement.model_validate(entity(sealed(), l="Big Fund, Ltd.", b="BIG  fund (LTD)"))


def test_contributions_of_a_sealed_run_are_two_numbers_per_coalition_and_period() -> None:
    terms = sealed(contribution="moments")
    text = " ".join(agreement_lines(terms))
    assert "two numbers of 32 bits open to the label party for each of 7 coalitions" in text
    assert "the label party and b together would see each party's own embeddings" in text
    assert "value" in [phase for phase in ("value",) if Plan.of(terms).participants("value")]
    assert "two numbers" not in " ".join(agreement_lines(sealed()))


def test_one_entity_is_one_whatever_its_spelling() -> None:
    assert same_entity("Big Fund, L.L.C.", "big fund LLC")
    assert not same_entity("", "")
    assert not same_entity("Big Fund Ltd", "Big Fund II Ltd")


def test_a_draft_takes_the_feature_party_with_most_columns_that_may_be_the_anchor() -> None:
    parties = [
        SimpleNamespace(name=name, role=role, legal_entity=of)
        for name, role, of in (
            ("l", "label", "Fund"),
            ("a", "feature", "FUND."),
            ("b", "feature", ""),
            ("c", "feature", ""),
        )
    ]
    columns = {"l": 9, "a": 8, "b": 2, "c": 3}
    assert chosen_anchor(cast("Any", parties), columns) == "c"
    assert chosen_anchor(cast("Any", parties[:2]), columns) == ""
    with pytest.raises(ValidationError, match="belongs to the label party's legal entity"):
        sealed({"anchor": ""})


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"model": MODEL | {"loss": "rank_ic"}}, 'model.kind = "split"'),
        ({"walk_forward": {"horizons": [{"name": "slow", "periods": 3}]}}, 'model.kind = "split" for walk_forward'),
        ({"openings": {"contribution": "masked"}}, 'model.kind = "split"'),
        ({"openings": {"attribution": True, "contribution": "none"}}, 'model.kind = "split"'),
        ({"search": {"trials": 3, "space": {"hidden": {"values": [4, 8]}}}}, 'model.kind = "split"'),
        ({"parameter_set": "bfv-4096"}, "leave the term out"),
    ],
)
def test_what_a_sealed_model_lacks_is_refused_naming_the_kind_that_has_it(change: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        Agreement.model_validate(sealed().model_dump(mode="json") | change)


def test_limits_of_opened_sums_do_not_apply() -> None:
    one = sealed().model_dump(mode="json")
    one["parties"] = [party for party in one["parties"] if party["name"] in ("l", "b")]
    alone = Agreement.model_validate(one | {"model": MODEL | {"width": 64, "square_rate": 2.0**-5}})
    assert alone.row_limit == 4
    assert alone.needed_openings == 1
    assert "value" not in [phase for phase in ("value",) if Plan.of(alone).participants("value")]
    with pytest.raises(ValidationError, match="values coalitions of a sealed model"):
        agreement({"kind": "split", "embedding_width": 1}, contribution="moments")
    with pytest.raises(ValidationError, match="single_party"):
        Agreement.model_validate(one | {"model": {"kind": "split", "embedding_width": 1}, "parameter_set": "bfv-8192"})


def test_arithmetic_that_does_not_fit_the_ring_is_refused_with_numbers_that_do() -> None:
    check_arithmetic(sealed())
    with pytest.raises(AgreementError, match="do not fit the ring together: set model"):
        check_arithmetic(sealed({"embedding_limit": 1024.0, "width": 64}))


def test_terms_without_a_word_on_contribution_get_what_a_sealed_model_has() -> None:
    raw = {
        "name": "c", "calendar": {"frequency": "Q", "first": "2020-01-01", "last": "2020-12-31"},
        "label": {"name": "y", "definition": "y", "query": "y.sql"}, "model": {"kind": "sealed"},
        "party": [{"name": "l", "role": "label", "query": "l.sql", "columns": ["x"]}],
    }  # fmt: skip
    assert ConsortiumSettings.model_validate(raw).openings.contribution == "moments"
    assert ConsortiumSettings.model_validate(raw | {"model": {"kind": "split"}}).openings.contribution == "masked"


def test_a_node_refuses_an_anchor_that_its_operator_has_not_named() -> None:
    def settings(**limits: Any) -> NodeSettings:
        party = SimpleNamespace(role="feature", name="a")
        return cast("NodeSettings", SimpleNamespace(limits=StandingLimits(**limits), party=party))

    _check_limits(sealed(), settings())
    _check_limits(sealed(), settings(anchors=("b",), largest_fraction=0.01))
    with pytest.raises(AgreementError, match="anchor is 'b', who is not among limits"):
        _check_limits(sealed(), settings(anchors=("c",)))
    products = {"screen": "ab" * 32, "formulas": ["a#0 x c#1"]}
    shared = sealed({"products": products}, contribution="none")
    _check_limits(shared, settings(anchors=("b", "c")))
    with pytest.raises(AgreementError, match="c would own the other half of this party's products"):
        _check_limits(shared, settings(anchors=("b",)))
    with pytest.raises(AgreementError, match="standing limit is 8"):
        _check_limits(sealed(limit_per_row=9), settings())


def nodes(terms: Agreement) -> dict[str, Any]:
    known = {
        party.name: SimpleNamespace(address="h:1", identity_key="00", certificate_sha256="00", legal_entity="")
        for party in terms.parties
    }
    return known | {"coordinator": SimpleNamespace(address="h:2", identity_key="00", certificate_sha256="00")}


def test_the_others_go_on_without_the_anchor_under_another_one() -> None:
    terms, now = sealed(contribution="moments"), datetime(2026, 2, 1, tzinfo=UTC)
    made = continued_without(terms, ["b"], nodes(terms), now, timedelta(days=1), began=True)
    assert isinstance(made.model, SealedModel)
    assert made.model.anchor == "a"
    assert made.openings_left >= 1
    assert made.initial_purpose != terms.initial_purpose
    check_continuation(made, terms)
    kept = continued_without(terms, ["c"], nodes(terms), now, timedelta(days=1), began=True)
    assert isinstance(kept.model, SealedModel)
    assert kept.model.anchor == "b"


def test_a_placebo_of_a_sealed_run_opens_one_score_more() -> None:
    terms = sealed(contribution="moments", limit_per_row=1)
    made = placebo_of(terms, nodes(terms), datetime(2026, 2, 1, tzinfo=UTC), timedelta(days=1), seed=3)
    assert made.model == terms.model
    assert (made.openings.limit_per_row, made.openings.contribution) == (2, "none")
    assert made.openings.largest_fraction == terms.openings.largest_fraction
    assert "opens a row up to 1 more times" in " ".join(agreement_lines(made))
