"""Product columns on shares against the same network on products in the clear: to the last bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from psi.flow import Flow, LocalProtocolError, run_local
from tests.vfl.models.sealed.product_rig import ObservedProducts, ProductConsortium, halves_of
from tests.vfl.models.sealed.rig import FIXED, RUN, columns, label_keys
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.models.sealed.coalitions import Moments, Piece, ValuedPeriod
from vfl.models.sealed.messages import Members
from vfl.models.sealed.pairs import half_bits, products_of
from vfl.models.sealed.products import AnchorProducts, OwnedProducts
from vfl.models.sealed.scales import WEIGHT_BITS
from vfl.models.sealed.twin import FloatTwin, IntegerTwin
from vfl.models.sealed.valuation import AnchorValuation, FeatureValuation, LabelValuation
from vfl.product_terms import MOST_PRODUCTS, Pair
from vfl.protocols.opening import agree_masks
from vfl.terms import FixedPoint, SealedModel
from vfl.walk.schedule import Step

ROWS = 120
LABELS = np.random.default_rng(5).normal(size=ROWS)
STEPS = [
    Step(0, "train", 0, np.arange(40), 40),
    Step(1, "train", 0, np.arange(20, 60), ROWS),
    Step(2, "predict", 1, np.arange(ROWS)),
]
CASES = {
    "the anchor holds": ("ab", 0, "a", (Pair("a", "b", 2),)),
    "the anchor multiplies": ("ab", 1, "b", (Pair("a", "b", 1),)),
    "the anchor has no half": ("abc", 1, "a", (Pair("b", "c", 2),)),
    "everybody with everybody": ("abc", 2, "b", (Pair("a", "b", 1), Pair("a", "c", 2), Pair("b", "c", 1))),
}


def consortium(parties: str, own: int, anchor: str, pairs: tuple[Pair, ...]) -> ProductConsortium:
    features = {name: columns(ROWS, 2, name) for name in parties}
    terms = SealedModel(width=2, batch_rows=40)
    return ProductConsortium(features, columns(ROWS, own, "own"), terms, anchor=anchor, pairs=pairs)


@pytest.mark.parametrize("case", CASES)
def test_a_run_with_products_equals_the_twin_with_these_columns_to_the_last_bit(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever the anchor is, and whoever has which half; the products themselves are not truncated at all."""
    made = consortium(*CASES[case])
    observed = ObservedProducts(made).watch(monkeypatch)
    made.run(STEPS, LABELS)
    twin = made.twin(truncate=observed.truncate)
    for step in STEPS:
        if step.kind == "predict":
            assert np.array_equal(made.scores[step.number], twin.predict(step))
        else:
            twin.train(step, LABELS[step.rows])
    assert np.array_equal(made.opened_weights(), twin.weight)
    moved = np.abs(twin.weight - made.weights())[-sum(pair.count for pair in made.pairs) :]
    assert (moved.max(axis=1) > 0).all(), "every product's weight learned"


def test_a_planted_product_lifts_a_line_that_cannot_see_it_without() -> None:
    """By the twin, which a run equals: a label that one product of two parties' ranks moves, and nothing else."""
    rows, pair = 3000, Pair("a", "b", 1)
    made, noise = halves_of((pair,), rows), np.random.default_rng(3).normal(size=rows)
    product = products_of((pair,), made)
    label = 0.5 * product[:, 0] / 2.0**FIXED.feature_bits + noise
    plain = np.concatenate([made[pair.name, owner] << half_bits(FIXED, holder=True) for owner in pair.owners], axis=1)
    terms, found = SealedModel(batch_rows=2000).model_copy(update={"width": 0}), []
    for x in (plain, np.concatenate([plain, product], axis=1)):
        twin = IntegerTwin(x, np.zeros((x.shape[1], 1), dtype=np.int64), terms, FIXED)
        for number in range(8):
            twin.train(Step(number, "train", 0, np.arange(2000), 2000), label[:2000])
        scores = twin.predict(Step(9, "predict", 1, np.arange(2000, rows)))
        found.append(float(np.corrcoef(scores, label[2000:])[0, 1]))
    assert abs(found[0]) < 0.1
    assert found[1] > 0.35


def test_a_product_has_the_scale_of_a_feature_whatever_the_scale() -> None:
    for bits in (7, 10, 11, 12):
        fixed = FixedPoint(feature_bits=bits)
        assert half_bits(fixed, holder=True) + half_bits(fixed, holder=False) == bits
    pairs = (Pair("a", "b", 3),)
    whole = np.prod([*halves_of(pairs, 500).values()], axis=0) / 2.0**FIXED.feature_bits
    assert np.abs(whole).max() <= 3.05
    assert np.sqrt(np.square(whole).mean(axis=0)) == pytest.approx(0.9, abs=0.1), (
        "of ranks of deviation 1, a tenth gone"
    )


def coalition_numbers(made: ProductConsortium) -> Moments:
    """Both sides' valuation of the last prediction, every coalition but the full one."""
    members, terms = made.members, made.terms
    period = ValuedPeriod(2, (Piece(2, 2, np.arange(5, ROWS)),), LABELS[5:])

    def options(me: str, kind: type[OwnedProducts] = OwnedProducts) -> dict[str, Any]:
        return {"session": "value-1", "products": made.products(kind, me)}

    def feature(me: str) -> Flow[None]:
        masks = yield from agree_masks(me, members.others, RUN, PRIME_RING, made.stream(f"value/masks/{me}"))
        scored, stream = made.sides[me].scored, made.stream(f"value/{me}")
        side = FeatureValuation(members, made.features[me], scored, terms, FIXED, stream, **options(me))
        yield from side.serve(me, masks)

    anchor = AnchorValuation(
        members, made.features[made.anchor], made.sides[made.anchor].scored, terms, FIXED, made.stream("value/anchor"),
        **options(made.anchor, AnchorProducts),
    )  # fmt: skip
    scored, stream = made.sides["label"].scored, made.stream("value/label")
    label = LabelValuation(members, made.own, scored, terms, FIXED, stream, session="value-1")
    flows: dict[str, Flow[Any]] = {
        "label": label.value([period], [made.scores[2][5:]], label_keys()),
        made.anchor: anchor.serve(most=100),
    }
    found = run_local(flows | {name: feature(name) for name in members.others}, relay=made.relay)["label"]
    assert isinstance(found, Moments)
    return found


@pytest.mark.parametrize("case", ["the anchor multiplies", "everybody with everybody"])
def test_a_coalition_has_the_products_whose_owners_are_both_in_it(case: str) -> None:
    made = consortium(*CASES[case])
    made.run(STEPS, LABELS)
    found, members = coalition_numbers(made), made.members
    weight = np.ldexp(made.opened_weights().astype(float), -WEIGHT_BITS)
    pooled = [*made.features.values(), made.own, products_of(made.pairs, made.halves)]
    x = np.concatenate(pooled, axis=1)[5:] / 2.0**FIXED.feature_bits
    owners = [{name} for name, count in members.features.items() for _ in range(count)]
    owners += [set[str]() for _ in range(members.own)]
    owners += [set(pair.owners) for pair in members.products for _ in range(pair.count)]
    assert len(found.covariance) == 2 ** len(members.features)
    for coalition, covariance in found.covariance.items():
        inside = np.array([owner <= coalition for owner in owners])
        score = FloatTwin(x, weight * inside[:, None], made.terms).predict(Step(0, "predict", 0, np.arange(len(x))))
        score -= score.mean()
        assert covariance[0] == pytest.approx(float((score * LABELS[5:]).mean()), abs=2e-3)
        assert found.variance[coalition][0] == pytest.approx(float((score**2).mean()), abs=2e-3)


@pytest.mark.parametrize(
    "pairs",
    [
        (Pair("b", "a", 1),),
        (Pair("a", "z", 1),),
        (Pair("a", "a", 1),),
        (Pair("a", "b", 0),),
        (Pair("a", "b", 1), Pair("a", "b", 1)),
        (Pair("a", "b", MOST_PRODUCTS + 1),),
    ],
)
def test_pairs_that_are_none_are_refused(pairs: tuple[Pair, ...]) -> None:
    with pytest.raises(LocalProtocolError, match="product"):
        Members("label", "a", {"a": 1, "b": 1}, 0, products=pairs)
