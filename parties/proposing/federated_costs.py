"""What a federated run would cost, counted from its agreement: rounds, bytes of each link, and seconds of one core."""

from __future__ import annotations

from parties.agreement.document import Agreement
from parties.names import COORDINATOR
from parties.proposing.sealed_costs import SealedCost, SealedSteps
from vfl.federated.secure_sum import KEY_BYTES
from vfl.models.federated_opens import trainings
from vfl.terms import FederatedModel

__all__ = ["federated_cost", "federated_seconds", "federated_steps"]

_NUMBER_BYTES = 8
_STEP_SECONDS = 0.001
"""An optimiser step of a small network on one core: measured, rounded up."""
_SUM_SECONDS = 0.02
"""A member's part of a secure sum of some thousand numbers: measured, rounded up."""


def _rounds(agreement: Agreement) -> int:
    """Rounds of all trainings, those of coalitions among them."""
    model = agreement.model
    assert isinstance(model, FederatedModel)
    valued = agreement.openings.contribution == "retrain"
    return model.rounds * (1 + (trainings(model, len(agreement.parties)) if valued else 0))


def federated_steps(agreement: Agreement, entities: int) -> SealedSteps:
    """A member's optimiser steps, if it has so many entities, each with a row in every period before the reported."""
    model = agreement.model
    assert isinstance(model, FederatedModel)
    rows = agreement.reported_from * entities
    batch = max(1, min(model.batch_rows, rows))
    return SealedSteps(rows, batch, _rounds(agreement) * model.local_epochs * -(-rows // batch), 1)


def federated_cost(agreement: Agreement) -> SealedCost:
    """Bytes of every link. The coordinator's part is that of the members' other end."""
    model, names = agreement.model, [party.name for party in agreement.parties]
    assert isinstance(model, FederatedModel)
    cost, rounds = SealedCost(), _rounds(agreement)
    size = (model.numbers(len(agreement.party(agreement.label.party).columns)) + 1) * _NUMBER_BYTES
    for name in names:
        cost.sent[name, COORDINATOR] += rounds * (size + len(names) * KEY_BYTES)
        cost.sent[COORDINATOR, name] += rounds * size
        if model.rule == "sum":
            for other in names:
                if other != name:
                    cost.sent[name, other] += rounds * KEY_BYTES
    return cost


def federated_seconds(agreement: Agreement, entities: int) -> float:
    """Of one core, all members' parts one after the other."""
    steps, members = federated_steps(agreement, entities), len(agreement.parties)
    return members * (steps.train * _STEP_SECONDS + _rounds(agreement) * _SUM_SECONDS)
