"""The label party of sealed trees: first holder of shares, who sees sums of anonymous candidates and chooses splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from psi.flow import Flow, LocalProtocolError, RemoteProtocolError, Send, receive
from vfl.arithmetic.bit_packing import unpack_bits
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.arithmetic.randomness import SecretStream
from vfl.arithmetic.received import MalformedError
from vfl.models.sealed.coalitions import valued_coalitions
from vfl.models.sealed.ends import hold_own
from vfl.models.sealed.label import LabelKeys
from vfl.models.sealed.messages import Members
from vfl.models.sealed.opened_scores import open_scores, short_share
from vfl.models.sealed.records import ResumedScores, StepRecord, check_repeated
from vfl.models.sealed.scales import SCORE_BITS
from vfl.models.sealed.score_range import Predicted, check_range, folded
from vfl.models.trees.candidates import Drawn, candidate_stream, drawn_candidates
from vfl.models.trees.coalitions import TellsApart
from vfl.models.trees.ends import LabelEnd, hold_sums, take_sides
from vfl.models.trees.growth import best_candidate, gains, leaf_values, lowered, split_totals
from vfl.models.trees.linear_start import LinearStart
from vfl.models.trees.messages import Chosen, LevelNumbers, Owner, TreeStep
from vfl.models.trees.records import LabelTreesJournal, level_key
from vfl.models.trees.scales import (
    PAIR_BITS,
    RESIDUAL_BITS,
    Packing32,
    Pairs,
    beyond_score_limit,
    beyond_their_range,
    score_bound,
)
from vfl.models.trees.scoring import groups_of, hold_scores
from vfl.models.trees.shares import FitShares, SideShares, TreeShares
from vfl.models.trees.splits import NOWHERE, NoSplits, SplitBook, TakenSplit
from vfl.models.trees.tree_rows import TreeRows
from vfl.protocols.prime_keys import announce_key
from vfl.protocols.resume import open_step
from vfl.protocols.session import Done
from vfl.protocols.truncation import hold_truncation
from vfl.tree_terms import TreesModel
from vfl.walk.refits import blocks_of
from vfl.walk.schedule import Step

__all__ = ["TreesLabel"]

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
F64 = NDArray[np.float64]
Bits = NDArray[np.bool_]


class TreesLabel:
    """One session of the label party. ``start`` comes first, then a flow for each step, then ``finish``.

    values: its own columns, float64 (rows, d), NaN where missing; d may be 0. candidates: secret, the same in every
    attempt, of which its candidates are drawn. session: name of this attempt. stream: secret randomness, new in every
    attempt. journal, resumed: as in :mod:`vfl.models.trees.records`. valued: coalitions are valued, so that rows are
    scored for each of them too. book: where every split is written as it is taken, its own with their columns.
    linear: its shares of the scores that fits begin at, where they do.
    ``gain`` is :func:`vfl.models.trees.growth.lowered` of the latest tree.
    """

    def __init__(
        self,
        members: Members,
        values: F64,
        candidates: SecretStream,
        terms: TreesModel,
        keys: LabelKeys,
        stream: SecretStream,
        *,
        session: str,
        journal: LabelTreesJournal | None = None,
        resumed: ResumedScores | None = None,
        valued: bool = False,
        book: SplitBook | None = None,
        linear: LinearStart | None = None,
        deal: bool = True,
    ) -> None:
        if values.shape[1] != members.own:
            raise LocalProtocolError(f"{members.own} own columns were agreed and {values.shape[1]} brought")
        self.members, self.terms = members, terms
        self.coalitions = valued_coalitions(tuple(members.features)) if valued else ()
        self.fits = FitShares.gone_on(len(values), None if resumed is None else resumed.record, len(self.coalitions))
        self.chosen: list[tuple[int, int, str, int]] = []
        self.values: dict[int, I64] = {}
        self._values, self._candidates, self._keys, self._stream = values, candidates, keys, stream
        self._session, self._journal = session, journal
        self._book: SplitBook = book or NoSplits()
        self._start, self._deal = linear, deal
        self.gain = 0.0
        self._record = None if resumed is None else resumed.record
        self._end = LabelEnd(members, keys.slots)
        self._blocks, self._told, self._steps = blocks_of(terms, len(values)), False, 0

    @property
    def owners(self) -> tuple[str, ...]:
        """Who brings candidates, in the order in which they are numbered."""
        return (*self.members.features, *((self.members.label,) if self.members.own else ()))

    def start(self) -> Flow[None]:
        """Announce the session's keys.

        Learns: nothing.
        Leaks: nothing.
        Model: semi-honest.
        Source: docs/protocols/trees.md#who-holds-what.
        """
        members = self.members
        for peer in members.everyone:
            if peer in members.features:
                yield from announce_key(peer, self._keys.coefficient)
            if peer == members.anchor:
                yield from announce_key(peer, self._keys.slots)

    def finish(self) -> Flow[None]:
        """Tell everyone that the session is over.

        Learns: nothing.
        Leaks: the number of steps.
        Model: semi-honest.
        Source: docs/protocols/trees.md#a-tree.
        """
        for peer in self.members.everyone:
            yield Send(peer, Done(self._steps))

    def _announce(self, step: Step, carried: I64, tree: int, *, begins: bool, levels: int, again: bool) -> Flow[None]:
        self._steps += 1
        train = step.kind == "train"
        shown = not train or begins or not self._told
        self._told = self._told or train
        told = TreeStep(
            step.number, train, _ids(step.rows) if shown else b"", _ids(carried) if train and shown else b"",
            tree, begins, levels, again,
        )  # fmt: skip
        for peer in self.members.everyone:
            yield Send(peer, told)

    def _keep(self, step: Step, scores: Mapping[str, U64] | None = None) -> StepRecord:
        """The record of the step under way, fresh or as it was."""
        record, self._record = self._record, None
        if record is not None:
            check_repeated(record, step.number, step.kind == "train", step.rows, self.members.label)
            return record
        arrays = self.fits.out() | dict(scores or {})
        made = StepRecord(self._session, step.number, step.kind == "train", step.rows, arrays)
        if self._journal is not None:
            self._journal.hold(made)
        return made

    def grow(self, step: Step, carried: I64, tree: int, label: F64) -> Flow[None]:
        """One tree on ``step.rows``. label: float64 (B,), standardised and finite. tree: its place in its fit.

        carried: rows that score along. The first tree of a fit begins it.

        Learns: per level, of each anonymous candidate and leaf, a count and a sum of residuals of 16 bits each.
        Leaks: row ids to everyone; whose candidate a level takes to the anchor, and which to its owner.
        Model: whatever this side puts into operands, no more than 32 bits a pair arrive.
        Source: docs/protocols/trees.md#a-tree.
        """
        if not np.isfinite(label).all() or label.shape != step.rows.shape:
            raise LocalProtocolError("a tree takes one finite label of each row")
        again = self._record is not None
        self._keep(step)
        recorded = self._journal.levels(step.number) if again and self._journal is not None else []
        yield from self._announce(step, carried, tree, begins=tree == 0, levels=len(recorded), again=False)
        self._book.begin(step.number)
        if tree == 0:
            scored = np.concatenate([step.rows, carried])
            self.fits.begin(self.terms, scored, None if self._start is None else self._start.of(scored))
        terms = self.terms
        rows = TreeRows.of(step.rows, carried, self._blocks, tree, terms)
        packing = Packing32.of(len(rows.drawn))
        y = PRIME_RING.encode(label.clip(-terms.label_clip, terms.label_clip), RESIDUAL_BITS)
        residual = PRIME_RING.sub(y, self.fits.of(step.rows))[rows.drawn]
        carries = PRIME_RING.add(residual, np.full_like(residual, 1 << packing.shift))
        shares, sides = TreeShares.starting(carries), SideShares()
        own, owners = np.asfortranarray(self._values[rows.active]), list[str]()
        totals = Pairs(np.zeros(0, dtype=np.int64), np.zeros(0))
        for level in range(terms.depth):
            made = self._drawn(step.number, level, own, rows)
            bits = None if made is None else made.bits
            share = recorded[level] if level < len(recorded) else None
            opened = yield from self._level(step.number, level, shares, rows, packing, bits, share)
            pairs = packing.read(opened)
            if level == 0:
                totals = Pairs(pairs.count[-1], pairs.total[-1])
                if int(totals.count[0]) != len(rows.drawn):
                    if self._start is not None:
                        raise LocalProtocolError(beyond_their_range(terms))
                    raise RemoteProtocolError("opened numbers whose counts cannot be", self.members.anchor)
                pairs = Pairs(pairs.count[:-1], pairs.total[:-1])
            best = best_candidate(totals, pairs, terms)
            owner, number = self.owners[best // terms.candidates], best % terms.candidates
            owners.append(owner)
            yield from self._tell(step.number, level, owner, number)
            column = NOWHERE if made is None or owner != self.members.label else int(made.columns[number])
            gain = float(gains(totals, pairs, terms)[best])
            self._book.take(TakenSplit(step.number, level, owner, column, gain, opened))
            totals = split_totals(totals, Pairs(pairs.count[best], pairs.total[best]))
            mine = bits[number] if bits is not None and owner == self.members.label else None
            yield from self._split(step.number, level, shares, sides, rows, owner, mine)
        yield from self._score(step.number, sides, rows, totals, owners)

    def _drawn(self, number: int, level: int, own: F64, rows: TreeRows) -> Drawn | None:
        """Its own candidates; None without columns."""
        if not own.size:
            return None
        stream = candidate_stream(self._candidates, number, level, rows.active[rows.drawn])
        terms = self.terms
        return drawn_candidates(own, rows.drawn, terms.candidates, terms.smallest_leaf, stream, deal=self._deal)

    def _level(
        self,
        number: int,
        level: int,
        shares: TreeShares,
        rows: TreeRows,
        packing: Packing32,
        bits: Bits | None,
        recorded: U64 | None,
    ) -> Flow[U64]:
        """The opened numbers of a level, (candidates, leaves); of the first, with a last row of all drawn rows."""
        anchor, leaves = self.members.anchor, 1 << level
        count = len(self.owners) * self.terms.candidates + (level == 0)
        share = recorded
        if share is None:
            sums = yield from self._sums(f"{number}/{level}", shares, rows, bits)
            cut = yield from hold_truncation(
                anchor, f"numbers/{number}/{level}", sums, packing.drop, self._keys.slots, bound=packing.bound
            )
            share = short_share(cut, PAIR_BITS)  # a number below 2**32 wraps, but for one in 2**27
            made, journal = share, self._journal
            if journal is not None:
                yield from open_step(
                    [anchor], level_key(number, level), lambda: journal.hold_level(number, level, made)
                )
        got = yield from receive(anchor, LevelNumbers)
        if (got.step, got.level) != (number, level):
            raise RemoteProtocolError(f"opened level {got.level} of step {got.step} at {level} of {number}", anchor)
        try:
            theirs = unpack_bits(got.values, PAIR_BITS, share.size, 1 << PAIR_BITS)
        except MalformedError as error:
            raise RemoteProtocolError(str(error), anchor) from None
        opened = (share.reshape(-1) + theirs) & np.uint64((1 << PAIR_BITS) - 1)
        return opened.reshape(count, leaves)

    def _sums(self, name: str, shares: TreeShares, rows: TreeRows, bits: Bits | None) -> Flow[U64]:
        """This side's share of every candidate's packed sums."""
        members, terms, leaves = self.members, self.terms, 1 << shares.level
        parts = yield from hold_sums(
            tuple(members.features), f"sums/{name}", shares.carries, terms.candidates, self._keys.coefficient
        )
        if bits is not None:
            own = bits[:, rows.drawn].astype(np.int64)
            held = yield from hold_own(members.anchor, f"own/{name}", own.T, leaves, self._keys.slots)
            parts = [*parts, PRIME_RING.add(held, PRIME_RING.matmul(own, shares.carries))]
        if shares.level == 0:
            parts = [*parts, PRIME_RING.sum(shares.carries, axis=0).reshape(1, 1)]
        return np.concatenate(parts)

    def _tell(self, number: int, level: int, owner: str, candidate: int) -> Flow[None]:
        self.chosen.append((number, level, owner, candidate))
        yield Send(self.members.anchor, Owner(number, level, owner))
        for name in self.members.features:
            yield Send(name, Chosen(number, level, candidate if name == owner else -1))

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
        elif owner == members.anchor:
            sides.take(owner, None)
        else:
            more = yield from take_sides(owner, number, level, sides.due(owner), len(rows.active))
            bits = sides.take(owner, more)
        if level < self.terms.depth - 1:
            spread = shares.spread(bits[rows.drawn]) if len(bits) else bits
            carries = shares.carries.reshape(-1)
            shares.split((yield from self._end.times(f"split/{number}/{level}", owner, carries, spread)))

    def _score(
        self, number: int, sides: SideShares, rows: TreeRows, leaves: Pairs, owners: Sequence[str]
    ) -> Flow[None]:
        """Add what the tree gives to each active row.

        Where coalitions are valued, also what it gives to the score of each, of the rows beside the fitted ones.
        """
        values, fitted, groups = leaf_values(leaves, self.terms), rows.fitted.stop, groups_of(owners, self.members)
        self.values[number], self.gain = values, lowered(leaves, values)
        whole = yield from hold_scores(
            f"{number}", values[None], groups, [frozenset(owners)], sides.held, len(rows.active), self._end
        )
        self.fits.add(rows.active, whole[0])
        carried = len(rows.active) - fitted
        if self.coalitions and carried:
            told = TellsApart.of(owners, self.members, self.coalitions)
            found = yield from hold_scores(
                f"{number}/coalitions",
                told.tables(values, leaves.count),
                groups,
                told.present,
                sides.beside(fitted),
                carried,
                self._end,
            )
            self.fits.value(rows.active[fitted:], told.scores(found, whole[0, fitted:]))

    def predict(self, step: Step) -> Flow[F64]:
        """Open the scores of ``step.rows``, float64 (B,), in the label's deviations.

        Raises LocalProtocolError where one is beyond +-score_limit, and has wrapped.

        Learns: 17 bits of each row: its score; and whether one wrapped, 1 bit.
        Leaks: row ids to everyone; ciphertexts to the anchor, and whether a score wrapped.
        Model: whatever this side put into operands, no more than 17 bits a row and this 1 arrive.
        Source: docs/protocols/trees.md#a-prediction.
        """
        again, anchor, number = self._record is not None, self.members.anchor, step.number
        nothing = np.zeros(0, dtype=np.int64)
        yield from self._announce(step, nothing, 0, begins=False, levels=0, again=again)
        share = None
        if not again:
            score, drop = self.fits.of(step.rows), RESIDUAL_BITS - self.terms.score_fraction
            score = yield from hold_truncation(
                anchor, f"score/{number}", score, drop, self._keys.slots, bound=score_bound(self.terms)
            )
            share = {"scores": short_share(score, SCORE_BITS), "check": folded(self.terms.seed, number, score)}
        held: list[StepRecord] = []
        if self._journal is None:
            held.append(self._keep(step, share))
        else:
            yield from open_step([anchor], level_key(number, 0), lambda: held.append(self._keep(step, share)))
        kept = held[0].arrays
        scores = yield from open_scores(anchor, number, kept["scores"], self.terms.score_fraction)
        this = Predicted(self.terms.seed, number, beyond_score_limit(self.terms, number))
        check, fraction = kept["check"].astype(np.uint64), self.terms.score_fraction
        yield from check_range(anchor, this, check, scores, fraction, self._stream.take)
        if self._journal is not None:
            self._journal.predicted(number, scores)
        return scores


def _ids(rows: I64) -> bytes:
    return rows.astype("<u4").tobytes()
