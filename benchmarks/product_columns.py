"""What product columns cost and bring: ``python -m benchmarks.product_columns``.

*Cost*: processor milliseconds of all sides together, in one process, for a training step of ``--batch`` rows of the
label party and two feature parties of ``--columns`` columns each, one of them the anchor, with 0 products and more; the
least of ``--repeats``. *Gain*: mean rank IC out of sample of the integer twin, which a run equals but for
its truncations, over a panel in which nothing but one product of two parties' ranks moves the label.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from psi.flow import Flow, run_local
from vfl.arithmetic.he import KeyHolder
from vfl.arithmetic.prime_ring import PRIME_RING
from vfl.arithmetic.randomness import SecretStream
from vfl.models.sealed.anchor import SealedAnchor
from vfl.models.sealed.ends import coefficient_key, slot_key
from vfl.models.sealed.feature import SealedFeature
from vfl.models.sealed.initial import sealed_draw, sealed_start
from vfl.models.sealed.label import LabelKeys, SealedLabel
from vfl.models.sealed.messages import Members
from vfl.models.sealed.pairs import half_columns
from vfl.models.sealed.products import AnchorProducts, OwnedProducts
from vfl.models.sealed.twin import IntegerTwin
from vfl.product_terms import Pair
from vfl.protocols.opening import agree_masks
from vfl.protocols.opening_budget import OpeningBudget
from vfl.terms import FixedPoint, SealedModel
from vfl.walk.schedule import Step

__all__ = ["Task", "gain", "main", "spent"]

FIXED = FixedPoint()
LABEL, ANCHOR, OTHER = "label", "a", "b"
I64 = NDArray[np.int64]
F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Task:
    """One session of ``steps`` training steps."""

    batch: int
    columns: int
    width: int
    products: int
    steps: int

    @property
    def members(self) -> Members:
        pairs = (Pair(ANCHOR, OTHER, self.products),) if self.products else ()
        return Members(LABEL, ANCHOR, {ANCHOR: self.columns, OTHER: self.columns}, 0, products=pairs)

    @property
    def terms(self) -> SealedModel:
        return SealedModel(width=self.width, batch_rows=self.batch)

    def started(self, names: dict[str, int]) -> dict[str, NDArray[np.uint64]]:
        total = self.members.columns
        return {name: sealed_start(os.urandom(32), count, self.terms, total) for name, count in names.items()}

    def halves(self, me: str) -> dict[str, I64]:
        if not self.products:
            return {}
        ranks = np.random.default_rng(2).uniform(-1, 1, size=(self.batch, self.products))
        return {self.members.products[0].name: half_columns(ranks, FIXED, holder=me == ANCHOR)}


def spent(task: Task, keys: LabelKeys, anchor_keys: tuple[KeyHolder, KeyHolder]) -> float:
    """Processor seconds of a step, all sides together."""
    rows, members, terms = np.arange(task.batch), task.members, task.terms
    x = np.random.default_rng(1).normal(0, 2.0**FIXED.feature_bits, size=(task.batch, task.columns)).astype(np.int64)
    marks: list[float] = []

    def label() -> Flow[None]:
        own = np.zeros((task.batch, 0), dtype=np.int64)
        weights = task.started(SealedLabel.columns_held(members))
        side = SealedLabel(members, own, weights, terms, FIXED, keys, session="s")
        yield from side.start()
        for number in range(task.steps + 1):
            yield from side.train(Step(number, "train", 0, rows, task.batch), x[:, 0] / 2.0**FIXED.feature_bits)
            marks.append(time.process_time())
        yield from side.finish()

    def anchor() -> Flow[None]:
        key = anchor_keys[1] if task.products else None
        ends = AnchorProducts(ANCHOR, members, task.halves(ANCHOR), terms.embedding_width, _stream(), key)
        weights, budget = task.started(SealedAnchor.columns_held(members)), OpeningBudget(task.batch, 1)
        yield from SealedAnchor(
            members, x, weights, terms, FIXED, anchor_keys[0], budget, _stream(), session="s", products=ends
        ).serve()

    def other() -> Flow[None]:
        masks = yield from agree_masks(OTHER, members.others, "0" * 64, PRIME_RING, _stream())
        ends = OwnedProducts(OTHER, members, task.halves(OTHER), terms.embedding_width, _stream())
        weight = task.started({OTHER: task.columns})[OTHER]
        yield from SealedFeature(
            OTHER, members, x, weight, terms, FIXED, masks, _stream(), session="s", products=ends
        ).serve()

    run_local({LABEL: label(), ANCHOR: anchor(), OTHER: other()})
    return (marks[-1] - marks[0]) / task.steps


def _stream() -> SecretStream:
    return SecretStream(os.urandom(32))


def gain(width: int, *, product: bool, periods: int = 104, entities: int = 100, seed: int = 7) -> float:
    """Mean rank IC out of sample. Two parties with four columns each; label: one product of ranks, and noise."""
    draw = np.random.default_rng(seed)
    columns = draw.normal(size=(periods, entities, 8))
    ranks = 2 * (rankdata(columns[..., [0, 4]], axis=1) - 1) / (entities - 1) - 1
    label = 3 * ranks.prod(axis=2) * 0.15 + draw.normal(size=(periods, entities))
    x = np.rint(np.clip(columns, -8, 8) * 2.0**FIXED.feature_bits).astype(np.int64).reshape(-1, 8)
    if product:
        flat = ranks.reshape(-1, 2)
        halves = half_columns(flat[:, :1], FIXED, holder=True), half_columns(flat[:, 1:], FIXED, holder=False)
        x = np.concatenate([x, halves[0] * halves[1]], axis=1)
    terms = SealedModel(batch_rows=4096).model_copy(update={"width": width})
    start = sum(sealed_draw(seed.to_bytes(32, "big"), x.shape[1], terms, x.shape[1]) for seed in (1, 2))
    twin, number, found = IntegerTwin(x, np.asarray(start), terms, FIXED), 0, []
    for period in range(26, periods):
        known = period * entities
        for _ in range(terms.warmup_steps if period == 26 else terms.steps):
            rows = draw.permutation(known)[: terms.batch_rows]
            twin.train(Step(number, "train", period, rows, known), label.reshape(-1)[rows])
            number += 1
        scores = twin.predict(Step(number, "predict", period, np.arange(known, known + entities)))
        number += 1
        found.append(float(np.corrcoef(rankdata(scores), rankdata(label[period]))[0, 1]))
    return float(np.mean(found))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--columns", type=int, default=16)
    parser.add_argument("--width", type=int, default=4)
    parser.add_argument("--products", type=int, nargs="+", default=[0, 1, 5])
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=2)
    asked = parser.parse_args(arguments)
    keys, anchor_keys = LabelKeys(coefficient_key(), slot_key()), (coefficient_key(), slot_key())
    for products in asked.products:
        task = Task(asked.batch, asked.columns, asked.width, products, asked.steps)
        least = min(spent(task, keys, anchor_keys) for _ in range(asked.repeats))
        print(f"{products} products: {1e3 * least:,.0f} ms of a processor a step, all sides together")
    for width, what in ((0, "a sealed line"), (asked.width, f"{asked.width} squared columns")):
        without, with_it = gain(width, product=False), gain(width, product=True)
        print(f"{what}: mean rank IC {without:.4f} without the product, {with_it:.4f} with it")


if __name__ == "__main__":
    main()
