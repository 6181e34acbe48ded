"""A feature party's end of a session: its masks, budget, journal and randomness, and the steps that it opens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from psi.flow import Flow, LocalProtocolError, RemoteProtocolError, Send, receive
from vfl.arithmetic.he import Evaluator, FreshZeros, ZeroSupply
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.received import MalformedError
from vfl.arithmetic.share import Share
from vfl.protocols.opened_numbers import RowNoise, noise_label, unattempted
from vfl.protocols.opening import ZeroSumMasks
from vfl.protocols.opening_budget import OpeningBudget, asked_by
from vfl.protocols.product import LeftOperand, Prepared, choose_packing
from vfl.protocols.product_flows import evaluate_product
from vfl.protocols.resume import Forward, SourceJournal, await_open, repeated
from vfl.protocols.session import (
    I64,
    Batch,
    PredictionKeeper,
    PublicKey,
    RingShare,
    ServedSource,
    Session,
    rows_announced,
)
from vfl.protocols.spread import Spread, Workers

__all__ = ["FeatureSession", "TakenKey"]


@dataclass(eq=False, repr=False, kw_only=True)
class FeatureSession(Session):
    """What a feature party brings to a session.

    noise: what goes into every number of a row, needed wherever ``numbers`` says how they open. smallest_batch: fewest
    rows of a training step. stream: secret
    randomness that is new in every attempt. supply: where its encryptions of zero come from. workers:
    where its products are computed, by default here. journal: where each step is recorded before it is opened; the
    label party must keep one too. resumed: the journal's record to go on from. predicted: its records of earlier
    predictions.
    """

    masks: ZeroSumMasks
    noise: RowNoise | None = None
    smallest_batch: int = 1
    budget: OpeningBudget
    stream: SecretStream
    supply: Callable[[Evaluator], ZeroSupply] = FreshZeros
    workers: Workers | None = None
    journal: SourceJournal | None = None
    resumed: Forward | None = None
    predicted: Sequence[Forward] = ()
    _keeper: PredictionKeeper | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.me == self.label_party:
            raise LocalProtocolError(f"{self.me!r} is the label party of this session: it serves no features in it")
        if self.journal is None and (self.resumed is not None or self.predicted):
            raise LocalProtocolError("a session that goes on from a record keeps a journal as well")
        if self.numbers is not None and self.noise is None:
            raise LocalProtocolError("the agreement's noise is missing: nothing of a row opens without it")
        self._record = self.resumed
        self._opened = Counter(unattempted(label) for label in self.budget.charged(""))
        for record in self.predicted:
            self.keep(record.rows, record.part)

    def check_columns(self, shape: tuple[int, ...]) -> None:
        """Raise :class:`LocalProtocolError` unless a table (rows, d) of this shape has the columns agreed."""
        if shape[1:] != (self.parties[self.me],):
            raise LocalProtocolError(f"{self.parties[self.me]} columns were agreed and {shape[1:]} brought")

    def rows(self, batch: Batch, existing: int) -> I64:
        """The rows of a step, of ``existing``. Raises :class:`RemoteProtocolError` where they may not be a batch."""
        rows = rows_announced(batch.rows, existing, self.label_party, most=self.largest_batch)
        if batch.train and len(rows) < self.smallest_batch:
            raise RemoteProtocolError(
                f"trains on {len(rows)} rows at once where this party wants {self.smallest_batch} or more",
                self.label_party,
            )
        return rows

    def take_key(self) -> Flow[TakenKey]:
        """The label party's key for this session.

        Learns: the key.
        Leaks: nothing.
        Model: the key may be of the label party's choosing: the answers it is used for hide their operand under any.
        Source: docs/protocols/product.md#key.
        """
        context = self.context
        announced = yield from receive(self.label_party, PublicKey)
        if (announced.parameter_set, announced.ring_bits) != (self.parameter_set, self.fixed.ring_bits):
            raise RemoteProtocolError("chose other encryption parameters than the agreement", self.label_party)
        try:
            evaluator = Evaluator(context, announced.key)
        except MalformedError as error:
            raise RemoteProtocolError(str(error), self.label_party) from None
        return TakenKey(self, evaluator, announced.key, self.supply(evaluator))

    def open(
        self,
        batch: Batch,
        rows: I64,
        weights: RingShare,
        fresh: Flow[RingShare],
        *,
        mark: str = "/",
        of_rows: bool = True,
    ) -> Flow[RingShare]:
        """This party's part of what a step opens: fresh or as recorded, on every party's disk, and charged.

        weights: this party's own before the step, for the record; their width is charged. mark: what stands in the
        charge's label between session and step. of_rows: whether the part is of single rows, and takes noise.

        Learns: that every party's record of the step is on disk.
        Leaks: that its own is. The part itself leaves with :meth:`send`.
        Model: whatever the label party claims, a step opens only what was recorded, and within the budget.
        Source: docs/protocols/resume.md#records-in-training; docs/protocols/openings.md#openings-and-their-budget.
        """
        again, self._record = self._record, None
        if again is not None:
            fresh.close()
            made = repeated(again, batch.step, batch.train, rows, self.label_party)
        else:
            part = yield from fresh
            if self.noise is not None and of_rows:
                named = f"{self.name}{mark}{batch.step}"
                label = noise_label(named, self._opened[unattempted(named)])
                part += Share(self.ring, self.ring.wrap(self.noise.units(label, rows, part.shape[1], self.fixed)))
            made = Forward(self.name, batch.step, batch.train, rows, weights, part)
            if self.journal is not None:
                self.journal.hold(made)
        if self.journal is not None:
            yield from await_open(self.label_party, batch.step)
        # a part kept from before shows what it would have shown, whoever asks; anything else is charged anew
        charge = self.budget.charge if again is None else self.budget.charge_once
        named = f"{made.session}{mark}{batch.step}"
        with asked_by(self.label_party):
            charge(named, rows, weights.shape[1])
        self._opened[unattempted(named)] += 1
        return made.part

    def send(self, step: int, part: RingShare) -> Flow[None]:
        """Send this party's part of a step's sum under its mask.

        Learns: nothing.
        Leaks: the part under a zero-sum mask; of a single feature party the part itself, a share.
        Model: semi-honest; the caller has charged the opening.
        Source: docs/protocols/openings.md#zero-sum-masks.
        """
        mask = Share(self.ring, self.masks.mask(f"{self.name}/{step}", self.names, part.shape))
        yield Send(self.label_party, self.sum_kind(step, self.short(part + mask).packed()))

    def keep(self, rows: I64, part: RingShare) -> None:
        """Take in this party's part of a prediction, for coalition openings."""
        if self._keeper is None:
            self._keeper = PredictionKeeper(part.ring, part.shape[1])
        self._keeper.add(rows, part)

    def served(self, share: RingShare, steps: int) -> ServedSource:
        """What the session leaves with this party: its weight share after it, and its parts of the predictions."""
        keeper = self._keeper or PredictionKeeper(self.ring, share.shape[1])
        return ServedSource(share, keeper.kept(), steps)


@dataclass(frozen=True, eq=False, repr=False)
class TakenKey:
    """The label party's key as a feature party answers its products with; ``close`` it when the session is over."""

    session: FeatureSession
    evaluator: Evaluator
    public: bytes
    zeros: ZeroSupply

    def prepared(self, left: I64, columns: int, *, both: bool = False) -> Prepared | LeftOperand:
        """Small integers X (rows, inner) encoded for X @ Y with ``columns``; ``both``: and for X.T @ G."""
        packing = choose_packing(*left.shape, columns, self.evaluator.context.degree, both=both)
        workers = self.session.workers
        if workers is None:
            return Prepared(self.evaluator, left, packing)
        return Spread(workers, self.evaluator, self.public, left, packing)

    def product(
        self, label: str, left: Prepared | LeftOperand, columns: int, *, transposed: bool = False
    ) -> Flow[RingShare]:
        """This party's share of X @ Y, or of X.T @ G, for the label party's Y or G.

        Learns: its own additive share of the product, uniform in the ring.
        Leaks: to the label party its share of the product, uniform too.
        Model: hides X from a malicious key holder (:func:`vfl.protocols.product_flows.evaluate_product`).
        Source: docs/protocols/product.md#operand-and-answer.
        """
        session = self.session
        made = yield from evaluate_product(
            session.label_party, label, left, columns, session.stream, self.zeros, transposed=transposed
        )
        return Share(session.ring, made)

    def close(self) -> None:
        """Make no more encryptions of zero."""
        self.zeros.close()
