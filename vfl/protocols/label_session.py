"""The label party's end of a session: its key, its journal, and the steps in which sums over the parties open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from psi.flow import Flow, LocalProtocolError, Recv, RemoteProtocolError, Send, gather
from vfl.arithmetic.he import KeyHolder
from vfl.arithmetic.share import Share, opened
from vfl.protocols.product import Packing, choose_packing
from vfl.protocols.product_flows import hold_product
from vfl.protocols.resume import Resumed, WalkJournal, open_step
from vfl.protocols.session import (
    F64,
    I64,
    Batch,
    Done,
    Kept,
    MaskedSum,
    PredictionKeeper,
    PublicKey,
    RingShare,
    Session,
    SingleSum,
    row_ids,
)

__all__ = ["LabelSession"]

Shares = Mapping[str, RingShare]


@dataclass(eq=False, repr=False, kw_only=True)
class LabelSession(Session):
    """What the label party brings to a session. ``start`` comes first, ``finish`` last.

    key: of this session. journal: where each step is recorded before it is opened; the feature parties must keep one
    too. resumed: the journal's record to go on from.
    """

    key: KeyHolder
    journal: WalkJournal | None = None
    resumed: Resumed | None = None
    _keepers: dict[str, PredictionKeeper] = field(default_factory=dict, init=False)
    _steps: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.me != self.label_party:
            raise LocalProtocolError(f"{self.me!r} is not the label party of this session: it serves its features")
        context = self.key.context
        if (context.name, context.ring_bits) != (self.parameter_set, self.fixed.ring_bits):
            raise LocalProtocolError("the session's key has other encryption parameters than the agreement")
        if self.resumed is not None and self.journal is None:
            raise LocalProtocolError("a session that goes on from a record keeps a journal as well")
        self._record = self.resumed

    def keep(self, rows: I64, held: Shares) -> None:
        """Take in the shares of a prediction, made now or in an earlier session."""
        for party, share in held.items():
            if party not in self._keepers:
                self._keepers[party] = PredictionKeeper(share.ring, share.shape[1])
            self._keepers[party].add(rows, share)

    def kept(self, width: int) -> dict[str, Kept]:
        """Its shares of each party's predictions, ``width`` columns."""
        none = PredictionKeeper(self.ring, width)
        return {party: self._keepers.get(party, none).kept() for party in self.parties}

    def start(self) -> Flow[None]:
        """Send the session's public key to every feature party.

        Learns: nothing.
        Leaks: nothing.
        Model: semi-honest.
        Source: docs/protocols/product.md#key.
        """
        for party in self.parties:
            yield Send(party, PublicKey(self.parameter_set, self.fixed.ring_bits, self.key.public_key))

    def finish(self) -> Flow[None]:
        """Tell every feature party that the session is over.

        Learns: nothing.
        Leaks: the number of steps.
        Model: semi-honest.
        Source: docs/protocols/split.md#a-step.
        """
        for party in self.parties:
            yield Send(party, Done(self._steps))

    def packing(self, rows: int, inner: int, columns: int, *, both: bool = False) -> Packing:
        """The blocks that both ends choose for a product of these sizes."""
        return choose_packing(rows, inner, columns, self.key.context.degree, both=both)

    def forward(self, step: int, rows: I64, weights: Shares, *, train: bool) -> Flow[F64]:
        """Open sum_k X_k[rows] (U_k + weights_k), float64 (B, h): what each party sends holds X_k[rows] U_k.

        Learns: the sum over feature parties for these rows, to the fixed-point step of an embedding.
        Leaks: the row ids to every feature party, and whether the step trains.
        Model: semi-honest; with one feature party its own part opens, which the agreement must say.
        Source: docs/protocols/split.md#a-step, steps 1 to 4.
        """
        width = next(iter(weights.values())).shape[1]
        packings = {
            party: self.packing(len(rows), share.shape[0], width, both=train) for party, share in weights.items()
        }
        announced = row_ids(rows)
        for party in self.parties:
            yield Send(party, Batch(step, train, announced))
        held = yield from self.hold(step, weights, self._products(step, len(rows), weights, packings))
        sums = yield from gather([self._receive_sum(party, step, (len(rows), width)) for party in self.parties])
        if not train:
            self.keep(rows, held)
        return opened([*(self.short(part) for part in held.values()), *sums], self.fixed.output_bits)

    def hold(self, step: int, weights: Shares, fresh: Flow[Shares]) -> Flow[Shares]:
        """This end's share of each party's product, fresh or as recorded, with every party's record on disk.

        weights: what goes into the record beside it.

        Learns: its own shares, uniform in the ring.
        Leaks: that its record of the step is on disk.
        Model: semi-honest.
        Source: docs/protocols/resume.md#records-in-training.
        """
        record, self._record = self._record, None
        again = record is not None and record.step == step
        if record is not None and again:
            fresh.close()
            held: Shares = {party: record.held[party] for party in self.parties}
        else:
            held = yield from fresh
        journal = self.journal
        if journal is not None:
            yield from open_step(self.names, step, lambda: None if again else journal.hold(step, weights, held))
        self._steps += 1
        return held

    def _products(self, step: int, rows: int, weights: Shares, packings: Mapping[str, Packing]) -> Flow[Shares]:
        label = f"forward/{step}"
        made = yield from gather(
            [
                hold_product(party, label, share.elements, rows, self.key, packings[party])
                for party, share in weights.items()
            ]
        )
        return {party: Share(self.ring, part) for party, part in zip(weights, made, strict=True)}

    def _receive_sum(self, party: str, step: int, shape: tuple[int, int]) -> Flow[RingShare]:
        got = cast("MaskedSum | SingleSum", (yield Recv(party, self.sum_kind)))
        if got.step != step:
            raise RemoteProtocolError(f"sent the sum of step {got.step} at step {step}", party)
        return self.received(got.values, shape, party, ring=self.opened_ring)
