"""The private product element by element: exact over shapes and edges, both ways, faults caught, damage named."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from psi.flow import Flow, LocalProtocolError, Message, RemoteProtocolError, gather, run_local
from tests.vfl.protocols.prime_rig import (
    U64,
    evaluator_side,
    secret,
    shares_of_product,
    slot_key,
    uniform,
)
from vfl.arithmetic.he import Context, Evaluator, KeyHolder
from vfl.arithmetic.mask import MaskSource
from vfl.arithmetic.parameter_sets import COEFFICIENT_SET, SLOT_SET
from vfl.arithmetic.prime_ring import PRIME, PRIME_RING
from vfl.arithmetic.randomness import SecretStream
from vfl.protocols.prime_keys import announce_key, receive_key
from vfl.protocols.slot_messages import SlotAnswer, SlotCheck, SlotOperand, SlotVerdict
from vfl.protocols.slots import (
    CHECK_SLOTS,
    FILLED_SLOTS,
    MOST_FAULTS,
    SLOTS,
    SlotEvaluator,
    answer_slots,
    ciphertexts_of,
    evaluate_slots,
    finish_slots,
    hold_slots,
    offer_slots,
    receive_slots,
)

RING = PRIME_RING
EDGES = (0, 1, 2, (PRIME - 1) // 2, (PRIME + 1) // 2, PRIME - 2, PRIME - 1)


def product(held: U64, own: U64) -> U64:
    return RING.add(*shares_of_product(held, own))


def plain(held: U64, own: U64) -> U64:
    exact: U64 = (held.astype(object) * own.astype(object) % PRIME).astype(np.uint64)
    return exact


@settings(max_examples=25)
@given(
    count=st.one_of(st.integers(1, 60), st.sampled_from([1, SLOTS - 1, SLOTS, SLOTS + 1, 8192, 8193, 2 * SLOTS + 1])),
    held=st.sampled_from([*EDGES, "uniform", "bits", "edges"]),
    own=st.sampled_from([*EDGES, "uniform", "bits", "edges"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_shares_add_up_to_the_product(count: int, held: Any, own: Any, seed: int) -> None:
    def vector(kind: Any, name: str) -> U64:
        if kind == "uniform":
            return uniform(f"{name}/{seed}", count)
        if kind == "bits":
            return uniform(f"{name}/{seed}", count) & np.uint64(1)
        if kind == "edges":
            return np.resize(np.array(EDGES, dtype=np.uint64), count)
        return np.full(count, kind, dtype=np.uint64)

    a, b = vector(held, "a"), vector(own, "b")
    assert (product(a, b) == plain(a, b)).all()


@pytest.mark.parametrize("shape", [(1,), (1, 1), (3, 4), (1024, 8), (8192,), (8193,), (2731, 3)])
def test_shapes_are_kept(shape: tuple[int, ...]) -> None:
    a, b = uniform("a", *shape), uniform("b", *shape)
    got = product(a, b)
    assert got.shape == shape
    assert (got == plain(a, b)).all()


def test_the_number_of_ciphertexts() -> None:
    assert (SLOTS, FILLED_SLOTS, CHECK_SLOTS) == (8188, 1, 3)
    assert [ciphertexts_of(n) for n in (1, SLOTS, SLOTS + 1, 8192, 2 * SLOTS)] == [1, 1, 2, 2, 2]
    with pytest.raises(LocalProtocolError, match="at least one"):
        ciphertexts_of(0)


def test_both_ends_hold_keys_side_by_side() -> None:
    """Two products at once, one in each direction, as r_L z_A + r_A z_L takes."""
    a, b, c, d = (uniform(name, 20) for name in "abcd")

    def end(peer: str, label: str, other: str, mine: U64, theirs: U64) -> Flow[U64]:
        key = KeyHolder(Context(SLOT_SET, RING.bits))
        yield from announce_key(peer, key)
        evaluator = yield from receive_key(peer, SLOT_SET)
        side = SlotEvaluator(evaluator, secret(label))
        both = [hold_slots(peer, label, mine, key), evaluate_slots(peer, other, theirs, side)]
        first, second = yield from gather(both)
        return RING.add(first, second)

    ends = {"L": end("A", "from L", "from A", a, d), "A": end("L", "from A", "from L", c, b)}
    shares = run_local(ends)
    assert (RING.add(shares["L"], shares["A"]) == RING.add(plain(a, b), plain(c, d))).all()


def test_one_operand_serves_several_products_and_one_answer_adds_two() -> None:
    a, b, x, y = (uniform(name, 9000) for name in ("a", "b", "x", "y"))

    def holder() -> Flow[list[U64]]:
        yield from offer_slots("other", "a", a, slot_key())
        yield from offer_slots("other", "b", b, slot_key())
        once = yield from finish_slots("other", "ax", 9000, slot_key())
        both = yield from finish_slots("other", "ax+by", 9000, slot_key())
        return [once, both]

    def other() -> Flow[list[U64]]:
        side = evaluator_side()
        first = yield from receive_slots("holder", "a", 9000, side)
        second = yield from receive_slots("holder", "b", 9000, side)
        once = yield from answer_slots("holder", "ax", [(first, x)], side)
        both = yield from answer_slots("holder", "ax+by", [(first, x), (second, y)], side)
        return [once, both]

    shares = run_local({"holder": holder(), "other": other()})
    sums = [RING.add(mine, theirs) for mine, theirs in zip(shares["holder"], shares["other"], strict=True)]
    assert (sums[0] == plain(a, x)).all()
    assert (sums[1] == RING.add(plain(a, x), plain(b, y))).all()


def test_slot_mode_takes_its_own_parameter_set_alone() -> None:
    key = KeyHolder(Context(COEFFICIENT_SET, RING.bits))
    with pytest.raises(LocalProtocolError, match="slot mode needs"):
        SlotEvaluator(Evaluator(key.context, key.public_key), secret("x"))
    flows: dict[str, Flow[Any]] = {"a": announce_key("b", key), "b": receive_key("a", SLOT_SET)}
    with pytest.raises(RemoteProtocolError, match=r"^a: chose other encryption parameters"):
        run_local(flows)


@pytest.mark.parametrize("bits", [0, 58, 60])
def test_the_prime_sets_take_the_prime_ring_alone(bits: int) -> None:
    with pytest.raises(ValueError, match="prime ring of 59 bits"):
        Context(SLOT_SET, bits)


# --- faults ----------------------------------------------------------------------------------------


def faulty_answer(got: SlotAnswer, block: int, coefficient: int) -> SlotAnswer:
    """The answer with one coefficient of one ciphertext moved by one unit of the plaintext."""
    context = slot_key().context
    q = int(np.prod([int(p) for p in context.answer_primes], dtype=object))
    rows = context.unpack_polynomial(got.first[block], context.degree, answer=True)
    for row, prime in zip(rows, context.answer_primes, strict=True):
        row[coefficient] = (int(row[coefficient]) + q // PRIME) % prime
    first = list(got.first)
    first[block] = context.pack_polynomial(rows)
    return dataclasses.replace(got, first=tuple(first))


class Plant:
    """A relay that moves one coefficient of the first ``times`` answers, and keeps the verdicts.

    block: of which ciphertext, in whatever message of the answer it comes.
    """

    def __init__(self, times: int, block: int = 0, coefficient: int = 17) -> None:
        self.times, self.block, self.coefficient = times, block, coefficient
        self.verdicts: list[tuple[int, ...]] = []

    def __call__(self, _: str, __: str, got: Message) -> Message:
        if isinstance(got, SlotVerdict):
            self.verdicts.append(got.repeat)
        if isinstance(got, SlotAnswer) and self.times:
            if self.block >= len(got.first):
                self.block -= len(got.first)
                return got
            self.times -= 1
            return faulty_answer(got, self.block, self.coefficient)
        return got


@settings(max_examples=8)
@given(block=st.integers(0, 2), coefficient=st.integers(0, 8191))
def test_a_planted_fault_is_caught_and_the_product_repeated(block: int, coefficient: int) -> None:
    a, b = uniform("a", 2 * SLOTS + 5), uniform("b", 2 * SLOTS + 5)
    plant = Plant(1, block, coefficient)
    assert (RING.add(*shares_of_product(a, b, plant)) == plain(a, b)).all()
    assert plant.verdicts == [(block,), ()]


def test_without_the_check_slots_the_fault_would_be_in_every_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = uniform("a", SLOTS), uniform("b", SLOTS)
    for module in ("slots", "slot_check"):
        monkeypatch.setattr(f"vfl.protocols.{module}.proof", lambda common, role: bytes(32))
    got = RING.add(*shares_of_product(a, b, Plant(1)))
    assert (got != plain(a, b)).all()


def test_a_mask_on_the_edge_makes_a_real_fault_that_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks half-way between two plaintexts: every coefficient's rounding depends on the noise. Then honest ones."""
    honest, drawn = MaskSource.draw, []

    def on_the_edge(self: MaskSource, stream: SecretStream, count: int) -> tuple[U64, U64]:
        if drawn:
            return honest(self, stream, count)
        drawn.append(count)
        primes = slot_key().context.answer_primes
        q = primes[0] * primes[1]
        steps = RING.uniform(stream, (count,)).astype(object)
        masks = (2 * steps + 1) * q // (2 * PRIME)
        return np.array([masks % p for p in primes]).astype(np.uint64), steps.astype(np.uint64)

    monkeypatch.setattr(MaskSource, "draw", on_the_edge)
    a, b, plant = uniform("a", 100), uniform("b", 100), Plant(0)
    assert (RING.add(*shares_of_product(a, b, plant)) == plain(a, b)).all()
    assert plant.verdicts == [(0,), ()]


def test_faults_of_a_session_are_counted_and_end_it_by_name() -> None:
    side = evaluator_side()
    a, b = uniform("a", 5), uniform("b", 5)
    for _ in range(MOST_FAULTS):
        assert (RING.add(*shares_of_product(a, b, Plant(1), side)) == plain(a, b)).all()
    with pytest.raises(RemoteProtocolError, match=r"^holder: more than 3 ciphertexts"):
        shares_of_product(a, b, Plant(1), side)


def test_an_evaluator_that_repeats_without_end_is_named() -> None:
    slot_key().faults.clear()

    def relay(_: str, __: str, got: Message) -> Message:
        return dataclasses.replace(got, repeat=(0,), proofs=b"") if isinstance(got, SlotVerdict) else got

    def other() -> Flow[None]:
        side = evaluator_side()
        loaded = yield from receive_slots("holder", "x", 5, side)
        for _ in range(MOST_FAULTS + 1):
            yield from answer_slots("holder", "x", [(loaded, uniform("b", 5))], side)

    flows: dict[str, Flow[Any]] = {"holder": hold_slots("other", "x", uniform("a", 5), slot_key()), "other": other()}
    with pytest.raises(RemoteProtocolError, match=r"^other: more than 3 ciphertexts .* asked for 'x' again"):
        run_local(flows, relay=relay)


# --- damage ----------------------------------------------------------------------------------------

Damage = Callable[[Any], Message]
HOSTILE: list[tuple[type[Message], Damage, str]] = [
    (SlotOperand, lambda m: dataclasses.replace(m, label="y"), "holder: .*was due"),
    (SlotOperand, lambda m: dataclasses.replace(m, count=m.count + 1), "holder: .*was due"),
    (SlotOperand, lambda m: dataclasses.replace(m, blocks=()), "holder: .*ciphertexts"),
    (SlotOperand, lambda m: dataclasses.replace(m, blocks=m.blocks * 2), "holder: .*ciphertexts"),
    (SlotOperand, lambda m: dataclasses.replace(m, blocks=(m.blocks[0][:-1],)), "holder: .*bytes"),
    (SlotOperand, lambda m: dataclasses.replace(m, blocks=(b"\xff" * len(m.blocks[0]),)), "holder: .*range"),
    (SlotAnswer, lambda m: dataclasses.replace(m, label="y"), "other: .*was due"),
    (SlotAnswer, lambda m: dataclasses.replace(m, first=()), "other: .*ciphertexts"),
    (SlotAnswer, lambda m: dataclasses.replace(m, second=m.second * 2), "other: .*ciphertexts"),
    (SlotAnswer, lambda m: dataclasses.replace(m, second=(b"",)), "other: .*bytes"),
    (SlotAnswer, lambda m: dataclasses.replace(m, first=(b"\xff" * len(m.first[0]),)), "other: .*range"),
    (SlotAnswer, lambda m: dataclasses.replace(m, second=(bytes(len(m.second[0])),)), "other: .*hides nothing"),
    (SlotCheck, lambda m: dataclasses.replace(m, label="y"), "holder: .*was due"),
    (SlotCheck, lambda m: dataclasses.replace(m, values=b""), "holder: .*bytes"),
    (SlotCheck, lambda m: dataclasses.replace(m, values=b"\xff" * len(m.values)), "holder: .*canonical"),
    (SlotCheck, lambda m: dataclasses.replace(m, values=bytes(len(m.values))), "holder: .*identity"),
    (SlotAnswer, lambda m: dataclasses.replace(m, compared=b""), "other: .*bytes"),
    (SlotAnswer, lambda m: dataclasses.replace(m, compared=bytes(32)), "other: .*identity"),
    (SlotVerdict, lambda m: dataclasses.replace(m, proofs=b""), "other: says"),
    (SlotVerdict, lambda m: dataclasses.replace(m, proofs=bytes(32)), "other: says"),
    (SlotVerdict, lambda m: dataclasses.replace(m, label="y"), "other: judged"),
    (SlotVerdict, lambda m: dataclasses.replace(m, repeat=(1,)), "other: judged"),
    (SlotVerdict, lambda m: dataclasses.replace(m, repeat=(0, 0)), "other: judged"),
    (SlotVerdict, lambda m: dataclasses.replace(m, repeat=(-1,)), "other: judged"),
]


@pytest.mark.parametrize(("kind", "damage", "says"), HOSTILE)
def test_a_damaged_message_is_refused_by_name(kind: type[Message], damage: Damage, says: str) -> None:
    def relay(_: str, __: str, got: Message) -> Message:
        return damage(got) if isinstance(got, kind) else got

    with pytest.raises(RemoteProtocolError, match=f"^{says}"):
        shares_of_product(uniform("a", 9), uniform("b", 9), relay)


def test_a_malformed_key_is_refused_by_name() -> None:
    def relay(_: str, __: str, got: Message) -> Message:
        return dataclasses.replace(got, key=got.key[:-1])  # type: ignore[attr-defined,type-var]

    flows: dict[str, Flow[Any]] = {"a": announce_key("b", slot_key()), "b": receive_key("a", SLOT_SET)}
    with pytest.raises(RemoteProtocolError, match=r"^a: .*bytes"):
        run_local(flows, relay=relay)


def test_what_passes_through_memory_is_what_seal_would_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks, plaintexts and answers without the short way give the same numbers."""
    context = slot_key().context
    assert context._direct, "words pass through memory on this machine"
    block = slot_key().encrypt(uniform("a", context.degree))
    fast = context.residues(context.from_block(block), len(context.primes))
    plain = context.plain(uniform("b", context.degree))
    monkeypatch.setitem(context.__dict__, "_direct", False)
    assert np.array_equal(context.residues(context.from_block(block), len(context.primes)), fast)
    assert np.array_equal(context.words_of(plain, context.degree), uniform("b", context.degree))
    ours, theirs = shares_of_product(uniform("a", 9), uniform("b", 9))
    expected = PRIME_RING.mul(uniform("a", 9), uniform("b", 9))
    assert np.array_equal(PRIME_RING.add(ours, theirs), expected)
