"""The private product: exact over shapes, and the attacks its defences stop."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from psi.flow import Flow, LocalProtocolError, Message, RemoteProtocolError, Send, gather, run_local
from vfl.arithmetic.he import PARAMETER_SETS, Context, Evaluator, KeyHolder, raw_operations
from vfl.arithmetic.parameter_sets import COEFFICIENT_SET
from vfl.arithmetic.public_key import expand
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.ring import Ring, pack, unpack
from vfl.protocols.product import (
    Answer,
    Operand,
    Packing,
    Prepared,
    choose_packing,
    encrypt_right,
    multiply,
    open_answer,
)
from vfl.protocols.product_flows import evaluate_product, hold_product

RING_BITS = {"bfv-8192": 58, "bfv-4096": 44, COEFFICIENT_SET: 59}
SETS = sorted([*PARAMETER_SETS, COEFFICIENT_SET])
SIDES = {
    name: (key := KeyHolder(Context(name, RING_BITS[name])), Evaluator(key.context, key.public_key)) for name in SETS
}


def secret(seed: int) -> SecretStream:
    return SecretStream(hashlib.sha256(str(seed).encode()).digest())


def product(
    left: np.ndarray, right: np.ndarray, parameter_set: str = "bfv-8192", relay=None, *, both: bool = False
) -> np.ndarray:  # type: ignore[no-untyped-def]
    key, evaluator = SIDES[parameter_set]
    ring = SIDES[parameter_set][0].context.ring
    packing = choose_packing(*left.shape, right.shape[1], evaluator.context.degree, both=both)
    prepared = Prepared(evaluator, left, packing)
    shares = run_local(
        {
            "label": hold_product("feature", "x", right, len(left), key, packing),
            "feature": evaluate_product("label", "x", prepared, right.shape[1], secret(1)),
        },
        relay=relay,
    )
    return ring.add(shares["label"], shares["feature"])


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 300), inner=st.integers(1, 40), columns=st.integers(1, 12), name=st.sampled_from(SETS),
    both=st.booleans(),
)  # fmt: skip
def test_a_packing_counts_what_a_product_takes(rows: int, inner: int, columns: int, name: str, both: bool) -> None:
    """What costs are counted from: ciphertexts each way and plaintext blocks, of both products of a step."""
    key, evaluator = SIDES[name]
    packing = choose_packing(rows, inner, columns, evaluator.context.degree, both=both)
    left = np.ones((rows, inner), dtype=np.int64)
    prepared, inputs, outputs = Prepared(evaluator, left, packing), 0, 0
    for transposed in (False, True) if both else (False,):
        height = rows if transposed else inner
        blocks = encrypt_right(key, np.ones((height, columns), dtype=np.uint64), packing, transposed=transposed)
        answer, _ = multiply(
            prepared, Operand("x", height, columns, packing.sizes, blocks), secret(3), transposed=transposed
        )
        inputs, outputs = inputs + len(blocks), outputs + len(answer.first)
    needed = packing.step(rows, inner, columns, both=both)
    assert (needed.inputs, needed.outputs) == (inputs, outputs)
    assert needed.plains == prepared.row_blocks * prepared.inner_blocks
    seconds = needed.seconds(dict.fromkeys(raw_operations(key), 1.0))
    assert seconds == 2 * inputs + 3 * outputs + 2 * needed.multiplications + needed.plains


def transposed_product(left: np.ndarray, right: np.ndarray, parameter_set: str = "bfv-8192") -> np.ndarray:
    """left.T @ right, from the blocks that serve left @ Y as well."""
    key, evaluator = SIDES[parameter_set]
    ring = SIDES[parameter_set][0].context.ring
    rows, columns = right.shape
    packing = choose_packing(*left.shape, columns, evaluator.context.degree, both=True)
    blocks = encrypt_right(key, right, packing, transposed=True)
    answer, share = multiply(
        Prepared(evaluator, left, packing),
        Operand("x", rows, columns, packing.sizes, blocks),
        secret(2),
        transposed=True,
    )
    return ring.add(share, open_answer(key, answer, left.shape[1], columns, packing, transposed=True))


def oracle(left: np.ndarray, right: np.ndarray, modulus: int) -> np.ndarray:
    exact = left.astype(object) @ right.astype(object)
    return np.array([[int(v) % modulus for v in row] for row in exact], dtype=np.uint64)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 300),
    inner=st.integers(1, 70),
    columns=st.integers(1, 20),
    parameter_set=st.sampled_from(SETS),
    seed=st.integers(0, 2**32 - 1),
)
def test_exact_to_one_unit_in_the_last_place(
    rows: int, inner: int, columns: int, parameter_set: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    ring = SIDES[parameter_set][0].context.ring
    left = rng.integers(-8192, 8193, (rows, inner))
    left[:, rng.integers(inner)] = 0
    right = ring.uniform(secret(seed), (inner, columns))
    difference = ring.signed(ring.sub(product(left, right, parameter_set), oracle(left, right, ring.modulus)))
    assert int(np.abs(difference).max()) <= 1
    shared = ring.signed(ring.sub(product(left, right, parameter_set, both=True), oracle(left, right, ring.modulus)))
    assert int(np.abs(shared).max()) <= 1
    gradient = ring.uniform(secret(seed + 1), (rows, columns))
    back = transposed_product(left, gradient, parameter_set)
    assert int(np.abs(ring.signed(ring.sub(back, oracle(left.T, gradient, ring.modulus)))).max()) <= 1


@pytest.mark.parametrize(
    ("rows", "inner", "columns"),
    [(1, 1, 1), (1, 512, 64), (8192, 1, 1), (3, 8192, 2), (512, 1, 64), (1000, 37, 7)],
)
def test_edge_shapes(rows: int, inner: int, columns: int) -> None:
    rng = np.random.default_rng(0)
    ring = Ring(58)
    left = rng.integers(-8192, 8193, (rows, inner))
    right = ring.uniform(secret(3), (inner, columns))
    got = product(left, right)
    assert int(np.abs(ring.signed(ring.sub(got, ring.matmul(left, right)))).max()) <= 1


def test_an_all_zero_left_operand_is_an_encryption_of_zero() -> None:
    ring = Ring(58)
    got = product(np.zeros((9, 4), dtype=np.int64), ring.uniform(secret(4), (4, 2)))
    assert int(np.abs(ring.signed(got)).max()) <= 1


@given(rows=st.integers(1, 5000), inner=st.integers(1, 600), columns=st.integers(1, 64))
def test_a_packing_fits_the_ring_and_its_positions_are_distinct(rows: int, inner: int, columns: int) -> None:
    packing = choose_packing(rows, inner, columns, 4096)
    assert packing.m * packing.n * packing.k <= 4096
    for transposed, height in ((False, min(rows, packing.m)), (True, packing.n)):
        positions = packing.positions(height, min(columns, packing.k), transposed=transposed)
        assert len(np.unique(positions)) == len(positions)
        assert 0 <= int(positions.min()) <= int(positions.max()) < 4096


def test_shapes_without_rows_are_refused() -> None:
    with pytest.raises(LocalProtocolError, match="at least one row"):
        choose_packing(0, 3, 3, 4096)
    with pytest.raises(ValueError, match="do not fit"):
        Packing(100, 100, 100, 4096)


def transcript(left: np.ndarray, right: np.ndarray) -> Answer:
    answers: list[Answer] = []

    def relay(_: str, __: str, got: Message) -> Message:
        if isinstance(got, Answer):
            answers.append(got)
        return got

    product(left, right, relay=relay)
    return answers[0]


def test_two_answers_to_the_same_operand_share_nothing() -> None:
    """Same X, same Y: without a fresh zero-encryption the second polynomials would be multiples of the operand's."""
    rng = np.random.default_rng(0)
    left = rng.integers(-100, 100, (8, 4))
    right = Ring(58).uniform(secret(5), (4, 2))
    one, two = transcript(left, right), transcript(left, right)
    assert one.second[0] != two.second[0]
    assert one.first[0] != two.first[0]


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda m: dataclasses.replace(m, first=m.first[:-1]), "blocks"),
        (lambda m: dataclasses.replace(m, second=(b"", *m.second[1:])), "bytes"),
        (lambda m: dataclasses.replace(m, second=(b"\xff" * len(m.second[0]), *m.second[1:])), "range"),
        (lambda m: dataclasses.replace(m, second=(bytes(len(m.second[0])), *m.second[1:])), "hides nothing"),
        (lambda m: dataclasses.replace(m, rows=m.rows + 1), "rows"),
        (lambda m: dataclasses.replace(m, label="y"), "was due"),
    ],
)
def test_a_damaged_answer_is_refused_by_name(damage, says: str) -> None:  # type: ignore[no-untyped-def]
    def relay(_: str, __: str, got: Message) -> Message:
        return damage(got) if isinstance(got, Answer) else got

    with pytest.raises(RemoteProtocolError, match=f"^feature: .*{says}"):
        product(np.ones((9, 3), dtype=np.int64), Ring(58).uniform(secret(6), (3, 2)), relay=relay)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda m: dataclasses.replace(m, blocks=()), "blocks"),
        (lambda m: dataclasses.replace(m, blocks=(m.blocks[0][:-7],)), "bytes"),
        (lambda m: dataclasses.replace(m, blocks=(b"\xff" * len(m.blocks[0]),)), "range"),
        (lambda m: dataclasses.replace(m, blocks=(b"\xff" * (len(m.blocks[0]) - 64) + bytes(64),)), "range"),
        (lambda m: dataclasses.replace(m, packing=(1, 1)), "packed"),
        (lambda m: dataclasses.replace(m, packing=(9000, 9000, 9000)), "packed"),
        (lambda m: dataclasses.replace(m, packing=(-1, 3, 2)), "packed"),
        (lambda m: dataclasses.replace(m, inner=m.inner + 1), "rows"),
        (lambda m: dataclasses.replace(m, columns=m.columns + 1), "columns"),
    ],
)
def test_a_damaged_operand_is_refused_by_name(damage, says: str) -> None:  # type: ignore[no-untyped-def]
    def relay(_: str, __: str, got: Message) -> Message:
        return damage(got) if isinstance(got, Operand) else got

    with pytest.raises(RemoteProtocolError, match=f"^label: .*{says}"):
        product(np.ones((9, 3), dtype=np.int64), Ring(58).uniform(secret(6), (3, 2)), relay=relay)


def test_a_malformed_public_key_is_refused() -> None:
    context = SIDES["bfv-8192"][0].context
    good = SIDES["bfv-8192"][0].public_key
    for bad in (b"", good[:31], good[:-1], good + bytes(8), good[:32] + b"\xff" * (len(good) - 32)):
        with pytest.raises(ValueError, match=r"bytes|prime"):
            Evaluator(context, bad)


def test_nobody_chooses_the_public_keys_second_polynomial() -> None:
    context = SIDES["bfv-8192"][0].context
    one, two = (expand(bytes([i]) * 32, context.key_primes, context.degree) for i in (1, 2))
    assert (one < np.array(context.key_primes, dtype=np.uint64)[:, None]).all()
    assert not (one == two).any(axis=1).all()
    for row, prime in zip(one, context.key_primes, strict=True):
        bins = (row.astype(np.float64) * (64 / prime)).astype(int)
        assert stats.chisquare(np.bincount(bins, minlength=64)).pvalue > 1e-6
    assert KeyHolder(context).public_key[:32] != KeyHolder(context).public_key[:32]


def test_secrets_refuse_to_be_shown_or_pickled() -> None:
    key = SIDES["bfv-8192"][0]
    assert "..." in repr(key)
    assert "..." in repr(secret(1))
    for thing in (key, secret(1)):
        with pytest.raises(TypeError, match="not pickled"):
            thing.__reduce__()


@given(st.lists(st.integers(0, 2**54 - 1), max_size=50))
def test_packing_elements_round_trips(values: list[int]) -> None:
    elements = np.array(values, dtype=np.uint64)
    assert unpack(pack(elements, 7), 7, len(values), 1 << 54).tolist() == values


def test_unpack_refuses_elements_out_of_range() -> None:
    with pytest.raises(ValueError, match="range"):
        unpack(b"\xff" * 7, 7, 1, 1 << 54)
    with pytest.raises(ValueError, match="bytes"):
        unpack(b"\xff" * 6, 7, 1, 1 << 54)


def test_ciphertexts_travel_in_parts_and_products_with_one_peer_keep_apart() -> None:
    """Both ends take whatever parts come: here several a message, and several messages of two products at once."""
    key, evaluator = SIDES[COEFFICIENT_SET]
    ring, heard = key.context.ring, list[Message]()
    left = np.random.default_rng(8).integers(-9, 9, (4096, 12))
    rights = [ring.uniform(secret(number), (12, 5)) for number in (11, 12)]
    packing = choose_packing(4096, 12, 5, key.context.degree)
    prepared = Prepared(evaluator, left, packing)

    def relay(_: str, __: str, got: Message) -> Message:
        heard.append(got)
        return got

    shares = run_local(
        {
            "label": gather([hold_product("feature", f"{n}", r, 4096, key, packing) for n, r in enumerate(rights)]),
            "feature": gather([evaluate_product("label", f"{n}", prepared, 5, secret(n)) for n in range(2)]),
        },
        relay=relay,
    )
    for right, held, made in zip(rights, shares["label"], shares["feature"], strict=True):
        assert (ring.add(held, made) == ring.matmul(left, right)).mean() > 0.999, "but for a unit once in 2**22"
    needed = packing.operations(4096, 12, 5)
    answers = [got for got in heard if isinstance(got, Answer)]
    assert sum(len(got.first) for got in answers) == 2 * needed.outputs
    assert len(answers) > 2


def test_more_blocks_than_are_due_are_refused_by_name() -> None:
    key, evaluator = SIDES["bfv-8192"]
    right = Ring(58).uniform(secret(6), (3, 2))
    packing = choose_packing(9, 3, 2, key.context.degree)
    blocks = encrypt_right(key, right, packing)

    def holder() -> Flow[None]:
        yield Send("feature", Operand("x", 3, 2, packing.sizes, blocks * 2))

    flows = {
        "label": holder(),
        "feature": evaluate_product(
            "label", "x", Prepared(evaluator, np.ones((9, 3), dtype=np.int64), packing), 2, secret(1)
        ),
    }
    with pytest.raises(RemoteProtocolError, match=r"^label: the operand has 2 blocks, not 1$"):
        run_local(flows)
