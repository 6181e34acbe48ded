"""The schedule of models that are fitted at some periods and score until the next fit: one step a tree.

At every ``refit_every``-th decision period all resolved rows are fitted, tree by tree; then each period up to the next
fit is predicted once. Which rows a tree draws is public: rows are dealt once into blocks by the agreed seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from vfl.terms import WalkForward
from vfl.tree_terms import TreesModel
from vfl.walk.schedule import PREDICT_ROWS, Step, resolved_before

__all__ = ["blocks_of", "carried_rows", "fits_of", "most_steps", "refits", "refits_static"]

Rows = NDArray[np.int64]


def blocks_of(terms: TreesModel, rows: int) -> NDArray[np.int64]:
    """The block (rows,) of each row: the same in all trees, fits and attempts of a run."""
    return np.random.default_rng([terms.seed, 4]).integers(0, terms.blocks, size=rows)


def refits(
    terms: TreesModel,
    walk: WalkForward,
    known_from: NDArray[np.int64],
    label: NDArray[np.float64],
    universe: NDArray[np.bool_],
) -> Iterator[Step]:
    """Yield the steps of a walk-forward run, in order: of a fit one for each tree, all with the fit's rows.

    Arguments as for :func:`vfl.walk.schedule.prequential`. Raises ValueError when no period can be predicted.
    """
    resolved, start = resolved_before(walk, known_from, label, universe)
    return _steps(terms, resolved.reshape(-1), universe, label.shape[1], start)


def _steps(
    terms: TreesModel, resolved: NDArray[np.int64], universe: NDArray[np.bool_], entities: int, start: int
) -> Iterator[Step]:
    number = 0
    for period in range(start, len(universe)):
        if (period - start) % terms.refit_every == 0:
            known = np.flatnonzero(resolved <= period).astype(np.int64)
            for _ in range(terms.trees):
                yield Step(number, "train", period, known, len(known))
                number += 1
        predicted = period * entities + np.flatnonzero(universe[period]).astype(np.int64)
        for first in range(0, len(predicted), PREDICT_ROWS):
            yield Step(number, "predict", period, predicted[first : first + PREDICT_ROWS])
            number += 1


def most_steps(terms: TreesModel, periods: int, entities: int) -> int:
    """No run over so many periods and entities has more steps, whatever labels it has."""
    fits = -(-periods // terms.refit_every)
    return fits * terms.trees + periods * max(1, -(-entities // PREDICT_ROWS))


def refits_static(terms: TreesModel, rows: int, trained: Rows | None = None) -> Iterator[Step]:
    """One fit of all rows, or of those ``trained`` on alone, then one prediction of every row."""
    known = np.arange(rows, dtype=np.int64) if trained is None else trained
    for number in range(terms.trees):
        yield Step(number, "train", 0, known, len(known))
    for place, first in enumerate(range(0, rows, PREDICT_ROWS)):
        chosen = np.arange(first, min(first + PREDICT_ROWS, rows), dtype=np.int64)
        yield Step(terms.trees + place, "predict", 0, chosen)


def fits_of(steps: Sequence[Step]) -> list[list[Step]]:
    """The steps of each fit, with the predictions that follow it."""
    found: list[list[Step]] = []
    for place, step in enumerate(steps):
        if step.kind == "train" and (place == 0 or steps[place - 1].rows is not step.rows):
            found.append([])
        found[-1].append(step)
    return found


def carried_rows(terms: TreesModel, steps: Sequence[Step]) -> dict[int, Rows]:
    """By the number of a fit's first step, the rows its trees score beside those it is fitted on, rising.

    They are the rows that are predicted, or fitted again, while its trees are kept.
    """
    fits = fits_of(steps)
    found = {}
    for place, fit in enumerate(fits):
        stop = len(fits) if terms.fits_kept == 0 else place + terms.fits_kept
        used = [step.rows for later in fits[place:stop] for step in later if step.kind == "predict" or step is later[0]]
        rows = np.unique(np.concatenate(used)) if used else np.zeros(0, dtype=np.int64)
        found[fit[0].number] = np.setdiff1d(rows, fit[0].rows, assume_unique=True)
    return found
