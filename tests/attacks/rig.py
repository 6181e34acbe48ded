"""A sealed source layer in one process with everything recorded, for attacks on what either side holds."""

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
from vfl.arithmetic.he import Context, KeyHolder
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.ring import Ring, encode_features
from vfl.arithmetic.share import Share
from vfl.models.split.feature import serve_source
from vfl.models.split.label import SealedSource
from vfl.protocols.feature_session import FeatureSession
from vfl.protocols.label_session import LabelSession
from vfl.protocols.opened_numbers import OpenedNumbers, RowNoise
from vfl.protocols.opening import ZeroSumMasks, agree_masks
from vfl.protocols.opening_budget import OpeningBudget
from vfl.protocols.session import RingShare, ServedSource
from vfl.terms import FixedPoint

# the small parameter set: t = 2**44 leaves room for weights of 2**4 at these scales
FIXED = FixedPoint(ring_bits=44, feature_bits=8, gradient_bits=12)
RING = Ring(FIXED.ring_bits)
SET = "bfv-4096"
RUN = hashlib.sha256(b"attacks").hexdigest()
LIMIT = 2**28


def secret(name: str) -> SecretStream:
    return SecretStream(hashlib.sha256(name.encode()).digest())


@cache
def key_for() -> KeyHolder:
    return KeyHolder(Context(SET, FIXED.ring_bits))


def weight_share(name: str, shape: tuple[int, int], size: float = 0.25) -> RingShare:
    """A share of small random weights, uniform in +-size."""
    unit = secret(name).unit(shape[0] * shape[1]).reshape(shape) * 2 - 1
    return Share(RING, RING.wrap(np.rint(unit * size * 2**FIXED.weight_bits).astype(np.int64)))


def label_end(
    columns: Mapping[str, int], *, session: str = "train-1", numbers: OpenedNumbers | None = None
) -> LabelSession:
    """The label party's end of a session."""
    single = len(columns) == 1
    return LabelSession(
        "label", "label", columns, FIXED, SET, session, single_party=single, numbers=numbers, key=key_for()
    )


def noise_of(me: str, numbers: OpenedNumbers) -> RowNoise:
    """A feature party's noise of this run."""
    return RowNoise(hashlib.sha256(f"noise/{me}".encode()).digest(), numbers)


def feature_end(
    me: str,
    columns: Mapping[str, int],
    masks: Any,
    budget: OpeningBudget,
    stream: SecretStream,
    *,
    session: str,
    numbers: OpenedNumbers | None = None,
) -> FeatureSession:
    """A feature party's end of a session."""
    return FeatureSession(
        me,
        "label",
        columns,
        FIXED,
        SET,
        session,
        single_party=len(columns) == 1,
        numbers=numbers,
        noise=None if numbers is None else noise_of(me, numbers),
        masks=masks,
        budget=budget,
        stream=stream,
    )


def encoded(features: NDArray[np.float64]) -> NDArray[np.int64]:
    return encode_features(features, FIXED.feature_bits, FIXED.clip)


@dataclass
class Heard:
    """One message on the wire."""

    sender: str
    receiver: str
    kind: str
    body: bytes
    message: Message


@dataclass
class Session:
    """A run whose messages pass through the codec and are kept."""

    flows: Callable[[], dict[str, Flow[Any]]]
    tamper: Callable[[str, str, Message], Message] = lambda sender, receiver, got: got
    heard: list[Heard] = field(default_factory=list)

    def run(self) -> dict[str, Any]:
        return run_local(self.flows(), relay=self.relay)

    def relay(self, sender: str, receiver: str, got: Message) -> Message:
        kind, body = encode(self.tamper(sender, receiver, got))
        arrived = decode(kind, body, limit=LIMIT)
        self.heard.append(Heard(sender, receiver, kind, body, arrived))
        return arrived

    def seen(self, kind: str, *, sender: str = "", receiver: str = "") -> list[Any]:
        """Messages of a kind, from and to whom where that is said."""
        return [
            h.message
            for h in self.heard
            if h.kind == kind and sender in ("", h.sender) and receiver in ("", h.receiver)
        ]


def feature_side(
    me: str,
    columns: Mapping[str, int],
    features: NDArray[np.float64],
    width: int,
    budget: OpeningBudget,
    *,
    session: str = "train-1",
    stream: SecretStream | None = None,
    wrap_masks: Callable[[ZeroSumMasks], Any] = lambda masks: masks,
    numbers: OpenedNumbers | None = None,
) -> Flow[tuple[ServedSource, ZeroSumMasks]]:
    stream = stream or secret(f"stream/{me}")
    masks = yield from agree_masks(me, tuple(columns), RUN, RING, stream)
    share = weight_share(f"u/{me}", (features.shape[1], width))
    end = feature_end(me, columns, wrap_masks(masks), budget, stream, session=session, numbers=numbers)
    served = yield from serve_source(end, encoded(features), share)
    return served, masks


def label_side(
    source: SealedSource, steps: Sequence[tuple[NDArray[np.int64], NDArray[np.float64] | None]]
) -> Flow[list[NDArray[np.float64]]]:
    """Opens each step's rows, and trains on those that have a gradient."""
    yield from source.start()
    opened = []
    for number, (rows, gradient) in enumerate(steps):
        opened.append((yield from source.forward(number, rows)))
        if gradient is not None:
            yield from source.backward(number, rows, gradient)
    yield from source.finish()
    return opened


def label_session(
    parties: Sequence[str],
    features: dict[str, NDArray[np.float64]],
    width: int,
    *,
    steps: int = 1,
    limit: int = 100,
    gradient: Callable[[int], NDArray[np.float64] | None] = lambda step: None,
    rows: NDArray[np.int64] | None = None,
    session: str = "train-1",
    numbers: OpenedNumbers | None = None,
    **options: Any,
) -> Session:
    """All rows, ``steps`` times."""
    some = features[parties[0]]
    ids = np.arange(len(some)) if rows is None else rows
    columns = {n: features[n].shape[1] for n in parties}

    def flows() -> dict[str, Flow[Any]]:
        shares = {n: weight_share(f"v/{n}", (features[n].shape[1], width)) for n in parties}
        gradients = [gradient(step) for step in range(steps)]
        predictions = [i for i, g in enumerate(gradients) if g is None]
        source = SealedSource(label_end(columns, numbers=numbers), shares, secret("label"), predictions=predictions)
        made: dict[str, Flow[Any]] = {"label": label_side(source, [(ids, g) for g in gradients])}
        for n in parties:
            budget = OpeningBudget(len(some), limit)
            made[n] = feature_side(n, columns, features[n], width, budget, session=session, numbers=numbers, **options)
        return made

    return Session(flows)
