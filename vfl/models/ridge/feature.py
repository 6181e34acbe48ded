"""The feature party of the joint ridge: answers moments and scores until the label party is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np

from psi.flow import Flow, LocalProtocolError, Recv, RecvAny, RemoteProtocolError, Send, receive
from vfl.arithmetic.he import Evaluator, FreshZeros
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.ring import Ring, encode_features, pack
from vfl.models.ridge.basis import moment_bits, secret_rotation
from vfl.models.ridge.label import F64, I64, MOMENTS_CHARGE, SCORE_BITS, U64, WARM_CHARGE, joined_shares, score_packing
from vfl.protocols.moments import REACH, MomentRows, Pairs, answer_moments, send_moments
from vfl.protocols.opening import ZeroSumMasks
from vfl.protocols.opening_budget import OpeningBudget
from vfl.protocols.product import Prepared, evaluate_product
from vfl.protocols.resume import Forward, SourceJournal, await_open, repeated
from vfl.protocols.session import Batch, Done, MaskedSum, ServedSource, SingleSum, agree_session_keys
from vfl.terms import FixedPoint, RidgeModel, SplitModel

__all__ = ["serve_linear", "serve_warm_start"]


class _Blocks:
    """A feature party's turned columns, and its answer to a block of moments. Each row enters once in a session.

    In another session of the run, which has the same basis, a block that was charged enters whole or not at all.
    """

    def __init__(
        self,
        me: str,
        label_party: str,
        parties: Mapping[str, int],
        columns: F64,
        terms: RidgeModel | SplitModel,
        fixed: FixedPoint,
        budget: OpeningBudget,
        stream: SecretStream,
    ) -> None:
        self.me, self.label_party, self.parties, self.columns = me, label_party, parties, columns
        self.terms, self.fixed, self.budget = terms, fixed, budget
        self.ring, self.stream = Ring(fixed.ring_bits), stream
        self.entered = np.zeros(len(columns), dtype=np.bool_)

    def rows(self, data: bytes, largest: int) -> I64:
        rows = np.frombuffer(data, dtype="<u4").astype(np.int64) if len(data) % 4 == 0 else np.zeros(0, np.int64)
        if not len(rows) or len(np.unique(rows)) != len(rows) or int(rows.max()) >= len(self.entered):
            raise RemoteProtocolError("announced rows that do not exist or repeat", self.label_party)
        if len(rows) > largest:
            raise RemoteProtocolError(f"announced {len(rows)} rows where {largest} are allowed", self.label_party)
        return rows

    def check(self, rows: I64) -> None:
        """Raise :class:`RemoteProtocolError` unless these rows may be a block now."""
        least = self.terms.smallest_block(sum(self.parties.values()))
        if len(rows) < least:
            raise RemoteProtocolError(f"asks for moments of {len(rows)} rows; {least} are needed", self.label_party)
        if self.entered[rows].any():
            raise RemoteProtocolError("asks for moments of rows that entered before", self.label_party)

    def answer(
        self,
        block: int,
        rows: I64,
        label_columns: int,
        evaluator: Evaluator,
        pairs: Pairs,
        zeros: FreshZeros,
    ) -> Flow[U64]:
        columns = encode_features(self.columns[rows], moment_bits(len(rows), self.fixed.ring_bits), REACH)
        return (
            yield from answer_moments(
                self.me, self.label_party, self.parties, block, columns, label_columns,
                evaluator, pairs, self.ring, self.stream, zeros,
            )
        )  # fmt: skip

    def send(self, block: int, rows: I64, made: U64, label_columns: int) -> Flow[None]:
        self.entered[rows] = True
        yield from send_moments(self.me, self.label_party, self.parties, block, made, label_columns, self.ring)


class _Served(_Blocks):
    """What a feature party of a ridge holds during a session, and its two answers."""

    def __init__(
        self,
        me: str,
        label_party: str,
        parties: Mapping[str, int],
        features: F64,
        terms: RidgeModel,
        fixed: FixedPoint,
        masks: ZeroSumMasks,
        budget: OpeningBudget,
        stream: SecretStream,
        session: str,
        basis: SecretStream | None,
        journal: SourceJournal | None,
        resumed: Forward | None,
        predicted: Sequence[Forward],
    ) -> None:
        rotation = secret_rotation(basis or stream.child(f"rotation/{session}"), features.shape[1])
        columns = np.clip(features, -fixed.clip, fixed.clip) @ rotation
        super().__init__(me, label_party, parties, columns, terms, fixed, budget, stream)
        self.masks, self.session = masks, session
        self.journal, self.resumed = journal, resumed
        self.kept: list[tuple[I64, U64]] = [(record.rows, record.part) for record in predicted]
        self.blocks = [set(rows.tolist()) for label, rows in budget.charged("").items() if MOMENTS_CHARGE in label]

    def check(self, rows: I64) -> None:
        super().check(rows)
        chosen = set(rows.tolist())
        if any(chosen & before and chosen != before for before in self.blocks):
            raise RemoteProtocolError(
                "asks for moments of rows that entered with others in an earlier session", self.label_party
            )

    def recorded(self, step: int, train: bool, rows: I64, fresh: Flow[U64]) -> Flow[U64]:
        """What the step opens, fresh or as recorded: charged, with every party's record on disk."""
        again, self.resumed = self.resumed, None
        if again is not None:
            fresh.close()
            made = repeated(again, step, train, rows, self.label_party)
        else:
            part = yield from fresh
            none = np.zeros((self.columns.shape[1], 1), dtype=np.uint64)
            made = Forward(self.session, step, train, rows, none, part)
            if self.journal is not None:
                self.journal.hold(made)
        if self.journal is not None:
            yield from await_open(self.label_party, step)
        label = f"{made.session}{MOMENTS_CHARGE}{step}" if train else made.label
        (self.budget.charge if again is None else self.budget.charge_once)(label, rows, 1)
        return made.part

    def block(
        self, announced: MomentRows, label_columns: int, evaluator: Evaluator, pairs: Pairs, zeros: FreshZeros
    ) -> Flow[None]:
        rows = self.rows(announced.rows, len(self.entered))
        self.check(rows)
        fresh = self.answer(announced.block, rows, label_columns, evaluator, pairs, zeros)
        made = yield from self.recorded(announced.block, True, rows, fresh)
        yield from self.send(announced.block, rows, made, label_columns)

    def score(self, batch: Batch, largest: int, evaluator: Evaluator, zeros: FreshZeros) -> Flow[None]:
        if batch.train:
            raise RemoteProtocolError("asks to train a split network where a ridge was agreed", self.label_party)
        rows = self.rows(batch.rows, largest)
        left = encode_features(self.columns[rows], SCORE_BITS, REACH)
        prepared = Prepared(evaluator, left, score_packing(evaluator.context, *left.shape))
        fresh = evaluate_product(self.label_party, f"forward/{batch.step}", prepared, 1, self.stream, zeros)
        part = yield from self.recorded(batch.step, False, rows, fresh)
        mask = self.masks.mask(f"{self.session}/{batch.step}", list(self.parties), part.shape)
        masked = self.ring.add(part, mask)
        yield Send(
            self.label_party,
            (SingleSum if len(self.parties) == 1 else MaskedSum)(batch.step, pack(masked, self.ring.width)),
        )
        self.kept.append((rows, part))


def serve_linear(
    me: str,
    label_party: str,
    parties: Mapping[str, int],
    features: F64,
    label_columns: int,
    terms: RidgeModel,
    fixed: FixedPoint,
    parameter_set: str,
    masks: ZeroSumMasks,
    budget: OpeningBudget,
    stream: SecretStream,
    *,
    session: str,
    single_party: bool = False,
    largest_batch: int = 8192,
    basis: SecretStream | None = None,
    journal: SourceJournal | None = None,
    resumed: Forward | None = None,
    predicted: Sequence[Forward] = (),
) -> Flow[ServedSource]:
    """A feature party's side: answer blocks and scores until the label party is done.

    parties: columns of every feature party, in agreed order. features: float64 (rows, d), standardised and
    finite. label_columns: the label party's own features and its label. session, journal, resumed,
    predicted: as in ``serve_source``. basis: what the secret basis is drawn from, the same in every session of a run
    that can be resumed; by default it is drawn anew.

    Learns: which rows enter the moments and which are scored, when.
    Leaks: per block of at least ``terms.smallest_block`` rows, none of which entered before: moments of its columns
        in a basis only it knows; per scored row one linear form, inside a sum over parties; both are charged first.
    Model: semi-honest label party. One that deviates chooses the linear forms, of scores and (label_columns per
        block) of X_k^T Y; a second run over other rows would isolate the difference, which the budget bounds.
    Source: docs/protocols/ridge.md#the-protocol; docs/protocols/split.md#a-step for scores.
    """
    _check_columns(me, parties, features, single_party)
    evaluator, pairs = yield from agree_session_keys(me, label_party, parties, fixed, parameter_set)
    served = _Served(
        me, label_party, parties, features, terms, fixed, masks, budget, stream, session,
        basis, journal, resumed, predicted,
    )  # fmt: skip
    zeros, steps = FreshZeros(evaluator), 0
    options = (Recv(label_party, MomentRows), Recv(label_party, Batch), Recv(label_party, Done))
    while True:
        chosen, got = yield RecvAny(options)
        if chosen == 2:
            return ServedSource(np.zeros((parties[me], 1), dtype=np.uint64), joined_shares(served.kept), steps)
        if chosen == 0:
            yield from served.block(cast("MomentRows", got), label_columns, evaluator, pairs, zeros)
            steps += 1
        else:
            yield from served.score(cast("Batch", got), largest_batch, evaluator, zeros)


def serve_warm_start(
    me: str,
    label_party: str,
    parties: Mapping[str, int],
    columns: F64,
    label_columns: int,
    terms: SplitModel,
    fixed: FixedPoint,
    parameter_set: str,
    budget: OpeningBudget,
    stream: SecretStream,
    *,
    session: str,
    single_party: bool = False,
) -> Flow[None]:
    """A feature party's side of a warm start: one block of moments, before the source layer is served.

    columns: float64 (rows, d), turned by this run's secret rotation, as the source layer will use them. A run that
    begins training again may open the block again, counted again: of the same rows, since the rotation is the same.

    Learns: which rows have resolved at the first prediction.
    Leaks: of at least ``terms.smallest_block`` rows, charged first: moments of its columns and their products with
        the others' and with the label, in a basis only it knows. The basis is the one its embeddings are made in.
    Model: semi-honest label party. One that deviates reads label_columns linear forms over rows of X_k instead, at
        each time the block is opened.
    Source: docs/protocols/ridge.md#warm-start.
    """
    _check_columns(me, parties, columns, single_party)
    evaluator, pairs = yield from agree_session_keys(me, label_party, parties, fixed, parameter_set)
    served = _Blocks(me, label_party, parties, columns, terms, fixed, budget, stream)
    announced = yield from receive(label_party, MomentRows)
    rows = served.rows(announced.rows, len(columns))
    if any(set(before.tolist()) != set(rows.tolist()) for before in budget.charged(WARM_CHARGE).values()):
        raise RemoteProtocolError("asks for a warm start from other rows than before in this run", label_party)
    served.check(rows)
    budget.charge(f"{WARM_CHARGE}{session}", rows, 1)
    made = yield from served.answer(announced.block, rows, label_columns, evaluator, pairs, FreshZeros(evaluator))
    yield from served.send(announced.block, rows, made, label_columns)


def _check_columns(me: str, parties: Mapping[str, int], features: F64, single_party: bool) -> None:
    if len(parties) < 2 and not single_party:
        raise LocalProtocolError("a single feature party's scores open only with the agreement's consent")
    if features.shape[1:] != (parties[me],):
        raise LocalProtocolError(f"{parties[me]} columns were agreed and {features.shape[1:]} brought")
