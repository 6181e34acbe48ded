"""The feature party of the split network: answers steps of the sealed source layer until the label party is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from psi.flow import Flow, LocalProtocolError, Recv, RecvAny, RemoteProtocolError, Send, receive
from vfl.arithmetic.he import Context, Evaluator, FreshZeros, ZeroSupply
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.ring import Ring, pack
from vfl.protocols.opening import ZeroSumMasks
from vfl.protocols.opening_budget import OpeningBudget
from vfl.protocols.product import Prepared, choose_packing, evaluate_product
from vfl.protocols.resume import Forward, SourceJournal, await_open, repeated
from vfl.protocols.session import (
    I64,
    U64,
    Batch,
    Done,
    MaskedSum,
    PredictionKeeper,
    PublicKey,
    ServedSource,
    SingleSum,
    announced_rows,
)
from vfl.protocols.spread import Spread, Workers
from vfl.terms import FixedPoint

__all__ = ["serve_source"]


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
    Source: docs/protocols/split.md#a-step; docs/protocols/openings.md#openings-and-their-budget.
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
    state = ServedSource((share if resumed is None else resumed.share).copy(), PredictionKeeper(width).kept())
    keeper = PredictionKeeper(width)
    for record in predicted:
        keeper.add(record.rows, record.part)
    try:
        while True:
            chosen, got = yield RecvAny((Recv(label_party, Batch), Recv(label_party, Done)))
            if chosen == 1:
                state.predictions = keeper.kept()
                return state
            batch = cast("Batch", got)
            rows = announced_rows(batch.rows, len(features), label_party)
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
