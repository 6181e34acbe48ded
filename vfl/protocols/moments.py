"""Secure cross-moments: the Gram matrix and X^T y of columns that several parties hold, opened at the label party.

A *block* of rows gives X_k^T X_k and the column sums (computed at home), X_j^T X_i for every pair of feature
parties (one private product; both ends keep uniform shares and learn nothing) and X_k^T [X_L, y] (one
private product with the label party as key holder). Rows are worked off in chunks whose results add up on
shares: nothing is truncated. What a block opens is a sum over all its rows; who serves it refuses a block with
few rows, or with a row that was in a block before: differences of blocks would isolate rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np

from psi.flow import (
    Flow,
    LocalProtocolError,
    RemoteProtocolError,
    Send,
    gather,
    receive,
)
from vfl.arithmetic.he import Evaluator, KeyHolder
from vfl.arithmetic.received import MalformedError
from vfl.arithmetic.share import Share, opened
from vfl.protocols.feature_session import FeatureSession, TakenKey
from vfl.protocols.label_session import LabelSession
from vfl.protocols.moment_messages import OwnMoments, PairAnswer, PairKey, PairOperand, PairShares
from vfl.protocols.product import Answer, Operand, Prepared, choose_packing, encrypt_right, multiply, open_answer
from vfl.protocols.product_flows import finish_product
from vfl.protocols.session import F64, I64, RingShare

__all__ = [
    "CHUNK",
    "REACH",
    "OpenedBlock",
    "Pairs",
    "agree_pairs",
    "answer_moments",
    "hold_moments",
    "open_moments",
    "send_moments",
]

Blocks = dict[tuple[int, int], tuple[bytes, ...]]
"""Ciphertexts of one chunk, by block sizes, so that parties of one shape get the same ones."""

REACH = 32.0
"""Largest magnitude of a value that enters a moment."""

CHUNK = 4096
"""Rows of one private product: bounds memory, and keeps sums of a chunk exact in float64."""


@dataclass(frozen=True)
class OpenedBlock:
    """A block at the label party. D: columns of all feature parties in agreed order; w: the label party's columns.

    gram: float64 (D, D). sums: float64 (D,). cross: float64 (D, w).
    """

    gram: F64
    sums: F64
    cross: F64


@dataclass(frozen=True)
class Pairs:
    """One session's keys between feature parties: the earlier of a pair holds the key, the later evaluates."""

    key: KeyHolder | None
    evaluators: dict[str, Evaluator]


def agree_pairs(session: FeatureSession) -> Flow[Pairs]:
    """Send every later feature party a key of this session, and take the earlier ones'.

    Learns: the earlier parties' public keys.
    Leaks: nothing.
    Model: semi-honest.
    Source: docs/protocols/product.md#key.
    """
    context = session.context
    place = session.names.index(session.me)
    later, earlier = session.names[place + 1 :], session.names[:place]
    key = KeyHolder(context) if later else None
    for peer in later:
        assert key is not None
        yield Send(peer, PairKey(context.name, context.ring_bits, key.public_key))
    evaluators: dict[str, Evaluator] = {}
    for peer in earlier:
        got = yield from receive(peer, PairKey)
        if (got.parameter_set, got.ring_bits) != (context.name, context.ring_bits):
            raise RemoteProtocolError("chose other encryption parameters than the agreement", peer)
        try:
            evaluators[peer] = Evaluator(context, got.key)
        except MalformedError as error:
            raise RemoteProtocolError(str(error), peer) from None
    return Pairs(key, evaluators)


def answer_moments(
    session: FeatureSession, key: TakenKey, pairs: Pairs, block: int, features: I64, label_columns: int
) -> Flow[RingShare]:
    """Feature party: the private products of one block that it has allowed. Nothing opens before :func:`send_moments`.

    Returns what it will send, in one row after the other: its own moments and sums, its share of its products with the
    label party's columns, its shares of the pairs'.

    features: small integers (n, d), the block's rows alone. label_columns: columns of [X_L, y].

    Learns: its own shares of every product, uniform in Z_t.
    Leaks: nothing: one end of a product has the share, the other has the mask.
    Model: semi-honest. A label party that encrypts other columns than its own reads that many linear forms
        over rows of X_k once the block is sent, as it would of the label; the agreement bounds blocks and columns.
    Source: docs/protocols/ridge.md#the-protocol; docs/protocols/product.md#operand-and-answer.
    """
    parties, ring, own = session.parties, session.ring, session.parties[session.me]
    others = session.others
    place = session.names.index(session.me)
    earlier, later = others[:place], others[place:]
    label_share = session.zeros(own, label_columns)
    shares = {p: session.zeros(own, parties[p]) for p in earlier} | {p: session.zeros(parties[p], own) for p in later}
    gram, sums = np.zeros((own, own), dtype=np.int64), np.zeros(own, dtype=np.int64)
    for number, chunk in enumerate(_chunks(len(features))):
        x = features[chunk]
        label = f"moments/{block}/{number}"
        prepared = _prepare(key.evaluator, x.T, label_columns)
        flows: list[Flow[RingShare]] = [key.product(label, prepared, label_columns)]
        flows += [_evaluate_pair(session, p, label, x.T, pairs.evaluators[p]) for p in earlier]
        blocks: Blocks = {}
        flows += [_hold_pair(session, p, label, x, pairs, blocks) for p in later]
        first, *rest = yield from gather(flows)
        label_share += first
        for p, part in zip(others, rest, strict=True):
            shares[p] += part
        plain = x.astype(np.float64)
        gram += (plain.T @ plain).astype(np.int64)
        sums += x.sum(axis=0)
    parts = [Share(ring, ring.wrap(gram)), Share(ring, ring.wrap(sums)), label_share, *(shares[p] for p in others)]
    return Share.joined([part.reshape(-1) for part in parts])


def send_moments(session: FeatureSession, block: int, made: RingShare, label_columns: int) -> Flow[None]:
    """Feature party: open one block, as :func:`answer_moments` made it, in this session or in an earlier one.

    Learns: nothing.
    Leaks: to the label party its own moments of the block, and shares that open its cross-moments; to other
        feature parties nothing. Sent again it shows what it showed.
    Model: semi-honest; the caller has charged the block.
    Source: docs/protocols/ridge.md#the-protocol.
    """
    own = session.parties[session.me]
    sizes = [own * own, own, own * label_columns, *(own * session.parties[p] for p in session.others)]
    if made.size != sum(sizes):
        raise LocalProtocolError("what was kept of a block of moments does not fit the agreed columns")
    ends = np.cumsum([0, *sizes]).tolist()
    gram, sums, label, *pairs = (made[start:stop].packed() for start, stop in pairwise(ends))
    yield Send(session.label_party, OwnMoments(block, gram, sums))
    yield Send(session.label_party, PairShares(block, label, tuple(pairs)))


def hold_moments(session: LabelSession, block: int, own: F64, bits: int) -> Flow[Mapping[str, RingShare]]:
    """Label party: its shares of the products of one block that was announced with :class:`MomentRows`.

    own: float64 (n, w), [X_L, y] of the block's rows, no value beyond REACH. Returns (d_k, w) by party.

    Learns: its own shares, uniform in Z_t.
    Leaks: nothing of its own columns: they are encrypted under its key.
    Model: semi-honest.
    Source: docs/protocols/ridge.md#the-protocol; docs/protocols/product.md#operand-and-answer.
    """
    if own.size and float(np.abs(own).max()) > REACH:
        raise LocalProtocolError(f"the label party's columns must stay within +-{REACH}: scale them first")
    encoded = session.ring.encode(own, bits)
    width, key = own.shape[1], session.key
    held = {p: session.zeros(d, width) for p, d in session.parties.items()}
    for number, chunk in enumerate(_chunks(len(own))):
        label = f"moments/{block}/{number}"
        part = encoded[chunk]
        blocks: Blocks = {}
        flows = []
        for p, d in session.parties.items():
            packing = session.packing(d, len(part), width)
            if (packing.n, packing.k) not in blocks:
                blocks[packing.n, packing.k] = encrypt_right(key, part, packing)
            yield Send(p, Operand(label, len(part), width, packing.sizes, blocks[packing.n, packing.k]))
            flows.append(finish_product(p, label, d, width, key, packing))
        for p, share in zip(session.parties, (yield from gather(flows)), strict=True):
            held[p] += Share(session.ring, share)
    return held


def open_moments(session: LabelSession, block: int, held: Mapping[str, RingShare], bits: int) -> Flow[OpenedBlock]:
    """Label party: the moments of a block, from its shares and what the feature parties send.

    Learns: X_k^T X_k, X_i^T X_j, X_k^T [X_L, y] and column sums over the block, each party's columns in a basis that
        only this party knows; to the fixed-point step.
    Leaks: nothing.
    Model: semi-honest.
    Source: docs/protocols/ridge.md#the-protocol.
    """
    got = yield from gather([_receive_block(p, block) for p in session.parties])
    return _assemble(session, held, dict(zip(session.parties, got, strict=True)), 2 * bits)


def _assemble(
    session: LabelSession,
    held: Mapping[str, RingShare],
    got: Mapping[str, tuple[OwnMoments, PairShares]],
    scale: int,
) -> OpenedBlock:
    """Put a block's parts in agreed order; ``scale``: fractional bits of a product."""
    parties, names, read = session.parties, session.names, session.received
    total = sum(parties.values())
    ends = np.cumsum([0, *parties.values()])
    at = {p: slice(int(ends[i]), int(ends[i + 1])) for i, p in enumerate(names)}
    gram = np.zeros((total, total))
    sums, cross = np.zeros(total), np.zeros((total, next(iter(held.values())).shape[1]))
    for p, (own, shares) in got.items():
        d = parties[p]
        if len(shares.pairs) != len(names) - 1:
            raise RemoteProtocolError(f"sent {len(shares.pairs)} pair shares where {len(names) - 1} are due", p)
        gram[at[p], at[p]] = opened([read(own.gram, (d, d), p)], scale)
        sums[at[p]] = opened([read(own.sums, (d,), p)], scale // 2)
        cross[at[p]] = opened([held[p], read(shares.label, (d, cross.shape[1]), p)], scale)
    for i, j in combinations(range(len(names)), 2):
        a, b = names[i], names[j]
        shape = (parties[b], parties[a])
        parts = read(got[a][1].pairs[j - 1], shape, a), read(got[b][1].pairs[i], shape, b)
        moment = opened(parts, scale)
        gram[at[b], at[a]], gram[at[a], at[b]] = moment, moment.T
    return OpenedBlock(gram, sums, cross)


def _receive_block(peer: str, block: int) -> Flow[tuple[OwnMoments, PairShares]]:
    own = yield from receive(peer, OwnMoments)
    shares = yield from receive(peer, PairShares)
    if (own.block, shares.block) != (block, block):
        raise RemoteProtocolError(f"sent moments of another block than {block}", peer)
    return own, shares


def _hold_pair(
    session: FeatureSession, peer: str, label: str, columns: I64, pairs: Pairs, blocks: Blocks
) -> Flow[RingShare]:
    """The earlier party's side of one chunk; ``blocks``: this chunk's ciphertexts that are made already."""
    key, ring = pairs.key, session.ring
    assert key is not None
    (rows, width), peer_columns = columns.shape, session.parties[peer]
    packing = choose_packing(peer_columns, rows, width, key.context.degree)
    if (packing.n, packing.k) not in blocks:
        blocks[packing.n, packing.k] = encrypt_right(key, ring.wrap(columns), packing)
    yield Send(peer, PairOperand(label, rows, width, packing.sizes, blocks[packing.n, packing.k]))
    answer = yield from receive(peer, PairAnswer)
    if answer.label != label:
        raise RemoteProtocolError(f"answered {answer.label!r} when {label!r} was due", peer)
    try:
        same = Answer(answer.label, answer.rows, answer.first, answer.second)
        return Share(ring, open_answer(key, same, peer_columns, width, packing))
    except MalformedError as error:
        raise RemoteProtocolError(str(error), peer) from None


def _evaluate_pair(session: FeatureSession, peer: str, label: str, left: I64, evaluator: Evaluator) -> Flow[RingShare]:
    """The later party's side of one chunk; ``left``: its columns transposed, (d, n)."""
    columns = session.parties[peer]
    got = yield from receive(peer, PairOperand)
    if got.label != label or got.columns != columns:
        raise RemoteProtocolError(f"sent operand {got.label!r} with {got.columns} columns when {label!r} was due", peer)
    operand = Operand(got.label, got.inner, got.columns, got.packing, got.blocks)
    try:
        answer, share = multiply(_prepare(evaluator, left, columns), operand, session.stream)
    except MalformedError as error:
        raise RemoteProtocolError(str(error), peer) from None
    yield Send(peer, PairAnswer(answer.label, answer.rows, answer.first, answer.second))
    return Share(session.ring, share)


def _prepare(evaluator: Evaluator, left: I64, columns: int) -> Prepared:
    return Prepared(evaluator, left, choose_packing(*left.shape, columns, evaluator.context.degree))


def _chunks(rows: int) -> Iterator[slice]:
    for start in range(0, rows, CHUNK):
        yield slice(start, min(start + CHUNK, rows))
