"""Federated rounds over gRPC with mutual TLS: equal to plain averaging, and a member that stops costs nothing."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parties.drive import drive
from parties.names import COORDINATOR
from parties.settings.consortium import TransportSettings
from parties.transport.grpc import ExchangeServer
from psi.flow import Effect, Flow, Payload, Role, Send
from tests.conformance.rigs import RUN, SESSION, make_roster
from tests.conformance.test_channels import aside
from tests.vfl.federated.rig import Fixed, secret
from vfl.federated.messages import SumPart
from vfl.federated.rounds import Rounds, Trained, aggregate, take_part
from vfl.federated_terms import FederatedModel

MEMBERS = ("broker", "custodian", "exchange")
ROLES = {"broker": Role.LABEL, "custodian": Role.FEATURE, "exchange": Role.FEATURE, COORDINATOR: Role.COORDINATOR}
SETTINGS = TransportSettings(contact_seconds=10, reconnect_seconds=0.3, silence_seconds=20)


class Stopped(Exception):
    """A member's program ends."""


def stopping(flow: Flow[Trained], number: int) -> Flow[Trained]:
    """The flow, ended before it sends its part of a sum."""
    value: Any = None
    while True:
        try:
            effect: Effect = flow.send(value)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        if isinstance(effect, Send) and isinstance(effect.message, SumPart) and effect.message.number == number:
            flow.close()
            raise Stopped
        value = yield effect


def test_rounds_over_mutual_tls_go_on_without_a_member_that_stops(tmp_path: Path) -> None:
    model = FederatedModel(rounds=3, threshold=2).agreed_for(3)
    rounds = Rounds(model, MEMBERS, COORDINATOR, RUN, 4)
    learners = {name: Fixed(np.arange(4.0) + place, 10 * (place + 1)) for place, name in enumerate(MEMBERS)}
    flows: dict[str, Flow[Any]] = {
        name: take_part(rounds, name, learners[name], np.zeros(4), secret(name)) for name in MEMBERS
    }
    flows["exchange"] = stopping(flows["exchange"], 1)
    flows[COORDINATOR] = aggregate(rounds, set())
    identities, roster = make_roster(tmp_path, ROLES)
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(ExchangeServer(key, roster, roster[name].address, settings=SETTINGS))
            for name, key in identities.items()
        }

        def part(name: str) -> Any:
            with servers[name].open(RUN, SESSION, ROLES, frozenset(Payload)) as channel:
                return drive(flows[name], channel, silence=20)

        waiting = {name: aside(part, name) for name in flows}
        with pytest.raises(Stopped):
            waiting["exchange"].result(timeout=30)
        seen = waiting[COORDINATOR].result(timeout=30)
        found = {name: waiting[name].result(timeout=30) for name in ("broker", "custodian")}
    assert [one.names for one in seen] == [MEMBERS, MEMBERS[:2], MEMBERS[:2]]
    mean = {count: np.average([learners[name].update for name in MEMBERS[:count]], axis=0, weights=range(1, count + 1))
            for count in (2, 3)}  # fmt: skip
    for trained in found.values():
        assert trained.rounds == seen
        np.testing.assert_allclose(trained.weights, mean[3] + 2 * mean[2], atol=1e-6)
