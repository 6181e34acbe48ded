"""The coordinator's part in a federated run: it adds up what members mask, and keeps none of it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from parties.agreement.document import Agreement
from parties.agreement.federated_terms import federated_rounds, reported_periods, valuation_plan
from parties.agreement.group_terms import GroupTerms, expansion_plan, group_rounds
from parties.errors import PeerError
from psi.flow import Flow, Send
from vfl.federated.expansion import serve_expansion
from vfl.federated.group import by_turns, serve_group
from vfl.federated.messages import MembersLeft
from vfl.federated.rounds import Round, aggregate
from vfl.federated.secure_sum import TooFewMembers
from vfl.federated.valuation import open_value, open_values

__all__ = ["add_up_groups", "add_up_training", "add_up_values"]


def add_up_training(agreement: Agreement, gone: set[str]) -> Flow[dict[str, Any]]:
    """Coordinator: the rounds, then what the model and the members' own ones are worth; who took part, for the log.

    Learns: as :func:`vfl.federated.rounds.aggregate`; two mean rank ICs in each reported period.
    Leaks: to every member the same.
    Model: as :func:`vfl.federated.secure_sum.total`. Whoever is lost stays out of later rounds.
    Source: docs/groups.md#a-run-of-members.
    """
    rounds, window = federated_rounds(agreement), reported_periods(agreement)
    try:
        kept = yield from aggregate(rounds, gone)
        for number in (rounds.model.rounds, rounds.model.rounds + 1):
            yield from open_value(rounds.sums, number, window.stop - window.start, gone)
    except TooFewMembers as error:
        # below the threshold the run waits for who is away, and begins anew from other weights
        raise PeerError(str(error), min(gone, default="")) from None
    return {"rounds": [list(one.names) for one in kept], "gone": sorted(gone)}


def add_up_groups(agreement: Agreement) -> Flow[dict[str, Any]]:
    """Coordinator: the rounds of every group's encoder, a round of each in turn, and the sums of its expansion where it
    has one; who took part, for the log.

    Learns: as :func:`vfl.federated.group.serve_group` and :func:`vfl.federated.expansion.serve_expansion`, of each.
    Leaks: to the members of a group the averages of its own, and the sums of its expansion.
    Model: as :func:`vfl.federated.secure_sum.total`. Whoever is lost stays out of later rounds of this attempt, and is
    given the encoder in the next.
    Source: docs/groups.md#a-group-in-a-vertical-run.
    """
    gone: dict[str, set[str]] = {group.name: set() for group in agreement.groups}
    flows = [_prepare_group(agreement, group, gone[group.name]) for group in agreement.groups]
    try:
        kept = yield from by_turns(flows)
    except TooFewMembers as error:
        raise PeerError(str(error), min(set().union(*gone.values()), default="")) from None
    return {
        group.name: {"rounds": [list(one.names) for one in rounds], "gone": sorted(gone[group.name])}
        for group, rounds in zip(agreement.groups, kept, strict=True)
    }


def _prepare_group(agreement: Agreement, group: GroupTerms, gone: set[str]) -> Flow[tuple[Round, ...]]:
    rounds = yield from serve_group(group_rounds(agreement, group), gone)
    plan = expansion_plan(agreement, group)
    if plan is not None:
        yield from serve_expansion(plan, gone)
    return rounds


def add_up_values(agreement: Agreement, without: Collection[str]) -> Flow[dict[str, Any]]:
    """Coordinator: every coalition's training, and what it is worth; how many there were.

    Learns: as :func:`vfl.federated.valuation.open_values`.
    Leaks: to every member the same, and who is still in.
    Model: as :func:`vfl.federated.secure_sum.total`. Whoever is lost ends it, so that it can be made again.
    Source: docs/groups.md#what-members-bring.
    """
    plan, gone = valuation_plan(agreement, without), set[str]()
    for name in plan.rounds.members:
        yield Send(name, MembersLeft(plan.rounds.members))
    try:
        yield from open_values(plan, gone)
    except TooFewMembers as error:
        raise PeerError(str(error), min(gone, default="")) from None
    return {"coalitions": len(plan.coalitions)}
