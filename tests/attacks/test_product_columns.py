"""Attacks on product columns: what each side receives of a product, what pools, and what a cheating side reaches."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from psi.flow import Flow, run_local
from tests.attacks.test_sealed import Received, run_to_its_end, swapped, uniformity
from tests.vfl.models.sealed.product_rig import ProductConsortium, halves_of, product_key
from tests.vfl.models.sealed.rig import columns, secret
from tests.vfl.models.sealed.test_products import CASES, STEPS, coalition_numbers
from tests.vfl.models.sealed.test_products import LABELS as PAIRS_LABELS
from tests.vfl.models.sealed.test_products import consortium as pairs_of_all
from vfl.arithmetic.he import Evaluator
from vfl.arithmetic.mask import MaskSource
from vfl.arithmetic.prime_ring import PRIME, PRIME_RING
from vfl.models.sealed import products as products_module
from vfl.models.sealed.coalitions import CoalitionEmbedding
from vfl.models.sealed.messages import Scores, elements
from vfl.models.sealed.pairs import products_of
from vfl.models.sealed.products import LabelProducts, OwnedProducts, ProductShare, ProductWeights
from vfl.models.sealed.scales import SCORE_BITS, WEIGHT_BITS
from vfl.product_terms import Pair
from vfl.protocols import slots as slots_module
from vfl.protocols.slots import CHECK_SLOTS, SlotEvaluator, evaluate_slots, hold_slots
from vfl.terms import SealedModel
from vfl.walk.schedule import Step

ROWS = 200
LABELS = np.random.default_rng(0).normal(size=ROWS)
TRAIN = [Step(0, "train", 0, np.arange(128), ROWS), Step(1, "train", 0, np.arange(64, 192), ROWS)]
PAIR = Pair("b", "c", 2)
U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]


def consortium(pair: Pair = PAIR, anchor: str = "a", **options: Any) -> ProductConsortium:
    features = {name: columns(ROWS, 2, name) for name in sorted({"a", *pair.owners})}
    terms = SealedModel(width=1, start=1e-9, score_limit=16, batch_rows=128)
    return ProductConsortium(features, columns(ROWS, 0, "own"), terms, anchor=anchor, pairs=(pair,), **options)


class Owners:
    """Each owner's shares of the columns, and what the label party's key opened of the embedding, by owner."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.shares: dict[str, list[U64]] = {}
        self.opened: dict[str, list[U64]] = {}
        make, finish = OwnedProducts._of_pair, products_module.finish_product

        def made(side: OwnedProducts, *rest: Any) -> Flow[Any]:
            found = yield from make(side, *rest)
            self.shares.setdefault(side.me, []).append(found.share)
            return found

        def finished(peer: str, *rest: Any, **more: Any) -> Flow[U64]:
            share = yield from finish(peer, *rest, **more)
            self.opened.setdefault(peer, []).append(share)
            return share

        patch.setattr(OwnedProducts, "_of_pair", made)
        patch.setattr(products_module, "finish_product", finished)


def no_masks(patch: pytest.MonkeyPatch) -> None:
    def none(source: MaskSource, stream: Any, count: int) -> tuple[U64, U64]:
        return np.zeros((2, count), dtype=np.uint64), np.zeros(count, dtype=np.uint64)

    patch.setattr(MaskSource, "draw", none)


@pytest.mark.parametrize(("pair", "anchor"), [(PAIR, "a"), (Pair("a", "b", 2), "a"), (Pair("a", "b", 2), "b")])
def test_whatever_a_side_gets_of_a_product_is_uniform(pair: Pair, anchor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both owners' shares of the columns; all that any key opens; what passes from owner to owner once weights move."""
    seen, owners = Received(monkeypatch), Owners(monkeypatch)
    passed: list[U64] = []
    made = consortium(pair, anchor)
    made.run(TRAIN, LABELS)
    for heard in made.heard:
        message = heard.message
        if isinstance(message, ProductShare) or (isinstance(message, ProductWeights) and message.name != "0"):
            passed.append(PRIME_RING.unpack(message.values, 2 * made.terms.embedding_width).reshape(-1))
    seen.take(made)
    views = {owner: np.concatenate([one.reshape(-1) for one in shares]) for owner, shares in owners.shares.items()}
    views |= {holder: np.concatenate([one.reshape(-1) for one in shares]) for holder, shares in seen.shares.items()}
    assert set(views) == {*pair.owners, "label", "anchor"}
    for who, values in views.items():
        assert len(values) > 500
        assert uniformity(values) > 1e-4, who
    few = np.concatenate(passed)
    assert len(few) == 12
    assert len(np.unique(few)) == len(few)
    assert few.max() > PRIME // 2 > few.min()


@pytest.mark.parametrize("masked", [False, True])
def test_without_the_others_masks_pooled_forward_shares_would_be_the_product_itself(
    masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Label party and c: the weights whole, c's shares of the columns, and what b answered forward in one step."""
    if not masked:
        no_masks(monkeypatch)
    owners, made = Owners(monkeypatch), consortium()
    weight = PRIME_RING.wrap(np.array([[1 << WEIGHT_BITS, 0], [0, 0]]))
    given = made.label_side

    def side(**options: Any) -> Any:
        found = given(**options)
        found.blocks["b*c"].weight[:] = weight
        return found

    made.label_side = side  # type: ignore[method-assign]
    made.run(TRAIN[:1], LABELS)
    times = pow(1 << WEIGHT_BITS, -1, PRIME)
    from_b = PRIME_RING.mul(owners.opened["b"][0][:, 0], np.full(128, times, dtype=np.uint64))
    guess = PRIME_RING.signed(PRIME_RING.add(from_b, owners.shares["c"][0][:, 0]))
    truth = products_of(made.pairs, made.halves)[:128, 0]
    assert np.mean(guess == truth) == (0.0 if masked else 1.0)


def pooled(patch: pytest.MonkeyPatch) -> list[dict[str, U64]]:
    """The label party's shares of each step's gradient sum, then the holder's."""
    label, owner = LabelProducts.summed, OwnedProducts.backward
    found: list[dict[str, U64]] = [{}, {}]

    def summed(side: LabelProducts, *rest: Any, **more: Any) -> dict[str, U64]:
        found[0] = label(side, *rest, **more)
        return found[0]

    def backward(side: OwnedProducts, name: str) -> Flow[dict[str, U64]]:
        got = yield from owner(side, name)
        found[1] = got or found[1]
        return got

    patch.setattr(LabelProducts, "summed", summed)
    patch.setattr(OwnedProducts, "backward", backward)
    return found


def gradient_sum(found: list[dict[str, U64]]) -> I64:
    return PRIME_RING.signed(PRIME_RING.add(found[0][PAIR.name], found[1][PAIR.name]))


def test_the_label_party_and_the_holder_have_a_nearly_known_sum_of_the_others_half_in_every_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both honest. Before weights have grown a residual is the label's: the factors are labels and own half."""
    found, made = pooled(monkeypatch), consortium()
    made.run(TRAIN[:1], LABELS)
    residual = np.clip(LABELS[:128], -8, 8).mean() - np.clip(LABELS[:128], -8, 8)
    known = made.halves["b*c", "b"][:128] * np.rint(residual * 2**12)[:, None]
    sums = (known * made.halves["b*c", "c"][:128]).sum(axis=0)
    assert gradient_sum(found)[:, 0] == pytest.approx(sums, rel=1e-3)


def test_a_label_party_that_cheats_reads_rows_of_a_half_together_with_the_other_owner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It moves its half of the gradient, for the products' owners alone: two rows of each product in one number."""
    rows, moved = [5, 9], np.zeros((128, 2), dtype=np.uint64)
    moved[rows, 0] = 1 << 30, 1 << 44
    backward = LabelProducts.backward
    monkeypatch.setattr(
        LabelProducts, "backward", lambda side, name, slope: backward(side, name, PRIME_RING.add(slope, moved))
    )
    found, made = pooled(monkeypatch), consortium()
    made.run(TRAIN[:1], LABELS)
    for place, value in enumerate(gradient_sum(found)[:, 0]):
        high = (int(value) + (1 << 43)) >> 44
        low = (int(value) - (high << 44) + (1 << 29)) >> 30
        mine = made.halves["b*c", "b"][rows, place]
        assert np.array_equal(np.array([low, high]) // mine, made.halves["b*c", "c"][rows, place])
    assert not any(isinstance(heard.message, Scores) for heard in made.heard), "no opening is spent"


@pytest.mark.parametrize(("who", "other", "constant"), [("b", "c", 64), ("c", "b", 64 * 64)])
def test_an_owner_that_cheats_and_receives_the_factor_reads_the_others_half(
    who: str, other: str, constant: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It makes its half a constant where rows are predicted; the holder moves its share of the weight too."""
    make = OwnedProducts.make

    def made_up(side: OwnedProducts, name: str, rows: I64, weights: Any, *, train: bool) -> Flow[None]:
        if side.me == who and not train:
            side._halves = {"b*c": np.full_like(side._halves["b*c"], constant)}
            if who == "b":
                more = np.zeros_like(weights["b*c"])
                more[:, 0] = 3 << (WEIGHT_BITS - 1)
                weights = {"b*c": PRIME_RING.add(weights["b*c"], more)}
        yield from make(side, name, rows, weights, train=train)

    monkeypatch.setattr(OwnedProducts, "make", made_up)
    made = consortium(Pair("b", "c", 1))
    made.terms = SealedModel(width=2, start=0.01, score_limit=4, batch_rows=128, linear_rate=2**-7, square_rate=2**-7)
    made.run([*TRAIN, Step(2, "predict", 0, np.arange(ROWS), ROWS)], LABELS)
    assert abs(np.corrcoef(made.scores[2], made.halves["b*c", other][:, 0])[0, 1]) > 0.99


def test_where_coalitions_are_valued_label_party_and_anchor_see_products_of_rows_and_as_owner_the_others_half(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both honest; of the anchor's own products it is why an agreement with both is refused. b is the anchor."""
    made = pairs_of_all(*CASES["everybody with everybody"])
    made.run(STEPS, PAIRS_LABELS)
    shares, owned = dict[str, U64](), dict[str, U64]()
    summed, forward = LabelProducts.summed, OwnedProducts.forward

    def label(side: LabelProducts, *rest: Any, **more: Any) -> dict[str, U64]:
        shares.update(summed(side, *rest, **more))
        return shares

    def anchor(side: OwnedProducts, name: str) -> Flow[dict[str, U64]]:
        found = yield from forward(side, name)
        owned.update(found if side.me == "b" else {})
        return found

    monkeypatch.setattr(LabelProducts, "summed", label)
    monkeypatch.setattr(OwnedProducts, "forward", anchor)
    coalition_numbers(made)
    embedding = {
        (one.sender, one.message.members): elements(one.message.values, (len(PAIRS_LABELS) - 5, 3), one.sender)
        for one in made.heard
        if isinstance(one.message, CoalitionEmbedding)
    }

    def less(left: U64, *rest: U64) -> U64:
        for one in rest:
            left = PRIME_RING.sub(left, one)
        return left

    weights, products = made.opened_weights()[-4:], products_of(made.pairs, made.halves)[5:]
    both = PRIME_RING.add(embedding["a", ("a", "c")], embedding["c", ("a", "c")])
    beside = PRIME_RING.add(shares["a*c"], less(both, embedding["a", ("a",)], embedding["c", ("c",)]))
    assert np.array_equal(PRIME_RING.signed(beside), products[:, 1:3] @ weights[1:3])
    own = PRIME_RING.add(shares["a*b"], less(embedding["a", ("a", "b")], embedding["a", ("a",)]))
    whole = PRIME_RING.signed(PRIME_RING.add(own, owned["a*b"]))
    half, mine = made.halves["a*b", "a"][5:, 0], made.halves["a*b", "b"][5:, 0]
    known = mine != 0
    assert np.array_equal(whole[known, 0] // (weights[0, 0] * mine[known]), half[known])


def test_without_a_mask_of_its_own_the_holder_would_read_the_others_half(monkeypatch: pytest.MonkeyPatch) -> None:
    for masked in (True, False):
        with monkeypatch.context() as patch:
            if not masked:
                no_masks(patch)
            owners, made = Owners(patch), consortium()
            made.run(TRAIN[:1], LABELS)
        truth = products_of(made.pairs, made.halves)[:128]
        assert np.mean(PRIME_RING.signed(owners.shares["b"][0]) == truth) == (0.0 if masked else 1.0)


def test_a_label_party_that_cheats_reads_seventeen_bits_of_a_product_and_no_more() -> None:
    """It puts the product's weight to 1 and all others to 0: a score is then the product of its row."""
    made = swapped(consortium(Pair("a", "b", 1)), np.zeros(2, dtype=np.int64))
    given = made.label_side

    def side(**options: Any) -> Any:
        found = given(**options)
        found.blocks["a*b"].weight[:, 0] = PRIME_RING.wrap(np.array([1 << WEIGHT_BITS]))
        return found

    made.label_side = side  # type: ignore[method-assign]
    run_to_its_end(made)
    truth = products_of(made.pairs, made.halves)[:, 0]
    assert np.abs(made.scores[0] * 2**12 - truth).max() <= 2
    sent = [len(heard.message.values) for heard in made.heard if isinstance(heard.message, Scores)]
    assert sent == [-(-ROWS * SCORE_BITS // 8)]


def test_an_owner_that_makes_its_answer_up_puts_the_holders_key_into_the_holders_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As docs/protocols/sealed.md says. The check slots do not stop it: its choice is zero there, whatever the key."""
    key = product_key("b")
    context, side = key.context, SlotEvaluator(Evaluator(key.context, key.public_key), secret("x"))
    chosen = np.ones((1, context.degree), dtype=np.uint64)
    chosen[:, -CHECK_SLOTS:] = 0
    unit, primes = math.prod(context.answer_primes) // PRIME, context.answer_primes
    wanted = [int(value) for value in context.slots.polynomials(chosen)[0]]
    times_key = np.array([[unit * value % prime for value in wanted] for prime in primes], dtype=np.uint64)
    nothing = context.pack_polynomial(np.zeros_like(times_key))

    def made_up(*_: Any) -> Any:
        return (nothing,), (context.pack_polynomial(times_key),), np.zeros((1, context.degree), dtype=np.uint64)

    monkeypatch.setattr(slots_module, "multiply_slots", made_up)
    shares = []
    for half in halves_of((Pair("b", "c", 1),), 100).values():
        flows = {
            "b": hold_slots("c", "x", PRIME_RING.wrap(half[:, 0]), key),
            "c": evaluate_slots("b", "x", PRIME_RING.wrap(half[:, 0]), side),
        }
        shares.append(run_local(flows)["b"])
    assert np.array_equal(*shares), "of the key, whatever was encrypted"
    assert len(np.unique(shares[0])) == 100
