"""The two ends of a private product: who sends which ciphertexts when.

Operands and answers travel in parts (:mod:`vfl.protocols.parts`): the evaluator begins with the first blocks while the
key holder encrypts the next, and the key holder decrypts what is answered while the evaluator makes the rest.
Each end takes however many blocks a message has, up to the number that is due.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, RemoteProtocolError, Send, receive
from vfl.arithmetic.he import KeyHolder, ZeroSupply
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.received import MalformedError
from vfl.protocols.parts import parts_of
from vfl.protocols.product import (
    Answer,
    LeftOperand,
    Multiplication,
    Operand,
    Packing,
    Prepared,
    encrypt_right,
    open_part,
    output_blocks,
)

__all__ = ["evaluate_product", "finish_product", "hold_product", "offer_right"]

U64 = NDArray[np.uint64]


def finish_product(
    peer: str, label: str, rows: int, columns: int, key: KeyHolder, packing: Packing, *, transposed: bool = False
) -> Flow[U64]:
    """Key holder: wait for the answer to an operand already sent; ``rows`` is the product's height.

    Learns: its own additive share of the product, uniform in the ring.
    Leaks: nothing; noise and decryption errors stay here.
    Model: semi-honest.
    Source: docs/protocols/product.md#operand-and-answer.
    """
    count, done = output_blocks(rows, columns, packing, transposed=transposed), 0
    share = np.empty((rows, columns), dtype=np.uint64)
    while done < count:
        answer = yield from receive(peer, Answer)
        if answer.label != label:
            raise RemoteProtocolError(f"answered {answer.label!r} when {label!r} was due", peer)
        try:
            done = open_part(key, answer, share, done, packing, transposed=transposed)
        except MalformedError as error:
            raise RemoteProtocolError(str(error), peer) from None
    return share


def offer_right(
    peers: Sequence[str],
    label: str,
    right: U64,
    key: KeyHolder,
    packing: Packing,
    *,
    transposed: bool = False,
    sent: list[tuple[bytes, ...]] | None = None,
) -> Flow[None]:
    """Key holder: send ``right`` encrypted, part by part, so that the evaluators begin while it encrypts the rest.

    sent: the parts that were encrypted for another peer before, or where to keep them.

    Learns: nothing.
    Leaks: the shape of ``right``; no value (BFV is IND-CPA).
    Model: semi-honest.
    Source: docs/protocols/product.md#operand-and-answer.
    """
    inner, columns = right.shape
    blocks = math.ceil(inner / (packing.m if transposed else packing.n)) * math.ceil(columns / packing.k)
    again = [] if sent is None else list(sent)
    for number, part in enumerate(parts_of(blocks)):
        if number < len(again):
            made = again[number]
        else:
            made = encrypt_right(key, right, packing, transposed=transposed, only=part)
            if sent is not None:
                sent.append(made)
        for peer in peers:
            yield Send(peer, Operand(label, inner, columns, packing.sizes, made))


def hold_product(peer: str, label: str, right: U64, rows: int, key: KeyHolder, packing: Packing) -> Flow[U64]:
    """Key holder's side of X @ right, ``right`` (inner, columns) in the ring; ``rows`` is X's height.

    Learns: its own additive share of X @ right, uniform in the ring; the shape of X was known.
    Leaks: the shape of ``right`` to the evaluator; no value (BFV is IND-CPA).
    Model: semi-honest; an evaluator that computes something else is not detected here.
    Source: docs/protocols/product.md#operand-and-answer.
    """
    yield from offer_right((peer,), label, right, key, packing)
    return (yield from finish_product(peer, label, rows, right.shape[1], key, packing))


def evaluate_product(
    peer: str,
    label: str,
    left: Prepared | LeftOperand,
    columns: int,
    stream: SecretStream,
    zeros: ZeroSupply | None = None,
    *,
    transposed: bool = False,
) -> Flow[U64]:
    """Evaluator's side of X @ Y, or of X.T @ G, for the X in ``left``.

    Learns: its own additive share of the product, uniform in the ring; the operand's shape, which was agreed.
    Leaks: its height to the key holder; what the key holder decrypts is uniform in the ring.
    Model: hides X from a malicious key holder too: the public key's second polynomial is the expansion of a seed, and
        whatever operand comes, what leaves is uniform (c0) or masked by a fresh RLWE sample (c1).
    Source: docs/protocols/product.md#why-each-step: zero-encryption against reading X through c1, mask in R_q
        against reading it through the noise.
    """
    work: Multiplication | None = None
    blocks: list[bytes] = []
    while True:
        operand = yield from receive(peer, Operand)
        if not operand.blocks:
            raise RemoteProtocolError("sent a part of an operand without blocks", peer)
        if operand.label != label or operand.columns != columns:
            raise RemoteProtocolError(
                f"sent operand {operand.label!r} with {operand.columns} columns when {label!r} was due", peer
            )
        try:
            if isinstance(left, Prepared):
                work = work or Multiplication(left, operand, transposed=transposed)
                work.take(operand.blocks)
                if work.left:
                    continue
                break
            blocks += operand.blocks
            if len(blocks) < left.blocks(operand, transposed=transposed):
                continue
            answer, share = left.multiply(replace(operand, blocks=tuple(blocks)), transposed=transposed)
            yield from _sent(peer, label, len(share), zip(answer.first, answer.second, strict=True), len(answer.first))
            return share
        except MalformedError as error:
            raise RemoteProtocolError(str(error), peer) from None
    outputs = output_blocks(*work.shape, left.packing, transposed=transposed)
    yield from _sent(peer, label, work.shape[0], work.made(stream, zeros), outputs)
    return work.share


def _sent(peer: str, label: str, rows: int, made: Iterable[tuple[bytes, bytes]], outputs: int) -> Flow[None]:
    """Evaluator: send an answer's ciphertexts as they are made, a few at a time.

    Learns: nothing.
    Leaks: as :func:`evaluate_product`.
    Model: as :func:`evaluate_product`.
    Source: docs/protocols/product.md#operand-and-answer.
    """
    source = iter(made)
    for part in parts_of(outputs):
        pairs = list(islice(source, part.stop - part.start))
        yield Send(peer, Answer(label, rows, tuple(c0 for c0, _ in pairs), tuple(c1 for _, c1 in pairs)))
