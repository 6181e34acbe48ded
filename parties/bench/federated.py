"""Federated averaging between real processes: members, a coordinator, secure sums, and the same in the clear."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parties.bench.session import RUN, Part, run_session
from parties.names import COORDINATOR
from psi.flow import Flow, Role
from vfl.arithmetic.randomness import SecretStream
from vfl.federated.learning import ModuleLearner, network_learner
from vfl.federated.rounds import Round, Rounds, Trained, aggregate, take_part
from vfl.federated.twin import in_plain
from vfl.federated_terms import FederatedModel

__all__ = ["FederatedShape", "bench_federated"]

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class FederatedShape:
    """Rows are each member's; members differ in what their columns are worth (non-IID)."""

    members: int = 4
    rows: int = 500
    features: int = 16
    hidden: int = 16
    rounds: int = 10

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"m{number}" for number in range(self.members))

    @property
    def model(self) -> FederatedModel:
        return FederatedModel(rounds=self.rounds, hidden=self.hidden).agreed_for(self.members)

    @property
    def agreed(self) -> Rounds:
        return Rounds(self.model, self.names, COORDINATOR, RUN, len(self.learner("m0").weights), first=1)

    @property
    def warming(self) -> Rounds:
        """One round before all that is timed."""
        once = self.model.model_copy(update={"rounds": 1})
        return replace(self.agreed, model=once, first=0)

    def data(self, name: str) -> tuple[F64, F64]:
        """A member's rows and labels."""
        place = self.names.index(name)
        common, own = np.random.default_rng(0).normal(size=(1 + self.members, self.features))[[0, 1 + place]]
        draw = np.random.default_rng(1 + place)
        rows = draw.normal(size=(self.rows, self.features))
        return rows, np.tanh(rows @ (common + 0.3 * own) / self.features**0.5) + draw.normal(size=self.rows)

    def learner(self, name: str) -> ModuleLearner:
        return network_learner(*self.data(name), self.model, seed=0)


def bench_federated(shape: FederatedShape) -> dict[str, Any]:
    """Train once. seconds: of all rounds, local epochs included, after one that is not counted."""
    arguments = {"shape": shape}
    parts = {name: Part(Role.FEATURE if name != "m0" else Role.LABEL, _member, arguments) for name in shape.names}
    measured = run_session(parts | {COORDINATOR: Part(Role.COORDINATOR, _coordinator, arguments)})
    learners = {name: shape.learner(name) for name in shape.names}
    initial = learners["m0"].weights
    began = time.perf_counter()
    plain = in_plain(shape.agreed, learners, initial)
    clear = time.perf_counter() - began
    trained = [measured[name].result[0] for name in shape.names]
    seconds = max(measured[name].result[1] for name in shape.names)
    difference = max(float(np.abs(weights - plain).max()) for weights in trained)
    sent = {name: sum(size for _, size in one.sent.values()) for name, one in measured.items()}
    return {
        **asdict(shape),
        "weights": len(plain),
        "seconds": seconds,
        "seconds_per_round": seconds / shape.rounds,
        "plain_seconds": clear,
        "largest_difference": difference,
        "bytes_per_round": {name: size / (shape.rounds + 1) for name, size in sent.items()},
        "peak_rss_mb": {name: one.peak_rss_mb for name, one in measured.items()},
        "cpu_seconds": {name: one.cpu_seconds for name, one in measured.items()},
    }


def _member(name: str, shape: FederatedShape) -> Flow[tuple[F64, float]]:
    """One member, after a round in which everybody loads what training needs. Returns weights and seconds."""
    stream = SecretStream(name.encode().ljust(32, b"."))
    initial = shape.learner(name).weights
    yield from take_part(shape.warming, name, shape.learner(name), initial, stream)
    learner = shape.learner(name)
    began = time.perf_counter()
    trained: Trained = yield from take_part(shape.agreed, name, learner, initial, stream)
    return trained.weights, time.perf_counter() - began


def _coordinator(name: str, shape: FederatedShape) -> Flow[tuple[Round, ...]]:
    assert name == COORDINATOR
    yield from aggregate(shape.warming, set())
    return (yield from aggregate(shape.agreed, set()))
