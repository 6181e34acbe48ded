"""One private product in one process: the protocol's time against the raw SEAL operations it cannot do without."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from psi.flow import run_local
from vfl.arithmetic.he import Context, Evaluator, KeyHolder, raw_operations
from vfl.arithmetic.paillier import KEY_BITS, PaillierKey, paillier_product
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.ring import Ring
from vfl.protocols.product import Prepared, choose_packing, encrypt_right
from vfl.protocols.product_flows import evaluate_product, hold_product
from vfl.terms import FixedPoint

__all__ = ["bench_product", "operation_times", "paillier_rows_per_second", "timed"]

RING_BITS = FixedPoint().ring_bits


def bench_product(
    rows: int, features: int, hidden: int, *, parameter_set: str = "bfv-8192", seconds: float = 2.0
) -> dict[str, Any]:
    """Time X (rows x features) @ Y (features x hidden), both sides' work added up in one process."""
    context = Context(parameter_set, RING_BITS)
    key = KeyHolder(context)
    evaluator = Evaluator(context, key.public_key)
    stream, ring = SecretStream(os.urandom(32)), Ring(RING_BITS)
    left = np.random.default_rng(0).integers(-4096, 4097, (rows, features))
    right = ring.uniform(stream, (features, hidden))
    packing = choose_packing(rows, features, hidden, context.degree)

    def once() -> None:
        prepared = Prepared(evaluator, left, packing)
        run_local(
            {
                "label": hold_product("feature", "x", right, rows, key, packing),
                "feature": evaluate_product("label", "x", prepared, hidden, stream),
            }
        )

    took = timed(once, seconds)
    times = operation_times(key)
    raw = packing.operations(rows, features, hidden).seconds(times)
    return {
        "rows": rows,
        "features": features,
        "hidden": hidden,
        "parameter_set": parameter_set,
        "packing": packing.sizes,
        "seconds": took,
        "rows_per_second": rows / took,
        "raw_seal_seconds": raw,
        "share_of_raw": raw / took,
        "milliseconds": {name: 1000 * value for name, value in times.items()},
        "operand_bytes": sum(map(len, encrypt_right(key, right, packing))),
        "paillier_rows_per_second": paillier_rows_per_second(features, hidden),
        "numpy_rows_per_second": rows / timed(lambda: ring.matmul(left, right), 0.2),
    }


def operation_times(key: KeyHolder) -> dict[str, float]:
    """Seconds of each raw SEAL operation."""
    return {name: timed(operation, 0.1) for name, operation in raw_operations(key).items()}


def paillier_rows_per_second(features: int, hidden: int) -> float:
    """From a sample: encryptions of one operand are shared by all rows, so only a row's own work counts."""
    key, ring, stream = PaillierKey(KEY_BITS), Ring(RING_BITS), SecretStream(os.urandom(32))
    columns = min(features, 4)
    left = np.random.default_rng(0).integers(-4096, 4097, (1, columns))
    right = ring.uniform(stream, (columns, 1))
    took = timed(lambda: paillier_product(left, right, key, RING_BITS, stream), 0.5)
    return 1 / (took / columns * features * hidden)


def timed(work: Callable[[], object], seconds: float) -> float:
    """Mean seconds of one call, over at least ``seconds``, after one call to warm up."""
    work()
    began, calls = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        work()
        calls += 1
    return (time.perf_counter() - began) / calls
