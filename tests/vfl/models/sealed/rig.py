"""A sealed network in one process: all sides over memory, every message through the codec, truncations observed."""

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
from vfl.models.sealed.anchor import SealedAnchor
from vfl.models.sealed.ends import coefficient_key, slot_key
from vfl.models.sealed.feature import SealedFeature
from vfl.models.sealed.initial import sealed_draw
from vfl.models.sealed.label import LabelKeys, SealedLabel
from vfl.models.sealed.messages import Members
from vfl.models.sealed.tied import added_columns, agree_start, group_seed
from vfl.models.sealed.twin import IntegerTwin
from vfl.protocols.opening import ZeroSumMasks, agree_masks
from vfl.protocols.opening_budget import OpeningBudget
from vfl.terms import FixedPoint, SealedModel
from vfl.walk.schedule import Step

FIXED = FixedPoint()
RUN = hashlib.sha256(b"sealed").hexdigest()
LIMIT = 2**28


def secret(name: str) -> SecretStream:
    return SecretStream(hashlib.sha256(name.encode()).digest())


def seed(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


@cache
def label_keys() -> LabelKeys:
    return LabelKeys(coefficient_key(), slot_key())


@cache
def anchor_key() -> Any:
    return coefficient_key()


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
    """Parties with columns, their initial weights, and one run of a schedule among them."""

    features: Mapping[str, NDArray[np.int64]]
    own: NDArray[np.int64]
    terms: SealedModel
    anchor: str = "a"
    session: str = "train-1"
    salt: str = ""
    tamper: Callable[[str, str, Message], Message] = lambda sender, receiver, got: got
    heard: list[Heard] = field(default_factory=list)
    sides: dict[str, Any] = field(default_factory=dict)
    scores: dict[int, NDArray[np.float64]] = field(default_factory=dict)
    limit: int = 100
    tied: tuple[tuple[str, ...], ...] = ()

    @property
    def members(self) -> Members:
        counts = {n: x.shape[1] for n, x in self.features.items()}
        return Members("label", self.anchor, counts, self.own.shape[1], self.tied)

    @property
    def rows(self) -> int:
        return len(self.own)

    def draw(self, holder: str, owner: str, columns: int) -> NDArray[np.int64]:
        members = self.members
        drawn = seed(f"start/{holder}/{owner}")
        if holder in members.features and len(members.group(holder)) > 1:
            drawn = group_seed({name: seed(f"start/{name}") for name in members.group(holder)})
        return sealed_draw(drawn, columns, self.terms, members.columns)

    def weights(self) -> NDArray[np.int64]:
        """Both sides' initial parts added up, in the order of the parties, the label party's own last."""
        members, parts = self.members, []
        for name, columns in members.heads.items():
            parts.append(self.draw(name, name, columns) + self.draw("label", name, columns))
        if members.own:
            parts.append(self.draw(members.anchor, "label", members.own) + self.draw("label", "label", members.own))
        return np.concatenate(parts)

    def twin(self, **options: Any) -> IntegerTwin:
        heads = [self.members.head(name) for name in self.features]
        pooled = np.concatenate([*added_columns(heads, list(self.features.values())), self.own], axis=1)
        return IntegerTwin(pooled, self.weights(), self.terms, FIXED, **options)

    def label_side(self, **options: Any) -> SealedLabel:
        held = SealedLabel.columns_held(self.members)
        weights = {name: PRIME_RING.wrap(self.draw("label", name, columns)) for name, columns in held.items()}
        side = SealedLabel(
            self.members, self.own, weights, self.terms, FIXED, label_keys(),
            session=self.session, **options,
        )  # fmt: skip
        self.sides["label"] = side
        return side

    def stream(self, name: str) -> SecretStream:
        return secret(f"{self.session}/{self.salt}/{name}")

    def anchor_side(self, **options: Any) -> SealedAnchor:
        held = SealedAnchor.columns_held(self.members)
        weights = {name: PRIME_RING.wrap(self.draw(self.anchor, name, columns)) for name, columns in held.items()}
        features = self.features.get(self.anchor, np.zeros((self.rows, 0), dtype=np.int64))
        budget = options.pop("budget", None) or OpeningBudget(self.rows, self.limit)
        side = SealedAnchor(
            self.members, features, weights, self.terms, FIXED, anchor_key(), budget, self.stream(self.anchor),
            session=self.session, **options,
        )  # fmt: skip
        self.sides[self.anchor] = side
        return side

    def feature_side(self, me: str, masks: ZeroSumMasks, **options: Any) -> SealedFeature:
        x = self.features[me]
        weight = PRIME_RING.wrap(self.draw(me, me, x.shape[1]))
        side = SealedFeature(
            me, self.members, x, weight, self.terms, FIXED, masks,
            self.stream(me), session=self.session, **options,
        )  # fmt: skip
        self.sides[me] = side
        return side

    def serve_feature(self, me: str, **options: Any) -> Flow[None]:
        masks = yield from agree_masks(me, self.members.others, RUN, PRIME_RING, self.stream(f"masks/{me}"))
        group = self.members.group(me)
        if len(group) > 1:
            found = yield from agree_start(me, group, seed(f"start/{me}"))
            assert found == group_seed({name: seed(f"start/{name}") for name in group})
        yield from self.feature_side(me, masks, **options).serve()

    def serve_label(self, steps: Sequence[Step], labels: NDArray[np.float64], **options: Any) -> Flow[None]:
        side = self.label_side(**options)
        yield from side.start()
        for step in steps:
            if step.kind == "predict":
                self.scores[step.number] = yield from side.predict(step)
            else:
                yield from side.train(step, labels[step.rows])
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
            made[name] = self.serve_feature(name)
        return made

    def run(self, steps: Sequence[Step], labels: NDArray[np.float64]) -> None:
        run_local(self.flows(steps, labels), relay=self.relay)

    def opened_weights(self) -> NDArray[np.int64]:
        """The weights that the sides' shares add up to: what nobody in a run can see."""
        members, label = self.members, self.sides["label"]
        parts = []
        for name in members.heads:
            other = self.sides[name]
            theirs = other.blocks[name] if name == self.anchor else other.block
            parts.append(PRIME_RING.signed(PRIME_RING.add(label.blocks[name].weight, theirs.weight)))
        if members.own:
            theirs = self.sides[self.anchor].blocks["label"]
            parts.append(PRIME_RING.signed(PRIME_RING.add(label.blocks["label"].weight, theirs.weight)))
        return np.concatenate(parts)


def columns(rows: int, d: int, name: str, *, heavy: bool = False) -> NDArray[np.int64]:
    """Random small integers, standard normal or heavy-tailed, as encode_features leaves them."""
    draw = np.random.default_rng(int.from_bytes(seed(name)[:4], "big"))
    values = draw.standard_t(2, size=(rows, d)) if heavy else draw.normal(size=(rows, d))
    return np.rint(np.clip(values, -8, 8) * 2**FIXED.feature_bits).astype(np.int64)


class Observed:
    """What every truncation of a run took in and gave back, opened: what no side of a run can see."""

    def __init__(self, consortium: Consortium) -> None:
        self.consortium = consortium
        self._held: dict[tuple[str, str], tuple[Any, Any]] = {}
        self._evaluated: dict[tuple[str, str], tuple[Any, Any]] = {}
        self._names: dict[int, str] = {}

    def watch(self, patch: Any) -> Observed:
        """Put the observers in, by pytest's monkeypatch."""
        from vfl.models.sealed import anchor, feature, label
        from vfl.protocols.truncation import evaluate_truncation, hold_truncation

        def hold(peer: str, name: str, share: Any, bits: int, key: Any, *, bound: int) -> Flow[Any]:
            made = yield from hold_truncation(peer, name, share, bits, key, bound=bound)
            self._held[name, peer] = share, made
            return made

        def evaluate(peer: str, name: str, share: Any, bits: int, side: Any, *, bound: int) -> Flow[Any]:
            made = yield from evaluate_truncation(peer, name, share, bits, side, bound=bound)
            self._evaluated[name, self._names[id(side.stream)]] = share, made
            return made

        patch.setattr(label, "hold_truncation", hold)
        patch.setattr(anchor, "evaluate_truncation", evaluate)
        patch.setattr(feature, "evaluate_truncation", evaluate)
        given = self.consortium.stream
        kept: list[SecretStream] = []

        def stream(name: str) -> SecretStream:
            kept.append(given(name))
            self._names[id(kept[-1])] = name
            return kept[-1]

        patch.setattr(self.consortium, "stream", stream)
        return self

    def opened(self, name: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """What went in and what came out, in the twin's order of columns."""
        members = self.consortium.members
        if not name.startswith("update/"):
            return self._pair(name, members.anchor)
        parts: dict[str, tuple[Any, Any]] = {}
        if members.anchored or members.own:
            inside, outside = self._pair(name, members.anchor)
            parts[members.anchor] = inside[: members.anchored], outside[: members.anchored]
            parts["label"] = inside[members.anchored :], outside[members.anchored :]
        for peer in members.heads:
            if peer != members.anchor:
                parts[peer] = self._pair(name, peer)
        order = [*members.heads, *(["label"] if members.own else [])]
        return tuple(np.concatenate([parts[n][i] for n in order]) for i in (0, 1))  # type: ignore[return-value]

    def _pair(self, name: str, peer: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        held, other = self._held[name, peer], self._evaluated[name, peer]
        return tuple(PRIME_RING.signed(PRIME_RING.add(held[i], other[i])) for i in (0, 1))  # type: ignore[return-value]

    def truncate(self, name: str, values: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
        """For the twin: asserts that the run truncated these very values, within 2 units, and gives what it got."""
        inside, outside = self.opened(name)
        assert np.array_equal(inside, values), f"{name}: the run truncated other values than the twin"
        assert int(np.abs(outside - ((values + (1 << (bits - 1))) >> bits)).max()) <= 2, name
        return outside
