"""The anchor of sealed trees: the second holder of shares, who lets 32 bits a pair and 17 bits a score open."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, LocalProtocolError, Recv, RecvAny, RemoteProtocolError, Send, gather, receive
from vfl.arithmetic.bit_packing import pack_bits
from vfl.arithmetic.he import Evaluator, KeyHolder
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.zero_supply import FreshZeros, ZeroSupply
from vfl.models.sealed.coalitions import valued_coalitions
from vfl.models.sealed.ends import TakenProducts, evaluate_own, take_products, take_slots
from vfl.models.sealed.messages import Members, Scores, check_told
from vfl.models.sealed.records import StepRecord, check_repeated, refused, refusing
from vfl.models.sealed.scales import SCORE_BITS
from vfl.models.sealed.score_range import Predicted, answer_range, folded
from vfl.models.trees.coalitions import TellsApart
from vfl.models.trees.ends import AnchorEnd, hold_sums, take_sides, take_sums
from vfl.models.trees.feature import Announced, Candidates, chosen_here
from vfl.models.trees.linear_start import LinearStart
from vfl.models.trees.messages import (
    CandidateSums,
    LevelNumbers,
    Owner,
    TreeStep,
    flat_elements,
)
from vfl.models.trees.records import AnchorTreesJournal, level_key
from vfl.models.trees.scales import PAIR_BITS, RESIDUAL_BITS, Packing32, beyond_score_limit, score_bound
from vfl.models.trees.scoring import evaluate_scores, groups_of
from vfl.models.trees.shares import FitShares, SideShares, TreeShares
from vfl.models.trees.splits import NoSplits, SplitBook, TakenSplit
from vfl.models.trees.tree_rows import TreeRows
from vfl.protocols.opening_budget import OpeningBudget, asked_by
from vfl.protocols.prime_keys import announce_key
from vfl.protocols.resume import await_open
from vfl.protocols.session import Done
from vfl.protocols.slots import SlotEvaluator
from vfl.protocols.spread import Workers
from vfl.protocols.truncation import evaluate_truncation
from vfl.tree_terms import TreesModel

__all__ = ["TreesAnchor"]

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
F64 = NDArray[np.float64]
Bits = NDArray[np.bool_]


class TreesAnchor:
    """One session of the anchor. ``serve`` is its flow.

    values: its own columns, float64 (rows, d), NaN where missing, or (rows, 0) when it is no feature party. key: of
    this session, for the sums of the others. budget: counts scores of a row over all runs, and refuses past the number.
    most_steps: trees and predictions that were agreed; a step beyond is refused. candidates, session, stream, journal,
    resumed, book, deal: as for a feature party. valued, linear: as for the label party.
    """

    def __init__(
        self,
        members: Members,
        values: F64,
        candidates: SecretStream,
        terms: TreesModel,
        key: KeyHolder,
        budget: OpeningBudget,
        stream: SecretStream,
        *,
        session: str,
        most_steps: int,
        supply: Callable[[Evaluator], ZeroSupply] = FreshZeros,
        workers: Workers | None = None,
        journal: AnchorTreesJournal | None = None,
        resumed: StepRecord | None = None,
        valued: bool = False,
        book: SplitBook | None = None,
        linear: LinearStart | None = None,
        deal: bool = True,
    ) -> None:
        if values.shape[1] != members.anchored:
            raise LocalProtocolError(f"{members.anchored} columns were agreed and {values.shape[1]} brought")
        self.members, self.terms = members, terms
        self.coalitions = valued_coalitions(tuple(members.features)) if valued else ()
        self.fits = FitShares.gone_on(len(values), resumed, len(self.coalitions))
        self._candidates = Candidates(values, terms, candidates, deal=deal)
        self._announced = Announced(terms, len(values), most_steps, members.label)
        self._key, self._budget, self._stream, self._session = key, budget, stream, session
        self._supply, self._workers, self._journal, self._record = supply, workers, journal, resumed
        self._book: SplitBook = book or NoSplits()
        self._start = linear
        self._taken: TakenProducts | None = None
        self._slots: SlotEvaluator
        self._end: AnchorEnd

    def serve(self) -> Flow[None]:
        """Hold shares and answer products until the label party is done.

        Learns: which rows each tree is fitted on and scores, and which are predicted; whose candidate each level takes,
            and which where it is its own; shares uniform in Z_p. Nothing of labels, residuals, leaves or scores.
        Leaks: to the label party a level's pairs, 32 bits each, and 17 bits of each predicted row and 1
            of each prediction, counted first.
        Model: semi-honest. Together with the label party it sees of every row on which side of each split it lies, and
            every candidate's exact sums.
        Source: docs/protocols/trees.md#a-tree.
        """
        members, label = self.members, self.members.label
        if members.anchored:
            self._taken = yield from take_products(label, self._stream, self._supply, self._workers)
        self._slots = yield from take_slots(label, self._stream, self._supply, self._workers)
        self._end = AnchorEnd(members, self._slots, self._workers)
        for peer in members.others:
            yield from announce_key(peer, self._key)
        try:
            while True:
                chosen, got = yield RecvAny((Recv(label, TreeStep), Recv(label, Done)))
                if chosen == 1:
                    return
                step = cast("TreeStep", got)
                rows = self._announced.take(step)
                if step.train:
                    yield from self._grow(step, rows)
                else:
                    yield from self._predict(step, rows)
        finally:
            if self._taken is not None:
                self._taken.close()
            if self._slots.zeros is not None:
                self._slots.zeros.close()

    def _keep(self, step: TreeStep, rows: I64, scores: Mapping[str, U64] | None = None) -> StepRecord:
        """The record of the step under way, fresh or as it was."""
        record, self._record = self._record, None
        if record is not None:
            check_repeated(record, step.step, step.train, rows, self.members.label)
            return record
        arrays = self.fits.out() | dict(scores or {})
        made = StepRecord(self._session, step.step, step.train, rows, arrays)
        if self._journal is not None:
            self._journal.hold(made)
        return made

    def _grow(self, step: TreeStep, fitted: I64) -> Flow[None]:
        again = self._record is not None
        self._keep(step, fitted)
        recorded = self._recorded(step, again=again)
        rows = self._announced.tree(step)
        if step.begins:
            self.fits.begin(self.terms, rows.active, None if self._start is None else self._start.of(rows.active))
        packing = Packing32.of(len(rows.drawn))
        residual = PRIME_RING.neg(self.fits.of(rows.active[rows.drawn]))
        shares, sides, owners = TreeShares.starting(residual), SideShares(), list[str]()
        self._book.begin(step.step)
        for level in range(self.terms.depth):
            made = self._candidates.draw(step.step, level, rows) if self.members.anchored else None
            bits = None if made is None else made.bits
            share = recorded[level] if level < step.levels else None
            if share is None:
                share = yield from self._numbers(step, level, shares, rows, packing, bits)
            yield Send(self.members.label, LevelNumbers(step.step, level, pack_bits(share.reshape(-1), PAIR_BITS)))
            told = yield from receive(self.members.label, Owner)
            if (told.step, told.level) != (step.step, level) or told.party not in self._owners:
                raise RemoteProtocolError(
                    "names an owner of another level, or one without candidates", self.members.label
                )
            number = -1
            if self.members.anchored:
                number = yield from chosen_here(self.members.label, step, level, self.terms)
            if (number >= 0) != (told.party == self.members.anchor):
                raise RemoteProtocolError("says of a level two things at once", self.members.label)
            mine = None
            if made is not None and number >= 0:
                mine = made.bits[number]
                self._book.take(TakenSplit(step.step, level, self.members.anchor, int(made.columns[number])))
            owners.append(told.party)
            yield from self._split(step.step, level, shares, sides, rows, told.party, mine)
        yield from self._score(step.step, sides, rows, owners)

    @property
    def _owners(self) -> tuple[str, ...]:
        return (*self.members.features, *((self.members.label,) if self.members.own else ()))

    def _recorded(self, step: TreeStep, *, again: bool) -> list[U64]:
        """Its shares of the levels that go on as they were. Raises RemoteProtocolError where it has others."""
        recorded = self._journal.levels(step.step) if again and self._journal is not None else []
        opened = self._journal.opened_levels(step.step) if again and self._journal is not None else 0
        if not opened <= step.levels <= len(recorded):
            raise RemoteProtocolError(
                f"goes on at level {step.levels} of step {step.step}, where the anchor has records of {len(recorded)} "
                f"and let {opened} open",
                self.members.label,
            )
        return recorded

    def _numbers(
        self, step: TreeStep, level: int, shares: TreeShares, rows: TreeRows, packing: Packing32, bits: Bits | None
    ) -> Flow[U64]:
        """Its shares modulo 2**32 of a level's pairs, recorded, and free to be opened."""
        label, number = self.members.label, step.step
        sums = yield from self._sums(step, level, shares, rows, bits)
        cut = yield from evaluate_truncation(
            label, f"numbers/{number}/{level}", sums, packing.drop, self._slots, bound=packing.bound
        )
        share = cut & np.uint64((1 << PAIR_BITS) - 1)
        if self._journal is not None:
            self._journal.hold_level(number, level, share)
            yield from await_open(label, level_key(number, level))
            self._journal.open_level(number, level)
        return share

    def _sums(self, step: TreeStep, level: int, shares: TreeShares, rows: TreeRows, bits: Bits | None) -> Flow[U64]:
        """This side's share of every candidate's packed sums."""
        members, count, leaves = self.members, self.terms.candidates, 1 << level
        name = f"{step.step}/{level}"
        peers = members.others
        flows: list[Flow[list[U64]]] = [
            hold_sums(peers, f"sums/{name}", shares.carries, count, self._key),
            gather([self._passed(peer, step, level) for peer in peers]),
        ]
        if self._taken is not None and bits is not None:
            flows.append(take_sums([self._taken], f"sums/{name}", bits[:, rows.drawn], leaves))
        found = yield from gather(flows)
        held = {peer: PRIME_RING.add(found[0][place], found[1][place]) for place, peer in enumerate(peers)}
        if bits is not None:
            local = PRIME_RING.matmul(bits[:, rows.drawn].astype(np.int64), shares.carries)
            held[members.anchor] = PRIME_RING.add(found[2][0], local)
        parts = [held[name] for name in members.features]
        if members.own:
            own = yield from evaluate_own(
                members.label, f"own/{name}", shares.carries, count, self._slots, self._workers
            )
            parts.append(own)
        if level == 0:
            parts.append(PRIME_RING.sum(shares.carries, axis=0).reshape(1, 1))
        return np.concatenate(parts)

    def _passed(self, peer: str, step: TreeStep, level: int) -> Flow[U64]:
        """A feature party's own shares of its candidates' sums."""
        got = yield from receive(peer, CandidateSums)
        if (got.step, got.level) != (step.step, level):
            raise RemoteProtocolError(f"sent sums of level {got.level} of step {got.step} at another", peer)
        check_told(got.told, step, peer, self.members.label)
        count = self.terms.candidates
        return flat_elements(got.values, count << level, peer).reshape(count, 1 << level)

    def _split(
        self,
        number: int,
        level: int,
        shares: TreeShares,
        sides: SideShares,
        rows: TreeRows,
        owner: str,
        mine: Bits | None,
    ) -> Flow[None]:
        """Take its part of a level's bits; of the carries make those of the next level, if there is one."""
        members, bits = self.members, np.zeros(0, dtype=np.uint64)
        if mine is not None:
            bits = sides.own(owner, mine.astype(np.uint64))
        elif owner == members.label:
            sides.take(owner, None)
        else:
            more = yield from take_sides(owner, number, level, sides.due(owner), len(rows.active))
            bits = sides.take(owner, more)
        if level < self.terms.depth - 1:
            spread = shares.spread(bits[rows.drawn]) if len(bits) else bits
            carries = shares.carries.reshape(-1)
            shares.split((yield from self._end.times(f"split/{number}/{level}", owner, carries, spread)))

    def _score(self, number: int, sides: SideShares, rows: TreeRows, owners: Sequence[str]) -> Flow[None]:
        """Add its share of what the tree gives to each active row, and to the score of each coalition."""
        fitted, groups = rows.fitted.stop, groups_of(owners, self.members)
        whole = yield from evaluate_scores(
            f"{number}", groups, [frozenset(owners)], sides.held, len(rows.active), self._end
        )
        self.fits.add(rows.active, whole[0])
        carried = len(rows.active) - fitted
        if self.coalitions and carried:
            told = TellsApart.of(owners, self.members, self.coalitions)
            found = yield from evaluate_scores(
                f"{number}/coalitions", groups, told.present, sides.beside(fitted), carried, self._end
            )
            self.fits.value(rows.active[fitted:], told.scores(found, whole[0, fitted:]))

    def _predict(self, step: TreeStep, rows: I64) -> Flow[None]:
        label, number = self.members.label, step.step
        again = self._record is not None
        if step.again != again:
            raise RemoteProtocolError("goes on with a prediction that the anchor has no record of", label)
        scores = None
        if not again:
            drop = RESIDUAL_BITS - self.terms.score_fraction
            cut = yield from evaluate_truncation(
                label, f"score/{number}", self.fits.of(rows), drop, self._slots, bound=score_bound(self.terms)
            )
            short = cut & np.uint64((1 << SCORE_BITS) - 1)
            scores = {"scores": short, "check": folded(self.terms.seed, number, cut)}
        record = self._keep(step, rows, scores)
        this = Predicted(self.terms.seed, number, beyond_score_limit(self.terms, number))
        if refused(record):
            raise LocalProtocolError(this.beyond)
        if self._journal is not None:
            yield from await_open(label, level_key(number, 0))
        charge = self._budget.charge_once if again else self._budget.charge
        with asked_by(label):
            charge(f"{record.session}/{number}", rows, 1)
        yield Send(label, Scores(number, pack_bits(record.arrays["scores"], SCORE_BITS)))
        check = record.arrays["check"].astype(np.uint64)
        yield from answer_range(label, this, check, self._stream.take, refusing(self._journal, record))
