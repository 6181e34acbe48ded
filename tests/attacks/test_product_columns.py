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
from vfl.arithmetic.he import Evaluator
from vfl.arithmetic.mask import MaskSource
from vfl.arithmetic.prime_ring import PRIME, PRIME_RING
from vfl.models.sealed import products as products_module
from vfl.models.sealed.messages import Scores
from vfl.models.sealed.pairs import products_of
from vfl.models.sealed.products import OwnedProducts, ProductShare, ProductWeights
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
def test_the_label_party_and_an_owner_that_pool_all_they_have_do_not_see_the_others_half(
    masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have the weights whole, c's shares of the columns, and what b answered: with b's masks that is nothing."""
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
