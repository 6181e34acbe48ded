"""The sealed linear model: ridge from secure moments, scores opened as one masked sum per row.

The label party solves for the coefficients, so it holds them; but every feature party first turns its
columns by a secret orthogonal matrix that never leaves it. Ridge does not depend on the basis of a party's columns,
so nothing is lost, and moments and coefficients at the label party belong to directions whose meaning it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, LocalProtocolError, Recv, RecvAny, RemoteProtocolError, Send, gather, receive
from vfl.budget import OpeningBudget
from vfl.he import Context, Evaluator, FreshZeros, KeyHolder
from vfl.layers.basis import moment_bits, secret_rotation
from vfl.layers.source import Batch, Done, Kept, MaskedSum, PublicKey, ServedSource, SingleSum
from vfl.plan import FixedPoint, RidgeModel, SplitModel
from vfl.protocols.matmul import Packing, Prepared, choose_packing, evaluate_product, hold_product
from vfl.protocols.moments import (
    REACH,
    MomentRows,
    Pairs,
    agree_pairs,
    answer_moments,
    hold_moments,
    open_moments,
    send_moments,
)
from vfl.protocols.opening import ZeroSumMasks
from vfl.protocols.resume import Forward, Resumed, SourceJournal, WalkJournal, await_open, open_step, repeated
from vfl.randomness import SecretStream
from vfl.ridge import Moments
from vfl.ring import Ring, encode_features, pack, unpack

__all__ = ["SCORE_BITS", "SealedLinear", "serve_linear", "serve_warm_start"]

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

SCORE_BITS = 17
"""Fractional bits of the columns a score is made of."""

_MOMENTS = "/moments/"
"""What stands in the label of a block's charge between its session and its number."""

_WARM = "warm-start/"
"""What the label of a warm start's charge begins with."""


class SealedLinear:
    """The label party's side: a ``LinearSource`` over encrypted columns. Call ``start`` first, ``finish`` last.

    parties: columns of each feature party, in agreed order. journal: where each step is recorded before it is
    opened; the feature parties must keep one too. resumed: the record to go on from.
    """

    def __init__(
        self,
        parties: Mapping[str, int],
        fixed: FixedPoint,
        key: KeyHolder,
        *,
        single_party: bool = False,
        journal: WalkJournal | None = None,
        resumed: Resumed | None = None,
    ) -> None:
        if len(parties) < 2 and not single_party:
            raise LocalProtocolError("a single feature party's scores open only with the agreement's consent")
        self._parties = dict(parties)
        self._fixed = fixed
        self._ring = Ring(fixed.ring_bits)
        self._key = key
        self._journal, self._resumed = journal, resumed
        self._weights = {p: np.zeros((d, 1), dtype=np.uint64) for p, d in parties.items()}
        self._kept: dict[str, list[tuple[I64, U64]]] = {p: [] for p in parties}
        self._steps = 0

    @property
    def kept(self) -> dict[str, Kept]:
        """The label party's shares of each party's part of the opened scores."""
        return {name: _joined(parts) for name, parts in self._kept.items()}

    def keep(self, rows: I64, held: Mapping[str, U64]) -> None:
        """Take in the shares of a prediction made in an earlier session."""
        for party, share in held.items():
            self._kept[party].append((rows, share))

    def _recorded(self, step: int, fresh: Flow[dict[str, U64]]) -> Flow[dict[str, U64]]:
        """This side's shares of a step's products, fresh or as recorded, with every party's record on disk."""
        record, self._resumed = self._resumed, None
        again = record is not None and record.step == step
        if record is not None and again:
            fresh.close()
            held = dict(record.held)
        else:
            held = yield from fresh
        journal = self._journal
        if journal is not None:
            kept = (lambda: None) if again else (lambda: journal.hold(step, self._weights, held))
            yield from open_step(list(self._parties), step, kept)
        return held

    def start(self) -> Flow[None]:
        """Send the session's public key to every feature party.

        Learns: nothing.
        Leaks: nothing.
        Model: semi-honest.
        Source: CRYPTO 3.
        """
        for party in self._parties:
            yield Send(party, PublicKey(self._key.context.name, self._fixed.ring_bits, self._key.public_key))

    def moments(self, step: int, rows: I64, own: F64, label: F64) -> Flow[Moments]:
        """Open the moments of these rows; columns: all feature parties' (turned), then ``own`` (n, d_own).

        Learns: Gram matrix, X^T y, X^T X_L and column sums over the rows, each party's columns in its secret basis.
        Leaks: the row ids to every feature party.
        Model: semi-honest.
        Source: docs/protocols/ridge.md.
        """
        bits = moment_bits(len(rows), self._fixed.ring_bits)
        announced = rows.astype("<u4").tobytes()
        for party in self._parties:
            yield Send(party, MomentRows(step, announced))
        mine = np.column_stack([own, label])
        centre = mine.mean(axis=0)
        # centred and scaled to the full range, so that its encoding error is relative
        scale = np.abs(mine - centre).max(axis=0) / (REACH / 2)
        scale[scale == 0] = 1.0
        products = hold_moments(self._parties, step, (mine - centre) / scale, bits, self._ring, self._key)
        held = yield from self._recorded(step, products)
        opened = yield from open_moments(self._parties, step, held, bits, self._ring)
        cross = opened.cross * scale + np.outer(opened.sums, centre)
        self._steps += 1
        return Moments(
            len(rows),
            np.block([[opened.gram, cross[:, :-1]], [cross[:, :-1].T, own.T @ own]]),
            np.concatenate([opened.sums, own.sum(axis=0)]),
            np.concatenate([cross[:, -1], own.T @ label]),
            float(label.sum()),
            float(label @ label),
        )

    def use(self, coefficients: F64) -> None:
        """Score with these coefficients (D,) from now on. Raises ValueError where a score might not fit the ring."""
        bits = self._fixed.output_bits
        if REACH * float(np.abs(coefficients).sum()) * 2.0**bits >= 2.0 ** (self._fixed.ring_bits - 1):
            raise ValueError(
                "the coefficients are too large for the ring: raise model.alpha or lower fixed_point.feature_bits"
            )
        start = 0
        for party, columns in self._parties.items():
            part = coefficients[start : start + columns, None]
            self._weights[party] = self._ring.encode(part, bits - SCORE_BITS)
            start += columns

    def forward(self, step: int, rows: I64) -> Flow[F64]:
        """Open the scores' feature part sum_k X_k[rows] beta_k, float64 (B, 1).

        Learns: one linear form of each row, with the coefficients it chose.
        Leaks: the row ids to every feature party.
        Model: semi-honest; with K = 1 the single party's part opens, which the agreement must say.
        Source: CRYPTO 4, steps 1 and 2, with U_k = 0.
        """
        for party in self._parties:
            yield Send(party, Batch(step, False, rows.astype("<u4").tobytes()))
        held = yield from self._recorded(step, self._hold_scores(step, len(rows)))
        sums = yield from gather([self._receive_sum(party, step, len(rows)) for party in self._parties])
        total = np.zeros((len(rows), 1), dtype=np.uint64)
        for party, masked in zip(self._parties, sums, strict=True):
            total = self._ring.add(total, self._ring.add(held[party], masked))
        self.keep(rows, held)
        self._steps += 1
        return self._ring.decode(total, self._fixed.output_bits)

    def _hold_scores(self, step: int, rows: int) -> Flow[dict[str, U64]]:
        """This side's share of each party's part of the scores."""
        flows = [
            hold_product(
                party, f"forward/{step}", share, rows, self._key, _packing(self._key.context, rows, len(share))
            )
            for party, share in self._weights.items()
        ]
        return dict(zip(self._weights, (yield from gather(flows)), strict=True))

    def _receive_sum(self, party: str, step: int, rows: int) -> Flow[U64]:
        kind = SingleSum if len(self._parties) == 1 else MaskedSum
        got = cast("MaskedSum | SingleSum", (yield Recv(party, kind)))
        if got.step != step:
            raise RemoteProtocolError(f"sent the sum of step {got.step} at step {step}", party)
        try:
            return unpack(got.values, self._ring.width, rows, self._ring.modulus).reshape(rows, 1)
        except ValueError as error:
            raise RemoteProtocolError(str(error), party) from None

    def finish(self) -> Flow[None]:
        """Tell every feature party that the session is over.

        Learns: nothing.
        Leaks: the number of steps.
        Model: semi-honest.
        Source: CRYPTO 4.
        """
        for party in self._parties:
            yield Send(party, Done(self._steps))


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
        self.blocks = [set(rows.tolist()) for label, rows in budget.charged("").items() if _MOMENTS in label]

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
        label = f"{made.session}{_MOMENTS}{step}" if train else made.label
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
        prepared = Prepared(evaluator, left, _packing(evaluator.context, *left.shape))
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
    Source: docs/protocols/ridge.md; CRYPTO 4.
    """
    _check_columns(me, parties, features, single_party)
    evaluator, pairs = yield from _agree_keys(me, label_party, parties, fixed, parameter_set)
    served = _Served(
        me, label_party, parties, features, terms, fixed, masks, budget, stream, session,
        basis, journal, resumed, predicted,
    )  # fmt: skip
    zeros, steps = FreshZeros(evaluator), 0
    options = (Recv(label_party, MomentRows), Recv(label_party, Batch), Recv(label_party, Done))
    while True:
        chosen, got = yield RecvAny(options)
        if chosen == 2:
            return ServedSource(np.zeros((parties[me], 1), dtype=np.uint64), _joined(served.kept), steps)
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
    Source: docs/protocols/ridge.md, "Warm start".
    """
    _check_columns(me, parties, columns, single_party)
    evaluator, pairs = yield from _agree_keys(me, label_party, parties, fixed, parameter_set)
    served = _Blocks(me, label_party, parties, columns, terms, fixed, budget, stream)
    announced = yield from receive(label_party, MomentRows)
    rows = served.rows(announced.rows, len(columns))
    if any(set(before.tolist()) != set(rows.tolist()) for before in budget.charged(_WARM).values()):
        raise RemoteProtocolError("asks for a warm start from other rows than before in this run", label_party)
    served.check(rows)
    budget.charge(f"{_WARM}{session}", rows, 1)
    made = yield from served.answer(announced.block, rows, label_columns, evaluator, pairs, FreshZeros(evaluator))
    yield from served.send(announced.block, rows, made, label_columns)


def _check_columns(me: str, parties: Mapping[str, int], features: F64, single_party: bool) -> None:
    if len(parties) < 2 and not single_party:
        raise LocalProtocolError("a single feature party's scores open only with the agreement's consent")
    if features.shape[1:] != (parties[me],):
        raise LocalProtocolError(f"{parties[me]} columns were agreed and {features.shape[1:]} brought")


def _agree_keys(
    me: str, label_party: str, parties: Mapping[str, int], fixed: FixedPoint, parameter_set: str
) -> Flow[tuple[Evaluator, Pairs]]:
    """The label party's key for this session, and those between feature parties."""
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


def _packing(context: Context, rows: int, columns: int) -> Packing:
    return choose_packing(rows, columns, 1, context.degree)


def _joined(parts: list[tuple[I64, U64]]) -> Kept:
    if not parts:
        return Kept(np.zeros(0, dtype=np.int64), np.zeros((0, 1), dtype=np.uint64))
    return Kept(np.concatenate([rows for rows, _ in parts]), np.concatenate([share for _, share in parts]))
