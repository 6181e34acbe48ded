"""Key holders of a sealed run against evaluators that make their answers up: whose key shows where, and what it opens.

BFV protects an operand from whoever reads ciphertexts, not a key from whoever chooses them. An answer that is not made
from the operand at all, c0 = 0 and c1 of the evaluator's choice, decrypts to the secret key times that choice. So a key
stays secret where what its holder decrypts never comes before the evaluator: docs/protocols/sealed.md says where.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from psi.flow import Flow, Send, receive, run_local
from tests.vfl.blocks import coefficients_of
from tests.vfl.models.sealed import test_coalition_values as valuing
from tests.vfl.models.sealed.rig import Consortium, anchor_key, columns, label_keys
from vfl.arithmetic.he import Context
from vfl.arithmetic.prime_ring import PRIME, PRIME_RING
from vfl.models.sealed import anchor as anchor_module
from vfl.models.sealed import label as label_module
from vfl.models.sealed.anchor import SealedAnchor
from vfl.models.sealed.ends import TakenProducts, coefficient_key, packing_of
from vfl.models.sealed.feature import SealedFeature
from vfl.models.sealed.messages import MaskedEmbedding, SealedStep, UpdateShare, as_told
from vfl.models.sealed.step import Block, gradient
from vfl.protocols.product import Answer, Operand, Packing
from vfl.protocols.product_flows import hold_product
from vfl.terms import SealedModel
from vfl.walk.schedule import Step

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
DIGITS = 36
"""Ternary coefficients that one element of Z_p tells."""


def made_up(
    context: Context, packing: Packing, rows: int, width: int, chosen: dict[int, int], *, transposed: bool = False
) -> tuple[tuple[bytes], tuple[bytes]]:
    """An answer of one ciphertext that decrypts to the key times a polynomial, given as coefficients by exponent."""
    unit, primes = math.prod(context.answer_primes) // PRIME, context.answer_primes
    c1 = np.zeros((len(primes), context.degree), dtype=np.uint64)
    for exponent, value in chosen.items():
        turns, place = divmod(exponent, context.degree)
        c1[:, place] = [(-1) ** (turns % 2) * unit * value % prime for prime in primes]
    count = len(packing.positions(rows, width, transposed=transposed))
    nothing = np.zeros((len(primes), count), dtype=np.uint64)
    return (context.pack_polynomial(nothing),), (context.pack_polynomial(c1),)


def ternary(values: I64) -> I64:
    """Balanced ternary digits of whole numbers, (n, DIGITS), the lowest first."""
    digits, left = np.empty((len(values), DIGITS), dtype=np.int64), values.copy()
    for place in range(DIGITS):
        digits[:, place] = (left + 1) % 3 - 1
        left = (left - digits[:, place]) // 3
    assert not left.any()
    return digits


def opened(context: Context, block: bytes, secret: I64) -> U64:
    """The polynomial in one of a key holder's ciphertexts, by its secret key, in plain arithmetic."""
    residues, modulus = coefficients_of(context, block), math.prod(context.primes)
    weights = [modulus // q * pow(modulus // q, -1, q) for q in context.primes]
    whole = [[sum(int(v) * w for v, w in zip(c, weights, strict=True)) % modulus for c in r.T] for r in residues]
    size, degree = 20, context.degree

    def packed(values: list[int]) -> int:
        return int.from_bytes(b"".join(v.to_bytes(size, "little") for v in values), "little")

    def times(part: NDArray[np.bool_]) -> list[int]:
        product = packed(whole[1]) * packed(part.astype(int).tolist())
        raw = product.to_bytes(2 * degree * size, "little")
        values = [int.from_bytes(raw[i : i + size], "little") for i in range(0, len(raw), size)]
        return [values[i] - values[i + degree] for i in range(degree)]

    plus, minus = times(secret == 1), times(secret == -1)
    noisy = [(c + a - b) % modulus for c, a, b in zip(whole[0], plus, minus, strict=True)]
    return np.array([(PRIME * v + modulus // 2) // modulus % PRIME for v in noisy], dtype=np.uint64)


class Slopes:
    """The halves of each step's gradient, (B, h + 1), by who computes them."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.label: list[U64] = []
        self.anchor: list[U64] = []

        def watched(kept: list[U64]) -> Callable[..., U64]:
            def made(*shares: U64) -> U64:
                kept.append(gradient(*shares))
                return kept[-1]

            return made

        patch.setattr(label_module, "gradient", watched(self.label))
        patch.setattr(anchor_module, "gradient", watched(self.anchor))


@pytest.fixture
def slopes(monkeypatch: pytest.MonkeyPatch) -> Slopes:
    return Slopes(monkeypatch)


def test_a_key_holder_whose_share_comes_before_the_evaluator_gives_its_key_and_operand_away() -> None:
    """Why the label party never evaluates under the anchor's key: what the anchor decrypts enters scores that open."""
    key = coefficient_key()
    context, rows, packing = key.context, 256, packing_of(256, 1, 1, train=False)
    secret_operand = PRIME_RING.wrap(np.array([[123456789012345]]))
    heard: list[Operand] = []

    def evaluator() -> Flow[None]:
        operand = yield from receive("holder", Operand)
        heard.append(operand)
        chosen = {-place * rows: 3**place for place in range(context.degree // rows)}
        first, second = made_up(context, packing, rows, 1, chosen)
        yield Send("holder", Answer("x", rows, first, second))

    flows = {"holder": hold_product("evaluator", "x", secret_operand, rows, key, packing), "evaluator": evaluator()}
    share = run_local(flows)["holder"][:, 0]
    read = ternary(PRIME_RING.signed(share)).T.reshape(-1)[: context.degree]
    assert len(read) == context.degree, "one answer reads the whole key"
    found = opened(context, heard[0].blocks[0], read)
    assert found[0] == secret_operand[0, 0]
    assert not found[1:].any()


def test_nothing_under_another_key_than_its_own_comes_before_the_label_party() -> None:
    """In training, prediction and valuation, with own columns of its own and without."""
    for parties, own, anchor in (("abc", 2, "b"), ("a", 1, "a")):
        made = valuing.trained(parties, own, anchor)
        made.heard.clear()
        made.run(valuing.STEPS, valuing.LABELS)
        valuing.value(made)
        arrived = {h.kind for h in made.heard if h.receiver == "label"}
        assert not arrived & {"product.operand", "slots.operand", "slots.key"}
        assert "product.answer" in arrived
        answers = {h.message.label.split("/")[0] for h in made.heard if h.kind == "product.answer"}
        assert {"own", "own-backward"} <= answers, "its own columns took part"


def test_a_label_party_and_another_feature_party_that_both_cheat_read_the_gradient(
    slopes: Slopes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/protocols/sealed.md says: the one answers with the anchor's key, and the other is passed it on."""
    rows, many, terms = 64, 8, SealedModel(width=3, batch_rows=64)
    made = Consortium({"a": columns(rows, 2, "a"), "b": columns(rows, many, "b")}, columns(rows, 0, "own"), terms)
    width, context = terms.embedding_width, anchor_key().context
    packing = packing_of(rows, many, width, train=True)
    count = many * width
    given = TakenProducts.product

    def product(side: TakenProducts, name: str, left: Any, width: int, *, transposed: bool = False) -> Flow[U64]:
        if side.peer != "a" or not transposed:
            return (yield from given(side, name, left, width, transposed=transposed))
        yield from receive(side.peer, Operand)
        # position p of the n * k that hold the product reads coefficients p + s of the key, s a multiple of n * k
        start = int(name.rpartition("/")[2]) * DIGITS * count
        chosen = {-(start + place * count): 3**place for place in range(DIGITS)}
        yield Send(side.peer, Answer(name, many, *made_up(context, packing, many, width, chosen, transposed=True)))
        return np.zeros((many, width), dtype=np.uint64)

    monkeypatch.setattr(TakenProducts, "product", product)
    assert (packing.n, packing.k) == (many, width), "one ciphertext holds the product"
    steps = [Step(n, "train", 0, np.arange(rows), rows) for n in range(-(-context.degree // (DIGITS * count)))]
    made.run(steps, np.random.default_rng(2).normal(size=rows))
    passed = [h.message for h in made.heard if isinstance(h.message, UpdateShare)]
    secret = np.empty(len(passed) * DIGITS * count, dtype=np.int64)
    places = packing.positions(many, width, transposed=True)
    for number, message in enumerate(passed):
        digits = ternary(PRIME_RING.signed(PRIME_RING.unpack(message.values, count)))
        for place in range(DIGITS):
            secret[(number * DIGITS + place) * count + places] = digits[:, place]
    operand = next(h.message for h in made.heard if isinstance(h.message, Operand) and h.sender == "a")
    found = opened(context, operand.blocks[0], secret[: context.degree])
    # the anchor's half of the first step's gradient: with the label party's own, all of it
    expected = packing.right(slopes.anchor[0][: packing.m], PRIME_RING, transposed=True)
    assert np.array_equal(found, expected)


def test_an_anchor_that_cheats_and_gets_the_factor_reads_the_label_partys_half_of_the_gradient(
    slopes: Slopes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/protocols/sealed.md says: its answers in a prediction put the label party's key into the scores."""
    terms = SealedModel(width=1, batch_rows=64, start=1e-9, linear_rate=2.0**-9)
    context, size = label_keys().coefficient.context, 4096
    made = Consortium({"a": columns(64 + 2 * size, 1, "a")}, columns(64 + 2 * size, 0, "own"), terms)
    packing = packing_of(size, 1, terms.embedding_width, train=False)
    assert packing.sizes == (size, 1, 2)
    given, predict = TakenProducts.product, SealedAnchor._predict

    def product(side: TakenProducts, name: str, left: Any, width: int, *, transposed: bool = False) -> Flow[U64]:
        if name not in ("forward/1", "forward/2"):
            return (yield from given(side, name, left, width, transposed=transposed))
        yield from receive(side.peer, Operand)
        chosen = {int(name[-1]) - 1: 1 << 41}
        yield Send(side.peer, Answer(name, size, *made_up(context, packing, size, width, chosen)))
        return np.zeros((size, width), dtype=np.uint64)

    def alone(side: SealedAnchor, *rest: Any) -> Flow[None]:
        """Its own columns left out."""
        side.blocks = {name: Block.starting(np.zeros_like(block.weight)) for name, block in side.blocks.items()}
        return predict(side, *rest)

    monkeypatch.setattr(TakenProducts, "product", product)
    monkeypatch.setattr(SealedAnchor, "_predict", alone)
    steps = [Step(0, "train", 0, np.arange(64), 64)]
    steps += [Step(n, "predict", n, np.arange(64 + (n - 1) * size, 64 + n * size)) for n in (1, 2)]
    made.run(steps, np.random.default_rng(2).normal(size=made.rows))
    secret = np.empty(context.degree, dtype=np.int64)
    places = packing.positions(size, 2, transposed=False).reshape(size, 2)[:, 0]
    for shift in (0, 1):
        factor = made.scores[shift + 1]  # half of a deviation where the key is 1, and the square of one beside it
        secret[places - shift] = np.rint((factor - 0.125) * 2).astype(np.int64)
    secret[-1] *= -1  # x**8192 is -1
    operands = [h.message for h in made.heard if isinstance(h.message, Operand) and h.message.label == "backward/0"]
    found = opened(context, operands[0].blocks[0], secret)
    trained = packing_of(64, 1, terms.embedding_width, train=True)
    expected = trained.right(slopes.label[0][: trained.m], PRIME_RING, transposed=True)
    assert np.array_equal(found, expected), "with its own half that is every residual, hence every label"


def test_a_feature_party_that_cheats_and_gets_the_factor_reads_labels_by_the_steps_of_its_own_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As docs/protocols/sealed.md says: beside the anchor, with the key that its answers put into the scores."""
    terms = SealedModel(width=1, batch_rows=64, start=1e-9, linear_rate=2.0**-9)
    context, size, batch, wanted = label_keys().coefficient.context, 4096, 64, [5, 40]
    indicators = np.zeros((batch + 2 * size, len(wanted)), dtype=np.int64)
    indicators[wanted, [0, 1]] = 1 << 15  # eight deviations, as far as a column may go
    features = {"a": columns(len(indicators), 1, "a"), "b": indicators}
    made = Consortium(features, columns(len(indicators), 0, "own"), terms)
    predicted = packing_of(size, len(wanted), terms.embedding_width, train=False)
    assert predicted.sizes == (size, 1, 2)
    given, shares = SealedFeature._take_part, list[U64]()

    def take_part(side: SealedFeature, step: SealedStep, rows: I64, *ends: Any) -> Flow[None]:
        if step.train:
            shares.append(side.block.weight)  # its own part of its weights, before the step
            return (yield from given(side, step, rows, *ends))
        yield from receive("label", Operand)
        answer = made_up(context, predicted, size, terms.embedding_width, {step.step - 2: 1 << 41})
        yield Send("label", Answer(f"forward/{step.step}", size, *answer))
        nothing = PRIME_RING.pack(np.zeros((size, terms.embedding_width), dtype=np.uint64))
        yield Send("a", MaskedEmbedding(step.step, as_told(step), nothing))  # alone beside the anchor: no masks

    monkeypatch.setattr(SealedFeature, "_take_part", take_part)
    labels = np.random.default_rng(2).normal(size=made.rows)
    steps = [Step(n, "train", 0, np.arange(batch), batch) for n in (0, 1)]
    steps += [Step(n, "predict", n - 1, np.arange(batch + (n - 2) * size, batch + (n - 1) * size)) for n in (2, 3)]
    made.run(steps, labels)
    secret = np.empty(context.degree, dtype=np.int64)
    places = predicted.positions(size, 2, transposed=False).reshape(size, 2)[:, 0]
    for shift in (0, 1):
        secret[places - shift] = np.rint((made.scores[shift + 2] - 0.125) * 2).astype(np.int64)
    secret[-1] *= -1  # x**8192 is -1
    trained, opened_weights = packing_of(batch, len(wanted), terms.embedding_width, train=True), []
    for number, own in enumerate(shares):
        operand = next(
            h.message for h in made.heard
            if isinstance(h.message, Operand) and (h.receiver, h.message.label) == ("b", f"forward/{number}")
        )  # fmt: skip
        other = opened(context, operand.blocks[0], secret)[: own.size].reshape(own.shape[::-1]).T
        assert np.array_equal(trained.right(other, PRIME_RING, transposed=False)[: own.size], other.T.reshape(-1))
        opened_weights.append(PRIME_RING.signed(PRIME_RING.add(own, other)))
    moved = (opened_weights[1] - opened_weights[0])[:, 0]
    assert np.abs(moved).min() > 100, "nothing of a row is small beside the rounding"
    residual = labels[wanted] - labels[:batch].mean()
    assert moved[0] / moved[1] == pytest.approx(residual[0] / residual[1], rel=0.02)
