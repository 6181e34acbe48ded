"""The integer twin against an independent plain implementation in floats with the same candidates."""

from __future__ import annotations

import numpy as np
import pytest

from tests.vfl.models.trees.rig import Consortium, columns, secret
from vfl.models.trees.candidates import candidate_stream, draw_candidates, least_rows
from vfl.models.trees.twin import IntegerTwin, TreesRangeError, run_twin
from vfl.tree_terms import TreesModel
from vfl.walk.refits import refits_static
from vfl.walk.schedule import Step

ROWS = 600


def made(terms: TreesModel) -> tuple[Consortium, np.ndarray]:
    features = {"a": columns(ROWS, 3, "a", missing=0.1), "b": columns(ROWS, 2, "b")}
    own = columns(ROWS, 1, "own")
    y = np.nan_to_num(features["a"][:, 0]) * features["b"][:, 1] + own[:, 0] + 0.5 * columns(ROWS, 1, "noise")[:, 0]
    return Consortium(features, own, terms), (y - y.mean()) / y.std()


def boosted(columns: dict[str, np.ndarray], y: np.ndarray, terms: TreesModel) -> np.ndarray:
    """Boosted oblivious trees in floats, leaf by leaf: no packing, no rounding, no code of the twin's but the draws."""
    score = np.zeros(len(y))
    for tree in range(terms.trees):
        leaf, block = np.zeros(len(y), dtype=int), np.arange(len(y))
        for level in range(terms.depth):
            found: list[tuple[float, np.ndarray]] = []
            for name, values in columns.items():
                stream = candidate_stream(secret(f"candidates/{name}"), tree, level, block)
                for bits in draw_candidates(values, block, terms.candidates, terms.smallest_leaf, stream, deal=True):
                    gain = 0.0
                    for one in range(2**level):
                        inside = leaf == one
                        sides = [(y - score)[inside & (bits == side)] for side in (False, True)]
                        if min(map(len, sides)) >= terms.smallest_leaf:
                            whole = np.concatenate(sides)
                            gain += sum(r.sum() ** 2 / (len(r) + terms.reg_lambda) for r in sides)
                            gain -= whole.sum() ** 2 / (len(whole) + terms.reg_lambda)
                    found.append((gain, bits))
            best = max(found, key=lambda pair: pair[0])[1]
            leaf = leaf + best * 2**level
        residual = y - score
        for one in range(2**terms.depth):
            rows = residual[leaf == one]
            if len(rows) >= terms.smallest_leaf:
                score[leaf == one] += terms.rate * rows.sum() / (len(rows) + terms.reg_lambda)
    return score


def test_the_twin_gives_what_a_plain_implementation_gives_with_the_same_candidates() -> None:
    terms = TreesModel(depth=3, trees=6, candidates=5, rate=0.2, smallest_leaf=15)
    consortium, y = made(terms)
    twin = consortium.twin()
    run_twin(twin, list(refits_static(terms, ROWS)), lambda step: y)
    plain = boosted(twin.columns | {}, y, terms)
    found = np.ldexp(twin.total.astype(float), -16)
    assert np.abs(found - plain).max() < 5e-3
    assert np.corrcoef(found, y)[0, 1] > 0.6


def test_a_leaf_value_is_off_by_no_more_than_a_thousandth() -> None:
    """Sums are rounded to 2**half / 2**15; a leaf's value moves by rate * unit / 2 over its count."""
    terms = TreesModel(depth=2, trees=1, candidates=5, rate=0.1)
    consortium, y = made(terms)
    twin = consortium.twin()
    run_twin(twin, [s for s in refits_static(terms, ROWS) if s.kind == "train"], lambda step: y)
    chosen = {level: (owner, number) for _, level, owner, number in twin.chosen}
    leaf = np.zeros(ROWS, dtype=int)
    for level, (owner, number) in chosen.items():
        stream = candidate_stream(secret(f"candidates/{owner}"), 0, level, np.arange(ROWS))
        bits = draw_candidates(twin.columns[owner], np.arange(ROWS), 5, terms.smallest_leaf, stream, deal=True)
        leaf += bits[number] * 2**level
    for one in range(4):
        rows = y[leaf == one]
        exact = 0.1 * rows.sum() / (len(rows) + terms.reg_lambda) if len(rows) >= terms.smallest_leaf else 0.0
        assert abs(twin.values[0][one] * 2.0**-16 - exact) < 1e-3


def test_candidates_hold_enough_rows_on_each_side_and_missing_values_take_a_side_of_their_own() -> None:
    values = columns(ROWS, 4, "some", missing=0.3)
    values[:, 3] = 1.0
    drawn = np.arange(0, ROWS, 2)
    bits = draw_candidates(values, drawn, 200, 20, secret("draw"))
    least = least_rows(len(drawn), 20)
    held = bits[:, drawn].sum(axis=1)
    assert ((held >= least) & (held <= len(drawn) - least)).mean() > 0.95, "all but random bits of a constant column"
    sides = set()
    for one in bits:
        for column in range(3):
            gone = np.isnan(values[:, column])
            if len(set(one[gone])) == 1 and len(set(one[~gone])) == 2:
                low, high = values[~gone & ~one, column], values[~gone & one, column]
                if max(low.min(), high.min()) > min(low.max(), high.max()):
                    sides.add(bool(one[gone][0] == (one[~gone & (values[:, column] > 0.9)].mean() > 0.5)))
    assert sides == {True, False}, "missing rows go now with the high side, now with the low one"
    indicators = [np.isnan(values[:, column]) for column in range(3)]
    assert any(np.array_equal(one ^ swap, gone) for one in bits for gone in indicators for swap in (False, True))


def test_the_same_secret_gives_the_same_candidates_and_another_gives_others() -> None:
    values, drawn = columns(ROWS, 2, "a"), np.arange(ROWS)
    first, again, other = (draw_candidates(values, drawn, 4, 20, secret(name)) for name in ("x", "x", "y"))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_fits_are_kept_dropped_or_made_anew(kept: int) -> None:
    """Three fits of one tree: what scores at the end is the trees of the kept fits alone."""
    terms = TreesModel(depth=1, trees=1, candidates=2, fits_kept=kept)
    consortium, y = made(terms)
    steps = [
        Step(0, "train", 0, np.arange(400), 400), Step(1, "train", 1, np.arange(500), 500),
        Step(2, "train", 2, np.arange(550), 550), Step(3, "predict", 2, np.arange(550, ROWS)),
    ]  # fmt: skip
    twin = consortium.twin()
    scores = run_twin(twin, steps, lambda step: y[step.rows])
    assert len(twin.groups) == {0: 1, 1: 1, 2: 2}[kept]
    distinct = len(np.unique(scores[550:]))
    assert distinct == 2 if kept == 1 else distinct > 2


def test_scores_beyond_the_limit_are_refused_by_name() -> None:
    terms = TreesModel(depth=1, trees=30, candidates=2, rate=1.0, reg_lambda=0.0, score_limit=2, label_clip=8.0)
    consortium, y = made(terms)
    twin = IntegerTwin({"a": consortium.features["a"]}, {"a": bytes([1]) * 32}, terms, deal=False)
    with pytest.raises(TreesRangeError, match=r"raise model\.score_limit"):
        run_twin(twin, list(refits_static(terms, ROWS)), lambda step: np.where(y > np.median(y), 5.0, -5.0))
