"""The cyclic schedule of models whose training opens nothing: full batches of all resolved rows, the new ones first.

At every decision period the rows whose labels have resolved since come first, and then the others in shuffled cycles,
each as often as any; then the period is predicted once. Training a row again costs no opening, so nothing limits passes
but time. The shuffle is public.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from vfl.terms import SealedModel, WalkForward
from vfl.walk.schedule import PREDICT_ROWS, Step, resolved_before

__all__ = ["cyclic", "cyclic_static"]

Rows = NDArray[np.int64]


class _Batches:
    """Which rows a step takes: those not yet used first, then the others in shuffled cycles.

    A step and a period cost what they bring, whatever has resolved before; a new cycle costs a shuffle of all rows.
    """

    def __init__(self, size: int, seed: int) -> None:
        self._size, self._generator = size, np.random.default_rng([seed, 1])
        self._known: Rows = np.zeros(0, dtype=np.int64)
        self.count = 0
        self._queue: deque[Rows] = deque()

    def add(self, rows: Rows) -> None:
        """Rows whose labels have resolved since: at the head of the queue."""
        if self.count + len(rows) > len(self._known):
            longer = np.zeros(2 * (self.count + len(rows)), dtype=np.int64)
            longer[: self.count] = self._known[: self.count]
            self._known = longer
        self._known[self.count : self.count + len(rows)] = rows
        self.count += len(rows)
        self._queue.appendleft(self._generator.permutation(rows))

    def take(self) -> Rows:
        """Distinct rows, as many as a batch has or all there are."""
        known = self._known[: self.count]
        if self.count <= self._size:
            self._queue.clear()
            return known.copy()
        taken = self._head()
        if len(taken) < self._size:
            again = self._generator.permutation(known)
            fresh = again[~np.isin(again, taken)]
            more = self._size - len(taken)
            # what was just taken is due last in the new cycle
            self._queue.extend((fresh[more:], taken))
            taken = np.concatenate([taken, fresh[:more]])
        return taken

    def _head(self) -> Rows:
        """The first rows of the queue, at most a batch, in an array of their own: a step outlives the queue."""
        parts, missing = [np.zeros(0, dtype=np.int64)], self._size
        while missing and self._queue:
            part = self._queue.popleft()
            if len(part) > missing:
                self._queue.appendleft(part[missing:])
                part = part[:missing]
            parts.append(part)
            missing -= len(part)
        return np.concatenate(parts)


def cyclic(
    terms: SealedModel,
    walk: WalkForward,
    known_from: NDArray[np.int64],
    label: NDArray[np.float64],
    universe: NDArray[np.bool_],
) -> Iterator[Step]:
    """Yield the steps of a walk-forward run, in order. Arguments as for :func:`vfl.walk.schedule.prequential`.

    Raises ValueError when no period can be predicted.
    """
    resolved, start = resolved_before(walk, known_from, label, universe)
    return _steps(terms, resolved, universe, label.shape[1], start)


def _steps(
    terms: SealedModel, resolved: NDArray[np.int64], universe: NDArray[np.bool_], entities: int, start: int
) -> Iterator[Step]:
    batches, number, due = _Batches(terms.batch_rows, terms.seed), 0, resolved.reshape(-1)
    order = np.argsort(due, kind="stable").astype(np.int64)
    ends = np.searchsorted(due[order], np.arange(len(resolved)), side="right")
    for period in range(start, len(resolved)):
        batches.add(np.sort(order[ends[period - 1] if period > start else 0 : ends[period]]))
        for _ in range(terms.warmup_steps if period == start else terms.steps):
            if batches.count:
                yield Step(number, "train", period, batches.take(), batches.count)
                number += 1
        predicted = period * entities + np.flatnonzero(universe[period]).astype(np.int64)
        for first in range(0, len(predicted), PREDICT_ROWS):
            yield Step(number, "predict", period, predicted[first : first + PREDICT_ROWS])
            number += 1


def cyclic_static(terms: SealedModel, rows: int, passes: int, predicted: Rows | None = None) -> Iterator[Step]:
    """``passes`` shuffled passes over the first ``rows`` rows in full batches, then one prediction of ``predicted``.

    predicted: distinct rows, such as those that have no label; by default the rows trained on.
    """
    batches, number = _Batches(terms.batch_rows, terms.seed), 0
    batches.add(np.arange(rows, dtype=np.int64))
    for _ in range(max(1, -(-passes * rows // min(terms.batch_rows, rows)))):
        yield Step(number, "train", 0, batches.take(), rows)
        number += 1
    due = np.arange(rows, dtype=np.int64) if predicted is None else predicted
    for first in range(0, len(due), PREDICT_ROWS):
        yield Step(number, "predict", 0, due[first : first + PREDICT_ROWS])
        number += 1
