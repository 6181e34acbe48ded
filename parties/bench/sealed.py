"""Training steps of the sealed network between processes, beside the split network's step of the same shape."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from parties.bench.session import RUN, Part, run_session
from parties.bench.train import Shape, bench_train
from parties.node.zero_supply import PreparedZeros
from psi.flow import Flow, Role, run_local
from vfl.arithmetic.he import Evaluator, KeyHolder, raw_operations
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.zero_supply import FreshZeros, ZeroSupply
from vfl.models.sealed.anchor import SealedAnchor
from vfl.models.sealed.columns import SealedColumns
from vfl.models.sealed.ends import coefficient_key, packing_of, slot_key
from vfl.models.sealed.feature import SealedFeature
from vfl.models.sealed.initial import sealed_start
from vfl.models.sealed.label import LabelKeys, SealedLabel
from vfl.models.sealed.messages import Members
from vfl.models.sealed.scoring import scoring_steps, sealed_scoring
from vfl.protocols.opening import agree_masks
from vfl.protocols.opening_budget import OpeningBudget
from vfl.protocols.operations import Operations
from vfl.protocols.slots import ciphertexts_of
from vfl.terms import FixedPoint, SealedModel
from vfl.walk.schedule import Step

__all__ = ["SealedShape", "bench_scores", "bench_sealed", "one_core_seconds", "raw_step_seconds"]

FIXED = FixedPoint()
LABEL = "label"
Supply = Callable[[Evaluator], ZeroSupply]


@dataclass(frozen=True)
class SealedShape:
    """rows: of the data set; batch: rows of a step; features: columns of each feature party; own: the label party's."""

    rows: int
    batch: int
    features: int
    hidden: int
    parties: int
    steps: int
    own: int = 0

    @property
    def terms(self) -> SealedModel:
        return SealedModel(width=self.hidden, batch_rows=max(self.batch, 8))

    @property
    def members(self) -> Members:
        """The first feature party is the anchor."""
        return Members(LABEL, "p0", {f"p{i}": self.features for i in range(self.parties)}, self.own)


def bench_sealed(shape: SealedShape, *, beside: bool = True) -> dict[str, Any]:
    """Time ``shape.steps`` training steps, after one to warm up. rows_per_second counts the rows trained.

    beside: also the split network's step of this shape, under ``split``.
    """
    parts = {LABEL: Part(Role.LABEL, _label_part, {"shape": shape})}
    for name in shape.members.features:
        made = _anchor_part if name == shape.members.anchor else _feature_part
        parts[name] = Part(Role.FEATURE, made, {"shape": shape})
    measured = run_session(parts)
    seconds = float(measured[LABEL].result)
    trained, raw = shape.batch * shape.steps, raw_step_seconds(shape)
    alone = one_core_seconds(shape)
    sent = {name: sum(size for _, size in m.sent.values()) for name, m in measured.items()}
    figures: dict[str, Any] = {
        **asdict(shape),
        "seconds": seconds,
        "milliseconds_per_step": 1000 * seconds / shape.steps,
        "rows_per_second": trained / seconds,
        "bytes_per_row": {name: size / (trained + shape.batch) for name, size in sent.items()},
        "peak_rss_mb": {name: m.peak_rss_mb for name, m in measured.items()},
        "cpu_seconds": {name: m.cpu_seconds for name, m in measured.items()},
        "raw_seal_seconds_per_step": raw,
        "one_core_seconds_per_step": alone,
        "one_core_rows_per_second": shape.batch / alone,
        "share_of_raw": raw / alone,
    }
    if beside:
        split = Shape(shape.rows, min(shape.batch, 8192), shape.features, shape.hidden, shape.parties, shape.steps)
        figures["split"] = bench_train(split)
    return figures


def bench_scores(shape: SealedShape) -> dict[str, Any]:
    """Time one session that scores ``shape.rows`` rows once between processes: keys, products, truncations, opening."""
    parts = {LABEL: Part(Role.LABEL, _scoring_part, {"shape": shape})}
    for name in shape.members.features:
        made = _anchor_part if name == shape.members.anchor else _feature_part
        parts[name] = Part(Role.FEATURE, made, {"shape": shape})
    measured = run_session(parts)
    return {
        **asdict(shape),
        "seconds": float(measured[LABEL].result),
        "cpu_seconds": {name: m.cpu_seconds for name, m in measured.items()},
        "bytes": {name: sum(size for _, size in m.sent.values()) for name, m in measured.items()},
    }


def raw_step_seconds(shape: SealedShape) -> float:
    """CPU seconds of one step's SEAL operations, all sides added up: matrix products, then those of slot mode."""
    width, batch = shape.hidden + 1, shape.batch
    packing = packing_of(batch, shape.features, width, train=True)
    seconds = shape.parties * packing.step(batch, shape.features, width, both=True).seconds(
        _cpu_times(coefficient_key())
    )
    if shape.parties > 1:
        # the other feature parties answer the second share holder's half of the gradient too
        more = packing.again(batch, shape.features, width).seconds(_cpu_times(coefficient_key()))
        seconds += (shape.parties - 1) * more
    square = ciphertexts_of(batch * shape.hidden)
    count = ciphertexts_of(batch * width) + 2 * square + ciphertexts_of(batch)
    count += shape.parties * ciphertexts_of(shape.features * width)
    slots = Operations(count, count, count + square, count + square)
    return seconds + slots.seconds(_cpu_times(slot_key()))


def one_core_seconds(shape: SealedShape, steps: int = 3) -> float:
    """CPU seconds of a step with every side in this process, without a network."""
    members = shape.members
    parts: dict[str, Flow[Any]] = {name: _feature_part(name, shape, FreshZeros) for name in members.others}
    parts[members.anchor] = _anchor_part(members.anchor, shape, FreshZeros)
    parts[LABEL] = _label_part(LABEL, replace(shape, steps=steps), time.process_time)
    return float(run_local(parts)[LABEL]) / steps


def _cpu_times(key: KeyHolder) -> dict[str, float]:
    """CPU seconds of each raw SEAL operation, so that whatever else the machine does is not counted."""
    times = {}
    for name, operation in raw_operations(key).items():
        operation()
        began, calls = time.process_time(), 0
        while time.process_time() - began < 0.1:
            operation()
            calls += 1
        times[name] = (time.process_time() - began) / calls
    return times


def _columns(shape: SealedShape, columns: int, seed: int) -> SealedColumns:
    values = np.random.default_rng(seed).normal(size=(shape.rows, columns))
    return SealedColumns(values, shape.terms, FIXED)


def _weights(shape: SealedShape, held: dict[str, int]) -> dict[str, np.ndarray[Any, np.dtype[np.uint64]]]:
    total = shape.members.columns
    return {name: sealed_start(os.urandom(32), count, shape.terms, total) for name, count in held.items()}


def _label_part(name: str, shape: SealedShape, clock: Callable[[], float] = time.monotonic) -> Flow[float]:
    """The label party, with random labels. Returns the seconds of all steps but the first."""
    del name
    keys = LabelKeys(coefficient_key(), slot_key())
    weights = _weights(shape, SealedLabel.columns_held(shape.members))
    side = SealedLabel(
        shape.members, _columns(shape, shape.own, 2), weights, shape.terms, FIXED, keys,
        session="bench-1",
    )  # fmt: skip
    draw = np.random.default_rng(0)
    labels, began = draw.normal(size=shape.rows), 0.0
    yield from side.start()
    for number in range(shape.steps + 1):
        if number == 1:
            began = clock()
        rows = draw.permutation(shape.rows)[: shape.batch].astype(np.int64)
        yield from side.train(Step(number, "train", 0, rows, shape.rows), labels[rows])
    seconds = clock() - began
    yield from side.finish()
    return seconds


def _scoring_part(name: str, shape: SealedShape) -> Flow[float]:
    """The label party of a scoring session. Returns the seconds of all of it."""
    del name
    began = time.monotonic()
    keys = LabelKeys(coefficient_key(), slot_key())
    weights = _weights(shape, SealedLabel.columns_held(shape.members))
    side = SealedLabel(
        shape.members, _columns(shape, shape.own, 2), weights, shape.terms, FIXED, keys, session="bench-1"
    )
    universe = np.ones((1, shape.rows), dtype=np.bool_)
    yield from sealed_scoring(side, scoring_steps(universe, 0))
    return time.monotonic() - began


def _anchor_part(name: str, shape: SealedShape, supply: Supply = PreparedZeros) -> Flow[None]:
    """The anchor, with random columns of its own."""
    weights = _weights(shape, SealedAnchor.columns_held(shape.members))
    side = SealedAnchor(
        shape.members, _columns(shape, shape.features, int(name[1:]) + 3), weights, shape.terms, FIXED,
        coefficient_key(), OpeningBudget(shape.rows, 1), SecretStream(os.urandom(32)),
        session="bench-1", supply=supply,
    )  # fmt: skip
    yield from side.serve()


def _feature_part(name: str, shape: SealedShape, supply: Supply = PreparedZeros) -> Flow[None]:
    """A feature party beside the anchor."""
    stream = SecretStream(os.urandom(32))
    masks = yield from agree_masks(name, shape.members.others, RUN, PRIME_RING, stream)
    weight = _weights(shape, {name: shape.features})[name]
    side = SealedFeature(
        name, shape.members, _columns(shape, shape.features, int(name[1:]) + 3), weight, shape.terms, FIXED, masks,
        stream, session="bench-1", supply=supply,
    )  # fmt: skip
    yield from side.serve()
