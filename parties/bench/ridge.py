"""The joint ridge's moments and scores between processes, beside scikit-style pooled least squares in the clear."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parties.bench.session import Part, run_session
from parties.bench.train import Shape, benched
from psi.flow import Flow, Role
from vfl.arithmetic.he import Context, KeyHolder
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.ring import Ring
from vfl.models.ridge.feature import serve_linear
from vfl.models.ridge.label import SealedLinear
from vfl.models.ridge.moments import solve_ridge
from vfl.protocols.feature_session import FeatureSession
from vfl.protocols.label_session import LabelSession
from vfl.protocols.opening import agree_masks
from vfl.protocols.opening_budget import OpeningBudget
from vfl.terms import FixedPoint, RidgeModel

__all__ = ["bench_ridge"]

RUN = "be" * 32
FIXED = FixedPoint()
OWN = 4
TERMS = RidgeModel()


def bench_ridge(shape: Shape) -> dict[str, Any]:
    """Moments of all rows in blocks of ``shape.batch``, one solution, and the scores of one block."""
    names = [f"p{i}" for i in range(shape.parties)]
    arguments = {"shape": shape, "names": names}
    parts = {"label": Part(Role.LABEL, _label_part, arguments)}
    parts |= {name: Part(Role.FEATURE, _feature_part, arguments) for name in names}
    measured = run_session(parts)
    seconds, fit = measured["label"].result
    error = float(np.abs(fit - _pooled_scores(shape, names)).max())
    used = shape.rows // shape.batch * shape.batch
    return {
        **asdict(shape),
        "seconds": seconds,
        "rows_per_second": used / seconds,
        "largest_score_difference": error,
        "bytes_per_row": sum(size for m in measured.values() for _, size in m.sent.values()) / used,
        "peak_rss_mb": {name: m.peak_rss_mb for name, m in measured.items()},
        "cpu_seconds": {name: m.cpu_seconds for name, m in measured.items()},
    }


def _data(shape: Shape, seat: int) -> NDArray[np.float64]:
    return np.random.default_rng(seat).normal(size=(shape.rows, shape.features)).clip(-8, 8)


def _own(shape: Shape) -> NDArray[np.float64]:
    return np.random.default_rng(1000).normal(size=(shape.rows, OWN))


def _labels(shape: Shape, names: list[str]) -> NDArray[np.float64]:
    signal = sum(_data(shape, seat)[:, 0] for seat in range(len(names)))
    return np.asarray(signal + np.random.default_rng(2000).normal(size=shape.rows))


def _label_part(name: str, shape: Shape, names: list[str]) -> Flow[tuple[float, NDArray[np.float64]]]:
    del name
    own, label = _own(shape), _labels(shape, names)
    key = KeyHolder(Context(shape.parameter_set, FIXED.ring_bits))
    source = SealedLinear(LabelSession(**_exact("label", shape, names), key=key))
    began = time.monotonic()
    yield from source.start()
    blocks = shape.rows // shape.batch
    total = None
    for step in range(blocks):
        rows = np.arange(step * shape.batch, (step + 1) * shape.batch, dtype=np.int64)
        block = yield from source.moments(step, rows, own[rows], label[rows])
        total = block if total is None else total + block
    assert total is not None
    fit = solve_ridge(total, TERMS.alpha)
    source.use(fit.coefficients[: shape.features * len(names)])
    rows = np.arange(shape.batch, dtype=np.int64)
    z = yield from source.forward(blocks, rows)
    seconds = time.monotonic() - began
    yield from source.finish()
    scores = z[:, 0] + own[rows] @ fit.coefficients[shape.features * len(names) :] + fit.intercept
    return seconds, scores


def _exact(name: str, shape: Shape, names: list[str]) -> dict[str, Any]:
    """The session's terms without the noise of opened numbers, so that scores can be compared with pooled ones."""
    return {**benched(name, shape, names), "numbers": None}


def _feature_part(name: str, shape: Shape, names: list[str]) -> Flow[int]:
    stream = SecretStream(os.urandom(32))
    masks = yield from agree_masks(name, names, RUN, Ring(FIXED.ring_bits), stream)
    budget = OpeningBudget(shape.rows, 4)
    session = FeatureSession(**_exact(name, shape, names), masks=masks, budget=budget, stream=stream)
    served = yield from serve_linear(session, _data(shape, names.index(name)), OWN + 1, TERMS)
    return served.steps


def _pooled_scores(shape: Shape, names: list[str]) -> NDArray[np.float64]:
    """Ridge on the pooled rows with an unpenalised intercept: the normal equations in float64."""
    used = shape.rows // shape.batch * shape.batch
    x = np.hstack([*(_data(shape, seat) for seat in range(len(names))), _own(shape)])[:used]
    y = _labels(shape, names)[:used]
    xc, yc = x - x.mean(axis=0), y - y.mean()
    beta = np.linalg.solve(xc.T @ xc + TERMS.alpha * np.eye(x.shape[1]), xc.T @ yc)
    scores: NDArray[np.float64] = (x[: shape.batch] - x.mean(axis=0)) @ beta + y.mean()
    return scores
