"""The sealed source layer: Z = sum_k X_k W_k with every W_k shared between its party and the label party.

W_k = U_k + V_k mod t at scale f_w = f_x + f_g; U_k never leaves the feature party and V_k never leaves
the label party in the clear. A step is two private products and one masked opening per feature party.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import cast

import numpy as np

from psi.flow import (
    Flow,
    LocalProtocolError,
    Recv,
    RemoteProtocolError,
    Send,
    gather,
)
from vfl.arithmetic.he import KeyHolder
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.ring import Ring
from vfl.protocols.product import (
    Operand,
    Packing,
    choose_packing,
    encrypt_right,
    finish_product,
    hold_product,
)
from vfl.protocols.resume import Resumed, WalkJournal, open_step
from vfl.protocols.session import (
    F64,
    I64,
    U64,
    Batch,
    Done,
    Kept,
    MaskedSum,
    PredictionKeeper,
    PublicKey,
    SingleSum,
    ring_elements,
)
from vfl.terms import FixedPoint

__all__ = ["SealedSource"]


class SealedSource:
    """The label party's side. ``forward`` and ``backward`` are flows; call ``start`` first, ``finish`` last.

    shares: V_k per feature party, (d_k, h) in Z_t, in agreed order. predictions: numbers of the steps that
    only predict. single_party: the agreement's consent to open a lone feature party's embedding. journal: where each
    step is recorded before it is opened; the feature parties must keep one too. resumed: the record to go on from, in
    place of ``shares``.
    """

    def __init__(
        self,
        shares: Mapping[str, U64],
        fixed: FixedPoint,
        key: KeyHolder,
        stream: SecretStream,
        *,
        predictions: Collection[int] = (),
        single_party: bool = False,
        journal: WalkJournal | None = None,
        resumed: Resumed | None = None,
    ) -> None:
        if len(shares) < 2 and not single_party:
            raise LocalProtocolError("a single feature party's embedding opens only with the agreement's consent")
        self._shares = dict(shares if resumed is None else resumed.shares)
        self._journal = journal
        self._resumed = resumed
        self._fixed = fixed
        self._ring = Ring(fixed.ring_bits)
        self._key = key
        self._stream = stream
        self._predictions = frozenset(predictions)
        self._steps = 0
        self.width = next(iter(shares.values())).shape[1]
        self._kept = {name: PredictionKeeper(self.width) for name in shares}

    def keep(self, rows: I64, held: Mapping[str, U64]) -> None:
        """Take in the shares of a prediction made in an earlier session."""
        for name, share in held.items():
            self._kept[name].add(rows, share)

    @property
    def parties(self) -> tuple[str, ...]:
        return tuple(self._shares)

    @property
    def kept(self) -> dict[str, Kept]:
        """The label party's shares of each party's predictions."""
        return {name: keeper.kept() for name, keeper in self._kept.items()}

    def start(self) -> Flow[None]:
        """Send the session's public key to every feature party.

        Learns: nothing.
        Leaks: nothing.
        Model: semi-honest.
        Source: docs/protocols/product.md#key.
        """
        for party in self.parties:
            yield Send(party, PublicKey(self._key.context.name, self._fixed.ring_bits, self._key.public_key))

    def forward(self, step: int, rows: I64) -> Flow[F64]:
        """Open Z = sum_k X_k[rows] W_k, float64 (B, h).

        Learns: the sum over feature parties for these rows, at a fixed-point step of 2**-(2 f_x + f_g).
        Leaks: the row ids to every feature party.
        Model: semi-honest; with K = 1 the single party's embedding opens, which the agreement must say.
        Source: docs/protocols/split.md#a-step, steps 1 to 4.
        """
        train = step not in self._predictions
        packings = {party: self._packing(len(rows), share, train=train) for party, share in self._shares.items()}
        announced = rows.astype("<u4").tobytes()
        for party in self.parties:
            yield Send(party, Batch(step, train, announced))
        held = yield from self._hold(step, len(rows), packings)
        total = np.zeros((len(rows), self.width), dtype=np.uint64)
        sums = yield from gather([self._receive_sum(party, step, len(rows)) for party in self.parties])
        for party, share, masked in zip(self.parties, held, sums, strict=True):
            total = self._ring.add(total, self._ring.add(share, masked))
            if not train:
                self._kept[party].add(rows, share)
        self._steps += 1
        return self._ring.decode(total, self._fixed.output_bits)

    def _hold(self, step: int, rows: int, packings: Mapping[str, Packing]) -> Flow[list[U64]]:
        """This side's share of each party's product, fresh or as recorded, with every party's record on disk."""
        record, self._resumed = self._resumed, None
        again = record is not None and record.step == step
        if record is not None and again:
            held = [record.held[party] for party in self.parties]
        else:
            label = f"forward/{step}"
            held = yield from gather(
                [
                    hold_product(party, label, share, rows, self._key, packings[party])
                    for party, share in self._shares.items()
                ]
            )
        if self._journal is None:
            return held
        journal, shares = self._journal, dict(zip(self.parties, held, strict=True))
        yield from open_step(self.parties, step, lambda: None if again else journal.hold(step, self._shares, shares))
        return held

    def _packing(self, rows: int, share: U64, *, train: bool) -> Packing:
        return choose_packing(rows, share.shape[0], self.width, self._key.context.degree, both=train)

    def _receive_sum(self, party: str, step: int, rows: int) -> Flow[U64]:
        kind = SingleSum if len(self._shares) == 1 else MaskedSum
        got = cast("MaskedSum | SingleSum", (yield Recv(party, kind)))
        if got.step != step:
            raise RemoteProtocolError(f"sent the sum of step {got.step} at step {step}", party)
        return ring_elements(got.values, rows, self.width, self._ring, party)

    def backward(self, step: int, rows: I64, gradient: F64) -> Flow[None]:
        """W_k -= X_k[rows].T @ gradient at every feature party. gradient: float64 (B, h), learning rate inside.

        Learns: its own share of the update, uniform in Z_t.
        Leaks: nothing: one encryption of the gradient, the same for all parties, under the label party's key.
        Model: semi-honest.
        Source: docs/protocols/split.md#a-step, step 5.
        """
        encoded = self._ring.encode(gradient, self._fixed.gradient_bits, stream=self._stream)
        label = f"backward/{step}"
        packings = {party: self._packing(len(rows), share, train=True) for party, share in self._shares.items()}
        blocks = {
            packing: encrypt_right(self._key, encoded, packing, transposed=True) for packing in set(packings.values())
        }
        for party, packing in packings.items():
            yield Send(party, Operand(label, len(rows), self.width, packing.sizes, blocks[packing]))
        updates = yield from gather(
            [
                finish_product(party, label, share.shape[0], self.width, self._key, packings[party], transposed=True)
                for party, share in self._shares.items()
            ]
        )
        for party, update in zip(self.parties, updates, strict=True):
            self._shares[party] = self._ring.sub(self._shares[party], update)

    def finish(self) -> Flow[None]:
        """Tell every feature party that the session is over.

        Learns: nothing.
        Leaks: the number of steps.
        Model: semi-honest.
        Source: docs/protocols/split.md#a-step.
        """
        for party in self.parties:
            yield Send(party, Done(self._steps))
