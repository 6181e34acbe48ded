"""Sealed trees in one process: all sides over memory, every message through the codec, what opens observed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parties.wire.codec import decode, encode
from psi.flow import Flow, Message, run_local
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.arithmetic.randomness import SecretStream
from vfl.models.sealed.ends import coefficient_key, slot_key
from vfl.models.sealed.label import LabelKeys
from vfl.models.sealed.messages import Members
from vfl.models.trees.anchor import TreesAnchor
from vfl.models.trees.feature import TreesFeature
from vfl.models.trees.label import TreesLabel
from vfl.models.trees.twin import IntegerTwin
from vfl.models.trees.walk import grow_steps
from vfl.protocols.opening_budget import OpeningBudget
from vfl.tree_terms import TreesModel
from vfl.walk.schedule import Step

LIMIT = 2**28


def secret(name: str) -> SecretStream:
    return SecretStream(seed(name))


def seed(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


@cache
def keys(holder: str) -> LabelKeys:
    del holder
    return LabelKeys(coefficient_key(), slot_key())


@dataclass
class Heard:
    """One message on the wire."""

    sender: str
    receiver: str
    kind: str
    body: bytes
    message: Message


@dataclass
class Consortium:
    """Parties with columns, and one run of a schedule among them."""

    features: Mapping[str, NDArray[np.float64]]
    own: NDArray[np.float64]
    terms: TreesModel
    anchor: str = "a"
    session: str = "train-1"
    salt: str = ""
    limit: int = 100
    valued: bool = False
    most_steps: int = 10_000
    tamper: Callable[[str, str, Message], Message] = lambda sender, receiver, got: got
    heard: list[Heard] = field(default_factory=list)
    sides: dict[str, Any] = field(default_factory=dict)
    scores: dict[int, NDArray[np.float64]] = field(default_factory=dict)

    @property
    def members(self) -> Members:
        return Members("label", self.anchor, {n: x.shape[1] for n, x in self.features.items()}, self.own.shape[1])

    @property
    def rows(self) -> int:
        return len(self.own)

    def twin(self, **options: Any) -> IntegerTwin:
        columns = dict(self.features) | ({"label": self.own} if self.own.shape[1] else {})
        parties = tuple(self.features) if self.valued else ()
        return IntegerTwin(
            columns, {n: seed(f"candidates/{n}") for n in columns}, self.terms, parties=parties, **options
        )

    def stream(self, name: str) -> SecretStream:
        return secret(f"{self.session}/{self.salt}/{name}")

    def label_side(self, **options: Any) -> TreesLabel:
        side = TreesLabel(
            self.members, self.own, secret("candidates/label"), self.terms, keys("label"), self.stream("label"),
            session=self.session, valued=self.valued, **options,
        )  # fmt: skip
        self.sides["label"] = side
        return side

    def anchor_side(self, **options: Any) -> TreesAnchor:
        values = self.features.get(self.anchor, np.zeros((self.rows, 0)))
        budget = options.pop("budget", None) or OpeningBudget(self.rows, self.limit)
        side = TreesAnchor(
            self.members, values, secret(f"candidates/{self.anchor}"), self.terms, keys("anchor").coefficient, budget,
            self.stream(self.anchor), session=self.session, most_steps=self.most_steps, valued=self.valued, **options,
        )  # fmt: skip
        self.sides[self.anchor] = side
        return side

    def feature_side(self, me: str, **options: Any) -> TreesFeature:
        side = TreesFeature(
            me, self.members, self.features[me], secret(f"candidates/{me}"), self.terms, self.stream(me),
            session=self.session, most_steps=self.most_steps, **options,
        )  # fmt: skip
        self.sides[me] = side
        return side

    def serve_label(self, steps: Sequence[Step], labels: NDArray[np.float64], **options: Any) -> Flow[None]:
        side = self.label_side(**options)
        yield from side.start()
        self.scores = yield from grow_steps(side, steps, lambda step: labels[step.rows], resumed=options.get("resumed"))
        yield from side.finish()

    def relay(self, sender: str, receiver: str, got: Message) -> Message:
        kind, body = encode(self.tamper(sender, receiver, got))
        arrived = decode(kind, body, limit=LIMIT)
        self.heard.append(Heard(sender, receiver, kind, body, arrived))
        return arrived

    def flows(self, steps: Sequence[Step], labels: NDArray[np.float64]) -> dict[str, Flow[Any]]:
        made: dict[str, Flow[Any]] = {"label": self.serve_label(steps, labels)}
        made[self.anchor] = self.anchor_side().serve()
        for name in self.members.others:
            made[name] = self.feature_side(name).serve()
        return made

    def run(self, steps: Sequence[Step], labels: NDArray[np.float64]) -> None:
        run_local(self.flows(steps, labels), relay=self.relay)

    def opened_scores(self) -> NDArray[np.int64]:
        """Every row's score in training, which nobody in a run can see."""
        every = np.arange(self.rows)
        both = (self.sides[name].fits.of(every) for name in ("label", self.anchor))
        return PRIME_RING.signed(PRIME_RING.add(*both))

    def opened_coalitions(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Every coalition's scores (coalitions, B) in training, which nobody in a run can see."""
        both = (self.sides[name].fits.of_coalitions(rows) for name in ("label", self.anchor))
        return PRIME_RING.signed(PRIME_RING.add(*both))


def columns(rows: int, d: int, name: str, *, missing: float = 0.0) -> NDArray[np.float64]:
    """Random values, some of them missing."""
    draw = np.random.default_rng(int.from_bytes(seed(name)[:4], "big"))
    values = draw.normal(size=(rows, d))
    return np.where(draw.random(values.shape) < missing, np.nan, values)


class Observed:
    """What every level's sums were, and what opened of them: what no side of a run can see."""

    def __init__(self) -> None:
        self.inside: dict[tuple[str, str], Any] = {}
        self.outside: dict[tuple[str, str], Any] = {}

    def watch(self, patch: Any) -> Observed:
        """Put the observers in, by pytest's monkeypatch."""
        from vfl.models.trees import anchor, label
        from vfl.protocols.truncation import evaluate_truncation, hold_truncation

        def hold(peer: str, name: str, share: Any, bits: int, key: Any, *, bound: int) -> Flow[Any]:
            made = yield from hold_truncation(peer, name, share, bits, key, bound=bound)
            self.inside[name, "label"], self.outside[name, "label"] = share, made
            return made

        def evaluate(peer: str, name: str, share: Any, bits: int, side: Any, *, bound: int) -> Flow[Any]:
            made = yield from evaluate_truncation(peer, name, share, bits, side, bound=bound)
            self.inside[name, "anchor"], self.outside[name, "anchor"] = share, made
            return made

        patch.setattr(label, "hold_truncation", hold)
        patch.setattr(anchor, "evaluate_truncation", evaluate)
        return self

    def both(self, name: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """What went in and what came out, opened."""
        return tuple(
            PRIME_RING.signed(PRIME_RING.add(kept[name, "label"].reshape(-1), kept[name, "anchor"].reshape(-1)))
            for kept in (self.inside, self.outside)
        )  # type: ignore[return-value]

    def opened(self, step: int, level: int, sums: NDArray[np.int64]) -> NDArray[np.uint64]:
        """For the twin: asserts that the run summed these very values, and gives what opened."""
        inside, outside = self.both(f"numbers/{step}/{level}")
        assert np.array_equal(inside, sums.reshape(-1)), f"level {level} of step {step}: other sums than the twin's"
        return (outside.view(np.uint64) & np.uint64(0xFFFFFFFF)).reshape(sums.shape)
