"""The feature party of the joint ridge: answers moments and scores until the label party is done."""

from __future__ import annotations

from typing import cast

import numpy as np

from psi.flow import Flow, Recv, RecvAny, RemoteProtocolError, receive
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.ring import encode_features
from vfl.models.ridge.basis import moment_bits, secret_rotation
from vfl.models.ridge.label import MOMENTS_CHARGE, SCORE_BITS, WARM_CHARGE
from vfl.protocols.feature_session import FeatureSession, TakenKey
from vfl.protocols.moment_messages import MomentRows
from vfl.protocols.moments import REACH, Pairs, agree_pairs, answer_moments, send_moments
from vfl.protocols.opening_budget import asked_by
from vfl.protocols.session import F64, I64, Batch, Done, RingShare, ServedSource, rows_announced
from vfl.terms import RidgeModel, SplitModel

__all__ = ["serve_linear", "serve_warm_start"]


class _Blocks:
    """A feature party's turned columns, and its answer to a block of moments. Each row enters once in a session.

    In another session of the run, which has the same basis, a block that was charged enters whole or not at all.
    """

    def __init__(
        self,
        session: FeatureSession,
        keys: tuple[TakenKey, Pairs],
        columns: F64,
        label_columns: int,
        terms: RidgeModel | SplitModel,
    ) -> None:
        self.session, self.columns, self.label_columns = session, columns, label_columns
        self.key, self.pairs = keys
        self.least = terms.smallest_block(sum(session.parties.values()), label_columns)
        self.entered = np.zeros(len(columns), dtype=np.bool_)
        self.blocks = [
            set(rows.tolist()) for label, rows in session.budget.charged("").items() if MOMENTS_CHARGE in label
        ]

    def rows(self, announced: MomentRows) -> I64:
        """The rows of a block. Raises :class:`RemoteProtocolError` where they may not be one now."""
        label_party = self.session.label_party
        rows = rows_announced(announced.rows, len(self.entered), label_party)
        if len(rows) < self.least:
            raise RemoteProtocolError(f"asks for moments of {len(rows)} rows; {self.least} are needed", label_party)
        if self.entered[rows].any():
            raise RemoteProtocolError("asks for moments of rows that entered before", label_party)
        chosen = set(rows.tolist())
        if any(chosen & before and chosen != before for before in self.blocks):
            raise RemoteProtocolError(
                "asks for moments of rows that entered with others in an earlier session", label_party
            )
        return rows

    def answer(self, block: int, rows: I64) -> Flow[RingShare]:
        bits = moment_bits(len(rows), self.session.fixed.ring_bits)
        columns = encode_features(self.columns[rows], bits, REACH)
        return (yield from answer_moments(self.session, self.key, self.pairs, block, columns, self.label_columns))

    def send(self, block: int, rows: I64, made: RingShare) -> Flow[None]:
        self.entered[rows] = True
        yield from send_moments(self.session, block, made, self.label_columns)

    def serve(self, announced: MomentRows) -> Flow[None]:
        """A block of a ridge: checked, answered, recorded, charged, sent."""
        rows, block = self.rows(announced), announced.block
        step = Batch(block, True, announced.rows)
        none = self.session.zeros(self.columns.shape[1], 1)
        fresh = self.answer(block, rows)
        made = yield from self.session.open(step, rows, none, fresh, mark=MOMENTS_CHARGE, of_rows=False)
        yield from self.send(block, rows, made)

    def score(self, batch: Batch) -> Flow[None]:
        """A batch of a ridge's scores: recorded, charged, sent and kept."""
        session = self.session
        if batch.train:
            raise RemoteProtocolError("asks to train a split network where a ridge was agreed", session.label_party)
        rows = session.rows(batch, len(self.columns))
        left = encode_features(self.columns[rows], SCORE_BITS, REACH)
        fresh = self.key.product(f"forward/{batch.step}", self.key.prepared(left, 1), 1)
        part = yield from session.open(batch, rows, session.zeros(self.columns.shape[1], 1), fresh)
        yield from session.send(batch.step, part)
        session.keep(rows, part)


def _take_keys(session: FeatureSession) -> Flow[tuple[TakenKey, Pairs]]:
    key = yield from session.take_key()
    pairs = yield from agree_pairs(session)
    return key, pairs


def serve_linear(
    session: FeatureSession,
    features: F64,
    label_columns: int,
    terms: RidgeModel,
    *,
    basis: SecretStream | None = None,
) -> Flow[ServedSource]:
    """A feature party's side: answer blocks and scores until the label party is done.

    features: float64 (rows, d), standardised and finite. label_columns: the label party's own features and its label.
    basis: what the secret basis is drawn from, the same in every session of a run that can be resumed; by default it
    is drawn anew.

    Learns: which rows enter the moments and which are scored, when.
    Leaks: per block of at least ``terms.smallest_block`` rows, none of which entered before: moments of its columns
        in a basis only it knows; per scored row one linear form, inside a sum over parties; both are charged first.
    Model: semi-honest label party. One that deviates chooses the linear forms, of scores and (label_columns per
        block) of X_k^T Y; a second run over other rows would isolate the difference, which the budget bounds.
    Source: docs/protocols/ridge.md#the-protocol; docs/protocols/split.md#a-step for scores.
    """
    session.check_columns(features.shape)
    keys = yield from _take_keys(session)
    rotation = secret_rotation(basis or session.stream.child(f"rotation/{session.name}"), features.shape[1])
    columns = np.clip(features, -session.fixed.clip, session.fixed.clip) @ rotation
    served = _Blocks(session, keys, columns, label_columns, terms)
    options = tuple(Recv(session.label_party, kind) for kind in (MomentRows, Batch, Done))
    steps = 0
    try:
        while True:
            chosen, got = yield RecvAny(options)
            if chosen == 2:
                return session.served(session.zeros(features.shape[1], 1), steps)
            if chosen == 0:
                yield from served.serve(cast("MomentRows", got))
                steps += 1
            else:
                yield from served.score(cast("Batch", got))
    finally:
        served.key.close()


def serve_warm_start(session: FeatureSession, columns: F64, label_columns: int, terms: SplitModel) -> Flow[None]:
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
    session.check_columns(columns.shape)
    served = _Blocks(session, (yield from _take_keys(session)), columns, label_columns, terms)
    announced = yield from receive(session.label_party, MomentRows)
    rows = rows_announced(announced.rows, len(columns), session.label_party)
    before = session.budget.charged(WARM_CHARGE).values()
    if any(set(opened.tolist()) != set(rows.tolist()) for opened in before):
        raise RemoteProtocolError("asks for a warm start from other rows than before in this run", session.label_party)
    rows = served.rows(announced)
    with asked_by(session.label_party):
        session.budget.charge(f"{WARM_CHARGE}{session.name}", rows, 1)
    made = yield from served.answer(announced.block, rows)
    yield from served.send(announced.block, rows, made)
    served.key.close()
