"""Terms of product columns: read, signed in words, counted, and refused by name where a run cannot have them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from parties.agreement.arithmetic import check_arithmetic
from parties.agreement.cautions import agreement_cautions
from parties.agreement.document import Agreement
from parties.agreement.product_terms import co_owners, product_lines
from parties.agreement.sealed_terms import sealed_members
from parties.agreement.text import agreement_lines
from parties.proposing.anchors import anchored
from parties.proposing.sealed_costs import sealed_cost
from tests.parties.agreement.test_group_terms import settings, signed
from tests.parties.agreement.test_model_terms import agreement
from tests.parties.agreement.test_static_terms import agreed
from vfl.product_terms import Pair, ProductTerms

SCREEN = "ab" * 32
MODEL = {"kind": "sealed", "anchor": "b", "width": 2, "batch_rows": 64}


def made(*formulas: str) -> Agreement:
    model = MODEL | {"products": {"screen": SCREEN, "formulas": list(formulas)}}
    return agreement(model, contribution="none", limit_per_row=1)


def test_formulas_are_pairs_of_owners_in_agreed_order_and_columns_in_the_order_of_the_terms() -> None:
    terms = made("c#4 x a#1", "a#0 x b#9", "a#3 x c#4")
    members = sealed_members(terms)
    assert members.products == (Pair("a", "b", 1), Pair("a", "c", 2))
    assert members.columns == sum(len(party.columns) for party in terms.parties) + 3
    products = terms.model.products  # type: ignore[union-attr]
    assert isinstance(products, ProductTerms)
    assert [one.mine("a") for one in products.of(("a", "c"))] == [(1, "c", 4), (3, "c", 4)]
    assert [one.mine("c") for one in products.of(("a", "c"))] == [(4, "a", 1), (4, "a", 3)]
    check_arithmetic(terms)


def test_terms_without_products_keep_their_hash_and_those_with_them_say_so() -> None:
    without = agreement(MODEL, contribution="none", limit_per_row=1)
    assert "products" not in without.model_dump(mode="json")["model"]
    assert not list(product_lines(without))
    terms = made("a#0 x b#9")
    assert Agreement.model_validate_json(terms.canonical()) == terms
    said = " ".join(agreement_lines(terms))
    assert "1 product of two parties' terminals, made on shares in every step" in said
    assert "a#0 x b#9, named by screen abababababab" in said
    assert "l together with a, or with b, has the weights of their products before and after every step" in said
    assert "If l cheats, they can read it whole, and no opening is charged for it" in said
    assert "If a or b cheats and receives the factor, it can read the other's half of their products" in said
    assert sealed_cost(terms, 100).sent["a", "b"] > sealed_cost(without, 100).sent["a", "b"]


@pytest.mark.parametrize(
    ("formulas", "said"),
    [
        (("a#0",), "no product of two parties"),
        (("a#0 x a#1",), "no product of two parties"),
        (("a#0 x b#1", "b#1 x a#0"), "names a formula twice"),
        (("a#0 x l#1",), "a terminal of l's own, the label party's, which is not built"),
        (("a#0 x z#1",), "z takes no part in the run"),
        (tuple(f"a#{i} x b#0" for i in range(17)), "at most 16"),
    ],
)
def test_what_is_no_product_of_two_feature_parties_is_refused_by_name(formulas: tuple[str, ...], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        made(*formulas)


def test_an_owner_of_the_label_partys_legal_entity_is_refused() -> None:
    body = made("a#0 x b#9").model_dump(mode="json")
    for party in body["parties"]:
        party["legal_entity"] = {"l": "Fund LLC", "a": "Fund, LLC"}.get(party["name"], "")
    with pytest.raises(ValidationError, match="a belongs to l's legal entity"):
        Agreement.model_validate(body)


def test_an_anchor_that_is_an_owner_is_refused_where_contributions_are_valued() -> None:
    record = made("a#0 x b#9").model_dump(mode="json")
    record["openings"]["contribution"] = "moments"
    with pytest.raises(ValidationError, match=r"b is the anchor: where contributions .* set model.anchor to another"):
        Agreement.model_validate(record)
    record["model"]["anchor"] = "c"
    said = " ".join(product_lines(Agreement.model_validate(record)))
    assert "l and c together see of each row what the products of two owners add to its embedding" in said


def test_where_no_anchor_is_named_it_owns_no_half_of_a_valued_product() -> None:
    asked = settings()
    products = ProductTerms(screen=SCREEN, formulas=("north#0 x south#1",))
    model = asked.model.model_copy(update={"anchor": "", "products": products})
    unnamed = asked.model_copy(update={"group": (), "model": model})
    assert asked.openings.contribution != "none"
    assert anchored(unnamed).model.anchor == "east"  # type: ignore[union-attr]
    free = unnamed.model_copy(update={"openings": asked.openings.model_copy(update={"contribution": "none"})})
    assert anchored(free).model.anchor == "north", "where nobody is valued any feature party may be it"  # type: ignore[union-attr]


def test_an_owner_is_cautioned_of_the_other_one() -> None:
    def cautions(me: str, *recipients: str) -> list[str]:
        terms = made("a#0 x b#9").model_copy(update={"recipients": recipients})
        return [one.words for one in agreement_cautions(terms, me) if one.term == "model.products"]

    assert cautions("a") == ["l and b together can read a's half of their products: in time, or whole if l cheats"]
    assert cautions("a", "b")[1:] == ["b receives the factor: if it cheats, it can read a's half of their products"]
    assert len(cautions("b", "b")) == 1
    assert not cautions("c", "a", "b")
    assert co_owners(made("a#0 x b#9", "c#1 x a#2"), "a") == ("b", "c")


@pytest.mark.parametrize("head", [{}, {"head": "tied", "absent": "zeros", "threshold": 3}])
def test_products_and_groups_are_refused_together_whatever_the_groups_head(head: dict[str, object]) -> None:
    record = signed(**head, members=["south", "east", "west"]).model_dump(mode="json")
    record["model"]["products"] = {"screen": SCREEN, "formulas": ["north#0 x east#1"]}
    with pytest.raises(ValidationError, match=r"model.products and groups do not go together"):
        Agreement.model_validate(record)


def test_static_data_has_no_terminals_and_no_products() -> None:
    products = {"screen": SCREEN, "formulas": ["sat#0 x card#1"]}
    with pytest.raises(ValidationError, match="of terminals over periods, and static data has none"):
        agreed(model={"kind": "sealed", "anchor": "sat", "products": products})


def test_an_ensemble_has_no_products() -> None:
    products = {"screen": SCREEN, "formulas": ["a#0 x b#1"]}
    with pytest.raises(ValidationError, match=r'columns of model.kind = "sealed" alone'):
        agreement({"kind": "ensemble", "anchor": "b", "network": {"products": products}}, contribution="none")
