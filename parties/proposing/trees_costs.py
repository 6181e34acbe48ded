"""What a run of sealed trees would cost, counted from its agreement: trees, bytes of each link, seconds of one core.

Fits of later periods have more rows; each is counted with its own. Bytes are those of operands, answers and passed-on
shares, which are nearly all of the traffic.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from parties.agreement.document import Agreement
from parties.agreement.sealed_terms import sealed_members
from parties.proposing.federated_costs import federated_steps, rounds_cost
from parties.proposing.screen_costs import screen_cost, screen_steps
from parties.proposing.sealed_costs import (
    ANSWER_BYTES,
    ELEMENT_BYTES,
    OPERAND_BYTES,
    SLOT_ANSWER_BYTES,
    SLOT_OPERAND_BYTES,
    SealedCost,
    SealedSteps,
    add_scored,
    counted,
    own_product,
    sealed_cost,
    sealed_steps,
    valued_cost,
)
from vfl.models.sealed.coalitions import valued_coalitions
from vfl.models.sealed.messages import Members
from vfl.models.trees.coalitions import TellsApart
from vfl.models.trees.ends import sums_packing
from vfl.models.trees.linear_start import linear_model
from vfl.models.trees.scoring import Group, groups_of
from vfl.terms import EnsembleModel, FederatedModel, ScreenModel, SealedModel
from vfl.tree_terms import TreesModel
from vfl.walk.schedule import PREDICT_ROWS

__all__ = ["anchored_cost", "anchored_steps"]


def anchored_steps(agreement: Agreement, entities: int) -> SealedSteps:
    """The steps of a run on shares, of any kind, if ``entities`` are common to all."""
    one, models = _steps(agreement, entities), _models(agreement)
    return SealedSteps(one.rows, one.batch, models * one.train, models * one.predict)


def _models(agreement: Agreement) -> int:
    """How many models the run trains: of several classes one for each."""
    return 1 if agreement.static is None else agreement.static.models


def _steps(agreement: Agreement, entities: int) -> SealedSteps:
    model = agreement.model
    if isinstance(model, ScreenModel):
        return screen_steps(agreement, entities)
    if isinstance(model, FederatedModel):
        return federated_steps(agreement, entities)
    if isinstance(model, EnsembleModel):
        parts = [_steps(_of_part(agreement, part), entities) for part in model.members.values()]
        batch = max(part.batch for part in parts)
        train, predict = sum(part.train for part in parts), sum(part.predict for part in parts)
        return SealedSteps(parts[0].rows, batch, train, predict)
    if not isinstance(model, TreesModel):
        return sealed_steps(agreement, entities)
    fits = list(_fits(agreement, model, entities))
    rows = len(agreement.periods) * entities
    drawn = max(1, fits[-1][0] // model.blocks)
    predicted = max(1, _predicted(agreement))
    return SealedSteps(rows, drawn, len(fits) * model.trees, predicted * -(-entities // PREDICT_ROWS))


def anchored_cost(agreement: Agreement, entities: int) -> SealedCost:
    """The whole run's work on shares, and the bytes of it and of members' rounds, of any kind."""
    one = _cost(agreement, entities)
    whole = one
    for _ in range(_models(agreement) - 1):
        whole = whole + one
    return whole + rounds_cost(agreement, entities)


def _cost(agreement: Agreement, entities: int) -> SealedCost:
    model = agreement.model
    if isinstance(model, ScreenModel):
        return screen_cost(agreement, entities)
    if isinstance(model, FederatedModel):
        return SealedCost()
    if isinstance(model, EnsembleModel):
        first, *others = (_cost(_of_part(agreement, part), entities) for part in model.members.values())
        for other in others:
            first = first + other
        return first
    if not isinstance(model, TreesModel):
        return sealed_cost(agreement, entities) + valued_cost(agreement, entities)
    members, cost = sealed_members(agreement), SealedCost()
    valued = agreement.openings.contribution == "moments"
    linear = linear_model(model) if model.init_score == "linear" else None
    if linear is not None:
        cost = sealed_cost(_of_part(agreement, linear), entities)
    for fitted, active in _fits(agreement, model, entities):
        if linear is not None:
            add_scored(cost, members, linear, active)
        _trees(cost, members, model, max(1, fitted // model.blocks), active, max(0, active - fitted) * valued)
    return cost


def _of_part(agreement: Agreement, part: SealedModel | TreesModel) -> Agreement:
    """The same run of one part of an ensemble alone."""
    return agreement.model_copy(update={"model": part})


def _predicted(agreement: Agreement) -> int:
    walk = agreement.walk_forward
    return len(agreement.periods) - walk.warmup - max(1, walk.longest + walk.embargo) + 1


def _fits(agreement: Agreement, model: TreesModel, entities: int) -> Iterator[tuple[int, int]]:
    """Of each fit, the rows that are fitted and those that its trees score."""
    periods, predicted = len(agreement.periods), max(1, _predicted(agreement))
    for start in range(0, predicted, model.refit_every):
        known = agreement.walk_forward.warmup + start
        ahead = periods - known if model.fits_kept == 0 else model.refit_every * model.fits_kept
        yield known * entities, min(known + ahead, periods) * entities


def _trees(cost: SealedCost, members: Members, model: TreesModel, drawn: int, active: int, valued: int) -> None:
    """One fit's trees, with as many products between owners as there can be: all who bring columns own levels in turn.

    Each is counted as a party beside the anchor, and of what owners give out these are counted as if they alone had
    levels. valued: rows that are scored for each coalition too.
    """
    label, anchor, trees = members.label, members.anchor, model.trees
    ends = [(name, label) for name in members.features] + [(name, anchor) for name in members.others]
    bringing = (*members.others, *([anchor] if members.anchored else []), *([label] if members.own else []))
    owners = _in_turn(bringing, model.depth)
    groups = groups_of(owners, members)
    for level in range(model.depth):
        leaves = 1 << level
        needed = sums_packing(drawn, model.candidates, leaves).again(drawn, model.candidates, leaves)
        for evaluator, holder in ends:
            cost.products += counted(needed, trees)
            cost.sent[holder, evaluator] += trees * needed.inputs * OPERAND_BYTES
            cost.sent[evaluator, holder] += trees * needed.outputs * ANSWER_BYTES
        if members.own:
            own_product(cost, label, anchor, (leaves, drawn, model.candidates), trees)
        for name in members.others:
            cost.sent[name, anchor] += trees * model.candidates * leaves * ELEMENT_BYTES
        if level < model.depth - 1:
            _crossed(cost, members, drawn * leaves, trees)
    for group in groups_of(_in_turn(members.others, model.depth), members):
        for holder in (label, anchor):
            given = active * ((1 << len(group.levels)) - 1)
            cost.sent[group.owner, holder] += trees * given * ELEMENT_BYTES
    _scored(cost, members, groups, active, trees)
    if valued:
        for inside in TellsApart.of(owners, members, valued_coalitions(tuple(members.features))).present:
            _scored(cost, members, [group for group in groups if group.owner in inside], valued, trees)


def _in_turn(owning: Sequence[str], depth: int) -> list[str]:
    """The owner of each level; none where there is nobody."""
    return [owning[level % len(owning)] for level in range(depth if owning else 0)]


def _crossed(cost: SealedCost, members: Members, elements: int, times: int) -> None:
    """Products of numbers that both holders share with the bits of a party beside the anchor, if there is one."""
    terms = 2 if members.others else 1
    count = cost.slots.add(elements, times, terms)
    cost.sent[members.label, members.anchor] += times * terms * count * SLOT_OPERAND_BYTES
    cost.sent[members.anchor, members.label] += times * count * SLOT_ANSWER_BYTES


def _scored(cost: SealedCost, members: Members, groups: Sequence[Group], rows: int, times: int) -> None:
    """A table of leaf values at so many rows' leaves."""
    left = sum(len(one.levels) for one in groups)
    for turn, group in enumerate(groups):
        inner = (1 << len(group.levels)) - 1
        left -= len(group.levels)
        if turn:
            _crossed(cost, members, rows * inner << left, times)
        else:
            own_product(cost, members.label, members.anchor, (rows, inner, 1 << left), times)
