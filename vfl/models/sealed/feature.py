"""A feature party of the sealed network that is not its anchor: it answers steps until the label party is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, LocalProtocolError, Recv, RecvAny, RemoteProtocolError, Send
from vfl.arithmetic.he import Evaluator
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.zero_supply import FreshZeros, ZeroSupply
from vfl.models.sealed.columns import Columns
from vfl.models.sealed.ends import TakenProducts, take_products, take_slots
from vfl.models.sealed.messages import MaskedEmbedding, Members, SealedStep, as_told, check_scored, step_rows
from vfl.models.sealed.products import OwnedProducts
from vfl.models.sealed.records import (
    Scored,
    SealedJournal,
    StepRecord,
    blocks_in,
    blocks_out,
    check_repeated,
    scored_in,
)
from vfl.models.sealed.scales import Update, check_ranges
from vfl.models.sealed.step import Block, next_blocks, update_input
from vfl.models.sealed.tied import TiedHead
from vfl.protocols.opening import ZeroSumMasks
from vfl.protocols.session import Done
from vfl.protocols.slots import SlotEvaluator
from vfl.protocols.spread import Workers
from vfl.protocols.truncation import evaluate_truncation
from vfl.terms import FixedPoint, SealedModel

__all__ = ["SealedFeature"]

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]


class SealedFeature:
    """One session of a feature party. ``serve`` is its flow; ``scored`` and ``block`` are what it leaves.

    features: small integers (rows, d) at the terms' feature bits. weight: its share of the initial weights, (d, h + 1),
    the same at every member of a tied group.
    session: name of this attempt, part of every mask's label. stream: secret randomness, new in every attempt.
    journal, resumed: as in :mod:`vfl.models.sealed.records`. predicted: its records of earlier predictions. opens:
    False in a trial, where a prediction keeps the weights for its rows and nothing else. scored_from: of a session that
    only scores, the first row that may be asked for; nothing trains in it. products: its end of product columns.
    shared: its shares of the first weights of those that it holds, by pair.
    """

    def __init__(
        self,
        me: str,
        members: Members,
        features: Columns,
        weight: U64,
        terms: SealedModel,
        fixed: FixedPoint,
        masks: ZeroSumMasks,
        stream: SecretStream,
        *,
        session: str,
        supply: Callable[[Evaluator], ZeroSupply] = FreshZeros,
        workers: Workers | None = None,
        journal: SealedJournal | None = None,
        resumed: StepRecord | None = None,
        predicted: Sequence[StepRecord] = (),
        opens: bool = True,
        scored_from: int | None = None,
        products: OwnedProducts | None = None,
        shared: Mapping[str, U64] | None = None,
    ) -> None:
        if me not in members.others:
            raise LocalProtocolError(f"{me!r} is no feature party beside the anchor of this run")
        shape = (members.features[me], terms.embedding_width)
        if features.shape[1:] != shape[:1] or weight.shape != shape:
            raise LocalProtocolError(f"{shape[0]} columns were agreed and {features.shape[1:]} brought")
        check_ranges(terms, fixed, terms.batch_rows, members.columns)
        self.me, self.members, self.terms, self.fixed = me, members, terms, fixed
        self._owner, self._tied = members.head(me), TiedHead.of(me, members, masks, session)
        paired = members.products_held(me)
        held = {self._owner: shape} | {name: (count, shape[1]) for name, count in paired.items()}
        started = {self._owner: weight} | dict(shared or {})
        if {name: one.shape for name, one in started.items()} != held:
            raise LocalProtocolError(f"the initial weights have shapes {held}")
        self.blocks = {name: Block.starting(one) for name, one in started.items()}
        if resumed is not None:
            self.blocks = blocks_in(resumed.arrays, held)
        self._products = products or OwnedProducts.none(me, members, stream)
        self.scored: dict[int, Scored] = scored_in(predicted)
        self._features, self._masks, self._stream, self._session = features, masks, stream, session
        self._supply, self._workers, self._journal, self._record = supply, workers, journal, resumed
        self._answered: set[int] = set()
        self._opens, self._scored_from = opens, scored_from

    @property
    def block(self) -> Block:
        """Its shares of the weights that its own columns meet."""
        return self.blocks[self._owner]

    @staticmethod
    def columns_held(me: str, members: Members) -> dict[str, int]:
        """Columns of the weights that a feature party holds shares of: its own, and of products that it holds."""
        return {me: members.features[me]} | members.products_held(me)

    def serve(self) -> Flow[None]:
        """Answer steps until the label party is done.

        Learns: which rows are trained on and predicted when, and how many have labels; its own shares, uniform in Z_p.
        Leaks: to the anchor its uniform share of the embedding under a zero-sum mask; to both holders of shares, masked
            ciphertexts that decrypt to uniform shares; to other members of a tied group what
            :class:`vfl.models.sealed.tied.TiedHead` says; to the other owner of its products what
            :class:`vfl.models.sealed.products.OwnedProducts` says.
        Model: semi-honest holders that do not pool what they have; pooled, they see the sum of all feature parties'
            embeddings beside the anchor's (its own, where there is no other such party).
        Source: docs/protocols/sealed.md#a-step.
        """
        label, largest = self.members.label, max(self.terms.batch_rows, 8192)
        under_label = yield from take_products(label, self._stream, self._supply, self._workers)
        slots = yield from take_slots(label, self._stream, self._supply, self._workers)
        under_anchor = yield from take_products(self.members.anchor, self._stream, self._supply, self._workers)
        yield from self._products.start(slots)
        try:
            while True:
                chosen, got = yield RecvAny((Recv(label, SealedStep), Recv(label, Done)))
                if chosen == 1:
                    return
                step = cast("SealedStep", got)
                if step.step in self._answered:
                    raise RemoteProtocolError(f"announced step {step.step} again", label)
                self._answered.add(step.step)
                rows = step_rows(step, len(self._features), largest, label)
                check_scored(step, rows, self._scored_from, label)
                self._keep(step, rows)
                if self._tied is not None:
                    yield from self._tied.same(step.step, self.block)
                if step.train or (self._opens and not step.again):
                    yield from self._take_part(step, rows, under_label, under_anchor, slots)
        finally:
            under_label.close()
            under_anchor.close()
            self._products.close()
            if slots.zeros is not None:
                slots.zeros.close()

    def _keep(self, step: SealedStep, rows: I64) -> None:
        record, self._record = self._record, None
        if record is not None:
            check_repeated(record, step.step, step.train, rows, self.members.label)
        elif self._journal is not None:
            arrays = blocks_out(self.blocks)
            self._journal.hold(StepRecord(self._session, step.step, step.train, rows, arrays))
        if not step.train:
            self.scored[step.step] = Scored(rows, {name: block.weight for name, block in self.blocks.items()})

    def _take_part(
        self, step: SealedStep, rows: I64, under_label: TakenProducts, under_anchor: TakenProducts, slots: SlotEvaluator
    ) -> Flow[None]:
        number, width, left = step.step, self.terms.embedding_width, self._features[rows]
        held = {name: block.weight for name, block in self.blocks.items()}
        yield from self._products.make(str(number), rows, held, train=step.train)
        prepared = under_label.prepared(left, width, train=step.train)
        part = yield from under_label.product(f"forward/{number}", prepared, width)
        part = PRIME_RING.add(part, PRIME_RING.matmul(left, self.block.weight))
        for more in (yield from self._products.forward(str(number))).values():
            part = PRIME_RING.add(part, more)
        mask = self._masks.mask(f"sealed/{self._session}/{number}", self.members.others, part.shape)
        yield Send(
            self.members.anchor, MaskedEmbedding(number, as_told(step), PRIME_RING.pack(PRIME_RING.add(part, mask)))
        )
        if not step.train:
            return
        mine = yield from under_label.product(f"backward/{number}", prepared, width, transposed=True)
        prepared = under_anchor.prepared(left, width, train=True)
        rest = yield from under_anchor.product(f"backward/{number}", prepared, width, transposed=True)
        summed, paired = PRIME_RING.add(mine, rest), (yield from self._products.backward(str(number)))
        update = Update.of(self.terms, self.fixed, len(rows), step.known, self.members.columns)
        bounds = check_ranges(self.terms, self.fixed, len(rows), self.members.columns)

        def truncated(gradient: U64) -> Flow[U64]:
            sums = {self._owner: gradient} | paired
            total = np.concatenate([update_input(block, sums[name], update) for name, block in self.blocks.items()])
            return evaluate_truncation(
                self.members.label, f"update/{number}", total, update.shift, slots, bound=bounds.update
            )

        speed = yield from truncated(summed) if self._tied is None else self._tied.speed(number, summed, truncated)
        self.blocks = next_blocks(self.blocks, speed)
