"""A federated training in one process: members, coordinator, whoever drops out, and what travelled."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, LocalProtocolError, Message, PeerLost, Recv, RecvAny, RemoteProtocolError, Send
from vfl.arithmetic.randomness import SecretStream
from vfl.federated.rounds import Rounds, Trained, aggregate, take_part
from vfl.federated_terms import FederatedModel

F64 = NDArray[np.float64]
RUN = "5a" * 32
COORDINATOR = "coordinator"

Sent = list[tuple[str, str, Message]]
Drops = Callable[[str, str, Message], bool]
"""Whether ``sender`` is gone from now on, instead of sending this to ``receiver``."""


def secret(name: str) -> SecretStream:
    return SecretStream(name.encode().ljust(32, b"."))


class Fixed:
    """A learner whose update does not depend on anything."""

    def __init__(self, update: F64, rows: int = 10) -> None:
        self.update, self.rows = update, rows

    def train(self, weights: F64, number: int) -> F64:
        return weights + self.update


def rounds_of(model: FederatedModel, members: tuple[str, ...], numbers: int, first: int = 0) -> Rounds:
    return Rounds(model.agreed_for(len(members)), members, COORDINATOR, RUN, numbers, first)


def trained(
    rounds: Rounds,
    learners: Mapping[str, Any],
    initial: F64,
    *,
    drops: Drops = lambda *_: False,
    change: Callable[[str, str, Message], Message] = lambda _, __, message: message,
) -> tuple[dict[str, Any], Sent]:
    """Everyone's result, an exception where a flow ended by one, and every message that travelled."""
    flows: dict[str, Flow[Any]] = {
        name: take_part(rounds, name, learners[name], initial, secret(name)) for name in rounds.members
    }
    return play(flows | {COORDINATOR: aggregate(rounds, set())}, drops=drops, change=change)


def play(
    flows: Mapping[str, Generator[Any, Any, Any]],
    *,
    drops: Drops = lambda *_: False,
    change: Callable[[str, str, Message], Message] = lambda _, __, message: message,
) -> tuple[dict[str, Any], Sent]:
    """Run flows side by side, as ``psi.flow.run_local`` does, with peers that are lost on the way."""
    results: dict[str, Any] = {}
    sent: Sent = []
    inbox: dict[tuple[str, str, type], list[Message]] = {}
    waits: dict[str, Any] = dict.fromkeys(flows)
    gone: set[str] = set()
    moved = True
    while moved and len(results) + len(gone - set(results)) < len(flows):
        moved = False
        for name, flow in flows.items():
            if name in results or name in gone:
                continue
            effect, value, failure = waits[name], None, None
            if effect is not None:
                queue = inbox.get((effect.sender, name, effect.kind), [])
                if queue:
                    value = queue.pop(0)
                elif effect.sender in gone | set(results):
                    failure = PeerLost("is gone", effect.sender)
                else:
                    continue
            moved = True
            while True:
                try:
                    effect = flow.send(value) if failure is None else flow.throw(failure)
                except StopIteration as stop:
                    results[name] = stop.value
                    break
                except (RemoteProtocolError, LocalProtocolError, PeerLost, Exception) as error:
                    results[name] = error
                    break
                value, failure = None, None
                assert not isinstance(effect, RecvAny)
                if isinstance(effect, Recv):
                    waits[name] = effect
                    break
                if isinstance(effect, Send):
                    if drops(name, effect.to, effect.message):
                        gone.add(name)
                        break
                    if effect.to in gone:
                        failure = PeerLost("is gone", effect.to)
                        continue
                    told = change(name, effect.to, effect.message)
                    sent.append((name, effect.to, told))
                    inbox.setdefault((name, effect.to, type(told)), []).append(told)
    for flow in flows.values():
        flow.close()
    return results, sent


def weights_of(found: Any) -> F64:
    """What a member's training came to. Raises what it ended by."""
    if isinstance(found, Exception):
        raise found
    assert isinstance(found, Trained)
    return found.weights
