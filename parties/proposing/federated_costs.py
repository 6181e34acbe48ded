"""What rounds at home and secure sums would cost, counted from an agreement: those of a federated run, and of groups.

Rounds, bytes of each link, and seconds of one core; of a group also the sums of its expansion, and its order of
precedence.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from parties.agreement.document import Agreement
from parties.agreement.federated_terms import federated_rounds
from parties.agreement.group_terms import GroupTerms, expansion_plan, group_rounds
from parties.names import COORDINATOR
from parties.proposing.sealed_costs import DIGEST_BYTES, SealedCost, SealedSteps
from vfl.federated.expansion import ExpansionPlan
from vfl.federated.rounds import Rounds
from vfl.federated.secure_sum import KEY_BYTES
from vfl.models.federated_opens import trainings
from vfl.terms import FederatedModel

__all__ = ["SUM_TRIPS", "federated_steps", "rounds_cost", "rounds_seconds", "sums_of"]

SUM_TRIPS = 5
"""Messages of a secure sum that wait for each other, there and back."""
_NUMBER_BYTES = 8
_POINT_BYTES, _POINT_SECONDS = 32, 0.0001
"""A point of an order of precedence, and one multiplication of it on one core: measured, rounded up."""
_STEP_SECONDS = 0.001
"""An optimiser step of a small network on one core: measured, rounded up."""
_SUM_SECONDS = 0.02
"""A member's part of a secure sum of some thousand numbers: measured, rounded up."""
_EXPANSION_SUMS = 2
"""Of counts, which takes fewer messages than a secure sum, and of moments."""
_ENCODER_STEP_SECONDS, _ENCODER_WEIGHT_SECONDS = 0.012, 1.4e-9
"""An optimiser step of an encoder, and what each weight adds for each period of each window: measured on LSTMs and
Transformers of 500 to 46,000 weights, rounded up."""


@dataclass(frozen=True)
class _Training:
    """Rounds of members who train together. count: of all such trainings; steps: a member's, in each round."""

    terms: Rounds
    count: int
    steps: int
    step_seconds: float

    @property
    def seconds(self) -> float:
        """All members' parts, one after the other."""
        return len(self.terms.members) * self.count * (self.steps * self.step_seconds + _SUM_SECONDS)


def federated_steps(agreement: Agreement, entities: int) -> SealedSteps:
    """A member's optimiser steps, if it has so many entities, each with a row in every period before the reported."""
    model = agreement.model
    assert isinstance(model, FederatedModel)
    training = _federated(agreement, model, entities)
    rows = agreement.reported_from * entities
    return SealedSteps(rows, max(1, min(model.batch_rows, rows)), training.count * training.steps, 1)


def rounds_cost(agreement: Agreement, entities: int) -> SealedCost:
    """Bytes of every link. The coordinator's part is that of the members' other end."""
    cost = SealedCost()
    for group in agreement.groups:
        if group.overlap == "precedence":
            _add_order(cost, group, entities)
    for plan in _plans(agreement):
        _add_expansion(cost, plan)
    for training in _trainings(agreement, 1):
        rounds = training.terms
        names, size = rounds.members, (rounds.numbers + 1) * _NUMBER_BYTES
        held = 0 if isinstance(agreement.model, FederatedModel) else DIGEST_BYTES
        for name in names:
            cost.sent[name, COORDINATOR] += training.count * (size + len(names) * KEY_BYTES) + held
            cost.sent[COORDINATOR, name] += training.count * size
            for other in names:
                if other != name:
                    keys = training.count * KEY_BYTES if rounds.model.rule == "sum" else 0
                    cost.sent[name, other] += keys + 2 * held
    return cost


def _add_order(cost: SealedCost, group: GroupTerms, entities: int) -> None:
    """As if each member asked for as many points as there are rows."""
    for before, later in combinations(group.members, 2):
        for one, other in ((before, later), (later, before)):
            cost.sent[one, other] += entities * _POINT_BYTES + 2 * 2 * DIGEST_BYTES
        cost.sent[before, later] += -(-entities // 8)


def _plans(agreement: Agreement) -> Iterator[ExpansionPlan]:
    for group in agreement.groups:
        plan = expansion_plan(agreement, group)
        if plan is not None:
            yield plan


def _add_expansion(cost: SealedCost, plan: ExpansionPlan) -> None:
    """Counts among the members, then a secure sum of moments."""
    names = plan.group.members
    for name in names:
        cost.sent[name, COORDINATOR] += plan.moments * _NUMBER_BYTES + len(names) * KEY_BYTES + DIGEST_BYTES
        cost.sent[COORDINATOR, name] += plan.moments * _NUMBER_BYTES
        for other in names:
            if other != name:
                cost.sent[name, other] += 2 * plan.counted * _NUMBER_BYTES + KEY_BYTES + 3 * DIGEST_BYTES


def rounds_seconds(agreement: Agreement, entities: int) -> float:
    """Of one core, all members' parts one after the other; none where nothing is trained by rounds."""
    trained = sum(training.seconds for training in _trainings(agreement, entities))
    return trained + sum(_group_seconds(agreement, group, entities) for group in agreement.groups)


def _group_seconds(agreement: Agreement, group: GroupTerms, entities: int) -> float:
    """Of a group beside its rounds: for each pair a point of every row, and three for each that is asked for."""
    members = len(group.members)
    pairs = members * (members - 1) // 2 if group.overlap == "precedence" else 0
    sums = 0 if expansion_plan(agreement, group) is None else _EXPANSION_SUMS
    return pairs * 4 * entities * _POINT_SECONDS + sums * members * _SUM_SECONDS


def sums_of(agreement: Agreement, party: str) -> int:
    """Rounds that a party takes part in, and sums of its group's expansion."""
    rounds = sum(training.count for training in _trainings(agreement, 1) if party in training.terms.members)
    return rounds + _EXPANSION_SUMS * sum(party in plan.group.members for plan in _plans(agreement))


def _trainings(agreement: Agreement, entities: int) -> Iterator[_Training]:
    if isinstance(agreement.model, FederatedModel):
        yield _federated(agreement, agreement.model, entities)
    for group in agreement.groups:
        yield _group(agreement, group, entities)


def _federated(agreement: Agreement, model: FederatedModel, entities: int) -> _Training:
    """The run's training, and those of coalitions as if each had all members."""
    valued = agreement.openings.contribution == "retrain"
    counted = 1 + (trainings(model, len(agreement.parties)) if valued else 0)
    steps = _steps(agreement.reported_from * entities, model.batch_rows, model.local_epochs)
    return _Training(federated_rounds(agreement), model.rounds * counted, steps, _STEP_SECONDS)


def _group(agreement: Agreement, group: GroupTerms, entities: int) -> _Training:
    """A group's encoder, as if each member had all entities in each of the first periods."""
    rounds, shape = group_rounds(agreement, group), group.encoder
    windows = min(shape.fit_periods, len(agreement.periods)) * entities
    batch = max(1, min(group.batch_rows, windows))
    seconds = _ENCODER_STEP_SECONDS + _ENCODER_WEIGHT_SECONDS * batch * shape.window * rounds.numbers
    return _Training(rounds, group.rounds, _steps(windows, batch, group.local_epochs), seconds)


def _steps(rows: int, batch: int, epochs: int) -> int:
    return epochs * -(-rows // max(1, min(batch, rows)))
