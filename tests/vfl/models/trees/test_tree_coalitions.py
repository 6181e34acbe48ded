"""Coalitions' scores of trees: the splits of absent parties averaged over, on shares and in the clear."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vfl.models.trees.rig import Consortium, Observed, columns
from vfl.models.sealed.coalitions import valued_coalitions
from vfl.models.sealed.messages import Members
from vfl.models.trees import label as label_module
from vfl.models.trees.coalitions import TellsApart, merged_values
from vfl.models.trees.twin import run_twin
from vfl.tree_terms import TreesModel
from vfl.walk.refits import refits_static

ROWS, CARRIED = 120, 25


def by_hand(values: np.ndarray, counts: np.ndarray, present: list[bool]) -> np.ndarray:
    """Leaf by leaf: the mean of the leaves that agree with it in every present level, weighted by their rows."""
    found = []
    for leaf in range(len(values)):
        alike = [
            other
            for other in range(len(values))
            if all((other >> level) & 1 == (leaf >> level) & 1 for level, inside in enumerate(present) if inside)
        ]
        rows = sum(int(counts[other]) for other in alike)
        whole = sum(int(counts[other]) * int(values[other]) for other in alike)
        found.append(whole / rows if rows else values[leaf] if all(present) else 0)
    return np.array(found)


@given(st.data(), st.integers(1, 6))
def test_absent_levels_are_averaged_over_by_the_rows_of_each_leaf(data: st.DataObject, depth: int) -> None:
    leaves = 1 << depth
    values = np.array(data.draw(st.lists(st.integers(-(2**16), 2**16), min_size=leaves, max_size=leaves)))
    counts = np.array(data.draw(st.lists(st.integers(0, 65_535), min_size=leaves, max_size=leaves)))
    present = data.draw(st.lists(st.booleans(), min_size=depth, max_size=depth))
    made = merged_values(values, counts, present)
    assert np.abs(made - by_hand(values, counts, present)).max() <= 0.5


def test_a_tree_tells_as_few_coalitions_apart_as_it_has_owners() -> None:
    """Every pattern of owners: tables are no more than sets of its owners, and each coalition has a score."""
    members = Members("label", "a", {"a": 1, "b": 1, "c": 1}, 1)
    coalitions = valued_coalitions(("a", "b", "c"))
    for depth in (1, 2, 3, 4):
        for owners in product(("a", "b", "c", "label"), repeat=depth):
            told = TellsApart.of(owners, members, coalitions)
            owning = frozenset(owners) - {"label"}
            assert len(set(told.sets)) == len(told.sets) == (1 << len(owning)) - 1 < 1 << depth
            assert all(one < owning for one in told.sets)
            scores = told.scores(np.zeros((len(told.sets), 1), dtype=np.uint64), np.ones(1, dtype=np.uint64))
            assert scores[:, 0].tolist() == [int(owning <= frozenset(one)) for one in coalitions]


@pytest.mark.parametrize(
    ("parties", "own", "anchor", "depth"),
    [("a", 0, "a", 1), ("a", 2, "a", 3), ("abc", 2, "b", 4), ("abcd", 1, "a", 2), ("ab", 1, "coordinator", 3)],
)
def test_coalitions_of_a_run_are_those_of_its_twin_to_the_last_bit(
    parties: str, own: int, anchor: str, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the run's own opened numbers put in; of the rows beside the fitted ones, which are those predicted."""
    terms = TreesModel(depth=depth, trees=3, candidates=3, smallest_leaf=5, rate=0.5, reg_lambda=5.0)
    features = {n: columns(ROWS, 2 + i, n, missing=0.1) for i, n in enumerate(parties)}
    made = Consortium(features, columns(ROWS, own, "own"), terms, anchor=anchor, valued=True)
    steps = list(refits_static(terms, ROWS, np.arange(ROWS - CARRIED)))
    y = np.random.default_rng(2).normal(size=ROWS)
    observed = Observed().watch(monkeypatch)
    made.run(steps, y)
    twin = made.twin(opened=observed.opened)
    run_twin(twin, steps, lambda step: y[step.rows])
    carried = np.arange(ROWS - CARRIED, ROWS)
    found = made.opened_coalitions(carried)
    assert found.shape == (2 ** len(parties) - 1, CARRIED)
    assert np.array_equal(found, twin.by_coalition[:, carried])
    assert np.array_equal(made.opened_scores(), twin.total)
    # the empty coalition of a label party without columns splits nothing: every row has one score
    assert (np.ptp(found[0]) == 0) == (own == 0 or not {o for _, _, o, _ in twin.chosen} & {"label"})


def test_an_owner_is_asked_as_much_whoever_owns_the_other_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    """What products a tree needs says who owns its levels; an owner takes part in none, and gives out its own bits."""
    terms = TreesModel(depth=3, trees=4, candidates=2, smallest_leaf=5)
    features = {n: columns(ROWS, 2, n) for n in "abc"}
    made = Consortium(features, columns(ROWS, 1, "own"), terms, anchor="a", valued=True)
    first = {"a": 0, "b": 2, "c": 4, "label": 6}  # of each owner's candidates
    wanted = iter(first[owner] for owner in ("a", "a", "c", "b", "b", "c", "label", "b", "c", "c", "c", "c"))
    monkeypatch.setattr(label_module, "best_candidate", lambda *rest: next(wanted))
    steps = [s for s in refits_static(terms, ROWS, np.arange(ROWS - CARRIED)) if s.kind == "train"]
    monkeypatch.setattr("vfl.models.trees.walk.carried_rows", lambda *rest: {0: np.arange(ROWS - CARRIED, ROWS)})
    made.run(steps, np.random.default_rng(2).normal(size=ROWS))
    assert [owner for _, level, owner, _ in made.sides["label"].chosen if level == 2] == ["c"] * 4
    trees: list[list[tuple[str, str, str, int]]] = [[] for _ in steps]
    for heard in made.heard:
        if "c" in (heard.sender, heard.receiver) and heard.kind.startswith(("product", "slots", "trees")):
            said = vars(heard.message)
            tree = int(said["step"] if "step" in said else said.get("label", "keys/0").split("/")[1])
            if heard.kind not in ("slots.key", "trees.step"):
                trees[tree].append((heard.sender, heard.receiver, heard.kind, len(heard.body)))
    bytes_given = [size for _, _, kind, size in trees[3] if kind == "trees.split"]
    assert sorted(trees[0]) == sorted(trees[1]) == sorted(trees[2])
    assert {kind for *_, kind, _ in trees[0]} == {
        "product.operand", "product.answer", "trees.sums", "trees.chosen", "trees.split"
    }  # fmt: skip
    assert len(bytes_given) == 6, "both holders, at each of its three levels"
    assert bytes_given[4] > 1.9 * bytes_given[2] > 3.6 * bytes_given[0], "and products with its own earlier bits"
