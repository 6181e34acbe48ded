"""The sealed linear model: ridge from secure moments, scores opened as one masked sum per row.

The label party solves for the coefficients, so it holds them; but every feature party first turns its
columns by a secret orthogonal matrix that never leaves it. Ridge does not depend on the basis of a party's columns,
so nothing is lost, and moments and coefficients at the label party belong to directions whose meaning it does not know.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, LocalProtocolError, Recv, RecvAny, RemoteProtocolError, Send, gather, receive
from vfl.budget import OpeningBudget
from vfl.he import Context, Evaluator, FreshZeros, KeyHolder
from vfl.layers.source import Batch, Done, Kept, MaskedSum, PublicKey, ServedSource, SingleSum
from vfl.plan import FixedPoint, RidgeModel, SplitModel
from vfl.protocols.matmul import Packing, Prepared, choose_packing, evaluate_product, hold_product
from vfl.protocols.moments import (
    REACH,
    MomentRows,
    Pairs,
    agree_pairs,
    collect_moments,
    serve_moments,
)
from vfl.protocols.opening import ZeroSumMasks
from vfl.randomness import SecretStream
from vfl.ridge import Moments
from vfl.ring import Ring, encode_features, pack, unpack

__all__ = ["SCORE_BITS", "SealedLinear", "moment_bits", "secret_rotation", "serve_linear", "serve_warm_start"]

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

SCORE_BITS = 17
"""Fractional bits of the columns a score is made of."""

FEWEST_BITS, MOST_BITS = 10, 16
"""Fractional bits of a column that enters a moment."""

_WARM = "warm-start/"
"""What the label of a warm start's charge begins with."""


def moment_bits(rows: int, ring_bits: int) -> int:
    """Fractional bits at which columns enter a block of ``rows`` rows: as many as surely fit the ring, 16 at most.

    Raises ValueError when fewer than 10 fit: |sum| <= rows * REACH**2 * 4**bits must stay below 2**(ring_bits - 1).
    """
    room = ring_bits - 1 - math.log2(rows * REACH**2)
    bits = min(math.ceil(room / 2) - 1, MOST_BITS)
    if bits < FEWEST_BITS:
        raise ValueError(
            f"moments of {rows} rows do not fit a ring of {ring_bits} bits at {FEWEST_BITS} fractional bits: "
            "raise fixed_point.ring_bits or take fewer rows"
        )
    return bits


def secret_rotation(stream: SecretStream, size: int) -> F64:
    """A uniformly random orthogonal matrix (size, size).

    QR of Gaussians with the signs of R's diagonal (Mezzadri, "How to generate random matrices from the
    classical compact groups", Notices of the AMS 54, 2007); Gaussians by Box and Muller (1958).
    """
    radius = np.sqrt(-2.0 * np.log(1.0 - stream.unit(size * size)))
    gaussian = (radius * np.cos(2.0 * np.pi * stream.unit(size * size))).reshape(size, size)
    q, r = np.linalg.qr(gaussian)
    turned: F64 = q * np.sign(np.diag(r))
    return turned


class SealedLinear:
    """The label party's side: a ``LinearSource`` over encrypted columns. Call ``start`` first, ``finish`` last.

    parties: columns of each feature party, in agreed order.
    """

    def __init__(
        self,
        parties: Mapping[str, int],
        fixed: FixedPoint,
        key: KeyHolder,
        *,
        single_party: bool = False,
    ) -> None:
        if len(parties) < 2 and not single_party:
            raise LocalProtocolError("a single feature party's scores open only with the agreement's consent")
        self._parties = dict(parties)
        self._fixed = fixed
        self._ring = Ring(fixed.ring_bits)
        self._key = key
        self._weights: dict[str, U64] = {}
        self._kept: dict[str, list[tuple[I64, U64]]] = {p: [] for p in parties}
        self._steps = 0

    @property
    def kept(self) -> dict[str, Kept]:
        """The label party's shares of each party's part of the opened scores."""
        return {name: _joined(parts) for name, parts in self._kept.items()}

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
        opened = yield from collect_moments(self._parties, step, (mine - centre) / scale, bits, self._ring, self._key)
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
        label = f"forward/{step}"
        held = yield from gather(
            [
                hold_product(
                    party, label, share, len(rows), self._key, _packing(self._key.context, len(rows), len(share))
                )
                for party, share in self._weights.items()
            ]
        )
        sums = yield from gather([self._receive_sum(party, step, len(rows)) for party in self._parties])
        total = np.zeros((len(rows), 1), dtype=np.uint64)
        for party, share, masked in zip(self._parties, held, sums, strict=True):
            total = self._ring.add(total, self._ring.add(share, masked))
            self._kept[party].append((rows, share))
        self._steps += 1
        return self._ring.decode(total, self._fixed.output_bits)

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
    """A feature party's turned columns, and its answer to a block of moments. Each row enters once."""

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

    def block(
        self,
        charge: str,
        announced: MomentRows,
        label_columns: int,
        evaluator: Evaluator,
        pairs: Pairs,
        zeros: FreshZeros,
    ) -> Flow[None]:
        rows = self.rows(announced.rows, len(self.entered))
        least = self.terms.smallest_block(sum(self.parties.values()))
        if len(rows) < least:
            raise RemoteProtocolError(f"asks for moments of {len(rows)} rows; {least} are needed", self.label_party)
        if self.entered[rows].any():
            raise RemoteProtocolError("asks for moments of rows that entered before", self.label_party)
        columns = encode_features(self.columns[rows], moment_bits(len(rows), self.fixed.ring_bits), REACH)
        self.budget.charge(charge, rows, 1)
        self.entered[rows] = True
        yield from serve_moments(
            self.me, self.label_party, self.parties, announced.block, columns, label_columns,
            evaluator, pairs, self.ring, self.stream, zeros,
        )  # fmt: skip


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
    ) -> None:
        rotation = secret_rotation(stream.child(f"rotation/{session}"), features.shape[1])
        columns = np.clip(features, -fixed.clip, fixed.clip) @ rotation
        super().__init__(me, label_party, parties, columns, terms, fixed, budget, stream)
        self.masks, self.session = masks, session
        self.kept: list[tuple[I64, U64]] = []

    def score(self, batch: Batch, largest: int, evaluator: Evaluator, zeros: FreshZeros) -> Flow[None]:
        if batch.train:
            raise RemoteProtocolError("asks to train a split network where a ridge was agreed", self.label_party)
        rows = self.rows(batch.rows, largest)
        left = encode_features(self.columns[rows], SCORE_BITS, REACH)
        prepared = Prepared(evaluator, left, _packing(evaluator.context, *left.shape))
        part = yield from evaluate_product(self.label_party, f"forward/{batch.step}", prepared, 1, self.stream, zeros)
        label = f"{self.session}/{batch.step}"
        self.budget.charge(label, rows, 1)
        masked = self.ring.add(part, self.masks.mask(label, list(self.parties), part.shape))
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
) -> Flow[ServedSource]:
    """A feature party's side: answer blocks and scores until the label party is done.

    parties: columns of every feature party, in agreed order. features: float64 (rows, d), standardised and
    finite. label_columns: the label party's own features and its label. session: as in ``serve_source``.

    Learns: which rows enter the moments and which are scored, when.
    Leaks: per block of at least ``terms.smallest_block`` rows, none of which entered before: moments of its columns
        in a basis only it knows; per scored row one linear form, inside a sum over parties; both are charged first.
    Model: semi-honest label party. One that deviates chooses the linear forms, of scores and (label_columns per
        block) of X_k^T Y; a second run over other rows would isolate the difference, which the budget bounds.
    Source: docs/protocols/ridge.md; CRYPTO 4.
    """
    _check_columns(me, parties, features, single_party)
    evaluator, pairs = yield from _agree_keys(me, label_party, parties, fixed, parameter_set)
    served = _Served(me, label_party, parties, features, terms, fixed, masks, budget, stream, session)
    zeros, steps = FreshZeros(evaluator), 0
    options = (Recv(label_party, MomentRows), Recv(label_party, Batch), Recv(label_party, Done))
    while True:
        chosen, got = yield RecvAny(options)
        if chosen == 2:
            return ServedSource(np.zeros((parties[me], 1), dtype=np.uint64), _joined(served.kept), steps)
        if chosen == 0:
            block = cast("MomentRows", got)
            charge = f"{session}/moments/{block.block}"
            yield from served.block(charge, block, label_columns, evaluator, pairs, zeros)
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
    yield from served.block(f"{_WARM}{session}", announced, label_columns, evaluator, pairs, FreshZeros(evaluator))


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
