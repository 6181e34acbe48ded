"""Exact counts of sealed trees over a run's fits: an honest label party, and a column of zeros and ones that stands
still.

Each fit has more rows than the one before it, all of them known, and shows how many are ones: an equation more. Many
candidates are of one column, and where it has few values their counts are alike, so the commonest count is that
column's, whoever does not say so.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from tests.attacks.rig import secret
from vfl.arithmetic.randomness import SecretStream
from vfl.models.trees.candidates import candidate_stream, draw_candidates
from vfl.tree_terms import TreesModel
from vfl.walk.refits import blocks_of

ENTITIES, PERIODS, FIRST, COLUMNS = 60, 36, 12, 8
TERMS = TreesModel(blocks=4, trees=24)


def read_over_fits(*, deal: bool) -> tuple[float, float]:
    """Share of (fit, block) whose commonest count is the column's, and of entities that are read off the counts."""
    draw = np.random.default_rng(0)
    flag = draw.random(ENTITIES) < 0.3
    values = draw.normal(size=(PERIODS, ENTITIES, COLUMNS))
    values[:, :, 0] = flag
    values = np.asfortranarray(values.reshape(-1, COLUMNS))
    labelled, dealt = draw.random((PERIODS, ENTITIES)) > 0.03, blocks_of(TERMS, PERIODS * ENTITIES)
    equations, counts, right = [], [], []
    for fit, period in enumerate(range(FIRST, PERIODS)):
        known = np.flatnonzero(labelled[:period])
        for block in range(TERMS.blocks):
            drawn, seen = known[dealt[known] == block], Counter[int]()
            for tree in range(block, TERMS.trees, TERMS.blocks):
                step = fit * TERMS.trees + tree
                bits = draw_candidates(values, drawn, 16, TERMS.smallest_leaf, secret(f"{step}"), deal=deal)
                held = bits[:, drawn].sum(axis=1)
                seen.update(np.minimum(held, len(drawn) - held).tolist())
            told = seen.most_common(1)[0][0]
            equations.append(np.bincount(drawn % ENTITIES, minlength=ENTITIES).astype(float))
            counts.append(float(told))
            right.append(told == int(flag[drawn % ENTITIES].sum()))
    rate = counts[-1] / equations[-1].sum()
    apart = np.array(counts) - np.array(equations).sum(axis=1) * rate
    guess = rate + np.linalg.lstsq(np.array(equations), apart, rcond=1e-9)[0]
    return float(np.mean(right)), float(((guess > 0.5) == flag).mean())


def test_counts_over_fits_read_a_column_that_stands_still() -> None:
    """Without dealing: 96 equations of 60 entities."""
    seen, read = read_over_fits(deal=False)
    assert seen > 0.95
    assert read > 0.95
    seen, read = read_over_fits(deal=True)
    assert seen < 0.05
    assert read < 0.75, "where a guess of zeros alone is right for seven in ten"


def test_rows_that_are_alike_in_value_are_dealt_and_no_others_are() -> None:
    values = np.repeat(np.array([0.0, 1.0, np.nan]), 100)[:, None]
    for number in range(40):
        one = draw_candidates(values, np.arange(300), 1, 5, secret(f"{number}"), deal=True)[0].reshape(3, 100)
        shares = one.mean(axis=1)
        assert sum(0 < share < 1 for share in shares) <= 1
    alone = np.arange(300.0)[:, None]
    kept, dealt = (draw_candidates(alone, np.arange(300), 4, 5, secret("one"), deal=deal) for deal in (False, True))
    assert (kept[0] != dealt[0]).sum() <= 1


def test_two_runs_of_one_seed_of_which_one_has_a_row_more_tell_nothing_of_it() -> None:
    """Were candidates alike, the difference of each one's counts would be the side on which that row lies."""
    values, rows = np.random.default_rng(1).normal(size=(1001, 6)), np.arange(1001)

    def differences(streams: tuple[SecretStream, SecretStream]) -> NDArray[np.int64]:
        counts = [
            draw_candidates(values[:many], rows[:many], 200, 20, stream).sum(axis=1)
            for many, stream in zip((1000, 1001), streams, strict=True)
        ]
        found: NDArray[np.int64] = counts[1] - counts[0]
        return found

    alike = differences((secret("one"), secret("one")))
    assert np.isin(alike, (0, 1)).mean() > 0.95
    assert 0.2 < (alike == 1).mean() < 0.8
    apart = differences(tuple(candidate_stream(secret("one"), 7, 0, rows[:many]) for many in (1000, 1001)))  # type: ignore[arg-type]
    assert np.isin(apart, (0, 1)).mean() < 0.1
    again = candidate_stream(secret("one"), 7, 0, rows)
    assert again.take(8) == candidate_stream(secret("one"), 7, 0, rows).take(8), "a run that goes on has the same"
