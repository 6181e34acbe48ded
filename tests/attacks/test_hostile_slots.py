"""Hostile messages of a slot product: every flow goes on, or refuses by the peer's name, within bounded memory."""

from __future__ import annotations

import dataclasses
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from psi.flow import Flow, Message, Recv, RemoteProtocolError, Send, run_local
from tests.vfl.protocols.prime_rig import evaluator_side, slot_key, uniform
from vfl.arithmetic.he import Context, KeyHolder
from vfl.arithmetic.parameter_sets import COEFFICIENT_SET, SLOT_SET
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.protocols.prime_keys import receive_key
from vfl.protocols.slot_messages import PrimeKey, SlotAnswer, SlotCheck, SlotOperand, SlotVerdict
from vfl.protocols.slots import MOST_FAULTS, evaluate_slots, hold_slots

COUNT = 20
A, B = uniform("a", COUNT), uniform("b", COUNT)


def recorded() -> dict[type[Message], Message]:
    """One honest exchange."""
    heard: dict[type[Message], Message] = {}

    def relay(_: str, __: str, got: Message) -> Message:
        heard[type(got)] = got
        return got

    flows: dict[str, Flow[Any]] = {
        "holder": hold_slots("other", "x", A, slot_key()),
        "other": evaluate_slots("holder", "x", B, evaluator_side()),
    }
    run_local(flows, relay=relay)
    return heard


HONEST = recorded()
KEY = PrimeKey(SLOT_SET, slot_key().public_key)

numbers = st.one_of(st.integers(-3, 40), st.integers(-(2**63), 2**63 - 1))
texts = st.sampled_from(["x", "", "y", "x" * 100, "\x00"])


def spoiled(good: bytes) -> st.SearchStrategy[bytes]:
    """Cut, lengthened, emptied, constant, halved, doubled or overwritten in one place."""
    patch = st.tuples(st.integers(0, max(len(good) - 1, 0)), st.binary(min_size=1, max_size=12))
    return st.one_of(
        st.sampled_from([b"", good[:-1], good + b"\x00", b"\xff" * len(good), bytes(len(good)), good * 2, good]),
        st.binary(max_size=40),
        patch.map(lambda p: (good[: p[0]] + p[1] + good[p[0] + len(p[1]) :])[: len(good)]),
    )


def field(value: Any) -> st.SearchStrategy[Any]:
    if isinstance(value, str):
        return texts
    if isinstance(value, int):
        return numbers
    if isinstance(value, bytes):
        return spoiled(value)
    if value and isinstance(value[0], bytes):
        return st.lists(spoiled(value[0]), max_size=3).map(tuple)
    return st.lists(numbers, max_size=5).map(tuple)


@st.composite
def hostile(draw: st.DrawFn, good: Message) -> Message:
    names = [f.name for f in dataclasses.fields(good)]
    chosen = draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True))
    return dataclasses.replace(good, **{name: draw(field(getattr(good, name))) for name in chosen})


def feed(flow: Flow[Any], messages: list[Message], peer: str) -> None:
    """Give the flow what it waits for until it ends, refuses, or nothing is left; hold it to its own bounds."""
    pending, result = list(messages), None
    tracemalloc.start()
    sent = 0
    try:
        effect = next(flow)
        while True:
            if isinstance(effect, Send):
                sent += 1
                effect = flow.send(None)
            else:
                assert isinstance(effect, Recv)
                fitting = [m for m in pending if isinstance(m, effect.kind)]
                if not fitting:
                    return
                pending.remove(fitting[0])
                effect = flow.send(fitting[0])
    except StopIteration as stop:
        result = stop.value
    except RemoteProtocolError as error:
        assert error.peer == peer  # noqa: PT017 - most inputs raise
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        flow.close()
    if isinstance(result, np.ndarray):
        assert result.shape == (COUNT,)
        assert int(result.max()) < PRIME_RING.modulus
    assert peak < 2**24
    assert sent <= 2 * (MOST_FAULTS + 2)


@settings(max_examples=120)
@given(hostile(HONEST[SlotOperand]), hostile(HONEST[SlotCheck]), st.booleans())
def test_an_evaluator_refuses_by_name(operand: Message, check: Message, honest: bool) -> None:
    first = HONEST[SlotOperand] if honest else operand
    feed(evaluate_slots("holder", "x", B, evaluator_side()), [first] + [check] * (MOST_FAULTS + 2), "holder")


@settings(max_examples=120)
@given(hostile(HONEST[SlotAnswer]), hostile(HONEST[SlotVerdict]), st.booleans())
def test_a_key_holder_refuses_by_name(answer: Message, verdict: Message, honest: bool) -> None:
    first = HONEST[SlotAnswer] if honest else answer
    messages = [first] * (MOST_FAULTS + 2) + [verdict] * (MOST_FAULTS + 2)
    feed(hold_slots("other", "x", A, slot_key()), messages, "other")


@settings(max_examples=30)
@given(hostile(KEY))
def test_a_public_key_is_taken_or_refused_by_name(key: Message) -> None:
    feed(receive_key("holder", SLOT_SET), [key], "holder")


def test_a_claimed_count_is_not_allocated() -> None:
    for count in (2**62, 0, -1):
        operand = dataclasses.replace(HONEST[SlotOperand], count=count)
        feed(evaluate_slots("holder", "x", B, evaluator_side()), [operand], "holder")


def test_the_ciphertext_of_another_set_is_refused() -> None:
    block = KeyHolder(Context(COEFFICIENT_SET, 59)).encrypt(np.ones(8192, dtype=np.uint64))
    operand = dataclasses.replace(HONEST[SlotOperand], blocks=(block,))
    flow = evaluate_slots("holder", "x", B, evaluator_side())
    next(flow)
    with pytest.raises(RemoteProtocolError, match=r"^holder: .*bytes"):
        flow.send(operand)
