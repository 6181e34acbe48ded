"""Twins of the sealed trees: the same in plain integers with the same rounding and randomness, and in plain floats.

The integer twin is the oracle. A sealed run equals it but for the rounding of what opens, at most 2 units of a sum;
with the run's own opened numbers put in (``opened``), it equals the run to the last bit. In a real run nobody has all
columns, so nobody can run a twin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from vfl.arithmetic.randomness import SecretStream
from vfl.factors.panel import LabelPanel
from vfl.models.sealed.coalitions import valued_coalitions
from vfl.models.sealed.columns import fitted_labels
from vfl.models.sealed.scales import SCORE_BITS
from vfl.models.sealed.walk import shown_scores
from vfl.models.trees.candidates import candidate_stream, draw_candidates
from vfl.models.trees.coalitions import merged_values
from vfl.models.trees.growth import best_candidate, leaf_values, split_totals
from vfl.models.trees.scales import RESIDUAL_BITS, Packing32, Pairs, beyond_score_limit, beyond_their_range
from vfl.models.trees.tree_rows import TreeRows
from vfl.terms import WalkForward
from vfl.tree_terms import TreesModel
from vfl.walk.refits import blocks_of, carried_rows, refits
from vfl.walk.schedule import Step

__all__ = ["MOST_OFF", "IntegerTwin", "TreesRangeError", "run_twin", "trees_twin", "twin_scores"]

I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
F64 = NDArray[np.float64]
Opened = Callable[[int, int, I64], U64]

MOST_OFF = 3
"""Units that an opened number is off the exact sum at most, its truncation's 2 and half of one to the nearest, but for
one number in 2**27, whose shares wrap."""


class TreesRangeError(ValueError):
    """Values that a sealed run could not hold."""


def _nearest(packing: Packing32) -> Opened:
    def opened(step: int, level: int, sums: I64) -> U64:
        del step, level
        rounded = (sums + (1 << (packing.drop - 1))) >> packing.drop
        return rounded.view(np.uint64) & np.uint64(0xFFFFFFFF)

    return opened


def _apart(pairs: Pairs) -> tuple[Pairs, Pairs]:
    """The first level's last row, of all drawn rows, and the candidates'."""
    return Pairs(pairs.count[-1], pairs.total[-1]), Pairs(pairs.count[:-1], pairs.total[:-1])


class IntegerTwin:
    """columns: float64 (rows, d) of each owner of candidates in agreed order, the label party's own last.

    seeds: 32 bytes by owner, of which its candidates are drawn. opened(step, level, sums): what opens of packed sums,
    by default rounded to nearest. parties: the feature parties, in agreed order, where their coalitions are valued.
    deal: as of candidates.

    ``others`` are the levels at which the sums rounded to nearest would have taken another candidate than what opened
    did; ``beyond`` is how many of the opened numbers are more than MOST_OFF units off.
    """

    def __init__(
        self,
        columns: Mapping[str, F64],
        seeds: Mapping[str, bytes],
        terms: TreesModel,
        *,
        opened: Opened | None = None,
        parties: Sequence[str] = (),
        deal: bool = True,
    ) -> None:
        self.columns, self.terms = columns, terms
        self._streams = {owner: SecretStream(seed) for owner, seed in seeds.items()}
        self._opened, self._deal = opened, deal
        rows = len(next(iter(columns.values())))
        self._blocks = blocks_of(terms, rows)
        self.groups: list[I64] = []
        self._parties, self.coalitions = parties, valued_coalitions(parties)
        self._valued: list[I64] = []
        self.chosen: list[tuple[int, int, str, int]] = []
        self.values: dict[int, I64] = {}
        self.others: list[tuple[int, int]] = []
        self.beyond = 0

    @property
    def total(self) -> I64:
        """Scores (rows,) so far at RESIDUAL_BITS, of rows that are carried."""
        total: I64 = np.sum(self.groups, axis=0)
        return total

    @property
    def by_coalition(self) -> I64:
        """Scores (coalitions, rows) so far at RESIDUAL_BITS, of rows that are carried."""
        total: I64 = np.sum(self._valued, axis=0)
        return total

    def begin(self, start: Sequence[tuple[I64, I64]] = ()) -> None:
        """A new fit: the oldest trees go, where no more fits are kept. start: rows and the scores they begin at."""
        rows = len(self._blocks)
        if self.terms.fits_kept and len(self.groups) == self.terms.fits_kept:
            self.groups.pop(0)
            self._valued.pop(0)
        if self.terms.fits_kept or not self.groups:
            self.groups.append(np.zeros(rows, dtype=np.int64))
            self._valued.append(np.zeros((len(self.coalitions), rows), dtype=np.int64))
        for ids, scores in start:
            self.groups[-1][ids] += scores

    def grow(self, step: Step, carried: I64, tree: int, label: F64) -> None:
        """One tree on ``step.rows`` with their labels, float64 (B,); ``carried`` rows score along."""
        terms = self.terms
        rows = TreeRows.of(step.rows, carried, self._blocks, tree, terms)
        packing, score = Packing32.of(len(rows.drawn)), self.total[rows.active]
        y = np.rint(np.ldexp(label.clip(-terms.label_clip, terms.label_clip), RESIDUAL_BITS)).astype(np.int64)
        residual = np.zeros(len(rows.active), dtype=np.int64)
        residual[rows.fitted] = y - score[rows.fitted]
        carries = (1 << packing.shift) + residual[rows.drawn]
        leaf = np.zeros(len(rows.active), dtype=np.int64)
        opened, ids = self._opened or _nearest(packing), rows.active[rows.drawn]
        totals = near_totals = Pairs(np.zeros(0, dtype=np.int64), np.zeros(0))
        for level in range(terms.depth):
            bits = {
                owner: draw_candidates(
                    values[rows.active], rows.drawn, terms.candidates, terms.smallest_leaf,
                    candidate_stream(self._streams[owner], step.number, level, ids), deal=self._deal,
                )
                for owner, values in self.columns.items()
            }  # fmt: skip
            every = np.concatenate(list(bits.values()))
            drawn, inside = leaf[rows.drawn], every[:, rows.drawn]
            sums = np.stack([np.bincount(drawn[one], carries[one], 1 << level) for one in inside])
            sums = sums.astype(np.int64)  # exact: below 2**53
            if level == 0:
                sums = np.concatenate([sums, [[carries.sum()]]])
            if int(np.abs(sums).max()) > packing.bound:
                raise TreesRangeError("sums of residuals leave the range of a tree: lower model.rate")
            nearest, numbers = _nearest(packing)(step.number, level, sums), opened(step.number, level, sums)
            wrapped = (numbers - nearest).astype(np.uint32).view(np.int32)
            self.beyond += int((np.abs(wrapped.astype(np.int64)) > MOST_OFF).sum())
            pairs, near = packing.read(numbers), packing.read(nearest)
            if level == 0:
                (totals, pairs), (near_totals, near) = _apart(pairs), _apart(near)
                if int(totals.count[0]) != len(rows.drawn):
                    raise TreesRangeError(beyond_their_range(terms))
            best = best_candidate(totals, pairs, terms)
            if best != best_candidate(near_totals, near, terms):
                self.others.append((step.number, level))
            near_totals = split_totals(near_totals, Pairs(near.count[best], near.total[best]))
            self.chosen.append((step.number, level, list(bits)[best // terms.candidates], best % terms.candidates))
            totals = split_totals(totals, Pairs(pairs.count[best], pairs.total[best]))
            leaf += every[best].astype(np.int64) << level
        values = leaf_values(totals, terms)
        self.values[step.number] = values
        self.groups[-1][rows.active] += values[leaf]
        owners = [owner for number, _, owner, _ in self.chosen if number == step.number]
        for place, coalition in enumerate(self.coalitions):
            present = [owner in coalition or owner not in self._parties for owner in owners]
            merged = merged_values(values, totals.count, present)
            self._valued[-1][place, rows.active] += merged[leaf]

    def predict(self, step: Step) -> F64:
        """Scores (B,) as they open. Raises TreesRangeError for one beyond its limit."""
        drop = RESIDUAL_BITS - self.terms.score_fraction
        score = self.total[step.rows]
        if drop > 0:
            score = (score + (1 << (drop - 1))) >> drop
        if len(score) and int(np.abs(score).max()) >= 1 << (SCORE_BITS - 1):
            raise TreesRangeError(beyond_score_limit(self.terms, step.number))
        return np.ldexp(score.astype(np.float64), -self.terms.score_fraction)


def run_twin(
    twin: IntegerTwin, steps: Sequence[Step], labels: Callable[[Step], F64], start: Sequence[tuple[I64, I64]] = ()
) -> F64:
    """Scores (rows,) of a schedule, NaN where nothing was predicted. labels: of a fit's rows, float64 (B,).

    start: of :func:`vfl.models.trees.linear_start.linear_twin`, where fits begin there.
    """
    left = list(start)
    scores = np.full(len(next(iter(twin.columns.values()))), np.nan)
    carried = carried_rows(twin.terms, steps)
    rows, tree, label = np.zeros(0, dtype=np.int64), 0, np.zeros(0)
    for step in steps:
        if step.kind == "predict":
            scores[step.rows] = twin.predict(step)
            continue
        if step.number in carried:
            rows, tree, label = carried[step.number], 0, labels(step)
            begun, wanted = list[tuple[I64, I64]](), len(rows) + len(step.rows)
            while left and wanted > 0:
                begun.append(left.pop(0))
                wanted -= len(begun[-1][0])
            twin.begin(begun)
        twin.grow(step, rows, tree, label)
        tree += 1
    return scores


def twin_scores(
    columns: Mapping[str, F64], panel: LabelPanel, terms: TreesModel, walk: WalkForward, seeds: Mapping[str, bytes]
) -> F64:
    """Scores (T, n) of the integer twin over a calendar, centred per period. columns: as of :class:`IntegerTwin`."""
    return trees_twin(columns, panel, terms, walk, seeds)[0]


def trees_twin(
    columns: Mapping[str, F64],
    panel: LabelPanel,
    terms: TreesModel,
    walk: WalkForward,
    seeds: Mapping[str, bytes],
    opened: Opened | None = None,
    start: Sequence[tuple[I64, I64]] = (),
    *,
    deal: bool = True,
) -> tuple[F64, IntegerTwin]:
    """The same, and the twin itself. opened, deal: as of :class:`IntegerTwin`. start: as of :func:`run_twin`."""
    steps = tuple(refits(terms, walk, panel.known_from, panel.label, panel.universe))
    labels = fitted_labels(panel, walk)
    twin = IntegerTwin(columns, seeds, terms, opened=opened, deal=deal)
    found = run_twin(twin, steps, lambda step: labels.at(step.period, step.rows), start)
    return shown_scores(panel, found), twin
