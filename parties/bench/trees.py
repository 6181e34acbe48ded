"""Trees grown between processes, split by part, beside a pooled booster and extra-trees in the clear."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from parties.bench.session import Part, run_session
from parties.node.zero_supply import PreparedZeros
from psi.flow import Flow, Role
from vfl.arithmetic.randomness import SecretStream
from vfl.models.sealed.ends import coefficient_key, slot_key
from vfl.models.sealed.label import LabelKeys
from vfl.models.sealed.messages import Members
from vfl.models.trees.anchor import TreesAnchor
from vfl.models.trees.feature import TreesFeature
from vfl.models.trees.label import TreesLabel
from vfl.protocols.opening_budget import OpeningBudget
from vfl.tree_terms import TreesModel
from vfl.walk.schedule import Step

__all__ = ["TreesShape", "bench_trees"]

LABEL = "label"


@dataclass(frozen=True)
class TreesShape:
    """rows: fitted by every tree. features: columns of all feature parties together. blocks: trees draw one each."""

    rows: int
    features: int
    parties: int
    depth: int
    trees: int
    candidates: int = 8
    blocks: int = 1

    @property
    def terms(self) -> TreesModel:
        return TreesModel(
            depth=self.depth, trees=self.trees + 1, candidates=self.candidates, blocks=self.blocks, reg_lambda=20.0
        )

    @property
    def members(self) -> Members:
        """The first feature party is the anchor."""
        counts = [len(part) for part in np.array_split(np.arange(self.features), self.parties)]
        return Members(LABEL, "p0", {f"p{i}": count for i, count in enumerate(counts)}, 0)


def bench_trees(shape: TreesShape, *, beside: bool = True) -> dict[str, Any]:
    """Time ``shape.trees`` trees, after one to warm up. parts: seconds a tree at the label party, by what it waits for.

    beside: also boosting in the clear on the pooled columns, by scikit-learn.
    """
    parts = {LABEL: Part(Role.LABEL, _label_part, {"shape": shape})}
    for name in shape.members.features:
        made = _anchor_part if name == shape.members.anchor else _feature_part
        parts[name] = Part(Role.FEATURE, made, {"shape": shape})
    measured = run_session(parts)
    spent: dict[str, float] = measured[LABEL].result
    grown = shape.trees + 1
    figures: dict[str, Any] = {
        **asdict(shape),
        "seconds_per_tree": spent.pop("tree") / shape.trees,
        "parts": {name: seconds / shape.trees for name, seconds in spent.items()},
        "bytes_per_tree": {name: sum(size for _, size in m.sent.values()) / grown for name, m in measured.items()},
        "peak_rss_mb": {name: m.peak_rss_mb for name, m in measured.items()},
        "cpu_seconds": {name: m.cpu_seconds for name, m in measured.items()},
        "cpu_seconds_per_tree": sum(m.cpu_seconds for m in measured.values()) / grown,
    }
    return figures | ({"in_the_clear": _in_the_clear(shape)} if beside else {})


class _Timed(TreesLabel):
    """The label party with a clock at what its levels consist of."""

    def __init__(self, *rest: Any, **more: Any) -> None:
        super().__init__(*rest, **more)
        self.spent = dict.fromkeys(("sums", "opening", "splits", "scores"), 0.0)

    @contextmanager
    def _clock(self, part: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.spent[part] += time.monotonic() - began

    def _sums(self, *rest: Any) -> Flow[Any]:
        with self._clock("sums"):
            return (yield from super()._sums(*rest))

    def _level(self, *rest: Any) -> Flow[Any]:
        before, began = self.spent["sums"], time.monotonic()
        found = yield from super()._level(*rest)
        self.spent["opening"] += time.monotonic() - began - (self.spent["sums"] - before)
        return found

    def _split(self, *rest: Any) -> Flow[None]:
        with self._clock("splits"):
            yield from super()._split(*rest)

    def _score(self, *rest: Any) -> Flow[Any]:
        with self._clock("scores"):
            return (yield from super()._score(*rest))


def _values(shape: TreesShape, columns: int, seed: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.random.default_rng(seed).normal(size=(shape.rows, columns))


def _label_part(name: str, shape: TreesShape) -> Flow[dict[str, float]]:
    """The label party, with labels that hang on the first party's first column. Returns seconds by part."""
    del name
    keys = LabelKeys(coefficient_key(), slot_key())
    side = _Timed(
        shape.members, _values(shape, 0, 1), _secret(), shape.terms, keys, _secret(), session="bench-1",
    )  # fmt: skip
    signal = np.sign(_values(shape, shape.members.features["p0"], 3)[:, 0])
    labels = (signal + np.random.default_rng(0).normal(size=shape.rows)) / np.sqrt(2.0)
    rows, nobody, began = np.arange(shape.rows), np.zeros(0, dtype=np.int64), 0.0
    yield from side.start()
    for number in range(shape.trees + 1):
        if number == 1:
            began, side.spent = time.monotonic(), dict.fromkeys(side.spent, 0.0)
        yield from side.grow(Step(number, "train", 0, rows, shape.rows), nobody, number, labels)
    seconds = time.monotonic() - began
    yield from side.finish()
    return {"tree": seconds} | side.spent


def _secret() -> SecretStream:
    return SecretStream(os.urandom(32))


def _anchor_part(name: str, shape: TreesShape) -> Flow[None]:
    """The anchor, with random columns of its own."""
    values = _values(shape, shape.members.features[name], int(name[1:]) + 3)
    side = TreesAnchor(
        shape.members, values, _secret(), shape.terms, coefficient_key(),
        OpeningBudget(shape.rows, 1), _secret(), session="bench-1", most_steps=shape.trees + 1, supply=PreparedZeros,
    )  # fmt: skip
    yield from side.serve()


def _feature_part(name: str, shape: TreesShape) -> Flow[None]:
    """A feature party beside the anchor."""
    values = _values(shape, shape.members.features[name], int(name[1:]) + 3)
    side = TreesFeature(
        name, shape.members, values, _secret(), shape.terms, _secret(), session="bench-1",
        most_steps=shape.trees + 1, supply=PreparedZeros,
    )  # fmt: skip
    yield from side.serve()


def _in_the_clear(shape: TreesShape) -> dict[str, float]:
    """Seconds a tree of scikit-learn's on the pooled columns, one core each."""
    from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor

    x = np.concatenate([_values(shape, count, int(n[1:]) + 3) for n, count in shape.members.features.items()], axis=1)
    y, count = np.sign(x[:, 0]) + np.random.default_rng(0).normal(size=shape.rows), 20
    made: dict[str, Callable[[], Any]] = {
        "HistGradientBoostingRegressor": lambda: HistGradientBoostingRegressor(
            max_iter=count, max_depth=shape.depth, early_stopping=False
        ),
        "ExtraTreesRegressor": lambda: ExtraTreesRegressor(count, max_depth=shape.depth),
    }
    seconds = {}
    for name, kind in made.items():
        began = time.process_time()
        kind().fit(x, y)
        seconds[name] = (time.process_time() - began) / count
    return seconds
