"""The sealed linear model: ridge from secure moments, scores opened as one masked sum per row.

The label party solves for the coefficients, so it holds them; but every feature party first turns its
columns by a secret orthogonal matrix that never leaves it. Ridge does not depend on the basis of a party's columns,
so nothing is lost, and moments and coefficients at the label party belong to directions whose meaning it does not know.
"""

from __future__ import annotations

import numpy as np

from psi.flow import Flow, Send
from vfl.arithmetic.share import Share
from vfl.models.ridge.basis import moment_bits
from vfl.models.ridge.moments import Moments
from vfl.protocols.label_session import LabelSession
from vfl.protocols.moment_messages import MomentRows
from vfl.protocols.moments import REACH, hold_moments, open_moments
from vfl.protocols.session import F64, I64, Kept, row_ids

__all__ = ["MOMENTS_CHARGE", "SCORE_BITS", "WARM_CHARGE", "SealedLinear"]

SCORE_BITS = 17
"""Fractional bits of the columns a score is made of."""

MOMENTS_CHARGE = "/moments/"
"""What stands in the label of a block's charge between its session and its number."""

WARM_CHARGE = "warm-start/"
"""What the label of a warm start's charge begins with."""


class SealedLinear:
    """The label party's side: a ``LinearSource`` over encrypted columns. Call ``start`` first, ``finish`` last."""

    def __init__(self, session: LabelSession) -> None:
        self.session = session
        self._weights = {party: session.zeros(columns, 1) for party, columns in session.parties.items()}

    @property
    def kept(self) -> dict[str, Kept]:
        """The label party's shares of each party's part of the opened scores."""
        return self.session.kept(1)

    def start(self) -> Flow[None]:
        """Send the session's public key to every feature party.

        Learns: nothing.
        Leaks: nothing.
        Model: semi-honest.
        Source: docs/protocols/product.md#key.
        """
        yield from self.session.start()

    def moments(self, step: int, rows: I64, own: F64, label: F64) -> Flow[Moments]:
        """Open the moments of these rows; columns: all feature parties' (turned), then ``own`` (n, d_own).

        Learns: Gram matrix, X^T y, X^T X_L and column sums over the rows, each party's columns in its secret basis.
        Leaks: the row ids to every feature party.
        Model: semi-honest.
        Source: docs/protocols/ridge.md#the-protocol.
        """
        session = self.session
        bits = moment_bits(len(rows), session.fixed.ring_bits)
        announced = row_ids(rows)
        for party in session.parties:
            yield Send(party, MomentRows(step, announced))
        mine = np.column_stack([own, label])
        centre = mine.mean(axis=0)
        # centred and scaled to the full range, so that its encoding error is relative
        scale = np.abs(mine - centre).max(axis=0) / (REACH / 2)
        scale[scale == 0] = 1.0
        products = hold_moments(session, step, (mine - centre) / scale, bits)
        held = yield from session.hold(step, self._weights, products)
        opened = yield from open_moments(session, step, held, bits)
        cross = opened.cross * scale + np.outer(opened.sums, centre)
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
        session, fixed = self.session, self.session.fixed
        bits = fixed.output_bits
        if REACH * float(np.abs(coefficients).sum()) * 2.0**bits >= 2.0 ** (fixed.ring_bits - 1):
            raise ValueError(
                "the coefficients are too large for the ring: raise model.alpha or lower fixed_point.feature_bits"
            )
        start = 0
        for party, columns in session.parties.items():
            part = coefficients[start : start + columns, None]
            self._weights[party] = Share(session.ring, session.ring.encode(part, bits - SCORE_BITS))
            start += columns

    def forward(self, step: int, rows: I64) -> Flow[F64]:
        """Open the scores' feature part sum_k X_k[rows] beta_k, float64 (B, 1).

        Learns: one linear form of each row, with the coefficients it chose.
        Leaks: the row ids to every feature party.
        Model: semi-honest; with K = 1 the single party's part opens, which the agreement must say.
        Source: docs/protocols/split.md#a-step, steps 1 to 4, with U_k = 0.
        """
        return (yield from self.session.forward(step, rows, self._weights, train=False))

    def finish(self) -> Flow[None]:
        """Tell every feature party that the session is over.

        Learns: nothing.
        Leaks: the number of steps.
        Model: semi-honest.
        Source: docs/protocols/split.md#a-step.
        """
        yield from self.session.finish()
