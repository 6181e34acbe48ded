"""The sealed source layer: Z = sum_k X_k W_k with every W_k shared between its party and the label party.

W_k = U_k + V_k mod t at scale f_w = f_x + f_g; U_k never leaves the feature party and V_k never leaves
the label party in the clear. A step is two private products and one masked opening per feature party.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from numpy.typing import NDArray

from psi.flow import (
    Flow,
    LocalProtocolError,
    Message,
    Payload,
    Recv,
    RecvAny,
    RemoteProtocolError,
    Role,
    Send,
    gather,
    message,
    receive,
)
from vfl.budget import OpeningBudget
from vfl.he import Context, Evaluator, FreshZeros, KeyHolder, ZeroSupply
from vfl.plan import FixedPoint
from vfl.protocols.matmul import (
    Operand,
    Packing,
    Prepared,
    choose_packing,
    encrypt_right,
    evaluate_product,
    finish_product,
    hold_product,
)
from vfl.protocols.opening import ZeroSumMasks
from vfl.protocols.resume import Forward, Resumed, SourceJournal, WalkJournal, await_open, open_step, repeated
from vfl.protocols.spread import Spread, Workers
from vfl.randomness import SecretStream
from vfl.ring import Ring, pack, unpack

__all__ = [
    "Batch",
    "Done",
    "Kept",
    "MaskedSum",
    "PublicKey",
    "SealedSource",
    "ServedSource",
    "SingleSum",
    "serve_source",
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
    source="CRYPTO 4, step 1",
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
    source="CRYPTO 4, step 2, K = 1",
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
    source="CRYPTO 4",
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
class _Keeper:
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


class SealedSource:
    """The label party's side. ``forward`` and ``backward`` are flows; call ``start`` first, ``finish`` last.

    shares: V_k per feature party, (d_k, h) in Z_t, in agreed order. predictions: numbers of the steps that
    only predict. single_party: the agreement's consent to open a lone feature party's embedding. journal: where each
    step is recorded before it is opened; the feature parties must keep one too. resumed: the record to go on from, in
    place of ``shares``.
    """

    def __init__(
        self,
        shares: Mapping[str, U64],
        fixed: FixedPoint,
        key: KeyHolder,
        stream: SecretStream,
        *,
        predictions: Collection[int] = (),
        single_party: bool = False,
        journal: WalkJournal | None = None,
        resumed: Resumed | None = None,
    ) -> None:
        if len(shares) < 2 and not single_party:
            raise LocalProtocolError("a single feature party's embedding opens only with the agreement's consent")
        self._shares = dict(shares if resumed is None else resumed.shares)
        self._journal = journal
        self._resumed = resumed
        self._fixed = fixed
        self._ring = Ring(fixed.ring_bits)
        self._key = key
        self._stream = stream
        self._predictions = frozenset(predictions)
        self._steps = 0
        self.width = next(iter(shares.values())).shape[1]
        self._kept = {name: _Keeper(self.width) for name in shares}

    def keep(self, rows: I64, held: Mapping[str, U64]) -> None:
        """Take in the shares of a prediction made in an earlier session."""
        for name, share in held.items():
            self._kept[name].add(rows, share)

    @property
    def parties(self) -> tuple[str, ...]:
        return tuple(self._shares)

    @property
    def kept(self) -> dict[str, Kept]:
        """The label party's shares of each party's predictions."""
        return {name: keeper.kept() for name, keeper in self._kept.items()}

    def start(self) -> Flow[None]:
        """Send the session's public key to every feature party.

        Learns: nothing.
        Leaks: nothing.
        Model: semi-honest.
        Source: CRYPTO 3.
        """
        for party in self.parties:
            yield Send(party, PublicKey(self._key.context.name, self._fixed.ring_bits, self._key.public_key))

    def forward(self, step: int, rows: I64) -> Flow[F64]:
        """Open Z = sum_k X_k[rows] W_k, float64 (B, h).

        Learns: the sum over feature parties for these rows, at a fixed-point step of 2**-(2 f_x + f_g).
        Leaks: the row ids to every feature party.
        Model: semi-honest; with K = 1 the single party's embedding opens, which the agreement must say.
        Source: CRYPTO 4, steps 1 and 2.
        """
        train = step not in self._predictions
        packings = {party: self._packing(len(rows), share, train=train) for party, share in self._shares.items()}
        announced = rows.astype("<u4").tobytes()
        for party in self.parties:
            yield Send(party, Batch(step, train, announced))
        held = yield from self._hold(step, len(rows), packings)
        total = np.zeros((len(rows), self.width), dtype=np.uint64)
        sums = yield from gather([self._receive_sum(party, step, len(rows)) for party in self.parties])
        for party, share, masked in zip(self.parties, held, sums, strict=True):
            total = self._ring.add(total, self._ring.add(share, masked))
            if not train:
                self._kept[party].add(rows, share)
        self._steps += 1
        return self._ring.decode(total, self._fixed.output_bits)

    def _hold(self, step: int, rows: int, packings: Mapping[str, Packing]) -> Flow[list[U64]]:
        """This side's share of each party's product, fresh or as recorded, with every party's record on disk."""
        record, self._resumed = self._resumed, None
        again = record is not None and record.step == step
        if record is not None and again:
            held = [record.held[party] for party in self.parties]
        else:
            label = f"forward/{step}"
            held = yield from gather(
                [
                    hold_product(party, label, share, rows, self._key, packings[party])
                    for party, share in self._shares.items()
                ]
            )
        if self._journal is None:
            return held
        journal, shares = self._journal, dict(zip(self.parties, held, strict=True))
        yield from open_step(self.parties, step, lambda: None if again else journal.hold(step, self._shares, shares))
        return held

    def _packing(self, rows: int, share: U64, *, train: bool) -> Packing:
        return choose_packing(rows, share.shape[0], self.width, self._key.context.degree, both=train)

    def _receive_sum(self, party: str, step: int, rows: int) -> Flow[U64]:
        kind = SingleSum if len(self._shares) == 1 else MaskedSum
        got = cast("MaskedSum | SingleSum", (yield Recv(party, kind)))
        if got.step != step:
            raise RemoteProtocolError(f"sent the sum of step {got.step} at step {step}", party)
        return _elements(got.values, rows, self.width, self._ring, party)

    def backward(self, step: int, rows: I64, gradient: F64) -> Flow[None]:
        """W_k -= X_k[rows].T @ gradient at every feature party. gradient: float64 (B, h), learning rate inside.

        Learns: its own share of the update, uniform in Z_t.
        Leaks: nothing: one encryption of the gradient, the same for all parties, under the label party's key.
        Model: semi-honest.
        Source: CRYPTO 4, steps 3 and 4.
        """
        encoded = self._ring.encode(gradient, self._fixed.gradient_bits, stream=self._stream)
        label = f"backward/{step}"
        packings = {party: self._packing(len(rows), share, train=True) for party, share in self._shares.items()}
        blocks = {
            packing: encrypt_right(self._key, encoded, packing, transposed=True) for packing in set(packings.values())
        }
        for party, packing in packings.items():
            yield Send(party, Operand(label, len(rows), self.width, packing.sizes, blocks[packing]))
        updates = yield from gather(
            [
                finish_product(party, label, share.shape[0], self.width, self._key, packings[party], transposed=True)
                for party, share in self._shares.items()
            ]
        )
        for party, update in zip(self.parties, updates, strict=True):
            self._shares[party] = self._ring.sub(self._shares[party], update)

    def finish(self) -> Flow[None]:
        """Tell every feature party that the session is over.

        Learns: nothing.
        Leaks: the number of steps.
        Model: semi-honest.
        Source: CRYPTO 4.
        """
        for party in self.parties:
            yield Send(party, Done(self._steps))


def _elements(data: bytes, rows: int, width: int, ring: Ring, peer: str) -> U64:
    try:
        return unpack(data, ring.width, rows * width, ring.modulus).reshape(rows, width)
    except ValueError as error:
        raise RemoteProtocolError(str(error), peer) from None


def _row_ids(data: bytes, limit: int, peer: str) -> I64:
    if len(data) % 4 or not data:
        raise RemoteProtocolError("announced a batch that is not a list of row ids", peer)
    rows = np.frombuffer(data, dtype="<u4").astype(np.int64)
    if len(np.unique(rows)) != len(rows) or int(rows.max()) >= limit:
        raise RemoteProtocolError("announced rows that do not exist or repeat", peer)
    return rows


def serve_source(
    label_party: str,
    parties: Sequence[str],
    features: I64,
    share: U64,
    fixed: FixedPoint,
    parameter_set: str,
    masks: ZeroSumMasks,
    budget: OpeningBudget,
    stream: SecretStream,
    *,
    session: str,
    single_party: bool = False,
    largest_batch: int = 8192,
    supply: Callable[[Evaluator], ZeroSupply] = FreshZeros,
    workers: Workers | None = None,
    journal: SourceJournal | None = None,
    resumed: Forward | None = None,
    predicted: Sequence[Forward] = (),
) -> Flow[ServedSource]:
    """A feature party's side: answer steps until the label party is done.

    features: small integers (rows, d) at scale f_x. share: U_k, (d, h) in Z_t. session: name of this
    attempt, part of every mask's label, so that a repeated step never meets an old mask. journal: where each step is
    recorded before it is opened; the label party must keep one too. resumed: the record to go on from, in
    place of ``share``; predicted: the records of earlier predictions.

    Learns: which rows are opened when; its own shares, uniform in Z_t.
    Leaks: its share of each opened batch under a zero-sum mask (uniform in Z_t), charged to the budget first;
        masked ciphertexts that decrypt to uniform shares.
    Model: semi-honest label party; whatever it sends, each row's sum opens at most ``budget.limit`` times.
    Source: CRYPTO 4.
    """
    if len(parties) < 2 and not single_party:
        raise LocalProtocolError("a single feature party's embedding opens only with the agreement's consent")
    ring = Ring(fixed.ring_bits)
    announced = yield from receive(label_party, PublicKey)
    if (announced.parameter_set, announced.ring_bits) != (parameter_set, fixed.ring_bits):
        raise RemoteProtocolError("chose other encryption parameters than the agreement", label_party)
    try:
        evaluator = Evaluator(Context(parameter_set, fixed.ring_bits), announced.key)
    except ValueError as error:
        raise RemoteProtocolError(str(error), label_party) from None
    zeros = supply(evaluator)
    width = share.shape[1]
    state = ServedSource((share if resumed is None else resumed.share).copy(), _Keeper(width).kept())
    keeper = _Keeper(width)
    for record in predicted:
        keeper.add(record.rows, record.part)
    try:
        while True:
            chosen, got = yield RecvAny((Recv(label_party, Batch), Recv(label_party, Done)))
            if chosen == 1:
                state.predictions = keeper.kept()
                return state
            batch = cast("Batch", got)
            rows = _row_ids(batch.rows, len(features), label_party)
            if len(rows) > largest_batch:
                raise RemoteProtocolError(f"announced {len(rows)} rows where {largest_batch} are allowed", label_party)
            left = features[rows]
            packing = choose_packing(*left.shape, width, evaluator.context.degree, both=batch.train)
            prepared = (
                Prepared(evaluator, left, packing)
                if workers is None
                else Spread(workers, evaluator, announced.key, left, packing)
            )
            again, resumed = resumed, None
            if again is not None:
                made = repeated(again, batch.step, batch.train, rows, label_party)
            else:
                part = yield from evaluate_product(label_party, f"forward/{batch.step}", prepared, width, stream, zeros)
                part = ring.add(part, ring.matmul(left, state.share))
                made = Forward(session, batch.step, batch.train, rows, state.share, part)
                if journal is not None:
                    journal.hold(made)
            if journal is not None:
                yield from await_open(label_party, batch.step)
            # a sum kept from before shows what it would have shown, whoever asks; anything else is charged anew
            (budget.charge if again is None else budget.charge_once)(made.label, rows, width)
            part = made.part
            mask = masks.mask(f"{session}/{batch.step}", parties, part.shape)
            values = pack(ring.add(part, mask), ring.width)
            yield Send(label_party, (SingleSum if len(parties) == 1 else MaskedSum)(batch.step, values))
            if not batch.train:
                keeper.add(rows, part)
                continue
            update = yield from evaluate_product(
                label_party, f"backward/{batch.step}", prepared, width, stream, zeros, transposed=True
            )
            state.share = ring.sub(state.share, update)
            state.steps += 1
    finally:
        zeros.close()
