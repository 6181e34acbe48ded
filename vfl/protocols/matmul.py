"""The one primitive: X @ Y where the evaluator has small integers X and the key holder has Y in Z_t.

Both end with additive shares of the product mod t. Everything secure is written in terms of it:
the source layer's forward and backward pass, cross-moments, attribution.

Packing (coefficient encoding without rotations; the idea is Huang, Lu, Hong and Ding, "Cheetah",
USENIX Security 2022, section 3, generalised to blocks m x n and n x k with m*n*k <= N):
left block coefficient i*n*k + n-1-j = X[i, j]; right block coefficient l*n + j = Y[j, l]; then
coefficient i*n*k + (l+1)*n - 1 of the product is (X @ Y)[i, l]. Inner blocks add up in ciphertext.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, LocalProtocolError, Message, Payload, RemoteProtocolError, Role, Send, message, receive
from vfl.he import Evaluator, KeyHolder, ZeroSupply
from vfl.randomness import SecretStream

__all__ = [
    "Answer",
    "Operand",
    "Packing",
    "choose_packing",
    "encrypt_right",
    "evaluate_product",
    "finish_product",
    "hold_product",
    "multiply_left",
    "open_answer",
]

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

# Relative times of one encrypted input, one output, one multiplication and one plaintext block at
# equal ring degree; `entente bench product` prints them.
_INPUT, _OUTPUT, _MULTIPLY, _PLAIN = 1.66, 2.6, 0.1, 0.2


@message(
    "product.operand",
    sender=Role.LABEL,
    receiver=Role.FEATURE,
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
    sender=Role.FEATURE,
    receiver=Role.LABEL,
    payload=Payload.CIPHERTEXT,
    reveals="after decryption a share uniform in Z_t; nothing of the evaluator's plaintext",
    source="mask uniform in R_q and a fresh public-key encryption of zero: CRYPTO 3, message 2",
)
class Answer(Message):
    """Masked product, one ciphertext per block: needed coefficients of c0, and c1."""

    label: str
    rows: int
    first: tuple[bytes, ...]
    second: tuple[bytes, ...]


@dataclass(frozen=True)
class Packing:
    """Block sizes: left m x n, right n x k, and the ring degree they fill."""

    m: int
    n: int
    k: int
    degree: int

    def __post_init__(self) -> None:
        if min(self.m, self.n, self.k) < 1 or self.m * self.n * self.k > self.degree:
            raise ValueError(f"blocks of {self.m} x {self.n} x {self.k} do not fit a ring of degree {self.degree}")

    def positions(self, rows: int, columns: int) -> I64:
        """Coefficients that hold the (rows x columns) part of a result block, row-major."""
        i, l_ = np.arange(rows)[:, None], np.arange(columns)[None, :]
        return (i * self.n * self.k + (l_ + 1) * self.n - 1).reshape(-1)

    def left(self, block: U64) -> U64:
        """Coefficients of one left block, shape (<=m, <=n)."""
        out = np.zeros((self.m, self.k, self.n), dtype=np.uint64)
        rows, inner = block.shape
        out[:rows, 0, self.n - inner :] = block[:, ::-1]
        return out.reshape(-1)

    def right(self, block: U64) -> U64:
        """Coefficients of one right block, shape (<=n, <=k)."""
        out = np.zeros((self.k, self.n), dtype=np.uint64)
        inner, columns = block.shape
        out[:columns, :inner] = block.T
        return out.reshape(-1)

    def counts(self, rows: int, inner: int, columns: int) -> tuple[int, int, int]:
        """Numbers of row, inner and column blocks."""
        return math.ceil(rows / self.m), math.ceil(inner / self.n), math.ceil(columns / self.k)


def _pieces(size: int) -> list[int]:
    """The block sizes worth trying to cut ``size``: one for each number of pieces."""
    return sorted({math.ceil(size / pieces) for pieces in range(1, size + 1)})


@lru_cache(maxsize=4096)
def choose_packing(rows: int, inner: int, columns: int, degree: int) -> Packing:
    """The cheapest block sizes for a (rows x inner) @ (inner x columns) product."""
    if min(rows, inner, columns) < 1:
        raise LocalProtocolError("a product needs at least one row, one inner column and one column")
    best: tuple[float, Packing] | None = None
    for k in _pieces(min(columns, degree)):
        for n in _pieces(min(inner, degree // k)):
            m = min(rows, degree // (n * k))
            packing = Packing(math.ceil(rows / math.ceil(rows / m)), n, k, degree)
            a, b, c = packing.counts(rows, inner, columns)
            cost = b * c * _INPUT + a * c * _OUTPUT + a * b * c * _MULTIPLY + a * b * _PLAIN
            if best is None or cost < best[0]:
                best = cost, packing
    assert best is not None
    return best[1]


def encrypt_right(key: KeyHolder, right: U64, packing: Packing) -> tuple[bytes, ...]:
    """Encrypt the right operand (inner, columns) block by block: message 1."""
    inner, columns = right.shape
    return tuple(
        key.encrypt(packing.right(right[b : b + packing.n, c : c + packing.k]))
        for b in range(0, inner, packing.n)
        for c in range(0, columns, packing.k)
    )


def multiply_left(
    evaluator: Evaluator,
    left: I64,
    operand: Operand,
    stream: SecretStream,
    zeros: ZeroSupply | None = None,
) -> tuple[Answer, U64]:
    """Message 2 and the evaluator's share (rows, columns).

    Every output ciphertext takes one fresh encryption of zero and one mask uniform in R_q.
    Raises ValueError when the operand does not fit ``left`` or the parameter set.
    """
    rows, inner = left.shape
    if len(operand.packing) != 3:
        raise ValueError("a packing has three numbers")
    packing = Packing(*operand.packing, degree=evaluator.context.degree)
    if operand.inner != inner or operand.columns < 1:
        raise ValueError(f"the operand has {operand.inner} rows where {inner} are needed")
    row_blocks, inner_blocks, column_blocks = packing.counts(rows, inner, operand.columns)
    if len(operand.blocks) != inner_blocks * column_blocks:
        raise ValueError(f"the operand has {len(operand.blocks)} blocks, not {inner_blocks * column_blocks}")
    ciphers = [evaluator.load(block) for block in operand.blocks]
    take = zeros or evaluator.fresh_zero
    ring_mask = np.uint64((1 << evaluator.context.ring_bits) - 1)
    residues = left.astype(np.uint64) & ring_mask
    share = np.empty((rows, operand.columns), dtype=np.uint64)
    first, second = [], []
    for a in range(row_blocks):
        block = residues[a * packing.m : (a + 1) * packing.m]
        plains = [
            evaluator.plain(packing.left(block[:, b * packing.n : (b + 1) * packing.n])) for b in range(inner_blocks)
        ]
        for c in range(column_blocks):
            columns = min(packing.k, operand.columns - c * packing.k)
            total = evaluator.combine(ciphers[c::column_blocks], plains)
            c0, c1, part = evaluator.finish(total, take(), packing.positions(len(block), columns), stream)
            share[a * packing.m : a * packing.m + len(block), c * packing.k : c * packing.k + columns] = part.reshape(
                len(block), columns
            )
            first.append(c0)
            second.append(c1)
    return Answer(operand.label, rows, tuple(first), tuple(second)), share


def open_answer(key: KeyHolder, answer: Answer, rows: int, columns: int, packing: Packing) -> U64:
    """The key holder's share (rows, columns). Raises ValueError when the answer does not fit."""
    row_blocks, _, column_blocks = packing.counts(rows, 1, columns)
    count = row_blocks * column_blocks
    if answer.rows != rows or len(answer.first) != count or len(answer.second) != count:
        raise ValueError(f"the answer has {answer.rows} rows in {len(answer.first)} blocks, not {rows} in {count}")
    share = np.empty((rows, columns), dtype=np.uint64)
    for index, (c0, c1) in enumerate(zip(answer.first, answer.second, strict=True)):
        a, c = divmod(index, column_blocks)
        height = min(packing.m, rows - a * packing.m)
        width = min(packing.k, columns - c * packing.k)
        part = key.decrypt(c0, c1, packing.positions(height, width)).reshape(height, width)
        share[a * packing.m : a * packing.m + height, c * packing.k : c * packing.k + width] = part
    return share


def finish_product(peer: str, label: str, rows: int, columns: int, key: KeyHolder, packing: Packing) -> Flow[U64]:
    """Key holder: wait for the answer to an operand already sent.

    Learns: its own additive share of the product, uniform in Z_t.
    Leaks: nothing; noise and decryption errors stay here.
    Model: semi-honest.
    Source: CRYPTO 3, message 2.
    """
    answer = yield from receive(peer, Answer)
    if answer.label != label:
        raise RemoteProtocolError(f"answered {answer.label!r} when {label!r} was due", peer)
    try:
        return open_answer(key, answer, rows, columns, packing)
    except ValueError as error:
        raise RemoteProtocolError(str(error), peer) from None


def hold_product(peer: str, label: str, right: U64, rows: int, key: KeyHolder) -> Flow[U64]:
    """Key holder's side of one product with ``right`` (inner, columns); ``rows`` is X's height.

    Learns: its own additive share of X @ right, uniform in Z_t; the shape of X was known.
    Leaks: the shape of ``right`` to the evaluator; no value (BFV is IND-CPA).
    Model: semi-honest; an evaluator that computes something else is not detected here.
    Source: CRYPTO 3.
    """
    inner, columns = right.shape
    packing = choose_packing(rows, inner, columns, key.context.degree)
    blocks = encrypt_right(key, right, packing)
    yield Send(peer, Operand(label, inner, columns, (packing.m, packing.n, packing.k), blocks))
    return (yield from finish_product(peer, label, rows, columns, key, packing))


def evaluate_product(
    peer: str,
    label: str,
    left: I64,
    columns: int,
    evaluator: Evaluator,
    stream: SecretStream,
    zeros: ZeroSupply | None = None,
) -> Flow[U64]:
    """Evaluator's side of one product with its small integers ``left`` (rows, inner).

    Learns: its own additive share of left @ Y, uniform in Z_t; Y's shape, which was agreed.
    Leaks: its height to the key holder; what the key holder decrypts is uniform in Z_t.
    Model: semi-honest key holder; a public key made so that it hides nothing is refused when its second
        polynomial is zero, and is otherwise trusted to be well formed.
    Source: CRYPTO 3; zero-encryption against reading X through c1, mask in R_q against reading it through the noise.
    """
    operand = yield from receive(peer, Operand)
    if operand.label != label or operand.columns != columns:
        raise RemoteProtocolError(
            f"sent operand {operand.label!r} with {operand.columns} columns when {label!r} was due", peer
        )
    try:
        answer, share = multiply_left(evaluator, left, operand, stream, zeros)
    except ValueError as error:
        raise RemoteProtocolError(str(error), peer) from None
    yield Send(peer, answer)
    return share
