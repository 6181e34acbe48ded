"""The anchor of the sealed network: the second holder of shares, and of its own columns where it brings any."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, LocalProtocolError, Recv, RecvAny, RemoteProtocolError, Send, gather, receive
from vfl.arithmetic.bit_packing import pack_bits
from vfl.arithmetic.he import Evaluator, KeyHolder
from vfl.arithmetic.parameter_sets import COEFFICIENT_SET
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.zero_supply import FreshZeros, ZeroSupply
from vfl.models.sealed.columns import Columns
from vfl.models.sealed.ends import HeldProducts, TakenProducts, evaluate_own, take_products, take_slots
from vfl.models.sealed.messages import (
    MaskedEmbedding,
    Members,
    Scores,
    SealedStep,
    UpdateShare,
    check_scored,
    check_told,
    elements,
    step_rows,
)
from vfl.models.sealed.products import AnchorProducts
from vfl.models.sealed.records import (
    Scored,
    SealedJournal,
    StepRecord,
    blocks_in,
    blocks_out,
    check_repeated,
    refused,
    refusing,
    scored_in,
)
from vfl.models.sealed.scales import (
    EMBEDDING_BITS,
    HELD_BITS,
    PREDICTED_BITS,
    RESIDUAL_DROP,
    SCORE_BITS,
    WEIGHT_BITS,
    Bounds,
    Update,
    beyond_score_limit,
    check_ranges,
)
from vfl.models.sealed.score_range import Predicted, answer_range, folded
from vfl.models.sealed.step import Block, centred, gradient, next_blocks, score, update_input
from vfl.protocols.opening_budget import OpeningBudget, asked_by
from vfl.protocols.prime_keys import announce_key
from vfl.protocols.product import LeftOperand, Prepared
from vfl.protocols.resume import await_open
from vfl.protocols.session import Done
from vfl.protocols.slots import SlotEvaluator, answer_slots, receive_slots
from vfl.protocols.spread import Workers
from vfl.protocols.truncation import evaluate_truncation
from vfl.terms import FixedPoint, SealedModel

__all__ = ["SealedAnchor"]

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

_SCORE_MASK = np.uint64((1 << SCORE_BITS) - 1)


class SealedAnchor:
    """One session of the anchor. ``serve`` is its flow; ``scored`` and ``blocks`` are what it leaves.

    features: its own small integers (rows, d), or (rows, 0) when it is no feature party. weights: its shares of the
    initial weights, of its own columns and of the label party's, (d, h + 1) by name. key: of this session, for matrix
    products with the feature parties beside it. budget: counts scores of a row over all runs, and refuses past the
    agreed number. session, stream, journal, resumed, predicted, opens: as for a feature party. holds: linear scores are
    kept in shares, in ``held``, for another model to begin at, and none opens. scored_from: of a session that only
    scores, the first row that may be asked for; nothing trains in it. products: its end of product columns.
    """

    def __init__(
        self,
        members: Members,
        features: Columns,
        weights: dict[str, U64],
        terms: SealedModel,
        fixed: FixedPoint,
        key: KeyHolder,
        budget: OpeningBudget,
        stream: SecretStream,
        *,
        session: str,
        supply: Callable[[Evaluator], ZeroSupply] = FreshZeros,
        workers: Workers | None = None,
        journal: SealedJournal | None = None,
        resumed: StepRecord | None = None,
        predicted: Sequence[StepRecord] = (),
        opens: bool = True,
        holds: bool = False,
        scored_from: int | None = None,
        products: AnchorProducts | None = None,
    ) -> None:
        width = terms.embedding_width
        if features.shape[1] != members.anchored:
            raise LocalProtocolError(f"{members.anchored} columns were agreed and {features.shape[1]} brought")
        if key.context.name != COEFFICIENT_SET:
            raise LocalProtocolError(f"the anchor's key is of the parameter set {COEFFICIENT_SET!r}")
        shapes = {name: (count, width) for name, count in self.columns_held(members).items()}
        if {name: weight.shape for name, weight in weights.items()} != shapes:
            raise LocalProtocolError(f"the anchor's initial weights have shapes {shapes}")
        check_ranges(terms, fixed, terms.batch_rows, members.columns)
        self.members, self.terms, self.fixed = members, terms, fixed
        self.blocks = {name: Block.starting(weight) for name, weight in weights.items()}
        if resumed is not None:
            self.blocks = blocks_in(resumed.arrays, shapes)
        self.scored: dict[int, Scored] = scored_in(predicted)
        self._features, self._held, self._budget, self._stream = features, HeldProducts(key), budget, stream
        self._session, self._supply, self._workers = session, supply, workers
        self._journal, self._record, self._opens, self._holds = journal, resumed, opens, holds
        self._scored_from = scored_from
        self._products = products or AnchorProducts.none(members.anchor, members, stream)
        self.held: dict[int, StepRecord] = {}

    @staticmethod
    def columns_held(members: Members) -> dict[str, int]:
        """Columns of the weights that an anchor holds shares of: its own, and the label party's."""
        own = {members.anchor: members.anchored} if members.anchored else {}
        own |= {members.label: members.own} if members.own else {}
        return own | members.products_held(members.anchor)

    def serve(self) -> Flow[None]:
        """Hold shares and answer products until the label party is done.

        Learns: which rows are trained on and predicted when, and how many have labels; shares uniform in Z_p. Nothing
            of labels, scores, weights or any other party's columns.
        Leaks: to the label party 17 bits of each predicted row and 1 of each prediction, counted first, and shares
            uniform in Z_p.
        Model: semi-honest. Together with the label party it sees the sum of the other feature parties' embeddings of
            every row in every step.
        Source: docs/protocols/sealed.md#a-step.
        """
        label, largest = self.members.label, max(self.terms.batch_rows, 8192)
        taken: TakenProducts | None = None
        if self.members.anchored:
            taken = yield from take_products(label, self._stream, self._supply, self._workers)
        slots = yield from take_slots(label, self._stream, self._supply, self._workers)
        for peer in self.members.others:
            yield from announce_key(peer, self._held.key)
        yield from self._products.start(slots)
        try:
            while True:
                chosen, got = yield RecvAny((Recv(label, SealedStep), Recv(label, Done)))
                if chosen == 1:
                    return
                step = cast("SealedStep", got)
                rows = step_rows(step, len(self._features), largest, label)
                check_scored(step, rows, self._scored_from, label)
                if step.train:
                    yield from self._train(step, rows, taken, slots)
                else:
                    yield from self._predict(step, rows, taken, slots)
        finally:
            self._products.close()
            if taken is not None:
                taken.close()
            if slots.zeros is not None:
                slots.zeros.close()

    def _keep(self, step: SealedStep, rows: I64, scores: Mapping[str, U64] | None = None) -> StepRecord:
        """The record of the step under way, fresh or as it was."""
        record, self._record = self._record, None
        if record is not None:
            check_repeated(record, step.step, step.train, rows, self.members.label)
            return record
        arrays = blocks_out(self.blocks) | dict(scores or {})
        made = StepRecord(self._session, step.step, step.train, rows, arrays)
        if self._journal is not None:
            self._journal.hold(made)
        return made

    def _train(self, step: SealedStep, rows: I64, taken: TakenProducts | None, slots: SlotEvaluator) -> Flow[None]:
        self._keep(step, rows)
        label, number, terms = self.members.label, step.step, self.terms
        bounds = check_ranges(terms, self.fixed, len(rows), self.members.columns)
        left = self._features[rows]
        prepared = None if taken is None else taken.prepared(left, terms.embedding_width, train=True)
        whole = yield from self._forward(step, rows, left, taken, prepared, slots)
        z = yield from evaluate_truncation(
            label, f"embedding/{number}", whole, self._drop(EMBEDDING_BITS), slots, bound=bounds.forward
        )
        squares, cross = z[:, 1:], z[:, 1:]
        if terms.width:
            held = yield from receive_slots(label, f"square/{number}", squares.size, slots)
            cross = yield from answer_slots(label, f"square/{number}", [(held, squares)], slots)
        made = score(z, cross.reshape(squares.shape), terms.signs, EMBEDDING_BITS)
        residual = yield from evaluate_truncation(
            label, f"residual/{number}", centred(made), RESIDUAL_DROP, slots, bound=bounds.residual
        )
        if terms.width:
            theirs = yield from receive_slots(label, f"gradient/{number}", squares.size, slots)
            repeated = np.repeat(residual[:, None], terms.width, axis=1)
            cross = yield from answer_slots(label, f"gradient/{number}", [(theirs, squares), (held, repeated)], slots)
        slope = gradient(residual, z, cross.reshape(squares.shape))
        yield from self._backward(step, left, slope, taken, prepared, slots, bounds)

    def _drop(self, kept: int) -> int:
        """Bits that a product loses to become an embedding of ``kept`` fractional bits."""
        return self.fixed.feature_bits + WEIGHT_BITS - kept

    def _forward(
        self,
        step: SealedStep,
        rows: I64,
        left: I64,
        taken: TakenProducts | None,
        prepared: Prepared | LeftOperand | None,
        slots: SlotEvaluator,
    ) -> Flow[U64]:
        """Its share of the embedding of the batch, (B, h + 1)."""
        width, members, number = self.terms.embedding_width, self.members, str(step.step)
        held = {name: block.weight for name, block in self.blocks.items()}
        yield from self._products.make(number, rows, held, train=step.train)
        flows: list[Flow[U64]] = [self._masked(name, step, len(left)) for name in members.others]
        if taken is not None and prepared is not None:
            flows.append(taken.product(f"forward/{step.step}", prepared, width))
        if members.own:
            weight = self.blocks[members.label].weight
            flows.append(evaluate_own(members.label, f"own/{step.step}", weight, len(left), slots, self._workers))
        total = np.zeros((len(left), width), dtype=np.uint64)
        if members.anchored:
            total = PRIME_RING.matmul(left, self.blocks[members.anchor].weight)
        parts = yield from gather(flows)
        for part in (*parts, *(yield from self._products.forward(number)).values()):
            total = PRIME_RING.add(total, part)
        return total

    def _masked(self, name: str, step: SealedStep, rows: int) -> Flow[U64]:
        got = yield from receive(name, MaskedEmbedding)
        if got.step != step.step:
            raise RemoteProtocolError(f"sent its embedding of step {got.step} at step {step.step}", name)
        check_told(got.told, step, name, self.members.label)
        return elements(got.values, (rows, self.terms.embedding_width), name)

    def _backward(
        self,
        step: SealedStep,
        left: I64,
        slope: U64,
        taken: TakenProducts | None,
        prepared: Prepared | LeftOperand | None,
        slots: SlotEvaluator,
        bounds: Bounds,
    ) -> Flow[None]:
        """Its part of every party's gradient sum; the update of the weights it holds shares of."""
        members, name = self.members, f"backward/{step.step}"
        self._held.begin()
        flows: list[Flow[U64]] = [
            self._held.backward(peer, name, slope, members.features[peer]) for peer in members.others
        ]
        if taken is not None and prepared is not None:
            flows.append(taken.product(name, prepared, self.terms.embedding_width, transposed=True))
        if members.own:
            flows.append(evaluate_own(members.label, f"own-{name}", slope, members.own, slots, self._workers))
        parts = yield from gather(flows)
        for peer, part in zip(members.others, parts, strict=False):
            yield Send(members.label, UpdateShare(step.step, peer, PRIME_RING.pack(part)))
        summed = {}
        if members.own:
            summed[members.label] = parts[-1]
        if members.anchored:
            summed[members.anchor] = PRIME_RING.add(parts[len(members.others)], PRIME_RING.matmul(left.T, slope))
        summed |= yield from self._products.passed_on(str(step.step), slope)
        if not summed:
            return
        update = Update.of(self.terms, self.fixed, len(left), step.known, members.columns)
        total = np.concatenate([update_input(block, summed[owner], update) for owner, block in self.blocks.items()])
        speed = yield from evaluate_truncation(
            members.label, f"update/{step.step}", total, update.shift, slots, bound=bounds.update
        )
        self.blocks = next_blocks(self.blocks, speed)

    def _predict(self, step: SealedStep, rows: I64, taken: TakenProducts | None, slots: SlotEvaluator) -> Flow[None]:
        label, number = self.members.label, step.step
        again = self._record is not None
        if step.again != again:
            raise RemoteProtocolError("goes on with a prediction that the anchor has no record of", label)
        if self._holds:
            share = None if again else (yield from self._linear(step, rows, taken, slots))
            self.held[number] = self._keep(step, rows, None if share is None else {"scores": share})
            return
        scores = None if again or not self._opens else (yield from self._score(step, rows, taken, slots))
        record = self._keep(step, rows, scores)
        self.scored[number] = Scored(rows, {name: block.weight for name, block in self.blocks.items()})
        if not self._opens:
            return
        this = Predicted(self.terms.seed, number, beyond_score_limit(self.terms, number))
        if refused(record):
            raise LocalProtocolError(this.beyond)
        if self._journal is not None:
            yield from await_open(label, number)
        charge = self._budget.charge_once if again else self._budget.charge
        with asked_by(label):
            charge(f"{record.session}/{number}", rows, 1)
        yield Send(label, Scores(number, pack_bits(record.arrays["scores"], SCORE_BITS)))
        check = record.arrays["check"].astype(np.uint64)
        yield from answer_range(label, this, check, self._stream.take, refusing(self._journal, record))

    def _linear(self, step: SealedStep, rows: I64, taken: TakenProducts | None, slots: SlotEvaluator) -> Flow[U64]:
        """Its share of each row's linear score, at HELD_BITS, which never opens."""
        left, terms = self._features[rows], self.terms
        bounds = check_ranges(terms, self.fixed, terms.batch_rows, self.members.columns)
        prepared = None if taken is None else taken.prepared(left, terms.embedding_width, train=False)
        whole = yield from self._forward(step, rows, left, taken, prepared, slots)
        name, drop = f"held/{step.step}", self._drop(HELD_BITS)
        return (
            yield from evaluate_truncation(self.members.label, name, whole[:, 0], drop, slots, bound=bounds.forward)
        )

    def _score(
        self, step: SealedStep, rows: I64, taken: TakenProducts | None, slots: SlotEvaluator
    ) -> Flow[dict[str, U64]]:
        """Its share modulo 2**17 of each row's score, and the sum by which they are checked."""
        label, number, terms = self.members.label, step.step, self.terms
        bounds = check_ranges(terms, self.fixed, terms.batch_rows, self.members.columns)
        left = self._features[rows]
        prepared = None if taken is None else taken.prepared(left, terms.embedding_width, train=False)
        whole = yield from self._forward(step, rows, left, taken, prepared, slots)
        z = yield from evaluate_truncation(
            label, f"embedding/{number}", whole, self._drop(PREDICTED_BITS), slots, bound=bounds.forward
        )
        squares, cross = z[:, 1:], z[:, 1:]
        if terms.width:
            held = yield from receive_slots(label, f"square/{number}", squares.size, slots)
            cross = yield from answer_slots(label, f"square/{number}", [(held, squares)], slots)
        made = score(z, cross.reshape(squares.shape), terms.signs, PREDICTED_BITS)
        share = yield from evaluate_truncation(
            label, f"score/{number}", made, 2 * PREDICTED_BITS - terms.score_fraction, slots, bound=bounds.score
        )
        return {"scores": share & _SCORE_MASK, "check": folded(terms.seed, number, share)}
