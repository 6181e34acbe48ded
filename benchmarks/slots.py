"""Speed of the prime ring's two modes: ``python -m benchmarks.slots [--rows 4096] [--features 32] [--hidden 8]``.

Both sides' work is added up in one process, in processor time, so that a busy machine says little. Raw SEAL operations
are timed alone and counted; encryptions, the loading of operands and decryptions of ours take less than SEAL's.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tenseal.sealapi as seal
from numpy.typing import NDArray

from psi.flow import Flow, run_local
from vfl.arithmetic.he import Context, Evaluator, KeyHolder, raw_operations
from vfl.arithmetic.parameter_sets import COEFFICIENT_SET, SLOT_SET
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.arithmetic.randomness import SecretStream
from vfl.protocols.product import Operand, Prepared, choose_packing, encrypt_right, multiply, open_answer
from vfl.protocols.product_flows import evaluate_product, hold_product
from vfl.protocols.slots import (
    SlotEvaluator,
    answer_slots,
    ciphertexts_of,
    evaluate_slots,
    finish_slots,
    hold_slots,
    offer_slots,
    receive_slots,
)
from vfl.protocols.truncation import LARGEST, evaluate_truncation, hold_truncation

__all__ = ["main"]

U64 = NDArray[np.uint64]
RING = PRIME_RING
INPUT = ("encrypt", "expand", "ntt")
OUTPUT = ("zero", "inverse_ntt", "switch", "decrypt")


def timed(work: Callable[[], object], seconds: float = 1.0) -> float:
    """Least processor seconds of one call, over at least ``seconds``, after one call to warm up."""
    work()
    best, began = float("inf"), time.process_time()
    while time.process_time() - began < seconds:
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


def many(work: Callable[[], object], calls: int = 20) -> Callable[[], object]:
    """Calls too short to be timed one by one."""
    return lambda: [work() for _ in range(calls)]


class Ends:
    """Keys of both modes, and what each side of a step needs."""

    def __init__(self) -> None:
        self.stream = SecretStream(os.urandom(32))
        self.slot_key, self.key = (KeyHolder(Context(name, RING.bits)) for name in (SLOT_SET, COEFFICIENT_SET))
        self.slot_evaluator = Evaluator(self.slot_key.context, self.slot_key.public_key)
        self.evaluator = Evaluator(self.key.context, self.key.public_key)
        self.side = SlotEvaluator(self.slot_evaluator, self.stream)

    def both(self, holder: Flow[Any], other: Flow[Any]) -> None:
        run_local({"holder": holder, "other": other})

    def product(self, a: U64, b: U64) -> None:
        self.both(hold_slots("other", "x", a, self.slot_key), evaluate_slots("holder", "x", b, self.side))

    def truncate(self, a: U64, b: U64, bits: int) -> None:
        self.both(
            hold_truncation("other", "t", a, bits, self.slot_key, bound=LARGEST),
            evaluate_truncation("holder", "t", b, bits, self.side, bound=LARGEST),
        )

    def two_products(self, a: U64, b: U64, c: U64, d: U64) -> None:
        """a * c + b * d in one answer, a sent before."""

        def holder() -> Flow[U64]:
            yield from offer_slots("other", "a", a, self.slot_key)
            yield from offer_slots("other", "b", b, self.slot_key)
            return (yield from finish_slots("other", "x", a.size, self.slot_key))

        def other() -> Flow[U64]:
            first = yield from receive_slots("holder", "a", a.size, self.side)
            second = yield from receive_slots("holder", "b", b.size, self.side)
            return (yield from answer_slots("holder", "x", [(first, c), (second, d)], self.side))

        self.both(holder(), other())

    def raw(self, key: KeyHolder, evaluator: Evaluator) -> dict[str, float]:
        """Processor seconds of each raw SEAL operation."""
        return {name: timed(many(work), 0.2) / 20 for name, work in raw_operations(key).items()}


def own_work(ends: Ends) -> dict[str, float]:
    """Processor seconds of what is ours at either end of a product in coefficient mode."""
    key, made, degree = ends.key, ends.evaluator, ends.key.context.degree
    operands, half = RING.uniform(ends.stream, (2, degree)), RING.uniform(ends.stream, (degree // 2,))
    places = np.arange(degree // 32)
    answers = [made.finish(None, made.fresh_zero(), places, ends.stream)[:2] for _ in range(2)]
    first, second = zip(*answers, strict=True)
    return {
        "two operands encrypted": timed(lambda: key.encrypt_all(operands)),
        "two answers opened": timed(lambda: key.decrypt_all(first, second, [places] * 2)),
        "a half-filled block encoded": timed(lambda: made.plain(half)),
    }


def slot_seconds(raw: Mapping[str, float], transform: float, inputs: int, outputs: int, terms: int) -> float:
    """SEAL's part of slot products: ``terms`` plaintexts are encoded and multiplied over all."""
    return (
        inputs * (sum(raw[name] for name in INPUT) + transform)
        + outputs * (sum(raw[name] for name in OUTPUT) + 2 * transform)
        + terms * (raw["plain_ntt"] + raw["multiply"] + transform)
        + terms * raw["add"]
    )


def transforms(context: Context) -> tuple[float, float, float]:
    """Seconds a polynomial: our transform, SEAL's batch encoder and decoder through Python lists."""
    rows = RING.uniform(SecretStream(bytes(32)), (2, context.degree))
    encoder, plain = seal.BatchEncoder(context.seal), seal.Plaintext()
    encoder.encode(rows[0].tolist(), plain)
    ours = timed(many(lambda: context.slots.polynomials(rows)), 0.5) / 40
    encode = timed(many(lambda: encoder.encode(rows[0].tolist(), plain)), 0.5) / 20
    decode = timed(many(lambda: np.array(encoder.decode_uint64(plain), dtype=np.uint64)), 0.5) / 20
    return ours, encode, decode


def report(name: str, took: float, raw: float, products: int = 0) -> None:
    each = f"{1000 * took / products:8.2f} ms a ciphertext" if products else ""
    print(f"{name:<34} {1000 * took:9.2f} ms   SEAL {100 * raw / took:4.0f} %   {each}")


def measure_slots(ends: Ends, raw: Mapping[str, float], transform: float, rows: int, hidden: int) -> float:
    """Products and truncations of a sealed step of ``rows`` x ``hidden`` squared columns and one linear; seconds."""

    def pair(*shape: int) -> tuple[U64, U64]:
        return RING.uniform(ends.stream, shape), RING.uniform(ends.stream, shape)

    def blocks(*shape: int) -> int:
        return ciphertexts_of(int(np.prod(shape)))

    z, squared, residual = (rows, hidden + 1), (rows, hidden), (rows,)
    total = raw_total = 0.0
    one = ciphertexts_of(1)
    full = pair(8188)
    report("one ciphertext", timed(lambda: ends.product(*full)), slot_seconds(raw, transform, one, one, one), 1)
    steps: list[tuple[str, Callable[[], object], int, int, int]] = []
    a, b = pair(*z)
    steps.append(("z truncated", lambda: ends.truncate(a, b, 31), blocks(*z), blocks(*z), blocks(*z)))
    c, d = pair(*squared)
    steps.append(("z squared", lambda: ends.product(c, d), blocks(*squared), blocks(*squared), blocks(*squared)))
    e, f = pair(*residual)
    steps.append(("r truncated", lambda: ends.truncate(e, f, 16), blocks(rows), blocks(rows), blocks(rows)))
    g, h = pair(*squared)
    n = blocks(*squared)
    steps.append(("r * z, two products in one answer", lambda: ends.two_products(c, g, d, h), 2 * n, n, 2 * n))
    steps.append(("gradient truncated", lambda: ends.truncate(a, b, 20), blocks(*z), blocks(*z), blocks(*z)))
    for name, work, inputs, outputs, terms in steps:
        took, least = timed(work), slot_seconds(raw, transform, inputs, outputs, terms)
        report(name, took, least, outputs)
        total, raw_total = total + took, raw_total + least
    report("slot products of one step", total, raw_total)
    return total


def measure_matrices(ends: Ends, raw: Mapping[str, float], rows: int, features: int, columns: int) -> float:
    """X @ V once and X.T @ G twice, t = p; seconds."""
    left = np.random.default_rng(0).integers(-4096, 4097, (rows, features))
    weights, gradient = (RING.uniform(ends.stream, (n, columns)) for n in (features, rows))
    packing = choose_packing(rows, features, columns, ends.key.context.degree, both=True)
    prepared = Prepared(ends.evaluator, left, packing)

    def forward() -> None:
        ends.both(
            hold_product("other", "x", weights, rows, ends.key, packing),
            evaluate_product("holder", "x", prepared, columns, ends.stream),
        )

    def backward() -> None:
        sent = encrypt_right(ends.key, gradient, packing, transposed=True)
        operand = Operand("g", rows, columns, packing.sizes, sent)
        answer, _ = multiply(prepared, operand, ends.stream, transposed=True)
        open_answer(ends.key, answer, features, columns, packing, transposed=True)

    a, b, c = -(-rows // packing.m), -(-features // packing.n), -(-columns // packing.k)
    into, out = sum(raw[name] for name in INPUT), sum(raw[name] for name in OUTPUT if name != "switch")
    inner, encode = a * b * c * (raw["multiply"] + raw["add"]), a * b * raw["plain_ntt"]
    least = {
        "X encoded": encode,
        "X @ V": b * c * into + a * c * out + inner,
        "X.T @ G": a * c * into + b * c * out + inner,
    }
    took = {
        "X encoded": timed(lambda: Prepared(ends.evaluator, left, packing)),
        "X @ V": timed(forward),
        "X.T @ G": timed(backward),
    }
    for name, seconds in took.items():
        report(name, seconds, least[name])
    return took["X encoded"] + took["X @ V"] + 2 * took["X.T @ G"]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--features", type=int, default=32)
    parser.add_argument("--hidden", type=int, default=8)
    given = parser.parse_args(arguments)
    ends = Ends()
    a, b = (RING.uniform(ends.stream, (4096, 9)) for _ in range(2))
    print(f"4096 x 9 elements multiplied in {1000 * timed(lambda: RING.mul(a, b), 0.5):.2f} ms")
    transform, encode, decode = transforms(ends.slot_key.context)
    print(
        f"slots of a polynomial: {1000 * transform:.2f} ms; batch encoder {1000 * encode:.2f}, {1000 * decode:.2f} ms"
    )
    raw = ends.raw(ends.slot_key, ends.slot_evaluator)
    print("ours, ms: " + ", ".join(f"{name} {1000 * took:.2f}" for name, took in own_work(ends).items()))
    print("raw, slot mode, ms: " + ", ".join(f"{name} {1000 * value:.2f}" for name, value in raw.items()))
    slots = measure_slots(ends, raw, transform, given.rows, given.hidden)
    matrices = measure_matrices(ends, ends.raw(ends.key, ends.evaluator), given.rows, given.features, given.hidden + 1)
    step = slots + matrices
    print(f"a step of {given.rows} rows: {step:.3f} s of both sides, {given.rows / step:,.0f} rows/s")


if __name__ == "__main__":
    main()
