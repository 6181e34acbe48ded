"""Several vectors of one slot product part by part: the same sum, and answers that do not wait for the last operand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from psi.flow import Flow, Recv, RemoteProtocolError, Send, run_local
from tests.vfl.protocols.prime_rig import U64, evaluator_side, slot_key, slot_public, uniform
from vfl.arithmetic.prime_ring import PRIME_RING as RING
from vfl.protocols.slot_messages import SlotAnswer, SlotOperand
from vfl.protocols.slot_streams import answer_together, offer_together
from vfl.protocols.slots import SLOTS, finish_slots
from vfl.protocols.spread import SpreadSlots

COUNT = 4 * SLOTS + 7
"""Five ciphertexts, three messages."""


def vectors(*names: str, count: int = COUNT) -> list[tuple[str, U64]]:
    return [(f"x/{name}", uniform(name, count)) for name in names]


def holder(held: Sequence[tuple[str, U64]]) -> Flow[U64]:
    slot_key().faults.clear()
    yield from offer_together("other", held, slot_key())
    return (yield from finish_slots("other", "x", len(held[0][1]), slot_key()))


class Here:
    """A party's workers that are this process."""

    count = 2

    def __call__(self, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        return [function(*call) for call in calls]


@pytest.mark.parametrize(("names", "spread"), [("a", False), ("ab", False), ("ab", True)])
def test_shares_add_up_to_the_sum_of_the_products(names: str, spread: bool) -> None:
    held, own, side = vectors(*names), vectors(*names.upper()), evaluator_side()
    if spread:
        side.spread = SpreadSlots(Here(), slot_public())
    terms = [(label, mine) for (label, _), (_, mine) in zip(held, own, strict=True)]
    shares = run_local({"holder": holder(held), "other": answer_together("holder", "x", terms, side)})
    whole = [RING.mul(one, mine) for (_, one), (_, mine) in zip(held, own, strict=True)]
    assert (RING.add(shares["holder"], shares["other"]) == (RING.add(*whole) if len(whole) > 1 else whole[0])).all()


def test_an_answer_leaves_when_its_own_ciphertexts_have_come() -> None:
    held = vectors("a", "b")
    sent = [effect.message for effect in offer_together("other", held, slot_key()) if isinstance(effect, Send)]
    offered = [one for one in sent if isinstance(one, SlotOperand)]
    assert [(one.label, len(one.blocks)) for one in offered] == [("x/a", 2), ("x/b", 2)] * 2 + [("x/a", 1), ("x/b", 1)]
    flow, heard, value = answer_together("holder", "x", held, evaluator_side()), list[type](), None
    while len(heard) < len(offered) + 3:
        effect = flow.send(value)
        value = None
        if isinstance(effect, Recv):
            value = offered[heard.count(SlotOperand)]
            heard.append(SlotOperand)
        elif isinstance(effect, Send):
            heard.append(type(effect.message))
    flow.close()
    assert heard == [SlotOperand, SlotOperand, SlotAnswer] * 3


def test_parts_that_come_in_another_order_are_refused_by_name() -> None:
    terms, other = vectors("a", "b", count=5), vectors("b", "a", count=5)
    with pytest.raises(RemoteProtocolError, match=r"^holder: sent operand 'x/b' .* when 'x/a' of 5 was due"):
        run_local({"holder": holder(other), "other": answer_together("holder", "x", terms, evaluator_side())})
