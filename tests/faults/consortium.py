"""Simulated consortia: every party in this process, records in memory, faults where a seed says.

The product is a transparent one with the real one's interface: the same messages, shares that are uniform and sum to
the product, no encryption. Everything else is the product's own code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from parties.node.checkpoints import CheckpointStore, ServedRecords, WalkRecords
from parties.node.sessions import SessionTerms
from psi.flow import Flow, Message, RemoteProtocolError, Send, receive, run_local
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.ring import Ring, encode_features, pack, unpack
from vfl.arithmetic.share import Share
from vfl.factors.panel import FeaturePanel, LabelPanel
from vfl.models.split import label
from vfl.models.split.feature import serve_source
from vfl.models.split.label import SealedSource
from vfl.models.split.top import LabelHead
from vfl.models.split.training import walk_forward
from vfl.protocols import feature_session, label_session, session
from vfl.protocols.feature_session import FeatureSession
from vfl.protocols.label_session import LabelSession
from vfl.protocols.opening import agree_masks
from vfl.protocols.opening_budget import BudgetExceededError, Charge, OpeningBudget
from vfl.protocols.product import Answer, Operand
from vfl.protocols.resume import agree_place, offer_place
from vfl.protocols.session import Kept, RingShare
from vfl.terms import FixedPoint, SplitModel, WalkForward
from vfl.walk.result import TrainingResult
from vfl.walk.schedule import Step, prequential

FIXED = FixedPoint(gradient_bits=28)  # finer than a run's, for its rounding is drawn anew in every attempt
RING = Ring(FIXED.ring_bits)
RUN = hashlib.sha256(b"simulated").hexdigest()
LABEL = "fund"


class Crash(Exception):
    """The fault that the simulation injects."""


class MemoryStore(CheckpointStore):
    """Checkpoints in a dictionary. ``before`` and ``after`` may raise, around each write that a crash could split."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, NDArray[Any]]] = {}
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[], None] = lambda: None

    def put(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.before()
        self.kept[name] = {key: value.copy() for key, value in arrays.items()}
        self.after()

    def get(self, name: str) -> dict[str, NDArray[Any]] | None:
        return self.kept.get(name)

    def names(self) -> list[str]:
        return sorted(self.kept)

    def drop(self, names: Iterable[str]) -> None:
        for name in names:
            self.kept.pop(name, None)


def _offer(
    evaluators: Iterable[str], label: str, right: Any, key: Any, packing: Any, *, transposed: bool = False
) -> Flow[None]:
    for evaluator in evaluators:
        yield Send(evaluator, Operand(label, right.shape[0], right.shape[1], (1, 1, 1), (pack(right, RING.width),)))


def _hold(evaluator: str, label: str, right: Any, rows: int, key: Any, packing: Any) -> Flow[Any]:
    yield from _offer((evaluator,), label, right, key, packing)
    answer = yield from receive(evaluator, Answer)
    if answer.label != label:
        raise RemoteProtocolError("answered another product", evaluator)
    return unpack(answer.first[0], RING.width, rows * right.shape[1], RING.modulus).reshape(rows, right.shape[1])


def _finish(
    evaluator: str, label: str, rows: int, width: int, key: Any, packing: Any, *, transposed: bool
) -> Flow[Any]:
    answer = yield from receive(evaluator, Answer)
    if answer.label != label:
        raise RemoteProtocolError("answered another product", evaluator)
    return unpack(answer.first[0], RING.width, rows * width, RING.modulus).reshape(rows, width)


def _evaluate(
    holder: str, label: str, left: Any, width: int, stream: SecretStream, zeros: Any, *, transposed: bool = False
) -> Flow[Any]:
    operand = yield from receive(holder, Operand)
    if operand.label != label:
        raise RemoteProtocolError("asks for another product", holder)
    right = unpack(operand.blocks[0], RING.width, operand.inner * operand.columns, RING.modulus)
    small = left.T if transposed else left
    product = RING.matmul(small, right.reshape(operand.inner, operand.columns))
    mask = RING.uniform(stream, product.shape)
    yield Send(holder, Answer(label, len(product), (pack(RING.sub(product, mask), RING.width),), ()))
    return mask


@contextmanager
def transparent_product() -> Iterator[None]:
    """Put the transparent product in the sealed layer's place."""

    class Context:
        name, degree, ring_bits = "clear", 8192, RING.bits

    class Key:
        context, public_key = Context(), b""

    at_label = {
        "finish_product": _finish,
        "offer_right": _offer,
    }
    at_feature = {
        "evaluate_product": _evaluate,
        "Evaluator": lambda context, key: mock.Mock(context=context),
        "Prepared": lambda evaluator, left, packing: left,
    }
    with (
        mock.patch.multiple(label, **at_label),
        mock.patch.object(label_session, "hold_product", _hold),
        mock.patch.object(session, "Context", return_value=Context()),
        mock.patch.multiple(feature_session, **at_feature),
    ):
        Consortium.key = staticmethod(Key)
        yield


@dataclass
class Consortium:
    """A label party and feature parties with a small panel. What a crash leaves is ``stores`` and ``charges``."""

    seed: int
    parties: tuple[str, ...] = ("a", "b")
    periods: int = 7
    entities: int = 12
    limit: int = 3
    stores: dict[str, MemoryStore] = field(default_factory=dict)
    charges: dict[str, list[Charge]] = field(default_factory=dict)
    masks_used: list[tuple[str, str]] = field(default_factory=list)
    attempts: int = 0
    kept: dict[str, Any] = field(default_factory=dict)
    boundary: Callable[[], None] = lambda: None
    """Called when everyone's record of a step is on disk: where a paused run stops."""

    key = staticmethod(lambda: None)

    def __post_init__(self) -> None:
        draw = np.random.default_rng(self.seed)
        shape = (self.periods, self.entities)
        self.features = {name: draw.normal(size=(*shape, 3)).clip(-8, 8) for name in self.parties}
        signal = sum(x[..., 0] for x in self.features.values())
        label = 0.5 * signal + draw.normal(size=shape)
        never = np.full(shape, np.datetime64("NaT", "ns"))
        own = FeaturePanel((), np.zeros((*shape, 0)), np.ones(shape, dtype=bool), never, never)
        known = np.repeat(np.arange(1, self.periods + 1)[:, None], self.entities, axis=1)
        self.panel = LabelPanel(own, label, known, np.ones(shape, dtype=bool))
        self.terms = SplitModel(
            embedding_width=2,
            epochs=2,
            warmup_epochs=2,
            batch_rows=8,
            hidden=2,
            seed=self.seed,
            source_learning_rate=0.1,
        )
        walk = WalkForward(warmup=2, horizon=0, embargo=0)
        panel = self.panel
        self.steps: tuple[Step, ...] = tuple(
            prequential(self.terms, walk, panel.known_from, panel.label, panel.universe, self.limit, 0)
        )
        self.stores = {name: MemoryStore() for name in (LABEL, *self.parties)}
        self.charges = {name: [] for name in self.parties}

    def planned(self) -> NDArray[np.int64]:
        """Openings of each row that the schedule needs."""
        counts = np.zeros(self.periods * self.entities, dtype=np.int64)
        for step in self.steps:
            counts[step.rows] += 1
        return counts

    def counted(self, party: str) -> NDArray[np.int64]:
        """Openings of each row in the party's own store."""
        counts = np.zeros(self.periods * self.entities, dtype=np.int64)
        for charge in self.charges[party]:
            counts[charge.rows] += 1
        return counts

    def secret(self, name: str) -> SecretStream:
        """A stream that is new in every attempt, as a node's is."""
        return SecretStream(hashlib.sha256(f"{self.seed}/{self.attempts}/{name}".encode()).digest())

    def terms_of(self, me: str, name: str) -> SessionTerms:
        """What every end of a session says alike."""
        return {
            "me": me,
            "label_party": LABEL,
            "parties": dict.fromkeys(self.parties, 3),
            "fixed": FIXED,
            "parameter_set": "clear",
            "name": name,
            "single_party": len(self.parties) == 1,
        }

    def initial(self, name: str) -> RingShare:
        stream = SecretStream(hashlib.sha256(f"{self.seed}/{name}".encode()).digest())
        return Share(RING, RING.wrap((stream.unit(6).reshape(3, 2) * 2**34).astype(np.int64) - 2**33))

    def attempt(self, relay: Callable[[str, str, Message], Message] | None = None) -> TrainingResult:
        """One attempt at training, from what the stores hold."""
        self.attempts += 1
        flows: dict[str, Flow[Any]] = {LABEL: self._label(), **{name: self._feature(name) for name in self.parties}}
        results = run_local(flows, relay=relay)
        result: TrainingResult = results[LABEL]
        total = sum(kept.share.elements.astype(object) for kept in self.kept[LABEL].values())
        for name in self.parties:
            assert np.array_equal(results[name].rows, self.kept[LABEL][name].rows)
            total = total + results[name].share.elements.astype(object)
        opened = RING.decode((total % RING.modulus).astype(np.uint64), FIXED.output_bits)
        rows = results[self.parties[0]].rows
        assert np.array_equal(opened, result.embeddings.reshape(-1, 2)[rows]), "the shares kept fit what was opened"
        return result

    def _label(self) -> Flow[TrainingResult]:
        records = WalkRecords(self.stores[LABEL], self.steps, self.parties, RING, self.boundary)
        place = yield from agree_place(self.parties, records.places())
        resumed = records.go_on(place)
        head = LabelHead(self.terms, 0)
        ours = LabelSession(**self.terms_of(LABEL, "train"), key=self.key(), journal=records, resumed=resumed)  # type: ignore[arg-type]
        sealed = SealedSource(
            ours,
            {name: self.initial(f"v/{name}") for name in self.parties},
            self.secret("label"),
            predictions=[step.number for step in self.steps if step.kind == "predict"],
        )
        for number, outcome in sorted(resumed.outcomes.items()) if resumed is not None else ():
            ours.keep(self.steps[number].rows, outcome.held)
        yield from sealed.start()
        result = yield from walk_forward(sealed, head, self.steps, self.panel, journal=records, resumed=resumed)
        records.finish(head.snapshot(), result.losses, result.ics)
        yield from sealed.finish()
        self.kept = {LABEL: sealed.kept}
        return result

    def _feature(self, me: str) -> Flow[Kept]:
        records = ServedRecords(self.stores[me], "data", RING)
        stream = self.secret(me)
        masks = yield from agree_masks(me, self.parties, RUN, RING, stream)
        drawn = masks.mask

        def noted(label: str, *rest: Any) -> Any:
            self.masks_used.append((me, label))
            return drawn(label, *rest)

        masks.mask = noted  # type: ignore[method-assign]
        place = yield from offer_place(LABEL, records.places())
        resumed, predicted = records.go_on(place)
        budget = OpeningBudget(
            self.periods * self.entities, self.limit, history=self.charges[me], record=self.charges[me].append
        )
        rows = self.features[me].reshape(-1, 3)
        session = FeatureSession(
            **self.terms_of(me, f"train-{self.attempts}"),
            masks=masks,
            budget=budget,
            stream=stream,
            journal=records,
            resumed=resumed,
            predicted=predicted,
        )
        encoded = encode_features(rows, FIXED.feature_bits, FIXED.clip)
        served = yield from serve_source(session, encoded, self.initial(f"u/{me}"))
        records.finish(served.share)
        return served.predictions


def difference(one: TrainingResult, other: TrainingResult) -> float:
    """Largest score difference in standard deviations of the period's scores."""
    predicted = np.isfinite(one.scores).any(axis=1)
    assert np.array_equal(np.isfinite(one.scores), np.isfinite(other.scores))
    spread = np.nanstd(one.scores[predicted], axis=1, keepdims=True)
    return float(np.nanmax(np.abs(one.scores - other.scores)[predicted] / spread))


__all__ = ["BudgetExceededError", "Consortium", "Crash", "MemoryStore", "difference", "transparent_product"]
