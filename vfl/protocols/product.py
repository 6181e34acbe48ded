"""The one primitive: X @ Y where the evaluator has small integers X and the key holder has Y in the ring.

Both end with additive shares of the product. The ring is the context's: Z_2^k, or the prime ring of the sealed models.
Everything secure is written in terms of it: the source layer's forward and backward pass, cross-moments, attribution.

Packing (coefficient encoding without rotations; the idea is Huang, Lu, Hong and Ding, "Cheetah",
USENIX Security 2022, section 3, generalised to blocks m x n and n x k with m*n*k <= N):
left block coefficient i*n*k + n-1-j = X[i, j]; right block coefficient l*n + j = Y[j, l]; then
coefficient i*n*k + (l+1)*n - 1 of the product is (X @ Y)[i, l]. Inner blocks add up in ciphertext.

The same left block serves X.T @ G, so a batch is encoded once for the forward and the backward pass:
with right block coefficient -i*n*k + l*n (mod 2N, negacyclic) = G[i, l], coefficient n-1-j + l*n of the
product is (X.T @ G)[j, l]. Terms of different rows i differ by a multiple of n*k, so they never meet it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from psi.flow import LocalProtocolError, Message, Payload, Role, message
from vfl.arithmetic.he import Evaluator, KeyHolder, ZeroSupply
from vfl.arithmetic.prime_ring import PrimeRing
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.received import MalformedError
from vfl.arithmetic.ring import Ring
from vfl.arithmetic.seal_objects import Ciphertext, Plain
from vfl.protocols.operations import Operations

__all__ = [
    "Answer",
    "LeftOperand",
    "Multiplication",
    "Operand",
    "Packing",
    "Prepared",
    "choose_packing",
    "encrypt_right",
    "multiply",
    "open_answer",
    "open_part",
    "output_blocks",
]

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

MOST_PREPARED_BYTES = 256 << 20
"""A left operand whose plaintexts would take more is encoded as it is used instead."""


@message(
    "product.operand",
    sender=Role.PARTY,
    receiver=Role.PARTY,
    payload=Payload.CIPHERTEXT,
    reveals="shape of the encrypted matrix; nothing of its values",
    source="BFV (Fan and Vercauteren 2012); secret-key encryption under the sender's own key",
)
class Operand(Message):
    """Encrypted right operand (inner x columns), packed in blocks; ciphertexts ordered inner, column."""

    label: str
    inner: int
    columns: int
    packing: tuple[int, ...]
    blocks: tuple[bytes, ...]


@message(
    "product.answer",
    sender=Role.PARTY,
    receiver=Role.PARTY,
    payload=Payload.CIPHERTEXT,
    reveals="after decryption a share uniform in the ring; nothing of the evaluator's plaintext",
    source="mask uniform in R_q, fresh public-key encryption of zero: docs/protocols/product.md#operand-and-answer",
)
class Answer(Message):
    """Masked product, one ciphertext per block: needed coefficients of c0, and c1."""

    label: str
    rows: int
    first: tuple[bytes, ...]
    second: tuple[bytes, ...]


@dataclass(frozen=True)
class Packing:
    """Block sizes: left m x n, right n x k (or m x k for the transposed product), and the ring degree they fill."""

    m: int
    n: int
    k: int
    degree: int

    def __post_init__(self) -> None:
        if min(self.m, self.n, self.k) < 1 or self.m * self.n * self.k > self.degree:
            raise ValueError(f"blocks of {self.m} x {self.n} x {self.k} do not fit a ring of degree {self.degree}")

    @property
    def sizes(self) -> tuple[int, int, int]:
        return self.m, self.n, self.k

    def operations(self, rows: int, inner: int, columns: int) -> Operations:
        """What X @ Y takes in these blocks, X (rows x inner) and Y (inner x columns)."""
        a, b, c = math.ceil(rows / self.m), math.ceil(inner / self.n), math.ceil(columns / self.k)
        return Operations(b * c, a * c, a * b * c, a * b)

    def again(self, rows: int, inner: int, columns: int) -> Operations:
        """What X.T @ G takes beside it, G (rows x columns): X is encoded already."""
        a, b, c = math.ceil(rows / self.m), math.ceil(inner / self.n), math.ceil(columns / self.k)
        return Operations(a * c, b * c, a * b * c, 0)

    def step(self, rows: int, inner: int, columns: int, *, both: bool) -> Operations:
        """What a step takes; ``both``: X @ Y and X.T @ G."""
        forward = self.operations(rows, inner, columns)
        return forward + self.again(rows, inner, columns) if both else forward

    def left(self, block: U64) -> U64:
        """Coefficients of one left block, shape (<=m, <=n)."""
        out = np.zeros((self.m, self.k, self.n), dtype=np.uint64)
        rows, inner = block.shape
        out[:rows, 0, self.n - inner :] = block[:, ::-1]
        return out.reshape(-1)

    def right(self, block: U64, ring: Ring | PrimeRing, *, transposed: bool) -> U64:
        """Coefficients of one right block: (<=n, <=k), or (<=m, <=k) when ``transposed``."""
        inner, columns = block.shape
        if not transposed:
            out = np.zeros((self.k, self.n), dtype=np.uint64)
            out[:columns, :inner] = block.T
            return out.reshape(-1)
        # Row i stands at exponent -i*n*k + l*n; x**-e is -x**(degree - e) in the negacyclic ring.
        whole = np.zeros(self.degree, dtype=np.uint64)
        starts = -np.arange(inner) * self.n * self.k
        places = (starts[:, None] + np.arange(columns)[None, :] * self.n) % self.degree
        whole[places] = np.where(np.arange(inner)[:, None] == 0, block, ring.neg(block))
        return whole

    def positions(self, rows: int, columns: int, *, transposed: bool) -> I64:
        """Coefficients that hold the (rows x columns) part of a result block, row-major."""
        i, l_ = np.arange(rows)[:, None], np.arange(columns)[None, :]
        if transposed:
            return (self.n - 1 - i + l_ * self.n).reshape(-1)
        return (i * self.n * self.k + (l_ + 1) * self.n - 1).reshape(-1)


def _pieces(size: int) -> list[int]:
    """The block sizes worth trying to cut ``size``: one for each number of pieces."""
    return sorted({math.ceil(size / pieces) for pieces in range(1, size + 1)})


@lru_cache(maxsize=4096)
def choose_packing(rows: int, inner: int, columns: int, degree: int, *, both: bool = False) -> Packing:
    """The cheapest blocks for X @ Y, X (rows x inner) and Y (inner x columns); ``both``: and for X.T @ G as well."""
    if min(rows, inner, columns) < 1:
        raise LocalProtocolError("a product needs at least one row, one inner column and one column")
    best: tuple[float, Packing] | None = None
    for k in _pieces(min(columns, degree)):
        for n in _pieces(min(inner, degree // k)):
            m = min(rows, degree // (n * k))
            packing = Packing(math.ceil(rows / math.ceil(rows / m)), n, k, degree)
            cost = packing.operations(rows, inner, columns).cost
            if both:
                cost += packing.again(rows, inner, columns).cost
            if best is None or cost < best[0]:
                best = cost, packing
    assert best is not None
    return best[1]


def encrypt_right(
    key: KeyHolder, right: U64, packing: Packing, *, transposed: bool = False, only: slice | None = None
) -> tuple[bytes, ...]:
    """Encrypt the right operand (inner, columns) block by block: message 1. only: which of all its blocks."""
    inner, columns = right.shape
    step = packing.m if transposed else packing.n
    ring, degree = key.context.ring, key.context.degree
    starts = [(b, c) for b in range(0, inner, step) for c in range(0, columns, packing.k)][only or slice(None)]
    polynomials = np.zeros((len(starts), degree), dtype=np.uint64)
    for polynomial, (b, c) in zip(polynomials, starts, strict=True):
        found = packing.right(right[b : b + step, c : c + packing.k], ring, transposed=transposed)
        polynomial[: len(found)] = found
    return key.encrypt_all(polynomials)


class LeftOperand(Protocol):
    """An X that is multiplied elsewhere, such as on a party's workers."""

    def blocks(self, operand: Operand, *, transposed: bool = False) -> int:
        """Blocks that an operand of these columns has."""

    def multiply(self, operand: Operand, *, transposed: bool = False) -> tuple[Answer, U64]:
        """As :func:`multiply`."""


class Prepared:
    """A left operand X (rows, inner) encoded once, for X @ Y and X.T @ G alike.

    Blocks are kept in NTT form while they fit :data:`MOST_PREPARED_BYTES`, else encoded as they are used.
    """

    def __init__(self, evaluator: Evaluator, left: I64, packing: Packing) -> None:
        context = evaluator.context
        self.evaluator = evaluator
        self.packing = packing
        self.shape = left.shape
        self._left = context.ring.wrap(left)
        self.row_blocks = math.ceil(left.shape[0] / packing.m)
        self.inner_blocks = math.ceil(left.shape[1] / packing.n)
        size = self.row_blocks * self.inner_blocks * len(context.primes) * context.degree * 8
        self._plains: list[list[Plain | None]] | None = None
        if size <= MOST_PREPARED_BYTES:
            self._plains = [[self._encode(a, b) for b in range(self.inner_blocks)] for a in range(self.row_blocks)]

    def under(self, evaluator: Evaluator) -> Prepared:
        """The same X for another key holder's operands: what is encoded depends on no key."""
        assert evaluator.context.name == self.evaluator.context.name, "plaintexts of one parameter set"
        other = copy(self)
        other.evaluator = evaluator
        return other

    def _encode(self, a: int, b: int) -> Plain | None:
        m, n = self.packing.m, self.packing.n
        return self.evaluator.plain(self.packing.left(self._left[a * m : (a + 1) * m, b * n : (b + 1) * n]))

    def block(self, a: int, b: int) -> Plain | None:
        """Row block a, inner block b, in NTT form; None when it is all zero."""
        return self._encode(a, b) if self._plains is None else self._plains[a][b]


class Multiplication:
    """The evaluator's work on one operand: X @ Y, or X.T @ G where ``transposed``, from blocks as they come.

    ``due`` blocks are taken; then ``made`` yields each output's two polynomials and fills ``share``, of the product's
    ``shape``. Every output takes one fresh encryption of zero and one mask uniform in R_q. Raises MalformedError when
    the operand does not fit X or the parameter set.
    """

    def __init__(self, prepared: Prepared, operand: Operand, *, transposed: bool = False) -> None:
        packing = prepared.packing
        rows, inner = prepared.shape[::-1] if transposed else prepared.shape
        if operand.packing != packing.sizes:
            raise MalformedError(f"the operand is packed as {operand.packing[:4]}, not as {packing.sizes}")
        if operand.inner != inner or operand.columns < 1:
            raise MalformedError(f"the operand has {operand.inner} rows where {inner} are needed")
        self._outer, self._summed = prepared.row_blocks, prepared.inner_blocks
        if transposed:
            self._outer, self._summed = self._summed, self._outer
        self._wide = math.ceil(operand.columns / packing.k)
        self.due: int = self._summed * self._wide
        self.shape = rows, operand.columns
        self._prepared, self._transposed, self._taken = prepared, transposed, 0
        self._ciphers: list[Ciphertext] = []
        # as they come where there are more of them than outputs, so that little is left to do after the last
        self._early, self._totals = self.due > self._outer * self._wide, dict[int, Ciphertext | None]()

    def take(self, blocks: Sequence[bytes]) -> None:
        """Load the next blocks."""
        evaluator = self._prepared.evaluator
        if self._taken + len(blocks) > self.due:
            raise MalformedError(f"the operand has {self._taken + len(blocks)} blocks, not {self.due}")
        for block in blocks:
            cipher = evaluator.load(block)
            summed, c = divmod(self._taken, self._wide)
            self._taken += 1
            if not self._early:
                self._ciphers.append(cipher)
                continue
            for outer in range(self._outer):
                place = outer * self._wide + c
                before = self._totals.get(place)
                self._totals[place] = evaluator.combine([cipher], [self._block(outer, summed)], before)

    @property
    def left(self) -> int:
        """Blocks that are still to come."""
        return self.due - self._taken

    def _block(self, outer: int, summed: int) -> Plain | None:
        return self._prepared.block(summed, outer) if self._transposed else self._prepared.block(outer, summed)

    def made(self, stream: SecretStream, zeros: ZeroSupply | None = None) -> Iterator[tuple[bytes, bytes]]:
        """The outputs' polynomials, the needed coefficients of the first and the second, in order."""
        assert not self.left, "all blocks first"
        evaluator, packing = self._prepared.evaluator, self._prepared.packing
        share = self.share = np.empty(self.shape, dtype=np.uint64)
        take = zeros or evaluator.fresh_zero
        height = packing.n if self._transposed else packing.m
        for outer in range(self._outer):
            top, bottom = outer * height, min((outer + 1) * height, len(share))
            plains = [] if self._early else [self._block(outer, summed) for summed in range(self._summed)]
            for c in range(self._wide):
                start, stop = c * packing.k, min((c + 1) * packing.k, share.shape[1])
                if self._early:
                    total = self._totals[outer * self._wide + c]
                else:
                    total = evaluator.combine(self._ciphers[c :: self._wide], plains)
                positions = packing.positions(bottom - top, stop - start, transposed=self._transposed)
                c0, c1, part = evaluator.finish(total, take(), positions, stream)
                share[top:bottom, start:stop] = part.reshape(bottom - top, stop - start)
                yield c0, c1


def multiply(
    prepared: Prepared,
    operand: Operand,
    stream: SecretStream,
    zeros: ZeroSupply | None = None,
    *,
    transposed: bool = False,
) -> tuple[Answer, U64]:
    """Message 2 and the evaluator's share of X @ Y (rows, columns), or of X.T @ G (inner, columns), at once.

    Raises MalformedError as :class:`Multiplication`.
    """
    work = Multiplication(prepared, operand, transposed=transposed)
    work.take(operand.blocks)
    if work.left:
        raise MalformedError(f"the operand has {len(operand.blocks)} blocks, not {work.due}")
    made = list(work.made(stream, zeros))
    answer = Answer(operand.label, work.shape[0], tuple(c0 for c0, _ in made), tuple(c1 for _, c1 in made))
    return answer, work.share


def output_blocks(rows: int, columns: int, packing: Packing, *, transposed: bool) -> int:
    """Ciphertexts of an answer (rows, columns)."""
    return math.ceil(rows / (packing.n if transposed else packing.m)) * math.ceil(columns / packing.k)


def open_answer(
    key: KeyHolder, answer: Answer, rows: int, columns: int, packing: Packing, *, transposed: bool = False
) -> U64:
    """The key holder's share (rows, columns). Raises MalformedError when the answer does not fit."""
    count = output_blocks(rows, columns, packing, transposed=transposed)
    if len(answer.first) != count:
        raise MalformedError(f"the answer has {len(answer.first)} blocks, not {count}")
    share = np.empty((rows, columns), dtype=np.uint64)
    open_part(key, answer, share, 0, packing, transposed=transposed)
    return share


def open_part(
    key: KeyHolder, answer: Answer, share: U64, done: int, packing: Packing, *, transposed: bool = False
) -> int:
    """Put what an answer's ciphertexts hold into ``share`` after the first ``done`` of all; how many are done then.

    Raises MalformedError when the answer does not fit.
    """
    rows, columns = share.shape
    count = output_blocks(rows, columns, packing, transposed=transposed)
    size = len(answer.first)
    if answer.rows != rows or size != len(answer.second) or not 1 <= size <= count - done:
        raise MalformedError(
            f"the answer has {answer.rows} rows in {done + size} blocks of {done + len(answer.second)}, not {rows} in "
            f"{count}"
        )
    height = packing.n if transposed else packing.m
    column_blocks = math.ceil(columns / packing.k)
    places = []
    for index in range(done, done + size):
        outer, c = divmod(index, column_blocks)
        top, bottom = outer * height, min((outer + 1) * height, rows)
        places.append((slice(top, bottom), slice(c * packing.k, min((c + 1) * packing.k, columns))))
    shapes = [share[place].shape for place in places]
    positions = [packing.positions(high, wide, transposed=transposed) for high, wide in shapes]
    opened = key.decrypt_all(answer.first, answer.second, positions)
    for place, shape, part in zip(places, shapes, opened, strict=True):
        share[place] = part.reshape(shape)
    return done + size
