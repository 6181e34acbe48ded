"""The check of a slot product as an oracle: an evaluator that has its own ciphertexts decrypted, and a key holder that
learns from its own noise whether an operand is zero."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from psi.flow import Flow, Message, RemoteProtocolError, Send, receive, run_local
from tests.attacks.test_slots import CONSTANT, CONTEXT, PRIMES, N, Q, secret_key, with_noise
from tests.vfl.protocols.prime_rig import evaluator_side, secret, slot_key, uniform
from vfl.arithmetic.prime_ring import PRIME, PRIME_RING
from vfl.protocols import slots as slots_module
from vfl.protocols.equality import Compared, commons, proof
from vfl.protocols.slot_messages import SlotAnswer, SlotCheck, SlotOperand, SlotVerdict
from vfl.protocols.slots import CHECK_SLOTS, MOST_FAULTS, SLOTS, evaluate_slots, hold_slots, open_slots

U64 = NDArray[np.uint64]
STEP = Q // PRIME
"""One unit of the plaintext."""


# --- an evaluator that sends ciphertexts of its own making ----------------------------------------


def probe(place: int) -> SlotAnswer:
    """What decrypts to x**place if the secret key's coefficient there is 1, and to 0 otherwise.

    c1 = 0.4 of a step leaves 0.4 s, which rounds to nothing; c0 lifts one coefficient by 0.2.
    """
    polynomials = np.zeros((2, len(PRIMES), N), dtype=np.uint64)
    polynomials[0, :, place] = [STEP // 5 % p for p in PRIMES]
    polynomials[1, :, 0] = [2 * STEP // 5 % p for p in PRIMES]
    first, second = (CONTEXT.pack_polynomial(rows) for rows in polynomials)
    return SlotAnswer("x", (first,), (second,), b"")


def check_slots(place: int | None) -> U64:
    """The check slots of x**place, or of 0."""
    row = np.zeros((1, N), dtype=np.uint64)
    if place is not None:
        row[0, place] = 1
    found: U64 = CONTEXT.slots.values(row)[0, -CHECK_SLOTS:]
    return found


def named(values: U64) -> str:
    return f"x/{PRIME_RING.pack(values).hex()}"


PLACES = range(0, 400, 10)


def test_shares_of_the_check_slots_would_read_the_key_holders_secret_key() -> None:
    """The defence out: decrypted numbers shown for each ciphertext that an evaluator makes up."""
    read = []
    for place in PLACES:
        shown = open_slots(slot_key(), probe(place), 1)[0, -CHECK_SLOTS:]
        read.append(bool((shown == check_slots(place)).all()))
    assert read == [int(secret_key()[place]) == 1 for place in PLACES]
    assert 0 < sum(read) < len(read)


def test_hashes_of_these_shares_would_be_tried_one_by_one() -> None:
    """Why a hash is not enough: there are two values to try."""
    place = next(place for place in PLACES if int(secret_key()[place]) == 1)
    shown = proof(named(open_slots(slot_key(), probe(place), 1)[0, -CHECK_SLOTS:]).encode(), "hash")
    tried = [proof(named(check_slots(guess)).encode(), "hash") for guess in (None, place)]
    assert [shown == one for one in tried] == [False, True]


class Guessing:
    """An evaluator that has the key holder compare its guess of one coefficient's probe, many times over."""

    def __init__(self, *, admits: bool) -> None:
        self.admits = admits
        self.asked: list[int] = []
        self.right: list[bool] = []

    def flow(self) -> Flow[None]:
        yield from receive("holder", SlotOperand)
        for place in range(N):
            guess = Compared.of(named(check_slots(None)), secret(f"guess {place}").take)
            yield Send("holder", dataclasses.replace(probe(place), compared=guess.point))
            shown = yield from receive("holder", SlotCheck)
            common = commons([guess], shown.values[:32])[0]
            self.asked.append(place)
            self.right.append(shown.values[32:] == proof(common, "key holder"))
            # right or wrong, it asks for more; proofs of what it has not are made up
            repeat = (0,) if self.admits or self.right[-1] else ()
            yield Send("holder", SlotVerdict("x", repeat, b"" if repeat else bytes(32)))


@pytest.mark.parametrize("admits", [True, False])
def test_an_evaluator_learns_whether_it_guessed_and_is_named_after_a_few(admits: bool) -> None:
    """Its guesses tell it a coefficient each, out of 8,192 of a key that lasts for the session."""
    slot_key().faults.clear()
    evaluator = Guessing(admits=admits)
    flows: dict[str, Flow[Any]] = {
        "holder": hold_slots("other", "x", uniform("a", 5), slot_key()),
        "other": evaluator.flow(),
    }
    says = "more than 3 ciphertexts" if admits else "(more than 3 ciphertexts|says of 'x' that it adds up)"
    with pytest.raises(RemoteProtocolError, match=f"^other: {says}"):
        run_local(flows)
    assert evaluator.right == [int(secret_key()[place]) != 1 for place in evaluator.asked]
    assert len(evaluator.asked) <= MOST_FAULTS + 1


def test_faults_are_counted_over_the_products_of_a_session() -> None:
    """One wrong guess in each product is as many as several in one."""
    slot_key().faults.clear()
    slot_key().faults["other"] = MOST_FAULTS
    flows: dict[str, Flow[Any]] = {
        "holder": hold_slots("other", "x", uniform("a", 5), slot_key()),
        "other": Guessing(admits=True).flow(),
    }
    with pytest.raises(RemoteProtocolError, match=r"^other: more than 3"):
        run_local(flows)


# --- a key holder that adds noise, and an operand of one element ----------------------------------


def fails(bit: int, count: int = 1) -> bool:
    """Whether a product of ``count`` equal elements fails the check under the key holder's noise, which it is told."""
    verdicts: list[SlotVerdict] = []

    def relay(_: str, __: str, got: Message) -> Message:
        if isinstance(got, SlotOperand):
            return dataclasses.replace(got, blocks=tuple(with_noise(block, CONSTANT) for block in got.blocks))
        if isinstance(got, SlotVerdict):
            verdicts.append(got)
        return got

    slot_key().faults.clear()
    own = np.full(count, bit, dtype=np.uint64)
    flows: dict[str, Flow[Any]] = {
        "holder": hold_slots("other", "x", uniform("a", count), slot_key()),
        "other": evaluate_slots("holder", "x", own, evaluator_side(f"bit {bit}")),
    }
    try:
        run_local(flows, relay=relay)
    except RemoteProtocolError:
        return True
    return bool(verdicts[0].repeat)


@pytest.mark.parametrize("count", [1, SLOTS])
def test_without_filling_noise_reads_one_bit_of_elements_that_are_all_zero(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A truncation of one row multiplies such a bit: which half of the ring the other share lies in; a split of trees
    that the anchor owns multiplies its own bits, a whole ciphertext of rows that may all lie on one side."""
    monkeypatch.setattr(slots_module, "_filled", lambda values, stream: slots_module._laid_out(values))
    assert [fails(bit, count) for bit in (0, 1)] == [False, True]


@pytest.mark.parametrize("count", [1, SLOTS])
def test_with_filled_slots_noise_fails_alike_whatever_the_elements(count: int) -> None:
    assert [fails(bit, count) for bit in (0, 1)] == [True, True]


@pytest.mark.parametrize("count", [1, SLOTS])
@pytest.mark.parametrize("value", [0, 1, PRIME - 1])
def test_every_coefficient_of_an_operand_is_uniform_whatever_its_elements(value: int, count: int) -> None:
    """The polynomial that noise multiplies, of elements known to nobody but their owner, over fresh fillings."""
    one, stream = np.full(count, value, dtype=np.uint64), secret(f"fill {value}")
    rows = [CONTEXT.slots.polynomials(slots_module._filled(one, stream))[0] for _ in range(8)]
    found = np.concatenate(rows).astype(np.float64) / PRIME
    assert abs(float(found.mean()) - 0.5) < 5 / math.sqrt(12 * len(found))
    counts = np.bincount((found * 16).astype(int), minlength=16)
    assert np.abs(counts - len(found) / 16).max() < 5 * math.sqrt(len(found) / 16)
