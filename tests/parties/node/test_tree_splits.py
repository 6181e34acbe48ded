"""What a node writes of a run's splits: read back by column, whatever a crash cut short."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from parties.errors import ConfigError, StorageError
from parties.node.context import RunContext
from parties.node.tree_splits import NO_COLUMN, SplitsFile, importance_of, opened_numbers
from tests.vfl.models.trees.rig import Consortium, columns
from vfl.models.trees.splits import NOWHERE, TakenSplit
from vfl.models.trees.twin import run_twin
from vfl.tree_terms import TreesModel
from vfl.walk.refits import refits_static


def written(folder: Path) -> SplitsFile:
    return SplitsFile(cast("RunContext", SimpleNamespace(run_folder=folder)))


def test_a_tree_that_is_grown_again_counts_once_and_a_line_cut_short_is_nothing(tmp_path: Path) -> None:
    book = written(tmp_path)
    for step in (0, 1):
        book.begin(step)
        book.take(TakenSplit(step, 0, "a", 1))
        book.take(TakenSplit(step, 1, "a", NOWHERE))
    with open(tmp_path / "splits.jsonl", "a", encoding="utf-8") as file:
        file.write('{"step": 1, "lev')
    again = written(tmp_path)
    again.begin(1)
    again.take(TakenSplit(1, 0, "a", 0))
    found = importance_of(tmp_path, "a", ("x", "y"))
    assert found.trees == 2
    assert [(one.name, one.splits, one.first) for one in found.columns] == [
        ("x", 1, 1), ("y", 1, 1), (NO_COLUMN, 1, 0),
    ]  # fmt: skip
    assert (tmp_path / "splits.jsonl").stat().st_mode & 0o077 == 0


def test_what_is_no_record_of_splits_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no tree has been grown in this run yet"):
        importance_of(tmp_path, "a", ("x",))
    for line in ("nonsense", "[1]", '{"step": 1}', '{"step": 0, "level": 0, "owner": "a", "column": 0}'):
        (tmp_path / "splits.jsonl").write_text(line + "\n")
        with pytest.raises(StorageError, match="line 1 is no split"):
            importance_of(tmp_path, "a", ("x",))
    book = written(tmp_path / "other")
    book.begin(0)
    book.take(TakenSplit(0, 0, "a", 3))
    with pytest.raises(StorageError, match="names columns that the agreement does not have"):
        importance_of(tmp_path / "other", "a", ("x",))


def test_the_column_that_carries_the_signal_is_the_important_one(tmp_path: Path) -> None:
    rows = 200
    features = {n: columns(rows, 3, n) for n in "ab"}
    terms = TreesModel(depth=2, trees=6, candidates=6, smallest_leaf=10, rate=0.3)
    y = 2.0 * features["b"][:, 1] + 0.2 * np.random.default_rng(0).normal(size=rows)
    made = Consortium(features, columns(rows, 1, "own"), terms)
    books = {name: written(tmp_path / name) for name in ("label", "a", "b")}
    label, anchor, feature = made.label_side, made.anchor_side, made.feature_side

    def with_book(side: Any, name: str) -> Any:
        return lambda *given, **options: side(*given, book=books[name], **options)

    made.label_side, made.anchor_side = with_book(label, "label"), with_book(anchor, "a")  # type: ignore[method-assign]
    made.feature_side = with_book(feature, "b")  # type: ignore[method-assign]
    made.run([step for step in refits_static(terms, rows) if step.kind == "train"], y)
    own = importance_of(tmp_path / "b", "b", ("b0", "b1", "b2"))
    assert own.columns[0].name == "b1"
    assert own.columns[0].splits > sum(one.splits for one in own.columns[1:])
    seen = importance_of(tmp_path / "label", "label", ("own",))
    assert seen.parties[0].name == "b"
    assert (seen.parties[0].gain or 0) > 0.8
    assert sum(one.splits for one in importance_of(tmp_path / "a", "a", ("a0", "a1", "a2")).columns) == next(
        (one.splits for one in seen.parties if one.name == "a"), 0
    )
    numbers = opened_numbers(tmp_path / "label")
    twin = made.twin(opened=lambda step, level, sums: numbers[step, level].reshape(sums.shape))
    run_twin(twin, [step for step in refits_static(terms, rows) if step.kind == "train"], lambda step: y[step.rows])
    assert twin.chosen == made.sides["label"].chosen
    assert np.array_equal(made.opened_scores(), twin.total), "from what the label party kept, to the last bit"
    assert twin.beyond == 0
    assert not opened_numbers(tmp_path / "a"), "nothing opened to others"
