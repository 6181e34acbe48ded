"""The feature party of the split network: answers steps of the sealed source layer until the label party is done."""

from __future__ import annotations

from typing import cast

from psi.flow import Flow, Recv, RecvAny
from vfl.protocols.feature_session import FeatureSession, TakenKey
from vfl.protocols.opening_budget import asked_by
from vfl.protocols.product import LeftOperand, Prepared
from vfl.protocols.session import I64, Batch, Done, RingShare, ServedSource

__all__ = ["serve_source"]


def serve_source(session: FeatureSession, features: I64, share: RingShare) -> Flow[ServedSource]:
    """A feature party's side: answer steps until the label party is done.

    features: small integers (rows, d) at scale f_x. share: U_k, (d, h). Where the session goes on from a record, that
    takes the place of ``share``.

    Learns: which rows are opened when; its own shares, uniform in Z_t.
    Leaks: its share of each opened batch with its noise, under a zero-sum mask, charged to the budget first;
        masked ciphertexts that decrypt to uniform shares.
    Model: semi-honest label party; whatever it sends, each row's sum opens at most ``budget.limit`` times, and
        no row's content is told more bits than the budget has for it, backward products among them.
    Source: docs/protocols/split.md#a-step; docs/protocols/openings.md#openings-and-their-budget.
    """
    session.check_columns(features.shape)
    options = (Recv(session.label_party, Batch), Recv(session.label_party, Done))
    key = yield from session.take_key()
    share, steps = share if session.resumed is None else session.resumed.share, 0
    try:
        while True:
            chosen, got = yield RecvAny(options)
            if chosen == 1:
                return session.served(share, steps)
            batch = cast("Batch", got)
            rows = session.rows(batch, len(features))
            left = features[rows]
            prepared = key.prepared(left, share.shape[1], both=batch.train)
            part = yield from session.open(batch, rows, share, _forward(key, batch.step, left, prepared, share))
            yield from session.send(batch.step, part)
            if not batch.train:
                session.keep(rows, part)
                continue
            with asked_by(session.label_party):
                session.budget.charge_backward(session.name, batch.step, rows, share.shape[1])
            share -= yield from key.product(f"backward/{batch.step}", prepared, share.shape[1], transposed=True)
            steps += 1
    finally:
        key.close()


def _forward(
    key: TakenKey, step: int, left: I64, prepared: Prepared | LeftOperand, share: RingShare
) -> Flow[RingShare]:
    """This party's part of X (U + V)."""
    part = yield from key.product(f"forward/{step}", prepared, share.shape[1])
    return part + left @ share
