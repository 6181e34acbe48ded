"""A session of a sealed layer: its messages, and what each side keeps of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, Message, Payload, RemoteProtocolError, Role, message, receive
from vfl.arithmetic.he import Context, Evaluator
from vfl.arithmetic.ring import Ring, unpack
from vfl.protocols.moments import Pairs, agree_pairs
from vfl.terms import FixedPoint

__all__ = [
    "F64",
    "I64",
    "U64",
    "Batch",
    "Done",
    "Kept",
    "MaskedSum",
    "PredictionKeeper",
    "PublicKey",
    "ServedSource",
    "SingleSum",
    "agree_session_keys",
    "announced_rows",
    "ring_elements",
]

U64 = NDArray[np.uint64]


I64 = NDArray[np.int64]


F64 = NDArray[np.float64]


@message(
    "source.key",
    sender=Role.LABEL,
    receiver=Role.FEATURE,
    payload=Payload.PUBLIC,
    reveals="a one-session BFV public key",
    source="Fan and Vercauteren 2012",
)
class PublicKey(Message):
    """The label party's public key for this session, and the parameter set it belongs to."""

    parameter_set: str
    ring_bits: int
    key: bytes


@message(
    "source.batch",
    sender=Role.LABEL,
    receiver=Role.FEATURE,
    payload=Payload.PUBLIC,
    reveals="which aligned rows are opened at this step, hence which rows have labels or are predicted",
    source="docs/protocols/split.md#a-step, step 1",
)
class Batch(Message):
    """Announces a step: its number, whether it trains, and its row ids (little-endian u32)."""

    step: int
    train: bool
    rows: bytes


@message(
    "source.sum",
    sender=Role.FEATURE,
    receiver=Role.LABEL,
    payload=Payload.MASKED,
    reveals="with all parties' sums and the label party's shares: the sum of embeddings, nothing of any one party",
    source="zero-sum masks after Bonawitz et al. 2017",
)
class MaskedSum(Message):
    """This party's share of its embedding plus its zero-sum mask: uniform in Z_t."""

    step: int
    values: bytes


@message(
    "source.single",
    sender=Role.FEATURE,
    receiver=Role.LABEL,
    payload=Payload.SHARE,
    reveals="with the label party's share: this party's own embedding, as the agreement's single-party opening says",
    source="docs/protocols/split.md#a-step, step 4 with one feature party",
)
class SingleSum(Message):
    """The only feature party's share of its embedding, uniform in Z_t."""

    step: int
    values: bytes


@message(
    "source.done",
    sender=Role.LABEL,
    receiver=Role.FEATURE,
    payload=Payload.PUBLIC,
    reveals="training is over",
    source="docs/protocols/split.md#a-step",
)
class Done(Message):
    """Ends a session of the source layer."""

    steps: int


@dataclass(frozen=True)
class Kept:
    """Shares of opened predictions, kept for coalition openings: row ids and shares (rows, h) in Z_t."""

    rows: I64
    share: U64


@dataclass
class ServedSource:
    """What a feature party holds after a session: its weight share and its shares of the predictions."""

    share: U64
    predictions: Kept
    steps: int = 0


@dataclass
class PredictionKeeper:
    """Collects shares of predictions, step by step."""

    width: int
    rows: list[I64] = field(default_factory=list)
    shares: list[U64] = field(default_factory=list)

    def add(self, rows: I64, share: U64) -> None:
        self.rows.append(rows)
        self.shares.append(share)

    def kept(self) -> Kept:
        if not self.rows:
            return Kept(np.zeros(0, dtype=np.int64), np.zeros((0, self.width), dtype=np.uint64))
        return Kept(np.concatenate(self.rows), np.concatenate(self.shares))


def ring_elements(data: bytes, rows: int, width: int, ring: Ring, peer: str) -> U64:
    try:
        return unpack(data, ring.width, rows * width, ring.modulus).reshape(rows, width)
    except ValueError as error:
        raise RemoteProtocolError(str(error), peer) from None


def announced_rows(data: bytes, limit: int, peer: str) -> I64:
    if len(data) % 4 or not data:
        raise RemoteProtocolError("announced a batch that is not a list of row ids", peer)
    rows = np.frombuffer(data, dtype="<u4").astype(np.int64)
    if len(np.unique(rows)) != len(rows) or int(rows.max()) >= limit:
        raise RemoteProtocolError("announced rows that do not exist or repeat", peer)
    return rows


def agree_session_keys(
    me: str, label_party: str, parties: Mapping[str, int], fixed: FixedPoint, parameter_set: str
) -> Flow[tuple[Evaluator, Pairs]]:
    """The label party's key for this session, and those between feature parties.

    Learns: the label party's public key, and those of the feature parties before this one.
    Leaks: its own public keys, one-session, to the feature parties after it.
    Model: the label party's key may be of its choosing: the answers it is used for hide their operand under any.
    Source: docs/protocols/product.md#key.
    """
    context = Context(parameter_set, fixed.ring_bits)
    announced = yield from receive(label_party, PublicKey)
    if (announced.parameter_set, announced.ring_bits) != (parameter_set, fixed.ring_bits):
        raise RemoteProtocolError("chose other encryption parameters than the agreement", label_party)
    try:
        evaluator = Evaluator(context, announced.key)
    except ValueError as error:
        raise RemoteProtocolError(str(error), label_party) from None
    pairs = yield from agree_pairs(me, list(parties), context)
    return evaluator, pairs
