"""Encrypted training steps (forward and backward) between processes, beside the same shapes in the clear."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from parties.bench.product import operation_times, paillier_rows_per_second
from parties.bench.session import Measured, Part, run_session
from parties.node.sessions import SessionTerms
from parties.node.zero_supply import PreparedZeros
from psi.flow import Flow, Role
from vfl.arithmetic.he import Context, KeyHolder
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.ring import Ring, encode_features
from vfl.arithmetic.share import Share
from vfl.models.split.feature import serve_source
from vfl.models.split.initial import initial_share
from vfl.models.split.label import SealedSource
from vfl.protocols.feature_session import FeatureSession
from vfl.protocols.label_session import LabelSession
from vfl.protocols.opened_numbers import OpenedNumbers, RowNoise
from vfl.protocols.opening import agree_masks
from vfl.protocols.opening_budget import OpeningBudget
from vfl.protocols.product import choose_packing
from vfl.terms import FixedPoint, OpeningTerms

__all__ = ["Shape", "bench_train", "benched"]

RUN = "be" * 32
FIXED = FixedPoint()


@dataclass(frozen=True)
class Shape:
    """rows: of the whole data set; batch rows a step; features: columns of each feature party."""

    rows: int
    batch: int
    features: int
    hidden: int
    parties: int
    steps: int
    parameter_set: str = "bfv-8192"


def benched(me: str, shape: Shape, names: Sequence[str]) -> SessionTerms:
    """The session of a benchmark."""
    return {
        "me": me,
        "label_party": "label",
        "parties": dict.fromkeys(names, shape.features),
        "fixed": FIXED,
        "parameter_set": shape.parameter_set,
        "name": "bench-1",
        "single_party": shape.parties == 1,
        "numbers": OpenedNumbers(OpeningTerms().deviation),
    }


def bench_train(shape: Shape) -> dict[str, Any]:
    """Time ``shape.steps`` training steps. rows_per_second counts the rows trained, times the feature parties."""
    names = [f"p{i}" for i in range(shape.parties)]
    arguments = {"shape": shape, "names": names}
    parts = {"label": Part(Role.LABEL, _label_part, arguments)}
    parts |= {name: Part(Role.FEATURE, _feature_part, arguments) for name in names}
    measured = run_session(parts)
    seconds = float(measured["label"].result)
    trained = shape.batch * shape.steps
    raw = shape.parties * _raw_seconds(shape)
    return {
        **asdict(shape),
        "seconds": seconds,
        "milliseconds_per_step": 1000 * seconds / shape.steps,
        "rows_per_second": trained * shape.parties / seconds,
        "bytes_per_row_to_features": _bytes(measured["label"]) / trained / shape.parties,
        "bytes_per_row_to_label": sum(_bytes(measured[name]) for name in names) / trained / shape.parties,
        "peak_rss_mb": {name: m.peak_rss_mb for name, m in measured.items()},
        "cpu_seconds": {name: m.cpu_seconds for name, m in measured.items()},
        "raw_seal_seconds_per_step": raw,
        "share_of_raw": raw * shape.steps / seconds,
        "plain_torch_rows_per_second": _plain_rows_per_second(shape),
        "paillier_rows_per_second": paillier_rows_per_second(shape.features, shape.hidden) / 2,
    }


def _raw_seconds(shape: Shape) -> float:
    """SEAL operations of one step with one feature party, both sides added up; measured after the run, alone."""
    key = KeyHolder(Context(shape.parameter_set, FIXED.ring_bits))
    times = operation_times(key)
    packing = choose_packing(shape.batch, shape.features, shape.hidden, key.context.degree, both=True)
    return packing.step(shape.batch, shape.features, shape.hidden, both=True).seconds(times)


def _label_part(name: str, shape: Shape, names: list[str]) -> Flow[float]:
    """The label party: random gradients, so that nothing but the source layer is timed. Returns seconds."""
    del name
    ring, stream = Ring(FIXED.ring_bits), SecretStream(os.urandom(32))
    total = shape.features * shape.parties
    share = Share(ring, ring.wrap(initial_share(bytes(32), (shape.features, shape.hidden), FIXED, total)))
    key = KeyHolder(Context(shape.parameter_set, FIXED.ring_bits))
    session = LabelSession(**benched("label", shape, names), key=key)
    source = SealedSource(session, dict.fromkeys(names, share), stream)
    yield from source.start()
    draw = np.random.default_rng(0)
    gradient = draw.normal(size=(shape.batch, shape.hidden)) * 1e-3
    began = 0.0
    for step in range(shape.steps + 1):
        if step == 1:
            began = time.monotonic()
        rows = draw.permutation(shape.rows)[: shape.batch].astype(np.int64)
        yield from source.forward(step, rows)
        yield from source.backward(step, rows, gradient)
    seconds = time.monotonic() - began
    yield from source.finish()
    return seconds


def _feature_part(name: str, shape: Shape, names: list[str]) -> Flow[int]:
    """A feature party with random features; returns its steps."""
    ring, stream = Ring(FIXED.ring_bits), SecretStream(os.urandom(32))
    features = np.random.default_rng(1).normal(size=(shape.rows, shape.features))
    encoded = encode_features(features, FIXED.feature_bits, FIXED.clip)
    del features
    masks = yield from agree_masks(name, names, RUN, ring, stream)
    size, total = (shape.features, shape.hidden), shape.features * shape.parties
    share = Share(ring, ring.wrap(initial_share(os.urandom(32), size, FIXED, total)))
    budget = OpeningBudget(shape.rows, shape.steps + 1)
    terms = benched(name, shape, names)
    session = FeatureSession(
        **terms,
        masks=masks,
        noise=RowNoise(os.urandom(32), terms["numbers"]),
        budget=budget,
        stream=stream,
        supply=PreparedZeros,
    )
    served = yield from serve_source(session, encoded, share)
    return served.steps


def _plain_rows_per_second(shape: Shape) -> float:
    """The same forward and backward products in PyTorch, all parties in one process, without any protection."""
    import torch

    torch.manual_seed(0)
    x = torch.randn(shape.batch, shape.features * shape.parties)
    w = torch.zeros(shape.features * shape.parties, shape.hidden)
    g = torch.randn(shape.batch, shape.hidden)
    began, steps = time.monotonic(), 0
    while time.monotonic() - began < 0.5:
        _ = x @ w
        w -= 1e-6 * (x.T @ g)
        steps += 1
    return shape.batch * shape.parties * steps / (time.monotonic() - began)


def _bytes(measured: Measured) -> int:
    return sum(size for _, size in measured.sent.values())
