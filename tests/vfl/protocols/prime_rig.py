"""Keys and streams of the prime ring's two modes, made once, and a slot product between two ends."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psi.flow import Message, run_local
from vfl.arithmetic.he import Context, Evaluator, KeyHolder
from vfl.arithmetic.parameter_sets import SLOT_SET
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.arithmetic.randomness import SecretStream
from vfl.protocols.slots import SlotEvaluator, evaluate_slots, hold_slots

U64 = NDArray[np.uint64]
Relay = Callable[[str, str, Message], Message]


def secret(name: object) -> SecretStream:
    return SecretStream(hashlib.sha256(str(name).encode()).digest())


@cache
def slot_key() -> KeyHolder:
    return KeyHolder(Context(SLOT_SET, PRIME_RING.bits))


@cache
def slot_public() -> Evaluator:
    return Evaluator(slot_key().context, slot_key().public_key)


def evaluator_side(name: object = "masks") -> SlotEvaluator:
    """A new session under the one key."""
    return SlotEvaluator(slot_public(), secret(name))


def uniform(name: object, *shape: int) -> U64:
    return PRIME_RING.uniform(secret(name), shape)


def shares_of_product(
    held: U64, own: U64, relay: Relay | None = None, side: SlotEvaluator | None = None
) -> tuple[U64, U64]:
    """Key holder's and evaluator's share of held * own."""
    slot_key().faults.clear()  # the key is made once, the session is a new one
    flows: dict[str, Any] = {
        "holder": hold_slots("other", "x", held, slot_key()),
        "other": evaluate_slots("holder", "x", own, side or evaluator_side()),
    }
    shares = run_local(flows, relay=relay)
    return shares["holder"], shares["other"]
