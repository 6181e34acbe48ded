"""The sealed linear model: ridge from secure moments, scores opened as one masked sum per row.

The label party solves for the coefficients, so it holds them; but every feature party first turns its
columns by a secret orthogonal matrix that never leaves it. Ridge does not depend on the basis of a party's columns,
so nothing is lost, and moments and coefficients at the label party belong to directions whose meaning it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, LocalProtocolError, Recv, RemoteProtocolError, Send, gather
from vfl.arithmetic.he import Context, KeyHolder
from vfl.arithmetic.ring import Ring, unpack
from vfl.models.ridge.basis import moment_bits
from vfl.models.ridge.moments import Moments
from vfl.protocols.moments import (
    REACH,
    MomentRows,
    hold_moments,
    open_moments,
)
from vfl.protocols.product import Packing, choose_packing, hold_product
from vfl.protocols.resume import Resumed, WalkJournal, open_step
from vfl.protocols.session import Batch, Done, Kept, MaskedSum, PublicKey, SingleSum
from vfl.terms import FixedPoint

__all__ = ["MOMENTS_CHARGE", "SCORE_BITS", "WARM_CHARGE", "SealedLinear", "joined_shares", "score_packing"]

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

SCORE_BITS = 17
"""Fractional bits of the columns a score is made of."""

MOMENTS_CHARGE = "/moments/"
"""What stands in the label of a block's charge between its session and its number."""

WARM_CHARGE = "warm-start/"
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
        return {name: joined_shares(parts) for name, parts in self._kept.items()}

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
        Source: docs/protocols/product.md#key.
        """
        for party in self._parties:
            yield Send(party, PublicKey(self._key.context.name, self._fixed.ring_bits, self._key.public_key))

    def moments(self, step: int, rows: I64, own: F64, label: F64) -> Flow[Moments]:
        """Open the moments of these rows; columns: all feature parties' (turned), then ``own`` (n, d_own).

        Learns: Gram matrix, X^T y, X^T X_L and column sums over the rows, each party's columns in its secret basis.
        Leaks: the row ids to every feature party.
        Model: semi-honest.
        Source: docs/protocols/ridge.md#the-protocol.
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
        Source: docs/protocols/split.md#a-step, steps 1 to 4, with U_k = 0.
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
                party, f"forward/{step}", share, rows, self._key, score_packing(self._key.context, rows, len(share))
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
        Source: docs/protocols/split.md#a-step.
        """
        for party in self._parties:
            yield Send(party, Done(self._steps))


def score_packing(context: Context, rows: int, columns: int) -> Packing:
    return choose_packing(rows, columns, 1, context.degree)


def joined_shares(parts: list[tuple[I64, U64]]) -> Kept:
    if not parts:
        return Kept(np.zeros(0, dtype=np.int64), np.zeros((0, 1), dtype=np.uint64))
    return Kept(np.concatenate([rows for rows, _ in parts]), np.concatenate([share for _, share in parts]))
