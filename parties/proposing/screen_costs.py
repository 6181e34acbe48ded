"""What a screen would cost, counted from its agreement as if every party had the most terminals that it may."""

from __future__ import annotations

from itertools import combinations

from parties.agreement.document import Agreement
from parties.agreement.screen_terms import screen_members
from parties.proposing.sealed_costs import (
    ANSWER_BYTES,
    ELEMENT_BYTES,
    OPERAND_BYTES,
    SLOT_ANSWER_BYTES,
    SLOT_OPERAND_BYTES,
    SealedCost,
    SealedSteps,
    counted,
)
from vfl.models.sealed.ends import packing_of

__all__ = ["screen_cost", "screen_steps"]


def screen_steps(agreement: Agreement, entities: int) -> SealedSteps:
    """A step is a matrix product of one period; none trains."""
    members, count = screen_members(agreement, entities), len(agreement.features)
    products = members.periods * (count + count * (count - 1) // 2)
    return SealedSteps(members.periods * entities, entities, 0, products)


def screen_cost(agreement: Agreement, entities: int) -> SealedCost:
    """The whole screen's work and bytes."""
    members, cost = screen_members(agreement, entities), SealedCost()
    label, most, periods = members.label, members.terminals, members.periods
    for name in members.features:
        _products(cost, label, name, (most, entities, 1 + most * members.own), periods)
        if members.later(name):
            count = cost.slots.add(periods * entities, most)
            cost.sent[label, name] += count * SLOT_OPERAND_BYTES
            cost.sent[name, label] += most * count * SLOT_ANSWER_BYTES
    for name, other in combinations(members.features, 2):
        cost.sent[name, other] += periods * entities * most * ELEMENT_BYTES
        _products(cost, label, other, (most, entities, most), periods)
    return cost


def _products(cost: SealedCost, label: str, peer: str, shape: tuple[int, int, int], times: int) -> None:
    height, inner, width = shape
    needed = packing_of(height, inner, width, train=False).operations(height, inner, width)
    cost.products += counted(needed, times)
    cost.sent[label, peer] += times * needed.inputs * OPERAND_BYTES
    cost.sent[peer, label] += times * (needed.outputs * ANSWER_BYTES + height * width * 2 * ELEMENT_BYTES)
