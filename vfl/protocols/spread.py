"""The private product's evaluator side spread over a party's own workers: processes or machines it controls.

Each worker gets a slice of X and the whole encrypted operand, and makes its own encryptions of zero and masks
from its own operating-system randomness; masks never travel between workers except as the finished share. Only
the evaluator's side is spread: the key holder's secret key stays in one process.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vfl.arithmetic.he import Context, Evaluator
from vfl.arithmetic.randomness import SecretStream
from vfl.protocols.product import Answer, Operand, Packing, Prepared, multiply
from vfl.protocols.slots import Made, multiply_slots

__all__ = ["Spread", "SpreadSlots", "Workers"]

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]


class Workers(Protocol):
    """Runs calls somewhere else and returns their results in order."""

    @property
    def count(self) -> int:
        """How many calls it works on at once."""

    def __call__(self, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> list[Any]: ...


class Spread:
    """A left operand X (rows, inner) whose products are computed by ``workers``, a range of output blocks each."""

    def __init__(self, workers: Workers, evaluator: Evaluator, public_key: bytes, left: I64, packing: Packing) -> None:
        self.packing = packing
        self.shape = left.shape
        self._workers = workers
        self._key = (evaluator.context.name, evaluator.context.ring_bits, public_key)
        self._left = left

    def blocks(self, operand: Operand, *, transposed: bool = False) -> int:
        """Blocks that an operand of these columns has."""
        rows, inner = self.shape
        summed: int = math.ceil(rows / self.packing.m) if transposed else math.ceil(inner / self.packing.n)
        return summed * math.ceil(operand.columns / self.packing.k)

    def multiply(self, operand: Operand, *, transposed: bool = False) -> tuple[Answer, U64]:
        """As :func:`vfl.protocols.product.multiply`; MalformedError when the operand does not fit."""
        height = self.packing.n if transposed else self.packing.m
        rows = self.shape[1] if transposed else self.shape[0]
        blocks = math.ceil(rows / height)
        share = math.ceil(blocks / max(self._workers.count, 1)) * height
        calls = []
        for start in range(0, rows, share):
            part = self._left[:, start : start + share] if transposed else self._left[start : start + share]
            calls.append((*self._key, np.ascontiguousarray(part), self.packing, operand, transposed))
        done: list[tuple[Answer, U64]] = self._workers(_part, calls)
        answer = Answer(
            operand.label,
            rows,
            tuple(c0 for part, _ in done for c0 in part.first),
            tuple(c1 for part, _ in done for c1 in part.second),
        )
        return answer, np.concatenate([part for _, part in done])


class SpreadSlots:
    """Products element by element, computed by ``workers``, a range of ciphertexts each."""

    def __init__(self, workers: Workers, evaluator: Evaluator) -> None:
        self._workers = workers
        self._key = (evaluator.context.name, evaluator.context.ring_bits, evaluator.public_key)

    def __call__(self, terms: Sequence[tuple[Sequence[bytes], U64]]) -> Made:
        """As :func:`vfl.protocols.slots.multiply_slots`."""
        blocks = len(terms[0][0])
        share = math.ceil(blocks / max(self._workers.count, 1))
        calls = [
            (*self._key, [(list(c[start : start + share]), v[start : start + share]) for c, v in terms])
            for start in range(0, blocks, share)
        ]
        done: list[Made] = self._workers(_slot_part, calls)
        first = tuple(c0 for part in done for c0 in part[0])
        second = tuple(c1 for part in done for c1 in part[1])
        return first, second, np.concatenate([part[2] for part in done])


def _slot_part(name: str, ring_bits: int, public_key: bytes, terms: list[tuple[list[bytes], U64]]) -> Made:
    """A worker's ciphertexts: received blocks and the evaluator's own slot values, of each term."""
    evaluator = _evaluator(name, ring_bits, public_key)
    loaded = [
        ([evaluator.load(b) for b in blocks], [evaluator.plain(p) for p in evaluator.context.slots.polynomials(values)])
        for blocks, values in terms
    ]
    return multiply_slots(evaluator, loaded, SecretStream(secrets.token_bytes(32)))


def _part(
    name: str, ring_bits: int, public_key: bytes, left: I64, packing: Packing, operand: Operand, transposed: bool
) -> tuple[Answer, U64]:
    """A worker's slice: ``left`` holds the columns (transposed) or rows of X that its output blocks need."""
    evaluator = _evaluator(name, ring_bits, public_key)
    stream = SecretStream(secrets.token_bytes(32))
    return multiply(Prepared(evaluator, left, packing), operand, stream, transposed=transposed)


@lru_cache(maxsize=4)
def _evaluator(name: str, ring_bits: int, public_key: bytes) -> Evaluator:
    return Evaluator(Context(name, ring_bits), public_key)
