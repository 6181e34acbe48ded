"""A feature party of sealed trees: it brings candidates, answers sums, and splits with the one that was taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, LocalProtocolError, Recv, RecvAny, RemoteProtocolError, Send, receive
from vfl.arithmetic.he import Evaluator
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.zero_supply import FreshZeros, ZeroSupply
from vfl.models.sealed.ends import TakenProducts, take_products
from vfl.models.sealed.messages import Members, as_told
from vfl.models.sealed.records import SealedJournal, StepRecord, check_repeated
from vfl.models.trees.candidates import Drawn, candidate_stream, drawn_candidates
from vfl.models.trees.ends import halves, take_sums
from vfl.models.trees.messages import CandidateSums, Chosen, SplitShares, TreeStep, row_ids
from vfl.models.trees.shares import multiplied
from vfl.models.trees.splits import NoSplits, SplitBook, TakenSplit
from vfl.models.trees.tree_rows import TreeRows
from vfl.protocols.session import Done
from vfl.protocols.spread import Workers
from vfl.tree_terms import TreesModel
from vfl.walk.refits import blocks_of

__all__ = ["Announced", "Candidates", "TreesFeature", "chosen_here"]

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
F64 = NDArray[np.float64]
Bits = NDArray[np.bool_]


class Announced:
    """What the label party announced so far, checked: steps rise, rows exist, trees of a fit share its rows."""

    def __init__(self, terms: TreesModel, existing: int, most_steps: int, label: str) -> None:
        self._terms, self._existing, self._most, self._label = terms, existing, most_steps, label
        self._blocks = blocks_of(terms, existing)
        self._last = -1
        self._fit: tuple[I64, I64] | None = None

    def take(self, step: TreeStep) -> I64:
        """The rows that the step is about: fitted, or predicted. Raises RemoteProtocolError."""
        label = self._label
        if not self._last < step.step < self._most:
            raise RemoteProtocolError(
                f"announced step {step.step} after {self._last}, and {self._most} are agreed", label
            )
        self._last = step.step
        rows, carried = (row_ids(data, self._existing, label) for data in (step.rows, step.carried))
        if not step.train:
            if not len(rows) or len(carried) or step.begins:
                raise RemoteProtocolError("announced a prediction of no row, or one that begins a fit", label)
            return rows
        if step.again or not 0 <= step.levels <= self._terms.depth or not 0 <= step.tree < self._terms.trees:
            raise RemoteProtocolError("announced a tree that is none of the agreed fit", label)
        if len(rows):
            if len(np.intersect1d(rows, carried)):
                raise RemoteProtocolError("announced rows both to fit and to carry", label)
            self._fit = rows, carried
        if self._fit is None or (step.begins and not len(rows)) or step.begins != (step.tree == 0):
            raise RemoteProtocolError("announced a tree without a fit's rows", label)
        return self._fit[0]

    def tree(self, step: TreeStep) -> TreeRows:
        """The rows of the tree that was taken last. Raises RemoteProtocolError where it draws too few."""
        assert self._fit is not None
        try:
            return TreeRows.of(*self._fit, self._blocks, step.tree, self._terms)
        except LocalProtocolError as error:
            raise RemoteProtocolError(f"announced a fit in which {error}", self._label) from None


class Candidates:
    """A party's own candidates, of the rows of the fit under way. deal: as of :func:`drawn_candidates`."""

    def __init__(self, values: F64, terms: TreesModel, secret: SecretStream, *, deal: bool) -> None:
        self._values, self._terms, self._secret, self._deal = values, terms, secret, deal
        self._chosen: tuple[I64, F64] | None = None

    def draw(self, step: int, level: int, rows: TreeRows) -> Drawn:
        """Those of the active rows: the same whenever this tree is grown."""
        if self._chosen is None or not np.array_equal(self._chosen[0], rows.active):
            # candidates read one column at a time
            self._chosen = rows.active, np.asfortranarray(self._values[rows.active])
        terms, stream = self._terms, candidate_stream(self._secret, step, level, rows.active[rows.drawn])
        return drawn_candidates(
            self._chosen[1], rows.drawn, terms.candidates, terms.smallest_leaf, stream, deal=self._deal
        )


def chosen_here(label: str, step: TreeStep, level: int, terms: TreesModel) -> Flow[int]:
    """The number of this party's candidate that the level takes; -1 for none.

    Learns: which of its candidates was taken, or that none was.
    Leaks: nothing.
    Model: semi-honest.
    Source: docs/protocols/trees.md#a-level.
    """
    told = yield from receive(label, Chosen)
    if (told.step, told.level) != (step.step, level) or not -1 <= told.candidate < terms.candidates:
        raise RemoteProtocolError("chose a candidate of another level, or one that is none", label)
    return told.candidate


class TreesFeature:
    """One session of a feature party that is not the anchor. ``serve`` is its flow.

    values: float64 (rows, d), NaN where missing. candidates: secret, the same in every attempt, of which its candidates
    are drawn. session: name of this attempt. most_steps: as for the anchor. stream: secret randomness, new in every
    attempt. journal, resumed: its records, in which there are no numbers. book: where its own splits are written as
    they are taken. deal: False for data without a calendar, which has one fit.
    """

    def __init__(
        self,
        me: str,
        members: Members,
        values: F64,
        candidates: SecretStream,
        terms: TreesModel,
        stream: SecretStream,
        *,
        session: str,
        most_steps: int,
        supply: Callable[[Evaluator], ZeroSupply] = FreshZeros,
        workers: Workers | None = None,
        journal: SealedJournal | None = None,
        resumed: StepRecord | None = None,
        book: SplitBook | None = None,
        deal: bool = True,
    ) -> None:
        if me not in members.others:
            raise LocalProtocolError(f"{me!r} is no feature party beside the anchor of this run")
        if values.shape[1] != members.features[me]:
            raise LocalProtocolError(f"{members.features[me]} columns were agreed and {values.shape[1]} brought")
        self.me, self.members, self.terms = me, members, terms
        self._candidates = Candidates(values, terms, candidates, deal=deal)
        self._announced = Announced(terms, len(values), most_steps, members.label)
        self._stream, self._session, self._supply, self._workers = stream, session, supply, workers
        self._journal, self._record = journal, resumed
        self._book: SplitBook = book or NoSplits()

    def serve(self) -> Flow[None]:
        """Bring candidates and answer until the label party is done.

        Learns: which rows each tree is fitted on and scores, and which are predicted; which of its candidates was taken
            at which level.
        Leaks: to the anchor a uniform share of its candidates' sums; to both holders of shares, masked ciphertexts that
            decrypt to uniform shares, and uniform shares of the bits of its candidates that were taken.
        Model: semi-honest holders that do not pool what they have; pooled, they see of each row on which side of this
            party's splits it lies, and its candidates' exact sums.
        Source: docs/protocols/trees.md#a-tree.
        """
        label, anchor = self.members.label, self.members.anchor
        ends = list[TakenProducts]()
        for peer in (label, anchor):
            ends.append((yield from take_products(peer, self._stream, self._supply, self._workers)))
        try:
            while True:
                chosen, got = yield RecvAny((Recv(label, TreeStep), Recv(label, Done)))
                if chosen == 1:
                    return
                step = cast("TreeStep", got)
                rows = self._announced.take(step)
                self._keep(step, rows)
                if step.train:
                    yield from self._grow(step, self._announced.tree(step), ends)
        finally:
            for taken in ends:
                taken.close()

    def _keep(self, step: TreeStep, rows: I64) -> None:
        record, self._record = self._record, None
        if record is not None:
            check_repeated(record, step.step, step.train, rows, self.members.label)
        elif self._journal is not None:
            self._journal.hold(StepRecord(self._session, step.step, step.train, rows, {}))

    def _grow(self, step: TreeStep, rows: TreeRows, ends: Sequence[TakenProducts]) -> Flow[None]:
        self._book.begin(step.step)
        mine: U64 | None = None
        for level in range(self.terms.depth):
            made = self._candidates.draw(step.step, level, rows)
            bits = made.bits
            if level >= step.levels:
                parts = yield from take_sums(ends, f"sums/{step.step}/{level}", bits[:, rows.drawn], 1 << level)
                values = PRIME_RING.pack(PRIME_RING.add(*parts))
                yield Send(self.members.anchor, CandidateSums(step.step, level, as_told(step), values))
            number = yield from chosen_here(self.members.label, step, level, self.terms)
            if number >= 0:
                self._book.take(TakenSplit(step.step, level, self.me, int(made.columns[number])))
                more = multiplied(mine, bits[number].astype(np.uint64))
                mine = more if mine is None else np.concatenate([mine, more])
                yield from self._give_out(step.step, level, more)

    def _give_out(self, step: int, level: int, more: U64) -> Flow[None]:
        """Give both holders shares of its bits, and of their products with those of its earlier levels."""
        one, other = halves(more.reshape(-1), self._stream)
        yield Send(self.members.anchor, SplitShares(step, level, PRIME_RING.pack(one)))
        yield Send(self.members.label, SplitShares(step, level, PRIME_RING.pack(other)))
