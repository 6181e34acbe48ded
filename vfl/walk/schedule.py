"""The prequential schedule: which rows are opened when, and why never earlier.

Time moves over the agreed decision periods. At period p the model first trains on the rows whose
labels have become known, then predicts p once; those predictions are the factor. So the
whole out-of-sample history comes out of one pass, and each model continues from the last.

A row (q, entity) has *resolved* at decision period p when its label was published by the cutoff of p
(``known_from <= p``) and the purge is over (``q + horizon + embargo <= p`` with the longest horizon of all
labels, and ``q < p`` in any case, so no row is trained before it is predicted). Rows outside the universe, and
rows whose label never becomes known, are never trained.

Every forward pass of a row is one opening of its embedding sum, so the schedule counts them:
predictions, trainings and the openings reserved for coalitions stay within ``row_limit``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vfl.terms import SplitModel, WalkForward

__all__ = ["Step", "first_prediction", "prequential", "resolved_at", "resolved_before", "static_steps", "warm_up_rows"]

Rows = NDArray[np.int64]

PREDICT_ROWS = 4096
"""Rows of one prediction step: no learning depends on it, and large products cost less per row."""


@dataclass(frozen=True)
class Step:
    """One opening of a batch of rows: ``period`` is the decision period at which it happens.

    ``rows`` are row ids, period * n + entity, unique within the step. The source weights at a prediction step are
    needed again if coalitions are to be scored. ``known``: rows with labels by then, where a schedule counts them.
    """

    number: int
    kind: Literal["predict", "train"]
    period: int
    rows: Rows
    known: int = 0


def resolved_at(
    walk: WalkForward, known_from: NDArray[np.int64], label: NDArray[np.float64], universe: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """First decision period at which each row may be trained on, int64 (T, n); T where never."""
    periods = label.shape[0]
    purged = np.arange(periods, dtype=np.int64)[:, None] + max(1, walk.longest + walk.embargo)
    resolved = np.maximum(known_from, purged)
    return np.where(universe & np.isfinite(label), np.minimum(resolved, periods), periods)


def first_prediction(walk: WalkForward, resolved: NDArray[np.int64]) -> int:
    """First period with ``warmup`` resolved periods behind it; T where there is none."""
    periods = resolved.shape[0]
    ready = np.sort(resolved.min(axis=1, initial=periods))
    return int(ready[walk.warmup - 1]) if walk.warmup <= periods else periods


def resolved_before(
    walk: WalkForward, known_from: NDArray[np.int64], label: NDArray[np.float64], universe: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], int]:
    """:func:`resolved_at` and :func:`first_prediction` of a panel (T, n).

    Raises ValueError for panels of several shapes, and where no period can be predicted.
    """
    if not known_from.shape == label.shape == universe.shape or label.ndim != 2:
        raise ValueError(
            f"known_from {known_from.shape}, label {label.shape} and universe {universe.shape} need one shape (T, n)"
        )
    resolved = resolved_at(walk, known_from, label, universe)
    start = first_prediction(walk, resolved)
    if start >= len(label):
        raise ValueError(
            f"no period can be predicted: fewer than warmup = {walk.warmup} of {len(label)} periods have labels "
            "known in time; lower walk_forward.warmup or lengthen the calendar"
        )
    return resolved, start


def warm_up_rows(
    walk: WalkForward, known_from: NDArray[np.int64], label: NDArray[np.float64], universe: NDArray[np.bool_]
) -> Rows:
    """Row ids that have resolved at the first prediction, rising: they are only ever trained on."""
    resolved = resolved_at(walk, known_from, label, universe)
    start = min(first_prediction(walk, resolved), len(label) - 1)
    return np.flatnonzero(resolved.reshape(-1) <= start).astype(np.int64)


def prequential(
    terms: SplitModel,
    walk: WalkForward,
    known_from: NDArray[np.int64],
    label: NDArray[np.float64],
    universe: NDArray[np.bool_],
    row_limit: int,
    reserved: int,
) -> Iterator[Step]:
    """Yield the steps of a walk-forward run, in order.

    known_from int64 (T, n), label float64 (T, n), universe bool (T, n) as in ``LabelPanel``;
    ``row_limit``: openings of a row that its owners allow; ``reserved``: how many of them coalition
    scoring will need for each predicted row. The label party alone can compute this (it knows which
    labels exist); it announces the rows step by step.

    The rows that have resolved at the first prediction are shuffled together and passed ``warmup_epochs``
    times (they are never predicted, so their whole budget is for training). After that each newly resolved
    row is passed once per period over the next ``epochs`` periods, mixed with the rows that resolved in
    between: the same openings as repeating it at once, but the repetitions see newer weights and each
    batch spans several dates. A warm start takes one opening of each warm-up row, before any pass. Rows fewer than
    ``smallest_batch`` wait for those that resolve a period later.

    Raises ValueError when the budget leaves no opening for training, or nothing can be predicted.
    """
    resolved, start = resolved_before(walk, known_from, label, universe)
    periods, entities = label.shape
    budget = np.full((periods, entities), row_limit, dtype=np.int64)
    budget[start:] -= np.where(universe[start:], 1 + reserved, 0)
    if terms.warm_start == "ridge":
        budget[resolved <= start] -= 1
    if row_limit - 1 - reserved < 1:
        raise ValueError(
            f"row_limit {row_limit} leaves no opening to train on after one prediction and {reserved} for coalitions: "
            'raise openings.limit_per_row, or set openings.contribution = "none"'
        )
    return _steps(terms, resolved, universe, budget, start)


def _steps(
    terms: SplitModel, resolved: NDArray[np.int64], universe: NDArray[np.bool_], budget: NDArray[np.int64], start: int
) -> Iterator[Step]:
    generator = np.random.default_rng(terms.seed)
    periods, entities = resolved.shape
    since = np.maximum(resolved, start).reshape(-1)
    left = budget.reshape(-1).copy()
    number = 0
    for period in range(start, periods):
        for _ in range(terms.warmup_epochs if period == start else 1):
            young = (since <= period) & (period < since + terms.epochs) & (left > 0)
            if period > start:
                young &= since > start
            found = np.flatnonzero(young).astype(np.int64)
            if len(found) < terms.smallest_batch:
                since[found] += 1
                break
            pool = generator.permutation(found)
            left[pool] -= 1
            for rows in _batches(pool, terms.batch_rows):
                yield Step(number, "train", period, rows)
                number += 1
        due = period * entities + np.flatnonzero(universe[period]).astype(np.int64)
        for rows in _batches(due, PREDICT_ROWS):
            yield Step(number, "predict", period, rows)
            number += 1


def static_steps(terms: SplitModel, rows: int, row_limit: int) -> Iterator[Step]:
    """``terms.epochs`` shuffled passes over all rows, then predictions of all of them; the shuffle is public.

    Raises ValueError when ``row_limit`` openings do not suffice for the passes and the prediction, or for a warm start.
    """
    if terms.warm_start != "none":
        raise ValueError('a warm start needs periods: set model.warm_start = "none" for static data')
    if row_limit < terms.epochs + 1:
        raise ValueError(
            f"{terms.epochs} passes and a prediction open each row {terms.epochs + 1} times, and {row_limit} are "
            "allowed: lower model.epochs or raise openings.limit_per_row"
        )
    generator = np.random.default_rng(terms.seed)
    number = 0
    for _ in range(terms.epochs):
        for batch in _batches(generator.permutation(rows).astype(np.int64), terms.batch_rows):
            yield Step(number, "train", 0, batch)
            number += 1
    for batch in _batches(np.arange(rows, dtype=np.int64), PREDICT_ROWS):
        yield Step(number, "predict", 0, batch)
        number += 1


def _batches(rows: Rows, size: int) -> list[Rows]:
    """``rows`` in as few even pieces as ``size`` allows: no tiny last batch."""
    return list(np.array_split(rows, math.ceil(len(rows) / size))) if len(rows) else []
