"""Several vectors of one product side by side: a part of each in turn, so that an answer follows its own ciphertexts.

One vector after the other, the evaluator could answer nothing before the last of them begins to come. Part by part it
multiplies and answers while the key holder encrypts the rest. What either end sees is what it would see otherwise, in
another order; the check slots are compared once, after the last answer, as ever.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, Send
from vfl.arithmetic.he import KeyHolder
from vfl.protocols.parts import parts_of
from vfl.protocols.slot_messages import SlotOperand
from vfl.protocols.slots import (
    SLOTS,
    Factor,
    LoadedSlots,
    SlotEvaluator,
    answer_slots,
    ciphertexts_of,
    encrypt_slots,
    receive_slots,
)

__all__ = ["answer_together", "offer_together"]

U64 = NDArray[np.uint64]


def offer_together(peer: str, vectors: Sequence[tuple[str, U64]], key: KeyHolder) -> Flow[None]:
    """Key holder: send flat vectors of one length encrypted, each under its label, a part of each in turn.

    Learns: nothing.
    Leaks: the number of elements; no value (BFV is IND-CPA).
    Model: semi-honest.
    Source: docs/protocols/slots.md#slot-mode.
    """
    count = len(vectors[0][1])
    assert all(len(values) == count for _, values in vectors), "vectors of one length"
    for part in parts_of(ciphertexts_of(count)):
        for label, values in vectors:
            sent = encrypt_slots(key, values[part.start * SLOTS : part.stop * SLOTS])
            yield Send(peer, SlotOperand(label, count, sent))


def answer_together(peer: str, label: str, terms: Sequence[tuple[str, U64]], side: SlotEvaluator) -> Flow[U64]:
    """Evaluator: its share (count,) of the sum over ``terms`` of the peer's vector of that label times its own.

    terms: own flat vectors of one length, in the order in which :func:`offer_together` has the peer's. Each answer
    leaves as soon as its ciphertexts have come; all of them where products are computed elsewhere.

    Learns: as :func:`vfl.protocols.slots.answer_slots`.
    Leaks: as :func:`vfl.protocols.slots.answer_slots`.
    Model: as :func:`vfl.protocols.slots.answer_slots`, which hides the vectors whatever ciphertexts come, so that one
        that was chosen after an answer to another tells no more.
    Source: docs/protocols/slots.md#slot-mode.
    """
    factors = [Factor.of(own, side) for _, own in terms]  # while the key holder encrypts
    loaded = [LoadedSlots(own.count) for own in factors]

    def more(due: int) -> Flow[None]:
        while True:
            turn = min(range(len(loaded)), key=lambda place: loaded[place].arrived)
            if loaded[turn].arrived >= due:
                return
            yield from receive_slots(peer, terms[turn][0], loaded[turn].count, side, into=loaded[turn])

    share: U64 = yield from answer_slots(peer, label, list(zip(loaded, factors, strict=True)), side, more)
    return share
